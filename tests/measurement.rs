//! How figures are taken: recorders, latency over the trace's time, stages.

mod common;

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// Runs in the project's folder and returns (exit code, stdout, stderr).
fn run(arguments: &[&str]) -> (i32, String, String) {
    let folder = env!("CARGO_MANIFEST_DIR");
    let output = Command::cargo_bin("ctbench").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code().unwrap(), stdout, stderr)
}

/// Compares on a bundled trace; gives the terminal's text and the result.
fn compare(folder: &Path, options: &[&str]) -> (String, Value) {
    let path = folder.join("result.json");
    let fixed = ["compare", "traces/dns-resolver", "--cores", "1", "--time", "0.2", "--json", path.to_str().unwrap()];
    let (code, stdout, stderr) = run(&[&fixed[..], options].concat());
    assert_eq!(code, 0, "{stdout}{stderr}");
    let result = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    common::assert_valid(&result);
    (stdout, result)
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no count: {value}"))
}

#[test]
fn recorders_say_how_many_verdicts_they_stamped_and_what_that_cost() {
    let folder = tempdir().unwrap();
    let engine = ["--engine", "stateful-percore-linear"];
    let run_with = |options: &[&str]| compare(folder.path(), &[&engine[..], options].concat());
    for recorder in ["every", "burst", "sampled"] {
        let (text, result) = run_with(&["--recorder", recorder]);
        let run = &result["runs"][0];
        let latency = &run["latency_ns"];
        assert_eq!(latency["recorder"], recorder);
        assert_eq!(count(&latency["one_in"]), if recorder == "sampled" { 64 } else { 1 });
        // Every pass records each packet, or exactly one in so many, and a last run that is cut short perhaps.
        let packets = count(&run["packets"]);
        let each = if recorder == "sampled" { packets / 64 } else { packets };
        let passes = (count(&latency["count"]) as f64 / each as f64).floor();
        assert!(passes >= 1.0 && count(&latency["count"]) as f64 <= passes * (each + 1) as f64, "{latency}");
        assert_eq!((count(&latency["clock_backwards"]), count(&latency["beyond_one_minute"])), (0, 0));
        assert!(run["stages_ns_per_packet"]["stamps"].is_f64(), "{run}");
        let bounds = &latency["perturbation"]["ci95"];
        assert!(bounds[0].as_f64() <= bounds[1].as_f64(), "{bounds}");
        assert!(text.contains("ns a packet (passes with and without, in pairs)"), "{text}");
    }
    let (text, result) = run_with(&["--recorder", "off"]);
    assert_eq!(result["runs"][0]["latency_ns"], Value::Null);
    assert_eq!(result["single_packet_latency"], serde_json::json!([]));
    assert!(text.contains("Latency: not recorded (--recorder off)"), "{text}");
    let (_, result) = run_with(&["--recorder", "sampled", "--one-in", "7"]);
    assert_eq!(count(&result["runs"][0]["latency_ns"]["one_in"]), 7);
    for (options, says) in [
        (vec!["--one-in", "7"], "--recorder sampled"),
        (vec!["--recorder", "burst", "--load", "paced"], "--load paced"),
    ] {
        let (code, _, stderr) = run(&[&["compare", "traces/dns-resolver"][..], &options].concat());
        assert!(code == 1 && stderr.contains(says), "{code}: {stderr}");
    }
}

#[test]
fn stages_and_the_tables_work_are_accounted_for() {
    let folder = tempdir().unwrap();
    let (text, result) = compare(folder.path(), &["--engine", "stateful-*-linear", "--engine", "stateless-linear"]);
    assert!(text.contains("Stages, ns a packet: read ") && text.contains("Instructions a packet: "), "{text}");
    for run in result["runs"].as_array().unwrap() {
        for stage in ["read", "decode", "steer", "evaluate"] {
            assert!(run["stages_ns_per_packet"][stage].as_f64().unwrap() > 0.0, "{stage}: {run}");
        }
        // Either the machine counts, or it is said why not.
        let instructions = &run["instructions"];
        assert_ne!(instructions["per_packet"].is_null(), instructions["not_available"].is_null(), "{instructions}");
        let table = &run["table"];
        if run["engine"] == "stateless-linear" {
            assert!(table.is_null());
            continue;
        }
        // What is not found and allowed is inserted; here, everything allowed fits.
        let packets = count(&run["packets"]);
        assert!(count(&table["lookups"]) <= packets && count(&table["hits"]) > 0);
        let misses = count(&table["lookups"]) - count(&table["hits"]);
        let dropped = count(&run["verdicts"]["drop"]);
        assert!((count(&table["inserts"])..=count(&table["inserts"]) + dropped).contains(&misses), "{run}");
        let probes = table["probes_per_lookup"].as_f64();
        let ours =
            ["lockfree", "owner", "bucketlock"].iter().any(|name| run["engine"].as_str().unwrap().contains(name));
        assert_eq!(probes.is_some(), ours, "{run}");
        // A hit compares one entry at least.
        assert!(probes.is_none_or(|probes| probes * packets as f64 >= count(&table["hits"]) as f64), "{run}");
    }
}

/// Read back by the crate's reader, and by the Python library where it is installed.
#[test]
fn interval_logs_are_read_by_other_libraries() {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let folder = tempdir().unwrap();
    let (_, result) = compare(folder.path(), &["--engine", "stateful-percore-linear"]);
    let latency = &result["runs"][0]["latency_ns"];
    let (json, hlog) = (folder.path().join("result.json"), folder.path().join("latency.hlog"));
    let (code, _, stderr) = run(&["report", json.to_str().unwrap(), "-o", hlog.to_str().unwrap()]);
    assert_eq!(code, 0, "{stderr}");
    let text = fs::read_to_string(&hlog).unwrap();
    let heads = ["#[Histogram log format version 1.3]", "#[StartTime: ", "\"StartTimestamp\",\"Interval_Length\","];
    assert!(heads.iter().all(|head| text.contains(head)), "{}", &text[..400]);
    let (mut intervals, mut packets) = (0, 0);
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        if let LogEntry::Interval(interval) = entry.expect("a well-formed log") {
            let packed =
                base64::Engine::decode(&base64::prelude::BASE64_STANDARD, interval.encoded_histogram()).unwrap();
            let mut unpacked = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&packed[8..]), &mut unpacked).unwrap();
            let histogram: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut &unpacked[..]).unwrap();
            packets += histogram.len();
            intervals += 1;
        }
    }
    assert_eq!(intervals, latency["intervals"].as_array().unwrap().len());
    assert_eq!(packets, count(&latency["count"]));

    let script = "import sys\nfrom hdrh.histogram import HdrHistogram\nfrom hdrh.log import HistogramLogReader\n\
        reference = HdrHistogram(1, 60000000000, 2)\nreader = HistogramLogReader(sys.argv[1], reference)\n\
        count = total = 0\n\
        while (h := reader.get_next_interval_histogram()) is not None:\n    count += 1\n    total += h.get_total_count()\n\
        print(count, total)\n";
    let python = std::env::var("CTBENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = |program: &str| {
        let asked = std::process::Command::new(program).args(["-c", "import hdrh"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    if !has(&python) {
        eprintln!("SKIPPED: {python} has no package hdrhistogram (pip install hdrhistogram)");
        return;
    }
    let read = std::process::Command::new(&python).args(["-c", script]).arg(&hlog).output().unwrap();
    let said = String::from_utf8_lossy(&read.stdout);
    assert_eq!(said.trim(), format!("{intervals} {packets}"), "{}", String::from_utf8_lossy(&read.stderr));
}

#[test]
fn latency_over_the_traces_time_adds_up_to_all_of_it() {
    let folder = tempdir().unwrap();
    for options in [vec!["--recorder", "every"], vec!["--recorder", "burst"], vec!["--load", "paced", "--pps", "1e6"]] {
        let (_, result) = compare(folder.path(), &options);
        let duration = result["scenario"]["duration_s"].as_f64().unwrap();
        for run in result["runs"].as_array().unwrap() {
            let latency = &run["latency_ns"];
            let intervals = latency["intervals"].as_array().unwrap();
            assert!(intervals.len() > 10 && intervals.len() <= 60, "{} intervals", intervals.len());
            assert_eq!(intervals.iter().map(|i| count(&i["count"])).sum::<u64>(), count(&latency["count"]));
            let highest = intervals.iter().map(|i| count(&i["max"])).max().unwrap();
            // Two digits there, three here.
            assert!(highest.abs_diff(count(&latency["max"])) as f64 <= 0.01 * highest as f64, "{run}");
            for pair in intervals.windows(2) {
                assert!(pair[0]["end_s"].as_f64() <= pair[1]["start_s"].as_f64());
            }
            let end = intervals.last().unwrap()["end_s"].as_f64().unwrap();
            assert!((end - duration).abs() < duration / 50.0 + 1e-6, "{end} of {duration} s");
        }
    }
}

/// The shares' intervals are those of the whole trace, so they add up.
#[test]
fn intervals_of_shares_merge() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut expected = 0;
    for share in ["1/2", "2/2"] {
        let (_, result) = compare(folder.path(), &["--engine", "stateless-linear", "--shard", share]);
        expected += count(&result["runs"][0]["latency_ns"]["count"]);
        fs::rename(path("result.json"), path(&format!("{}.json", &share[..1]))).unwrap();
    }
    let (code, _, stderr) = run(&["merge", &path("1.json"), &path("2.json"), "-o", &path("whole.json")]);
    assert_eq!(code, 0, "{stderr}");
    let whole: Value = serde_json::from_str(&fs::read_to_string(path("whole.json")).unwrap()).unwrap();
    common::assert_valid(&whole);
    let intervals = whole["runs"][0]["latency_ns"]["intervals"].as_array().unwrap();
    assert!(intervals.len() <= 60, "{}", intervals.len());
    assert_eq!(intervals.iter().map(|i| count(&i["count"])).sum::<u64>(), expected);
}

/// Each process has its own seed; their blocks, counts and histograms are pooled.
#[test]
fn fresh_processes_are_pooled() {
    let folder = tempdir().unwrap();
    let engines = ["--engine", "stateless-linear", "--engine", "stateful-percore-linear"];
    let (text, result) = compare(folder.path(), &[&engines[..], &["--fresh-processes", "3", "--seed", "5"]].concat());
    assert!(text.contains("Measured in 3 fresh processes"), "{text}");
    let parts = result["merged"].as_array().unwrap();
    assert_eq!(parts.len(), 3);
    let mut seeds: Vec<&str> = parts.iter().map(|part| part["seed"].as_str().unwrap()).collect();
    assert_eq!(result["settings"]["seed"], "5");
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 3);
    for run in result["runs"].as_array().unwrap() {
        // At least five blocks in each process.
        assert!(run["throughput"]["samples_pps"].as_array().unwrap().len() >= 15, "{run}");
        let latency = &run["latency_ns"];
        let intervals = latency["intervals"].as_array().unwrap();
        assert_eq!(intervals.iter().map(|i| count(&i["count"])).sum::<u64>(), count(&latency["count"]));
    }
    assert!(result["controls"][0]["samples"].as_array().unwrap().len() >= 15);
    let verdict = result["comparisons"][0]["verdict"].as_str().unwrap();
    assert!(["faster", "slower", "inconclusive"].contains(&verdict), "{verdict}");
    // The same seeds again.
    let (_, again) = compare(folder.path(), &[&engines[..], &["--fresh-processes", "3", "--seed", "5"]].concat());
    assert_eq!(again["merged"][1]["seed"], result["merged"][1]["seed"]);
    let (code, _, stderr) = run(&["replay", "--engine", "null", "--fresh-processes", "2", "--verdicts", "-"]);
    assert!(code == 1 && stderr.contains("--verdicts and --flow-log are of one process"), "{stderr}");
}

#[test]
fn doubts_name_a_looped_trace_and_the_clock_is_published() {
    let folder = tempdir().unwrap();
    let null = ["--engine", "null", "--loop", "2"];
    let (text, result) = compare(folder.path(), &null);
    assert!(text.contains("Doubt: every round of --loop has the same flows"), "{text}");
    let (text, _) = compare(folder.path(), &[&null[..], &["--unique-flows"]].concat());
    assert!(!text.contains("every round of --loop"), "{text}");
    let clock = &result["clock"];
    assert_eq!(count(&clock["floor_ns"]["count"]), 100_000 - count(&clock["backwards"]));
    assert!(clock["floor_histogram"].is_string());
    let ticks = clock["ticks_per_second"].as_f64();
    assert_eq!(clock["source"], if ticks.is_some() { "time-stamp counter" } else { "os" });
}

#[test]
fn doubts_name_a_short_trace_and_a_full_table() {
    let folder = tempdir().unwrap();
    let (text, _) = compare(folder.path(), &["--engine", "stateless-linear", "--limit", "10"]);
    assert!(text.contains("Doubt: the trace is short (10 packets)"), "{text}");
    let tracked = ["--engine", "stateful-lockfree-linear"];
    let (text, result) = compare(folder.path(), &tracked);
    assert!(!text.contains("Doubt: the table was up to"), "{text}");
    let peak = count(&result["runs"][0]["table"]["peak_entries"]).to_string();
    let (text, _) = compare(folder.path(), &[&tracked[..], &["--capacity", &peak]].concat());
    assert!(text.contains("Doubt: the table was up to") && text.contains("a larger --capacity"), "{text}");
}

/// Nothing to divide by: no panic, and no number that JSON has no word for.
#[test]
fn a_trace_of_one_packet_or_none_is_measured() {
    let folder = tempdir().unwrap();
    for (limit, evaluated) in [("1", 1), ("0", 0)] {
        for options in [
            &["--recorder", "every"][..],
            &["--recorder", "sampled"],
            &["--load", "paced", "--pps", "1000"],
            &["--load", "paced"],
        ] {
            let (_, result) = compare(folder.path(), &[options, &["--limit", limit]].concat());
            assert_eq!(result["scenario"]["evaluated"], evaluated);
            for run in result["runs"].as_array().unwrap() {
                assert_eq!(count(&run["packets"]), evaluated, "{run}");
            }
        }
    }
}
