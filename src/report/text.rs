//! The terminal's report.

use super::notes::{machine, notes};
use super::picture::Row;
use super::words::{cores_of, thousands, time};
use super::{About, Comparison, Report, search_text};
use crate::measure::{Latencies, Measured, Recording, Run};
use crate::replay::{Pace, Rate, Steering};
use crate::table::TableCounters;
use crate::verify::{Change, FlowTally};
use hdrhistogram::Histogram;
use std::fmt::Write;

/// The quantiles of the table and their names.
const QUANTILES: [(f64, &str); 5] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// What is about to be measured: shown first.
pub fn heading(about: &About) -> String {
    let rules = |world: &str, count: Option<usize>| count.map(|count| format!("{count} {world} rules"));
    let rules: Vec<String> =
        [rules("security group", about.rules[0]), rules("network ACL", about.rules[1])].into_iter().flatten().collect();
    let flows = about.flows.map_or(String::new(), |flows| format!(" {} flows,", thousands(flows as u64)));
    let mut text = format!(
        "{}\n{}: {} packets ({} evaluated),{flows} {:.1} s; inside {}; {}\n",
        about.title,
        about.trace,
        thousands(about.packets),
        thousands(about.evaluated as u64),
        about.duration_s,
        about.inside,
        rules.join(", ")
    );
    // Writing to a string cannot fail; hence the ignored results here and below.
    if let Some(elephant) = &about.elephant {
        let _ = writeln!(
            text,
            "Elephant: from packet {} on, a flow is repeated {} times; it makes up {:.1} % of all packets.",
            thousands(u64::from(elephant.begins_at)),
            thousands(elephant.copies as u64),
            elephant.share * 100.0
        );
    }
    let how = match about.steering {
        Steering::Symmetric => None,
        Steering::Asymmetric { window } => Some((window, "the two directions of a flow may meet different cores")),
        Steering::Spray { window } => Some((window, "packets round robin to the cores")),
    };
    if let Some((window, how)) = how {
        let _ = writeln!(
            text,
            "Steering {}: {how}; none runs more than {} packets ahead of the slowest.",
            about.steering.name(),
            thousands(u64::from(window))
        );
    }
    text.push('\n');
    text
}

/// How the flows fared whose packets several cores handled at once.
pub fn fared(flows: &FlowTally) -> String {
    let others = [
        (flows.not_comparable, "met a full table and are not comparable"),
        (flows.undecided, "UNDECIDED: their search was given up"),
        (flows.unexplained, "UNEXPLAINED"),
    ];
    let mut text = format!(
        "{} flows in {} passes: {} as in trace order, {} by another order in the window",
        thousands(flows.flows),
        thousands(flows.passes),
        thousands(flows.in_order),
        thousands(flows.reordered)
    );
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {} {what}", thousands(count));
    }
    text
}

/// The table and what follows from it; its picture in colours or without.
pub fn results(report: &Report, colour: bool) -> String {
    let mut text = match report.pace {
        _ if report.results.runs.iter().any(|run| run.searched.is_some()) => search_text::results(report),
        Some(pace) => paced(report, pace, colour),
        None => closed(report, colour),
    };
    if report.results.partial {
        text.push_str("PARTIAL: cut short by Ctrl-C; the figures are of what was measured by then.\n");
    }
    text
}

/// The table of a closed loop and what follows from it.
fn closed(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    let results = report.results;
    let width = results.runs.iter().map(|run| run.kind.name().len()).max().unwrap_or(6).max(6);
    let quantile_heads: String = QUANTILES.iter().map(|(_, name)| format!("{name:>8}")).collect();
    let _ = writeln!(
        text,
        "{:width$} {:>5} {:>16} {:>9}{quantile_heads}{:>9} {:>9} {:>9} {:>9}",
        "engine", "cores", "Mpps", "ns/packet", "max", "accepted", "dropped", "imbalance"
    );
    for run in &results.runs {
        let _ = writeln!(text, "{}", row(run, width));
    }
    text.push_str(&picture(&results.runs, |measured| &measured.latencies, colour));
    text.push_str(&clean(&results.runs, width));
    let _ = writeln!(text, "\n{}", sentence(report));
    for change in &report.changes {
        let _ = writeln!(text, "{}", changed(change));
    }
    text.push_str(&notes(report));
    text
}

fn row(run: &Run, width: usize) -> String {
    let head = format!("{:width$} {:>5}", run.kind.name(), run.cores);
    if let Some(error) = &run.error {
        return format!("{head}  ERROR: {error}");
    }
    if run.measured.pps.is_empty() {
        let why = if run.packets == 0 { "nothing to measure: no packet is evaluated" } else { "not measured" };
        return format!("{head}  {why}");
    }
    let pps = run.pps;
    let spread = (pps.ci95[1] - pps.ci95[0]) / 2.0 / pps.value * 100.0;
    format!(
        "{head} {:>9.2} ±{spread:>4.1} % {:>9.1}{} {:>9} {:>9} {:>9.2}",
        pps.value / 1e6,
        run.ns_per_packet(),
        latency_columns(run.measured.latencies.raw.histogram()),
        thousands(run.tally.accept),
        thousands(run.tally.drop),
        run.imbalance,
    )
}

/// The table of an open loop and what follows from it.
fn paced(report: &Report, pace: Pace, colour: bool) -> String {
    let runs = &report.results.runs;
    let width = runs.iter().map(|run| run.kind.name().len()).max().unwrap_or(6).max(6);
    let heads: String = QUANTILES.iter().map(|(_, name)| format!("{name:>8}")).collect();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:width$} {:>5} {:>9}{heads}{:>9}{:>14}{:>14}",
        "engine", "cores", "lost", "max", "service p50", "service p99"
    );
    for run in runs {
        let head = format!("{:width$} {:>5}", run.kind.name(), run.cores);
        if let Some(error) = &run.error {
            let _ = writeln!(text, "{head}  ERROR: {error}");
            continue;
        }
        if run.measured.passes == 0 {
            let _ = writeln!(text, "{head}  not measured");
            continue;
        }
        let paced = &run.measured.paced;
        let service = |q: f64| time(paced.service.histogram().value_at_quantile(q));
        let _ = writeln!(
            text,
            "{head} {:>7.3} %{}{:>14}{:>14}",
            paced.lost as f64 / paced.offered.max(1) as f64 * 100.0,
            latency_columns(paced.latency.raw.histogram()),
            service(0.5),
            service(0.99),
        );
    }
    text.push_str(&picture(runs, |measured| &measured.paced.latency, colour));
    let clean: String = runs
        .iter()
        .filter(|run| run.error.is_none() && run.measured.paced.latency.noise.marked_ns > 0)
        .map(|run| clean_row(run, &run.measured.paced.latency, width))
        .collect();
    text.push_str(&clean_table(&clean, width));
    let offered = match (pace.rate, pace.rate.mean_pps(&report.workload.trace)) {
        (Rate::Trace(multiplier), Some(pps)) => {
            format!("at the trace's own times, {multiplier} times as fast: {:.3} Mpps on average", pps / 1e6)
        }
        (Rate::PerSecond(pps), _) => format!("{:.3} Mpps, evenly", pps / 1e6),
        (_, None) => "all at once".to_owned(),
    };
    let _ = writeln!(
        text,
        "\nOpen loop: packets are due {offered}, whether the engine is ready or not; at most {} wait for each core, and what comes then is lost.",
        thousands(pace.queue as u64)
    );
    text.push_str("Latency: from when a packet was due until the verdicts of its burst are known. Service: from when a burst was handed over.\n");
    let mut late = Latencies::new();
    runs.iter().for_each(|run| late.merge(&run.measured.paced.late));
    let late = |q: f64| time(late.histogram().value_at_quantile(q));
    let _ = writeln!(
        text,
        "An idle core noticed packets late by {} (p50), {} (p99), {} (p99.9).",
        late(0.5),
        late(0.99),
        late(0.999)
    );
    let passes: u64 = runs.iter().map(|run| run.measured.passes).sum();
    let _ = writeln!(text, "{} passes in all; the verdicts of each that lost nothing were checked.", thousands(passes));
    text.push_str(&machine(report));
    text
}

/// The latencies as bars.
fn picture(runs: &[Run], of: fn(&Measured) -> &Recording, colour: bool) -> String {
    let right = runs.iter().filter(|run| run.error.is_none());
    let rows = right.filter_map(|run| {
        let histogram = of(&run.measured).raw.histogram();
        let quantiles = QUANTILES.map(|(q, _)| histogram.value_at_quantile(q));
        (!histogram.is_empty()).then(|| Row { engine: run.kind.name(), cores: run.cores as u64, quantiles })
    });
    super::picture::latency(&rows.collect::<Vec<_>>(), colour)
}

/// The same latencies without what the system took away, if it took anything.
fn clean(runs: &[Run], width: usize) -> String {
    let marked = |run: &&Run| run.error.is_none() && run.measured.latencies.noise.marked_ns > 0;
    let rows: String = runs.iter().filter(marked).map(|run| clean_row(run, &run.measured.latencies, width)).collect();
    clean_table(&rows, width)
}

fn clean_row(run: &Run, recording: &Recording, width: usize) -> String {
    format!(
        "{:width$} {:>5} {:>24.1} %{}\n",
        run.kind.name(),
        run.cores,
        recording.noise.marked_share() * 100.0,
        latency_columns(recording.clean.histogram())
    )
}

fn clean_table(rows: &str, width: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head = "clean: without the windows of 2,048 packets in which the system took a core away for 10 us or more";
    format!("\n{head}\n{:width$} {:>5} {:>26}\n{rows}", "engine", "cores", "time left out")
}

fn latency_columns(histogram: &Histogram<u64>) -> String {
    if histogram.is_empty() {
        return format!("{:>8}", "-").repeat(QUANTILES.len()) + &format!("{:>9}", "-");
    }
    let mut columns: String =
        QUANTILES.iter().map(|(q, _)| format!("{:>8}", time(histogram.value_at_quantile(*q)))).collect();
    let _ = write!(columns, "{:>9}", time(histogram.max()));
    columns
}

/// The answer.
fn sentence(report: &Report) -> String {
    let Some((stateful_only, stateless_only)) = report.differences else {
        return "Only one world's rules were given, so stateful and stateless cannot be compared.".into();
    };
    let evaluated = report.about.evaluated;
    let share = report.difference_share().unwrap_or(0.0) * 100.0;
    let differ = match stateful_only + stateless_only {
        0 => format!("The two worlds' verdicts are the same on all {} packets.", thousands(evaluated as u64)),
        n => format!(
            "The two worlds' verdicts differ on {} of {} packets ({share:.3} %): {} only the security groups accept, {} only the network ACL accepts.",
            thousands(n as u64),
            thousands(evaluated as u64),
            thousands(stateful_only as u64),
            thousands(stateless_only as u64)
        ),
    };
    if !report.worlds_agree() {
        return format!(
            "No cost of remembering is given, because these are two different filters.\n{differ}\n\
             `ctbench explain` says of each flow which rule decides, and why."
        );
    }
    let costs = report.cost();
    let mut answers: Vec<String> = costs.iter().map(cost).collect();
    answers.extend(report.strayed().map(strayed));
    if answers.is_empty() {
        return format!("No pair of a stateful and a stateless engine was measured.\n{differ}");
    }
    format!("{}\n{differ}", answers.join("\n"))
}

fn strayed(run: &Run) -> String {
    let share = run.flows.as_ref().map_or(0.0, FlowTally::otherwise_share) * 100.0;
    format!(
        "On {} cores, no cost is given for {}: {share:.1} % of its packets were decided otherwise than in trace order. A smaller --order-window and --burst keep closer to it.",
        run.cores,
        run.kind.name()
    )
}

/// How much of a table lies in huge pages, if it can have any.
pub(super) fn huge_pages(bytes: Option<u64>) -> String {
    bytes.map_or(String::new(), |bytes| format!(" ({} in huge pages)", bytes.div_ceil(1 << 20)))
}

/// What a full table did.
pub(super) fn fullness(table: &TableCounters) -> String {
    match (table.evicted, table.refused) {
        (0, 0) => String::new(),
        (evicted, refused) => format!(" (full: {} evicted, {} refused)", thousands(evicted), thousands(refused)),
    }
}

fn changed(change: &Change) -> String {
    let kept = match change.kept_by_tracking {
        0 => String::new(),
        n => format!(", {} of them only because they are tracked", thousands(n as u64)),
    };
    let verb = if change.world.ends_with('s') { "change" } else { "changes" };
    format!(
        "At {:.3} s the {} {verb}: of the flows that go on, {} are cut, {} live on{kept}.",
        change.after_s,
        change.world,
        thousands(change.cut as u64),
        thousands(change.lived_on as u64)
    )
}

fn cost(c: &Comparison) -> String {
    let cores = cores_of(c.run.cores);
    let [low, high] = c.extra_ns.ci95;
    let amount = match c.verdict {
        "costs" => format!("costs {:.1} ns a packet (95 % confidence: {low:.1} to {high:.1})", c.extra_ns.value),
        "saves" => format!("saves {:.1} ns a packet (95 % confidence: {:.1} to {:.1})", -c.extra_ns.value, -high, -low),
        other => format!("{other} (95 % confidence: {low:+.1} to {high:+.1} ns a packet)"),
    };
    let times = 1.0 / c.ratio.value;
    format!(
        "On {cores}, remembering {amount}: {} takes {:.1} ns, {} {:.1} ns, {times:.2} times as long ({:.2} to {:.2}).",
        c.run.kind.name(),
        c.run.ns_per_packet(),
        c.baseline.kind.name(),
        c.baseline.ns_per_packet(),
        1.0 / c.ratio.ci95[1],
        1.0 / c.ratio.ci95[0],
    )
}
