//! Everything but TCP: UDP, ICMP and ICMPv6, errors, other protocols; labels and timers as Linux 6.18
//! gives them.

mod common;

use common::facts::{facts, trace_of};
use common::frames::{Segment, flag_bits, icmp, icmp_number, ip};
use common::{agreed, decisions, workload};
use ctbench::conntrack::{Config, Profile};
use ctbench::engine::Verdict::{self, Accept, Drop};
use ctbench::engine::registry::Kind;
use ctbench::packet::{Direction, Inside, Packet, decode_ip, protocol};
use ctbench::policy::{Rule, RuleSet, World};
use std::net::IpAddr;

/// Documentation/networking/nf_conntrack-sysctl.rst: 30 s, however much is sent one way.
#[test]
fn udp_one_way() {
    facts(
        "
        > udp                       = new 30 unassured
        +29.999999999 > udp         = new 30
        +10 > udp                   = new 30 unassured
        +30 > udp                   = new 30
        +29 < udp                   = est 30
        +30 < udp                   = new 30         # forgotten: this end begins now
        +1 > udp                    = est 30
        ",
    );
}

/// A request and its answer are no stream. It is one once a packet comes more than two seconds after
/// the first, and an answer was seen before it.
#[test]
fn udp_becomes_a_stream_after_two_seconds() {
    facts(
        "
        > udp                       = new 30
        +1 < udp                    = est 30 unassured
        +1 > udp                    = est 30 unassured     # two seconds, not more
        +0.000000001 > udp          = est 120 assured
        +119.999999999 < udp        = est 120
        ",
    );
    // The first answer itself does not make one, however late; what follows it does.
    facts("> udp = new 30\n +20 < udp = est 30 unassured\n < udp = est 120 assured");
    // Quick exchanges do not, until the two seconds are over.
    facts(
        "
        > udp                       = new 30
        +0.1 < udp                  = est 30
        +0.1 > udp                  = est 30
        +0.1 < udp                  = est 30
        +25 < udp                   = est 120 assured
        +1 > udp                    = est 120
        ",
    );
    // Forgotten and begun again: the two seconds begin again.
    facts(
        "
        > udp                       = new 30
        +3 < udp                    = est 30
        +30 > udp                   = new 30
        +1 < udp                    = est 30
        +1 > udp                    = est 30 unassured
        +1 > udp                    = est 120 assured
        ",
    );
    // EC2 user guide, idle connection tracking timeout: 180 s for streams.
    facts("set profile=aws\n > udp = new 30\n < udp = est 30\n +3 > udp = est 180 assured");
    facts("set udp=60 udp_stream=61\n > udp = new 60\n < udp = est 60\n +3 > udp = est 61");
}

/// Ports tell flows apart, and so do families and protocols.
#[test]
fn udp_flows_by_ports() {
    facts(
        "
        > udp                       = new 30
        < udp flow 1                = new 30
        > udp flow 1                = est 30
        < udp                       = est 30
        > S 1000                    = new SYN_SENT 120
        ",
    );
}

/// RFC 792, RFC 950: the four kinds of requests, and their answers by identifier.
#[test]
fn icmp_requests_and_answers() {
    for (request, answer) in
        [("echo", "echo-reply"), ("timestamp", "timestamp-reply"), ("info", "info-reply"), ("mask", "mask-reply")]
    {
        facts(&format!(
            "
            ipv4
            > {request} 7           = new 30
            +1 < {answer} 7         = est 30
            +1 > {request} 7        = est 30
            +1 < {answer} 8         = inv            # an answer that nobody asked for
            +1 < {answer} 7         = est 30
            > {answer} 7            = inv            # from the wrong end
            +30 > {request} 7       = new 30
            +30 < {answer} 7        = inv gone       # too late
            "
        ));
    }
}

/// RFC 4443, RFC 4620: echo and node information.
#[test]
fn icmpv6_requests_and_answers() {
    for (request, answer) in [("echo", "echo-reply"), ("info", "info-reply")] {
        facts(&format!(
            "
            ipv6
            > {request} 7           = new 30
            +29.999999999 < {answer} 7 = est 30
            < {answer} 8            = inv
            +30 < {answer} 7        = inv gone
            "
        ));
    }
    facts("set icmp=5 icmpv6=5\n > echo 7 = new 5\n +4 < echo-reply 7 = est 5");
}

/// Two ends that ping each other with one identifier are two flows; so are two codes.
#[test]
fn pings_of_both_ends_and_other_codes() {
    facts(
        "
        > echo 7                    = new 30
        < echo 7                    = new 30
        > echo-reply 7              = est 30
        < echo-reply 7              = est 30
        > echo 9 code 1             = new 30
        < echo-reply 9              = inv
        < echo-reply 9 code 1       = est 30
        ",
    );
}

/// What neither asks nor answers belongs to nothing.
#[test]
fn other_icmp_messages() {
    for kind in ["router-advertisement", "icmp-10", "icmp-19", "icmp-42", "icmp-255"] {
        facts(&format!("ipv4\n > {kind} = inv gone\n < {kind} = inv"));
    }
    for kind in ["icmp-138", "icmp-144", "icmp-160", "icmp-200", "icmp-255"] {
        facts(&format!("ipv6\n > {kind} = inv gone\n < {kind} = inv"));
    }
    // Neighbour discovery and multicast listeners: never tracked (RFC 4861, RFC 2710, RFC 3810).
    for kind in [130, 131, 132, 133, 134, 135, 136, 143, 151, 152] {
        facts(&format!("ipv6\n > icmp-{kind} = untracked\n < icmp-{kind} = untracked"));
    }
}

const V4_ERRORS: [&str; 5] = ["unreachable", "quench", "redirect", "time-exceeded", "parameter-problem"];
const V6_ERRORS: [&str; 6] = ["unreachable", "too-big", "time-exceeded", "parameter-problem", "icmp-100", "icmp-127"];

/// An error belongs to the flow that it quotes, in either direction, from the peer or from a router on
/// the way. It neither refreshes nor ends it.
#[test]
fn errors_about_known_flows_are_related() {
    let errors = V4_ERRORS.map(|name| ("ipv4", name)).into_iter().chain(V6_ERRORS.map(|name| ("ipv6", name)));
    for (family, error) in errors {
        facts(&format!(
            "
            {family}
            > udp                           = new 30
            +1 < {error} about udp          = rel 29         # while unanswered
            +1 < {error} router about udp   = rel 28
            +1 < udp                        = est 30
            +1 > {error} about udp          = rel 29         # about the answer
            +1 < {error} about udp          = rel 28
            +1 > udp                        = est 120
            "
        ));
    }
    facts(
        "
        > S 1000                                = new SYN_SENT 120
        +1 < unreachable about S 1000           = rel SYN_SENT 119
        < SA 5000 ack 1001                      = est
        > A 1001 ack 5001                       = est
        > PA 1001+1460 ack 5001                 = est ESTABLISHED 300
        +1 < too-big router about PA 1001+1460 ack 5001 = rel ESTABLISHED 299  # path MTU discovery (RFC 1191, RFC 8201)
        > unreachable about SA 5000 ack 1001    = rel
        +1 < unreachable about R 77             = rel ESTABLISHED 298          # only ports are looked at
        ",
    );
    facts(
        "
        > echo 7                                = new 30
        +1 < time-exceeded router about echo 7  = rel 29
        < echo-reply 7                          = est
        > unreachable about echo-reply 7        = rel
        ",
    );
    facts("> proto 50 = new 600\n +1 < unreachable about proto 50 = rel 599");
}

/// An error about nothing that is known, or to somebody else than the sender of what it quotes, or that
/// quotes too little.
#[test]
fn errors_that_belong_to_nothing() {
    facts(
        "
        < unreachable about udp                 = inv
        > udp                                   = new 30
        < unreachable about udp flow 1          = inv
        < unreachable about S 1000              = inv
        < unreachable about echo 7              = inv
        < unreachable about proto 50            = inv
        < unreachable astray about udp          = inv
        > echo 7                                = new 30
        < unreachable about echo 8              = inv
        > unreachable about echo 7              = inv        # the other end did not ask
        +30 < unreachable about udp             = inv        # no more
        ",
    );
    facts("ipv4\n > udp = new 30\n < unreachable cut 19 about udp = inv\n < unreachable cut 20 about udp = inv");
    facts("ipv6\n > udp = new 30\n < unreachable cut 39 about udp = inv\n < unreachable cut 40 about udp = inv");
    facts("ipv4\n > udp = new 30\n < unreachable cut 28 about udp = rel\n < too-big cut 28 about udp = rel");
    facts("ipv6\n > udp = new 30\n < unreachable cut 48 about udp = rel\n < too-big cut 48 about udp = rel");
    // An error about an error.
    facts("ipv4\n > icmp-3 = inv gone");
}

/// By addresses and protocol number alone. ESP, AH, OSPF and others: 600 s; GRE has two timers.
#[test]
fn other_protocols() {
    for number in [2, 50, 51, 89, 112, 253] {
        facts(&format!(
            "
            ipv4
            > proto {number}        = new 600
            +599 > proto {number}   = new 600
            +1 < proto {number}     = est 600
            +600 < proto {number}   = new 600
            "
        ));
    }
    facts("ipv6\n > proto 50 = new 600\n +599.999999999 < proto 50 = est 600\n > proto 89 = new 600");
    facts(
        "
        > proto 47                  = new 30
        +1 < proto 47               = est 30
        +1 > proto 47               = est 180 assured
        +179.999999999 < proto 47   = est 180
        ",
    );
    facts("set other=10 gre=11 gre_stream=12\n > proto 50 = new 10\n > proto 47 = new 11\n < proto 47 = est 11");
}

// The examples of the VPC guide, "Flow log record examples": who accepts, who rejects, packet by packet.

type Line = (Direction, &'static str, u8, Option<(u16, u16)>, bool);

fn rules(world: World, lines: &[Line]) -> RuleSet {
    let mut rules = RuleSet::new(world);
    for &(direction, remote, number, ports, allow) in lines {
        let remote = remote.parse().unwrap();
        rules.push(direction, Rule { remote, protocol: Some(number), ports, allow, name: "r".into() });
    }
    rules
}

/// Verdicts of security groups and of a network ACL.
fn both_worlds(groups: &[Line], acl: &[Line], packets: &[Packet]) -> [Vec<Verdict>; 2] {
    let (groups, acl) = (rules(World::SecurityGroups, groups), rules(World::NetworkAcl, acl));
    let trace = trace_of(packets.iter().copied());
    let workload = workload(trace, Some(groups), Some(acl), Config::new(Profile::Aws), 1000);
    let stateless = decisions(&workload, Kind::StatelessLinear, 1, 32);
    assert_eq!(stateless, workload.reference(false).unwrap());
    [agreed(&workload), stateless].map(|all| all.iter().map(|decision| decision.verdict()).collect())
}

fn packet(source: &str, destination: &str, number: u8, payload: &[u8]) -> Packet {
    let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
    let bytes = ip(source, destination, number, payload);
    let inside = Inside::new(&["172.31.16.0/20".parse().unwrap(), "2001:db8:1234:a102::/64".parse().unwrap()]);
    decode_ip(&bytes, bytes.len(), 1_700_000_000_000_000_000, &inside).unwrap()
}

/// "Security group and network ACL rules": a ping whose answer the network ACL rejects.
#[test]
fn flow_log_of_a_ping() {
    use Direction::{In, Out};
    let (home, instance) = ("203.0.113.12", "172.31.16.139");
    let number = icmp_number(home.parse().unwrap());
    let ping = packet(home, instance, number, &icmp(8, 0, 1));
    let pong = packet(instance, home, number, &icmp(0, 0, 1));
    let everyone = "0.0.0.0/0";
    let allow_in = (In, everyone, protocol::ICMP, None, true);
    let deny_out = (Out, everyone, protocol::ICMP, None, false);
    let allow_out = (Out, everyone, protocol::ICMP, None, true);

    let found = both_worlds(&[allow_in], &[allow_in, deny_out], &[ping, pong]);
    assert_eq!(found, [[Accept, Accept], [Accept, Drop]]);
    let found = both_worlds(&[allow_in], &[allow_in, allow_out], &[ping, pong]);
    assert_eq!(found, [[Accept, Accept], [Accept, Accept]]);
    // The security group does not permit it: one record, REJECT; there is no answer to log.
    let found = both_worlds(&[], &[allow_in, allow_out], &[ping]);
    assert_eq!(found, [[Drop], [Accept]]);
}

/// "Accepted and rejected traffic" and "IPv6 traffic": SSH is let in, RDP is not.
#[test]
fn flow_log_of_ssh_and_rdp() {
    use Direction::{In, Out};
    let segment = |flags: &str, from, to| {
        Segment { flags: flag_bits(flags), seq: 1000, ack: 1000, window: 1000, ..Segment::default() }.bytes(from, to)
    };
    let (v4, v6) = (("172.31.9.69", "172.31.16.21"), ("2001:db8:1234:a100::f105", "2001:db8:1234:a102::4071"));
    for (client, server) in [v4, v6] {
        let ssh = packet(client, server, protocol::TCP, &segment("S", 20_641, 22));
        let answer = packet(server, client, protocol::TCP, &segment("SA", 22, 20_641));
        let rdp = packet(client, server, protocol::TCP, &segment("S", 49_761, 3389));
        let everyone = if ssh.is_ipv6() { "::/0" } else { "0.0.0.0/0" };
        let ssh_in = (In, everyone, protocol::TCP, Some((22, 22)), true);
        let ephemeral_out = (Out, everyone, protocol::TCP, Some((1024, 65_535)), true);
        let found = both_worlds(&[ssh_in], &[ssh_in, ephemeral_out], &[ssh, answer, rdp]);
        // The ACL has no memory of SSH: its answer passes by the rule for ephemeral ports.
        assert_eq!(found, [[Accept, Accept, Drop], [Accept, Accept, Drop]]);
        let found = both_worlds(&[ssh_in], &[ssh_in], &[ssh, answer, rdp]);
        assert_eq!(found, [[Accept, Accept, Drop], [Accept, Drop, Drop]]);
    }
}
