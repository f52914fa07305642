//! Linear and compiled evaluation give what the plainest reading of the rules gives, for packets of every kind.

use ctbench::packet::{Direction, Packet, flags, protocol};
use ctbench::policy::compiled::{Compiled, Vectors};
use ctbench::policy::linear::Linear;
use ctbench::policy::{Evaluate, Rule, RuleMatch, RuleSet, World};
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::IpAddr;

/// Few addresses and ports, so that rules and packets meet; the edges among them.
const V4: [&str; 5] = ["0.0.0.0", "10.0.0.1", "10.0.1.255", "192.0.2.7", "255.255.255.255"];
const V6: [&str; 5] =
    ["::", "2001:db8::1", "2001:db8:0:1::", "::ffff:10.0.0.1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
const PORTS: [u16; 9] = [0, 1, 79, 80, 443, 0x0303, 0x0800, 0x8000, 65535];
const PROTOCOLS: [u8; 8] = [0, protocol::ICMP, protocol::TCP, protocol::UDP, protocol::GRE, protocol::ICMPV6, 132, 255];

fn any_address(ipv6: bool) -> impl Strategy<Value = IpAddr> {
    prop::sample::select(if ipv6 { &V6[..] } else { &V4[..] }).prop_map(|text| text.parse().unwrap())
}

fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![4 => prop::sample::select(&PORTS[..]), 1 => any::<u16>()]
}

fn any_direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(&[Direction::In, Direction::Out][..])
}

/// Blocks of every length, host bits included.
fn any_block() -> impl Strategy<Value = IpNet> {
    any::<bool>().prop_flat_map(|ipv6| {
        let bits = if ipv6 { 128 } else { 32 };
        let length = prop_oneof![2 => Just(0), 1 => Just(bits), 4 => 0..=bits];
        (any_address(ipv6), length).prop_map(|(address, length)| IpNet::new(address, length).unwrap())
    })
}

/// Rules as a loader makes them and as it does not: empty ranges, ports without a protocol.
fn any_rule() -> impl Strategy<Value = (Direction, Rule)> {
    let protocol = prop::option::weighted(0.7, prop::sample::select(&PROTOCOLS[..]));
    let ports = prop::option::weighted(0.6, (any_port(), any_port()));
    (any_direction(), any_block(), protocol, ports, any::<bool>()).prop_map(
        |(direction, remote, protocol, ports, allow)| {
            (direction, Rule { remote, protocol, ports, allow, name: String::new() })
        },
    )
}

/// So few that they are scanned, or so many that they are not; with a number in front that is not theirs.
fn any_rules() -> impl Strategy<Value = RuleSet> {
    let count = prop_oneof![3 => 0..20usize, 1 => 40..60usize, 1 => 100..300usize];
    count.prop_flat_map(|count| prop::collection::vec(any_rule(), count)).prop_map(|rules| {
        let mut set = RuleSet::new(World::NetworkAcl);
        rules.into_iter().for_each(|(direction, rule)| set.push(direction, rule));
        set
    })
}

/// TCP, UDP, ICMP queries and other messages, other protocols, later fragments, ICMP errors.
fn any_packet() -> impl Strategy<Value = Packet> {
    any::<bool>().prop_flat_map(|ipv6| {
        let ends = (any_address(ipv6), any_address(ipv6), any_address(ipv6));
        let ports = (any_port(), any_port());
        let protocol = prop::sample::select(&PROTOCOLS[..]);
        (ends, ports, protocol, any_direction(), any_direction(), 0..6_u8).prop_map(
            |((local, remote, router), (a, b), protocol, direction, other, kind)| {
                let [icmp_type, icmp_code] = a.to_be_bytes();
                let packet = Packet::new(local, remote, direction, protocol, 0);
                let packet = match protocol {
                    protocol::TCP | protocol::UDP => packet.with_ports(a, b),
                    protocol::ICMP | protocol::ICMPV6 => packet.with_icmp(icmp_type, icmp_code, b),
                    _ => packet,
                };
                match kind {
                    0 => Packet::new(local, remote, direction, protocol, 0).with_flags(flags::NO_PORTS),
                    1 => Packet::icmp_error(packet, other, router, icmp_type, icmp_code, 0),
                    _ => packet,
                }
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn both_forms_are_naive(rules in any_rules(), first in 0..3u32, packets in prop::collection::vec(any_packet(), 16)) {
        let (linear, compiled) = (Linear::numbered_from(first, &rules), Compiled::numbered_from(first, &rules));
        let here = Vectors::ALL.iter().copied().filter(|vectors| vectors.are_here());
        let scanned: Vec<Compiled> = here.map(|vectors| Compiled::with(first, &rules, vectors, usize::MAX)).collect();
        let searched = Compiled::with(first, &rules, Vectors::Plain, 0);
        for packet in packets {
            let naive = rules.first_match_naive(&packet).map(|found| RuleMatch { rule: found.rule + first, ..found });
            for form in scanned.iter().chain([&searched]) {
                prop_assert_eq!(form.first_match(&packet), naive, "{:?}", packet);
            }
            prop_assert_eq!(linear.first_match(&packet), naive, "linear: {:?}", packet);
            prop_assert_eq!(compiled.first_match(&packet), naive, "compiled: {:?}", packet);
        }
    }
}

/// Direction, block, protocol, ports, whether it allows.
type Line = (Direction, &'static str, Option<u8>, Option<(u16, u16)>, bool);

fn set(rules: &[Line]) -> RuleSet {
    let mut set = RuleSet::new(World::NetworkAcl);
    for &(direction, remote, protocol, ports, allow) in rules {
        set.push(direction, Rule { remote: remote.parse().unwrap(), protocol, ports, allow, name: String::new() });
    }
    set
}

/// Both evaluations, which must agree.
fn first(rules: &RuleSet, packet: Packet) -> Option<RuleMatch> {
    let naive = rules.first_match_naive(&packet);
    assert_eq!(Linear::new(rules).first_match(&packet), naive);
    assert_eq!(Compiled::new(rules).first_match(&packet), naive);
    naive
}

fn packet(remote: &str, direction: Direction, protocol: u8) -> Packet {
    let local = if remote.contains(':') { "2001:db8::1" } else { "10.0.0.1" };
    Packet::new(local.parse().unwrap(), remote.parse().unwrap(), direction, protocol, 0)
}

const IN: Direction = Direction::In;
const OUT: Direction = Direction::Out;

#[test]
fn the_first_match_wins_and_keeps_its_index() {
    let rules = set(&[
        (OUT, "0.0.0.0/0", None, None, true),
        (IN, "192.0.2.0/24", Some(protocol::TCP), Some((80, 90)), false),
        (IN, "0.0.0.0/0", Some(protocol::TCP), None, true),
    ]);
    let tcp = |remote, port| first(&rules, packet(remote, IN, protocol::TCP).with_ports(port, 1024));
    assert_eq!(tcp("192.0.2.1", 79), Some(RuleMatch { rule: 2, allow: true }));
    assert_eq!(tcp("192.0.2.1", 80), Some(RuleMatch { rule: 1, allow: false }));
    assert_eq!(tcp("192.0.2.1", 90), Some(RuleMatch { rule: 1, allow: false }));
    assert_eq!(tcp("192.0.3.1", 80), Some(RuleMatch { rule: 2, allow: true }));
    assert_eq!(first(&rules, packet("192.0.2.1", IN, protocol::UDP)), None);
    assert_eq!(first(&rules, packet("2001:db8::2", OUT, protocol::TCP)), None, "no rule is for IPv6");
}

#[test]
fn the_destination_port_is_matched() {
    let rules = set(&[
        (IN, "0.0.0.0/0", Some(protocol::TCP), Some((80, 80)), true),
        (OUT, "0.0.0.0/0", Some(protocol::TCP), Some((443, 443)), true),
    ]);
    let hit = |direction, local, remote| {
        first(&rules, packet("192.0.2.1", direction, protocol::TCP).with_ports(local, remote)).is_some()
    };
    assert!(hit(IN, 80, 443) && !hit(IN, 443, 80), "the local port on ingress");
    assert!(hit(OUT, 80, 443) && !hit(OUT, 443, 80), "the remote port on egress");
}

#[test]
fn a_packet_without_ports_matches_rules_for_all_ports_only() {
    let rules =
        set(&[(IN, "0.0.0.0/0", None, Some((0, 65535)), true), (IN, "0.0.0.0/0", Some(protocol::UDP), None, true)]);
    let fragment = packet("192.0.2.1", IN, protocol::UDP).with_flags(flags::NO_PORTS);
    assert_eq!(first(&rules, fragment), Some(RuleMatch { rule: 1, allow: true }));
    assert_eq!(first(&rules, packet("192.0.2.1", IN, protocol::GRE)), None);
}

#[test]
fn an_icmp_error_is_matched_by_its_own_header() {
    let rules = set(&[
        (IN, "192.0.2.0/24", Some(protocol::TCP), None, true),
        (IN, "198.51.100.9/32", Some(protocol::ICMP), Some((0x0304, 0x0304)), true),
    ]);
    let quoted = packet("192.0.2.1", OUT, protocol::TCP).with_ports(40_000, 80);
    let error = |router: &str, code| Packet::icmp_error(quoted, IN, router.parse().unwrap(), 3, code, 0);
    assert_eq!(first(&rules, error("198.51.100.9", 4)), Some(RuleMatch { rule: 1, allow: true }));
    assert_eq!(first(&rules, error("198.51.100.9", 1)), None);
    assert_eq!(first(&rules, error("192.0.2.1", 4)), None, "TCP is only what it quotes");
}

/// Every block around one address, each with many port ranges: the longest way through compiled rules, and their
/// largest size.
#[test]
fn compiled_rules_stay_small_when_every_block_is_nested() {
    for (address, lengths) in [("10.1.2.3", 32u8), ("2001:db8::1", 128)] {
        let address: IpAddr = address.parse().unwrap();
        let mut rules = RuleSet::new(World::NetworkAcl);
        const RULES: u32 = 10_000;
        for n in 0..RULES {
            // The most specific blocks come last, so that no block above can be left out.
            let length = (n * (u32::from(lengths) + 1) / RULES) as u8;
            let low = (n * 7919 % 60_000) as u16;
            let rule = Rule {
                remote: IpNet::new(address, length).unwrap(),
                protocol: Some(if n % 2 == 0 { protocol::TCP } else { protocol::UDP }),
                ports: Some((low, low + (n % 5) as u16)),
                allow: n % 3 != 0,
                name: String::new(),
            };
            rules.push(IN, rule);
        }
        let compiled = Compiled::new(&rules);
        assert!(compiled.bytes() < 256 * u64::from(RULES), "{} bytes for {RULES} rules", compiled.bytes());
        let local = if address.is_ipv6() { "2001:db8:ffff::1" } else { "192.0.2.1" };
        for port in (0..=u16::MAX).step_by(37) {
            let packet = Packet::new(local.parse().unwrap(), address, IN, protocol::TCP, 0).with_ports(port, 5);
            assert_eq!(compiled.first_match(&packet), rules.first_match_naive(&packet), "port {port}");
        }
    }
}
