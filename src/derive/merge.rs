//! Fewer allows of exactly the same meaning.

use crate::packet::protocol;
use crate::policy::Rule;
use ipnet::IpNet;
use std::collections::BTreeMap;

/// Above this many rules only equal ones are merged: comparing all with all is quadratic.
const SEARCH_LIMIT: usize = 2_000;

/// The same set of packets by fewer rules, all of them allows, in an order that does not matter:
/// rules that another one covers go, adjacent port ranges and adjacent blocks become one.
pub(super) fn merged(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.retain(|rule| rule.ports.is_none_or(|(low, high)| low <= high));
    loop {
        let before = rules.len();
        rules = blocks(ports(rules));
        if rules.len() <= SEARCH_LIMIT {
            rules = uncovered(rules);
        }
        if rules.len() == before {
            return rules;
        }
    }
}

/// What two rules must share for their port ranges to be joined, sorted as people read them.
type Key = (Option<u8>, bool, IpNet);

/// Joins overlapping and adjacent port ranges of TCP and UDP.
fn ports(rules: Vec<Rule>) -> Vec<Rule> {
    let mut by_key: BTreeMap<Key, Vec<Rule>> = BTreeMap::new();
    for rule in rules {
        by_key.entry((rule.protocol, rule.ports.is_none(), rule.remote)).or_default().push(rule);
    }
    let mut all = Vec::new();
    for ((number, is_all, _), mut same) in by_key {
        if is_all {
            all.extend(same.into_iter().take(1));
            continue;
        }
        // An ICMP rule is for one type, or one type and code: ranges of types cannot be written.
        let joins = matches!(number, Some(protocol::TCP | protocol::UDP));
        same.sort_by_key(|rule| rule.ports);
        let mut kept: Vec<Rule> = Vec::new();
        for rule in same {
            if let (Some(last), Some((low, high))) = (kept.last_mut(), rule.ports)
                && let Some((last_low, last_high)) = last.ports
                && (rule.ports == last.ports || joins && u32::from(low) <= u32::from(last_high) + 1)
                // All ports as a range would also match fragments without ports.
                && (last_low.min(low), last_high.max(high)) != (0, u16::MAX)
            {
                last.ports = Some((last_low, last_high.max(high)));
            } else {
                kept.push(rule);
            }
        }
        all.extend(kept);
    }
    all
}

/// Joins blocks of the same protocol and ports.
fn blocks(rules: Vec<Rule>) -> Vec<Rule> {
    type Key = (Option<u8>, Option<(u16, u16)>);
    let mut by_ports: BTreeMap<Key, Vec<Rule>> = BTreeMap::new();
    for rule in rules {
        by_ports.entry((rule.protocol, rule.ports)).or_default().push(rule);
    }
    let join = |same: Vec<Rule>| {
        let nets = IpNet::aggregate(&same.iter().map(|rule| rule.remote).collect());
        let rule = same.into_iter().next();
        nets.into_iter().filter_map(move |remote| Some(Rule { remote, ..rule.clone()? })).collect::<Vec<_>>()
    };
    by_ports.into_values().flat_map(join).collect()
}

/// Leaves out what another rule covers.
fn uncovered(rules: Vec<Rule>) -> Vec<Rule> {
    let covered = |i: usize| {
        rules
            .iter()
            .enumerate()
            .any(|(j, outer)| i != j && outer.covers(&rules[i]) && (j < i || !rules[i].covers(outer)))
    };
    (0..rules.len()).filter(|i| !covered(*i)).map(|i| rules[i].clone()).collect()
}
