//! The stateless twin: it lets pass what the groups let pass, says exactly what else, and its JSON is
//! what AWS's own commands print and take.

mod common;

use common::strategies::{config, rules};
use common::*;
use ctbench::conntrack::{Config, Profile};
use ctbench::derive::{Ephemeral, Exposed, Needs, describe, entries, exposure, twin};
use ctbench::engine::{State, Verdict};
use ctbench::packet::{Direction, Packet, protocol};
use ctbench::policy::{LoadOptions, Rule, RuleSet, World, load_network_acl};
use ctbench::replay;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::net::IpAddr;

type Line<'a> = (Direction, &'a str, Option<u8>, Option<(u16, u16)>);

fn groups(lines: &[Line]) -> RuleSet {
    let mut set = RuleSet::new(World::SecurityGroups);
    for &(direction, remote, protocol, ports) in lines {
        let remote = remote.parse().unwrap();
        set.push(direction, Rule { remote, protocol, ports, allow: true, name: "rule:sg-1#1".into() });
    }
    set
}

const TCP: Option<u8> = Some(protocol::TCP);

/// Lines as `in 6 80-80 0.0.0.0/0`.
fn listed(rules: &RuleSet) -> Vec<String> {
    let all = (0..rules.len() as u32).map(|i| {
        let rule = rules.rule(i);
        let ports = rule.ports.map_or("all".into(), |(low, high)| format!("{low}-{high}"));
        let number = rule.protocol.map_or("all".into(), |number| number.to_string());
        format!("{:?} {number} {ports} {}", rules.direction(i), rule.remote).to_lowercase()
    });
    all.collect()
}

#[test]
fn a_web_server_gets_one_rule_each_way() {
    let sg =
        groups(&[(Direction::In, "0.0.0.0/0", TCP, Some((80, 80))), (Direction::In, "0.0.0.0/0", TCP, Some((81, 90)))]);
    let twin = twin(&sg, &Needs::default(), Ephemeral::Range(32_768, 60_999));
    assert_eq!(twin.len(), 4);
    assert!(listed(&twin).contains(&"in 6 80-90 0.0.0.0/0".to_owned()), "adjacent ranges are one");
    assert!(listed(&twin).contains(&"out 6 32768-60999 0.0.0.0/0".to_owned()), "answers");
}

#[test]
fn what_it_exposes_is_exact() {
    let sg = groups(&[
        (Direction::Out, "0.0.0.0/0", TCP, Some((443, 443))),
        (Direction::In, "10.0.0.0/8", TCP, Some((40_000, 50_000))),
    ]);
    let twin = twin(&sg, &Needs::default(), Ephemeral::Range(32_768, 60_999));
    let all = exposure(&twin, &sg);
    let tcp_in: Vec<&Exposed> = all.iter().filter(|e| e.direction == "in" && e.protocol == TCP).collect();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let outside = vec![(ip("0.0.0.0"), ip("9.255.255.255")), (ip("11.0.0.0"), ip("255.255.255.255"))];
    let within = vec![(ip("10.0.0.0"), ip("10.255.255.255"))];
    let found: Vec<_> = tcp_in.iter().map(|e| (e.ports, e.remotes.clone())).collect();
    assert_eq!(
        found,
        [(Some((32_768, 39_999)), within.clone()), (Some((32_768, 60_999)), outside), (Some((50_001, 60_999)), within),]
    );
}

#[test]
fn its_json_is_read_back_as_it_was_and_is_what_the_cli_takes() {
    let sg = groups(&[
        (Direction::In, "0.0.0.0/0", TCP, Some((443, 443))),
        (Direction::In, "2001:db8::/32", None, None),
        (Direction::In, "0.0.0.0/0", Some(protocol::ICMP), Some((8 << 8, 8 << 8 | 255))),
        (Direction::Out, "192.0.2.0/24", Some(protocol::GRE), None),
        (Direction::Out, "192.0.2.53/32", Some(protocol::UDP), Some((53, 53))),
    ]);
    let twin = twin(&sg, &Needs::default(), Ephemeral::DOCUMENTED);
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "twin.json", describe([(&twin, "acl-twin", None)]).to_string());
    let loaded = load_network_acl(&path, &LoadOptions::default()).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(listed(&loaded.rules), listed(&twin));
    assert!((0..twin.len() as u32).all(|i| loaded.rules.rule(i) == twin.rule(i)));
    let first = entries(&twin, "acl-1").next().unwrap();
    let keys: Vec<&String> = first.as_object().unwrap().keys().collect();
    let known = [
        "CidrBlock",
        "Egress",
        "IcmpTypeCode",
        "Ipv6CidrBlock",
        "NetworkAclId",
        "PortRange",
        "Protocol",
        "RuleAction",
        "RuleNumber",
    ];
    assert!(keys.iter().all(|key| known.contains(&key.as_str())), "{keys:?}");
    assert_eq!(entries(&twin, "acl-1").count(), twin.len());
}

#[test]
fn low_ports_stay_apart_in_the_range_that_a_trace_needs() {
    let peer: IpAddr = [198, 51, 100, 1].into();
    let local: IpAddr = [10, 0, 1, 10].into();
    let mut packets = Vec::new();
    for (time_ns, port) in [123, 500, 501, 40_000, 40_002, 1024].into_iter().enumerate() {
        let packet =
            |direction| Packet::new(local, peer, direction, protocol::UDP, time_ns as u64).with_ports(53, port);
        packets.extend([packet(Direction::In), packet(Direction::Out)]);
    }
    let sg = groups(&[(Direction::In, "0.0.0.0/0", Some(protocol::UDP), Some((53, 53)))]);
    let trace = trace_of(packets.clone());
    let workload = workload(trace, Some(sg.clone()), None, Config::new(Profile::Linux), 64);
    let needs = Needs::of(&packets, &workload.reference(true).unwrap());
    let ranges = needs.port_ranges(Direction::Out, protocol::UDP, false);
    assert_eq!(ranges, [(123, 123), (500, 501), (1024, 40_002)]);
    assert!(needs.port_ranges(Direction::In, protocol::UDP, false).is_empty());
    let twin = twin(&sg, &needs, Ephemeral::FromTrace);
    assert_eq!(
        listed(&twin),
        [
            "in 17 53-53 0.0.0.0/0",
            "out 17 123-123 0.0.0.0/0",
            "out 17 500-501 0.0.0.0/0",
            "out 17 1024-40002 0.0.0.0/0"
        ]
    );
}

fn trace_of(packets: Vec<Packet>) -> ctbench::trace::Trace {
    let frames = (1..=packets.len() as u32).collect();
    let timestamps_ns = packets.iter().map(|packet| packet.time_ns).collect();
    ctbench::trace::Trace { packets, frames, timestamps_ns, ..Default::default() }
}

/// Packets of conversations over all kinds of protocols, some of them never allowed.
fn packets() -> impl Strategy<Value = Vec<Packet>> {
    let one = (
        0u8..6,
        any::<bool>(),
        0u8..4,
        prop::sample::select(vec![22u16, 80, 443, 999, 50_000]),
        1000u16..1006,
        any::<bool>(),
        any::<bool>(),
    );
    prop::collection::vec(one, 1..120).prop_map(|list| {
        let mut packets = Vec::new();
        for (i, (kind, out, peer, service, client, ipv6, errs)) in list.into_iter().enumerate() {
            let local: IpAddr = if ipv6 { "2001:db8:1::10".parse().unwrap() } else { [10, 0, 1, 10].into() };
            let peer = common::strategies::peer(local, peer);
            let direction = if out { Direction::Out } else { Direction::In };
            let number = [
                protocol::TCP,
                protocol::UDP,
                protocol::UDP,
                protocol::GRE,
                if ipv6 { protocol::ICMPV6 } else { protocol::ICMP },
                50,
            ][kind as usize];
            let packet = Packet::new(local, peer, direction, number, i as u64 * 1_000_000);
            let packet = match kind {
                0 => {
                    let flags = if i % 3 == 0 { 0x02 } else { 0x10 };
                    packet
                        .with_ports(
                            if i % 2 == 0 { service } else { client },
                            if i % 2 == 0 { client } else { service },
                        )
                        .with_tcp(ctbench::packet::TcpFields { flags, window: 1000, ..Default::default() })
                }
                1 | 2 => packet
                    .with_ports(if i % 2 == 0 { service } else { client }, if i % 2 == 0 { client } else { service }),
                4 => {
                    let (request, answer) = if ipv6 { (128, 129) } else { (8, 0) };
                    packet.with_icmp(if i % 2 == 0 { request } else { answer }, 0, 7)
                }
                _ => packet,
            };
            packets.push(packet);
            if errs && kind < 3 {
                let back = if out { Direction::In } else { Direction::Out };
                packets.push(Packet::icmp_error(packet, back, peer, if ipv6 { 1 } else { 3 }, 1, packet.time_ns));
            }
        }
        packets
    })
}

proptest! {
    /// Every packet of a tracked conversation that the groups accept, the twin accepts: with the ports
    /// that the trace needs always, with a given range where ports and types lie in it.
    #[test]
    fn the_twin_accepts_what_the_groups_accept(sg in rules(World::SecurityGroups), settings in config(), packets in packets(), given in any::<bool>()) {
        let ephemeral = if given { Ephemeral::Range(0, 65_535) } else { Ephemeral::FromTrace };
        let mut work = workload(trace_of(packets), Some(sg.clone()), None, settings, 1024);
        let stateful = work.reference(true).unwrap();
        let needs = Needs::of(&work.trace.packets, &stateful);
        let twin = twin(&sg, &needs, ephemeral);
        work.acl = Some(replay::World::new(twin.clone(), &work.config));
        let stateless = work.reference(false).unwrap();
        for (packet, (ours, twins)) in work.trace.packets.iter().zip(stateful.iter().zip(&stateless)) {
            if ours.verdict() == Verdict::Accept {
                prop_assert_eq!(twins.verdict(), Verdict::Accept, "{:?} {:?}\n{:#?}", packet, ours, listed(&twin));
            }
        }
    }

    /// Merging changes nothing, and the exposed sets are exactly the difference: drawn packets lie in
    /// one exactly if the twin accepts them and no rule of the groups does.
    #[test]
    fn exposure_is_the_set_difference(sg in rules(World::SecurityGroups), packets in packets()) {
        let twin = twin(&sg, &Needs::default(), Ephemeral::Range(900, 50_000));
        let exposed = exposure(&twin, &sg);
        for packet in &packets {
            let ours = sg.first_match_naive(packet).is_some_and(|rule| rule.allow);
            let twins = twin.first_match_naive(packet).is_some_and(|rule| rule.allow);
            let matching = exposed.iter().filter(|e| lies_in(packet, e, &exposed)).count();
            prop_assert_eq!(matching, usize::from(twins && !ours), "{:?}\n{:#?}\n{:#?}", packet, exposed, listed(&twin));
            if ours {
                prop_assert!(twins, "{:?}", packet);
            }
        }
    }
}

/// True if the packet is one of these.
fn lies_in(packet: &Packet, exposed: &Exposed, all: &[Exposed]) -> bool {
    let way = if packet.direction() == Direction::In { "in" } else { "out" };
    let number = packet.outer_protocol();
    let named = all.iter().any(|e| e.protocol == Some(number)) || matches!(number, 1 | 6 | 17 | 58);
    let protocol = match exposed.protocol {
        Some(wanted) => wanted == number,
        None => !named,
    };
    let ports = match (exposed.ports, packet.match_port()) {
        (Some((low, high)), Some(port)) => low <= port && port <= high,
        (None, None) => true,
        _ => false,
    };
    let remote = ctbench::packet::address(packet.outer_remote(), packet.is_ipv6());
    let inside =
        |(first, last): &(IpAddr, IpAddr)| first.is_ipv4() == remote.is_ipv4() && *first <= remote && remote <= *last;
    way == exposed.direction && protocol && ports && exposed.remotes.iter().any(inside)
}

/// The states that make a conversation tracked are what the property above is about.
#[test]
fn the_property_is_not_about_nothing() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut established = 0;
    for _ in 0..50 {
        let packets = packets().new_tree(&mut runner).unwrap().current();
        let work = workload(trace_of(packets), Some(everything_passes()), None, Config::new(Profile::Aws), 1024);
        established += work.reference(true).unwrap().iter().filter(|d| d.state() == State::Established).count();
    }
    assert!(established > 100, "{established}");
}
