//! The terminal's report of a result that several processes measured.

use super::result::{ResultDocument, ResultFile};
use super::text::{thousands, time};
use std::fmt::Write;

/// One line a run, comparisons, and what may be doubted.
pub fn results(file: &ResultFile, processes: usize) -> String {
    let result: &ResultDocument = &file.result;
    let width = result.runs.iter().map(|run| run.engine.len()).max().unwrap_or(6).max(6);
    let mut text = format!("{}\n{}\n\n", result.scenario.name, result.scenario.trace);
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:width$} {:>5} {:>16} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "engine", "cores", "Mpps", "ns/packet", "p50", "p99", "p99.9", "accepted", "dropped"
    );
    for run in &result.runs {
        let head = format!("{:width$} {:>5}", run.engine, run.cores);
        if let Some(error) = &run.error {
            let _ = writeln!(text, "{head}  ERROR: {error}");
            continue;
        }
        let throughput = run.measured().map_or(format!("{:>16} {:>9}", "-", "-"), |throughput| {
            let half = (throughput.ci95[1] - throughput.ci95[0]) / 2.0 / throughput.pps * 100.0;
            format!("{:>7.2} ±{half:>4.1} % {:>9.1}", throughput.pps / 1e6, 1e9 / throughput.pps)
        });
        let quantile = |value: Option<u64>| value.map_or("-".to_owned(), time);
        let latency = run.latency_ns.as_ref();
        let _ = writeln!(
            text,
            "{head} {throughput} {:>8} {:>8} {:>8} {:>9} {:>9}",
            quantile(latency.and_then(|l| l.p50)),
            quantile(latency.and_then(|l| l.p99)),
            quantile(latency.and_then(|l| l.p99_9)),
            thousands(run.verdicts.accept),
            thousands(run.verdicts.drop),
        );
    }
    text.push('\n');
    for c in &result.comparisons {
        let _ = writeln!(
            text,
            "{} on {} core{}: {:.3} times the throughput of {} ({:.3} to {:.3}): {}.",
            c.engine,
            c.cores,
            if c.cores == 1 { "" } else { "s" },
            c.ratio,
            c.baseline,
            c.ci95[0],
            c.ci95[1],
            c.verdict
        );
    }
    let _ = writeln!(
        text,
        "\nMeasured in {processes} fresh processes, each with its own memory layout and hash key; intervals also cover how they differ. Samples, counts and histograms are pooled."
    );
    for control in result.controls.iter().filter_map(|control| Some((control.cores, control.noise_floor?))) {
        let _ =
            writeln!(text, "Noise: no difference below {:.1} % is claimed on {} cores.", control.1 * 100.0, control.0);
    }
    for doubt in &result.doubts {
        let _ = writeln!(text, "Doubt: {doubt}.");
    }
    text
}
