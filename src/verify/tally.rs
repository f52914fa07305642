//! How the packets of a trace ended, counted.

use super::digest;
use crate::engine::{Decision, Reason, State, Verdict};
use crate::packet::Ignored;
use crate::scenario;
use crate::trace::Trace;
use std::collections::BTreeMap;

/// How the packets of a trace ended. The outcomes sum up to the packets read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Accepted.
    pub accept: u64,
    /// Dropped.
    pub drop: u64,
    /// Not evaluated.
    pub ignored: u64,
    /// By verdict, state and reason.
    pub outcomes: BTreeMap<String, u64>,
    /// Digest of verdicts and states.
    pub digest: u64,
}

/// Frames of a trace to which one [`Counts::parts`] belongs.
pub const PART: u64 = 1 << 20;

/// Decisions, counted as they come, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Decisions by [`Decision::kind`].
    kinds: Vec<u64>,
    /// The digest, by parts of [`PART`] frames: where two differ, there is the difference.
    parts: Vec<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Counts { kinds: vec![0; Decision::KINDS], parts: Vec::new() }
    }
}

impl Counts {
    /// Counts the decision on the frame with this number.
    #[inline(always)]
    pub fn add(&mut self, frame: u64, decision: Decision) {
        self.kinds[decision.kind()] += 1;
        let part = (frame / PART) as usize;
        if part >= self.parts.len() {
            self.parts.resize(part + 1, 0);
        }
        self.parts[part] = self.parts[part].wrapping_add(digest::term(frame, decision));
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Counts) {
        self.kinds.iter_mut().zip(&other.kinds).for_each(|(ours, theirs)| *ours += theirs);
        self.parts.resize(self.parts.len().max(other.parts.len()), 0);
        self.parts.iter_mut().zip(&other.parts).for_each(|(ours, theirs)| *ours = ours.wrapping_add(*theirs));
    }

    /// The digest of verdicts and states.
    pub fn digest(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.wrapping_add(*part))
    }

    /// Decisions.
    pub fn total(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// Decisions for which this holds; they carry no rule.
    pub fn count(&self, holds: impl Fn(Decision) -> bool) -> u64 {
        let counted = self.kinds.iter().zip(0..=u8::MAX).filter(|(count, _)| **count > 0);
        counted.filter(|(_, kind)| holds(Decision::of_kind(*kind))).map(|(count, _)| count).sum()
    }

    /// The frames, from and to, among which the first lies that the two decided differently.
    pub fn first_difference(&self, other: &Counts) -> Option<(u64, u64)> {
        let parts = self.parts.len().max(other.parts.len());
        let of = |counts: &Counts, part: usize| counts.parts.get(part).copied().unwrap_or(0);
        let part = (0..parts).find(|part| of(self, *part) != of(other, *part))? as u64;
        Some(((part * PART).max(1), (part + 1) * PART - 1))
    }

    /// With what was not evaluated, by cause.
    pub fn tally(&self, ignored: impl IntoIterator<Item = (Ignored, u64)>) -> Tally {
        let mut tally = Tally { digest: self.digest(), ..Tally::default() };
        for (count, kind) in self.kinds.iter().zip(0..=u8::MAX).filter(|(count, _)| **count > 0) {
            let decision = Decision::of_kind(kind);
            match decision.verdict() {
                Verdict::Accept => tally.accept += count,
                Verdict::Drop => tally.drop += count,
            }
            let state = match decision.state() {
                State::None => String::new(),
                state => format!("{}, ", state.name()),
            };
            let reason = match decision.reason() {
                Reason::Rule => "by rule",
                Reason::NoRule => "no rule",
                Reason::Tracked => "tracked",
                Reason::Invalid => "not of a connection",
                Reason::TableFull => "table full",
                Reason::FragmentIncomplete => "fragment, never completed",
                Reason::Null => "not evaluated",
                Reason::AllowanceExceeded => "conntrack allowance exceeded",
            };
            *tally.outcomes.entry(format!("{}: {state}{reason}", decision.verdict().name())).or_default() += count;
        }
        for (why, count) in ignored {
            tally.ignored += count;
            *tally.outcomes.entry(format!("ignored: {}", why.reason())).or_default() += count;
        }
        tally
    }
}

impl Tally {
    /// Counts decisions in trace order.
    pub fn of(trace: &Trace, decisions: &[Decision]) -> Self {
        let mut counts = Counts::default();
        let frames = trace.frames.iter().map(|frame| u64::from(*frame));
        frames.zip(decisions).for_each(|(frame, decision)| counts.add(frame, *decision));
        counts.tally(trace.ignored.iter().map(|(_, why)| (*why, 1)))
    }

    /// In the form of a scenario's `[expect]`.
    pub fn counts(&self) -> scenario::Counts {
        scenario::Counts { accept: self.accept, drop: self.drop, digest: format!("{:016x}", self.digest) }
    }
}

/// Share of packets whose flow was looked up in the table.
pub fn tracked_share(decisions: &[Decision]) -> f64 {
    let untracked = decisions.iter().filter(|d| matches!(d.state(), State::Untracked | State::None)).count();
    1.0 - untracked as f64 / decisions.len().max(1) as f64
}
