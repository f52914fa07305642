//! `ctbench` with two engines of one's own: a stateless one that remembers its last answer, and a stateful one over a
//! table of the standard library.
//!
//!     cargo run --release --example own_engine -- verify
//!     cargo run --release --example own_engine -- compare --engine 'state*-linear' --baseline stateless-linear
//!
//! In a crate of one's own the program is the same, with `ctbench` among the dependencies. docs/ENGINES.md goes through it.

use ctbench::conntrack::{Connection, Windows};
use ctbench::engine::{Decision, Engine, Groups, Stamp, Stateful, Stateless, Tag};
use ctbench::own::{Follows, OwnEngine};
use ctbench::packet::{Direction, FlowKey, Packet};
use ctbench::policy::Epochs;
use ctbench::policy::linear::Linear;
use ctbench::replay::Workload;
use ctbench::table::{Fate, FlowHash, FlowTable, Geometry, HashKey, Insert, Place, TableCounters};
use std::collections::BTreeMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    ctbench::main(ctbench::engines![Memo, BTree])
}

/// The network ACL, asked only if the packet before was of another flow or direction.
struct Memo<'w> {
    rules: Epochs<'w, Groups<Linear>>,
    acl: Stateless<'w, Groups<Linear>>,
    last: Option<(FlowKey, Direction, Decision)>,
}

impl<'w> OwnEngine<'w> for Memo<'w> {
    const NAME: &'static str = "stateless-memo-linear";
    const ABOUT: &'static str = "network ACL; a packet like the one before gets the same answer";
    const FOLLOWS: Follows = Follows::NetworkAcl;
    // A core's memory is of its own packets, whichever they are.
    const SHARED: bool = true;

    fn one_a_core(workload: &'w Workload, cores: usize) -> Vec<Self> {
        // The harness asks only engines whose rules were given.
        let rules = workload.acl.as_ref().and_then(|acl| Epochs::new(acl.linear())).expect("a network ACL");
        (0..cores).map(|_| Memo { rules: rules.clone(), acl: Stateless::new(rules.clone()), last: None }).collect()
    }

    fn clear(&mut self) {
        *self = Memo { rules: self.rules.clone(), acl: Stateless::new(self.rules.clone()), last: None };
    }

    fn burst<S: Stamp>(&mut self, packets: &[Packet], tags: &[Tag], decisions: &mut [Decision], stamp: &mut S) {
        for ((packet, tag), decision) in packets.iter().zip(tags).zip(decisions) {
            let (key, direction) = (packet.flow_key(), packet.direction());
            *decision = match self.last {
                Some((last, way, answer)) if (last, way) == (key, direction) => {
                    stamp.verdict_known();
                    answer
                }
                _ => {
                    let mut answer = [Decision::default()];
                    self.acl.burst(&[*packet], &[*tag], &mut answer, stamp);
                    answer[0]
                }
            };
            self.last = Some((key, direction, *decision));
        }
    }
}

/// Security groups over a `BTreeMap`. Tracking is ctbench's: only the table is new.
struct BTree<'w> {
    engine: Stateful<'w, Linear, BTreeTable>,
    groups: Epochs<'w, Groups<Linear>>,
    workload: &'w Workload,
}

impl<'w> BTree<'w> {
    fn new(workload: &'w Workload) -> Self {
        let groups = workload.groups.as_ref().and_then(|groups| Epochs::new(groups.linear())).expect("security groups");
        let table =
            BTreeTable { map: BTreeMap::new(), geometry: workload.geometry, counters: TableCounters::default() };
        let hash = FlowHash::new(HashKey::inside_shards(workload.secret));
        let engine = Stateful::new(groups.clone(), workload.config.invalid, &workload.tracker, hash, table, None);
        BTree { engine, groups, workload }
    }
}

impl<'w> OwnEngine<'w> for BTree<'w> {
    const NAME: &'static str = "stateful-btree-linear";
    const ABOUT: &'static str = "security groups over a standard BTreeMap a core; rules tried one by one";
    const FOLLOWS: Follows = Follows::SecurityGroups;

    fn one_a_core(workload: &'w Workload, cores: usize) -> Vec<Self> {
        (0..cores).map(|_| BTree::new(workload)).collect()
    }

    fn clear(&mut self) {
        // Rules that change in mid-replay start over, too.
        *self = BTree { groups: self.groups.clone(), ..BTree::new(self.workload) };
    }

    fn burst<S: Stamp>(&mut self, packets: &[Packet], tags: &[Tag], decisions: &mut [Decision], stamp: &mut S) {
        self.engine.burst(packets, tags, decisions, stamp);
    }

    fn counters(&self) -> Option<TableCounters> {
        self.engine.counters()
    }
}

/// Connections by shard and flow. Full shards refuse; a scenario in which others would evict fails verification.
struct BTreeTable {
    map: BTreeMap<(u32, FlowKey), (Connection, Windows)>,
    geometry: Geometry,
    counters: TableCounters,
}

impl BTreeTable {
    fn shard(&self, shard: u32) -> usize {
        self.map.range((shard, FlowKey::default())..(shard + 1, FlowKey::default())).count()
    }
}

impl FlowTable for BTreeTable {
    fn prefetch(&self, _: Place) {}

    fn prefetch_entry(&self, _: &mut Place, _: bool) {}

    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        _uses_windows: bool,
        mut change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
    ) -> Option<R> {
        let (connection, windows) = self.map.get_mut(&(place.shard, *key))?;
        let (fate, result) = change(connection, windows);
        if fate != Fate::Keep {
            self.map.remove(&(place.shard, *key));
            self.counters.entries -= 1;
            self.counters.expired += u64::from(fate == Fate::Expire);
        }
        Some(result)
    }

    fn insert(
        &mut self,
        place: Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
        now_ns: u64,
    ) -> Insert {
        // Counting a shard takes time, so only when it can be full at all.
        let most = self.geometry.entries_per_shard as usize;
        if self.map.len() >= most && self.shard(place.shard) >= most {
            self.sweep(now_ns);
            if self.shard(place.shard) >= most {
                self.counters.refused += 1;
                return Insert::Full;
            }
        }
        self.map.insert((place.shard, *key), (*connection, windows.copied().unwrap_or_default()));
        self.counters.inserts += 1;
        self.counters.entries += 1;
        self.counters.peak_entries = self.counters.peak_entries.max(self.map.len() as u64);
        Insert::Done
    }

    fn sweep(&mut self, now_ns: u64) {
        let before = self.map.len();
        self.map.retain(|_, (connection, _)| now_ns < connection.expires_ns);
        let removed = before - self.map.len();
        self.counters.entries -= removed as i64;
        self.counters.expired += removed as u64;
    }

    fn counters(&self) -> &TableCounters {
        &self.counters
    }
}
