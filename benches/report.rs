//! How long a report takes to write, and how large it is: of 1, 20 and 200 runs, each with a latency histogram, sixty
//! stretches of time and eight outcomes.
//!
//! `cargo bench --bench report`

use base64::Engine as _;
use ctbench::report::format::FORMATS;
use ctbench::report::result::ResultFile;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Of so many renderings the median is shown.
const ROUNDS: usize = 5;

fn main() {
    println!("wanted: a page of 200 runs in less than 2 s and 6 MB\n");
    println!("{:>5} {:<12} {:>10} {:>10}", "runs", "format", "ms", "kB");
    for runs in [1, 20, 200] {
        let file = [ResultFile::from_json(Path::new("made.json"), result(runs)).expect("a result")];
        for format in FORMATS {
            let mut times = Vec::new();
            let mut bytes = 0;
            for _ in 0..ROUNDS {
                let start = Instant::now();
                let documents = format.render(&file).expect("renders");
                times.push(start.elapsed().as_secs_f64() * 1e3);
                bytes = documents.iter().map(|document| document.text.len()).sum();
            }
            times.sort_by(f64::total_cmp);
            println!("{runs:>5} {:<12} {:>10.1} {:>10.0}", format.name(), times[ROUNDS / 2], bytes as f64 / 1e3);
        }
    }
}

fn result(runs: u64) -> Value {
    let mut histogram = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
    for n in 1..=1_000_000u64 {
        histogram
            .record(100 + n % 977 * (1 + n % 31) + if n % 99_991 == 0 { 1_000_000 } else { 0 })
            .expect("in bounds");
    }
    let mut packed = Vec::new();
    V2DeflateSerializer::new().serialize(&histogram, &mut packed).expect("packs");
    let histogram = base64::engine::general_purpose::STANDARD.encode(packed);
    let interval = |n: u64| json!({ "start_s": n, "end_s": n + 1, "count": 999, "p50": 100 + n, "p99": 2_000 + n * n, "p99_9": 9_000, "max": 10_000 });
    let run = |n: u64| {
        let pps = 1e7 + n as f64;
        let outcomes: serde_json::Map<_, _> = (0..8).map(|n| (format!("drop: reason {n}"), json!(n + 1))).collect();
        json!({
            "engine": format!("stateful-{n}"), "cores": n % 8 + 1, "packets": 36, "outcomes": outcomes,
            "throughput": { "pps": pps, "ci95": [pps * 0.99, pps * 1.01], "samples_pps": vec![pps; 25], "passes": 25 },
            "latency_ns": { "count": 1_000_000, "p50": 100, "p90": 200, "p99": 2_000, "p99_9": 30_000, "p99_99": 400_000, "max": 5_000_000, "histogram": histogram, "intervals": (0..60).map(interval).collect::<Vec<_>>() },
            "stages_ns_per_packet": { "read": 5.0, "decode": 20.5, "evaluate": 50.0 },
        })
    };
    json!({
        "schema": 1, "ctbench": {}, "scenario": { "name": "Made up" }, "probe": { "line_ns": 8.0, "dependent_ns": 33.0 },
        "runs": (0..runs).map(run).collect::<Vec<_>>(),
    })
}
