//! How the packets of a trace ended, counted.

use super::digest;
use crate::engine::{Decision, Reason, State, Verdict};
use crate::scenario::Counts;
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

impl Tally {
    /// Counts decisions in trace order.
    pub fn of(trace: &Trace, decisions: &[Decision]) -> Self {
        let mut tally = Tally { digest: digest::of(trace, decisions), ..Tally::default() };
        for decision in decisions {
            match decision.verdict() {
                Verdict::Accept => tally.accept += 1,
                Verdict::Drop => tally.drop += 1,
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
            *tally.outcomes.entry(format!("{}: {state}{reason}", decision.verdict().name())).or_default() += 1;
        }
        for (_, why) in &trace.ignored {
            tally.ignored += 1;
            *tally.outcomes.entry(format!("ignored: {}", why.reason())).or_default() += 1;
        }
        tally
    }

    /// In the form of a scenario's `[expect]`.
    pub fn counts(&self) -> Counts {
        Counts { accept: self.accept, drop: self.drop, digest: format!("{:016x}", self.digest) }
    }
}

/// Share of packets whose flow was looked up in the table.
pub fn tracked_share(decisions: &[Decision]) -> f64 {
    let untracked = decisions.iter().filter(|d| matches!(d.state(), State::Untracked | State::None)).count();
    1.0 - untracked as f64 / decisions.len().max(1) as f64
}
