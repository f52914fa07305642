//! The stateless twin of security groups: a network ACL that lets the same conversations pass.
//!
//! A network ACL sees packets, not connections, so the twin needs for every rule of the groups a rule
//! for the answers, and answers to TCP and UDP go to the ports from which the requests came (VPC guide,
//! "Network ACLs", ephemeral ports). What these rules let in beside answers is what the twin exposes:
//! [`exposure()`] says exactly what.

mod document;
mod exposure;
mod merge;
mod needs;
mod twins;

pub(crate) use document::can_be_numbered;
pub use document::{describe, entries};
pub use exposure::{Exposed, exposure};
pub use needs::Needs;
pub use twins::{Exposure, Twin, WithoutSubnet};

use crate::packet::{Direction, protocol};
use crate::policy::{Rule, RuleSet, World};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// To which ports answers may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ephemeral {
    /// The ports that the trace needs: for each direction, protocol and address family one range above
    /// port 1023, and the ports below one by one.
    FromTrace,
    /// This range, both ends included.
    Range(u16, u16),
}

impl Ephemeral {
    /// What AWS recommends for clients of all kinds (VPC guide, "Network ACLs").
    pub const DOCUMENTED: Ephemeral = Ephemeral::Range(1024, 65_535);
    /// Linux clients: the default of `net.ipv4.ip_local_port_range`.
    pub const LINUX: Ephemeral = Ephemeral::Range(32_768, 60_999);
}

/// Path MTU discovery: type 3, code 4 of ICMP and type 2 of ICMPv6, which AWS advises to allow both ways.
const TOO_BIG: [(bool, u8, u16); 2] = [(false, protocol::ICMP, 3 << 8 | 4), (true, protocol::ICMPV6, 2 << 8)];

/// ICMP and ICMPv6 requests and their answers: family, request type, answer type.
const QUERIES: [(bool, u8, u8); 6] =
    [(false, 8, 0), (false, 13, 14), (false, 15, 16), (false, 17, 18), (true, 128, 129), (true, 139, 140)];

/// The twin of security groups: `needs` says what answers the trace holds.
///
/// Answers to a rule for all protocols are let in over TCP and UDP, as ICMP answers, and over further
/// protocols only if the trace needs them: a rule for all protocols both ways would filter nothing.
pub fn twin(groups: &RuleSet, needs: &Needs, ephemeral: Ephemeral) -> RuleSet {
    let mut directions: [Vec<Rule>; 2] = Default::default();
    for direction in [Direction::In, Direction::Out] {
        for (_, rule) in groups.rules(direction).filter(|(_, rule)| rule.allow) {
            directions[direction.index()].push(rule.clone());
            let back = opposite(direction);
            directions[back.index()].extend(answers(rule, back, needs, ephemeral));
        }
    }
    for back in [Direction::In, Direction::Out] {
        directions[back.index()].extend(errors(groups, back, needs, ephemeral));
    }
    let mut twin = RuleSet::new(World::NetworkAcl);
    let mut number = document::Numbers::new(directions.iter().map(Vec::len).sum());
    for (direction, rules) in [Direction::In, Direction::Out].into_iter().zip(directions) {
        for mut rule in merge::merged(rules) {
            rule.name = format!("acl:{}", number.next());
            twin.push(direction, rule);
        }
    }
    twin
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::In => Direction::Out,
        Direction::Out => Direction::In,
    }
}

fn is_v6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(_))
}

/// The rules for the answers to what this rule lets pass; they go `back`.
fn answers(rule: &Rule, back: Direction, needs: &Needs, ephemeral: Ephemeral) -> Vec<Rule> {
    let ipv6 = is_v6(&rule.remote);
    let is = |wanted: u8| rule.protocol.is_none_or(|number| number == wanted);
    let answer = |number: u8, ports| Rule { protocol: Some(number), ports, ..rule.clone() };
    let mut all = Vec::new();
    for number in [protocol::TCP, protocol::UDP].into_iter().filter(|number| is(*number)) {
        let ranges = match ephemeral {
            Ephemeral::Range(low, high) => vec![(low, high)],
            Ephemeral::FromTrace => needs.port_ranges(back, number, ipv6),
        };
        // A range of all ports would match fragments without ports as well, as AWS reads it.
        all.extend(ranges.into_iter().map(|range| answer(number, (range != (0, u16::MAX)).then_some(range))));
    }
    let icmp = if ipv6 { protocol::ICMPV6 } else { protocol::ICMP };
    if is(icmp) {
        for (_, request, reply) in QUERIES.into_iter().filter(|(v6, ..)| *v6 == ipv6) {
            let range = |icmp_type: u8| (u16::from(icmp_type) << 8, u16::from(icmp_type) << 8 | 0xff);
            let (low, high) = range(request);
            let passes = rule.ports.is_none_or(|(from, to)| from <= high && low <= to);
            // Echo is what people mean; the other queries are long obsolete.
            let is_echo = matches!(request, 8 | 128) && ephemeral != Ephemeral::FromTrace;
            if passes && (is_echo || needs.has_icmp_answer(back, ipv6, reply)) {
                all.push(answer(icmp, Some(range(reply))));
            }
        }
    }
    let others = needs.other_protocols(back, ipv6).filter(|number| is(*number));
    all.extend(others.map(|number| answer(number, None)));
    all
}

/// ICMP errors about conversations come from routers anywhere.
fn errors(groups: &RuleSet, back: Direction, needs: &Needs, ephemeral: Ephemeral) -> Vec<Rule> {
    let mut all = Vec::new();
    let rule = |ipv6: bool, number: u8, ports: (u16, u16)| {
        let remote = if ipv6 { Ipv6Net::default().into() } else { Ipv4Net::default().into() };
        Rule { remote, protocol: Some(number), ports: Some(ports), allow: true, name: String::new() }
    };
    for (ipv6, number, code) in TOO_BIG {
        let has_family = |direction| groups.rules(direction).any(|(_, rule)| is_v6(&rule.remote) == ipv6);
        if ephemeral != Ephemeral::FromTrace && (has_family(Direction::In) || has_family(Direction::Out)) {
            all.push(rule(ipv6, number, (code, code)));
        }
        let types = needs.icmp_errors(back, ipv6);
        all.extend(types.map(|icmp_type| {
            let low = u16::from(icmp_type) << 8;
            rule(ipv6, number, (low, low | 0xff))
        }));
    }
    all
}
