//! Ctrl-C while measuring: what is known so far is written, and the exit code says so.

use crate::measure::Stop;
use anyhow::Context;
use signal_hook::consts::SIGINT;
use signal_hook::flag::{register, register_conditional_shutdown};
use std::process::ExitCode;

/// As shells report a program that Ctrl-C ended.
pub(super) const INTERRUPTED: u8 = 130;

/// From now on Ctrl-C asks for an early end, and a second one ends the program at once. Before, there is nothing to save.
pub(super) fn stop() -> anyhow::Result<Stop> {
    let stop = Stop::default();
    // In this order: the first signal finds the flag unset, and sets it.
    register_conditional_shutdown(SIGINT, i32::from(INTERRUPTED), stop.flag())
        .and_then(|_| register(SIGINT, stop.flag()))
        .context("catching Ctrl-C")?;
    Ok(stop)
}

/// The exit code of a run that was cut short.
pub(super) fn exit_code() -> ExitCode {
    ExitCode::from(INTERRUPTED)
}
