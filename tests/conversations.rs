//! Whole TCP conversations, undisturbed and disturbed, through every engine: packet by packet what the
//! reference says; and what must hold whatever the reference says.

mod common;

use common::conversation::{ALL_OPENINGS, Flow, Mishap, Opening, Timed, disturb, flow, life, merge, mishaps};
use common::facts::trace_of;
use common::strategies::{config, rules};
use common::{assert_same, decisions, everything_passes, workload};
use ctbench::conntrack::{Config, Profile, TcpWindow};
use ctbench::engine::registry::{ENGINES, Kind};
use ctbench::engine::{Decision, Reason, State, Verdict};
use ctbench::packet::{Packet, tcp_flags};
use ctbench::policy::{RuleSet, World};
use ctbench::replay::Workload;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const START_NS: u64 = 1_700_000_000 * SECOND;

/// Several flows and what befalls them.
fn disturbed() -> impl Strategy<Value = Vec<Packet>> {
    let pause = prop_oneof![5 => Just(SECOND), 2 => Just(400 * SECOND), 1 => Just(500_000 * SECOND)];
    let flow = pause.prop_flat_map(|pause| (flow(life(ALL_OPENINGS, pause), 1..4), mishaps()));
    prop::collection::vec(flow, 1..6)
        .prop_map(|flows| merge(flows.iter().map(|(flow, mishaps)| disturb(flow.packets(), mishaps)), START_NS))
}

fn stateful() -> impl Iterator<Item = Kind> {
    ENGINES.iter().map(|engine| engine.kind).filter(|kind| kind.is_stateful() && *kind != Kind::Reference)
}

fn with_settings(packets: Vec<Packet>, groups: RuleSet, config: Config, entries: u64) -> Workload {
    workload(trace_of(packets), Some(groups), None, config, entries)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    /// Strict, liberal and no windows, loose or not, any rules.
    #[test]
    fn every_engine_decides_as_the_reference(
        packets in disturbed(),
        groups in prop_oneof![3 => Just(everything_passes()), 1 => rules(World::SecurityGroups)],
        config in config(),
        cores in 1usize..4,
        burst in 1usize..=64,
    ) {
        let workload = with_settings(packets, groups, config, 100_000);
        let right = workload.reference(true).expect("groups were given");
        for kind in stateful() {
            assert_same(&decisions(&workload, kind, cores, burst), &right, &workload.trace, kind.name());
        }
    }

    /// Full tables refuse the same packets on any number of cores, in bursts of any size, and until the
    /// first refusal they decide as the reference, which is never full.
    #[test]
    fn full_tables_refuse_the_same_packets(
        packets in prop::collection::vec(disturbed(), 1..3),
        entries in 1u64..20,
        cores in 2usize..4,
        burst in 1usize..=64,
    ) {
        let mut packets = packets.concat();
        packets.sort_by_key(|packet| packet.time_ns);
        let workload = with_settings(packets, everything_passes(), Config::new(Profile::Linux), entries);
        let right = decisions(&workload, Kind::StatefulPerCoreLinear, 1, 32);
        for kind in stateful() {
            for cores in [1, cores] {
                assert_same(&decisions(&workload, kind, cores, burst), &right, &workload.trace, kind.name());
            }
        }
        let refused = right.iter().position(|decision| decision.reason() == Reason::TableFull);
        let before = refused.unwrap_or(right.len());
        let unlimited = workload.reference(true).expect("groups were given");
        prop_assert_eq!(&right[..before], &unlimited[..before]);
    }
}

/// Openings that the tracker sees in full.
const SEEN: &[Opening] = &[Opening::ThreeWay, Opening::AckLost];

/// One flow, undisturbed, nobody silent for longer than the shortest timer.
fn undisturbed() -> impl Strategy<Value = Flow> {
    flow(life(SEEN, 5 * SECOND), 1..4)
}

fn decide(packets: Vec<Packet>, tcp_window: TcpWindow) -> (Workload, Vec<Decision>) {
    let config = Config { tcp_window, ..Config::new(Profile::Linux) };
    let workload = with_settings(packets, everything_passes(), config, 1000);
    let found = decisions(&workload, Kind::StatefulLockFreeLinear, 1, 32);
    (workload, found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Two ends that keep to RFC 9293, 7323 and 2018 are never INVALID, whatever their windows are and
    /// however often they begin anew between the same ports; all but the openings are ESTABLISHED.
    #[test]
    fn well_behaved_ends_are_never_invalid(flow in undisturbed()) {
        let packets = merge([flow.packets()], START_NS);
        for tcp_window in [TcpWindow::Strict, TcpWindow::Liberal] {
            let (workload, found) = decide(packets.clone(), tcp_window);
            for (i, (packet, decision)) in workload.trace.packets.iter().zip(&found).enumerate() {
                prop_assert_eq!(decision.verdict(), Verdict::Accept, "packet {}: {:?}", i, packet);
                let opens = packet.tcp_flags() & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
                if !opens {
                    prop_assert_eq!(decision.state(), State::Established, "packet {}: {:?}", i, packet);
                }
            }
        }
    }

    /// Who cannot see a connection cannot cut it: RSTs, SYNs, FINs and data far from what is expected
    /// change no verdict of the connection's own packets (RFC 5961).
    #[test]
    fn blind_attackers_change_nothing(
        flow in flow(life(&[Opening::ThreeWay], SECOND), 1..2),
        attacks in prop::collection::vec((any::<prop::sample::Index>(), attack()), 1..6),
    ) {
        let own = flow.packets();
        let established = own.len().saturating_sub(3);
        let closing = own.iter().position(|(_, p)| p.tcp_flags() & (tcp_flags::FIN | tcp_flags::RST) != 0);
        let last = closing.unwrap_or(own.len()).min(established.max(3));
        let mut all: Vec<(Timed, bool)> = own.iter().map(|packet| (*packet, true)).collect();
        if last > 3 {
            for (index, mishap) in &attacks {
                // After the handshake, before the close.
                let at = 3 + index.index(last - 3);
                let forged = disturb(vec![own[at]], &[(*index, *mishap)]);
                all.push((forged[1], false));
            }
        }
        all.sort_by_key(|((time, _), _)| *time);
        let packets = merge([all.iter().map(|(packet, _)| *packet).collect::<Vec<Timed>>()], START_NS);
        let (_, with) = decide(packets, TcpWindow::Strict);
        let (_, without) = decide(merge([own], START_NS), TcpWindow::Strict);
        let kept: Vec<Decision> = with.iter().zip(&all).filter(|(_, (_, own))| *own).map(|(d, _)| *d).collect();
        prop_assert_eq!(kept, without);
    }
}

/// Far beyond the largest window that is drawn, in either direction.
fn attack() -> impl Strategy<Value = Mishap> {
    use tcp_flags::{ACK, FIN, PSH, RST};
    let flags = prop::sample::select(vec![RST, RST | ACK, FIN | ACK, ACK | PSH]);
    (flags, (1u32 << 28)..(1 << 30), any::<bool>())
        .prop_map(|(flags, far, below)| Mishap::Forged(flags, if below { 0u32.wrapping_sub(far) } else { far }, 0))
}
