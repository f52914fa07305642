//! Why each flow was accepted or dropped, in each world, and why the worlds differ.
//!
//! The decisions are the reference's, packet by packet; here they are gathered by flow and by cause.
//! Memory grows with the flows, not with what is printed of them.

mod cause;
mod hits;
mod lost;
pub mod tracking;
mod way;
mod why;

pub use cause::{Cause, Polarity};
pub use hits::RuleUse;
pub use lost::Lost;
pub use tracking::Tracking;
pub use way::{Filter, FilterJson, way};
pub use why::{flow_name, protocol_name};

use crate::engine::{Decision, Verdict};
use crate::packet::{Direction, FlowKey, Packet, flags, protocol, tcp_flags};
use crate::policy::World;
use crate::replay::Workload;
use crate::verify::Judge;
use serde::Serialize;
use std::collections::HashMap;

/// What a packet is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sent by the end that opened the flow.
    Request,
    /// Sent by the other end.
    Reply,
    /// An ICMP error about the flow, from either end or a router.
    IcmpError,
}

impl Role {
    /// Of a packet in a flow whose requests go this way.
    pub fn of(packet: &Packet, opened: Direction) -> Role {
        if packet.has(flags::ICMP_ERROR) {
            Role::IcmpError
        } else if packet.direction() == opened {
            Role::Request
        } else {
            Role::Reply
        }
    }

    /// As a sentence begins with it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Request => "request",
            Role::Reply => "reply",
            Role::IcmpError => "ICMP error",
        }
    }
}

/// Packets of one flow that met the same decisions.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// Their direction.
    pub direction: Direction,
    /// What they are to the flow.
    pub role: Role,
    /// Decision of the security groups and of the network ACL, where those rules were given.
    pub decisions: [Option<Decision>; 2],
    /// How many.
    pub packets: u32,
    /// Position of the first in the trace.
    pub first: u32,
}

impl Met {
    /// The verdict of one world.
    pub fn verdict(&self, world: World) -> Option<Verdict> {
        self.decisions[index(world)].map(Decision::verdict)
    }

    /// True if the worlds' verdicts differ.
    pub fn differs(&self) -> bool {
        matches!(self.decisions, [Some(a), Some(b)] if a.verdict() != b.verdict())
    }

    /// True if a world drops them.
    pub fn is_dropped(&self) -> bool {
        self.decisions.iter().flatten().any(|decision| decision.verdict() == Verdict::Drop)
    }
}

/// One flow: all packets of one key.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Position of its first packet.
    pub first: u32,
    /// Direction of its requests.
    pub opened: Direction,
    /// What its packets met, in the order in which each was met first.
    pub met: Vec<Met>,
}

/// How a flow fared in one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Every packet was accepted.
    Accepted,
    /// Every packet was dropped.
    Dropped,
    /// Some were.
    Part,
}

impl Fate {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Accepted => "accepted",
            Fate::Dropped => "dropped",
            Fate::Part => "in part",
        }
    }
}

impl Flow {
    /// How it fared in a world; `None` if that world has no rules.
    pub fn fate(&self, world: World) -> Option<Fate> {
        let mut verdicts = self.met.iter().filter_map(|met| met.verdict(world));
        let first = verdicts.next()?;
        Some(match (verdicts.all(|verdict| verdict == first), first) {
            (false, _) => Fate::Part,
            (true, Verdict::Accept) => Fate::Accepted,
            (true, Verdict::Drop) => Fate::Dropped,
        })
    }

    /// True if the worlds differ on a packet.
    pub fn differs(&self) -> bool {
        self.met.iter().any(Met::differs)
    }

    /// True if a world drops a packet.
    pub fn has_drops(&self) -> bool {
        self.met.iter().any(Met::is_dropped)
    }

    /// All its packets.
    pub fn packets(&self) -> u64 {
        self.met.iter().map(|met| u64::from(met.packets)).sum()
    }
}

/// Counts of one world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fates {
    /// Packets accepted.
    pub accept: u64,
    /// Packets dropped.
    pub drop: u64,
    /// Flows of which every packet was accepted.
    pub flows_accepted: u64,
    /// Flows of which every packet was dropped.
    pub flows_dropped: u64,
    /// Flows of which some packets were dropped.
    pub flows_in_part: u64,
}

/// Everything that is said of a trace.
pub struct Explanation<'a> {
    /// What was replayed.
    pub workload: &'a Workload,
    /// All flows, in the order of their first packets.
    pub flows: Vec<Flow>,
    /// Why packets were dropped, most packets first; causes on which the worlds differ come first.
    pub causes: Vec<Cause>,
    /// Of the security groups and of the network ACL.
    pub fates: [Option<Fates>; 2],
    /// Use of every rule, in each world.
    pub rules: [Vec<RuleUse>; 2],
}

impl<'a> Explanation<'a> {
    /// Gathers what the reference decided.
    pub fn new(workload: &'a Workload, judge: &Judge) -> Self {
        let decisions = [judge.stateful.as_deref(), judge.stateless.as_deref()];
        let flows = gather(&workload.trace.packets, decisions);
        let fates = [World::SecurityGroups, World::NetworkAcl].map(|world| {
            decisions[index(world)].map(|_| {
                let mut fates = Fates::default();
                for flow in &flows {
                    match flow.fate(world) {
                        Some(Fate::Accepted) => fates.flows_accepted += 1,
                        Some(Fate::Dropped) => fates.flows_dropped += 1,
                        Some(Fate::Part) => fates.flows_in_part += 1,
                        None => {}
                    }
                    for met in &flow.met {
                        let accepted = met.verdict(world) == Some(Verdict::Accept);
                        fates.accept += if accepted { u64::from(met.packets) } else { 0 };
                        fates.drop += if accepted { 0 } else { u64::from(met.packets) };
                    }
                }
                fates
            })
        });
        let causes = cause::gather(workload, &flows);
        let worlds = [&workload.groups, &workload.acl];
        let rules = [0, 1].map(|i| worlds[i].as_ref().map_or_else(Vec::new, |world| hits::of(workload, world, &flows)));
        Explanation { workload, flows, causes, fates, rules }
    }

    /// A packet by its position in the trace.
    pub fn packet(&self, position: u32) -> &'a Packet {
        &self.workload.trace.packets[position as usize]
    }

    /// Why these packets met what they met, as a sentence about the first of them.
    pub fn sentence(&self, flow: &Flow, met: &Met) -> String {
        why::sentence(self.workload, flow, met)
    }

    /// The number of each flow, by its key.
    pub fn numbers(&self) -> HashMap<FlowKey, u32> {
        (0..).zip(&self.flows).map(|(number, flow)| (self.packet(flow.first).flow_key(), number)).collect()
    }

    /// Flows with packets on which the worlds differ, and those packets.
    pub fn differing(&self) -> (u64, u64) {
        let flows = self.flows.iter().filter(|flow| flow.differs()).count() as u64;
        let met = self.flows.iter().flat_map(|flow| &flow.met).filter(|met| met.differs());
        (flows, met.map(|met| u64::from(met.packets)).sum())
    }
}

/// Where a world stands in pairs.
pub fn index(world: World) -> usize {
    match world {
        World::SecurityGroups => 0,
        World::NetworkAcl => 1,
    }
}

fn gather(packets: &[Packet], decisions: [Option<&[Decision]>; 2]) -> Vec<Flow> {
    let mut numbers: HashMap<FlowKey, u32> = HashMap::new();
    let mut flows: Vec<Flow> = Vec::new();
    for (position, packet) in packets.iter().enumerate() {
        let position = position as u32;
        let number = *numbers.entry(packet.flow_key()).or_insert_with(|| {
            flows.push(Flow { first: position, opened: opener(packet), met: Vec::new() });
            flows.len() as u32 - 1
        });
        let flow = &mut flows[number as usize];
        let direction = packet.direction();
        let role = Role::of(packet, flow.opened);
        let decisions = decisions.map(|of_world| of_world.map(|all| all[position as usize]));
        let same = |met: &&mut Met| met.direction == direction && met.role == role && met.decisions == decisions;
        match flow.met.iter_mut().find(same) {
            Some(met) => met.packets += 1,
            None => flow.met.push(Met { direction, role, decisions, packets: 1, first: position }),
        }
    }
    flows
}

/// The direction of a flow's requests, by its first packet in the trace: a capture may begin with an answer.
fn opener(first: &Packet) -> Direction {
    let sent = first.direction();
    let other = match sent {
        Direction::In => Direction::Out,
        Direction::Out => Direction::In,
    };
    let is_answer = match first.protocol {
        // It quotes what the other end sent.
        _ if first.has(flags::ICMP_ERROR) => true,
        protocol::TCP => first.tcp_flags() & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN | tcp_flags::ACK,
        protocol::ICMP | protocol::ICMPV6 => first.icmp_role() == crate::packet::IcmpRole::Answer,
        _ => false,
    };
    if is_answer { other } else { sent }
}
