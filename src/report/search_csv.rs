//! A search as CSV: one row an engine, number of cores and goal.

use super::Report;
use super::csv::field;
use crate::measure::Run;
use crate::measure::search::{Goal, Outcome, UnderLoad};

const COLUMNS: &str = "engine,cores,goal,loss_ratio,status,mpps,mpps_low,mpps_high,\
p50_ns_at_10,p99_ns_at_10,p99_9_ns_at_10,p50_ns_at_50,p99_ns_at_50,p99_9_ns_at_50,p50_ns_at_90,p99_ns_at_90,p99_9_ns_at_90,\
trials,error,scenario";

/// The rows with a header line. `mpps` is the conditional throughput, `_low` and `_high` are the relevant bounds; `_at_10`
/// is latency at 10 % of `mpps`.
pub fn render(report: &Report) -> String {
    let mut text = format!("{COLUMNS}\n");
    for run in &report.results.runs {
        let found = run.searched.iter().flat_map(|searched| &searched.found);
        for (goal, outcome, under_load) in found {
            text.push_str(&row(report, run, goal, outcome, under_load).join(","));
            text.push('\n');
        }
    }
    text
}

fn row(report: &Report, run: &Run, goal: &Goal, outcome: &Outcome, under_load: &[UnderLoad]) -> Vec<String> {
    let right = run.error.is_none();
    let mpps = |pps: Option<f64>| pps.filter(|_| right).map(|pps| format!("{:.4}", pps / 1e6)).unwrap_or_default();
    let mut row = vec![
        field(run.kind.name()),
        run.cores.to_string(),
        field(&goal.name),
        goal.loss_ratio.to_string(),
        outcome.status.name().to_owned(),
        mpps(outcome.conditional_throughput),
        mpps(outcome.bounds.lower),
        mpps(outcome.bounds.upper),
    ];
    for share in [0.1, 0.5, 0.9] {
        let at = under_load.iter().find(|at| at.share == share && right);
        let latency = |q| at.map(|at| at.measured.paced.latency.raw.histogram().value_at_quantile(q).to_string());
        row.extend([0.5, 0.99, 0.999].map(|q| latency(q).unwrap_or_default()));
    }
    row.push(run.searched.as_ref().map_or(0, |searched| searched.steps.len()).to_string());
    row.push(field(run.error.as_deref().unwrap_or_default()));
    row.push(field(&report.about.title));
    row
}
