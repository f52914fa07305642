//! One tidy row an engine and number of cores.

use super::result::{Latency, ResultFile, Run};

/// The header's columns.
const COLUMNS: &str = "engine,cores,steering,burst,packets,accept,drop,ignored,digest,mpps,mpps_low,mpps_high,\
ns_per_packet,p50_ns,p90_ns,p99_ns,p99_9_ns,p99_99_ns,max_ns,error,imbalance,scenario,started";

/// The rows with a header line. Figures of a run with wrong verdicts are empty.
pub fn render(results: &[ResultFile]) -> String {
    let mut text = format!("{COLUMNS}\n");
    for file in results {
        for run in &file.result.runs {
            text.push_str(&row(file, run).join(","));
            text.push('\n');
        }
    }
    text
}

fn row(file: &ResultFile, run: &Run) -> Vec<String> {
    let result = &file.result;
    let some = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let mut row = vec![
        field(&run.engine),
        run.cores.to_string(),
        field(&run.steering),
        some(result.settings.get("burst").and_then(|burst| burst.as_u64())),
        run.packets.to_string(),
        run.verdicts.accept.to_string(),
        run.verdicts.drop.to_string(),
        run.verdicts.ignored.to_string(),
        field(run.digest.as_deref().unwrap_or_default()),
    ];
    let finite =
        |value: f64, digits: usize| if value.is_finite() { format!("{value:.digits$}") } else { String::new() };
    match run.measured() {
        None => row.extend(vec![String::new(); 10]),
        Some(throughput) => {
            let [low, high] = throughput.ci95;
            row.extend([throughput.pps, low, high].map(|pps| finite(pps / 1e6, 4)));
            row.push(finite(1e9 / throughput.pps, 2));
            let latency = |of: super::result::Quantile| some(run.latency_ns.as_ref().and_then(of));
            let quantiles: [super::result::Quantile; 6] =
                [|l: &Latency| l.p50, |l| l.p90, |l| l.p99, |l| l.p99_9, |l| l.p99_99, |l| l.max];
            row.extend(quantiles.map(latency));
        }
    }
    row.push(field(run.error.as_deref().unwrap_or_default()));
    row.push(finite(run.imbalance, 4));
    row.push(field(&result.scenario.name));
    row.push(result.date());
    row
}

/// Text as a CSV field (RFC 4180). A spreadsheet takes what begins with one of `=+-@` for a formula.
pub(super) fn field(text: &str) -> String {
    let text = super::result::plain(text);
    let formula = text.starts_with(['=', '+', '-', '@']);
    let text = if formula { format!("'{text}") } else { text };
    if text.contains([',', '"', ' ']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_no_formulas() {
        assert_eq!(field("stateless-linear"), "stateless-linear");
        assert_eq!(field("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(field("two\nlines"), "two\u{fffd}lines");
    }
}
