//! No engine but the reference allocates while it replays.
//!
//! A test program of its own: the counting allocator sees every thread.

mod common;

use common::*;
use ctbench::conntrack::{Config, OnFull, Profile, Tracker};
use ctbench::engine::registry::ENGINES;
use ctbench::engine::{Decision, Engine, Groups, NoStamps, Null, Stateful, Stateless, Tag};
use ctbench::packet::Packet;
use ctbench::policy::{Epochs, Evaluate, LoadOptions, load_network_acl, load_security_groups};
use ctbench::replay::World;
use ctbench::table::locked::Locked;
use ctbench::table::lockfree::{BucketLock, LockFree, OwnerOnly};
use ctbench::table::percore::{Owned, PerCore};
use ctbench::table::{FlowHash, FlowTable, Geometry, HashKey, TableCounters};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system allocator unchanged; the counter touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations during a replay of all packets, in bursts of 32.
fn allocations<E: Engine>(engine: &mut E, packets: &[Packet], tags: &[Tag]) -> u64 {
    let mut decisions = [Decision::default(); 32];
    let before = ALLOCATIONS.load(Relaxed);
    for (packets, tags) in packets.chunks(32).zip(tags.chunks(32)) {
        engine.burst(packets, tags, &mut decisions[..packets.len()], &mut NoStamps);
    }
    ALLOCATIONS.load(Relaxed) - before
}

/// A replay through a stateful engine.
struct Run<'a, R> {
    groups: &'a Epochs<'a, Groups<R>>,
    config: &'a Config,
    tracker: &'a Tracker,
    hash: FlowHash,
    packets: &'a [Packet],
    tags: &'a [Tag],
}

impl<R: Evaluate> Run<'_, R> {
    fn table(&self, table: impl FlowTable, name: &str) -> TableCounters {
        let mut engine = Stateful::new(self.groups.clone(), self.config.invalid, self.tracker, self.hash, table, None);
        assert_eq!(allocations(&mut engine, self.packets, self.tags), 0, "{name}");
        engine.counters().unwrap()
    }
}

#[test]
fn replaying_allocates_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/web");
    let trace = load(&folder.join("trace.pcap"), INSIDE, Profile::Aws);
    let options = LoadOptions::default();
    let groups = load_security_groups(&folder.join("security-groups.json"), &options).unwrap().rules;
    let acl = load_network_acl(&folder.join("network-acls.json"), &options).unwrap().rules;
    let config = Config::new(Profile::Linux);
    // Small tables: entries are also refused, expired and reused.
    let geometry = Geometry { shards: 16, entries_per_shard: 128 };
    // Shards and places inside them are chosen with different keys.
    let (hash, shard_hash) = (FlowHash::new(HashKey::from_seed(1)), FlowHash::new(HashKey::from_seed(2)));
    let tags: Vec<Tag> = trace.packets.iter().map(|p| Tag::from(shard_hash.shard(&p.flow_key(), 16) as u16)).collect();
    let (groups, acl) = (World::new(groups, &config), World::new(acl, &config));
    let compiled = (Epochs::new(groups.compiled()).unwrap(), Epochs::new(acl.compiled()).unwrap());
    let (groups, acl) = (Epochs::new(groups.linear()).unwrap(), Epochs::new(acl.linear()).unwrap());
    let tracker = Tracker::new(&config);
    let packets = &trace.packets;
    assert!(packets.len() > 20_000);

    assert_eq!(allocations(&mut Null, packets, &tags), 0, "null");
    assert_eq!(allocations(&mut Stateless::new(acl), packets, &tags), 0, "stateless");
    assert_eq!(allocations(&mut Stateless::new(compiled.1), packets, &tags), 0, "stateless, compiled");
    for on_full in [OnFull::DropNew, OnFull::EvictUnassured] {
        let mut percore = PerCore::new(geometry, on_full, |_| true);
        let (mut owner, lockfree) = (
            LockFree::<OwnerOnly>::of_shards(geometry, on_full, hash, |_| true),
            LockFree::new(geometry, on_full, hash),
        );
        let bucketlock = LockFree::<BucketLock>::of_shards(geometry, on_full, hash, |_| true);
        let locked = Locked::new(geometry, on_full);
        let run = Run { groups: &groups, config: &config, tracker: &tracker, hash, packets, tags: &tags };
        let percore = run.table(Owned(&mut percore), "percore");
        let others = [
            run.table(owner.owner(), "owner"),
            run.table(lockfree.worker(), "lockfree"),
            run.table(bucketlock.worker(), "bucketlock"),
            run.table(locked.worker(), "locked"),
        ];
        let run = Run { groups: &compiled.0, config: &config, tracker: &tracker, hash, packets, tags: &tags };
        let mut table = PerCore::new(geometry, on_full, |_| true);
        let others = others.into_iter().chain([run.table(Owned(&mut table), "percore, compiled")]);
        for other in others {
            assert_eq!(other.refused, percore.refused, "full at the same packets");
            assert_eq!(other.evicted, percore.evicted, "evicted at the same packets");
        }
        assert!(percore.refused + percore.evicted > 0, "the tables were too large for this test");
    }
    // The ready-made maps allocate as they please.
    let ready_made = if cfg!(feature = "contenders") { 3 } else { 0 };
    assert_eq!(ENGINES.len(), 11 + ready_made, "a new engine belongs into this test");
}
