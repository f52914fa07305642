//! The reference as the judge of every engine.

use crate::engine::registry::Kind;
use crate::engine::{Decision, Reason, State, Verdict};
use crate::replay::Workload;
use crate::trace::Trace;

/// What every engine's verdicts are compared with.
pub struct Judge {
    /// Of the stateful reference, in trace order.
    pub stateful: Option<Vec<Decision>>,
    /// Of the stateless reference.
    pub stateless: Option<Vec<Decision>>,
    null: Vec<Decision>,
}

impl Judge {
    /// Runs the reference over whatever rules there are.
    pub fn new(w: &Workload) -> Self {
        Judge {
            stateful: w.reference(true),
            stateless: w.reference(false),
            null: vec![Decision::new(Verdict::Accept, State::None, Reason::Null); w.trace.packets.len()],
        }
    }

    /// The right decisions for an engine of this kind.
    pub fn of(&self, kind: Kind) -> Option<&[Decision]> {
        match kind {
            Kind::Null => Some(&self.null),
            kind if kind.is_stateful() => self.stateful.as_deref(),
            _ => self.stateless.as_deref(),
        }
    }

    /// True if an engine of this kind can only be judged on one core: the plain reference, and every
    /// stateful engine where the instance's allowance is reached, because shards that other cores own
    /// are counted a little late.
    pub fn is_single_core(&self, kind: Kind) -> bool {
        kind.is_single_core() || (kind.is_stateful() && self.allowance_exceeded() > 0)
    }

    /// Packets that the reference dropped because the instance's allowance was used up
    /// (`conntrack_allowance_exceeded`).
    pub fn allowance_exceeded(&self) -> usize {
        let exceeded = |decisions: &Vec<Decision>| {
            decisions.iter().filter(|decision| decision.reason() == Reason::AllowanceExceeded).count()
        };
        self.stateful.as_ref().map_or(0, exceeded)
    }

    /// Packets on which the two worlds differ: dropped by the stateless one only, and by the
    /// stateful one only. `None` if one world has no rules.
    pub fn differences(&self) -> Option<(usize, usize)> {
        let pairs = || Some(self.stateful.as_ref()?.iter().zip(self.stateless.as_ref()?));
        let only = |accepts: Verdict| {
            pairs().map(|p| p.filter(|(a, b)| a.verdict() != b.verdict() && a.verdict() == accepts).count())
        };
        Some((only(Verdict::Accept)?, only(Verdict::Drop)?))
    }
}

/// How the first packet that an engine judges wrongly reads.
pub fn first_difference(trace: &Trace, ours: &[Decision], right: &[Decision]) -> Option<String> {
    let same = |a: &Decision, b: &Decision| a.verdict() == b.verdict() && a.state() == b.state();
    let wrong = ours.iter().zip(right).filter(|(a, b)| !same(a, b)).count();
    let position = ours.iter().zip(right).position(|(a, b)| !same(a, b))?;
    let say = |d: Decision| format!("{} ({})", d.verdict().name(), d.state().name());
    Some(format!(
        "wrong verdicts: {wrong} of {}; the first is {}: {} instead of {}",
        ours.len(),
        trace.name(position),
        say(ours[position]),
        say(right[position])
    ))
}
