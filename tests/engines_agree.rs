//! Every engine against the reference, packet by packet, on random packets, conversations, policies,
//! settings, core counts and burst sizes.

mod common;

use common::strategies::{config, direction, peer, rules};
use common::{assert_same, decisions, workload};
use ctbench::conntrack::{Config, OnFull, Profile};
use ctbench::engine::Reason;
use ctbench::engine::registry::{ENGINES, Kind};
use ctbench::packet::{Direction, Packet, SynOptions, TcpFields, flags, protocol, tcp_flags};
use ctbench::policy::{Rule, RuleSet, World};
use ctbench::trace::Trace;
use proptest::prelude::*;
use std::net::IpAddr;

fn local() -> impl Strategy<Value = IpAddr> {
    prop::sample::select(vec!["10.0.1.10".parse().unwrap(), "2001:db8:1::10".parse().unwrap()])
}

/// Mostly legal flags, of the kinds that move a connection.
fn segment_flags() -> impl Strategy<Value = u8> {
    use tcp_flags::{ACK, FIN, PSH, RST, SYN};
    prop_oneof![
        3 => Just(SYN),
        3 => Just(SYN | ACK),
        8 => Just(ACK),
        3 => Just(ACK | PSH),
        3 => Just(FIN | ACK),
        2 => Just(RST),
        1 => Just(RST | ACK),
    ]
}

/// Sequence numbers near each other, now and then at the wrap or far off.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        10 => 1000u32..1006,
        5 => 1000u32..4000,
        1 => prop::sample::select(vec![0, u32::MAX, 1 << 31, 70_000, 0u32.wrapping_sub(500)]),
    ]
}

fn tcp_packet() -> impl Strategy<Value = Packet> {
    let window = prop_oneof![5 => 500u16..2000, 2 => Just(65_535u16), 1 => Just(0u16)];
    let options = (prop::option::of(0u8..=14), any::<bool>());
    let ends = (local(), 1u8..3, prop::sample::select(vec![22u16, 80]), 50_000u16..50_002);
    let fields =
        (segment_flags(), number(), number(), 0u32..200, window, prop::sample::select(vec![0u16, 0, 1, 100, 1460]));
    (ends, direction(), fields, options).prop_map(|((local, n, port, client), direction, fields, (scale, sack))| {
        let (flags, seq, ack, beyond, window, payload_len) = fields;
        let syn = flags & tcp_flags::SYN != 0;
        let any = scale.is_some() || sack || beyond % 2 == 0; // Others: MSS, say.
        let options = SynOptions { window_scale: scale, sack_permitted: sack, any }.to_bits();
        let sack_or_options = if syn { options } else { ack.wrapping_add(beyond / 150 * 100) };
        Packet::new(local, peer(local, n), direction, protocol::TCP, 0).with_ports(port, client).with_tcp(TcpFields {
            flags,
            seq,
            ack,
            sack_or_options,
            window,
            payload_len,
        })
    })
}

fn icmp_packet() -> impl Strategy<Value = Packet> {
    let kinds = prop::sample::select(vec![0u8, 3, 8, 11, 13, 14, 128, 129, 135, 200]);
    (local(), 1u8..3, direction(), kinds, 0u8..2, 0u16..2).prop_map(|(local, n, direction, kind, code, id)| {
        let number = if local.is_ipv6() { protocol::ICMPV6 } else { protocol::ICMP };
        let packet = Packet::new(local, peer(local, n), direction, number, 0).with_icmp(kind, code, id);
        let is_error = packet.icmp_role() == ctbench::packet::IcmpRole::Error;
        if is_error { Packet::icmp_error(packet, direction, peer(local, 9), kind, code, 0) } else { packet }
    })
}

fn other_packet() -> impl Strategy<Value = Packet> {
    let numbers = prop::sample::select(vec![protocol::UDP, protocol::UDP, protocol::GRE, 50]);
    (local(), 1u8..3, direction(), numbers, 50_000u16..50_003).prop_map(|(local, n, direction, number, port)| {
        let packet = Packet::new(local, peer(local, n), direction, number, 0);
        if number == protocol::UDP { packet.with_ports(53, port) } else { packet }
    })
}

/// An error about the flow of a TCP or UDP packet.
fn error_about() -> impl Strategy<Value = Packet> {
    (prop_oneof![tcp_packet(), other_packet()], direction(), 1u8..10).prop_map(|(quoted, direction, router)| {
        let kind = if quoted.is_ipv6() { 1 } else { 3 };
        Packet::icmp_error(quoted, direction, peer(quoted.local_addr(), router), kind, 1, 0)
    })
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let packet = prop_oneof![12 => tcp_packet(), 2 => icmp_packet(), 3 => other_packet(), 2 => error_about()];
    let marks = prop_oneof![40 => Just(0), 1 => Just(flags::INVALID), 1 => Just(flags::NEVER_TRACKED)];
    (packet, marks).prop_map(|(packet, marks)| packet.with_flags(marks))
}

/// Steps of packet time in ns: mostly short, some around timeouts to the nanosecond.
fn step() -> impl Strategy<Value = u64> {
    const S: u64 = 1_000_000_000;
    prop_oneof![
        20 => 0..1_000_000u64,
        3 => 0..3 * S,
        1 => prop::sample::select(vec![10 * S, 30 * S, 30 * S - 1, 60 * S, 120 * S, 120 * S - 1, 300 * S, 600 * S, 432_000 * S]),
    ]
}

fn trace() -> impl Strategy<Value = Trace> {
    prop::collection::vec((any_packet(), step()), 1..300).prop_map(|packets| {
        let mut trace = Trace::default();
        let mut now = 1_000_000_000_000;
        for (number, (mut packet, step)) in (1u32..).zip(packets) {
            now += step;
            packet.time_ns = now;
            trace.packets.push(packet);
            trace.frames.push(number);
            trace.timestamps_ns.push(now);
        }
        trace
    })
}

/// Every stateful engine but the judge.
fn fast_and_stateful() -> impl Iterator<Item = Kind> {
    ENGINES.iter().map(|engine| engine.kind).filter(|kind| kind.is_stateful() && *kind != Kind::Reference)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_engine_decides_as_the_reference(
        trace in trace(),
        groups in rules(World::SecurityGroups),
        acl in rules(World::NetworkAcl),
        config in config(),
        cores in 1usize..4,
        burst in 1usize..=64,
    ) {
        let workload = workload(trace, Some(groups), Some(acl), config, 100_000);
        for engine in ENGINES.iter().filter(|e| e.kind != Kind::Null && e.kind != Kind::Reference) {
            let right = workload.reference(engine.kind.is_stateful()).expect("rules were given");
            let ours = decisions(&workload, engine.kind, cores, burst);
            assert_same(&ours, &right, &workload.trace, engine.name);
        }
    }

    /// Full tables: the same packets are refused, and the same connections evicted, by every table and
    /// the reference, on any number of cores.
    #[test]
    fn full_tables_refuse_and_evict_alike(
        trace in trace(),
        groups in rules(World::SecurityGroups),
        evict in any::<bool>(),
        entries in 16u64..60,
        cores in 2usize..4,
    ) {
        let on_full = if evict { OnFull::EvictUnassured } else { OnFull::DropNew };
        let config = Config { on_full, ..Config::new(Profile::Linux) };
        let workload = workload(trace, Some(groups), None, config, entries);
        let right = workload.reference(true).expect("rules were given");
        for kind in fast_and_stateful() {
            for cores in [1, cores] {
                assert_same(&decisions(&workload, kind, cores, 32), &right, &workload.trace, kind.name());
            }
        }
    }

    /// An instance's allowance: exact on one core.
    #[test]
    fn the_allowance_refuses_the_same_packets(
        trace in trace(),
        groups in rules(World::SecurityGroups),
        allowance in 1u64..30,
        burst in 1usize..=64,
    ) {
        let config = Config { allowance, ..Config::new(Profile::Aws) };
        let workload = workload(trace, Some(groups), None, config, 100_000);
        let right = workload.reference(true).expect("rules were given");
        for kind in fast_and_stateful() {
            assert_same(&decisions(&workload, kind, 1, burst), &right, &workload.trace, kind.name());
        }
    }

    /// Rules that change in mid-replay, in both worlds.
    #[test]
    fn rule_changes_bite_at_the_same_packets(
        trace in trace(),
        groups in prop::collection::vec(rules(World::SecurityGroups), 1..4),
        acls in prop::collection::vec(rules(World::NetworkAcl), 1..4),
        aws in any::<bool>(),
        cores in 1usize..4,
        burst in 1usize..=64,
    ) {
        let config = Config::new(if aws { Profile::Aws } else { Profile::Linux });
        let times: Vec<u64> = trace.packets.iter().map(|packet| packet.time_ns).collect();
        let mut workload = workload(trace, Some(groups[0].clone()), Some(acls[0].clone()), config, 100_000);
        for rules in [groups, acls] {
            let count = rules.len();
            for (n, rules) in rules.into_iter().enumerate().skip(1) {
                if let Some(time) = times.get(times.len() * n / count) {
                    workload.change(*time, rules);
                }
            }
        }
        for engine in ENGINES.iter().filter(|e| e.kind != Kind::Null && e.kind != Kind::Reference) {
            let right = workload.reference(engine.kind.is_stateful()).expect("rules were given");
            let ours = decisions(&workload, engine.kind, cores, burst);
            assert_same(&ours, &right, &workload.trace, engine.name);
        }
    }
}

#[test]
fn a_full_table_does_refuse() {
    let mut trace = Trace::default();
    for n in 0..100u32 {
        let local = "10.0.1.10".parse().unwrap();
        let packet = Packet::new(local, peer(local, 1), Direction::In, protocol::UDP, 1_000_000_000)
            .with_ports(53, 40_000 + n as u16);
        trace.packets.push(packet);
        trace.frames.push(n + 1);
        trace.timestamps_ns.push(1_000_000_000);
    }
    let mut groups = RuleSet::new(World::SecurityGroups);
    let everyone = "0.0.0.0/0".parse().unwrap();
    groups.push(Direction::In, Rule { remote: everyone, protocol: None, ports: None, allow: true, name: "r".into() });
    let config = Config { on_full: OnFull::DropNew, ..Config::new(Profile::Linux) };
    let workload = workload(trace, Some(groups), None, config, 32);
    let refused = decisions(&workload, Kind::StatefulLockFreeLinear, 1, 32);
    let refused = refused.iter().filter(|d| d.reason() == Reason::TableFull).count();
    assert!((68..100).contains(&refused), "{refused} of 100 refused by 32 entries in 16 shards");
}
