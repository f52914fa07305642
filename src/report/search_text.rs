//! A search on the terminal.

use super::Report;
use super::notes::machine;
use super::words::{thousands, time};
use crate::measure::Run;
use crate::measure::search::{Criterion, Goal, Outcome, Status, UnderLoad};
use std::fmt::Write;

/// The table and what follows from it.
pub(super) fn results(report: &Report) -> String {
    let runs = &report.results.runs;
    let width = runs.iter().map(|run| run.kind.name().len()).max().unwrap_or(6).max(6);
    let goals = runs.iter().filter_map(|run| run.searched.as_ref()).flat_map(|searched| &searched.found);
    let goal_width = goals.map(|(goal, ..)| goal.name.len()).max().unwrap_or(4).max(4);
    let mut text = format!(
        "{:width$} {:>5}  {:goal_width$} {:>9} {:>19}   {:>24} {:>24} {:>24}\n",
        "engine", "cores", "goal", "Mpps", "lower to upper", "p50/p99/p99.9 at 10 %", "at 50 %", "at 90 %"
    );
    for run in runs {
        let head = format!("{:width$} {:>5}", run.kind.name(), run.cores);
        match (&run.error, &run.searched) {
            (Some(error), _) => _ = writeln!(text, "{head}  ERROR: {error}"),
            (None, None) => _ = writeln!(text, "{head}  nothing was measured"),
            (None, Some(searched)) => {
                for (goal, outcome, under_load) in &searched.found {
                    let _ = writeln!(text, "{head}  {:goal_width$} {}", goal.name, row(outcome, under_load));
                }
            }
        }
    }
    text.push_str(&notes(report));
    text.push_str(&machine(report));
    text
}

fn row(outcome: &Outcome, under_load: &[UnderLoad]) -> String {
    let mpps = |pps: Option<f64>| pps.map_or("-".to_owned(), |pps| format!("{:.3}", pps / 1e6));
    let bounds = match outcome.status {
        Status::AtMaximum => format!("{} and more", mpps(outcome.bounds.lower)),
        Status::BelowMinimum => format!("below {}", mpps(outcome.bounds.upper)),
        _ => format!("{} to {}", mpps(outcome.bounds.lower), mpps(outcome.bounds.upper)),
    };
    let mut text = format!("{:>9} {bounds:>19}  ", mpps(outcome.conditional_throughput));
    for at in under_load {
        let latency = at.measured.paced.latency.raw.histogram();
        let quantiles = [0.5, 0.99, 0.999].map(|q| time(latency.value_at_quantile(q)));
        let _ = write!(text, " {:>24}", quantiles.join("/"));
    }
    if outcome.status == Status::Unfinished {
        let _ = write!(text, "  unfinished: stage {} of {}", outcome.stages_done + 1, outcome.stages);
    }
    text.trim_end().to_owned()
}

/// What the figures mean.
fn notes(report: &Report) -> String {
    let mut text = String::from("\n");
    let searched: Vec<_> = report.results.runs.iter().filter_map(|run| run.searched.as_ref()).collect();
    let Some(first) = searched.first() else { return text };
    for (goal, ..) in &first.found {
        let _ = writeln!(text, "{}: {}.", goal.name, meaning(goal));
    }
    if let Some((goal, ..)) = first.found.first() {
        let _ = writeln!(
            text,
            "MLRsearch: trials of {} s at least, {} s of them decide on a rate, {:.0} % of which may fail; bounds at most {:.1} % apart. Mpps is what got through at the lower one.",
            goal.final_trial_s,
            goal.duration_sum_s,
            goal.exceed_ratio * 100.0,
            goal.width * 100.0
        );
    }
    let _ = writeln!(
        text,
        "Open loop: packets are due evenly, whether the engine is ready or not; at most {} wait for each core. What still waits when the last packet was due counts as lost. Latency counts from when a packet was due.",
        thousands(first.queue as u64)
    );
    let trials: usize = searched.iter().map(|searched| searched.steps.len()).sum();
    let passes: u64 = report.results.runs.iter().map(|run| run.measured.passes).sum();
    let _ = writeln!(
        text,
        "{} trials, {} passes; the verdicts of each that lost nothing were checked.",
        thousands(trials as u64),
        thousands(passes)
    );
    if report.results.runs.iter().any(is_unfinished) && !report.results.partial {
        text.push_str("Unfinished: the time was up; more --time, a larger --width or fewer --trials help.\n");
    }
    text
}

fn is_unfinished(run: &Run) -> bool {
    let found = run.searched.iter().flat_map(|searched| &searched.found);
    found.into_iter().any(|(_, outcome, _)| outcome.status == Status::Unfinished)
}

fn meaning(goal: &Goal) -> String {
    match goal.criterion {
        Criterion::Lost if goal.loss_ratio == 0.0 => "the highest rate at which no packet is lost".into(),
        Criterion::Lost => format!("the highest rate at which at most {} % are lost", goal.loss_ratio * 100.0),
        Criterion::LostOrLate(bound) => format!(
            "the highest rate at which {} % are decided within {} of being due",
            100.0 - goal.loss_ratio * 100.0,
            time(bound)
        ),
    }
}
