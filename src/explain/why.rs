//! Decisions in words.

use super::cause::{Polarity, polarity};
use super::{Filter, Flow, Met, Role, index, way};
use crate::engine::{Decision, Reason, State, Verdict};
use crate::packet::{Direction, Packet, address, flags, protocol};
use crate::policy::path::is_final_deny;
use crate::policy::{Rule, RuleSet, World};
use crate::replay::Workload;
use std::net::IpAddr;

/// The sentence about the first of these packets.
pub(super) fn sentence(workload: &Workload, flow: &Flow, met: &Met) -> String {
    let packet = &workload.trace.packets[met.first as usize];
    let subject = subject(packet, met.role);
    let [groups, acl] = met.decisions;
    let drop = |decision: Option<Decision>, world| decision.map(|d| dropped(workload, flow, packet, d, world));
    match polarity(met) {
        Some(Polarity::OnlyAcl) => {
            let why = drop(acl, World::NetworkAcl).unwrap_or_default();
            let passes = groups.map_or_else(String::new, |d| group_passes(workload, packet, d));
            format!("{subject} dropped: {why}; {passes}")
        }
        Some(Polarity::OnlyGroups) => {
            let why = drop(groups, World::SecurityGroups).unwrap_or_default();
            let passes = acl.map_or_else(String::new, |d| acl_passes(workload, packet, d));
            format!("{subject} dropped: {why}; {passes}")
        }
        Some(Polarity::All) => {
            let both: Vec<String> =
                [drop(groups, World::SecurityGroups), drop(acl, World::NetworkAcl)].into_iter().flatten().collect();
            format!("{subject} dropped: {}", both.join("; "))
        }
        None => {
            let accepted = |decision: Option<Decision>, world| decision.map(|d| accepted(workload, packet, d, world));
            let both: Vec<String> = [accepted(groups, World::SecurityGroups), accepted(acl, World::NetworkAcl)]
                .into_iter()
                .flatten()
                .collect();
            format!("{subject} accepted: {}", both.join("; "))
        }
    }
}

/// The same of all packets of a cause, without addresses and ports.
pub(super) fn group(workload: &Workload, met: &Met) -> String {
    let packet = &workload.trace.packets[met.first as usize];
    let one = |decision: Decision, world| match (decision.verdict(), decision.reason()) {
        (Verdict::Drop, Reason::NoRule | Reason::Rule)
            if let Some(filter) = decided_by(workload, packet, decision, world).filter(|filter| !filter.has_rule()) =>
        {
            let (word, set) = (rule_word(filter.direction(), world), filter.set());
            format!("no {word} of {set} (step {}) covers them", filter.number())
        }
        (Verdict::Drop, Reason::NoRule) => format!("no {} covers them", rule_word(met.direction, world)),
        (Verdict::Drop, Reason::Invalid) => {
            "they belong to no connection that the security groups know, and open none".to_owned()
        }
        (Verdict::Drop, _) => dropped(
            workload,
            &Flow { first: met.first, opened: met.direction, met: Vec::new() },
            packet,
            decision,
            world,
        ),
        (Verdict::Accept, Reason::Tracked) if decision.state() == State::Related => {
            "a stateful group would pass them, as errors about a tracked connection".to_owned()
        }
        (Verdict::Accept, Reason::Tracked) => "a stateful group would pass them".to_owned(),
        (Verdict::Accept, _) if meets_none(workload, packet, decision, world) => {
            format!("no {} is on their way", world_word(world))
        }
        (Verdict::Accept, _) if world == World::SecurityGroups => "the security groups accept them by rule".to_owned(),
        (Verdict::Accept, _) => "the network ACL accepts them".to_owned(),
    };
    let [groups, acl] = met.decisions;
    let groups = groups.map(|decision| (decision, one(decision, World::SecurityGroups)));
    let acl = acl.map(|decision| (decision, one(decision, World::NetworkAcl)));
    let mut all: Vec<_> = [groups, acl].into_iter().flatten().collect();
    // What drops comes first.
    all.sort_by_key(|(decision, _)| decision.verdict() == Verdict::Accept);
    all.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")
}

/// "reply to 198.51.100.7:51334", as a sentence begins.
fn subject(packet: &Packet, role: Role) -> String {
    let remote = address(packet.outer_remote(), packet.is_ipv6());
    let with_port = has_ports(packet) && role != Role::IcmpError;
    let remote = if with_port { socket(remote, packet.remote_port) } else { remote.to_string() };
    let role = role.name();
    match (packet.direction(), with_port) {
        (Direction::Out, _) => format!("{role} to {remote}"),
        (Direction::In, true) => format!("{role} from {remote} to port {}", packet.local_port),
        (Direction::In, false) => format!("{role} from {remote}"),
    }
}

/// Address and port, as they are written together.
fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

fn has_ports(packet: &Packet) -> bool {
    matches!(packet.protocol, protocol::TCP | protocol::UDP) && !packet.has(flags::NO_PORTS)
}

fn rule_word(direction: Direction, world: World) -> &'static str {
    match (direction, world) {
        (Direction::In, World::SecurityGroups) => "inbound security group rule",
        (Direction::Out, World::SecurityGroups) => "outbound security group rule",
        (Direction::In, World::NetworkAcl) => "inbound ACL rule",
        (Direction::Out, World::NetworkAcl) => "outbound ACL rule",
    }
}

/// A rule's name and its place.
fn named(workload: &Workload, world: World, rule: u32) -> String {
    let worlds = [&workload.groups, &workload.acl];
    let Some(world) = worlds[index(world)] else { return String::new() };
    let name = &world.rules.rule(rule).name;
    match world.rules.origin(rule) {
        Some(origin) => format!("{name} ({origin})"),
        None => name.clone(),
    }
}

/// The filter by interface that decided.
fn decided_by<'a>(workload: &'a Workload, packet: &Packet, decision: Decision, world: World) -> Option<Filter<'a>> {
    way(workload, packet, decision, world).pop()
}

/// True if rules differ by interface and none of them is on the packet's way.
fn meets_none(workload: &Workload, packet: &Packet, decision: Decision, world: World) -> bool {
    let has_paths = [&workload.groups, &workload.acl][index(world)].as_ref().is_some_and(|rules| rules.has_paths());
    has_paths && decision.reason() == Reason::Rule && way(workload, packet, decision, world).is_empty()
}

fn world_word(world: World) -> &'static str {
    match world {
        World::SecurityGroups => "security group",
        World::NetworkAcl => "network ACL",
    }
}

/// The rules that let a packet pass, of every filter on its way.
fn passed(workload: &Workload, packet: &Packet, decision: Decision, world: World) -> String {
    let one = |filter: &Filter| {
        let rule = filter.rule.map(|rule| named(workload, world, rule)).unwrap_or_default();
        format!("{rule} {}", filter.place())
    };
    let filters = way(workload, packet, decision, world);
    match (filters.is_empty(), decision.rule()) {
        (false, _) => filters.iter().map(one).collect::<Vec<_>>().join(" and "),
        (true, Some(rule)) => named(workload, world, rule),
        (true, None) => String::new(),
    }
}

fn acl_passes(workload: &Workload, packet: &Packet, decision: Decision) -> String {
    if meets_none(workload, packet, decision, World::NetworkAcl) {
        return "no network ACL is on its way".into();
    }
    format!("the network ACL accepts it by {}", passed(workload, packet, decision, World::NetworkAcl))
}

fn group_passes(workload: &Workload, packet: &Packet, decision: Decision) -> String {
    match decision.state() {
        State::Established => "a stateful group would pass it".into(),
        State::Related => "a stateful group would pass it, as an error about a tracked connection".into(),
        _ if meets_none(workload, packet, decision, World::SecurityGroups) => "no security group is on its way".into(),
        _ => match decision.rule() {
            Some(_) => {
                let by = passed(workload, packet, decision, World::SecurityGroups);
                format!("the security group accepts it by {by}")
            }
            None => "the security group accepts it".into(),
        },
    }
}

fn accepted(workload: &Workload, packet: &Packet, decision: Decision, world: World) -> String {
    let by = || passed(workload, packet, decision, world);
    match (decision.reason(), decision.state(), decision.rule()) {
        _ if meets_none(workload, packet, decision, world) => format!("no {} is on its way", world_word(world)),
        (Reason::Tracked, State::Related, _) => "about a tracked connection".into(),
        (Reason::Tracked, _, _) => "part of a tracked connection".into(),
        (_, State::Untracked, Some(_)) => format!("untracked, by {}", by()),
        (_, _, Some(_)) => by(),
        _ => String::new(),
    }
}

/// Why a world drops a packet.
fn dropped(workload: &Workload, flow: &Flow, packet: &Packet, decision: Decision, world: World) -> String {
    let filter = decided_by(workload, packet, decision, world);
    match decision.reason() {
        Reason::Rule | Reason::NoRule if let Some(filter) = filter.filter(|filter| !filter.has_rule()) => {
            let word = format!("{} of {}", rule_word(filter.direction(), world), filter.set());
            format!("{} {}", miss(filter.rules(), &filter.view(packet), &word), filter.place())
        }
        Reason::Rule => {
            let place = filter.map_or_else(String::new, |filter| format!(" {}", filter.place()));
            let by = |rule| format!("denied by {}{place}", named(workload, world, rule));
            decision.rule().map_or_else(String::new, by)
        }
        Reason::NoRule => {
            let worlds = [&workload.groups, &workload.acl];
            let rules = worlds[index(world)].as_ref().map(|world| world.in_force(packet.time_ns));
            rules.map_or_else(String::new, |rules| miss(rules, packet, rule_word(packet.direction(), world)))
        }
        Reason::Invalid => {
            let accepted =
                |met: &Met| met.verdict(world) == Some(Verdict::Accept) && met.first < position(flow, decision, world);
            if flow.met.iter().any(accepted) {
                "its connection is closed, or the packet lies outside of the connection's window".into()
            } else {
                "it belongs to no connection that the security group knows, and opens none".into()
            }
        }
        Reason::TableFull => "no room in the connection table".into(),
        Reason::AllowanceExceeded => {
            format!("the instance's allowance of {} tracked connections is used up", workload.config.allowance)
        }
        Reason::FragmentIncomplete => "a fragment of a datagram that is never completed".into(),
        Reason::Tracked | Reason::Null => String::new(),
    }
}

/// Position of the first packet of the flow with this decision.
fn position(flow: &Flow, decision: Decision, world: World) -> u32 {
    let same = flow.met.iter().find(|met| met.decisions[index(world)] == Some(decision));
    same.map_or(flow.first, |met| met.first)
}

/// Why no rule matches: the field on which the nearest rules fail.
fn miss(rules: &RuleSet, packet: &Packet, word: &str) -> String {
    let remote = address(packet.outer_remote(), packet.is_ipv6());
    let family = if packet.is_ipv6() { "IPv6" } else { "IPv4" };
    let wanted = what(packet);
    let of_family: Vec<&Rule> = rules
        .rules(packet.direction())
        .map(|(_, rule)| rule)
        .filter(|rule| rule.remote.addr().is_ipv6() == packet.is_ipv6() && !is_final_deny(rule))
        .collect();
    if of_family.is_empty() {
        return format!("no {word} for {family} at all");
    }
    let number = packet.outer_protocol();
    let of_protocol = || of_family.iter().filter(|rule| rule.protocol.is_none_or(|wanted| wanted == number));
    if of_protocol().next().is_none() {
        return format!("no {word} for {}", protocol_name(number));
    }
    if of_protocol().any(|rule| rule.remote.contains(&remote)) {
        return format!("no {word} for {wanted}");
    }
    let port = packet.match_port();
    let by_port =
        |rule: &&&Rule| rule.ports.is_none_or(|(low, high)| port.is_some_and(|port| low <= port && port <= high));
    if of_protocol().any(|rule| by_port(&rule)) {
        format!("no {word} for {wanted} covers {remote}")
    } else {
        format!("no {word} for {wanted}, nor for {remote}")
    }
}

/// What a rule's ports would have to cover.
fn what(packet: &Packet) -> String {
    match (packet.outer_protocol(), packet.match_port()) {
        (protocol::ICMP | protocol::ICMPV6, Some(port)) => {
            format!("{} type {} code {}", protocol_name(packet.outer_protocol()), port >> 8, port & 0xff)
        }
        (protocol::TCP | protocol::UDP, Some(port)) => format!("destination port {port}"),
        (number @ (protocol::TCP | protocol::UDP), None) => {
            format!("a later fragment of {}, which has no ports", protocol_name(number))
        }
        (number, _) => protocol_name(number),
    }
}

/// A protocol as people write it.
pub fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "TCP".into(),
        protocol::UDP => "UDP".into(),
        protocol::ICMP => "ICMP".into(),
        protocol::ICMPV6 => "ICMPv6".into(),
        protocol::GRE => "GRE".into(),
        other => format!("IP protocol {other}"),
    }
}

/// A flow as people write it: protocol, who opened it, to whom.
pub fn flow_name(packet: &Packet, opened: Direction) -> String {
    let (mut local, mut remote) = (packet.local_addr().to_string(), packet.remote_addr().to_string());
    if has_ports(packet) {
        local = socket(packet.local_addr(), packet.local_port);
        remote = socket(packet.remote_addr(), packet.remote_port);
    }
    let (from, to) = if opened == Direction::In { (remote, local) } else { (local, remote) };
    format!("{} {from} -> {to}", protocol_name(packet.protocol))
}
