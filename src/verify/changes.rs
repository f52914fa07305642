//! What a rule change did to the flows that were going on.

use super::Judge;
use crate::engine::{Decision, State, Verdict};
use crate::packet::{FlowKey, Packet};
use crate::replay::{Workload, World};
use serde::Serialize;
use std::collections::HashMap;

/// One change of one world's rules. Flows count whose last packet before the change was accepted and
/// that have another packet after it, before the next change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Whose rules changed.
    pub world: &'static str,
    /// When, in ns since 1970.
    pub at_ns: u64,
    /// The same, in seconds after the first packet.
    pub after_s: f64,
    /// Flows whose next packet is dropped.
    pub cut: usize,
    /// Flows whose next packet is accepted.
    pub lived_on: usize,
    /// Of those that lived on, flows that the new rules would not have opened: tracking alone keeps them.
    pub kept_by_tracking: usize,
}

/// The changes of both worlds, judged by the reference's decisions.
pub fn changes(workload: &Workload, judge: &Judge) -> Vec<Change> {
    let worlds =
        [("security groups", &workload.groups, &judge.stateful), ("network ACL", &workload.acl, &judge.stateless)];
    let mut all = Vec::new();
    for (name, world, decisions) in worlds {
        if let (Some(world), Some(decisions)) = (world, decisions) {
            all.extend(of_world(name, world, &workload.trace.packets, decisions));
        }
    }
    all
}

/// A flow before the change.
struct Before<'a> {
    accepted: bool,
    /// The packet that opened it, or its first.
    opener: &'a Packet,
}

fn of_world(name: &'static str, world: &World, packets: &[Packet], decisions: &[Decision]) -> Vec<Change> {
    let start_ns = packets.first().map_or(0, |packet| packet.time_ns);
    let times: Vec<u64> = world.changes().collect();
    let one = |(n, at_ns): (usize, &u64)| {
        let until_ns = times.get(n + 1).copied().unwrap_or(u64::MAX);
        let new_rules = world.evaluators()[n + 1].1;
        let after_s = at_ns.saturating_sub(start_ns) as f64 / 1e9;
        let mut change = Change { world: name, at_ns: *at_ns, after_s, cut: 0, lived_on: 0, kept_by_tracking: 0 };
        let mut flows: HashMap<FlowKey, Before> = HashMap::new();
        for (packet, decision) in packets.iter().zip(decisions) {
            let accepted = decision.verdict() == Verdict::Accept;
            if packet.time_ns < *at_ns {
                let flow = flows.entry(packet.flow_key()).or_insert(Before { accepted, opener: packet });
                flow.accepted = accepted;
                if accepted && decision.state() == State::New {
                    flow.opener = packet;
                }
            } else if packet.time_ns < until_ns
                && let Some(before) = flows.remove(&packet.flow_key()).filter(|before| before.accepted)
            {
                change.cut += usize::from(!accepted);
                change.lived_on += usize::from(accepted);
                let would_open = new_rules.first_match(before.opener).is_some_and(|rule| rule.allow);
                change.kept_by_tracking += usize::from(accepted && !would_open);
            }
        }
        change
    };
    times.iter().enumerate().map(one).collect()
}
