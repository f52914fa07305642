//! Latency over the trace's own time: where in the trace the slow packets are.

use super::axis::Unit;
use super::lines::{Line, Lines, Point};
use super::{Chart, Stroke, engines};
use crate::report::result::{Interval, ResultDocument, Run};
use crate::report::words::{thousands, time};

/// The 99th percentile of every stretch of the trace.
pub(super) fn of(result: &ResultDocument, place: &str) -> Option<Chart> {
    let engines = engines(result);
    let line = |run: &Run| {
        let points: Vec<Point> =
            run.latency_ns.iter().flat_map(|latency| &latency.intervals).filter_map(point).collect();
        Line { name: run.engine.clone(), stroke: Stroke::of(&engines, &run.engine), points }
    };
    let runs = result.runs.iter().filter(|run| run.error.is_none() && run.place() == place);
    let lines = Lines {
        title: format!("Latency over the trace's time, {place}"),
        description: "The 99th percentile of the packets of each stretch of the trace, over all passes; the median is given with it. A rise of all engines at once is the traffic's doing, or the machine's.".into(),
        x: (Unit::Seconds, "packet time since the first packet"),
        y: Unit::Ns,
        lines: runs.map(line).collect(),
    };
    lines.draw()
}

fn point(interval: &Interval) -> Option<Point> {
    let (start, end) = (interval.start_s, interval.end_s);
    let p99 = interval.p99.filter(|_| start.is_finite() && end.is_finite())?;
    let said = format!(
        "{start:.2} to {end:.2} s: p99 {}, p50 {}, {} packets",
        time(p99),
        interval.p50.map_or_else(|| "–".to_owned(), time),
        thousands(interval.count)
    );
    Some(((start + end) / 2.0, p99.max(1) as f64, said))
}
