//! Dropped packets, grouped by what dropped them and by what the other world says.

use super::{Flow, Met, Role, way, why};
use crate::engine::{Decision, Reason, Verdict};
use crate::packet::Direction;
use crate::policy::World;
use crate::replay::Workload;
use std::collections::{BTreeMap, HashMap};

/// Who drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Polarity {
    /// The network ACL, and the security groups accept.
    OnlyAcl,
    /// The security groups, and the network ACL accepts.
    OnlyGroups,
    /// Every world that was given.
    All,
}

/// One cause of drops, and whom it met.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Who drops.
    pub polarity: Polarity,
    /// What the packets are to their flows.
    pub role: Role,
    /// Their direction.
    pub direction: Direction,
    /// Their protocol; of an ICMP error ICMP's.
    pub protocol: u8,
    /// In words, without the ports.
    pub text: String,
    /// Packets.
    pub packets: u64,
    /// By destination port; ICMP: by type and code. Packets without ports are missing.
    pub ports: BTreeMap<u16, u64>,
    /// Whom: number of the flow, and of what it met.
    pub flows: Vec<(u32, u32)>,
}

/// What makes two drops the same cause. Which rule accepts elsewhere does not matter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    polarity: Polarity,
    role: Role,
    direction: Direction,
    protocol: u8,
    dropped_by: [Option<Decision>; 2],
    passes: Option<Reason>,
    /// By interface: the set and direction of the filters that drop.
    filters: [Option<(usize, Direction)>; 2],
}

pub(super) fn polarity(met: &Met) -> Option<Polarity> {
    let drops = met.decisions.map(|decision| decision.map(|decision| decision.verdict() == Verdict::Drop));
    match drops {
        [Some(false), Some(true)] => Some(Polarity::OnlyAcl),
        [Some(true), Some(false)] => Some(Polarity::OnlyGroups),
        [a, b] => (a.or(b) == Some(true)).then_some(Polarity::All),
    }
}

/// All causes: those on which the worlds differ first, then by packets.
pub(super) fn gather(workload: &Workload, flows: &[Flow]) -> Vec<Cause> {
    let mut numbers: HashMap<Key, usize> = HashMap::new();
    let mut causes: Vec<Cause> = Vec::new();
    for (n, flow) in flows.iter().enumerate() {
        for (m, met) in flow.met.iter().enumerate() {
            let Some(polarity) = polarity(met) else { continue };
            let packet = &workload.trace.packets[met.first as usize];
            let of = |decision: Decision| decision.verdict() == Verdict::Drop;
            let dropped_by = met.decisions.map(|decision| decision.filter(|decision| of(*decision)));
            let worlds = [(dropped_by[0], World::SecurityGroups), (dropped_by[1], World::NetworkAcl)];
            let filters = worlds.map(|(decision, world)| way(workload, packet, decision?, world).pop());
            // Between two interfaces, in and out are those of the one whose filter drops.
            let direction = filters.iter().flatten().last().map_or(met.direction, |filter| filter.direction());
            let key = Key {
                polarity,
                role: met.role,
                direction,
                protocol: packet.outer_protocol(),
                dropped_by,
                filters: filters.map(|filter| filter.map(|filter| filter.key())),
                passes: met.decisions.iter().flatten().find(|decision| !of(**decision)).map(|d| d.reason()),
            };
            let number = *numbers.entry(key).or_insert_with(|| {
                causes.push(Cause {
                    polarity,
                    role: met.role,
                    direction,
                    protocol: key.protocol,
                    text: why::group(workload, met),
                    packets: 0,
                    ports: BTreeMap::new(),
                    flows: Vec::new(),
                });
                causes.len() - 1
            });
            let cause = &mut causes[number];
            let packets = u64::from(met.packets);
            cause.packets += packets;
            if let Some(port) = packet.match_port() {
                *cause.ports.entry(port).or_default() += packets;
            }
            cause.flows.push((n as u32, m as u32));
        }
    }
    causes.sort_by_key(|cause| (cause.polarity == Polarity::All, std::cmp::Reverse(cause.packets)));
    causes
}
