//! Every flow of a pass in which several cores may have handled one flow at once: are its verdicts
//! explained by some order of its packets?

use super::Judge;
use super::reordering::{Explanation, Reordering, Seen};
use crate::conntrack::Invalid;
use crate::engine::registry::Kind;
use crate::engine::{Decision, Reason, Verdict};
use crate::packet::{FlowKey, flags};
use crate::policy::Evaluate;
use crate::replay::{Steered, Workload};
use crate::table::TableCounters;
use crate::trace::Trace;
use std::collections::HashMap;

/// Positions that the search may look at for one flow, beside one a packet: some tenths of a second.
const LIMIT_PER_FLOW: usize = 1 << 18;

/// The same for all flows of one pass together.
const LIMIT_PER_PASS: usize = 1 << 21;

/// How the flows of one or more passes fared: `in_order` to `unexplained` sum up to `flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowTally {
    /// Passes checked.
    pub passes: u64,
    /// Flows checked, each once a pass.
    pub flows: u64,
    /// Packets of these flows, each once a pass.
    pub packets: u64,
    /// Packets whose verdict or state is not the one of trace order.
    pub otherwise: u64,
    /// Every verdict is the one of trace order.
    pub in_order: u64,
    /// Another order within the window gives the verdicts.
    pub reordered: u64,
    /// The table was full, or the allowance used up, and other flows decide what that does to this one.
    pub not_comparable: u64,
    /// The search was given up.
    pub undecided: u64,
    /// No order within the window gives the verdicts: they are wrong.
    pub unexplained: u64,
    /// The first flow of the last kind.
    pub first_unexplained: Option<String>,
}

impl FlowTally {
    /// Share of the packets that were not decided as in trace order.
    pub fn otherwise_share(&self) -> f64 {
        self.otherwise as f64 / self.packets.max(1) as f64
    }

    /// Adds other passes.
    pub fn merge(&mut self, other: FlowTally) {
        self.passes += other.passes;
        self.flows += other.flows;
        self.packets += other.packets;
        self.otherwise += other.otherwise;
        self.in_order += other.in_order;
        self.reordered += other.reordered;
        self.not_comparable += other.not_comparable;
        self.undecided += other.undecided;
        self.unexplained += other.unexplained;
        if self.first_unexplained.is_none() {
            self.first_unexplained = other.first_unexplained;
        }
    }
}

/// Where a packet is: lane, and place in the lane.
type Place = (u16, u32);

/// A flow's packets, in trace order.
struct Flow {
    key: FlowKey,
    shard: u16,
    packets: Vec<Place>,
}

/// The flows of a steered trace, ready to be checked pass after pass.
pub struct FlowCheck<'a> {
    trace: &'a Trace,
    steered: &'a Steered,
    /// What the reference decides, in trace order.
    right: &'a [Decision],
    groups: Vec<(u64, &'a dyn Evaluate)>,
    search: Reordering<'a>,
    flows: Vec<Flow>,
    /// Shards that hold more flows than entries, so that an insert may have met a full table.
    may_be_full: Vec<bool>,
}

impl<'a> FlowCheck<'a> {
    /// Of an engine's lanes. `None` if the order of a flow's packets is not in question: stateless engines
    /// do not care, symmetric steering keeps it, and so does a single core.
    pub fn new(workload: &'a Workload, judge: &'a Judge, kind: Kind, steered: &'a Steered) -> Option<Self> {
        let several = steered.lanes.len() > 1;
        let window = steered.steering.window().filter(|_| several && kind.is_stateful())?;
        let right = judge.of(kind)?;
        let groups = workload.groups.as_ref()?.evaluators();
        let mut places: Vec<(u32, Place)> = Vec::with_capacity(steered.packets());
        for (number, lane) in (0u16..).zip(&steered.lanes) {
            places.extend((0u32..).zip(&lane.positions).map(|(at, position)| (*position, (number, at))));
        }
        places.sort_unstable();
        let mut numbers: HashMap<FlowKey, usize> = HashMap::new();
        let mut flows: Vec<Flow> = Vec::new();
        for (_, (lane, at)) in places {
            let from = &steered.lanes[usize::from(lane)];
            let key = from.packets[at as usize].flow_key();
            let number = *numbers.entry(key).or_insert(flows.len());
            if number == flows.len() {
                flows.push(Flow { key, shard: from.tags[at as usize].shard, packets: Vec::new() });
            }
            flows[number].packets.push((lane, at));
        }
        let mut in_shard = vec![0usize; workload.geometry.shards as usize];
        flows.iter().for_each(|flow| in_shard[usize::from(flow.shard)] += 1);
        // Each core may hold an entry that it fills for a flow that another core then turns out to have inserted.
        let room = (workload.geometry.entries_per_shard as usize).saturating_sub(steered.lanes.len());
        let search = Reordering {
            tracker: &workload.tracker,
            drops_invalid: workload.config.invalid == Invalid::Drop,
            window,
            shortest_timeout_ns: workload.config.timeouts.shortest().saturating_mul(1_000_000_000),
            shortest_cut_ns: workload.config.timeouts.tcp_unacknowledged.saturating_mul(1_000_000_000),
            limit: LIMIT_PER_FLOW,
        };
        let may_be_full = in_shard.into_iter().map(|flows| flows > room).collect();
        Some(FlowCheck { trace: &workload.trace, steered, right, groups, search, flows, may_be_full })
    }

    /// Checks one pass's decisions, lane by lane.
    pub fn pass(&self, lanes: &[Vec<Decision>], counters: Option<&TableCounters>) -> FlowTally {
        let mut tally = FlowTally { passes: 1, flows: self.flows.len() as u64, ..FlowTally::default() };
        let evicted = counters.is_some_and(|counters| counters.evicted > 0);
        let mut left = LIMIT_PER_PASS;
        for flow in &self.flows {
            let otherwise = flow.packets.iter().filter(|place| self.differs(**place, lanes)).count();
            tally.packets += flow.packets.len() as u64;
            tally.otherwise += otherwise as u64;
            if otherwise == 0 {
                tally.in_order += 1;
            } else if self.met_a_limit(flow, lanes) {
                tally.not_comparable += 1;
            } else {
                let search = Reordering { limit: self.search.limit.min(left), ..self.search };
                let (explanation, looked_at) = search.explain(&self.seen(flow, lanes));
                left = left.saturating_sub(looked_at.saturating_sub(flow.packets.len()));
                match explanation {
                    Explanation::Found => tally.reordered += 1,
                    Explanation::Undecided => tally.undecided += 1,
                    Explanation::Impossible if evicted && self.may_be_full[usize::from(flow.shard)] => {
                        tally.not_comparable += 1;
                    }
                    Explanation::Impossible => {
                        tally.unexplained += 1;
                        tally.first_unexplained.get_or_insert_with(|| self.complaint(flow, lanes));
                    }
                }
            }
        }
        tally
    }

    fn position(&self, (lane, at): Place) -> usize {
        self.steered.lanes[usize::from(lane)].positions[at as usize] as usize
    }

    fn differs(&self, place: Place, lanes: &[Vec<Decision>]) -> bool {
        let (ours, right) = (decision(lanes, place), self.right[self.position(place)]);
        ours.verdict() != right.verdict() || ours.state() != right.state()
    }

    fn met_a_limit(&self, flow: &Flow, lanes: &[Vec<Decision>]) -> bool {
        let is_limit = |reason| matches!(reason, Reason::TableFull | Reason::AllowanceExceeded);
        flow.packets.iter().any(|place| is_limit(decision(lanes, *place).reason()))
    }

    /// What each core saw of the flow.
    fn seen(&self, flow: &Flow, lanes: &[Vec<Decision>]) -> Vec<Vec<Seen<'_>>> {
        let mut cores = vec![Vec::new(); lanes.len()];
        let mut epochs = self.groups.iter().peekable();
        let mut groups = None;
        for place in &flow.packets {
            let packet = &self.steered.lanes[usize::from(place.0)].packets[place.1 as usize];
            while let Some(epoch) = epochs.next_if(|epoch| groups.is_none() || epoch.0 <= packet.time_ns) {
                groups = Some(epoch.1);
            }
            let Some(groups) = groups else { continue };
            let allowed = groups.first_match(packet).is_some_and(|rule| rule.allow);
            cores[usize::from(place.0)].push(Seen {
                packet,
                index: self.position(*place) as u32,
                decision: decision(lanes, *place),
                by_rules: if allowed { Verdict::Accept } else { Verdict::Drop },
                tracked: !packet.has(flags::NEVER_TRACKED) && !groups.is_untracked(packet),
            });
        }
        cores
    }

    fn complaint(&self, flow: &Flow, lanes: &[Vec<Decision>]) -> String {
        let Some(first) = flow.packets.iter().find(|place| self.differs(**place, lanes)) else { return String::new() };
        let packet = &self.steered.lanes[usize::from(first.0)].packets[first.1 as usize];
        let (ours, right) = (decision(lanes, *first), self.right[self.position(*first)]);
        format!(
            "protocol {}, {} port {} and {} port {}, of {} packets: {} is {} ({}), in trace order {} ({})",
            flow.key.words[4] >> 32 & 0xff,
            packet.local_addr(),
            packet.local_port,
            packet.remote_addr(),
            packet.remote_port,
            flow.packets.len(),
            self.trace.name(self.position(*first)),
            ours.verdict().name(),
            ours.state().name(),
            right.verdict().name(),
            right.state().name(),
        )
    }
}

fn decision(lanes: &[Vec<Decision>], (lane, at): Place) -> Decision {
    lanes[usize::from(lane)][at as usize]
}
