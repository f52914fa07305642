//! `ctbench sweep` from outside.

mod common;

use assert_cmd::Command;
use common::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::tempdir;

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("ctbench").unwrap();
    let output = command.current_dir(folder).arg("sweep").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code().unwrap(), stdout, stderr)
}

fn column(csv: &str, name: &str) -> Vec<String> {
    let at = csv.lines().next().unwrap().split(',').position(|column| column == name).unwrap();
    csv.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().to_owned()).collect()
}

const QUICK: [&str; 6] = ["--time", "0.001", "--engine", "null", "--engine", "stateless-linear"];

#[test]
fn a_sweep_continues_where_it_stopped() {
    let folder = web_visit();
    let at = folder.path();
    let file = at.join("sweep.csv");
    let sweep = |more: &[&str]| run(at, &[&["scenario.toml", "--csv", "sweep.csv"], &QUICK[..], more].concat());

    let (code, stdout, stderr) = sweep(&["--over", "burst=1,8"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.contains("-linear") || line.contains("null")).count(), 4, "{stdout}");
    let first = fs::read_to_string(&file).unwrap();
    assert_eq!(column(&first, "burst"), ["1", "1", "8", "8"]);
    assert_eq!(column(&first, "engine"), ["null", "stateless-linear", "null", "stateless-linear"]);
    assert!(column(&first, "mpps").iter().all(|mpps| mpps.parse::<f64>().unwrap() > 0.0), "{first}");

    // Nothing is left to do; the JSON has all points all the same.
    let (code, _, stderr) = sweep(&["--over", "burst=1,8", "--json", "sweep.json", "--report", "sweep.html"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("4 points are known already"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), first);
    let result: Value = serde_json::from_slice(&fs::read(at.join("sweep.json")).unwrap()).unwrap();
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("results/schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&result).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(result["partial"], false);
    let point = &result["sweep"]["points"][3];
    assert_eq!(
        (&point["engine"], &point["burst"], &point["rules"]),
        (&json!("stateless-linear"), &json!(8), &Value::Null)
    );
    assert!(fs::read_to_string(at.join("sweep.html")).unwrap().contains("<html"));

    // A longer list, after the last line was cut in the middle.
    fs::write(&file, &first[..first.len() - 20]).unwrap();
    let (code, _, stderr) = sweep(&["--over", "burst=1,8,32"]);
    assert_eq!(code, 0, "{stderr}");
    let longer = fs::read_to_string(&file).unwrap();
    let kept = first[..first.len() - 20].rfind('\n').unwrap();
    assert!(longer.starts_with(&first[..kept]), "what was whole is kept");
    assert_eq!(column(&longer, "burst"), ["1", "1", "8", "8", "32", "32"]);

    // Other settings are other measurements.
    let (code, _, stderr) = sweep(&["--over", "burst=1,8", "--capacity", "1000"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("sweep.csv was measured with other settings"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), longer);
}

#[test]
fn rules_and_traces_are_made_up_where_they_are_swept() {
    let folder = tempdir().unwrap();
    let arguments = ["--over", "rules=1,40", "--over", "flows=30", "--over", "churn=100..10k*100", "--packets", "400"];
    let engines =
        ["--engine", "stateless-linear", "--engine", "stateful-percore-linear", "--time", "0.001", "--csv", "-"];
    let (code, csv, stderr) = run(folder.path(), &[&arguments[..], &engines[..]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(column(&csv, "rules"), ["1", "1", "40", "40", "1", "1", "40", "40"]);
    assert_eq!(column(&csv, "security_group_rules"), ["2", "2", "80", "80", "2", "2", "80", "80"]);
    assert_eq!(column(&csv, "network_acl_rules")[2], "80");
    assert_eq!(column(&csv, "churn"), ["100", "100", "100", "100", "10000", "10000", "10000", "10000"]);
    let number = |name: &str, row: usize| column(&csv, name)[row].parse::<u64>().unwrap();
    // Two rules let everything pass, of one that is all there is IPv4 alone.
    assert_eq!((number("accept", 2), number("drop", 2)), (number("packets", 2), 0));
    assert!(number("drop", 0) > 0 && number("trace_flows", 0) > 5 && number("inserts", 3) > 0, "{csv}");
}

#[test]
fn an_offered_load_is_an_open_loop() {
    let folder = web_visit();
    let arguments = ["scenario.toml", "--over", "pps=1k,10k", "--csv", "-"];
    let (code, csv, stderr) = run(folder.path(), &[&arguments[..], &QUICK[..]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(column(&csv, "pps"), ["1000", "1000", "10000", "10000"]);
    assert_eq!(column(&csv, "mpps"), ["", "", "", ""]);
    assert!(column(&csv, "p99_ns").iter().all(|ns| ns.parse::<u64>().is_ok()), "{csv}");
    assert!(column(&csv, "lost").iter().all(|lost| lost.parse::<u64>().is_ok()), "{csv}");
}

#[test]
fn sweeps_that_make_no_sense_say_so() {
    let folder = web_visit();
    write(folder.path(), "mine.csv", "a,b\n1,2\n");
    for (arguments, code, says) in [
        (&["--over", "colour=3"][..], 2, "rules, flows, churn, burst, capacity, pps"),
        (&["--over", "burst=3..1"], 2, "no range"),
        (&["--over", "burst=1", "--over", "burst=2"], 1, "given twice"),
        (&["scenario.toml", "--over", "flows=10"], 1, "leave out scenario.toml"),
        (&["scenario.toml", "--over", "rules=10", "--network-acls", "acl.json"], 1, "leave out the rule files"),
        (&["scenario.toml", "--over", "pps=10", "--steering", "spray"], 1, "needs --steering symmetric"),
        (&["scenario.toml", "--engine", "nobody"], 1, "no engine is called `nobody`"),
        (&["--over", "flows=10", "--traffic", "nothing"], 1, "neither a profile nor a file"),
        (&["scenario.toml", "--over", "burst=1", "--csv", "mine.csv"], 1, "is no sweep"),
        (&["scenario.toml", "--over", "burst=1", "--csv", "no/such/folder.csv"], 1, "writing no/such/folder.csv"),
    ] {
        let (found, _, stderr) = run(folder.path(), arguments);
        assert!(stderr.contains(says), "{arguments:?}: no {says:?} in: {stderr}");
        assert_eq!(found, code, "{arguments:?}: {stderr}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("mine.csv")).unwrap(), "a,b\n1,2\n");
    if Path::new("/dev/full").exists() {
        for option in ["--csv", "--json"] {
            let arguments = ["scenario.toml", "--over", "burst=1", option, "/dev/full"];
            let (code, _, stderr) = run(folder.path(), &[&arguments[..], &QUICK[..]].concat());
            assert!(code == 1 && stderr.contains("writing /dev/full: No space left"), "{stderr}");
        }
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_whole_points() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    let folder = web_visit();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctbench"));
    command.current_dir(folder.path()).stdout(Stdio::piped());
    command.args([
        "sweep",
        "scenario.toml",
        "--over",
        "burst=1,8",
        "--time",
        "86400",
        "--csv",
        "s.csv",
        "--json",
        "s.json",
    ]);
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    // Ctrl-C is caught from before the heading on.
    stdout.read_line(&mut text).unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    assert!(text.contains("PARTIAL: cut short by Ctrl-C"), "{text}");
    assert_eq!(fs::read_to_string(folder.path().join("s.csv")).unwrap().lines().count(), 1, "the header alone");
    let result: Value = serde_json::from_slice(&fs::read(folder.path().join("s.json")).unwrap()).unwrap();
    assert_eq!((&result["partial"], &result["sweep"]["points"]), (&json!(true), &json!([])));
}
