//! From an engine's name to something that can be replayed.

use super::{Job, Pass, Pool, Setup, Steered, Stream, pass, steer};
use crate::conntrack::{Config, Profile, Tracker};
use crate::engine::reference;
use crate::engine::registry::Kind;
use crate::engine::{Decision, Engine, Null, Stamp, Stateful, Stateless};
use crate::measure::{Clock, Variant};
use crate::packet::Packet;
use crate::policy::RuleSet;
use crate::policy::linear::Linear;
use crate::policy::untracked::Untracked;
use crate::table::lockfree::{self, LockFree};
use crate::table::percore::{Owned, PerCore};
use crate::table::{FlowHash, Geometry, HashKey};
use crate::trace::Trace;
use crate::verify::digest;

/// All that engines need: the trace, the rules in both forms, and the settings.
pub struct Workload {
    /// The trace.
    pub trace: Trace,
    /// Security groups, if the user gave any.
    pub groups: Option<World>,
    /// A network ACL, if the user gave one.
    pub acl: Option<World>,
    /// Connection tracking.
    pub config: Config,
    tracker: Tracker,
    untracked: Option<Untracked>,
    /// Size of the flow tables.
    pub geometry: Geometry,
    /// Chooses shards: part of the scenario.
    pub scenario_key: u64,
    /// Places flows inside shards: drawn anew for every run, and recorded.
    pub secret: u64,
    /// Packets handed to an engine at once.
    pub burst: usize,
}

/// One world's rules.
pub struct World {
    /// As written.
    pub rules: RuleSet,
    /// For evaluation one by one.
    pub linear: Linear,
}

impl World {
    /// Prepares rules for evaluation.
    pub fn new(rules: RuleSet) -> Self {
        World { linear: Linear::new(&rules), rules }
    }
}

impl Workload {
    /// Prepares everything that does not depend on the engine.
    #[allow(clippy::too_many_arguments)] // The fields of the struct, no more.
    pub fn new(
        trace: Trace,
        groups: Option<RuleSet>,
        acl: Option<RuleSet>,
        config: Config,
        geometry: Geometry,
        scenario_key: u64,
        secret: u64,
        burst: usize,
    ) -> Self {
        let tracker = Tracker::new(&config);
        let groups = groups.map(World::new);
        let untracked = groups
            .as_ref()
            .filter(|_| config.profile == Profile::Aws)
            .map(|groups| Untracked::new(&groups.rules).with_auto_tracked(&config.auto_tracked));
        Workload {
            trace,
            groups,
            acl: acl.map(World::new),
            config,
            tracker,
            untracked,
            geometry,
            scenario_key,
            secret,
            burst,
        }
    }

    /// The rules that an engine follows; `None` if the user did not give them, or it follows none.
    pub fn world(&self, kind: Kind) -> Option<&World> {
        match kind {
            Kind::Null => None,
            Kind::StatelessLinear => self.acl.as_ref(),
            _ => self.groups.as_ref(),
        }
    }

    /// True if this engine can run on the given rules.
    pub fn can_run(&self, kind: Kind) -> bool {
        kind == Kind::Null || self.world(kind).is_some()
    }

    /// Steers the trace for engines of one kind.
    pub fn steered(&self, kind: Kind, cores: usize) -> Steered {
        let stream = if kind.is_stateful() { Stream::Datagrams } else { Stream::Pieces };
        let hash = FlowHash::new(HashKey::from_seed(self.scenario_key));
        steer(&self.trace, stream, cores, &hash, self.geometry.shards)
    }

    /// What the reference says, in trace order: the stateful one over the groups, or the stateless
    /// one over the ACL. `None` if those rules were not given.
    pub fn reference(&self, stateful: bool) -> Option<Vec<Decision>> {
        let kind = if stateful { Kind::Reference } else { Kind::StatelessLinear };
        let steered = self.steered(kind, 1);
        let packets = &steered.lanes[0].packets;
        let decisions: Vec<Decision> = if stateful {
            let mut engine = self.reference_engine()?;
            packets.iter().map(|packet| engine.decide(packet)).collect()
        } else {
            let engine = reference::Stateless::new(&self.acl.as_ref()?.rules);
            packets.iter().map(|packet| engine.decide(packet)).collect()
        };
        Some(steered.gather(&self.trace, &[decisions]))
    }

    fn reference_engine(&self) -> Option<reference::Stateful<'_>> {
        let untracked = self
            .untracked
            .as_ref()
            .map(|u| -> reference::UntrackedRule<'_> { Box::new(move |packet| u.is_untracked(packet)) });
        Some(reference::Stateful::new(&self.groups.as_ref()?.rules, &self.config, untracked))
    }

    /// Builds an engine over a steered trace, with bursts of so many packets. `None` if its rules were not given.
    pub fn variant<'a>(
        &'a self,
        kind: Kind,
        steered: &'a Steered,
        pool: &'a Pool,
        clock: &'a Clock,
        burst: usize,
    ) -> Option<Box<dyn Variant + 'a>> {
        let job = Job { steered, pool, burst, clock };
        let cores = pool.cores();
        match kind {
            Kind::Null => boxed(self, job, NullSetup { cores }),
            Kind::StatelessLinear => boxed(self, job, StatelessSetup { rules: &self.acl.as_ref()?.linear, cores }),
            Kind::Reference => boxed(self, job, ReferenceSetup { workload: self }),
            Kind::StatefulPerCoreLinear => {
                let owned = |core: usize| move |shard: u32| shard as usize % cores == core;
                let tables = (0..cores).map(|core| PerCore::new(self.geometry, owned(core))).collect();
                boxed(self, job, PerCoreSetup { parts: self.parts()?, tables })
            }
            Kind::StatefulLockFreeLinear => {
                boxed(self, job, LockFreeSetup { parts: self.parts()?, table: LockFree::new(self.geometry), cores })
            }
        }
    }

    fn parts(&self) -> Option<Parts<'_>> {
        let rules = &self.groups.as_ref()?.linear;
        Some(Parts { workload: self, rules, hash: FlowHash::new(HashKey::from_seed(self.secret)) })
    }
}

/// What all stateful engines share.
#[derive(Clone, Copy)]
struct Parts<'a> {
    workload: &'a Workload,
    rules: &'a Linear,
    hash: FlowHash,
}

impl<'a> Parts<'a> {
    fn engine<T: crate::table::FlowTable>(&self, table: T) -> Stateful<'a, Linear, T> {
        let w = self.workload;
        Stateful::new(self.rules, w.untracked.as_ref(), w.config.invalid, &w.tracker, self.hash, table)
    }
}

struct NullSetup {
    cores: usize,
}

impl Setup for NullSetup {
    type Engine<'a> = Null;
    fn engines(&mut self) -> Vec<Null> {
        (0..self.cores).map(|_| Null).collect()
    }
}

struct StatelessSetup<'w> {
    rules: &'w Linear,
    cores: usize,
}

impl<'w> Setup for StatelessSetup<'w> {
    type Engine<'a>
        = Stateless<'w, Linear>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<Stateless<'w, Linear>> {
        (0..self.cores).map(|_| Stateless::new(self.rules)).collect()
    }
}

struct PerCoreSetup<'w> {
    parts: Parts<'w>,
    tables: Vec<PerCore>,
}

impl<'w> Setup for PerCoreSetup<'w> {
    type Engine<'a>
        = Stateful<'w, Linear, Owned<'a>>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<Self::Engine<'_>> {
        let parts = self.parts;
        let cleared = |table: &'_ mut PerCore| table.clear();
        self.tables.iter_mut().for_each(cleared);
        self.tables.iter_mut().map(|table| parts.engine(Owned(table))).collect()
    }
    fn table_bytes(&self) -> u64 {
        self.tables.iter().map(PerCore::bytes).sum()
    }
}

struct LockFreeSetup<'w> {
    parts: Parts<'w>,
    table: LockFree,
    cores: usize,
}

impl<'w> Setup for LockFreeSetup<'w> {
    type Engine<'a>
        = Stateful<'w, Linear, lockfree::Worker<'a>>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<Self::Engine<'_>> {
        self.table.clear();
        (0..self.cores).map(|_| self.parts.engine(self.table.worker())).collect()
    }
    fn table_bytes(&self) -> u64 {
        self.table.bytes()
    }
}

/// The reference engine in the harness's clothes.
struct ReferenceSetup<'w> {
    workload: &'w Workload,
}

struct ReferenceEngine<'w>(reference::Stateful<'w>);

impl Engine for ReferenceEngine<'_> {
    fn burst<S: Stamp>(&mut self, packets: &[Packet], _: &[u16], decisions: &mut [Decision], stamp: &mut S) {
        for (packet, decision) in packets.iter().zip(decisions) {
            *decision = self.0.decide(packet);
            stamp.verdict_known();
        }
    }
}

impl<'w> Setup for ReferenceSetup<'w> {
    type Engine<'a>
        = ReferenceEngine<'w>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<ReferenceEngine<'w>> {
        self.workload.reference_engine().map(ReferenceEngine).into_iter().collect()
    }
}

/// A setup with its job: what trials run.
struct Prepared<'a, S> {
    workload: &'a Workload,
    job: Job<'a>,
    setup: S,
}

fn boxed<'a, S: Setup + 'a>(workload: &'a Workload, job: Job<'a>, setup: S) -> Option<Box<dyn Variant + 'a>> {
    Some(Box::new(Prepared { workload, job, setup }))
}

impl<S: Setup> Variant for Prepared<'_, S> {
    fn pass(&mut self, stamped: bool, buffers: Vec<Vec<Decision>>) -> Pass {
        pass(&self.job, &mut self.setup, stamped, buffers)
    }

    fn digest(&self, lanes: &[Vec<Decision>]) -> u64 {
        digest::of(&self.workload.trace, &self.gather(lanes))
    }

    fn gather(&self, lanes: &[Vec<Decision>]) -> Vec<Decision> {
        self.job.steered.gather(&self.workload.trace, lanes)
    }

    fn packets(&self) -> usize {
        self.job.steered.packets()
    }

    fn table_bytes(&self) -> u64 {
        self.setup.table_bytes()
    }
}
