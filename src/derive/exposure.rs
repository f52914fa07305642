//! The exact set of packets that one filter accepts and another does not.
//!
//! Both are unions of boxes: an address range, protocols, a port range. For each family and each
//! protocol that a rule names, plus one that stands for all others, addresses are cut where a rule
//! begins or ends; in between, the question is one of port ranges only.

use crate::packet::{Direction, protocol};
use crate::policy::{Rule, RuleSet};
use ipnet::IpNet;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Packets without ports stand above all ports; rules for all ports cover them.
const NO_PORT: u32 = 1 << 16;

/// A set of packets that only one filter accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// "in" or "out".
    pub direction: &'static str,
    /// IANA number; `None`: every protocol that no rule names.
    pub protocol: Option<u8>,
    /// Destination ports, or ICMP type and code as `type << 8 | code`; both ends included. `None`:
    /// packets without ports, as later fragments are.
    pub ports: Option<(u16, u16)>,
    /// Remote addresses, as ranges with both ends included.
    pub remotes: Vec<(IpAddr, IpAddr)>,
}

/// The packets that `filter`, of which every rule allows, accepts and `reference` would not accept by
/// its rules.
pub fn exposure(filter: &RuleSet, reference: &RuleSet) -> Vec<Exposed> {
    let mut all = Vec::new();
    for direction in [Direction::In, Direction::Out] {
        for ipv6 in [false, true] {
            let of = |set: &RuleSet| -> Vec<Rule> {
                let rules = set.rules(direction).map(|(_, rule)| rule);
                rules.filter(|rule| rule.allow && matches!(rule.remote, IpNet::V6(_)) == ipv6).cloned().collect()
            };
            all.extend(of_family(direction, ipv6, &of(filter), &of(reference)));
        }
    }
    all
}

fn of_family(direction: Direction, ipv6: bool, filter: &[Rule], reference: &[Rule]) -> Vec<Exposed> {
    let named: BTreeSet<u8> = filter.iter().chain(reference).filter_map(|rule| rule.protocol).collect();
    // ICMP and ports are matched in their own way, so they are never among "all others".
    let own = [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::ICMPV6];
    let classes = named.into_iter().chain(own).collect::<BTreeSet<u8>>().into_iter().map(Some).chain([None]);
    let mut all = Vec::new();
    for class in classes {
        let of = |rules: &[Rule]| -> Vec<Span> { rules.iter().filter_map(|rule| Span::of(rule, class)).collect() };
        let mut by_ports: BTreeMap<(u32, u32), Vec<(u128, u128)>> = BTreeMap::new();
        for (addresses, ports) in difference(&of(filter), &of(reference)) {
            for range in ports {
                let ranges = by_ports.entry(range).or_default();
                match ranges.last_mut() {
                    Some((_, end)) if end.checked_add(1) == Some(addresses.0) => *end = addresses.1,
                    _ => ranges.push(addresses),
                }
            }
        }
        for ((low, high), ranges) in by_ports {
            let address = |bits: u128| -> IpAddr {
                if ipv6 { Ipv6Addr::from(bits).into() } else { Ipv4Addr::from(bits as u32).into() }
            };
            all.push(Exposed {
                direction: if direction == Direction::In { "in" } else { "out" },
                protocol: class,
                ports: (low < NO_PORT).then_some((low as u16, high.min(NO_PORT - 1) as u16)),
                remotes: ranges.into_iter().map(|(first, last)| (address(first), address(last))).collect(),
            });
        }
    }
    all
}

/// What one rule covers of one protocol.
#[derive(Clone, Copy)]
struct Span {
    first: u128,
    last: u128,
    low: u32,
    high: u32,
}

impl Span {
    fn of(rule: &Rule, class: Option<u8>) -> Option<Span> {
        let covers = rule.protocol.is_none_or(|number| Some(number) == class);
        let has_ports = matches!(class, Some(protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6));
        let (first, last) = match rule.remote {
            IpNet::V4(net) => (net.network().to_bits().into(), net.broadcast().to_bits().into()),
            IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
        };
        let (low, high) = match rule.ports {
            None if has_ports => (0, NO_PORT),
            None => (NO_PORT, NO_PORT),
            Some((low, high)) if has_ports && low <= high => (low.into(), high.into()),
            Some(_) => return None,
        };
        covers.then_some(Span { first, last, low, high })
    }
}

/// An address range, with port ranges.
type Stretch = ((u128, u128), Vec<(u32, u32)>);

/// Address ranges, ascending, with the port ranges that `filter` covers there and `reference` does not.
fn difference(filter: &[Span], reference: &[Span]) -> Vec<Stretch> {
    let spans: Vec<(bool, &Span)> =
        filter.iter().map(|span| (true, span)).chain(reference.iter().map(|span| (false, span))).collect();
    // Where the set of rules changes; a rule ends before the address after its last.
    let mut events: BTreeMap<u128, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (i, (_, span)) in spans.iter().enumerate() {
        events.entry(span.first).or_default().0.push(i);
        if let Some(after) = span.last.checked_add(1) {
            events.entry(after).or_default().1.push(i);
        }
    }
    let mut active: BTreeSet<usize> = BTreeSet::new();
    let mut all = Vec::new();
    let starts: Vec<u128> = events.keys().copied().collect();
    for (n, (start, (begin, end))) in events.into_iter().enumerate() {
        end.iter().for_each(|i| {
            active.remove(i);
        });
        active.extend(begin);
        let ports = |is_filter: bool| {
            let of = active.iter().map(|i| spans[*i]).filter(|(of_filter, _)| *of_filter == is_filter);
            union(of.map(|(_, span)| (span.low, span.high)).collect())
        };
        let left = without(&ports(true), &ports(false));
        // Behind the last rule that ends, none is active.
        if !left.is_empty() {
            let last = starts.get(n + 1).map_or_else(|| widest(filter), |next| next - 1);
            all.push(((start, last), left));
        }
    }
    all
}

/// The last address of all.
fn widest(spans: &[Span]) -> u128 {
    spans.iter().map(|span| span.last).max().unwrap_or(0)
}

/// Disjoint ranges in ascending order. [`NO_PORT`] stays apart from the ports: it is no port.
fn union(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let split: Vec<(u32, u32)> =
        ranges.iter().filter(|(low, high)| *high == NO_PORT && *low < NO_PORT).map(|_| (NO_PORT, NO_PORT)).collect();
    for range in &mut ranges {
        if range.1 == NO_PORT && range.0 < NO_PORT {
            range.1 = NO_PORT - 1;
        }
    }
    ranges.extend(split);
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joined = next.0 <= kept.1 + 1 && next.0 != NO_PORT || next.0 == kept.0;
        if joined {
            kept.1 = kept.1.max(next.1);
        }
        joined
    });
    ranges
}

/// The ranges of `a` less those of `b`.
fn without(a: &[(u32, u32)], b: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut left = Vec::new();
    for &(range_low, high) in a {
        let mut low = range_low;
        for &(cut_low, cut_high) in b.iter().filter(|(_, cut_high)| *cut_high >= range_low) {
            if cut_low > high {
                break;
            }
            if cut_low > low {
                left.push((low, cut_low - 1));
            }
            low = low.max(cut_high + 1);
        }
        if low <= high {
            left.push((low, high));
        }
    }
    left
}
