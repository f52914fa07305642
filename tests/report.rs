//! `ctbench report`: every format, and hostile content. The page in a real browser is in `report_page.rs`.

mod common;

use assert_cmd::Command;
use common::results::{engine, intervals, result, search, sweep};
use common::write;
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

/// Writes the result and returns its report in this format.
fn report(folder: &Path, result: &Value, format: &str) -> String {
    write(folder, "result.json", result.to_string());
    let (code, stdout, stderr) = run(folder, &["report", "result.json", "--format", format]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout
}

#[test]
fn text_formats_are_stable() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    for format in ["md", "txt", "csv", "openmetrics"] {
        insta::assert_snapshot!(format!("report_{format}"), report(at, &result(), format));
    }
    assert_eq!(serde_json::from_str::<Value>(&report(at, &result(), "json")).unwrap(), result());
    for format in ["hgrm", "svg"] {
        let (code, _, stderr) = run(at, &["report", "result.json", "-o", &format!("out.{format}")]);
        assert_eq!(code, 0, "{stderr}");
    }
    let written = |file: &str| fs::read_to_string(at.join(file)).unwrap();
    insta::assert_snapshot!("report_hgrm", written("out-1-null-1-symmetric.hgrm"));
    // Charts 1 and 2 are lines of many points: what they show is compared with the JSON in the browser.
    for (chart, name) in [(3, "ratios"), (4, "floor"), (5, "stages"), (6, "outcomes")] {
        insta::assert_snapshot!(
            format!("report_svg_{name}"),
            written(&format!("out-1-{chart}.svg")).replace("><", ">\n<")
        );
    }
    assert!(!at.join("out-1-7.svg").exists());
    let (code, _, stderr) = run(at, &["report", "result.json", "--format", "hgrm"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("hgrm writes 3 files"), "{stderr}");
    let (code, _, stderr) = run(at, &["report", "result.json", "-o", "report.docx"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no format is called `docx`; there are html, md,"), "{stderr}");
}

/// The page without its style, script and pictures, which have tests of their own.
#[test]
fn the_page_is_stable() {
    let folder = tempdir().unwrap();
    let mut page = report(folder.path(), &result(), "html");
    for (begin, end) in [("<style>", "</style>"), ("<script>", "</script>"), ("script-src '", "'"), ("<svg", "</svg>")]
    {
        let parts: Vec<String> = page.split(begin).map(str::to_owned).collect();
        let kept = parts[1..].iter().map(|part| part.split_once(end).unwrap().1);
        page = std::iter::once(parts[0].as_str()).chain(kept).collect::<Vec<_>>().join("…");
    }
    insta::assert_snapshot!(page.replace("><", ">\n<"));
}

/// An open loop at this pace.
fn paced(pps: f64, p99: u64) -> Value {
    let mut paced = result();
    paced["runs"].as_array_mut().unwrap().remove(0);
    for run in paced["runs"].as_array_mut().unwrap() {
        run["load"] = json!("paced");
        run["offered_pps"] = json!(pps);
        run["throughput"] = Value::Null;
        run["latency_ns"]["p99"] = json!(p99);
        run["lost"] = json!(5);
        run["paced"] = json!({ "offered": 1_000 });
    }
    paced["comparisons"] = json!([]);
    paced
}

#[test]
fn several_results_are_shown_together() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    write(at, "a.json", result().to_string());
    let mut other = result();
    other["scenario"]["name"] = json!("Two filters");
    other["worlds"] = json!({ "stateful_only_accepts": 50, "stateless_only_accepts": 0, "comparable": false });
    write(at, "b.json", other.to_string());
    write(at, "slow.json", paced(1e5, 9_000).to_string());
    write(at, "fast.json", paced(1e6, 700_000).to_string());
    let (code, md, stderr) = run(at, &["report", "a.json", "b.json", "slow.json", "fast.json", "--format", "md"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!("report_across", md.split("</details>").next().unwrap());
    let (code, _, stderr) = run(at, &["report", "a.json", "b.json", "slow.json", "fast.json", "-o", "all.svg"]);
    assert_eq!(code, 0, "{stderr}");
    let load = fs::read_to_string(at.join("all-0-1.svg")).unwrap();
    insta::assert_snapshot!("report_svg_load", load.replace("><", ">\n<"));
    // Each says what it measured, and nothing stands in an empty table.
    let (_, text, _) = run(at, &["report", "slow.json", "fast.json", "--format", "txt"]);
    let said = "On 1 core, symmetric, at 0.10 Mpps, stateful-lockfree-linear decides 99 % of the packets within 9.00 us of when they were due (0.500 % lost); stateless-linear decides";
    assert!(text.contains(said) && !text.contains("No pair") && !text.contains("What remembering costs\n\n"), "{text}");
    // Of one pace alone there is no curve, and one result alone has nothing across.
    let (_, page, _) = run(at, &["report", "a.json", "slow.json", "--format", "html"]);
    assert!(!page.contains("Latency against offered load") && page.contains("What remembering costs"));
    let (_, page, _) = run(at, &["report", "a.json", "--format", "html"]);
    assert!(!page.contains("What remembering costs"));
}

#[test]
fn sweeps_and_searches_have_charts_and_tables() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    insta::assert_snapshot!("report_sweep", report(at, &sweep(), "md"));
    run(at, &["report", "result.json", "-o", "map.svg"]);
    let map = fs::read_to_string(at.join("map-1-1.svg")).or_else(|_| fs::read_to_string(at.join("map.svg"))).unwrap();
    insta::assert_snapshot!("report_svg_map", map.replace("><", ">\n<"));
    let text = report(at, &search(), "txt");
    assert!(text.contains("NDR   2.500        2.500        2.600  found"), "{text}");
    let page = report(at, &search(), "html");
    assert!(page.contains("null: 2 Mpps offered: p99 2.00 us, p50 500 ns, 0.000 % lost"), "{page}");
    assert!(page.contains("null: 3 Mpps offered: p99 900 us, p50 500 ns, 7.000 % lost"));
    // The answer: of two engines, each with its bounds; of one that does not finish, that.
    let mut pair = search();
    let mut runs = [engine("stateless-linear", 1, 1.0), engine("stateful-percore-linear", 1, 1.0)];
    for (run, pps) in runs.iter_mut().zip([8e6, 2e6]) {
        run["load"] = json!("search");
        run["throughput"] = Value::Null;
        run["search"] = pair["runs"][0]["search"].clone();
        run["search"]["goals"] = json!([
            { "name": "NDR", "status": "found", "loss_ratio": 0.0, "conditional_throughput_pps": pps, "lower_pps": pps, "upper_pps": pps * 1.25 },
            { "name": "p99.9 1ms", "status": "unfinished", "loss_ratio": 0.001, "latency_bound_ns": 1_000_000, "lower_pps": null, "upper_pps": null },
        ]);
    }
    pair["runs"] = json!(runs);
    let text = report(at, &pair, "txt");
    for said in [
        "On 1 core, symmetric, without loss, stateful-percore-linear keeps up with 2.00 Mpps (2.00 to 2.50), stateless-linear keeps up with 8.00 Mpps (8.00 to 10.00): 4.00 times as much (3.20 to 5.00).",
        "On 1 core, symmetric, with 99.9 % of the packets decided within 1.00 ms, no highest rate was found: the search did not finish, or it lies outside its limits.",
    ] {
        assert!(text.contains(said), "{text}");
    }
    assert!(!text.contains("No pair"), "{text}");
    pair["runs"][0]["search"]["goals"][0]["lower_pps"] = Value::Null;
    let text = report(at, &pair, "txt");
    let said = "without loss, stateful-percore-linear keeps up with 2.00 Mpps (2.00 to 2.50); of the other world no rate was found.";
    assert!(text.contains(said), "{text}");
    // One combination is no map, and figures that are none are no combination.
    let mut none = sweep();
    for point in none["sweep"]["points"].as_array_mut().unwrap().iter_mut().skip(2) {
        point["mpps"] = Value::Null;
    }
    assert!(!report(at, &none, "html").contains("<svg"));
    none["sweep"]["points"] = json!([]);
    for format in ["html", "md", "txt", "csv", "openmetrics"] {
        assert!(!report(at, &none, format).contains("NaN"), "{format}");
    }
}

/// Its output on a terminal, where `script` (util-linux) can make one.
fn on_a_terminal(folder: &Path, no_colour: &str) -> Option<String> {
    let program = assert_cmd::cargo::cargo_bin("ctbench");
    let output = std::process::Command::new("script")
        .args(["-qec", &format!("{} report result.json", program.display()), "/dev/null"])
        .current_dir(folder)
        .env("TERM", "xterm-256color")
        .env_remove("CLICOLOR")
        .env("NO_COLOR", no_colour)
        .output()
        .ok()?;
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap().replace('\r', ""))
}

#[test]
fn colours_are_for_terminals_unless_the_user_says_no() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let plain = report(at, &result(), "txt");
    assert!(plain.contains('█') && !plain.contains('\u{1b}'));
    let Some(coloured) = on_a_terminal(at, "") else {
        eprintln!("SKIPPED: no `script` (util-linux) to make a terminal");
        return;
    };
    assert!(coloured.contains("\u{1b}[35m"), "{coloured}");
    assert_eq!(on_a_terminal(at, "1").unwrap(), plain, "text is what a terminal gets, and without colours the same");
}

/// What the result says of differing flows is what `explain` says.
#[test]
fn differences_are_those_that_explain_finds() {
    let folder = tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenario = "traces/forgotten-ephemeral-ports";
    let json = folder.path().join("result.json");
    let compare = ["compare", scenario, "--engine", "stateless-linear", "--cores", "1", "--time", "0.01", "--quiet"];
    let (code, _, stderr) = run(root, &[&compare[..], &["--json", json.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{stderr}");
    let result: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let (_, explained, _) = run(root, &["explain", scenario, "--differing", "--format", "json"]);
    let explained: Value = serde_json::from_str(&explained).unwrap();
    let (ours, theirs) = (&result["differences"], explained["causes"].as_array().unwrap());
    assert_eq!(ours["packets"], explained["differing_packets"]);
    assert_eq!(ours["flows"], explained["differing_flows"]);
    assert_eq!(ours["packets"].as_u64(), result["worlds"]["stateful_only_accepts"].as_u64());
    let causes = ours["causes"].as_array().unwrap();
    let differing: Vec<&Value> = theirs.iter().filter(|cause| !cause["dropped_only_by"].is_null()).collect();
    assert_eq!(causes.len(), differing.len());
    for (ours, theirs) in causes.iter().zip(differing) {
        assert_eq!(
            (&ours["packets"], &ours["flows"], &ours["text"]),
            (&theirs["packets"], &theirs["flows"], &theirs["text"])
        );
        assert!(ours["examples"].as_array().unwrap().len() <= 5);
    }
    let sum: u64 = causes.iter().map(|cause| cause["packets"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), ours["packets"].as_u64());
    // And the page shows them.
    let page = run(root, &["report", json.to_str().unwrap(), "--format", "html"]).1;
    assert!(page.contains("Why the two worlds differ") && page.contains("no outbound ACL rule covers them"));
}

/// Everything in a page that could be an element, an attribute's end or an address.
fn assert_harmless(page: &str) {
    assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("<b onload"), "{page}");
    assert_eq!(page.matches("<script>").count(), 1);
    for address in ["http://", "https://", "url(", "@import"] {
        let found = page.matches(address).count();
        let allowed =
            if address == "http://" { page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count() } else { 0 };
        assert_eq!(found, allowed, "{address}");
    }
}

#[test]
fn hostile_content_is_harmless() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let bad = "\"><b onload=x><script>alert(1)</script><img src=x>'|`*[a](b)\u{202e}\u{1b}[31m\0";
    let mut hostile = result();
    hostile["scenario"]["name"] = json!(bad);
    hostile["scenario"]["trace"] = json!(bad);
    hostile["command"] = json!(bad);
    hostile["doubts"] = json!([bad]);
    hostile["host"] = json!({ bad: bad, "cpu": bad });
    hostile["settings"] = json!({ bad: { bad: [bad] } });
    hostile["comparisons"][0]["engine"] = json!(bad);
    hostile["comparisons"][0]["baseline"] = json!(bad);
    for field in ["engine", "steering", "load", "digest"] {
        hostile["runs"][0][field] = json!(bad);
    }
    hostile["runs"][1]["error"] = json!(bad);
    hostile["runs"][2]["outcomes"] = json!({ bad: 5 });
    for format in ["html", "md", "txt", "csv", "openmetrics"] {
        let text = report(at, &hostile, format);
        assert!(!text.contains(['\u{1b}', '\0', '\u{202e}']), "{format}");
        if format == "html" {
            assert_harmless(&text);
        }
        if format == "md" {
            // The command stands in a fence, where nothing is markup.
            let (before, _) = text.rsplit_once("```\n\"").unwrap();
            assert!(
                !before.contains('<')
                    || !before
                        .replace("<details", "")
                        .replace("</details", "")
                        .replace("<summary", "")
                        .replace("</summary", "")
                        .contains('<'),
                "{text}"
            );
        }
        assert!(text.contains("alert(1)") || format == "openmetrics", "the name is shown: {format}");
    }
    let (code, _, stderr) = run(at, &["report", "result.json", "-o", "x.hgrm"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(fs::read_dir(at).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().contains('<')));
}

#[test]
fn figures_that_are_none_are_dashes() {
    let folder = tempdir().unwrap();
    let at = folder.path();
    let mut none = result();
    none["runs"][0]["throughput"] = json!({ "pps": null, "ci95": [null, null], "samples_pps": [null], "passes": 1 });
    none["runs"][1]["throughput"] = Value::Null;
    none["runs"][1]["latency_ns"] = Value::Null;
    none["runs"][2]["latency_ns"] = json!({ "count": 0, "histogram": null });
    none["comparisons"][0]["ratio"] = Value::Null;
    none["comparisons"][1]["ci95"] = json!([null, 1.0]);
    none["worlds"] = Value::Null;
    let mut empty = result();
    empty["runs"] = json!([]);
    empty["comparisons"] = json!([]);
    let mut one = result();
    one["runs"] = json!([engine("null", 1, 0.01)]);
    one["runs"][0]["packets"] = json!(1);
    let huge = json!({ "schema": 1, "ctbench": {}, "scenario": { "name": "" }, "runs": [], "started": u64::MAX });
    for result in [none, empty, one, huge] {
        for format in ["html", "md", "txt", "csv", "openmetrics"] {
            let text = report(at, &result, format);
            let figures = text.split("<script>").next().unwrap();
            assert!(
                !figures.contains("inf") && (format == "openmetrics" || !figures.contains("NaN")),
                "{format}: {text}"
            );
        }
    }
}

/// As large as real ones: sixty stretches of time, eight outcomes, five causes with five flows each.
#[test]
fn two_hundred_runs_make_a_page_of_a_few_megabytes() {
    let folder = tempdir().unwrap();
    let mut many = result();
    let cause = many["differences"]["causes"][0].clone();
    many["differences"]["causes"] = (0..5)
        .map(|_| {
            let mut cause = cause.clone();
            cause["examples"] = (0..5).map(|_| cause["examples"][0].clone()).collect();
            cause
        })
        .collect();
    let run = |n: u64| {
        let mut run = engine(&format!("stateful-{n}"), n % 20 + 1, 10.0 + n as f64);
        run["latency_ns"]["intervals"] = intervals(60);
        run["outcomes"] =
            (0..8).map(|n| (format!("drop: reason {n}"), json!(n + 1))).collect::<serde_json::Map<_, _>>().into();
        run
    };
    many["runs"] = (0..200).map(run).collect();
    let page = report(folder.path(), &many, "html");
    // 6 MB are the limit; what is added later needs room, too.
    assert!(page.len() < 5_200_000, "{} bytes", page.len());
    // A line in two charts for each, three stages and eight outcomes.
    assert_eq!(page.matches("<g class=\"series\" data-line=").count(), 200 + 200 + 3 + 8);
}

/// The verbs, as the help lists them.
fn verbs() -> Vec<String> {
    let (_, help, _) = run(Path::new("."), &["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    // Indented by two; what goes on on the next line is indented by more.
    let names = list.lines().filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|verb| *verb != "help").map(str::to_owned).collect()
}

#[test]
fn completions_know_every_verb_and_shells_read_them() {
    let folder = tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(folder.path(), &["completions", shell]);
        assert_eq!(code, 0);
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell}: {verb}");
        }
        write(folder.path(), shell, script);
        match std::process::Command::new(shell).args(["-n", shell]).current_dir(folder.path()).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => eprintln!("SKIPPED: no {shell} to read its completions"),
        }
    }
}

#[test]
fn every_verb_has_a_manual_page() {
    let at = Path::new(".");
    let (code, page, _) = run(at, &["man"]);
    assert_eq!(code, 0);
    assert!(page.contains(".TH ctbench 1"), "{page}");
    let verbs = verbs();
    assert!(verbs.len() >= 14, "{verbs:?}");
    for verb in verbs {
        assert!(page.contains(&format!("ctbench\\-{verb}")), "{verb}");
        let (code, page, _) = run(at, &["man", &verb]);
        assert_eq!(code, 0);
        assert!(page.contains(&format!(".TH ctbench-{verb} 1")) && page.contains("Example"), "{page}");
    }
    assert!(run(at, &["man", "diff"]).1.contains("fail\\-above"));
    assert_eq!(run(at, &["man", "nothing"]).0, 1);
}
