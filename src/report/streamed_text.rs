//! The terminal's report of a streamed replay.

use super::notes::machine;
use super::text::{fullness, huge_pages};
use super::words::{cores_of, thousands};
use super::{About, Report};
use crate::measure::{Run, StageTimes};
use std::fmt::Write;

/// The table and how to read it. `beside`: the reference ran in the only pass that there was.
pub fn results(report: &Report, beside: bool) -> String {
    let mut text = String::new();
    let runs = &report.results.runs;
    let width = runs.iter().map(|run| run.kind.name().len()).max().unwrap_or(6).max(6);
    // Writing to a string cannot fail; hence the ignored results here and below.
    let _ = writeln!(
        text,
        "{:width$} {:>5} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>13} {:>13} {:>9}",
        "engine", "cores", "Mpps", "±", "read", "decode", "steer", "evaluate", "accepted", "dropped", "imbalance"
    );
    for run in runs {
        let _ = writeln!(text, "{}", row(run, width));
    }
    let _ = writeln!(text, "\n{}", worlds(report));
    if report.results.partial {
        text.push_str("Ended early: the figures are of what was read until then.\n");
    }
    text.push_str(&notes(report, beside));
    for run in runs.iter().filter(|run| run.error.is_none()) {
        if let (Some(share), Some(table)) = (run.tracked_share, &run.measured.counters) {
            let _ = writeln!(
                text,
                "{} on {}: {:.1} % of the packets reach the table; {} inserts, peak {} of {} entries{}, {} MiB{}.",
                run.kind.name(),
                cores_of(run.cores),
                share * 100.0,
                thousands(table.inserts),
                thousands(table.peak_entries),
                thousands(report.workload.geometry.capacity()),
                fullness(table),
                run.table_bytes.div_ceil(1 << 20),
                huge_pages(run.huge_bytes),
            );
        }
    }
    text.push_str(&machine(report));
    text
}

fn row(run: &Run, width: usize) -> String {
    let head = format!("{:width$} {:>5}", run.kind.name(), run.cores);
    if let Some(error) = &run.error {
        return format!("{head}  ERROR: {error}");
    }
    let [low, high] = run.pps.ci95;
    let spread = match (high - low) / 2.0 / run.pps.value * 100.0 {
        spread if spread.is_finite() => format!("{spread:.1} %"),
        _ => "-".to_owned(),
    };
    let stages = run.stage_times().unwrap_or_default();
    let ns = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), |ns| format!("{ns:.1}"));
    format!(
        "{head} {:>8.3} {spread:>9} {:>8} {:>8} {:>8} {:>8} {:>13} {:>13} {:>9.2}",
        run.pps.value / 1e6,
        ns(stages.read),
        ns(stages.decode),
        ns(stages.steer),
        ns(stages.evaluate),
        thousands(run.tally.accept),
        thousands(run.tally.drop),
        run.imbalance,
    )
}

fn worlds(report: &Report) -> String {
    let Some((stateful_only, stateless_only)) = report.differences else {
        return "Only one world's rules were given, so stateful and stateless cannot be compared.".into();
    };
    let About { evaluated, .. } = report.about;
    format!(
        "The two worlds' verdicts differ on {} of {} packets: {} only the security groups accept, {} only the network ACL accepts.",
        thousands((stateful_only + stateless_only) as u64),
        thousands(evaluated as u64),
        thousands(stateful_only as u64),
        thousands(stateless_only as u64)
    )
}

fn notes(report: &Report, beside: bool) -> String {
    let mut text = String::new();
    let passes: u64 = report.results.runs.iter().map(|run| run.measured.passes).sum();
    text.push_str(
        "Streamed: reading, decoding, steering and evaluating overlap. Mpps is the rate of the whole path by the wall \
         clock; the stages are CPU time in ns a packet, all threads of a stage together.\n",
    );
    let verified = match beside {
        true => {
            "the reference ran beside all engines in the one pass that a pipe allows, and the rate is theirs together"
                .into()
        }
        false => format!(
            "the reference ran over the trace first; the verdicts of {} passes were checked against it",
            thousands(passes)
        ),
    };
    let _ = writeln!(text, "Verified: {verified}.");
    for run in report.results.runs.iter().filter(|run| run.error.is_none() && !beside) {
        let StageTimes { read, decode, steer, evaluate } = run.stage_times().unwrap_or_default();
        let sum: Option<f64> = [read, decode, steer, evaluate].into_iter().sum();
        if let Some(sum) = sum {
            let _ = writeln!(
                text,
                "{} on {}: the stages kept {:.2} of the machine's {} busy.",
                run.kind.name(),
                cores_of(run.cores),
                sum / run.ns_per_packet(),
                cores_of(report.host.cores),
            );
        }
    }
    text.push_str("Latency, and what remembering costs to the nanosecond, are measured on preloaded traces.\n");
    text
}
