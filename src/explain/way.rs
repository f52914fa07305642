//! Where rules differ by interface: the filters on a packet's way, and which of them decides.

use super::index;
use crate::engine::{Decision, Reason};
use crate::packet::{Direction, Packet};
use crate::policy::path::{Attached, Step, is_final_deny, steps};
use crate::policy::{RuleSet, World};
use crate::replay::Workload;
use serde::Serialize;

/// A filter that a packet met, and what it said.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    attached: &'a Attached,
    step: Step,
    /// The index of its rule in [`crate::replay::World::rules`]; `None` is the implicit deny.
    pub rule: Option<u32>,
}

/// A [`Filter`] for other programs.
#[derive(Clone, Debug, Serialize)]
pub struct FilterJson {
    /// 1 the sender's security groups, 2 the network ACL of its subnet, 3 that of the receiver's, 4 the receiver's
    /// security groups.
    pub step: u8,
    /// The interface.
    pub interface: String,
    /// The groups, joined by `+`, or the ACL.
    pub set: String,
    /// The rule's name; `None` is the implicit deny.
    pub rule: Option<String>,
    /// File of the rule.
    pub file: Option<String>,
    /// JSON path of the rule in the file.
    pub path: Option<String>,
    /// "accept" or "drop".
    pub verdict: &'static str,
}

/// The filters of one world that a packet met, up to the one that decided. Empty where one set of rules holds for
/// all, where there is none on its way, and where the connection table decided.
pub fn way<'a>(workload: &'a Workload, packet: &Packet, decision: Decision, world: World) -> Vec<Filter<'a>> {
    let rules = [&workload.groups, &workload.acl][index(world)].as_ref();
    let attached = rules.and_then(|rules| rules.interfaces_at(packet.time_ns));
    let Some((first, attached)) = attached.filter(|_| matches!(decision.reason(), Reason::Rule | Reason::NoRule))
    else {
        return Vec::new();
    };
    let all = match world {
        World::SecurityGroups => steps(Some(attached), None, packet),
        World::NetworkAcl => steps(None, Some(attached), packet),
    };
    let last = all.iter().position(|step| !step.matched.is_some_and(|found| found.allow));
    let met = all.into_iter().take(last.map_or(usize::MAX, |last| last + 1));
    met.map(|step| Filter { attached, step, rule: attached.number(&step).map(|number| first + number) }).collect()
}

impl<'a> Filter<'a> {
    /// 1 to 4, as in [`FilterJson::step`].
    pub fn number(&self) -> u8 {
        match (self.step.world, self.step.direction) {
            (World::SecurityGroups, Direction::Out) => 1,
            (World::NetworkAcl, Direction::Out) => 2,
            (World::NetworkAcl, Direction::In) => 3,
            (World::SecurityGroups, Direction::In) => 4,
        }
    }

    /// Out of the sender's side, or into the receiver's.
    pub fn direction(&self) -> Direction {
        self.step.direction
    }

    /// The interface.
    pub fn interface(&self) -> &'a str {
        &self.attached.inventory.interfaces[self.step.interface].id
    }

    /// The groups, joined by `+`, or the ACL.
    pub fn set(&self) -> &'a str {
        &self.attached.names[self.step.set]
    }

    /// Its rules.
    pub fn rules(&self) -> &'a RuleSet {
        &self.attached.sets[self.step.set]
    }

    /// What tells it apart from other filters of its world.
    pub(super) fn key(&self) -> (usize, Direction) {
        (self.step.set, self.step.direction)
    }

    /// True if a rule that somebody wrote matched.
    pub fn has_rule(&self) -> bool {
        self.step.matched.is_some_and(|found| !is_final_deny(self.rules().rule(found.rule)))
    }

    /// The packet as this filter sees it: its own end is the local one.
    pub fn view(&self, packet: &Packet) -> Packet {
        if packet.direction() == self.step.direction { *packet } else { packet.mirrored() }
    }

    /// Where it stands, in words.
    pub(super) fn place(&self) -> String {
        format!("at {} (step {})", self.interface(), self.number())
    }

    /// For other programs.
    pub fn to_json(&self) -> FilterJson {
        let found = self.step.matched;
        let origin = found.and_then(|found| self.rules().origin(found.rule));
        FilterJson {
            step: self.number(),
            interface: self.interface().to_owned(),
            set: self.set().to_owned(),
            rule: found.map(|found| self.rules().rule(found.rule).name.clone()),
            file: origin.map(|origin| origin.file.display().to_string()),
            path: origin.map(|origin| origin.path.clone()),
            verdict: if found.is_some_and(|found| found.allow) { "accept" } else { "drop" },
        }
    }
}
