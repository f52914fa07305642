//! Packets of one flow on several cores at once: every verdict must be one that some order of the flow's
//! packets within the window gives; and what is not so must be found.

mod common;

use common::conversation::{ALL_OPENINGS, disturb, flow, life, merge, mishaps};
use common::facts::trace_of;
use common::strategies::{config, peer, rules};
use common::{decisions, everything_passes, load, workload};
use ctbench::conntrack::{Config, OnFull, Profile, TcpWindow, Tracker};
use ctbench::engine::registry::{ENGINES, Kind};
use ctbench::engine::{Decision, Groups, Reason, State, Stateful, Verdict};
use ctbench::measure::Clock;
use ctbench::packet::{Direction, Packet, protocol};
use ctbench::policy::linear::Linear;
use ctbench::policy::{Epochs, Rule, RuleSet, World};
use ctbench::replay::{Job, Mode, Pass, Pool, Setup, Steered, Steering, Workload, pass};
use ctbench::scenario::Scenario;
use ctbench::table::lockfree::{LockFree, Worker};
use ctbench::table::{FlowHash, HashKey};
use ctbench::verify::{FlowCheck, FlowTally, Judge};
use proptest::prelude::*;
use std::path::Path;

const SECOND: u64 = 1_000_000_000;
const START_NS: u64 = 1_700_000_000 * SECOND;

/// Stateful engines that may be handed any packet on any core.
fn shared() -> impl Iterator<Item = Kind> {
    let all = ENGINES.iter().map(|engine| engine.kind);
    all.filter(|kind| kind.is_stateful() && kind.is_shared() && !kind.is_single_core())
}

/// One pass, and how its flows fared.
fn fared(workload: &Workload, judge: &Judge, kind: Kind, cores: usize, burst: usize) -> FlowTally {
    let (pool, clock) = (Pool::new(cores).unwrap(), Clock::new());
    let steered = workload.steered(kind, cores);
    let check = FlowCheck::new(workload, judge, kind, &steered).expect("the order is in question");
    let mut variant = workload.variant(kind, &steered, &pool, &clock, burst).expect("groups were given");
    let pass = variant.pass(Mode::Throughput, Vec::new());
    check.pass(&pass.decisions, pass.counters.as_ref())
}

/// Every flow, not some.
#[track_caller]
fn assert_explained(tally: &FlowTally, what: &str) {
    assert_eq!(tally.in_order + tally.reordered, tally.flows, "{what}: {tally:?}");
}

/// With window checks, heavily disturbed conversations have so many orders that the search now and then
/// reaches its limit; but it never finds that none fits.
fn assert_nothing_wrong(tally: &FlowTally, what: &str) {
    let decided = tally.in_order + tally.reordered;
    assert_eq!((tally.unexplained, decided + tally.undecided), (0, tally.flows), "{what}: {tally:?}");
}

/// Several flows and what befalls them.
fn disturbed() -> impl Strategy<Value = Vec<Packet>> {
    let pause = prop_oneof![5 => Just(SECOND), 2 => Just(400 * SECOND), 1 => Just(500_000 * SECOND)];
    let flow = pause.prop_flat_map(|pause| (flow(life(ALL_OPENINGS, pause), 1..4), mishaps()));
    prop::collection::vec(flow, 1..6)
        .prop_map(|flows| merge(flows.iter().map(|(flow, mishaps)| disturb(flow.packets(), mishaps)), START_NS))
}

fn steering() -> impl Strategy<Value = Steering> {
    let window = prop::sample::select(vec![32u32, 64, 1024]);
    (window, any::<bool>())
        .prop_map(|(window, spray)| if spray { Steering::Spray { window } } else { Steering::Asymmetric { window } })
}

/// Datagrams of a few flows, both ways, some at the deadline.
fn datagrams() -> impl Strategy<Value = Vec<Packet>> {
    let step = prop_oneof![10 => 0..SECOND / 10, 1 => Just(3 * SECOND), 1 => 29 * SECOND..31 * SECOND];
    let one = (1u8..4, any::<bool>(), 50_000u16..50_003, step);
    prop::collection::vec(one, 1..200).prop_map(|all| {
        let mut now = START_NS;
        let make = |(n, out, port, step): (u8, bool, u16, u64)| {
            now += step;
            let local = [10, 0, 1, 10].into();
            let direction = if out { Direction::Out } else { Direction::In };
            Packet::new(local, peer(local, n), direction, protocol::UDP, now).with_ports(53, port)
        };
        all.into_iter().map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Disturbed conversations, any rules, a table that is large enough: every flow is explained.
    #[test]
    fn some_order_gives_the_verdicts_of_every_flow(
        packets in disturbed(),
        groups in prop_oneof![3 => Just(everything_passes()), 1 => rules(World::SecurityGroups)],
        config in config(),
        steering in steering(),
        cores in 2usize..5,
        burst in 1usize..=32,
    ) {
        let config = Config { tcp_window: TcpWindow::Strict, ..config };
        let mut workload = workload(trace_of(packets), Some(groups), None, config, 100_000);
        workload.steering = steering;
        let judge = Judge::new(&workload);
        for kind in shared() {
            for _ in 0..3 {
                assert_nothing_wrong(&fared(&workload, &judge, kind, cores, burst), kind.name());
            }
        }
    }

    #[test]
    fn some_order_gives_the_verdicts_of_every_datagram(
        packets in datagrams(),
        steering in steering(),
        cores in 2usize..5,
        burst in 1usize..=32,
    ) {
        let config = Config::new(Profile::Linux);
        let mut workload = workload(trace_of(packets), Some(everything_passes()), None, config, 100_000);
        workload.steering = steering;
        let judge = Judge::new(&workload);
        for kind in shared() {
            assert_explained(&fared(&workload, &judge, kind, cores, burst), kind.name());
        }
    }

    /// A table that is too small refuses, evicts and sweeps. What that does to a flow is not compared, but
    /// nothing is found wrong; and a sweep removes nothing that a slower core still needs.
    #[test]
    fn full_tables_are_told_apart(
        packets in prop::collection::vec(disturbed(), 1..3),
        entries in 1u64..40,
        evict in any::<bool>(),
        steering in steering(),
        cores in 2usize..5,
    ) {
        let mut packets = packets.concat();
        packets.sort_by_key(|packet| packet.time_ns);
        let on_full = if evict { OnFull::EvictUnassured } else { OnFull::DropNew };
        let config = Config { on_full, tcp_window: TcpWindow::Strict, ..Config::new(Profile::Linux) };
        let mut workload = workload(trace_of(packets), Some(everything_passes()), None, config, entries);
        workload.steering = steering;
        let judge = Judge::new(&workload);
        for kind in shared() {
            let tally = fared(&workload, &judge, kind, cores, 8);
            prop_assert_eq!(tally.unexplained, 0, "{:?}", tally);
            let sum = tally.in_order + tally.reordered + tally.not_comparable + tally.undecided;
            prop_assert_eq!(sum, tally.flows);
        }
    }
}

/// The bundled scenario with these TCP windows and this steering.
fn bundled(tcp_window: TcpWindow, steering: Steering, secret: u64) -> Workload {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/web");
    let (scenario, path) = Scenario::read(&folder).unwrap();
    let config = Config { tcp_window, ..scenario.config(&path).unwrap() };
    let mut trace = load(&folder.join("trace.pcap"), "10.0.1.0/24", config.profile);
    // Two thirds of it, to be quick. (No packet of it is a fragment.)
    trace.packets.truncate(30_000);
    trace.frames.truncate(30_000);
    let mut workload = workload(trace, Some(requests_pass()), None, config, 65_536);
    workload.steering = steering;
    workload.secret = secret;
    workload
}

/// Only requests to the inside, so that what is not tracked is dropped.
fn requests_pass() -> RuleSet {
    let mut groups = RuleSet::new(World::SecurityGroups);
    for remote in ["0.0.0.0/0", "::/0"] {
        let remote = remote.parse().unwrap();
        groups.push(Direction::In, Rule { remote, protocol: None, ports: None, allow: true, name: "in".into() });
    }
    groups
}

const BOTH: [Steering; 2] = [Steering::Asymmetric { window: 1024 }, Steering::Spray { window: 1024 }];

#[test]
fn recorded_traffic_is_explained_with_many_seeds() {
    for steering in BOTH {
        let (mut flows, mut reordered, mut undecided) = (0, 0, 0);
        for secret in 0..6 {
            let workload = bundled(TcpWindow::Strict, steering, secret);
            let judge = Judge::new(&workload);
            for cores in 2..=4 {
                for kind in shared() {
                    let tally = fared(&workload, &judge, kind, cores, 32);
                    assert_nothing_wrong(&tally, kind.name());
                    flows += tally.flows;
                    reordered += tally.reordered;
                    undecided += tally.undecided;
                }
            }
        }
        // Else the test says nothing.
        assert!(reordered > 0, "{steering:?}: the cores never met");
        assert!(undecided * 10_000 < flows, "{steering:?}: {undecided} of {flows} flows undecided");
    }
}

/// Window checks included, no two cores at once: bursts in an order that the window allows and chance
/// chooses, one after the other.
#[test]
fn an_order_drawn_by_lot_is_explained_with_windows() {
    let kind = Kind::StatefulLockFreeLinear;
    for (tcp_window, cores, seed) in
        [(TcpWindow::Strict, 2, 1u64), (TcpWindow::Strict, 3, 2), (TcpWindow::Strict, 4, 3), (TcpWindow::Liberal, 3, 4)]
    {
        for steering in BOTH {
            let workload = bundled(tcp_window, steering, seed);
            let judge = Judge::new(&workload);
            let steered = workload.steered(kind, cores);
            let order = order_by_lot(&steered, 32, 1024, seed);
            let shuffled = trace_of(order.iter().map(|(lane, at)| steered.lanes[*lane].packets[*at]));
            let one_core = common::workload(shuffled, Some(requests_pass()), None, workload.config.clone(), 65_536);
            let decided = decisions(&one_core, kind, 1, 32);
            let mut lanes: Vec<Vec<Decision>> =
                steered.lanes.iter().map(|lane| vec![Decision::default(); lane.packets.len()]).collect();
            order.iter().zip(decided).for_each(|((lane, at), decision)| lanes[*lane][*at] = decision);
            let tally = FlowCheck::new(&workload, &judge, kind, &steered).unwrap().pass(&lanes, None);
            assert_explained(&tally, "by lot");
            assert!(tally.reordered > 100, "{tally:?}");
        }
    }
}

/// The packets of all lanes, as (lane, place), in bursts; a burst's last is at most a window ahead of
/// the first that is not decided. One lane goes on for a while, as a core does whose neighbour sleeps.
fn order_by_lot(steered: &Steered, burst: usize, window: u32, seed: u64) -> Vec<(usize, usize)> {
    let mut random = ctbench::measure::statistics::Random::new(seed);
    let mut at = vec![0; steered.lanes.len()];
    let mut order = Vec::new();
    loop {
        let open = |lane: usize, at: &[usize]| steered.lanes[lane].positions.get(at[lane]).copied();
        let Some(first) = (0..at.len()).filter_map(|lane| open(lane, &at)).min() else { return order };
        let lane = random.below(at.len());
        for _ in 0..random.below(40) {
            let positions = &steered.lanes[lane].positions;
            let end = (at[lane] + burst).min(positions.len());
            if end == at[lane] || positions[end - 1] > first + window {
                break;
            }
            order.extend((at[lane]..end).map(|place| (lane, place)));
            at[lane] = end;
        }
    }
}

/// A table a core under asymmetric steering: each core knows one direction only.
struct Unshared<'w> {
    groups: Epochs<'w, Groups<Linear>>,
    tracker: Tracker,
    tables: Vec<LockFree>,
    hash: FlowHash,
}

impl<'w> Setup for Unshared<'w> {
    type Engine<'a>
        = Stateful<'a, Linear, Worker<'a>>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<Self::Engine<'_>> {
        let invalid = ctbench::conntrack::Invalid::Drop;
        self.tables
            .iter()
            .map(|table| Stateful::new(self.groups.clone(), invalid, &self.tracker, self.hash, table.worker(), None))
            .collect()
    }
}

fn replay(workload: &Workload, steered: &Steered, setup: &mut impl Setup) -> Pass {
    let (pool, clock) = (Pool::new(steered.lanes.len()).unwrap(), Clock::new());
    pass(&Job { steered, pool: &pool, burst: workload.burst, clock: &clock }, setup, Mode::Throughput, Vec::new())
}

#[test]
fn a_table_that_is_not_shared_is_found_out() {
    // A small window: within it, short flows may go any way.
    for steering in [Steering::Asymmetric { window: 32 }, Steering::Spray { window: 32 }] {
        let workload = bundled(TcpWindow::Strict, steering, 1);
        let judge = Judge::new(&workload);
        let kind = Kind::StatefulLockFreeLinear;
        let steered = workload.steered(kind, 2);
        let hash = FlowHash::new(HashKey::from_seed(9));
        let tables = (0..2).map(|_| LockFree::new(workload.geometry, workload.config.on_full, hash)).collect();
        let groups = Epochs::new(workload.groups.as_ref().unwrap().linear()).unwrap();
        let mut setup = Unshared { groups, tracker: Tracker::new(&workload.config), tables, hash };
        let decisions = replay(&workload, &steered, &mut setup);
        let check = FlowCheck::new(&workload, &judge, kind, &steered).unwrap();
        let tally = check.pass(&decisions.decisions, decisions.counters.as_ref());
        assert!(tally.unexplained > 100, "{steering:?}: {tally:?}");
        assert!(tally.first_unexplained.is_some());
    }
}

#[test]
fn one_wrong_decision_among_thirty_thousand_is_found() {
    let workload = bundled(TcpWindow::Strict, BOTH[0], 1);
    let judge = Judge::new(&workload);
    let kind = Kind::StatefulLockFreeLinear;
    let steered = workload.steered(kind, 2);
    let check = FlowCheck::new(&workload, &judge, kind, &steered).unwrap();
    let right = judge.of(kind).unwrap();
    let mut lanes: Vec<Vec<Decision>> = steered
        .lanes
        .iter()
        .map(|lane| lane.positions.iter().map(|position| right[*position as usize]).collect())
        .collect();
    let tally = check.pass(&lanes, None);
    assert_eq!(tally.in_order, tally.flows);
    let at = lanes[1].iter().rposition(|decision| decision.state() == State::Established).unwrap();
    lanes[1][at] = Decision::new(Verdict::Accept, State::Related, Reason::Tracked);
    let tally = check.pass(&lanes, None);
    assert_eq!((tally.unexplained, tally.in_order), (1, tally.flows - 1));
    let complaint = tally.first_unexplained.unwrap();
    assert!(complaint.contains("is accept (related), in trace order accept (established)"), "{complaint}");
}

#[test]
fn engines_without_a_shared_table_are_not_built() {
    let workload = bundled(TcpWindow::Strict, BOTH[1], 1);
    let (pool, clock) = (Pool::new(2).unwrap(), Clock::new());
    let kind = Kind::StatefulPerCoreLinear;
    let steered = workload.steered(kind, 2);
    assert!(workload.variant(kind, &steered, &pool, &clock, 32).is_none());
}
