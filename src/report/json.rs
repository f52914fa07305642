//! The result JSON. Its schema is `results/schema.json`.

use super::{Report, search_json};
use crate::engine::registry::Kind;
use crate::measure::{Latencies, Recording, Run, Span, StageTimes, Stamping};
use crate::replay::{Pace, Rate};
use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;

/// Version of the format.
pub(super) const SCHEMA: u32 = 1;

/// The document. Keys are strings and NaN has become null, so it always serialises.
pub fn document(report: &Report) -> Value {
    let about = &report.about;
    let w = report.workload;
    let started = report.started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    json!({
        "schema": SCHEMA,
        "ctbench": program(),
        "command": report.command,
        "partial": report.results.partial,
        "started": started,
        "host": report.host,
        "scenario": {
            "name": about.title,
            "trace": about.trace,
            "trace_sha256": about.trace_sha256,
            "packets": about.packets,
            "elephant": about.elephant.map(|elephant| json!({
                "begins_at": elephant.begins_at,
                "copies": elephant.copies,
                "share": elephant.share,
            })),
            "shard": about.share.map(|share| json!({ "index": share.index, "of": share.of })),
            "evaluated": about.evaluated,
            "flows": about.flows,
            "duration_s": about.duration_s,
            "wire_bytes": about.wire_bytes,
            "inside": about.inside,
            "rules": { "security_groups": about.rules[0], "network_acl": about.rules[1] },
        },
        "settings": {
            "burst": w.burst,
            "order_window": w.steering.window(),
            "shards": w.geometry.shards,
            "scenario_key": w.scenario_key.to_string(),
            "seed": w.secret.to_string(),
            "conntrack": w.config,
        },
        "clock": {
            "source": report.clock_ticks.map_or("os", |_| "time-stamp counter"),
            "ticks_per_second": report.clock_ticks,
            "ratio_to_os": report.clock_ratio,
            "backwards": report.clock_floor.backwards,
            "floor_p50_ns": report.clock_floor.quantile(0.5),
            "floor_p99_ns": report.clock_floor.quantile(0.99),
            "floor_max_ns": report.clock_floor.apart.histogram().max(),
            "floor_ns": quantiles(report.clock_floor.apart.histogram()),
            "floor_histogram": encoded(report.clock_floor.apart.histogram()),
        },
        "probe": report.results.probe.map(|(bytes, cost)| json!({
            "bytes": bytes,
            "line_ns": cost.line_ns,
            "dependent_ns": cost.dependent_ns,
        })),
        "warnings": about.warnings,
        "doubts": report.doubts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "worlds": report.differences.map(|(stateful_only, stateless_only)| json!({
            "stateful_only_accepts": stateful_only,
            "stateless_only_accepts": stateless_only,
            "comparable": report.worlds_agree(),
        })),
        "differences": report.reasons,
        "changes": report.changes,
        "runs": report.results.runs.iter().map(|run| run_value(report, run)).collect::<Vec<_>>(),
        "single_packet_latency": report.results.alone.iter().map(|(kind, cores, measured)| json!({
            "engine": kind.name(),
            "cores": cores,
            "latency_ns": report.stamping.map(|stamping| latency(&measured.latencies, stamping, report)),
        })).collect::<Vec<_>>(),
        "controls": report.results.controls.iter().map(|control| json!({
            "engine": control.kind.name(),
            "cores": control.cores,
            "ratio": control.ratio.value,
            "ci95": control.ratio.ci95,
            "noise_floor": control.noise_floor(),
            "samples": control.samples,
        })).collect::<Vec<_>>(),
        "comparisons": report.comparisons().iter().map(|c| json!({
            "engine": c.run.kind.name(),
            "baseline": c.baseline.kind.name(),
            "cores": c.run.cores,
            "ratio": c.ratio.value,
            "ci95": c.ratio.ci95,
            "extra_ns": c.extra_ns.value,
            "extra_ns_ci95": c.extra_ns.ci95,
            "verdict": c.verdict,
        })).collect::<Vec<_>>(),
    })
}

fn run_value(report: &Report, run: &Run) -> Value {
    let about = &report.about;
    let measured = run.error.is_none() && !run.measured.pps.is_empty();
    // Of a streamed trace CPU time, for the stages overlap; else wall time, one after the other.
    let stages = run.stage_times().unwrap_or(StageTimes {
        read: Some(about.read_ns),
        decode: Some(about.decode_ns),
        steer: run.steer_ns.map(|steer_ns| about.sequence_ns + steer_ns),
        evaluate: Some(run.ns_per_packet()),
    });
    let recorded = &run.measured.latencies.raw;
    // A run that was cut short may have no latencies.
    let stamped = measured && (!recorded.histogram().is_empty() || recorded.beyond() > 0);
    let stamps = run.stamp_cost().filter(|_| measured);
    let perturbation =
        stamps.map(|cost| json!({ "ns": cost.value, "ci95": cost.ci95, "pairs": run.measured.stamped_pairs.len() }));
    json!({
        "engine": run.kind.name(),
        "follows": follows(run.kind),
        "cores": run.cores,
        "pinned": run.pinned,
        "steering": run.steering.name(),
        "imbalance": run.imbalance,
        "load": match (&run.stages, report.pace) {
            _ if run.searched.is_some() => "search",
            (Some(_), _) => "streamed",
            (None, Some(_)) => "paced",
            (None, None) => "closed",
        },
        "offered_pps": report.pace.and_then(|pace| pace.rate.mean_pps(&report.workload.trace)),
        "packets": run.packets,
        "verdicts": { "accept": run.tally.accept, "drop": run.tally.drop, "ignored": run.tally.ignored },
        "outcomes": run.tally.outcomes,
        "lost": run.measured.paced.lost,
        "paced": report.pace.filter(|_| run.measured.passes > 0).map(|pace| paced(run, pace)),
        "search": run.searched.as_ref().map(|searched| search_json::value(searched, report)),
        "digest": run.digest().map(|digest| format!("{digest:016x}")),
        "flows": run.flows.as_ref().map(|flows| json!({
            "passes": flows.passes,
            "checked": flows.flows,
            "packets": flows.packets,
            "otherwise": flows.otherwise,
            "in_order": flows.in_order,
            "reordered": flows.reordered,
            "not_comparable": flows.not_comparable,
            "undecided": flows.undecided,
            "unexplained": flows.unexplained,
        })),
        "tracked_share": run.tracked_share,
        "throughput": measured.then(|| json!({
            "pps": run.pps.value,
            "ci95": run.pps.ci95,
            "samples_pps": run.measured.pps,
            "passes": run.measured.passes,
            "warm_up_passes": run.measured.warm_up_passes,
            "steady": run.measured.steady,
            "taken_share": run.measured.noise.taken_share(),
            "ratio_to_probe": report.results.probe.map(|(_, cost)| run.ns_per_packet() / cost.line_ns),
        })),
        "latency_ns": match report.pace {
            Some(_) if run.error.is_none() && run.measured.passes > 0 => {
                Some(latency(&run.measured.paced.latency, Stamping::Burst, report))
            }
            Some(_) => None,
            None => report.stamping.filter(|_| stamped).map(|stamping| {
                let mut value = latency(&run.measured.latencies, stamping, report);
                value["perturbation"] = json!(perturbation);
                value
            }),
        },
        "stages_ns_per_packet": {
            "read": stages.read,
            "decode": stages.decode,
            "steer": stages.steer,
            "evaluate": stages.evaluate.filter(|_| measured),
            "stamps": stamps.map(|cost| cost.value),
            "record": stamps.map(|cost| cost.value),
        },
        "table": run.measured.counters.map(|c| json!({
            "capacity": report.workload.geometry.capacity(),
            "peak_entries": c.peak_entries,
            "lookups": c.lookups,
            "hits": c.hits,
            "probes_per_lookup": run.probes,
            "inserts": c.inserts,
            "expired": c.expired,
            "evicted": c.evicted,
            "full_drops": c.refused,
            "bytes": run.table_bytes,
            "huge_page_bytes": run.huge_bytes,
            "allowance": allowance(report, c.peak_entries),
        })),
        "instructions": run.instructions.as_ref().map(|instructions| json!({
            "per_packet": instructions.as_ref().ok(),
            "not_available": instructions.as_ref().err(),
        })),
        "error": run.error,
    })
}

/// Whose rules an engine follows.
fn follows(kind: Kind) -> Option<&'static str> {
    match kind {
        kind if kind.is_stateful() => Some("security groups"),
        kind if kind.is_stateless() => Some("network ACL"),
        _ => None,
    }
}

/// What AWS's counters of the same names would say at the end of the trace, and at its fullest.
fn allowance(report: &Report, peak_entries: u64) -> Option<Value> {
    let limit = report.workload.config.allowance;
    (limit > 0).then(|| {
        json!({
            "limit": limit,
            "exceeded_packets": report.allowance_exceeded,
            "available_at_least": limit.saturating_sub(peak_entries),
        })
    })
}

/// An open loop: what was due and what came of it. Latency stands where a closed loop's does.
fn paced(run: &Run, pace: Pace) -> Value {
    let paced = &run.measured.paced;
    json!({
        "rate": match pace.rate {
            Rate::Trace(multiplier) => json!({ "multiplier": multiplier }),
            Rate::PerSecond(pps) => json!({ "pps": pps }),
        },
        "queue": pace.queue,
        "passes": run.measured.passes,
        "offered": paced.offered,
        "service_ns": quantiles(paced.service.histogram()),
        "late_ns": quantiles(paced.late.histogram()),
    })
}

pub(super) fn latency(recording: &Recording, stamping: Stamping, report: &Report) -> Value {
    let mut value = quantiles(recording.raw.histogram());
    value["recorder"] = json!(stamping.name());
    value["one_in"] = json!(stamping.one_in());
    value["beyond_one_minute"] = json!(recording.raw.beyond());
    value["clock_backwards"] = json!(recording.backwards);
    value["clock_floor_p50"] = json!(report.clock_floor.quantile(0.5));
    value["histogram"] = json!(encoded(recording.raw.histogram()));
    value["marked_share"] = json!(recording.noise.marked_share());
    value["clean"] = quantiles(recording.clean.histogram());
    value["intervals"] = intervals(recording, report.workload.span);
    value
}

/// Over the trace's time; intervals without a packet are left out.
fn intervals(recording: &Recording, span: Span) -> Value {
    let seconds = |intervals: u64| (u128::from(span.interval_ns()) * u128::from(intervals)) as f64 / 1e9;
    let value = |(number, latencies): (usize, &Latencies)| {
        interval(seconds(number as u64), seconds(number as u64 + 1), latencies.histogram())
    };
    recording.intervals.recorded().map(value).collect()
}

/// One of them.
pub(super) fn interval(start_s: f64, end_s: f64, h: &Histogram<u64>) -> Value {
    json!({
        "start_s": start_s,
        "end_s": end_s,
        "count": h.len(),
        "p50": h.value_at_quantile(0.5),
        "p99": h.value_at_quantile(0.99),
        "p99_9": h.value_at_quantile(0.999),
        "max": h.max(),
        "histogram": encoded(h),
    })
}

pub(super) fn quantiles(h: &Histogram<u64>) -> Value {
    let q = |quantile: f64| h.value_at_quantile(quantile);
    json!({
        "count": h.len(),
        "min": h.min(),
        "p50": q(0.5),
        "p90": q(0.9),
        "p99": q(0.99),
        "p99_9": q(0.999),
        "p99_99": q(0.9999),
        "max": h.max(),
        "mean": h.mean(),
    })
}

/// HdrHistogram V2, compressed, as base64: what `HistogramLogReader` and its kin decode.
pub(super) fn encoded(histogram: &Histogram<u64>) -> Option<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).ok()?;
    Some(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// The program that measured.
pub(super) fn program() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "compiler": env!("CTBENCH_COMPILER"),
        "features": env!("CTBENCH_FEATURES"),
    })
}

/// The commit of the checkout that the program was built in, if it is still there.
fn commit() -> Option<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = std::process::Command::new("git").args(["-C", folder, "rev-parse", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(git.stdout).ok()?.trim().to_owned();
    (git.status.success() && !commit.is_empty()).then_some(commit)
}
