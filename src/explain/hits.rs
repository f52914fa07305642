//! How often each rule decided.

use super::Flow;
use crate::packet::Direction;
use crate::replay::World;
use serde::Serialize;

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

/// The use of every rule of a world, the `which` of every pair of decisions.
pub(super) fn of(world: &World, flows: &[Flow], which: usize) -> Vec<RuleUse> {
    let rules = &world.rules;
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
        let mut first = None;
        for (n, met) in flow.met.iter().enumerate() {
            let Some(decision) = met.decisions[which] else { continue };
            let Some(rule) = decision.rule() else {
                if let Some(first) = first.filter(|_| decision.reason() == crate::engine::Reason::Tracked) {
                    let used: &mut RuleUse = &mut uses[first as usize];
                    used.tracked += u64::from(met.packets);
                }
                continue;
            };
            first = first.or(Some(rule));
            let earlier = flow.met[..n].iter();
            let is_first = !earlier.filter_map(|met| met.decisions[which]?.rule()).any(|other| other == rule);
            let used = &mut uses[rule as usize];
            used.packets += u64::from(met.packets);
            used.flows += u64::from(is_first);
        }
    }
    uses
}
