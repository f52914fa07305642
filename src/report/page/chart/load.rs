//! Latency against offered load: over all results of a scenario that were measured at a pace, and over the trials of a
//! search.

use super::axis::{Unit, rate};
use super::lines::{Line, Lines, Point};
use super::{Chart, Stroke, engines, engines_of};
use crate::report::result::{ResultDocument, ResultFile, Run};
use crate::report::words::time;
use serde_json::Value;

/// One chart for each scenario, number of cores and steering with two paces or more.
pub(in crate::report::page) fn of(results: &[ResultFile]) -> Vec<Chart> {
    let paced = || {
        results.iter().flat_map(|file| {
            let runs = file.result.runs.iter().filter(|run| run.error.is_none() && run.load == "paced");
            runs.map(move |run| (file.result.scenario.name.as_str(), run))
        })
    };
    let mut places: Vec<(&str, String)> = paced().map(|(scenario, run)| (scenario, run.place())).collect();
    places.sort_unstable();
    places.dedup();
    let chart = |(scenario, place): (&str, String)| {
        let here: Vec<&Run> =
            paced().filter(|(name, run)| *name == scenario && run.place() == place).map(|(_, run)| run).collect();
        let engines = engines_of(here.iter().copied());
        let line = |engine: &&str| {
            let mut points: Vec<_> =
                here.iter().filter(|run| run.engine == **engine).filter_map(|run| point(run)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { name: (*engine).to_owned(), stroke: Stroke::of(&engines, engine), points }
        };
        let lines: Vec<Line> = engines.iter().map(line).collect();
        let has_curve = lines.iter().any(|line| line.points.len() > 1);
        let lines = chart_of(format!("Latency against offered load, {scenario}, {place}"), lines);
        if has_curve { lines.draw() } else { None }
    };
    places.into_iter().filter_map(chart).collect()
}

fn chart_of(title: String, lines: Vec<Line>) -> Lines {
    Lines {
        title,
        description: "The 99th percentile from when a packet was due, at each pace that was measured; both axes are logarithmic. Where a line turns up, the engine can no longer keep up. What was lost has no latency: its share is said with the point.".into(),
        x: (Unit::PacketsPerSecond, "packets offered a second"),
        y: Unit::Ns,
        lines,
    }
}

fn point(run: &Run) -> Option<Point> {
    let offered = run.offered_pps?;
    let latency = run.latency_ns.as_ref().filter(|latency| latency.count > 0)?;
    let due = run.paced.as_ref().and_then(|paced| paced.get("offered")?.as_u64()).unwrap_or(0);
    said(offered, latency.p99?, latency.p50, (run.lost, due))
}

/// Of a rate that is one.
fn said(offered: f64, p99: u64, p50: Option<u64>, (lost, due): (u64, u64)) -> Option<Point> {
    let lost = if due > 0 { format!(", {:.3} % lost", lost as f64 / due as f64 * 100.0) } else { String::new() };
    let p50 = p50.map_or_else(|| "–".to_owned(), time);
    let text = format!("{} offered: p99 {}, p50 {p50}{lost}", rate(offered), time(p99));
    (offered > 0.0 && offered.is_finite()).then(|| (offered, p99.max(1) as f64, text))
}

/// The trials of the searches at one place.
pub(super) fn of_search(result: &ResultDocument, place: &str) -> Option<Chart> {
    let engines = engines(result);
    let line = |run: &Run| {
        let trials = run.search.as_ref()?.get("trials")?.as_array()?;
        let mut points: Vec<Point> = trials.iter().filter_map(trial).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Some(Line { name: run.engine.clone(), stroke: Stroke::of(&engines, &run.engine), points })
    };
    let runs = result.runs.iter().filter(|run| run.error.is_none() && run.place() == place);
    chart_of(format!("Latency against offered load, {place}"), runs.filter_map(line).collect()).draw()
}

fn trial(trial: &Value) -> Option<Point> {
    let count = |field: &str| trial.get(field).and_then(Value::as_u64).unwrap_or(0);
    let latency = |name: &str| trial.get("latency_ns")?.get(name)?.as_u64();
    said(trial.get("pps")?.as_f64()?, latency("p99")?, latency("p50"), (count("lost"), count("offered")))
}
