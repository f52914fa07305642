//! The program from outside: what it prints, what it writes, how it fails.

mod common;

use assert_cmd::Command;
use common::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

fn ctbench() -> Command {
    let mut command = Command::cargo_bin("ctbench").unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// A capture with a web visit, its policies, and a scenario.
fn fixture() -> TempDir {
    let folder = tempdir().unwrap();
    let mut frames = connection((CLIENT, 51_334), (SERVER, 80));
    frames.push(udp((CLIENT, 5353), (SERVER, 53), b"?"));
    frames.push(vec![0; 20]);
    write(folder.path(), "trace.pcap", pcap(&frames, PLAIN));
    write(folder.path(), "sg.json", security_groups(&[("tcp", 80, 80, "0.0.0.0/0")], &[]));
    let acl = [(false, 100, true, "6", 80, 80), (true, 100, true, "6", 1024, 65_535)];
    write(folder.path(), "acl.json", network_acl(&acl));
    write(folder.path(), "scenario.toml", scenario(""));
    folder
}

fn scenario(more: &str) -> String {
    format!(
        "title = \"A visit\"\ntrace = \"trace.pcap\"\ninside = [\"{INSIDE}\"]\nsecurity_groups = \"sg.json\"\nnetwork_acls = \"acl.json\"\n{more}"
    )
}

/// Runs and returns (exit code, stdout, stderr).
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = ctbench();
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Fails with this exit code, says all of these on stderr, and does not panic.
fn fails(folder: &Path, arguments: &[&str], code: i32, says: &[&str]) {
    let (found, _, stderr) = run(folder, arguments);
    for word in says {
        assert!(stderr.contains(word), "{arguments:?}: no {word:?} in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(found, code, "{arguments:?}: {stderr}");
}

const QUICK: [&str; 2] = ["--time", "0.01"];

#[test]
#[cfg_attr(feature = "contenders", ignore = "the snapshot shows a default build")]
fn engines_are_listed() {
    let (code, stdout, _) = run(Path::new("."), &["engines"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout);
}

#[test]
fn help_is_stable() {
    let verbs = [
        "compare",
        "replay",
        "search",
        "sweep",
        "verify",
        "explain",
        "derive",
        "report",
        "diff",
        "rank",
        "merge",
        "info",
        "gen",
        "engines",
        "completions",
        "man",
    ];
    let verbs: Vec<Vec<&str>> = verbs.iter().map(|verb| vec![*verb, "--help"]).collect();
    for verb in std::iter::once(vec!["--help"]).chain(verbs) {
        let (code, stdout, _) = run(Path::new("."), &verb);
        assert_eq!(code, 0);
        insta::assert_snapshot!(format!("help_{}", verb[0].trim_start_matches("--")), stdout);
    }
}

#[test]
#[cfg_attr(feature = "contenders", ignore = "the snapshot shows a default build")]
fn verify_checks_every_engine_and_blesses() {
    let folder = fixture();
    let (code, stdout, _) = run(folder.path(), &["verify", "scenario.toml"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout);
    let (code, _, _) = run(folder.path(), &["verify", "scenario.toml", "--bless"]);
    assert_eq!(code, 0);
    let blessed = fs::read_to_string(folder.path().join("scenario.toml")).unwrap();
    insta::assert_snapshot!("blessed", blessed);
    // A scenario that expects something else is exit code 3, from `verify` and from `compare`.
    let wrong = blessed.replace("accept = 9, drop = 1", "accept = 10, drop = 0");
    assert_ne!(wrong, blessed);
    write(folder.path(), "scenario.toml", wrong);
    let (code, stdout, _) = run(folder.path(), &["verify", "scenario.toml"]);
    assert_eq!(code, 3, "{stdout}");
    assert!(stdout.contains("not as the scenario expects"), "{stdout}");
    let (code, stdout, _) = run(folder.path(), &["compare", "scenario.toml", QUICK[0], QUICK[1]]);
    assert_eq!(code, 3);
    assert!(stdout.contains("ERROR"), "{stdout}");
}

/// Without `-o` there is nothing else to do.
#[test]
fn a_recipe_like_a_capture_is_printed() {
    let (code, recipe, stderr) =
        run(Path::new(env!("CARGO_MANIFEST_DIR")), &["gen", "--like", "traces/web/trace.pcap"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(recipe.contains("flows_per_s = ") && recipe.contains("kind = \"tcp\""), "{recipe}");
}

#[test]
fn verdict_csv_names_rules_and_every_packet() {
    let folder = fixture();
    for (engine, name) in [("stateful-lockfree-linear", "stateful"), ("stateless-linear", "stateless")] {
        let arguments = ["replay", "scenario.toml", "--engine", engine, "--verdicts", "-", QUICK[0], QUICK[1]];
        let (code, stdout, _) = run(folder.path(), &arguments);
        assert_eq!(code, 0);
        insta::assert_snapshot!(name, stdout);
    }
}

#[test]
fn comparison_answers_in_a_sentence_and_its_json_follows_the_schema() {
    let folder = fixture();
    let arguments = [
        "compare",
        "scenario.toml",
        "--json",
        "result.json",
        "--csv",
        "result.csv",
        "--cores",
        "1,2",
        QUICK[0],
        QUICK[1],
    ];
    let (code, stdout, stderr) = run(folder.path(), &arguments);
    assert_eq!(code, 0, "{stderr}");
    for expected in [
        "A visit",
        "stateful-lockfree-linear",
        "On 1 core, remembering",
        "On 2 cores, remembering",
        "are the same on all 10 packets",
    ] {
        assert!(stdout.contains(expected), "no {expected:?} in: {stdout}");
    }
    let result: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("result.json")).unwrap()).unwrap();
    assert_valid(&result);
    let runs = result["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 9);
    for run in runs {
        let outcomes: u64 = run["outcomes"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(outcomes, 11, "outcomes sum up to the packets read: {run}");
        let verdicts = ["accept", "drop", "ignored"].map(|v| run["verdicts"][v].as_u64().unwrap());
        assert_eq!(verdicts.iter().sum::<u64>(), 11);
    }
    let csv = fs::read_to_string(folder.path().join("result.csv")).unwrap();
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, vec![23; 10]);
    assert!(csv.lines().next().unwrap().ends_with(",error,imbalance,scenario,started"), "{csv}");
}

/// Of the columns that a spreadsheet would look for.
fn column(csv: &str, name: &str) -> Vec<String> {
    let at = csv.lines().next().unwrap().split(',').position(|column| column == name).unwrap();
    csv.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().to_owned()).collect()
}

#[test]
fn steering_is_an_option_and_its_results_say_so() {
    let folder = fixture();
    write(folder.path(), "scenario.toml", scenario(""));
    for steering in ["asymmetric", "spray"] {
        let arguments = ["compare", "scenario.toml", "--steering", steering, "--cores", "1,2", QUICK[0], QUICK[1]];
        let files = ["--json", "result.json", "--csv", "result.csv"];
        let (code, stdout, stderr) = run(folder.path(), &[&arguments[..], &files].concat());
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert!(stderr.contains("stateful-percore-linear is left out"), "{stderr}");
        assert!(stdout.contains(&format!("Steering {steering}: ")), "{stdout}");
        assert!(stdout.contains("none runs more than 1,024 packets ahead of the slowest"), "{stdout}");
        assert!(stdout.contains("stateful-lockfree-linear on 2 cores, verdicts of"), "{stdout}");
        assert!(stdout.contains("imbalance"), "{stdout}");
        let result = fs::read_to_string(folder.path().join("result.json")).unwrap();
        let result: Value = serde_json::from_str(&result).unwrap();
        assert_valid(&result);
        assert_eq!(result["settings"]["order_window"], 1024);
        for run in result["runs"].as_array().unwrap() {
            assert_eq!(run["steering"], steering);
            assert_eq!(run["digest"], Value::Null);
            assert!(run["imbalance"].as_f64().unwrap() >= 1.0);
            assert_ne!(run["engine"], "stateful-percore-linear");
            let concurrent = run["engine"] == "stateful-lockfree-linear" && run["cores"] == 2;
            assert_eq!(run["flows"].is_object(), concurrent, "{run}");
            if concurrent {
                let count = |name: &str| run["flows"][name].as_u64().unwrap();
                assert_eq!(count("in_order") + count("reordered"), count("checked"));
                assert_eq!(count("checked"), 2 * count("passes"));
            }
        }
        let csv = fs::read_to_string(folder.path().join("result.csv")).unwrap();
        assert!(column(&csv, "steering").iter().all(|word| word == steering));
        assert!(column(&csv, "digest").iter().all(String::is_empty));
        assert!(column(&csv, "imbalance").iter().all(|value| value.parse::<f64>().unwrap() >= 1.0));
    }
    let (code, stdout, _) = run(folder.path(), &["verify", "scenario.toml", "--steering", "spray"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("digest -") && !stdout.contains("percore"), "{stdout}");
}

#[test]
fn an_open_loop_counts_from_when_packets_were_due() {
    let folder = fixture();
    write(folder.path(), "scenario.toml", scenario(""));
    let run_paced = |options: &[&str]| {
        let arguments = ["compare", "scenario.toml", "--load", "paced", "--cores", "1,2", "--json", "result.json"];
        let (code, stdout, stderr) = run(folder.path(), &[&arguments[..], &QUICK, options].concat());
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert!(stdout.contains("Open loop: packets are due"), "{stdout}");
        let result: Value =
            serde_json::from_str(&fs::read_to_string(folder.path().join("result.json")).unwrap()).unwrap();
        assert_valid(&result);
        (result["runs"].as_array().unwrap().clone(), result)
    };
    // A queue that holds the whole trace loses nothing, whatever the machine does.
    let (runs, result) = run_paced(&["--pps", "100000", "--queue", "1000000"]);
    assert!(runs.len() >= 8);
    assert_eq!(result["comparisons"], serde_json::json!([]));
    for run in &runs {
        assert_eq!((run["load"].as_str(), run["lost"].as_u64()), (Some("paced"), Some(0)), "{run}");
        assert_eq!(run["offered_pps"], 100_000.0);
        assert_eq!(run["throughput"], Value::Null);
        let paced = &run["paced"];
        assert_eq!(
            paced["offered"].as_u64(),
            Some(paced["passes"].as_u64().unwrap() * run["packets"].as_u64().unwrap())
        );
        assert_eq!(run["latency_ns"]["count"], paced["offered"]);
        assert_eq!(run["latency_ns"]["recorder"], "burst");
        assert!(paced["service_ns"]["count"].as_u64() <= paced["offered"].as_u64());
        // Waiting comes on top of service.
        assert!(run["latency_ns"]["max"].as_u64() >= paced["service_ns"]["min"].as_u64(), "{run}");
    }
    // All at once, and room for one: what is served and what is lost make up what was due.
    let (runs, _) = run_paced(&["--multiplier", "1e15", "--queue", "1", "--burst", "1"]);
    for run in &runs {
        let count = |value: &Value| value.as_u64().unwrap();
        assert_eq!(count(&run["lost"]) + count(&run["latency_ns"]["count"]), count(&run["paced"]["offered"]), "{run}");
        assert!(count(&run["lost"]) > 0, "{run}");
        assert_eq!(run["error"], Value::Null, "verdicts after a loss are not compared");
    }
    for (options, word) in [
        (vec!["--pps", "5"], "--load paced"),
        (vec!["--multiplier", "2"], "--load paced"),
        (vec!["--load", "paced", "--steering", "spray"], "--steering symmetric"),
    ] {
        let (code, _, stderr) = run(folder.path(), &[&["compare", "scenario.toml"][..], &options].concat());
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(word), "{stderr}");
    }
    for wrong in [["--pps", "0"], ["--pps", "NaN"], ["--multiplier", "-1"], ["--queue", "0"]] {
        let (code, ..) = run(folder.path(), &[&["compare", "scenario.toml", "--load", "paced"][..], &wrong].concat());
        assert_eq!(code, 2, "{wrong:?}");
    }
}

/// Deciding takes longer than not deciding, on any machine.
#[test]
fn a_slower_engine_is_exit_code_4_and_the_page_is_written_all_the_same() {
    let folder = fixture();
    write(folder.path(), "scenario.toml", scenario(""));
    let engines = ["--engine", "null", "--engine", "reference", "--baseline", "null", "--cores", "1"];
    let compare =
        |options: &[&str]| run(folder.path(), &[&["compare", "scenario.toml"][..], &engines, &QUICK, options].concat());
    let (code, stdout, stderr) = compare(&["--fail-above", "5%", "--report", "page.html"]);
    assert_eq!(code, 4, "{stdout}{stderr}");
    assert!(stderr.contains("slower than the baseline by more than 5 %: reference on 1 core"), "{stderr}");
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("reference"), "{}", &page[..200]);
    let (code, _, stderr) = compare(&["--report", "page.txt2"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("page.txt2"), "{stderr}");
}

#[test]
fn a_machine_that_is_not_fit_is_refused_if_asked() {
    let folder = fixture();
    write(folder.path(), "scenario.toml", scenario(""));
    // More workers than any machine of today has cores.
    let arguments = ["compare", "scenario.toml", "--cores", "1000", "--engine", "null", "--strict"];
    let (code, stdout, stderr) = run(folder.path(), &arguments);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("--strict: this machine is not fit") && stderr.contains("1000 workers on"), "{stderr}");
}

#[test]
fn steering_that_cannot_be_is_refused() {
    let folder = fixture();
    let at = folder.path();
    let percore = "stateful-percore-linear";
    for verb in
        [&["replay", "scenario.toml", "--engine", percore][..], &["compare", "scenario.toml", "--baseline", percore]]
    {
        let says = [percore, "--steering symmetric", "an engine with a shared table"];
        fails(at, &[verb, &["--steering", "spray"]].concat(), 1, &says);
    }
    let narrow = ["verify", "scenario.toml", "--steering", "asymmetric", "--order-window", "31"];
    fails(at, &narrow, 1, &["--order-window 31", "burst of 32"]);
    fails(at, &["verify", "scenario.toml", "--bless", "--elephant"], 1, &["--bless", "leave out"]);
    fails(at, &["verify", "scenario.toml", "--against", "linux", "--steering", "spray"], 1, &["leave out --steering"]);
    write(at, "quiet.pcap", pcap(&connection((CLIENT, 51_334), (SERVER, 80))[..3], PLAIN));
    let quiet = ["verify", "quiet.pcap", "--inside", INSIDE, "--security-groups", "sg.json", "--elephant"];
    fails(at, &quiet, 1, &["no flow", "leave out --elephant"]);
}

#[test]
fn an_elephant_makes_up_half_of_the_packets() {
    let folder = fixture();
    let (code, _, _) = run(folder.path(), &["verify", "scenario.toml", "--bless"]);
    assert_eq!(code, 0);
    // What the scenario expects is void, and every engine agrees with the reference.
    let (code, stdout, _) = run(folder.path(), &["verify", "scenario.toml", "--elephant"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("accept        16  drop         1  ignored       1"), "{stdout}");
    let arguments = ["compare", "scenario.toml", "--elephant", QUICK[0], QUICK[1]];
    let (code, stdout, _) = run(folder.path(), &arguments);
    assert_eq!(code, 0, "{stdout}");
    let says = "Elephant: from packet 4 on, a flow is repeated 7 times; it makes up 94.1 % of all packets.";
    assert!(stdout.contains(says), "{stdout}");
    let (_, json, _) = run(folder.path(), &[&arguments[..], &["--json", "-"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_valid(&json);
    assert_eq!(json["scenario"]["elephant"]["copies"], 7);
    assert_eq!(json["scenario"]["packets"], 18);
    for run in json["runs"].as_array().unwrap() {
        let outcomes: u64 = run["outcomes"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(outcomes, 18, "{run}");
    }
    // Copies are no packets of the capture: the verdict file is as long as without them.
    let verdicts =
        ["replay", "scenario.toml", "--engine", "stateful-lockfree-linear", "--verdicts", "-", QUICK[0], QUICK[1]];
    let (_, plain, _) = run(folder.path(), &verdicts);
    let (_, with, _) = run(folder.path(), &[&verdicts[..], &["--elephant"]].concat());
    assert_eq!(plain, with);
}

/// Packets are 1 ms apart: after the handshake the rules forbid what they have allowed.
#[test]
fn rule_changes_cut_stateless_flows_and_leave_tracked_ones() {
    let folder = fixture();
    write(folder.path(), "sg2.json", security_groups(&[("tcp", 443, 443, "0.0.0.0/0")], &[]));
    write(folder.path(), "acl2.json", network_acl(&[(false, 100, true, "6", 443, 443)]));
    let change = "[[change]]\nat = \"3ms\"\nsecurity_groups = \"sg2.json\"\nnetwork_acls = \"acl2.json\"\n";
    write(folder.path(), "scenario.toml", scenario(change));
    let (code, stdout, _) = run(folder.path(), &["verify", "scenario.toml"]);
    assert_eq!(code, 0, "{stdout}");
    let (code, stdout, _) = run(folder.path(), &["compare", "scenario.toml", QUICK[0], QUICK[1]]);
    assert_eq!(code, 0, "{stdout}");
    let groups = "At 0.003 s the security groups change: of the flows that go on, 0 are cut, 1 live on, 1 of them only because they are tracked.";
    let acl = "At 0.003 s the network ACL changes: of the flows that go on, 1 are cut, 0 live on.";
    assert!(stdout.contains(groups) && stdout.contains(acl), "{stdout}");
    let (_, json, _) = run(folder.path(), &["compare", "scenario.toml", "--json", "-", QUICK[0], QUICK[1]]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_valid(&json);
    assert_eq!(json["changes"][1]["cut"], 1);
    for (change, says) in [
        ("[[change]]\nat = \"soon\"\nnetwork_acls = \"acl2.json\"\n", "`soon` is no instant"),
        ("[[change]]\nat = \"1s\"\n", "[[change]] number 1 changes nothing"),
    ] {
        write(folder.path(), "wrong.toml", scenario(change));
        fails(folder.path(), &["verify", "wrong.toml"], 1, &["wrong.toml", says]);
    }
}

#[test]
fn an_allowance_that_is_used_up_is_reported() {
    let folder = fixture();
    let frames: Vec<Vec<u8>> = (0..10).map(|n| tcp((CLIENT, 50_000 + n), (SERVER, 80), "S", 1, 0, b"")).collect();
    write(folder.path(), "trace.pcap", pcap(&frames, PLAIN));
    write(folder.path(), "scenario.toml", scenario("profile = \"aws\"\n[conntrack]\nallowance = 4\n"));
    let (code, stdout, _) = run(folder.path(), &["compare", "scenario.toml", "--json", "-", QUICK[0], QUICK[1]]);
    assert_eq!(code, 0, "{stdout}");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_valid(&json);
    let runs = json["runs"].as_array().unwrap();
    let lockfree: Vec<_> = runs.iter().filter(|run| run["engine"] == "stateful-lockfree-linear").collect();
    assert_eq!(lockfree.len(), 1, "on one core only: there the crossing is exact");
    let expected = serde_json::json!({ "limit": 4, "exceeded_packets": 6, "available_at_least": 0 });
    assert_eq!(lockfree[0]["table"]["allowance"], expected);
    assert_eq!(lockfree[0]["outcomes"]["drop: new, conntrack allowance exceeded"], 6);
}

#[test]
fn one_world_alone_runs_its_engines_only() {
    let folder = fixture();
    let base = ["trace.pcap", "--inside", INSIDE, "--security-groups", "sg.json"];
    let compare = [&["compare"][..], &base, &["--json", "-"], &QUICK].concat();
    let (code, stdout, _) = run(folder.path(), &compare);
    assert_eq!(code, 0);
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_valid(&result);
    assert_eq!(result["worlds"], Value::Null);
    assert!(result["runs"].as_array().unwrap().iter().all(|run| run["engine"] != "stateless-linear"));
    let stateless = [&["replay"][..], &base, &["--engine", "stateless-linear"]].concat();
    fails(folder.path(), &stateless, 1, &["stateless-linear needs a network ACL", "--network-acls"]);
}

#[test]
fn the_classic_mistake_gets_no_cost_but_a_count() {
    let arguments = ["compare", "traces/forgotten-ephemeral-ports", "--cores", "1", QUICK[0], QUICK[1]];
    let (code, stdout, stderr) = run(Path::new(env!("CARGO_MANIFEST_DIR")), &arguments);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("No cost of remembering is given"), "{stdout}");
    assert!(stdout.contains("differ on 20,7"), "{stdout}");
    assert!(!stdout.contains("remembering costs"), "{stdout}");
}

#[test]
fn info_describes_a_capture() {
    let folder = fixture();
    let (code, stdout, _) = run(folder.path(), &["info", "trace.pcap"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout);
    let (code, stdout, _) = run(folder.path(), &["info", "trace.pcap", "--format", "json", "--inside", INSIDE]);
    assert_eq!(code, 0);
    let info: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&info["packets"], &info["flows"], &info["bytes"]), (&11.into(), &2.into(), &565.into()));
    assert_eq!(info["not_evaluated"]["not-ip"], 1);
}

#[test]
fn explain_tells_why_in_text_csv_and_json() {
    let folder = fixture();
    let acl = [(false, 100, true, "6", 80, 80), (true, 100, true, "6", 1024, 40_000)];
    write(folder.path(), "acl.json", network_acl(&acl));
    let (code, stdout, stderr) = run(folder.path(), &["explain", "scenario.toml"]);
    assert_eq!(code, 0, "{stderr}");
    insta::assert_snapshot!("explain", stdout);
    let (_, csv, _) = run(folder.path(), &["explain", "scenario.toml", "--format", "csv", "--differing"]);
    insta::assert_snapshot!("explain_csv", csv);
    let (_, json, _) = run(folder.path(), &["explain", "scenario.toml", "--format", "json", "--flow", ":51334"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["security_groups"]["accept"], 9);
    assert_eq!(json["network_acl"]["drop"], 4);
    assert_eq!(json["flows"].as_array().unwrap().len(), 1);
    assert_eq!(json["flows"][0]["steps"][0]["path"], "SecurityGroups[0].IpPermissions[0].IpRanges[0]");
    fails(folder.path(), &["explain", "scenario.toml", "--flow", "nobody"], 2, &["address:port"]);
}

#[test]
fn derive_writes_a_twin_that_agrees() {
    let folder = fixture();
    let files =
        ["-o", "twin.json", "--entries", "entries.jsonl", "--differences", "differences.csv", "--json", "d.json"];
    let (code, stdout, stderr) = run(folder.path(), &[&["derive", "scenario.toml"][..], &files].concat());
    assert_eq!(code, 0, "{stderr}");
    insta::assert_snapshot!("derive", stdout);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    insta::assert_snapshot!("derive_entries", read("entries.jsonl"));
    assert_eq!(read("differences.csv").lines().count(), 1, "a header and no difference");
    let arguments = ["explain", "scenario.toml", "--network-acls", "twin.json", "--format", "json"];
    let (code, stdout, _) = run(folder.path(), &arguments);
    assert_eq!(code, 0);
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["differing_packets"], 0);
    let (_, stdout, stderr) = run(folder.path(), &["derive", "scenario.toml", "-o", "-"]);
    assert_eq!(
        serde_json::from_str::<Value>(&stdout).unwrap(),
        serde_json::from_str::<Value>(&read("twin.json")).unwrap()
    );
    assert!(stderr.contains("The stateless twin"), "{stderr}");
    fails(folder.path(), &["derive", "scenario.toml", "--ephemeral", "9-1"], 2, &["from-trace"]);
    let only_acl = ["derive", "trace.pcap", "--inside", INSIDE, "--network-acls", "acl.json"];
    fails(folder.path(), &only_acl, 1, &["--security-groups FILE"]);
}

#[test]
fn usage_mistakes_are_exit_code_2() {
    let folder = fixture();
    fails(folder.path(), &["compare", "--no-such-option"], 2, &["--no-such-option"]);
    fails(folder.path(), &["compare", "--cores", "0"], 2, &["--cores"]);
    fails(folder.path(), &["compare", "--time", "0"], 2, &["--time"]);
    fails(folder.path(), &["compare", "--burst", "65"], 2, &["--burst"]);
    fails(folder.path(), &["compare", "--steering", "random"], 2, &["symmetric", "asymmetric", "spray"]);
    fails(folder.path(), &["compare", "--order-window", "0"], 2, &["--order-window"]);
}

#[test]
fn inputs_that_cannot_be_used_say_why_and_what_to_do() {
    let folder = fixture();
    let at = folder.path();
    fails(at, &["compare", "missing.pcap"], 1, &["missing.pcap", "No such file"]);
    fails(at, &["compare", "trace.pcap"], 1, &["--inside", "ctbench info trace.pcap"]);
    fails(at, &["compare", "trace.pcap", "--inside", INSIDE], 1, &["--security-groups FILE"]);
    fails(at, &["compare", "scenario.toml", "--engine", "statefull-*"], 1, &["statefull-*", "ctbench engines"]);
    fails(at, &["compare", "scenario.toml", "--verdicts", "-"], 1, &["--engine"]);
    fails(at, &["compare", "scenario.toml", "--capacity", "4294967296"], 1, &["too large", "at most"]);
    fails(at, &["info", "sg.json"], 1, &["sg.json", "neither pcap nor pcapng", "7b 22"]);
    write(at, "empty.pcap", "");
    fails(at, &["info", "empty.pcap"], 1, &["empty.pcap is empty"]);
    fs::create_dir(at.join("bare")).unwrap();
    fails(at, &["info", "bare"], 1, &["bare is a folder without a capture"]);
    fails(at, &["compare", "scenario.toml", "trace.pcap"], 1, &["scenario.toml is a scenario"]);
    write(at, "short.pcap", &pcap(&[], PLAIN)[..10]);
    fails(at, &["info", "short.pcap"], 1, &["short.pcap", "header"]);
    write(at, "trace.pcap.gz", [0x1f, 0x8b, 8, 0]);
    fails(at, &["info", "trace.pcap.gz"], 1, &["trace.pcap.gz", "gzip data is damaged or cut off"]);
}

#[test]
fn a_capture_cut_in_a_packet_is_used_up_to_there() {
    let folder = fixture();
    let whole = fs::read(folder.path().join("trace.pcap")).unwrap();
    write(folder.path(), "cut.pcap", &whole[..whole.len() - 25]);
    let base = ["cut.pcap", "--inside", INSIDE, "--security-groups", "sg.json"];
    let (code, stdout, stderr) = run(folder.path(), &[&["verify"][..], &base].concat());
    assert_eq!(code, 0);
    assert!(stdout.contains("accept         9  drop         1"), "{stdout}");
    assert!(stderr.contains("cut off at byte") && stderr.contains("10 packets before it are used"), "{stderr}");
    let (_, stdout, _) = run(folder.path(), &["info", "cut.pcap"]);
    assert!(stdout.contains("cut off"), "{stdout}");
}

#[test]
fn captures_may_be_several_compressed_and_piped() {
    let folder = fixture();
    let at = folder.path();
    let whole = fs::read(at.join("trace.pcap")).unwrap();
    write(at, "packed", zstd::encode_all(&whole[..], 1).unwrap());
    let rules = ["--inside", INSIDE, "--security-groups", "sg.json"];
    let verdicts = |inputs: &[&str]| {
        let (code, stdout, stderr) = run(
            at,
            &[&["replay", "--engine", "reference", "--verdicts", "-", "--time", "0.01"], inputs, &rules].concat(),
        );
        assert_eq!(code, 0, "{stderr}");
        stdout
    };
    assert_eq!(verdicts(&["packed"]), verdicts(&["trace.pcap"]));
    fs::create_dir(at.join("rotated")).unwrap();
    fs::copy(at.join("packed"), at.join("rotated/1")).unwrap();
    assert_eq!(verdicts(&["rotated"]), verdicts(&["trace.pcap"]));
    let (_, stdout, _) = run(at, &["info", "packed", "trace.pcap", "--decap", "vxlan,gre", "--format", "json"]);
    let info: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&info["packets"], &info["flows"]), (&22.into(), &2.into()));
    let piped =
        Command::cargo_bin("ctbench").unwrap().args(["info", "-", "--format", "json"]).write_stdin(whole).output();
    let info: serde_json::Value = serde_json::from_slice(&piped.unwrap().stdout).unwrap();
    assert_eq!(info["packets"], 11);
}

#[test]
fn an_unsupported_link_type_is_counted() {
    let folder = fixture();
    let frames = connection((CLIENT, 51_334), (SERVER, 80));
    write(folder.path(), "wifi.pcap", pcap(&frames, PcapStyle { link_type: 105, ..PLAIN }));
    let (code, stdout, _) = run(folder.path(), &["info", "wifi.pcap"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("link type 105 (not supported)") && stdout.contains("link-type 9"), "{stdout}");
}

#[test]
fn addresses_that_no_packet_has_are_a_warning() {
    let folder = fixture();
    let arguments =
        ["compare", "trace.pcap", "--inside", "192.0.2.0/24", "--security-groups", "sg.json", QUICK[0], QUICK[1]];
    let (code, stdout, stderr) = run(folder.path(), &arguments);
    assert_eq!(code, 0);
    assert!(stderr.contains("192.0.2.0/24") && stderr.contains("nothing is evaluated"), "{stderr}");
    assert!(stdout.contains("no packet is evaluated"), "{stdout}");
}

#[test]
fn policies_and_scenarios_with_mistakes_name_the_place() {
    let folder = fixture();
    let at = folder.path();
    let scenarios = [
        ("titel = \"x\"\n", "titel"),
        ("[conntrack]\ntcp_establish = 1\n", "tcp_established"),
        ("[conntrack]\nudp = 999999999999\n", "out of range"),
        ("[table]\nshards = 0\n", "1 to 65,536"),
        ("profile = \"azure\"\n", "azure"),
    ];
    for (line, says) in scenarios {
        write(at, "wrong.toml", scenario(line));
        fails(at, &["verify", "wrong.toml"], 1, &["wrong.toml", says]);
    }
    let base = ["verify", "trace.pcap", "--inside", INSIDE, "--security-groups"];
    for (rule, says) in [
        (
            ("tcp", 90, 80, "0.0.0.0/0"),
            "IpPermissions[0].FromPort: 90 is not allowed; allowed: at most ToPort, which is 80",
        ),
        (
            ("tcp", 80, 70_000, "0.0.0.0/0"),
            "IpPermissions[0].ToPort: 70000 is not allowed; allowed: a port from 0 to 65535",
        ),
        (("tcpp", 80, 80, "0.0.0.0/0"), "IpPermissions[0].IpProtocol: \"tcpp\" is not allowed"),
        (("tcp", 80, 80, "10.0.0.0/33"), "IpRanges[0].CidrIp"),
    ] {
        write(at, "wrong.json", security_groups(&[rule], &[]));
        fails(at, &[&base[..], &["wrong.json"]].concat(), 1, &["wrong.json", says]);
    }
    write(at, "wrong.json", "{ \"SecurityGroups\": [");
    fails(at, &[&base[..], &["wrong.json"]].concat(), 1, &["wrong.json", "not JSON", "line 1"]);
    fails(at, &[&base[..], &["acl.json"]].concat(), 1, &["acl.json", "aws ec2 describe-security-groups"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    if !Path::new("/dev/full").exists() {
        eprintln!("SKIPPED: this system has no /dev/full");
        return;
    }
    let folder = fixture();
    for option in ["--json", "--csv"] {
        let arguments = ["compare", "scenario.toml", option, "/dev/full", QUICK[0], QUICK[1]];
        fails(folder.path(), &arguments, 1, &["writing /dev/full", "No space left"]);
    }
    let arguments = ["replay", "scenario.toml", "--engine", "reference", "--verdicts", "/dev/full", QUICK[0], QUICK[1]];
    fails(folder.path(), &arguments, 1, &["writing /dev/full", "No space left"]);
}

#[test]
fn the_cause_of_an_error_is_told_once() {
    let folder = fixture();
    let at = folder.path();
    write(at, "elsewhere.toml", scenario("").replace("sg.json", "gone.json"));
    write(at, "nowhere.toml", scenario("").replace("trace.pcap", "gone.pcap"));
    fs::create_dir(at.join("empty")).unwrap();
    write(at, "wrong.toml", "title = 3\n");
    let gone = ["compare", "missing.pcap", "--inside", INSIDE, "--security-groups", "sg.json"];
    for (arguments, file, cause) in [
        (&gone[..], "missing.pcap", "No such file"),
        (&["compare", "gone.toml"], "gone.toml", "No such file"),
        (&["compare", "empty"], "empty", "without a capture file"),
        (&["compare", "elsewhere.toml"], "gone.json", "No such file"),
        (&["compare", "nowhere.toml"], "gone.pcap", "No such file"),
        (&["compare", "wrong.toml"], "wrong.toml", "invalid type"),
    ] {
        let (code, _, stderr) = run(at, arguments);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(file), "{stderr}");
        assert_eq!(stderr.matches(cause).count(), 1, "{stderr}");
    }
}
