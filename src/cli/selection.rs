//! The options that say which part of a trace is replayed, and how often.

use crate::scenario::Instant;
use crate::trace::{Capture, Filter, Frames, Selection, Trace};
use clap::Args;

#[derive(Clone, Debug, Default, Args)]
pub(super) struct SelectionArgs {
    /// Only packets from this time on: after the first packet (90s, 250ms), or as in RFC 3339
    #[arg(long, value_name = "TIME")]
    from: Option<Instant>,
    /// Only packets before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Instant>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only the first so many of the packets that the other options leave
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Replay the trace so many times, one after the other in packet time
    #[arg(long = "loop", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// With --loop: each round has flows of its own, by other client ports
    #[arg(long, requires = "rounds")]
    unique_flows: bool,
}

/// Which frames are looked at.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct FilterArgs {
    /// Only frames that this expression selects, in the language of tcpdump (pcap-filter(7)); needs a ctbench that was
    /// built with `--features filter`
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<Filter>,
}

impl FilterArgs {
    /// Of every frame, whether it is selected. `None` without a filter.
    pub(super) fn selected(&self, frames: &Frames) -> Option<Vec<bool>> {
        self.filter.as_ref().map(|filter| frames.selected_by(filter))
    }

    /// The capture with the filter that was asked for.
    pub(super) fn apply(self, capture: Capture) -> Capture {
        capture.with_filter(self.filter)
    }
}

impl SelectionArgs {
    /// Of every frame, whether the filter selects it. `None` without one.
    pub(super) fn selected(&self, frames: &Frames) -> Option<Vec<bool>> {
        self.filter.selected(frames)
    }

    /// The filter, if there is one.
    pub(super) fn filter(&self) -> Option<Filter> {
        self.filter.filter.clone()
    }

    /// True if the whole trace is replayed once.
    pub(super) fn is_whole(&self) -> bool {
        self.is_unlimited() && self.rounds <= 1
    }

    fn is_unlimited(&self) -> bool {
        self.from.is_none() && self.until.is_none() && self.limit.is_none() && self.filter.filter.is_none()
    }

    /// True if the trace is replayed more than once.
    pub(super) fn repeats(&self) -> bool {
        self.rounds > 1
    }

    /// True if every round has the same flows.
    pub(super) fn repeats_flows(&self) -> bool {
        self.repeats() && !self.unique_flows
    }

    /// What is selected by time and number of a capture whose first frame has this time.
    pub(super) fn selection(&self, start_ns: u64) -> Selection {
        let resolve = |instant: Option<Instant>| instant.map(|instant| instant.resolve(start_ns));
        Selection { from_ns: resolve(self.from), until_ns: resolve(self.until), limit: self.limit }
    }

    /// Applies the options to what was read, of which `selected` is what [`SelectionArgs::selected`] says; returns what
    /// the user should know.
    pub(super) fn apply(&self, trace: &mut Trace, selected: Option<Vec<bool>>) -> anyhow::Result<Option<String>> {
        if !self.is_unlimited() {
            let start = trace.timestamps_ns.first().copied().unwrap_or(0);
            trace.select(&self.selection(start), selected.as_deref(), None);
        }
        let done = trace.repeated(self.rounds, self.unique_flows)?;
        Ok((done.not_fresh > 0).then(|| {
            format!("{} flows are the same in every round: they have no ports, or nearly all are taken", done.not_fresh)
        }))
    }
}
