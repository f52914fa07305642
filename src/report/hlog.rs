//! `.hlog`: the interval logs of HdrHistogram's libraries and viewers, one a run, over the trace's time.

use super::format::{Document, Format, suffix};
use super::json::encoded;
use super::result::{ResultError, ResultFile};
use std::fmt::Write;

/// The format.
pub struct Hlog;

impl Format for Hlog {
    fn name(&self) -> &'static str {
        "hlog"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        let mut documents = Vec::new();
        for (number, file) in (1..).zip(results) {
            for run in file.result.runs.iter().filter(|run| run.error.is_none()) {
                let intervals = run.latency_ns.as_ref().map_or(&[][..], |latency| &latency.intervals);
                if intervals.is_empty() {
                    continue;
                }
                // What the Java writer begins with; the Rust crate's writer leaves out version and legend.
                let mut text = String::from("#[Histogram log format version 1.3]\n");
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "#[ctbench: {} on {}; latency in ns over the trace's time]",
                    run.engine,
                    run.place()
                );
                let started = file.result.started;
                let _ = writeln!(text, "#[StartTime: {started}.000 (seconds since epoch), {}]", file.result.date());
                text.push_str(
                    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
                );
                for interval in intervals {
                    let wrong =
                        |problem| file.wrong(format!("{}: latency_ns.intervals.histogram", run.engine), problem);
                    let Some(histogram) = interval.decoded() else { continue };
                    let histogram = histogram.map_err(wrong)?;
                    let Some(packed) = encoded(&histogram) else { continue };
                    let length = interval.end_s - interval.start_s;
                    if !(interval.start_s >= 0.0 && length >= 0.0) {
                        return Err(wrong("lies at no time of the trace".into()));
                    }
                    // By custom the maximum is in ms.
                    let max = histogram.max() as f64 / 1e6;
                    let _ = writeln!(text, "{:.6},{length:.6},{max:.6},{packed}", interval.start_s);
                }
                let name = suffix(&[&number.to_string(), &run.engine, &run.cores.to_string(), &run.steering]);
                documents.push(Document { suffix: name, text });
            }
        }
        Ok(documents)
    }
}
