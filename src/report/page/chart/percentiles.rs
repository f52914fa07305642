//! Latency by percentile.

use super::axis::Unit;
use super::lines::{Line, Lines};
use super::{Chart, Stroke, engines};
use crate::report::result::{ResultError, ResultFile};
use crate::report::words::time;

/// The axis of HdrHistogram's plotter, on which every further nine is as wide as the last.
pub(super) fn of(file: &ResultFile, place: &str) -> Result<Option<Chart>, ResultError> {
    let engines = engines(&file.result);
    let mut lines = Vec::new();
    for run in file.result.runs.iter().filter(|run| run.error.is_none() && run.place() == place) {
        let Some(histogram) = run.latency_ns.as_ref().and_then(|latency| latency.decoded()) else { continue };
        let histogram =
            histogram.map_err(|problem| file.wrong(format!("{}: latency_ns.histogram", run.engine), problem))?;
        if histogram.is_empty() {
            continue;
        }
        // The last value is at 1 in as many as there are, not at 1 in infinity.
        let end = (histogram.len() as f64).max(2.0).log10();
        let mut points = Vec::new();
        for value in histogram.iter_quantiles(4) {
            let nines = -(1.0 - value.quantile_iterated_to()).log10();
            let ns = value.value_iterated_to().max(1);
            let quantile = 100.0 * (1.0 - 10f64.powf(-nines.min(end)));
            let digits = (nines.min(end).ceil() as usize).max(1);
            points.push((nines.min(end), ns as f64, format!("{quantile:.digits$} % within {}", time(ns))));
            if nines >= end {
                break;
            }
        }
        // The very fastest packet would stretch the axis by decades.
        if points.len() > 2 && points[0].0 == 0.0 {
            points.remove(0);
        }
        lines.push(Line { stroke: Stroke::of(&engines, &run.engine), name: run.engine.clone(), points });
    }
    let lines = Lines {
        title: format!("Latency by percentile, {place}"),
        description: "Left the typical packet, right the rare slow one; both axes are logarithmic. Stateless engines are dashed, stateful ones solid.".into(),
        x: (Unit::Nines, "% of the packets that are as fast or faster"),
        y: Unit::Ns,
        lines,
    };
    Ok(lines.draw())
}
