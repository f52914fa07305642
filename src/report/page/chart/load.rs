//! Latency against offered load, over all results of a scenario that were measured at a pace.

use super::lines::{Line, Lines};
use super::svg::{Scale, Unit, rate};
use super::{Chart, engines_of, style};
use crate::report::result::{ResultFile, Run};
use crate::report::text::time;

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
            Line { name: (*engine).to_owned(), style: style(&engines, engine), points }
        };
        let lines: Vec<Line> = engines.iter().map(line).collect();
        let has_curve = lines.iter().any(|line| line.points.len() > 1);
        let lines = Lines {
            title: format!("Latency against offered load, {scenario}, {place}"),
            description: "The 99th percentile from when a packet was due, at each pace that was measured; both axes are logarithmic. Where a line turns up, the engine can no longer keep up. What was lost has no latency: its share is said with the point.".into(),
            x: (Scale::Logarithmic, Unit::PacketsPerSecond, "packets offered a second"),
            y: (Scale::Logarithmic, Unit::Ns),
            lines,
        };
        if has_curve { lines.draw() } else { None }
    };
    places.into_iter().filter_map(chart).collect()
}

fn point(run: &Run) -> Option<super::lines::Point> {
    let offered = run.offered_pps.filter(|pps| *pps > 0.0 && pps.is_finite())?;
    let latency = run.latency_ns.as_ref().filter(|latency| latency.count > 0)?;
    let p99 = latency.p99?;
    let due = run.paced.as_ref().and_then(|paced| paced.get("offered")?.as_u64()).unwrap_or(0);
    let lost = if due > 0 { format!(", {:.3} % lost", run.lost as f64 / due as f64 * 100.0) } else { String::new() };
    let p50 = latency.p50.map_or_else(|| "–".to_owned(), time);
    Some((offered, p99.max(1) as f64, format!("{} offered: p99 {}, p50 {p50}{lost}", rate(offered), time(p99))))
}
