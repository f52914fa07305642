//! Throughput: as a multiple of the baseline's, and time a packet beside the machine's floor.

use super::colours::{BETTER, LINES, MUTED, WORSE};
use super::rows::{Dot, Dots};
use super::{Chart, row_name};
use crate::report::result::{Comparison, ResultDocument};
use crate::report::words::counted;

/// Throughput as a multiple of the baseline's, with intervals.
pub(super) fn ratios(result: &ResultDocument) -> Option<Chart> {
    let finite = |c: &&Comparison| c.ratio > 0.0 && c.ci95.iter().all(|bound| *bound > 0.0) && c.ci95[1].is_finite();
    let compared: Vec<&Comparison> = result.comparisons.iter().filter(finite).collect();
    let baseline = &compared.first()?.baseline;
    let rows = compared.iter().map(|c| {
        let value = format!("{:.3} ({:.3} to {:.3})", c.ratio, c.ci95[0], c.ci95[1]);
        let name = format!("{}, {}", c.engine, counted(c.cores, "core"));
        Dot {
            said: format!("{name}: {value}, {}", c.verdict),
            value: format!("× {:.3} {}", c.ratio, c.verdict),
            name,
            at: c.ratio,
            ci95: c.ci95,
            colour: match c.verdict.as_str() {
                "faster" => BETTER,
                "slower" => WORSE,
                _ => MUTED,
            },
        }
    });
    let dots = Dots {
        title: format!("Throughput as a multiple of {baseline}'s, with 95 % intervals"),
        description: format!(
            "Right of 1 is faster than {baseline}, left of it slower; the axis doubles. Where the whole interval lies 2 % or more off 1 and the noise is less, the verdict says so."
        ),
        rows: rows.collect(),
        marks: vec![(1.0, baseline.clone())],
        unit: "",
    };
    dots.draw()
}

/// Time a packet of every engine, beside what the machine's memory takes for a cache line.
pub(super) fn floor(result: &ResultDocument) -> Option<Chart> {
    let probe = result.probe.filter(|probe| probe.line_ns > 0.0 && probe.line_ns.is_finite())?;
    let rows = result.runs.iter().filter_map(|run| {
        let throughput = run.measured().filter(|t| t.ci95.iter().all(|bound| *bound > 0.0 && bound.is_finite()))?;
        let ns = 1e9 / throughput.pps;
        let [low, high] = [1e9 / throughput.ci95[1], 1e9 / throughput.ci95[0]];
        let name = row_name(result, run);
        let floor = ns / probe.line_ns;
        Some(Dot {
            said: format!("{name}: {ns:.1} ns a packet ({low:.1} to {high:.1}), {floor:.2} times the floor"),
            value: format!("{ns:.1} ns, × {floor:.2}"),
            name,
            at: ns,
            ci95: [low, high],
            colour: match run.is_stateful() {
                true => LINES[3],
                false if run.engine.starts_with("stateless") => LINES[2],
                false => MUTED,
            },
        })
    });
    let mut marks = vec![(
        probe.line_ns,
        format!("the floor: {:.1} ns for a random cache line asked for ahead of use", probe.line_ns),
    )];
    if probe.dependent_ns > 0.0 && probe.dependent_ns.is_finite() {
        marks.push((
            probe.dependent_ns,
            format!("{:.0} ns for a random cache line that is waited for", probe.dependent_ns),
        ));
    }
    let said: Vec<&str> = marks.iter().map(|(_, said)| said.as_str()).collect();
    let dots = Dots {
        title: "Time a packet, beside the machine's own memory".into(),
        description: format!(
            "Time a packet with its 95 % interval, and how many times the floor that is; the axis doubles. The lines are {}. On several cores a packet's time is the wall time divided by the packets.",
            said.join(", and ")
        ),
        rows: rows.collect(),
        marks: marks.clone(),
        unit: " ns",
    };
    dots.draw()
}
