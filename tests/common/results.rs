//! A result file as the tests of reports want it: made up, of round figures.

use serde_json::{Value, json};

/// A histogram of 1,000 values from 100 ns up, as the recorder writes it.
fn histogram(scale: u64) -> String {
    use base64::Engine as _;
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
    let mut histogram = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    (1..=1000u64).for_each(|n| histogram.record(scale * n * n / 100 + 100).unwrap());
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(&histogram, &mut bytes).unwrap();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// So many stretches of a second each.
pub fn intervals(n: u64) -> Value {
    let one = |n: u64| json!({ "start_s": n, "end_s": n + 1, "count": 30, "p50": 100 + n, "p99": 2_000 + 100 * n, "p99_9": 9_000, "max": 10_000 });
    (0..n).map(one).collect()
}

/// An engine's run.
pub fn engine(name: &str, cores: u64, mpps: f64) -> Value {
    let samples: Vec<f64> = (0..20).map(|n| 1e6 * mpps * (1.0 + 0.001 * f64::from(n % 5))).collect();
    json!({
        "engine": name, "cores": cores, "steering": "symmetric", "load": "closed", "packets": 100,
        "verdicts": { "accept": 90, "drop": 9, "ignored": 1 },
        "outcomes": { "accept: tracked": 90, "drop: no rule": 9, "ignored: not-ip": 1 },
        "digest": "00000000000000ff", "imbalance": 1.0,
        "throughput": { "pps": 1e6 * mpps, "ci95": [0.99e6 * mpps, 1.01e6 * mpps], "samples_pps": samples, "passes": 40 },
        "latency_ns": { "recorder": "every", "count": 1000, "p50": 100, "p90": 200, "p99": 2_000, "p99_9": 30_000, "p99_99": 400_000, "max": 5_000_000, "histogram": histogram((1000.0 / mpps) as u64), "intervals": intervals(3) },
        "stages_ns_per_packet": { "read": 5.0, "decode": 20.5, "steer": null, "evaluate": 1e3 / mpps, "stamps": 9.0 },
        "table": if name.starts_with("stateful") { json!({ "capacity": 65_536, "peak_entries": 5, "inserts": 6, "expired": 1, "evicted": 0, "full_drops": 0, "bytes": 1 << 20 }) } else { Value::Null },
        "error": null,
    })
}

/// Three engines on one core.
pub fn result() -> Value {
    let compared = |engine: &str, ratio: f64, verdict: &str| {
        json!({
            "engine": engine, "baseline": "stateless-linear", "cores": 1, "ratio": ratio, "ci95": [ratio * 0.95, ratio * 1.05],
            "extra_ns": 10.0, "extra_ns_ci95": [9.0, 11.0], "verdict": verdict
        })
    };
    json!({
        "schema": 1, "ctbench": { "version": "9.9.9", "commit": "abc" }, "command": "ctbench compare --time 1", "started": 1_700_000_000,
        "host": { "cpu": "A CPU", "cores": 2, "platform": "linux-x86_64", "kernel": "6.1" },
        "scenario": { "name": "A visit", "trace": "trace.pcap", "trace_sha256": "0".repeat(64), "packets": 100, "evaluated": 99, "flows": 5, "duration_s": 1.0, "inside": "10.0.0.0/8", "rules": { "security_groups": 3, "network_acl": null } },
        "settings": { "burst": 32, "conntrack": { "profile": "linux" } },
        "probe": { "bytes": 1 << 20, "line_ns": 8.0, "dependent_ns": 33.0 },
        "worlds": { "stateful_only_accepts": 0, "stateless_only_accepts": 6, "comparable": true },
        "differences": {
            "packets": 6, "flows": 3, "more_causes": 0,
            "causes": [{
                "dropped_by": "security groups", "role": "request", "direction": "in", "protocol": "TCP", "packets": 6, "flows": 3, "ports": [[49152, 6]],
                "text": "no inbound security group rule covers them; the network ACL accepts them",
                "examples": [{ "flow": "TCP 198.51.100.7:51334 -> 10.0.0.5:49152", "packets": 2, "differing": 2, "first_packet": 17, "why": "request from 198.51.100.7:51334 to port 49152 dropped: no inbound security group rule for destination port 49152; the network ACL accepts it by acl:300 (acl.json)" }]
            }]
        },
        "doubts": ["the machine was busy"],
        "runs": [engine("null", 1, 400.0), engine("stateless-linear", 1, 60.0), engine("stateful-lockfree-linear", 1, 16.0)],
        "comparisons": [compared("null", 6.7, "faster"), compared("stateful-lockfree-linear", 0.267, "slower")],
    })
}

/// A sweep over rules and flows: scanning rules takes 1 ns each, remembering 20 ns and more with more flows.
pub fn sweep() -> Value {
    let mut points = Vec::new();
    for rules in [10, 100, 1_000] {
        for flows in [1_000, 1_000_000] {
            let stateful = if flows == 1_000 { 20.0 } else { 100.0 };
            for (engine, ns) in [("stateless-linear", f64::from(rules)), ("stateful-lockfree-linear", stateful)] {
                let mpps = 1e3 / ns;
                points.push(json!({
                    "engine": engine, "cores": 1, "steering": "symmetric", "rules": rules, "flows": flows, "churn": null, "burst": 32,
                    "capacity": null, "pps": null, "mpps": mpps, "mpps_low": mpps * 0.99, "mpps_high": mpps * 1.01, "noise_floor": 0.01,
                    "p50_ns": 100, "p99_ns": 900, "lost": null, "error": null
                }));
            }
        }
    }
    json!({
        "schema": 1, "ctbench": { "version": "9.9.9", "commit": "abc" }, "command": "ctbench sweep", "started": 1_700_000_000,
        "host": { "cpu": "A CPU", "cores": 2 }, "scenario": { "name": "Made-up rules and flows" },
        "runs": [], "sweep": { "settings": "time 1", "points": points },
    })
}

/// A search: four trials and a goal.
pub fn search() -> Value {
    let trial = |pps: f64, p99: u64, lost: u64| json!({ "pps": pps, "offered": 1_000, "lost": lost, "latency_ns": { "p50": 500, "p99": p99 } });
    let mut search = result();
    search["runs"].as_array_mut().unwrap().truncate(1);
    search["comparisons"] = json!([]);
    let run = &mut search["runs"][0];
    run["load"] = json!("search");
    run["throughput"] = Value::Null;
    run["latency_ns"] = Value::Null;
    run["search"] = json!({
        "goals": [{ "name": "NDR", "status": "found", "conditional_throughput_pps": 2.5e6, "lower_pps": 2.5e6, "upper_pps": 2.6e6 }],
        "trials": [trial(3e6, 900_000, 70), trial(2e6, 2_000, 0), trial(2.5e6, 4_000, 0), trial(0.0, 1, 0)],
    });
    search
}
