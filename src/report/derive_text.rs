//! `ctbench derive` on the terminal: the twin, what it exposes, where it still differs.

use super::words::thousands;
use crate::derive::Exposed;
use crate::explain::protocol_name;
use crate::packet::{Direction, protocol};
use crate::policy::{Rule, RuleSet};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::fmt::Write;
use std::net::IpAddr;

/// Rows and addresses of a list before it is cut.
const ROWS: usize = 40;
const BLOCKS: usize = 8;

/// The twin's rules.
pub fn rules(twin: &RuleSet) -> String {
    let mut text = String::new();
    for (direction, way) in [(Direction::In, "in"), (Direction::Out, "out")] {
        for (_, rule) in twin.rules(direction) {
            let name = rule.protocol.map_or("all protocols".to_owned(), protocol_name);
            // Writing to a string cannot fail; hence the ignored results here and below.
            let _ = writeln!(text, "  {way:3} {:9} allow {} {name} {}", rule.name, rule.remote, rule_ports(rule));
        }
    }
    text
}

fn rule_ports(rule: &Rule) -> String {
    match rule.protocol {
        Some(number) => ports(Some(number), rule.ports).unwrap_or_default(),
        None => String::new(),
    }
}

/// Ports, or type and code; `None` where all are meant.
fn ports(number: Option<u8>, ports: Option<(u16, u16)>) -> Option<String> {
    let (low, high) = ports?;
    let icmp = matches!(number, Some(protocol::ICMP | protocol::ICMPV6));
    Some(match (icmp, low == high) {
        (true, true) => format!("type {} code {}", low >> 8, low & 0xff),
        (true, false) if low >> 8 == high >> 8 && low & 0xff == 0 && high & 0xff == 0xff => {
            format!("type {}", low >> 8)
        }
        (true, false) => format!("types {}/{} to {}/{}", low >> 8, low & 0xff, high >> 8, high & 0xff),
        (false, true) => format!("port {low}"),
        (false, false) => format!("ports {low}-{high}"),
    })
}

/// What the twin exposes.
pub fn exposed(exposed: &[Exposed]) -> String {
    let mut text = String::new();
    for one in exposed.iter().take(ROWS) {
        let name = one.protocol.map_or("every other protocol".to_owned(), protocol_name);
        let what = match (one.protocol, one.ports) {
            (_, Some(_)) => ports(one.protocol, one.ports).unwrap_or_default(),
            (Some(protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6), None) => {
                "later fragments, which have no ports".into()
            }
            _ => String::new(),
        };
        let gap = if what.is_empty() { "" } else { " " };
        let way = if one.direction == "in" { "from" } else { "to" };
        let _ = writeln!(text, "  {:3} {name}{gap}{what} {way} {}", one.direction, remotes(&one.remotes));
    }
    if exposed.len() > ROWS {
        let _ = writeln!(text, "  ... and {} more sets: see --json", thousands((exposed.len() - ROWS) as u64));
    }
    text
}

/// Ranges as blocks where a few say it, else as ranges.
fn remotes(ranges: &[(IpAddr, IpAddr)]) -> String {
    let mut words = Vec::new();
    for range in ranges {
        let blocks: Vec<IpNet> = match range {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(*first, *last, 0).take(3).map(IpNet::from).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(*first, *last, 0).take(3).map(IpNet::from).collect()
            }
            _ => Vec::new(),
        };
        if blocks.len() <= 2 {
            words.extend(blocks.iter().map(ToString::to_string));
        } else {
            words.push(format!("{}-{}", range.0, range.1));
        }
        if words.len() > BLOCKS {
            break;
        }
    }
    let shown = words[..words.len().min(BLOCKS)].join(", ");
    if ranges.len() > BLOCKS || words.len() > BLOCKS {
        format!("{shown} and further ranges ({} in all)", thousands(ranges.len() as u64))
    } else {
        shown
    }
}
