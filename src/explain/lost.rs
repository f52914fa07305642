//! Replies that the network ACL loses: by service, and the ports that a rule would have to cover.

use super::{Explanation, Polarity, Role, protocol_name};
use crate::packet::{Direction, protocol};
use serde::Serialize;
use std::collections::BTreeMap;

/// Replies of one service that only the ACL drops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// True if the replies go out: the service is inside.
    pub outbound: bool,
    /// "TCP" or "UDP".
    pub protocol: String,
    /// The port that the flows' openers addressed.
    pub service: u16,
    /// Packets lost.
    pub packets: u64,
    /// Flows that lost some.
    pub flows: u64,
    /// The lowest destination port among them.
    pub low: u16,
    /// The highest.
    pub high: u16,
}

impl Explanation<'_> {
    /// Replies over TCP and UDP that the ACL alone drops, most packets first.
    pub fn lost_replies(&self) -> Vec<Lost> {
        let mut services: BTreeMap<(bool, u8, u16), Lost> = BTreeMap::new();
        let causes = self.causes.iter().filter(|cause| {
            matches!(cause.protocol, protocol::TCP | protocol::UDP)
                && cause.polarity == Polarity::OnlyAcl
                && cause.role == Role::Reply
        });
        for (cause, (flow, met)) in causes.flat_map(|cause| cause.flows.iter().map(move |flow| (cause, *flow))) {
            let flow = &self.flows[flow as usize];
            let met = &flow.met[met as usize];
            let packet = self.packet(met.first);
            let Some(port) = packet.match_port() else { continue };
            let service = if flow.opened == Direction::In { packet.local_port } else { packet.remote_port };
            let outbound = cause.direction == Direction::Out;
            let lost = services.entry((outbound, cause.protocol, service)).or_insert_with(|| Lost {
                outbound,
                protocol: protocol_name(cause.protocol),
                service,
                packets: 0,
                flows: 0,
                low: port,
                high: port,
            });
            lost.packets += u64::from(met.packets);
            lost.flows += 1;
            lost.low = lost.low.min(port);
            lost.high = lost.high.max(port);
        }
        let mut all: Vec<Lost> = services.into_values().collect();
        all.sort_by_key(|lost| std::cmp::Reverse(lost.packets));
        all
    }
}
