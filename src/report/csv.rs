//! One tidy row an engine and number of cores.

use super::Report;
use std::fmt::Write;

/// The header's columns.
const COLUMNS: &str = "engine,cores,steering,burst,packets,accept,drop,ignored,digest,mpps,mpps_low,mpps_high,\
ns_per_packet,p50_ns,p90_ns,p99_ns,p99_9_ns,p99_99_ns,max_ns,error,imbalance";

/// The rows with a header line. Figures of a run with wrong verdicts are empty.
pub fn render(report: &Report) -> String {
    let mut text = format!("{COLUMNS}\n");
    for run in &report.results.runs {
        let t = &run.tally;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{},{},{},{},{},{},{},{},{},",
            run.kind.name(),
            run.cores,
            run.steering.name(),
            report.workload.burst,
            run.packets,
            t.accept,
            t.drop,
            t.ignored,
            run.digest().map(|digest| format!("{digest:016x}")).unwrap_or_default()
        );
        if run.error.is_some() || run.measured.pps.is_empty() {
            let _ = write!(text, "{}", ",".repeat(10));
        } else {
            let mpps = |pps: f64| pps / 1e6;
            let h = run.measured.latencies.raw.histogram();
            let q = |quantile: f64| h.value_at_quantile(quantile);
            let _ = write!(
                text,
                "{:.4},{:.4},{:.4},{:.2},{},{},{},{},{},{},",
                mpps(run.pps.value),
                mpps(run.pps.ci95[0]),
                mpps(run.pps.ci95[1]),
                run.ns_per_packet(),
                q(0.5),
                q(0.9),
                q(0.99),
                q(0.999),
                q(0.9999),
                h.max()
            );
        }
        let error = run.error.as_deref().unwrap_or("");
        let _ = writeln!(
            text,
            "{},{:.4}",
            if error.is_empty() { String::new() } else { format!("\"{}\"", error.replace('"', "\"\"")) },
            run.imbalance
        );
    }
    text
}
