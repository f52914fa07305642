//! What both filters together say of every packet.

use super::Action;
use crate::engine::{Decision, Verdict};
use crate::packet::Direction;
use crate::policy::World;
use crate::replay::Workload;
use crate::report::verdicts::reason;

/// A packet's verdict, and which filter spoke last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The filter that dropped it, or the last that let it pass.
    pub filter: World,
    /// What this filter said.
    pub decision: Decision,
}

impl Ruling {
    /// As a flow log says it.
    pub fn action(&self) -> Action {
        match self.decision.verdict() {
            Verdict::Accept => Action::Accept,
            Verdict::Drop => Action::Reject,
        }
    }

    /// Filter and reason, in words.
    pub fn cause(&self, workload: &Workload) -> String {
        let (filter, world) = match self.filter {
            World::SecurityGroups => ("security groups", &workload.groups),
            World::NetworkAcl => ("network ACL", &workload.acl),
        };
        format!("{filter}: {}", reason(self.decision, world.as_ref().map(|world| &world.rules)))
    }
}

/// The rulings on all packets of the trace, by the plain reference. Empty without rules.
///
/// On its way in, a packet meets the network ACL first, and security groups never see what that drops; on its way out
/// it meets the groups first (VPC guide, "Network ACLs").
pub fn rulings(workload: &Workload) -> Vec<Ruling> {
    let by = |filter| move |decision| Ruling { filter, decision };
    let acl = match (workload.reference(false), &workload.groups) {
        (None, _) => {
            let groups = workload.reference(true).unwrap_or_default();
            return groups.into_iter().map(by(World::SecurityGroups)).collect();
        }
        (Some(acl), None) => return acl.into_iter().map(by(World::NetworkAcl)).collect(),
        (Some(acl), Some(_)) => acl,
    };
    let packets = &workload.trace.packets;
    let mut all: Vec<Ruling> = acl.iter().copied().map(by(World::NetworkAcl)).collect();
    let drops = |decision: &Decision| decision.verdict() == Verdict::Drop;
    let stopped: Vec<bool> =
        acl.iter().zip(packets).map(|(acl, packet)| drops(acl) && packet.direction() == Direction::In).collect();
    let (seen, positions) = workload.trace.without(&stopped);
    let groups = workload.reference_of(&seen, true).unwrap_or_default();
    for (position, decision) in positions.into_iter().zip(groups) {
        let position = position as usize;
        if packets[position].direction() == Direction::In || drops(&decision) {
            all[position] = by(World::SecurityGroups)(decision);
        }
    }
    all
}
