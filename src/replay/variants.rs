//! From an engine's name to something that can be replayed.

use super::World;
use super::movable::Movable;
use super::setups::{NullSetup, OwnedSetup, Parts, ReferenceSetup, SharedSetup, StatelessSetup};
use super::world::Form;
use super::{Job, Mode, Pass, Pool, Setup, Steered, Steering, Stream, pass, steer};
use crate::conntrack::{Config, Tracker};
use crate::engine::reference;
use crate::engine::registry::Kind;
use crate::engine::{Allowance, Decision, State, Verdict};
use crate::measure::statistics::Random;
use crate::measure::{Clock, Span, Variant};
use crate::own::Build;
use crate::packet::Packet;
use crate::policy::compiled::Compiled;
use crate::policy::linear::Linear;
use crate::policy::path::{Attached, Paths};
use crate::policy::{self, Epochs, RuleSet};
use crate::table::access::{OwnedTable, SharedTable};
use crate::table::locked::Locked;
use crate::table::lockfree::{self, BucketLock, LockFree, OwnerOnly};
use crate::table::percore::PerCore;
use crate::table::{FlowHash, Geometry, HashKey};
use crate::trace::{Elephant, ElephantError, Trace};
use crate::verify::digest;
use std::collections::HashSet;

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
    /// How packets reach cores.
    pub steering: Steering,
    /// Moves connections from state to state; made from `config`.
    pub tracker: Tracker,
    /// Size of the flow tables.
    pub geometry: Geometry,
    /// Chooses shards: part of the scenario.
    pub scenario_key: u64,
    /// Places flows inside shards: drawn anew for every run, and recorded.
    pub secret: u64,
    /// Packets handed to an engine at once.
    pub burst: usize,
    /// The time of the whole trace, also where only a share of its flows is replayed.
    pub span: Span,
}

impl Workload {
    /// Prepares everything that does not depend on the engine. Steering is symmetric.
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
        let span = Span::of(&trace);
        let world = |rules| World::new(rules, &config);
        Workload {
            trace,
            groups: groups.map(world),
            acl: acl.map(world),
            tracker,
            config,
            steering: Steering::default(),
            geometry,
            scenario_key,
            secret,
            burst,
            span,
        }
    }

    /// From this packet time on, these rules replace those of their world, which must have some.
    pub fn change(&mut self, from_ns: u64, rules: RuleSet) {
        let world = match rules.world {
            policy::World::SecurityGroups => &mut self.groups,
            policy::World::NetworkAcl => &mut self.acl,
        };
        if let Some(world) = world {
            world.change(from_ns, rules, &self.config);
        }
    }

    /// From this packet time on, these rules hold, by interface. Their world then has no others.
    pub fn attach(&mut self, from_ns: u64, attached: Attached) {
        let world = match attached.world {
            policy::World::SecurityGroups => &mut self.groups,
            policy::World::NetworkAcl => &mut self.acl,
        };
        match world {
            Some(world) if world.has_paths() => world.change_interfaces(from_ns, attached, &self.config),
            _ => *world = Some(World::of_interfaces(attached, &self.config)),
        }
    }

    /// Replaces the trace by one in which one flow makes up half of all packets: the largest of those
    /// that the reference finds established or, without security groups, of those with an answer.
    pub fn add_elephant(&mut self) -> Result<Elephant, ElephantError> {
        let (trace, elephant) = match self.reference(true) {
            Some(right) => self.trace.with_elephant(|position| {
                let decision = right[position];
                decision.state() == State::Established && decision.verdict() == Verdict::Accept
            })?,
            None => {
                let answered = self.trace.answered();
                self.trace.with_elephant(|position| answered[position])?
            }
        };
        self.trace = trace;
        Ok(elephant)
    }

    /// Keeps the `index`-th (from 0) of `of` equal ranges of the flow table's shards; a range, because cores take every
    /// n-th. What is not evaluated stays with the first.
    pub fn keep_share(&mut self, index: u64, of: u64) {
        let hash = FlowHash::new(HashKey::from_seed(self.scenario_key));
        let shards = self.geometry.shards;
        let range = |packet: &Packet| u64::from(hash.shard(&packet.flow_key(), shards)) * of / u64::from(shards);
        self.trace.keep(|packet| range(packet) == index, index == 0);
    }

    /// Flows in the trace.
    pub fn flows(&self) -> usize {
        self.trace.packets.iter().map(|packet| packet.flow_key()).collect::<HashSet<_>>().len()
    }

    /// The rules that an engine follows; `None` if the user did not give them, or it follows none.
    pub fn world(&self, kind: Kind) -> Option<&World> {
        match kind {
            Kind::Null => None,
            kind if kind.is_stateless() => self.acl.as_ref(),
            _ => self.groups.as_ref(),
        }
    }

    /// True if this engine can run on the given rules.
    pub fn can_run(&self, kind: Kind) -> bool {
        let follows = |world: &World| kind.follows_interfaces() || !world.has_paths();
        kind == Kind::Null || self.world(kind).is_some_and(follows)
    }

    /// Steers the trace for engines of one kind.
    pub fn steered(&self, kind: Kind, cores: usize) -> Steered {
        let hash = FlowHash::new(HashKey::from_seed(self.scenario_key));
        let mut steered = steer(&self.trace, Stream::of(kind), self.steering, cores, &hash, self.geometry.shards);
        steered.span = self.span;
        if let Some(world) = self.world(kind).filter(|world| world.has_paths()) {
            steered.lanes.iter_mut().for_each(|lane| world.find_ends(&lane.packets, &mut lane.tags));
        }
        steered
    }

    /// An engine that is not in the registry, ready to be replayed. `steered` must have a lane for each of its cores.
    pub fn variant_of<'a, S: Setup + 'a>(
        &'a self,
        setup: S,
        steered: &'a Steered,
        pool: &'a Pool,
        clock: &'a Clock,
        burst: usize,
    ) -> Box<dyn Variant + 'a> {
        Box::new(Prepared { workload: self, job: Job { steered, pool, burst, clock }, setup: Movable::new(setup) })
    }

    /// What the reference says, in trace order: the stateful one over the groups, or the stateless
    /// one over the ACL. `None` if those rules were not given.
    pub fn reference(&self, stateful: bool) -> Option<Vec<Decision>> {
        self.reference_of(&self.trace, stateful)
    }

    /// The same of another trace: of what is left when another filter has dropped some packets.
    pub fn reference_of(&self, trace: &Trace, stateful: bool) -> Option<Vec<Decision>> {
        let stream = if stateful { Stream::Datagrams } else { Stream::Pieces };
        let hash = FlowHash::new(HashKey::from_seed(self.scenario_key));
        let steered = steer(trace, stream, self.steering, 1, &hash, self.geometry.shards);
        let packets = &steered.lanes[0].packets;
        let decisions: Vec<Decision> = if stateful {
            let mut engine = self.reference_engine(&self.config)?;
            packets.iter().map(|packet| engine.decide(packet)).collect()
        } else {
            let mut engine = reference::Stateless::new(self.acl.as_ref()?.reference());
            packets.iter().map(|packet| engine.decide(packet)).collect()
        };
        Some(steered.gather(trace, &[decisions]))
    }

    pub(super) fn reference_engine(&self, config: &Config) -> Option<reference::Stateful<'_>> {
        let shard_hash = FlowHash::new(HashKey::from_seed(self.scenario_key));
        let shards = self.geometry.shards;
        let table = reference::Table {
            entries_per_shard: self.geometry.entries_per_shard as usize,
            shard_of: Box::new(move |key| shard_hash.shard(key, shards)),
        };
        Some(reference::Stateful::new(self.groups.as_ref()?.reference(), config, table))
    }

    /// Builds an engine over a steered trace, with bursts of so many packets. `None` if its rules were not
    /// given, or if the steering needs a table that all cores share and it has none.
    pub fn variant<'a>(
        &'a self,
        kind: Kind,
        steered: &'a Steered,
        pool: &'a Pool,
        clock: &'a Clock,
        burst: usize,
    ) -> Option<Box<dyn Variant + 'a>> {
        if steered.steering != Steering::Symmetric && !kind.is_shared() {
            return None;
        }
        self.assemble(kind, pool.cores(), Preloaded { workload: self, job: Job { steered, pool, burst, clock } })
    }

    /// Builds an engine's setup and hands it on. `None` if its rules were not given.
    pub(super) fn assemble<'a, U: Use<'a>>(&'a self, kind: Kind, cores: usize, user: U) -> Option<U::Made> {
        if self.world(kind).is_some_and(World::has_paths) {
            self.assemble_over::<Paths<Linear>, Paths<Compiled>, U>(kind, cores, user)
        } else {
            self.assemble_over::<Linear, Compiled, U>(kind, cores, user)
        }
    }

    /// The same, over rules in these two forms.
    fn assemble_over<'a, L: Form + 'a, C: Form + 'a, U: Use<'a>>(
        &'a self,
        kind: Kind,
        cores: usize,
        user: U,
    ) -> Option<U::Made> {
        match kind {
            Kind::Null => Some(user.setup(NullSetup { cores })),
            Kind::StatelessLinear => self.stateless::<L, U>(cores, user),
            Kind::StatelessCompiled => self.stateless::<C, U>(cores, user),
            Kind::Reference => Some(user.setup(ReferenceSetup { workload: self })),
            Kind::StatefulPerCoreLinear => self.owned::<L, _, U>(cores, user, |owned| self.per_core(owned)),
            Kind::StatefulPerCoreCompiled => self.owned::<C, _, U>(cores, user, |owned| self.per_core(owned)),
            Kind::StatefulOwnerLinear => self.owned::<L, _, U>(cores, user, |owned| self.our_table::<OwnerOnly>(owned)),
            Kind::StatefulLockFreeLinear => self.shared::<L, _, U>(cores, user, || self.lock_free()),
            Kind::StatefulLockFreeCompiled => self.shared::<C, _, U>(cores, user, || self.lock_free()),
            Kind::StatefulBucketLockLinear => {
                self.shared::<L, _, U>(cores, user, || self.our_table::<BucketLock>(&|_| true))
            }
            Kind::StatefulLockedLinear => {
                self.shared::<L, _, U>(cores, user, || Locked::new(self.geometry, self.config.on_full))
            }
            #[cfg(feature = "contenders")]
            Kind::StatefulPapayaLinear => self.contender::<L, U, crate::table::papaya::Papaya>(cores, user),
            #[cfg(feature = "contenders")]
            Kind::StatefulDashMapLinear => self.contender::<L, U, crate::table::dashmap::Dash>(cores, user),
            #[cfg(feature = "contenders")]
            Kind::StatefulSccLinear => self.contender::<L, U, crate::table::scc::Scc>(cores, user),
            Kind::Own(own) => Some(user.own(self, cores, own.0.build)),
        }
    }

    fn our_table<M: lockfree::Mode>(&self, owned: &dyn Fn(u32) -> bool) -> LockFree<M> {
        LockFree::of_shards(
            self.geometry,
            self.config.on_full,
            FlowHash::new(HashKey::inside_shards(self.secret)),
            owned,
        )
    }

    fn lock_free(&self) -> LockFree {
        self.our_table(&|_| true)
    }

    fn per_core(&self, owned: &dyn Fn(u32) -> bool) -> PerCore {
        PerCore::new(self.geometry, self.config.on_full, owned)
    }

    /// An engine without a table.
    fn stateless<'a, R: Form + 'a, U: Use<'a>>(&'a self, cores: usize, user: U) -> Option<U::Made> {
        let rules = Epochs::new(R::of(self.acl.as_ref()?))?;
        Some(user.setup(StatelessSetup { rules, cores }))
    }

    /// An engine with a table for each core, for the shards that the core owns.
    fn owned<'a, R: Form + 'a, T: OwnedTable + 'a, U: Use<'a>>(
        &'a self,
        cores: usize,
        user: U,
        table: impl Fn(&dyn Fn(u32) -> bool) -> T + Send + 'a,
    ) -> Option<U::Made> {
        let make = move || (0..cores).map(|core| table(&|shard| shard as usize % cores == core)).collect::<Vec<T>>();
        let (tables, make) = (make().into_iter().map(Movable::new).collect(), Box::new(make));
        Some(user.setup(OwnedSetup { parts: self.parts::<R>()?, tables, make, allowance: self.allowance() }))
    }

    /// An engine with one table for all cores.
    fn shared<'a, R: Form + 'a, T: SharedTable + 'a, U: Use<'a>>(
        &'a self,
        cores: usize,
        user: U,
        make: impl Fn() -> T + Send + 'a,
    ) -> Option<U::Made> {
        let (table, make) = (make(), Box::new(make));
        Some(user.setup(SharedSetup { parts: self.parts::<R>()?, table, make, cores, allowance: self.allowance() }))
    }

    #[cfg(feature = "contenders")]
    fn contender<'a, L: Form + 'a, U: Use<'a>, M: crate::table::contender::Map + 'a>(
        &'a self,
        cores: usize,
        user: U,
    ) -> Option<U::Made> {
        self.shared::<L, _, U>(cores, user, || {
            crate::table::contender::Contender::<M>::new(self.geometry, self.config.on_full)
        })
    }

    fn allowance(&self) -> Option<Allowance> {
        Allowance::new(self.config.allowance)
    }

    fn parts<R: Form>(&self) -> Option<Parts<'_, R>> {
        let groups = Epochs::new(R::of(self.groups.as_ref()?))?;
        Some(Parts { workload: self, groups, hash: FlowHash::new(HashKey::inside_shards(self.secret)) })
    }
}

/// A setup with its job: what trials run.
struct Prepared<'a, S> {
    workload: &'a Workload,
    job: Job<'a>,
    setup: Movable<S>,
}

/// What becomes of an engine's setup.
pub(super) trait Use<'a> {
    /// What it is made into.
    type Made;

    /// Makes it.
    fn setup<S: Setup + 'a>(self, setup: S) -> Self::Made;

    /// The same of an engine from another crate, whose setup only that crate can name.
    fn own(self, workload: &'a Workload, cores: usize, build: Build) -> Self::Made;
}

/// For replays of a trace that is steered already.
struct Preloaded<'a> {
    workload: &'a Workload,
    job: Job<'a>,
}

impl<'a> Use<'a> for Preloaded<'a> {
    type Made = Box<dyn Variant + 'a>;

    fn setup<S: Setup + 'a>(self, setup: S) -> Box<dyn Variant + 'a> {
        Box::new(Prepared { workload: self.workload, job: self.job, setup: Movable::new(setup) })
    }

    fn own(self, workload: &'a Workload, _: usize, build: Build) -> Box<dyn Variant + 'a> {
        (build.variant)(workload, self.job)
    }
}

impl<S: Setup> Variant for Prepared<'_, S> {
    fn pass(&mut self, mode: Mode, buffers: Vec<Vec<Decision>>) -> Pass {
        pass(&self.job, self.setup.get_mut(), mode, buffers)
    }

    fn renew(&mut self, random: &mut Random) {
        self.setup.put_elsewhere(random);
        self.setup.get_mut().renew(random);
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
        self.setup.get().table_bytes()
    }

    fn huge_bytes(&self) -> Option<u64> {
        self.setup.get().huge_bytes()
    }
}
