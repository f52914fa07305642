//! The kernel's answers beside an engine's: what differs, by cause.

use super::{Incomparable, Seen};
use crate::engine::{Decision, Reason};
use crate::packet::protocol;
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::fmt;

/// Packets of one kind: how many, and the frame numbers of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// How many.
    pub count: usize,
    /// Frame numbers of the first, as Wireshark counts.
    pub first: Vec<u32>,
}

/// Frame numbers that are listed.
const LISTED: usize = 8;

impl Frames {
    fn add(&mut self, frame: u32) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(frame);
        }
    }
}

/// A kind of difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// The packets' protocol.
    pub protocol: String,
    /// What the kernel says.
    pub kernel: String,
    /// What the engine says, and why.
    pub ours: String,
}

/// How far the kernel and an engine agree on a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Packets that the kernel and the engine both judged.
    pub comparable: usize,
    /// Of these, packets with the same verdict and state.
    pub equal: usize,
    /// The others, by cause.
    pub differing: BTreeMap<Cause, Frames>,
    /// Packets that cannot be compared, by reason.
    pub incomparable: BTreeMap<String, Frames>,
}

impl Agreement {
    /// Compares answers, both in the order of [`Trace::packets`].
    pub fn of(trace: &Trace, seen: &[Seen], decisions: &[Decision]) -> Self {
        let mut agreement = Agreement::default();
        for (frame, why) in &trace.ignored {
            agreement.incomparable.entry(format!("not evaluated: {why}")).or_default().add(*frame);
        }
        for (((frame, packet), seen), ours) in trace.frames.iter().zip(&trace.packets).zip(seen).zip(decisions) {
            let (kernel, equal) = match seen {
                Seen::Incomparable(why) => {
                    agreement.incomparable.entry(Incomparable::reason(why)).or_default().add(*frame);
                    continue;
                }
                Seen::Said(verdict, state) => (
                    format!("{} ({})", verdict.name(), state.name()),
                    *verdict == ours.verdict() && *state == ours.state() && ours.reason() != Reason::FragmentIncomplete,
                ),
                Seen::NeverCompleted => {
                    ("fragment, never completed".into(), ours.reason() == Reason::FragmentIncomplete)
                }
            };
            agreement.comparable += 1;
            if equal {
                agreement.equal += 1;
                continue;
            }
            let protocol = match packet.outer_protocol() {
                protocol::TCP => "TCP".into(),
                protocol::UDP => "UDP".into(),
                protocol::ICMP => "ICMP".into(),
                protocol::ICMPV6 => "ICMPv6".into(),
                protocol::GRE => "GRE".into(),
                number => format!("protocol {number}"),
            };
            let ours = match ours.reason() {
                Reason::FragmentIncomplete => "fragment, never completed".into(),
                Reason::TableFull => format!("{} (table full)", ours.verdict().name()),
                _ => format!("{} ({})", ours.verdict().name(), ours.state().name()),
            };
            agreement.differing.entry(Cause { protocol, kernel, ours }).or_default().add(*frame);
        }
        agreement
    }

    /// Packets on which they differ.
    pub fn differences(&self) -> usize {
        self.comparable - self.equal
    }

    /// Share of the comparable packets that are equal, in percent. 100 if there are none.
    pub fn percent(&self) -> f64 {
        if self.comparable == 0 { 100.0 } else { 100.0 * self.equal as f64 / self.comparable as f64 }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (equal, comparable, differing) = (self.equal, self.comparable, self.differences());
        let percent = match (differing, self.percent()) {
            // Never rounded up to all.
            (1.., percent) => format!("{:.4}", percent.min(99.9999)),
            (_, percent) => format!("{percent}"),
        };
        writeln!(
            f,
            "{percent} % of the comparable packets are judged alike: {equal} of {comparable}; {differing} differ"
        )?;
        let mut differing: Vec<_> = self.differing.iter().collect();
        differing.sort_by_key(|(_, frames)| std::cmp::Reverse(frames.count));
        for (Cause { protocol, kernel, ours }, frames) in differing {
            writeln!(f, "  {:>9}  {protocol}: kernel {kernel}, ctbench {ours}; {}", frames.count, listed(frames))?;
        }
        let incomparable: usize = self.incomparable.values().map(|frames| frames.count).sum();
        if incomparable > 0 {
            writeln!(f, "not comparable: {incomparable}")?;
        }
        for (reason, frames) in &self.incomparable {
            writeln!(f, "  {:>9}  {reason}; {}", frames.count, listed(frames))?;
        }
        Ok(())
    }
}

fn listed(frames: &Frames) -> String {
    let numbers: Vec<_> = frames.first.iter().map(u32::to_string).collect();
    let more = if frames.count > frames.first.len() { ", ..." } else { "" };
    let plural = if frames.count == 1 { "frame" } else { "frames" };
    format!("{plural} {}{more}", numbers.join(", "))
}
