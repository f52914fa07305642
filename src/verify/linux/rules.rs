//! Our rules as nftables reads them.
//!
//! One chain right after connection tracking decides, and reports each packet's verdict and state
//! as the prefix of a log message. Nothing that the kernel itself wants to say leaves.

use super::namespace::{INSIDE, OUTSIDE};
use super::{Rules, path};
use crate::conntrack::Invalid;
use crate::packet::{Direction, protocol};
use crate::policy::{Rule, World};
use ipnet::IpNet;
use std::fmt::Write;

/// The log group that reports go to. Groups are a namespace's own.
pub(super) const GROUP: u16 = 7;

/// The states that nftables tells apart.
const STATES: [&str; 5] = ["new", "established", "related", "invalid", "untracked"];

/// The mark of pieces that have no transport header. nftables itself takes the bytes at that place for
/// one; rules that name ports are not meant for them.
const LATER_PIECE: u32 = 1;

/// The whole rule set. Prefixes are `accept:` or `drop:` and the state, `-` without tracking.
pub(super) fn ruleset(rules: Rules, invalid: Invalid) -> String {
    let tracked = rules.world() == World::SecurityGroups;
    let mut text = String::from("table inet ctbench {\n");
    for verdict in ["accept", "drop"] {
        let log = |state| format!("log prefix \"{verdict}:{state}\" group {GROUP} queue-threshold 1 {verdict}");
        if tracked {
            for state in STATES {
                chain(&mut text, &format!("{verdict}_{state}"), &[log(state)]);
            }
            let choices: Vec<_> = STATES.iter().map(|state| format!("{state} : goto {verdict}_{state}")).collect();
            chain(&mut text, &format!("say_{verdict}"), &[format!("ct state vmap {{ {} }}", choices.join(", "))]);
        } else {
            chain(&mut text, &format!("say_{verdict}"), &[log("-")]);
        }
    }
    let mut known = Vec::new();
    if tracked {
        if invalid == Invalid::Drop {
            known.push("ct state invalid goto say_drop".to_owned());
        }
        known.push("ct state established,related goto say_accept".to_owned());
    }
    for (name, direction) in [("ingress", Direction::In), ("egress", Direction::Out)] {
        let mut lines = known.clone();
        match rules {
            Rules::One(rules) => {
                lines.extend(
                    rules.rules(direction).flat_map(|(_, rule)| statements(rule, direction, "goto say_accept")),
                );
                lines.push("goto say_drop".to_owned());
            }
            // The way is the same, whichever end it begins at.
            Rules::ByInterface(attached) if direction == Direction::In => {
                path::chains(&mut text, attached);
                lines.extend(path::steps(attached));
            }
            Rules::ByInterface(_) => lines = vec!["goto ingress".to_owned()],
        }
        chain(&mut text, name, &lines);
    }
    let hook = |name, priority| format!("type filter hook {name} priority {priority}; policy drop;");
    chain(&mut text, "silence", &[hook("output", -400)]);
    let mut filter = vec![hook("prerouting", -150)];
    if !tracked {
        // Connection tracking would have put the pieces together.
        filter.push(format!("ip frag-off & 0x1fff != 0 meta mark set {LATER_PIECE}"));
        filter.push(format!("frag frag-off != 0 meta mark set {LATER_PIECE}"));
    }
    filter.extend([(OUTSIDE, "ingress"), (INSIDE, "egress")].map(|(from, to)| format!("iifname \"{from}\" goto {to}")));
    chain(&mut text, "filter", &filter);
    text.push_str("}\n");
    text
}

pub(super) fn chain(text: &mut String, name: &str, lines: &[String]) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "  chain {name} {{\n    {}\n  }}", lines.join("\n    "));
}

/// One rule: a statement, or one for each protocol that its ports can be of.
pub(super) fn statements(rule: &Rule, direction: Direction, allowed: &str) -> Vec<String> {
    let then = if rule.allow { allowed } else { "goto say_drop" };
    let address = address(&rule.remote, direction);
    let Some((low, high)) = rule.ports else {
        let protocol = rule.protocol.map_or(String::new(), |number| format!(" meta l4proto {number}"));
        return vec![format!("{address}{protocol} {then}")];
    };
    if low > high {
        return Vec::new();
    }
    let ports = [(protocol::TCP, 16), (protocol::UDP, 16), (protocol::ICMP, 0), (protocol::ICMPV6, 0)];
    let of_rule = ports.iter().filter(|(number, _)| rule.protocol.is_none_or(|wanted| wanted == *number));
    // Sixteen bits of the transport header: the destination port, or ICMP's type and code.
    let range = if low == high { low.to_string() } else { format!("{low}-{high}") };
    of_rule
        .map(|(number, bit)| format!("{address} meta mark 0 meta l4proto {number} @th,{bit},16 {range} {then}"))
        .collect()
}

fn address(remote: &IpNet, direction: Direction) -> String {
    let end = if direction == Direction::In { "saddr" } else { "daddr" };
    match remote {
        IpNet::V4(block) if block.prefix_len() == 0 => "meta nfproto ipv4".into(),
        IpNet::V6(block) if block.prefix_len() == 0 => "meta nfproto ipv6".into(),
        IpNet::V4(block) => format!("ip {end} {}", block.trunc()),
        IpNet::V6(block) => format!("ip6 {end} {}", block.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RuleSet;

    fn rule(remote: &str, protocol: Option<u8>, ports: Option<(u16, u16)>, allow: bool) -> Rule {
        Rule { remote: remote.parse().unwrap(), protocol, ports, allow, name: "x".into() }
    }

    #[test]
    fn rules_read_as_written() {
        let say = |rule: &Rule, direction| statements(rule, direction, "goto say_accept").join("; ");
        let tcp = rule("10.0.0.0/8", Some(6), Some((80, 443)), true);
        assert_eq!(
            say(&tcp, Direction::In),
            "ip saddr 10.0.0.0/8 meta mark 0 meta l4proto 6 @th,16,16 80-443 goto say_accept"
        );
        let icmp = rule("::/0", Some(58), Some((0x8000, 0x8000)), false);
        assert_eq!(
            say(&icmp, Direction::Out),
            "meta nfproto ipv6 meta mark 0 meta l4proto 58 @th,0,16 32768 goto say_drop"
        );
        let all = rule("2001:db8::1/64", None, None, true);
        assert_eq!(say(&all, Direction::Out), "ip6 daddr 2001:db8::/64 goto say_accept");
        assert_eq!(statements(&rule("0.0.0.0/0", None, Some((1, 2)), true), Direction::In, "").len(), 4);
        assert_eq!(statements(&rule("0.0.0.0/0", Some(50), Some((1, 2)), true), Direction::In, "").len(), 0);
    }

    #[test]
    fn only_security_groups_track() {
        assert!(
            ruleset(Rules::One(&RuleSet::new(World::SecurityGroups)), Invalid::Drop)
                .contains("ct state invalid goto say_drop")
        );
        assert!(
            !ruleset(Rules::One(&RuleSet::new(World::SecurityGroups)), Invalid::Rules)
                .contains("ct state invalid goto")
        );
        assert!(!ruleset(Rules::One(&RuleSet::new(World::NetworkAcl)), Invalid::Drop).contains("ct "));
    }
}
