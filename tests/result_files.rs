//! Verbs over result files: `diff`, `rank`, `merge`, and `--shard`.

mod common;

use assert_cmd::Command;
use common::{assert_valid, write};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// Runs and returns (exit code, stdout, stderr).
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("ctbench").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code().unwrap(), stdout, stderr)
}

fn engine(name: &str, cores: u64, mpps: f64) -> Value {
    let samples: Vec<f64> = (0..20).map(|n| 1e6 * mpps * (1.0 + 0.001 * f64::from(n % 5))).collect();
    json!({
        "engine": name, "cores": cores, "steering": "symmetric", "load": "closed", "packets": 100,
        "verdicts": { "accept": 90, "drop": 9, "ignored": 1 },
        "outcomes": { "accept: tracked": 90, "drop: no rule": 9, "ignored: not-ip": 1 },
        "digest": "00000000000000ff",
        "throughput": { "pps": 1e6 * mpps, "ci95": [0.99e6 * mpps, 1.01e6 * mpps], "samples_pps": samples, "passes": 40 },
        "latency_ns": { "recorder": "every", "count": 0, "p50": 100, "p90": 200, "p99": 2_000, "p99_9": 30_000, "p99_99": 400_000, "max": 5_000_000 },
        "error": null,
    })
}

/// As little as a result needs, with fields that no release has heard of.
fn result(scenario: &str, runs: Vec<Value>) -> Value {
    json!({
        "schema": 1, "ctbench": { "version": "9.9.9", "commit": "abc", "weather": "fine" }, "command": "ctbench compare", "started": 1_700_000_000,
        "host": { "cpu": "A CPU", "cores": 2, "platform": "linux-x86_64", "kernel": "6.1" },
        "scenario": { "name": scenario, "trace_sha256": "0".repeat(64), "packets": 100, "flows": 5 },
        "settings": { "burst": 32, "seed": "1" }, "runs": runs, "mood": ["good"],
    })
}

fn two(folder: &Path, old: &Value, new: &Value) {
    write(folder, "old.json", old.to_string());
    write(folder, "new.json", new.to_string());
}

#[test]
fn diff_says_what_became_faster_and_slower() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let old = result(
        "A",
        vec![engine("null", 1, 100.0), engine("quick", 1, 50.0), engine("slow", 1, 50.0), engine("gone", 1, 1.0)],
    );
    let new = result(
        "A",
        vec![engine("null", 1, 100.5), engine("quick", 1, 60.0), engine("slow", 1, 40.0), engine("come", 1, 1.0)],
    );
    two(at, &old, &new);
    let (code, stdout, stderr) = run(at, &["diff", "old.json", "new.json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!("diff", stdout);

    let (code, stdout, _) = run(at, &["diff", "old.json", "new.json", "--json", "-"]);
    assert_eq!(code, 0);
    let diff: Value = serde_json::from_str(&stdout).unwrap();
    let verdicts: Vec<&str> =
        diff["pairs"].as_array().unwrap().iter().map(|pair| pair["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["inconclusive", "faster", "slower"]);
    assert!((diff["pairs"][1]["ratio"].as_f64().unwrap() - 1.2).abs() < 1e-3);
    assert_eq!((&diff["only_old"][0]["engine"], &diff["only_new"][0]["engine"]), (&json!("gone"), &json!("come")));

    // 20 % slower: allowed up to 25 %, not up to 5 %.
    assert_eq!(run(at, &["diff", "old.json", "new.json", "--fail-above", "25%"]).0, 0);
    let (code, _, stderr) = run(at, &["diff", "old.json", "new.json", "--fail-above", "5%"]);
    assert_eq!(code, 4);
    assert!(stderr.contains("slower by more than 5 %: slow on 1 core, symmetric"), "{stderr}");
}

#[test]
fn diff_fails_where_verdicts_differ_and_warns_where_circumstances_do() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let old = result("A", vec![engine("null", 1, 100.0)]);
    let mut new = old.clone();
    new["runs"][0]["digest"] = json!("0000000000000001");
    two(at, &old, &new);
    let (code, stdout, stderr) = run(at, &["diff", "old.json", "new.json", "--fail-above", "1%"]);
    assert_eq!(code, 3);
    assert!(
        stdout.contains("VERDICTS DIFFER: null on 1 core") && stderr.contains("verdicts differ"),
        "{stdout}{stderr}"
    );
    // Of another trace they may differ.
    new["scenario"]["trace_sha256"] = json!("1".repeat(64));
    new["host"]["cpu"] = json!("B CPU");
    new["settings"]["burst"] = json!(1);
    two(at, &old, &new);
    let (code, stdout, _) = run(at, &["diff", "old.json", "new.json"]);
    assert_eq!(code, 0, "{stdout}");
    for warning in ["different traces", "different machines", "A CPU", "B CPU", "settings.burst differs: 32 and 1"] {
        assert!(stdout.contains(warning), "no {warning:?} in {stdout}");
    }
    // An error row has no figures, and is a failure.
    let mut wrong = old.clone();
    wrong["runs"][0]["error"] = json!("wrong verdicts\u{1b}[31m");
    two(at, &old, &wrong);
    let (code, stdout, _) = run(at, &["diff", "old.json", "new.json"]);
    assert_eq!(code, 3);
    assert!(stdout.contains("new ERROR: wrong verdicts") && !stdout.contains('\u{1b}'), "{stdout}");
}

#[test]
fn files_that_are_no_results_are_named_with_the_place_of_the_mistake() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let good = result("A", vec![engine("null", 1, 100.0)]);
    write(at, "good.json", good.to_string());
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut document = good.clone();
        edit(&mut document);
        document.to_string()
    };
    let text = good.to_string();
    for (content, says) in [
        (text[..text.len() / 2].to_owned(), "ends in the middle"),
        (String::new(), "ends in the middle"),
        ("hello".to_owned(), "is not JSON"),
        (text.replace("100000000.0", "NaN"), "is not JSON"),
        ("[1]".to_owned(), "no ctbench result"),
        ("{\"schema\": 1}".to_owned(), "no ctbench result"),
        (edited(&|d| d["schema"] = json!(2)), "has schema version 2, and this ctbench reads version 1"),
        (edited(&|d| d["runs"][0]["cores"] = json!("two")), "runs[0].cores: invalid type"),
        (edited(&|d| d["runs"][0]["verdicts"]["accept"] = json!(-1)), "runs[0].verdicts.accept"),
        (edited(&|d| d["runs"] = Value::Null), "runs: invalid type: null"),
        ("[".repeat(100_000), "is not JSON"),
    ] {
        write(at, "bad.json", &content);
        for arguments in [
            &["diff", "good.json", "bad.json"][..],
            &["rank", "bad.json"],
            &["merge", "good.json", "bad.json", "-o", "-"],
        ] {
            let (code, _, stderr) = run(at, arguments);
            assert_eq!(code, 1, "{stderr}");
            assert!(stderr.contains("bad.json") && stderr.contains(says), "no {says:?} in {stderr}");
        }
    }
    let (code, _, stderr) = run(at, &["diff", "good.json", "missing.json"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot read missing.json: No such file"), "{stderr}");
}

#[test]
fn rank_takes_the_cases_that_all_engines_ran() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let runs = |a, b| vec![engine("stateless-linear", 1, 100.0), engine("a", 1, a), engine("b", 1, b)];
    write(at, "1.json", result("one", runs(50.0, 25.0)).to_string());
    write(at, "2.json", result("two", runs(12.5, 25.0)).to_string());
    write(at, "3.json", result("three", vec![engine("stateless-linear", 1, 100.0), engine("b", 1, 99.0)]).to_string());
    let (code, stdout, stderr) = run(at, &["rank", "1.json", "2.json", "3.json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!("rank", stdout);
    let (_, stdout, _) = run(at, &["rank", "1.json", "2.json", "3.json", "--engine", "b", "--json", "-"]);
    let ranking: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(ranking["cases"].as_array().unwrap().len(), 3);
    let (ratio, truth) = (ranking["ranking"][1]["ratio"].as_f64().unwrap(), (0.25f64 * 0.25 * 0.99).cbrt());
    assert!((ratio - truth).abs() < 1e-9, "{ratio} {truth}");
    let (code, _, stderr) = run(at, &["rank", "1.json", "--baseline", "c"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no result has figures of an engine `c`; they have a, b, stateless-linear"), "{stderr}");
    write(at, "4.json", result("four", vec![engine("stateless-linear", 1, 100.0), engine("c", 1, 9.0)]).to_string());
    let (code, _, stderr) = run(at, &["rank", "1.json", "4.json"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no case"), "{stderr}");
}

fn read(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

/// A trace of the project, replayed whole and in three shares.
#[test]
fn shares_add_up_to_the_whole() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/web");
    let compare = |more: &[&str]| {
        let fixed =
            ["compare", web.to_str().unwrap(), "--time", "0.01", "--quiet", "--seed", "7", "--capacity", "65536"];
        let (code, _, stderr) = run(at, &[&fixed[..], more].concat());
        assert_eq!(code, 0, "{stderr}");
    };
    compare(&["--json", "whole.json"]);
    for share in ["1", "2", "3"] {
        compare(&["--json", &format!("{share}.json"), "--shard", &format!("{share}/3")]);
    }
    let (code, _, stderr) = run(at, &["merge", "2.json", "1.json", "3.json", "-o", "merged.json"]);
    assert_eq!(code, 0, "{stderr}");
    let (whole, merged) = (read(at, "whole.json"), read(at, "merged.json"));
    assert_valid(&merged);
    for field in ["packets", "evaluated", "flows"] {
        assert_eq!(merged["scenario"][field], whole["scenario"][field], "{field}");
    }
    assert_eq!(merged["worlds"], whole["worlds"]);
    let runs = |result: &Value| result["runs"].as_array().unwrap().clone();
    assert_eq!(runs(&merged).len(), runs(&whole).len());
    for (merged, whole) in runs(&merged).iter().zip(&runs(&whole)) {
        for field in ["engine", "cores", "packets", "verdicts", "outcomes", "digest", "lost"] {
            assert_eq!(merged[field], whole[field], "{field} of {}", whole["engine"]);
        }
        if whole["table"].is_object() {
            assert_eq!(merged["table"]["inserts"], whole["table"]["inserts"]);
        }
    }
    // The merged histogram holds every latency of the parts.
    let count = |name: &str| read(at, name)["runs"][2]["latency_ns"]["count"].as_u64().unwrap();
    assert_eq!(count("merged.json"), ["1.json", "2.json", "3.json"].into_iter().map(count).sum::<u64>());

    for (files, says) in [
        (&["1.json", "2.json"][..], "share 3/3 of the flows is missing"),
        (&["1.json", "2.json", "2.json", "3.json"], "are the same share, 2/3"),
        (&["1.json", "whole.json"], "not shares of the same number"),
        (&["1.json"], "name two or more"),
    ] {
        let (code, _, stderr) = run(at, &[&["merge"][..], files, &["-o", "-"]].concat());
        assert_eq!(code, 1);
        assert!(stderr.contains(says), "no {says:?} in {stderr}");
    }

    // The same twice: counts stay, samples and latencies are those of both.
    let (code, _, stderr) = run(at, &["merge", "whole.json", "whole.json", "-o", "twice.json"]);
    assert_eq!(code, 0, "{stderr}");
    let twice = read(at, "twice.json");
    assert_valid(&twice);
    assert_eq!(twice["runs"][3]["digest"], whole["runs"][3]["digest"]);
    assert_eq!(
        twice["runs"][3]["latency_ns"]["count"].as_u64().unwrap(),
        2 * whole["runs"][3]["latency_ns"]["count"].as_u64().unwrap()
    );
    assert_eq!(twice["runs"][3]["latency_ns"]["p99"], whole["runs"][3]["latency_ns"]["p99"]);
    assert_eq!(twice["comparisons"].as_array().unwrap().len(), whole["comparisons"].as_array().unwrap().len());

    // Timings of another machine are kept apart, and only if that is wanted.
    let mut elsewhere = whole.clone();
    elsewhere["host"]["cpu"] = json!("another");
    write(at, "elsewhere.json", elsewhere.to_string());
    let (code, _, stderr) = run(at, &["merge", "whole.json", "elsewhere.json", "-o", "both.json"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("different machines") && stderr.contains("--by-host"), "{stderr}");
    let (code, _, stderr) = run(at, &["merge", "whole.json", "elsewhere.json", "-o", "both.json", "--by-host"]);
    assert_eq!(code, 0, "{stderr}");
    let both = read(at, "both.json");
    assert_valid(&both);
    assert_eq!(both["runs"][0]["throughput"], Value::Null);
    assert_eq!(both["runs"][0]["by_host"][1]["host"]["cpu"], "another");

    // Other verdicts of the same packets are wrong verdicts.
    let mut wrong = whole;
    wrong["runs"][0]["digest"] = json!("0123456789abcdef");
    write(at, "wrong.json", wrong.to_string());
    let (code, _, stderr) = run(at, &["merge", "twice.json", "wrong.json", "-o", "-"]);
    assert_eq!(code, 3);
    assert!(stderr.contains("decide differently"), "{stderr}");
}

#[test]
fn damaged_histograms_are_errors() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    // A header that promises 4 GB; another that is no base64.
    for histogram in ["HISTEwAAAAA=", "HISTE/////8AAAAA", "?", "", "AAAA"] {
        let mut document = result("A", vec![engine("null", 1, 100.0)]);
        document["runs"][0]["latency_ns"]["histogram"] = json!(histogram);
        write(at, "a.json", document.to_string());
        let (code, _, stderr) = run(at, &["merge", "a.json", "a.json", "-o", "-"]);
        assert_eq!(code, 1);
        assert!(stderr.contains("a.json: latency_ns.histogram: "), "{stderr}");
    }
}

#[test]
fn shares_that_cannot_be_are_refused() {
    let folder = tempdir().unwrap();
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/web");
    let compare = ["compare", web.to_str().unwrap(), "--time", "0.01"];
    for (more, code, says) in [
        (&["--shard", "0/3"][..], 2, "such as 1/4"),
        (&["--shard", "4/3"], 2, "such as 1/4"),
        (&["--shard", "1/2", "--steering", "spray"], 1, "shares are whole flows"),
        (&["--shard", "1/1000000"], 1, "there are at most as many shares"),
    ] {
        let (found, _, stderr) = run(folder.path(), &[&compare[..], more].concat());
        assert_eq!(found, code, "{stderr}");
        assert!(stderr.contains(says), "no {says:?} in {stderr}");
    }
}
