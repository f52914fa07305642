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
