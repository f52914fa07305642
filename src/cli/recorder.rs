//! The options that say how latency is recorded.

use crate::measure::Stamping;
use anyhow::ensure;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(super) struct RecorderArgs {
    /// Which verdicts are stamped in latency passes (closed loop)
    #[arg(long, value_enum, default_value = "every")]
    recorder: Recorder,
    /// Sampled: one in so many packets [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    one_in: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Recorder {
    /// None: throughput alone
    Off,
    /// One reading a burst: its packets count as decided when all are
    Burst,
    /// One in N packets, at places drawn at random
    Sampled,
    /// All: disturbs most, see what it adds
    Every,
}

/// One in so many packets is sampled by default: two bursts of the usual size.
const ONE_IN: u32 = 64;

impl RecorderArgs {
    /// How latency passes are stamped, if there are any.
    pub(super) fn stamping(&self, is_paced: bool) -> anyhow::Result<Option<Stamping>> {
        ensure!(
            self.one_in.is_none() || self.recorder == Recorder::Sampled,
            "--one-in is for samples: add --recorder sampled, or leave it out"
        );
        ensure!(
            !is_paced || self.recorder == Recorder::Every,
            "--recorder is for closed loops; an open one reads the clock once a burst: leave it out, or --load paced"
        );
        Ok(match self.recorder {
            Recorder::Off => None,
            Recorder::Burst => Some(Stamping::Burst),
            Recorder::Sampled => Some(Stamping::Sampled(self.one_in.unwrap_or(ONE_IN))),
            Recorder::Every => Some(Stamping::Every),
        })
    }
}
