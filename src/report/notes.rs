//! What stands under the terminal's table: how it was measured, on what, and why to doubt it.

use super::Report;
use super::text::{fared, fullness, huge_pages};
use super::words::{cores_of, thousands, time};
use crate::measure::{Measured, Run, Stamping};
use std::fmt::Write;

/// What was timed, how often, and what the clock did to it.
pub(super) fn notes(report: &Report) -> String {
    let mut text = String::new();
    let results = report.results;
    let measured: Vec<&Run> = results.runs.iter().filter(|run| !run.measured.pps.is_empty()).collect();
    let Some(blocks) = measured.iter().map(|run| run.measured.pps.len()).min() else { return text };
    let passes: u64 = measured.iter().map(|run| run.measured.passes).sum();
    let burst = report.workload.burst;
    let _ = writeln!(
        text,
        "\nThroughput: median of {blocks} interleaved blocks (± half of its 95 % interval), {} passes in all, the verdicts of each checked; records preloaded, no clock read inside.",
        thousands(passes)
    );
    text.push_str(&recorder(report, &measured, burst));
    text.push_str(&stages(report, &measured));
    for control in &results.controls {
        let _ = writeln!(
            text,
            "Noise: {} against itself on {} gives {:.3} times its throughput ({:.3} to {:.3}); no difference below {:.1} % is claimed.",
            control.kind.name(),
            cores_of(control.cores),
            control.ratio.value,
            control.ratio.ci95[0],
            control.ratio.ci95[1],
            control.noise_floor() * 100.0
        );
    }
    if let Some((bytes, cost)) = results.probe {
        let _ = writeln!(
            text,
            "Floor: in {} MiB, a random cache line asked for ahead of use costs {:.1} ns, one that must be waited for {:.0} ns.",
            bytes.div_ceil(1 << 20),
            cost.line_ns,
            cost.dependent_ns
        );
    }
    if !results.alone.is_empty() {
        let alone: Vec<String> =
            results.alone.iter().map(|(kind, _, m)| format!("{} {}", kind.name(), two(m))).collect();
        let _ = writeln!(text, "One packet at a time (burst 1), p50 / p99: {}.", alone.join(", "));
    }
    for run in measured.iter().filter(|run| run.cores == measured[0].cores) {
        if let (Some(share), Some(table)) = (run.tracked_share, &run.measured.counters) {
            let probes = run.probes.map_or(String::new(), |probes| format!(", {probes:.2} entries compared a look-up"));
            let _ = writeln!(
                text,
                "{}: {:.1} % of the packets reach the table; {} hits{probes}, {} inserts, {} expired, peak {} of {} entries{}, {} MiB{}.",
                run.kind.name(),
                share * 100.0,
                thousands(table.hits),
                thousands(table.inserts),
                thousands(table.expired),
                thousands(table.peak_entries),
                thousands(report.workload.geometry.capacity()),
                fullness(table),
                run.table_bytes.div_ceil(1 << 20),
                huge_pages(run.huge_bytes),
            );
        }
    }
    for run in &measured {
        if let Some(flows) = &run.flows {
            let _ = writeln!(text, "{} on {} cores, verdicts of {}.", run.kind.name(), run.cores, fared(flows));
        }
    }
    let limit = report.workload.config.allowance;
    if limit > 0 {
        let _ = writeln!(
            text,
            "The instance's allowance of {} connections: {} packets of new connections dropped (conntrack_allowance_exceeded){}.",
            thousands(limit),
            thousands(report.allowance_exceeded as u64),
            if report.allowance_exceeded > 0 { "; exact on one core, so stateful engines run on one" } else { "" }
        );
    }
    text.push_str(&machine(report));
    text
}

/// How latency was recorded, and what that did to it.
fn recorder(report: &Report, measured: &[&Run], burst: usize) -> String {
    let Some(stamping) = report.stamping else {
        return "Latency: not recorded (--recorder off).\n".into();
    };
    let until = match stamping {
        Stamping::Burst => "until all of it are decided; separate passes, one stamp a burst".to_owned(),
        Stamping::Sampled(n) => {
            format!(
                "until the packet's verdict is known; separate passes, a stamp for one packet in {n}, drawn at random"
            )
        }
        Stamping::Every => "until the packet's verdict is known; separate passes, a stamp a packet".to_owned(),
    };
    let costs: Vec<f64> = measured.iter().filter_map(|run| run.stamp_cost()).map(|cost| cost.value).collect();
    let (low, high) = costs.iter().fold((f64::MAX, f64::MIN), |(l, h), s| (l.min(*s), h.max(*s)));
    let adds = match costs.is_empty() {
        true => String::new(),
        false => format!("; the stamps add {low:+.1} to {high:+.1} ns a packet (passes with and without, in pairs)"),
    };
    format!(
        "Latency: from when a burst of {burst} is handed over {until}{adds}.\nClock: {}; two readings lie {} apart (p50; p99 {}, p99.9 {}).\n",
        report.clock_ticks.map_or("the system's".to_owned(), |ticks| {
            format!("the time-stamp counter, calibrated to {:.1} MHz", ticks / 1e6)
        }),
        time(report.clock_floor.quantile(0.5)),
        time(report.clock_floor.quantile(0.99)),
        time(report.clock_floor.quantile(0.999)),
    )
}

/// Where the time of a packet goes, on the fewest cores.
fn stages(report: &Report, measured: &[&Run]) -> String {
    let cores = measured[0].cores;
    let here: Vec<&&Run> = measured.iter().filter(|run| run.cores == cores).collect();
    let steer = report.about.sequence_ns + measured[0].steer_ns.unwrap_or(0.0);
    let evaluate: Vec<String> =
        here.iter().map(|run| format!("{} {:.1}", run.kind.name(), run.ns_per_packet())).collect();
    let mut text = format!(
        "Stages, ns a packet: read {:.1}, decode {:.1}, steer {steer:.1}, all before the clock starts; evaluate {}.\n",
        report.about.read_ns,
        report.about.decode_ns,
        evaluate.join(", ")
    );
    let counted = |run: &&&Run| Some((run.kind.name(), *run.instructions.as_ref()?.as_ref().ok()?));
    let counts: Vec<String> = here.iter().filter_map(counted).map(|(name, n)| format!("{name} {n:.0}")).collect();
    let reason = here.iter().find_map(|run| run.instructions.as_ref()?.as_ref().err());
    match (counts.is_empty(), reason) {
        (false, _) => text += &format!("Instructions a packet: {}.\n", counts.join(", ")),
        (true, Some(reason)) => text += &format!("Instructions a packet: not available: {reason}.\n"),
        (true, None) => {}
    }
    text
}

/// Where it was measured, and why to doubt it.
pub(super) fn machine(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Machine: {}, {} cores{}; clock and figures in docs/METHODOLOGY.md.",
        report.host.cpu,
        report.host.cores,
        if report.host.virtual_machine { ", virtual: neighbours can steal time, so read the ratios" } else { "" },
    );
    for doubt in &report.doubts {
        let _ = writeln!(text, "Doubt: {doubt}.");
    }
    text
}

fn two(measured: &Measured) -> String {
    let histogram = measured.latencies.raw.histogram();
    format!("{} / {}", time(histogram.value_at_quantile(0.5)), time(histogram.value_at_quantile(0.99)))
}
