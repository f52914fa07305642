//! Which flows AWS does not track, by its own examples (EC2 user guide, "Security group connection tracking").

use ctbench::packet::{Direction, Packet, flags, protocol};
use ctbench::policy::untracked::Untracked;
use ctbench::policy::{Rule, RuleSet, World};
use proptest::prelude::*;

const IN: Direction = Direction::In;
const OUT: Direction = Direction::Out;
const TCP: Option<u8> = Some(protocol::TCP);
const UDP: Option<u8> = Some(protocol::UDP);
const ICMP: Option<u8> = Some(protocol::ICMP);

type Line = (Direction, &'static str, Option<u8>, Option<(u16, u16)>);

fn set(world: World, rules: &[Line]) -> RuleSet {
    let mut set = RuleSet::new(world);
    for &(direction, remote, protocol, ports) in rules {
        set.push(
            direction,
            Rule { remote: remote.parse().unwrap(), protocol, ports, allow: true, name: String::new() },
        );
    }
    set
}

fn untracked(rules: &[Line]) -> Untracked {
    Untracked::new(&set(World::SecurityGroups, rules))
}

/// A packet by its protected port, its peer and the peer's port.
fn packet(protocol: u8, local_port: u16, peer: &str, remote_port: u16) -> Packet {
    let local = if peer.contains(':') { "2001:db8::1" } else { "10.0.0.1" };
    Packet::new(local.parse().unwrap(), peer.parse().unwrap(), IN, protocol, 0).with_ports(local_port, remote_port)
}

/// The answer for the packet, which must be the same for the other direction.
fn is(untracked: &Untracked, packet: Packet) -> bool {
    let answer = untracked.is_untracked(&packet);
    let mut reversed = packet;
    reversed.flags ^= flags::OUT;
    assert_eq!(untracked.is_untracked(&reversed), answer, "{packet:?}");
    answer
}

fn tcp(local_port: u16, peer: &str, remote_port: u16) -> Packet {
    packet(protocol::TCP, local_port, peer, remote_port)
}

/// SSH from one address, HTTP from all, ICMP from all, and what goes out.
fn worked_example(egress: &[Line]) -> Untracked {
    let ingress = [
        (IN, "203.0.113.1/32", TCP, Some((22, 22))),
        (IN, "0.0.0.0/0", TCP, Some((80, 80))),
        (IN, "::/0", TCP, Some((80, 80))),
        (IN, "0.0.0.0/0", ICMP, None),
    ];
    untracked(&[&ingress[..], egress].concat())
}

const OUT_V4: Line = (OUT, "0.0.0.0/0", None, None);
const OUT_V6: Line = (OUT, "::/0", None, None);

#[test]
fn the_worked_example_of_the_guide() {
    let rules = worked_example(&[OUT_V4, OUT_V6]);
    assert!(!is(&rules, tcp(22, "203.0.113.1", 50_000)), "SSH is permitted from one address only");
    assert!(is(&rules, tcp(80, "203.0.113.1", 50_000)), "HTTP over IPv4");
    assert!(is(&rules, tcp(80, "2001:db8:f::1", 50_000)), "HTTP over IPv6");
    let ping = Packet::new("10.0.0.1".parse().unwrap(), "203.0.113.1".parse().unwrap(), IN, protocol::ICMP, 0);
    assert!(!is(&rules, ping.with_icmp(8, 0, 1)), "ICMP is always tracked");
}

#[test]
fn without_the_egress_rule_of_a_family_all_its_flows_are_tracked() {
    let rules = worked_example(&[OUT_V6]);
    assert!(!is(&rules, tcp(80, "203.0.113.1", 50_000)));
    assert!(is(&rules, tcp(80, "2001:db8:f::1", 50_000)));
    let rules = worked_example(&[OUT_V4]);
    assert!(is(&rules, tcp(80, "203.0.113.1", 50_000)));
    assert!(!is(&rules, tcp(80, "2001:db8:f::1", 50_000)));
    assert!(worked_example(&[]).is_empty());
}

#[test]
fn connections_that_a_web_server_opens_are_tracked() {
    assert!(!is(&worked_example(&[OUT_V4, OUT_V6]), tcp(40_000, "203.0.113.1", 443)));
}

#[test]
fn the_mirror_a_client_with_open_ingress() {
    let rules = untracked(&[(IN, "0.0.0.0/0", UDP, None), (OUT, "0.0.0.0/0", UDP, Some((53, 53)))]);
    assert!(is(&rules, packet(protocol::UDP, 40_000, "203.0.113.1", 53)));
    assert!(!is(&rules, packet(protocol::UDP, 53, "203.0.113.1", 40_000)));
    assert!(!is(&rules, tcp(40_000, "203.0.113.1", 53)), "another protocol");
}

#[test]
fn all_open_is_all_untracked_but_for_other_protocols_and_errors() {
    let rules = untracked(&[(IN, "0.0.0.0/0", None, None), OUT_V4]);
    assert!(is(&rules, tcp(1, "203.0.113.1", 2)) && is(&rules, packet(protocol::UDP, 1, "203.0.113.1", 2)));
    assert!(!is(&rules, packet(protocol::GRE, 0, "203.0.113.1", 0)));
    let error = Packet::icmp_error(tcp(1, "203.0.113.1", 2), IN, "198.51.100.1".parse().unwrap(), 3, 4, 0);
    assert!(!is(&rules, error));
}

#[test]
fn only_prefix_length_0_is_all_traffic_and_only_one_rule_is_all_ports() {
    let halves = [(OUT, "0.0.0.0/1", None, None), (OUT, "128.0.0.0/1", None, None)];
    assert!(worked_example(&halves).is_empty());
    let split = [(OUT, "0.0.0.0/0", TCP, Some((0, 32_767))), (OUT, "0.0.0.0/0", TCP, Some((32_768, 65_535)))];
    assert!(worked_example(&split).is_empty());
    let nearly = [(OUT, "0.0.0.0/0", TCP, Some((1, 65_535)))];
    assert!(worked_example(&nearly).is_empty());
    assert!(is(&worked_example(&[(OUT, "0.0.0.0/0", TCP, Some((0, 65_535)))]), tcp(80, "203.0.113.1", 1)));
    assert!(worked_example(&[(OUT, "0.0.0.0/0", UDP, None)]).is_empty(), "UDP says nothing of TCP");
}

#[test]
fn a_narrow_rule_beside_an_open_one_changes_nothing() {
    let rules =
        untracked(&[(IN, "203.0.113.1/32", TCP, Some((22, 22))), (IN, "0.0.0.0/0", TCP, Some((22, 22))), OUT_V4]);
    assert!(is(&rules, tcp(22, "203.0.113.1", 50_000)));
}

#[test]
fn a_fragment_without_ports_is_untracked_only_where_every_port_is() {
    let fragment = |rules: &Untracked| is(rules, tcp(0, "203.0.113.1", 0).with_flags(flags::NO_PORTS));
    assert!(!fragment(&worked_example(&[OUT_V4])));
    assert!(!fragment(&untracked(&[(IN, "0.0.0.0/0", TCP, Some((0, 100))), OUT_V4])), "the zero is no port");
    assert!(fragment(&untracked(&[(IN, "0.0.0.0/0", TCP, None), OUT_V4])));
}

#[test]
fn automatically_tracked_peers() {
    let blocks = ["203.0.113.0/24".parse().unwrap(), "2001:db8:f::/48".parse().unwrap()];
    let rules = worked_example(&[OUT_V4, OUT_V6]).with_auto_tracked(&blocks);
    assert!(!is(&rules, tcp(80, "203.0.113.1", 50_000)) && !is(&rules, tcp(80, "2001:db8:f::1", 50_000)));
    assert!(is(&rules, tcp(80, "203.0.114.1", 50_000)) && is(&rules, tcp(80, "2001:db8:e::1", 50_000)));
}

#[test]
fn a_network_acl_leaves_nothing_untracked() {
    let rules = set(World::NetworkAcl, &[(IN, "0.0.0.0/0", None, None), OUT_V4]);
    assert!(Untracked::new(&rules).is_empty());
    assert!(!Untracked::new(&rules).is_untracked(&tcp(1, "203.0.113.1", 2)));
}

fn edge() -> impl Strategy<Value = u16> {
    prop_oneof![prop::sample::select(vec![0, 1, 2, 79, 80, 81, 65_534, 65_535]), any::<u16>()]
}

proptest! {
    /// The port ranges against the rule as AWS words it.
    #[test]
    fn ranges_are_the_rule_in_words(
        ingress in prop::collection::vec((edge(), edge()), 0..6),
        all_out in any::<bool>(),
        ports in prop::collection::vec((edge(), edge()), 16),
    ) {
        let mut lines: Vec<Line> = ingress.iter().map(|range| (IN, "0.0.0.0/0", TCP, Some(*range))).collect();
        lines.push((OUT, "0.0.0.0/0", TCP, (!all_out).then_some((443, 444))));
        let rules = untracked(&lines);
        let all_in = ingress.contains(&(0, 65_535));
        for (local, remote) in ports {
            let covered = ingress.iter().any(|(low, high)| (*low..=*high).contains(&local));
            let expected = covered && all_out || all_in && (all_out || (443..=444).contains(&remote));
            prop_assert_eq!(is(&rules, tcp(local, "203.0.113.1", remote)), expected);
        }
    }
}
