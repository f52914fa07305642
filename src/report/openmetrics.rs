//! OpenMetrics text (version 1.0.0 of its specification), for time series of results.

use super::format::{Document, Format, single};
use super::result::{QUANTILES, ResultError, ResultFile};
use std::fmt::Write;

/// The format.
pub struct OpenMetrics;

impl Format for OpenMetrics {
    fn name(&self) -> &'static str {
        "openmetrics"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        let mut text = String::new();
        // A family's samples stand together, so one pass a family. Writing to a string cannot fail.
        let runs = || results.iter().flat_map(|file| file.result.runs.iter().map(move |run| (file, run)));
        let labels = |file: &ResultFile, run: &super::result::Run| {
            format!(
                "scenario=\"{}\",engine=\"{}\",cores=\"{}\",steering=\"{}\",load=\"{}\",started=\"{}\"",
                escape(&file.result.scenario.name),
                escape(&run.engine),
                run.cores,
                escape(&run.steering),
                escape(&run.load),
                file.result.started
            )
        };
        text.push_str("# TYPE ctbench_throughput_pps gauge\n# HELP ctbench_throughput_pps Packets per second: the median and its 95 % interval.\n");
        for (file, run) in runs() {
            if let Some(throughput) = run.measured() {
                let [low, high] = throughput.ci95;
                for (bound, value) in [("median", throughput.pps), ("low", low), ("high", high)] {
                    let value = if value.is_finite() { format!("{value}") } else { "NaN".to_owned() };
                    let _ = writeln!(text, "ctbench_throughput_pps{{{},bound=\"{bound}\"}} {value}", labels(file, run));
                }
            }
        }
        text.push_str("# TYPE ctbench_latency_seconds gauge\n# UNIT ctbench_latency_seconds seconds\n# HELP ctbench_latency_seconds From hand-over of a burst to a packet's verdict.\n");
        for (file, run) in runs().filter(|(_, run)| run.error.is_none()) {
            for (_, quantile, of) in QUANTILES {
                if let Some(ns) = run.latency_ns.as_ref().and_then(of) {
                    let _ = writeln!(
                        text,
                        "ctbench_latency_seconds{{{},quantile=\"{quantile}\"}} {}",
                        labels(file, run),
                        ns as f64 / 1e9
                    );
                }
            }
        }
        text.push_str("# TYPE ctbench_packets gauge\n# HELP ctbench_packets Packets of the trace by how they ended.\n");
        for (file, run) in runs() {
            for (outcome, packets) in &run.outcomes {
                let _ = writeln!(
                    text,
                    "ctbench_packets{{{},outcome=\"{}\"}} {packets}",
                    labels(file, run),
                    escape(&super::result::plain(outcome))
                );
            }
        }
        text.push_str("# EOF\n");
        Ok(single(text))
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
