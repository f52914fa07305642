//! The part of a result that says on which flows the two worlds differ, and why: the largest causes, some flows of each.

use super::result::printable;
use crate::explain::{Explanation, Polarity, flow_name, protocol_name};
use crate::packet::Direction;
use serde::{Deserialize, Serialize};

/// Causes in a result; the rest is counted.
const CAUSES: usize = 20;

/// Flows of each cause.
const FLOWS: usize = 5;

/// Ports of each cause.
const PORTS: usize = 5;

/// On which flows the two worlds differ, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Differences {
    /// Packets whose verdicts differ.
    pub packets: u64,
    /// Flows with such packets.
    pub flows: u64,
    /// The causes with most packets, those first.
    pub causes: Vec<Cause>,
    /// Causes that are not listed.
    pub more_causes: u64,
}

/// Packets that one world drops and the other accepts for the same reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cause {
    /// "network ACL" or "security groups".
    #[serde(deserialize_with = "printable")]
    pub dropped_by: String,
    /// "request", "reply" or "ICMP error".
    #[serde(deserialize_with = "printable")]
    pub role: String,
    /// "in" or "out".
    #[serde(deserialize_with = "printable")]
    pub direction: String,
    /// As people write it.
    #[serde(deserialize_with = "printable")]
    pub protocol: String,
    /// Packets.
    pub packets: u64,
    /// Flows.
    pub flows: u64,
    /// Destination ports with most packets, and their packets; of ICMP type and code.
    pub ports: Vec<(u16, u64)>,
    /// In words.
    #[serde(deserialize_with = "printable")]
    pub text: String,
    /// The first flows that met it.
    pub examples: Vec<Example>,
}

/// A flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Example {
    /// Protocol, who opened it, to whom.
    #[serde(deserialize_with = "printable")]
    pub flow: String,
    /// Its packets.
    pub packets: u64,
    /// Those of this cause.
    pub differing: u64,
    /// Number of the first of these in the capture.
    pub first_packet: u64,
    /// Which rules decide, in words.
    #[serde(deserialize_with = "printable")]
    pub why: String,
}

impl Differences {
    /// Of a trace.
    pub fn of(explanation: &Explanation) -> Differences {
        let (flows, packets) = explanation.differing();
        // Those on which the worlds differ come first.
        let causes = || explanation.causes.iter().filter(|cause| cause.polarity != Polarity::All);
        Differences {
            packets,
            flows,
            causes: causes().take(CAUSES).map(|cause| Cause::of(explanation, cause)).collect(),
            more_causes: causes().count().saturating_sub(CAUSES) as u64,
        }
    }
}

impl Cause {
    fn of(explanation: &Explanation, cause: &crate::explain::Cause) -> Cause {
        let mut ports: Vec<(u16, u64)> = cause.ports.iter().map(|(port, packets)| (*port, *packets)).collect();
        ports.sort_by_key(|(port, packets)| (std::cmp::Reverse(*packets), *port));
        ports.truncate(PORTS);
        let example = |(number, met): &(u32, u32)| {
            let flow = &explanation.flows[*number as usize];
            let met = &flow.met[*met as usize];
            Example {
                flow: flow_name(explanation.packet(flow.first), flow.opened),
                packets: flow.packets(),
                differing: met.packets.into(),
                first_packet: explanation.workload.trace.frames[met.first as usize].into(),
                why: explanation.sentence(flow, met),
            }
        };
        Cause {
            dropped_by: if cause.polarity == Polarity::OnlyAcl { "network ACL" } else { "security groups" }.to_owned(),
            role: cause.role.name().to_owned(),
            direction: if cause.direction == Direction::In { "in" } else { "out" }.to_owned(),
            protocol: protocol_name(cause.protocol),
            packets: cause.packets,
            flows: cause.flows.len() as u64,
            ports,
            text: cause.text.clone(),
            examples: cause.flows.iter().take(FLOWS).map(example).collect(),
        }
    }
}
