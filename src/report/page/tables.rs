//! The tables of a report.

use super::{Cell, Table, answer};
use crate::report::result::{Latency, QUANTILES, ResultDocument, ResultFile, Run, plain, text_of};
use crate::report::swept::SweepPoint;
use crate::report::words::{counted, thousands, time};
use serde_json::{Map, Value};

/// All that the result has figures for.
pub(super) fn of(result: &ResultDocument) -> Vec<Table> {
    let tables = [
        points(result),
        rates(result),
        throughput(result),
        latency(result),
        clean(result),
        alone(result),
        stages(result),
        causes(result),
        flows(result),
        outcomes(result),
        flow_tables(result),
        circumstances(result),
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// What remembering costs, a row for every result and place of it.
pub(super) fn across(results: &[ResultFile]) -> Table {
    // An open loop has no throughput of its own.
    let timed =
        results.iter().map(|file| &file.result).filter(|result| result.runs.iter().any(|run| run.load == "closed"));
    let rows = timed.flat_map(|result| {
        let differ = result.worlds.map_or(f64::NAN, |worlds| {
            let packets = worlds.stateful_only_accepts + worlds.stateless_only_accepts;
            packets as f64 / result.scenario.evaluated.max(1) as f64 * 100.0
        });
        let costs = answer::costs(result);
        let none = costs.is_empty().then(|| {
            let why = match result.worlds {
                None => "one world only",
                Some(worlds) if !worlds.comparable => "two different filters",
                Some(_) => "no pair was measured",
            };
            [
                vec![word(&result.scenario.name), word("–"), word("–"), word(why)],
                vec![word("–"); 6],
                vec![number(differ, 3)],
            ]
            .concat()
        });
        let rows = costs.into_iter().map(move |cost| {
            vec![
                word(&result.scenario.name),
                count(cost.stateful.cores),
                word(&cost.stateful.steering),
                word(&cost.stateful.engine),
                number(cost.ns[0], 1),
                word(&cost.stateless.engine),
                number(cost.ns[1], 1),
                number(cost.times.value, 2),
                number(cost.times.ci95[0], 2),
                number(cost.times.ci95[1], 2),
                number(differ, 3),
            ]
        });
        none.into_iter().chain(rows).collect::<Vec<_>>()
    });
    let columns = [
        "scenario",
        "cores",
        "steering",
        "fastest stateful",
        "ns/packet",
        "fastest stateless",
        "ns/packet",
        "times as long",
        "95 % from",
        "to",
        "% differ",
    ];
    table("What remembering costs", &columns, rows.collect())
}

fn word(text: &str) -> Cell {
    Cell { text: plain(text), value: None }
}

fn number(value: f64, digits: usize) -> Cell {
    if !value.is_finite() {
        return word("–");
    }
    Cell { text: format!("{value:.digits$}"), value: Some(value) }
}

fn count(value: u64) -> Cell {
    Cell { text: thousands(value), value: Some(value as f64) }
}

fn duration(value: Option<u64>) -> Cell {
    value.map_or_else(|| word("–"), |ns| Cell { text: time(ns), value: Some(ns as f64) })
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table { title: title.into(), columns: columns.iter().map(|column| (*column).to_owned()).collect(), rows }
}

fn head(run: &Run) -> Vec<Cell> {
    let place = if run.load == "closed" { run.steering.clone() } else { format!("{}, {}", run.steering, run.load) };
    vec![word(&run.engine), count(run.cores), word(&place)]
}

fn throughput(result: &ResultDocument) -> Table {
    // An open loop's throughput is what it was offered.
    let timed = result.runs.iter().filter(|run| run.load == "closed" || run.error.is_some());
    let rows = timed.map(|run| {
        let mut row = head(run);
        match (run.measured(), &run.error) {
            (Some(throughput), _) => {
                let [low, high] = throughput.ci95;
                row.extend([throughput.pps, low, high].map(|pps| number(pps / 1e6, 2)));
                row.push(number(1e9 / throughput.pps, 1));
                row.push(number(result.probe.map_or(f64::NAN, |probe| 1e9 / throughput.pps / probe.line_ns), 2));
            }
            (None, error) => {
                row.push(word(error.as_deref().map_or("not measured", |error| error)));
                row.extend(vec![word("–"); 4]);
            }
        }
        let compared = result.comparisons.iter().find(|c| c.engine == run.engine && c.cores == run.cores);
        match compared {
            Some(c) => row.extend([number(c.ratio, 3), number(c.ci95[0], 3), number(c.ci95[1], 3), word(&c.verdict)]),
            None => row.extend(vec![word("–"); 4]),
        }
        row
    });
    let columns = [
        "engine",
        "cores",
        "steering",
        "Mpps",
        "95 % from",
        "to",
        "ns/packet",
        "× floor",
        "× baseline",
        "95 % from",
        "to",
        "verdict",
    ];
    table("Throughput", &columns, rows.collect())
}

/// The points of a sweep. What was not swept at any point has no column.
fn points(result: &ResultDocument) -> Table {
    type Swept = fn(&SweepPoint) -> Option<u64>;
    const SWEPT: [(&str, Swept); 5] = [
        ("rules", |p| p.rules),
        ("flows", |p| p.flows),
        ("new flows/s", |p| p.churn),
        ("entries", |p| p.capacity),
        ("offered pps", |p| p.pps),
    ];
    let points = || result.sweep.iter().flat_map(|sweep| &sweep.points);
    let (any_lost, any_error) = (points().any(|p| p.lost.is_some()), points().any(|p| p.error.is_some()));
    let swept: Vec<(&str, Swept)> =
        SWEPT.into_iter().filter(|(_, of)| points().any(|point| of(point).is_some())).collect();
    let rows = points().map(|point| {
        let some = |value: Option<u64>| value.map_or_else(|| word("–"), count);
        let [mpps, low, high] = point.throughput().unwrap_or([f64::NAN; 3]);
        let mut row = vec![word(&point.engine), count(point.cores), word(&point.steering)];
        row.extend(swept.iter().map(|(_, of)| some(of(point))));
        row.push(count(point.burst));
        row.extend([number(mpps, 2), number(low, 2), number(high, 2), number(1e3 / mpps, 1)]);
        row.extend([duration(point.p50_ns), duration(point.p99_ns)]);
        row.extend(any_lost.then(|| some(point.lost)));
        row.extend(any_error.then(|| word(point.error.as_deref().unwrap_or(""))));
        row
    });
    let names: Vec<&str> = swept.iter().map(|(name, _)| *name).collect();
    let figures = ["burst", "Mpps", "95 % from", "to", "ns/packet", "p50", "p99"];
    let rare: Vec<&str> =
        [(any_lost, "lost"), (any_error, "error")].iter().filter_map(|(any, name)| any.then_some(*name)).collect();
    table("Points of the sweep", &[&LATENCY[..3], &names, &figures, &rare].concat(), rows.collect())
}

/// The highest rates that were searched for.
fn rates(result: &ResultDocument) -> Table {
    let rows = result.runs.iter().flat_map(|run| {
        let goals = run.search.as_ref().and_then(|search| search.get("goals")?.as_array());
        goals.into_iter().flatten().map(move |goal| {
            let mpps =
                |field: &str| number(goal.get(field).and_then(Value::as_f64).map_or(f64::NAN, |pps| pps / 1e6), 3);
            let text = |field: &str| word(&goal.get(field).map_or_else(|| "–".to_owned(), text_of));
            let rates = ["conditional_throughput_pps", "lower_pps", "upper_pps"].map(mpps);
            [head(run), vec![text("name")], rates.to_vec(), vec![text("status")]].concat()
        })
    });
    let columns = [&LATENCY[..3], &["goal", "Mpps", "lower bound", "upper bound", "status"]].concat();
    table("Highest rates that meet a goal", &columns, rows.collect())
}

const LATENCY: [&str; 9] = ["engine", "cores", "steering", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

fn quantiles(latency: &Latency) -> Vec<Cell> {
    let mut cells: Vec<Cell> = QUANTILES.iter().map(|(_, _, of)| duration(of(latency))).collect();
    cells.push(duration(latency.max));
    cells
}

fn latency(result: &ResultDocument) -> Table {
    let rows = result
        .runs
        .iter()
        .filter(|run| run.error.is_none())
        .filter_map(|run| Some([head(run), quantiles(run.latency_ns.as_ref()?)].concat()));
    table("Latency in a burst", &LATENCY, rows.collect())
}

fn clean(result: &ResultDocument) -> Table {
    let rows = result.runs.iter().filter(|run| run.error.is_none()).filter_map(|run| {
        let latency = run.latency_ns.as_ref()?;
        let share = latency.marked_share.filter(|share| *share > 0.0)?;
        Some([head(run), quantiles(latency.clean.as_ref()?), vec![number(share * 100.0, 1)]].concat())
    });
    table(
        "Latency without the windows in which the system took the core away",
        &[&LATENCY[..], &["% of time left out"]].concat(),
        rows.collect(),
    )
}

fn alone(result: &ResultDocument) -> Table {
    let rows = result
        .single_packet_latency
        .iter()
        .map(|one| [vec![word(&one.engine), count(one.cores)], quantiles(&one.latency_ns)].concat());
    table("Latency of one packet at a time (burst 1)", &[&LATENCY[..2], &LATENCY[3..]].concat(), rows.collect())
}

fn stages(result: &ResultDocument) -> Table {
    const STAGES: [&str; 5] = ["read", "decode", "steer", "evaluate", "stamps"];
    let rows = result.runs.iter().filter(|run| run.measured().is_some()).map(|run| {
        let stage = |name: &&str| number(run.stages_ns_per_packet.get(*name).copied().flatten().unwrap_or(f64::NAN), 1);
        [head(run), STAGES.iter().map(stage).collect()].concat()
    });
    table("Stages, ns a packet", &[&LATENCY[..3], &STAGES].concat(), rows.collect())
}

/// Why the worlds differ.
fn causes(result: &ResultDocument) -> Table {
    let rows = result.differences.iter().flat_map(|differences| &differences.causes).map(|cause| {
        let ports: Vec<String> =
            cause.ports.iter().map(|(port, packets)| format!("{port}: {}", thousands(*packets))).collect();
        vec![
            word(&cause.dropped_by),
            word(&format!("{} {}", cause.role, cause.direction)),
            word(&cause.protocol),
            count(cause.packets),
            count(cause.flows),
            word(&ports.join(", ")),
            word(&cause.text),
        ]
    });
    let mut rows: Vec<Vec<Cell>> = rows.collect();
    if let Some(more) = result.differences.as_ref().map(|differences| differences.more_causes).filter(|more| *more > 0)
    {
        let text = format!("and {}: `ctbench explain` lists them", counted(more, "further cause"));
        rows.push([vec![word("–"); 6], vec![word(&text)]].concat());
    }
    let columns = ["dropped by", "what", "protocol", "packets", "flows", "ports: packets", "why"];
    table("Why the two worlds differ", &columns, rows)
}

/// Flows on which they do.
fn flows(result: &ResultDocument) -> Table {
    let causes = result.differences.iter().flat_map(|differences| &differences.causes);
    let rows = causes.flat_map(|cause| {
        cause.examples.iter().map(|example| {
            vec![
                word(&example.flow),
                count(example.packets),
                count(example.differing),
                count(example.first_packet),
                word(&cause.dropped_by),
                word(&example.why),
            ]
        })
    });
    let all = result.differences.as_ref().map_or(0, |differences| differences.flows);
    let title = format!("Flows on which they differ: some of {}", thousands(all));
    table(&title, &["flow", "packets", "differing", "first of them", "dropped by", "why"], rows.collect())
}

fn outcomes(result: &ResultDocument) -> Table {
    let rows = result.runs.iter().flat_map(|run| {
        run.outcomes.iter().map(|(outcome, packets)| {
            let share = *packets as f64 / run.packets.max(1) as f64 * 100.0;
            [head(run), vec![word(outcome), count(*packets), number(share, 3)]].concat()
        })
    });
    table("How packets ended, and why", &[&LATENCY[..3], &["outcome", "packets", "%"]].concat(), rows.collect())
}

fn flow_tables(result: &ResultDocument) -> Table {
    const FIELDS: [&str; 7] = ["capacity", "peak_entries", "inserts", "expired", "evicted", "full_drops", "bytes"];
    let rows = result.runs.iter().filter_map(|run| {
        let fields = run.table.as_ref()?;
        let field = |name: &&str| fields.get(*name).and_then(Value::as_u64).map_or_else(|| word("–"), count);
        Some([head(run), FIELDS.iter().map(field).collect()].concat())
    });
    table("Flow tables", &[&LATENCY[..3], &FIELDS].concat(), rows.collect())
}

/// The machine and every option, one a row.
fn circumstances(result: &ResultDocument) -> Table {
    let mut rows = vec![
        vec![
            word("ctbench"),
            word(&format!("{} {}", result.ctbench.version, result.ctbench.commit.as_deref().unwrap_or(""))),
        ],
        vec![word("trace SHA-256"), word(result.scenario.trace_sha256.as_deref().unwrap_or("–"))],
        vec![word("inside"), word(&result.scenario.inside)],
    ];
    flatten("host", &result.host, &mut rows);
    flatten("clock", &result.clock, &mut rows);
    flatten("settings", &result.settings, &mut rows);
    table("Machine and options", &["what", "value"], rows)
}

/// Objects in objects become `a.b.c`.
fn flatten(prefix: &str, fields: &Map<String, Value>, rows: &mut Vec<Vec<Cell>>) {
    for (key, value) in fields {
        let name = format!("{prefix}.{key}");
        match value {
            Value::Object(inner) => flatten(&name, inner, rows),
            other => rows.push(vec![word(&name), word(&text_of(other))]),
        }
    }
}
