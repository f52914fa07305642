//! How often each rule decided.

use super::{Flow, index, way};
use crate::engine::Reason;
use crate::packet::Direction;
use crate::replay::{Workload, World};
use serde::Serialize;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The use of one rule.
#[derive(Clone, Debug, Serialize)]
pub struct RuleUse {
    /// As the verdict CSV names it.
    pub rule: String,
    /// "in" or "out".
    pub direction: &'static str,
    /// The addresses that it covers, which tell rules of one name apart.
    pub remote: String,
    /// Where it was read.
    pub file: Option<String>,
    /// The JSON path in that file.
    pub path: Option<String>,
    /// Packets that it decided itself: under security groups those that open a connection, and untracked ones.
    pub packets: u64,
    /// Flows with such packets.
    pub flows: u64,
    /// Packets that passed as part of a connection, of flows that it decided first.
    pub tracked: u64,
}

/// The use of every rule of a world.
pub(super) fn of(workload: &Workload, world: &World, flows: &[Flow]) -> Vec<RuleUse> {
    let (rules, which) = (&world.rules, index(world.rules.world));
    let mut uses: Vec<RuleUse> = (0..rules.len() as u32)
        .map(|i| {
            let origin = rules.origin(i);
            RuleUse {
                rule: rules.rule(i).name.clone(),
                direction: if rules.direction(i) == Direction::In { "in" } else { "out" },
                remote: rules.rule(i).remote.to_string(),
                file: origin.map(|origin| origin.file.display().to_string()),
                path: origin.map(|origin| origin.path.clone()),
                packets: 0,
                flows: 0,
                tracked: 0,
            }
        })
        .collect();
    for flow in flows {
        // Rules of the flow so far; those of the first decision let the connection's packets pass.
        let (mut seen, mut first): (Vec<u32>, Option<Vec<u32>>) = (Vec::new(), None);
        for met in &flow.met {
            let Some(decision) = met.decisions[which] else { continue };
            if decision.reason() == Reason::Tracked {
                for rule in first.iter().flatten() {
                    uses[*rule as usize].tracked += u64::from(met.packets);
                }
                continue;
            }
            // By interface, the rules of all filters that were passed count as well.
            let packet = &workload.trace.packets[met.first as usize];
            let mut hit: Vec<u32> =
                way(workload, packet, decision, rules.world).iter().filter_map(|filter| filter.rule).collect();
            if hit.is_empty() {
                hit.extend(decision.rule());
            }
            for rule in &hit {
                let used = &mut uses[*rule as usize];
                used.packets += u64::from(met.packets);
                if !seen.contains(rule) {
                    used.flows += 1;
                    seen.push(*rule);
                }
            }
            if !hit.is_empty() {
                first.get_or_insert(hit);
            }
        }
    }
    if world.has_paths() { merged(uses) } else { uses }
}

/// A group's rule stands in the set of every interface that carries it: here it is one. Without those that nobody
/// wrote.
fn merged(uses: Vec<RuleUse>) -> Vec<RuleUse> {
    let mut places = HashMap::new();
    let mut all: Vec<RuleUse> = Vec::new();
    for one in uses.into_iter().filter(|one| one.path.is_some()) {
        let key = (one.file.clone(), one.path.clone(), one.direction, one.remote.clone());
        match places.entry(key) {
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(one);
            }
            Entry::Occupied(place) => {
                let known = &mut all[*place.get()];
                known.packets += one.packets;
                known.flows += one.flows;
                known.tracked += one.tracked;
            }
        }
    }
    all
}
