//! The options that say when packets come.

use super::input::Input;
use crate::replay::{Pace, Rate, Steering};
use anyhow::ensure;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// When packets come to the engine
    #[arg(long, value_enum, default_value = "closed")]
    load: Load,
    /// Paced: at the trace's own times, so many times as fast [default: 1]
    #[arg(long, value_name = "X", value_parser = above_zero, conflicts_with = "pps")]
    multiplier: Option<f64>,
    /// Paced: so many packets a second, evenly
    #[arg(long, value_name = "N", value_parser = above_zero)]
    pps: Option<f64>,
    /// Paced: at most so many packets wait for each core; what comes then is lost
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    queue: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Load {
    /// The next burst when the last one is done: throughput, and latency without waiting
    Closed,
    /// When they are due, whether the engine is ready or not: latency with waiting, and loss
    Paced,
}

pub(super) fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number above 0".into()),
    }
}

impl LoadArgs {
    /// True for open loops.
    pub(super) fn is_paced(&self) -> bool {
        self.load == Load::Paced
    }

    /// The pace asked for, if any.
    pub(super) fn pace(&self, input: &Input, runs: usize) -> anyhow::Result<Option<Pace>> {
        if self.load == Load::Closed {
            let option = if self.pps.is_some() { "--pps" } else { "--multiplier" };
            ensure!(
                self.pps.is_none() && self.multiplier.is_none(),
                "{option} is for open loops: add --load paced, or leave it out"
            );
            return Ok(None);
        }
        ensure!(
            input.workload.steering == Steering::Symmetric,
            "--load paced needs --steering symmetric: cores at their own pace keep no order between them"
        );
        let rate = match self.pps {
            Some(pps) => Rate::PerSecond(pps),
            None => Rate::Trace(self.multiplier.unwrap_or(1.0)),
        };
        let seconds = rate.seconds(&input.workload.trace) * runs as f64;
        if seconds > 60.0 {
            eprintln!(
                "warning: once through the trace at this pace, for {runs} rows, takes {seconds:.0} s: a larger --multiplier is quicker"
            );
        }
        Ok(Some(Pace { rate, queue: self.queue as usize }))
    }
}
