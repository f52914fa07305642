//! `.hgrm`: the percentile files that HdrHistogram's plotters read, one a run.

use super::format::{Document, Format, suffix};
use super::result::{ResultError, ResultFile};
use std::fmt::Write;

/// The format.
pub struct Hgrm;

impl Format for Hgrm {
    fn name(&self) -> &'static str {
        "hgrm"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        let mut documents = Vec::new();
        for (number, file) in (1..).zip(results) {
            for run in file.result.runs.iter().filter(|run| run.error.is_none()) {
                let Some(decoded) = run.latency_ns.as_ref().and_then(|latency| latency.decoded()) else { continue };
                let histogram =
                    decoded.map_err(|problem| file.wrong(format!("{}: latency_ns.histogram", run.engine), problem))?;
                // The layout of outputPercentileDistribution of the Java library; values in ns.
                let mut text =
                    format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
                let mut count = 0;
                for value in histogram.iter_quantiles(5) {
                    count += value.count_since_last_iteration();
                    let quantile = value.quantile_iterated_to();
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{:>12.3} {quantile:>14.12} {count:>10}", value.value_iterated_to() as f64);
                    let _ = if quantile < 1.0 {
                        writeln!(text, " {:>14.2}", 1.0 / (1.0 - quantile))
                    } else {
                        writeln!(text)
                    };
                }
                let _ = writeln!(
                    text,
                    "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]",
                    histogram.mean(),
                    histogram.stdev()
                );
                let _ = writeln!(
                    text,
                    "#[Max     = {:>12.3}, Total count    = {:>12}]",
                    histogram.max() as f64,
                    histogram.len()
                );
                let halves = (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
                let _ = writeln!(text, "#[Buckets = {:>12}, SubBuckets     = {halves:>12}]", histogram.buckets());
                let cores = run.cores.to_string();
                let name = suffix(&[&number.to_string(), &run.engine, &cores, &run.steering]);
                documents.push(Document { suffix: name, text });
            }
        }
        Ok(documents)
    }
}
