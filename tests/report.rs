//! `ctbench report`: every format, hostile content, and the page in a real browser.

mod common;

use assert_cmd::Command;
use common::write;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::tempdir;

/// Runs and returns (exit code, stdout, stderr).
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("ctbench").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code().unwrap(), stdout, stderr)
}

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

fn engine(name: &str, cores: u64, mpps: f64) -> Value {
    let samples: Vec<f64> = (0..20).map(|n| 1e6 * mpps * (1.0 + 0.001 * f64::from(n % 5))).collect();
    json!({
        "engine": name, "cores": cores, "steering": "symmetric", "load": "closed", "packets": 100,
        "verdicts": { "accept": 90, "drop": 9, "ignored": 1 },
        "outcomes": { "accept: tracked": 90, "drop: no rule": 9, "ignored: not-ip": 1 },
        "digest": "00000000000000ff", "imbalance": 1.0,
        "throughput": { "pps": 1e6 * mpps, "ci95": [0.99e6 * mpps, 1.01e6 * mpps], "samples_pps": samples, "passes": 40 },
        "latency_ns": { "recorder": "every", "count": 1000, "p50": 100, "p90": 200, "p99": 2_000, "p99_9": 30_000, "p99_99": 400_000, "max": 5_000_000, "histogram": histogram((1000.0 / mpps) as u64) },
        "stages_ns_per_packet": { "read": 5.0, "decode": 20.5, "steer": null, "evaluate": 1e3 / mpps, "stamps": 9.0 },
        "table": if name.starts_with("stateful") { json!({ "capacity": 65_536, "peak_entries": 5, "inserts": 6, "expired": 1, "evicted": 0, "full_drops": 0, "bytes": 1 << 20 }) } else { Value::Null },
        "error": null,
    })
}

fn result() -> Value {
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
        "worlds": { "stateful_only_accepts": 0, "stateless_only_accepts": 0, "comparable": true },
        "doubts": ["the machine was busy"],
        "runs": [engine("null", 1, 400.0), engine("stateless-linear", 1, 60.0), engine("stateful-lockfree-linear", 1, 16.0)],
        "comparisons": [compared("null", 6.7, "faster"), compared("stateful-lockfree-linear", 0.267, "slower")],
    })
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
    for format in ["md", "csv", "openmetrics"] {
        insta::assert_snapshot!(format!("report_{format}"), report(at, &result(), format));
    }
    assert_eq!(serde_json::from_str::<Value>(&report(at, &result(), "json")).unwrap(), result());
    for (format, file) in [("hgrm", "out-1-null-1-symmetric.hgrm"), ("svg", "out-1-2.svg")] {
        let (code, _, stderr) = run(at, &["report", "result.json", "-o", &format!("out.{format}")]);
        assert_eq!(code, 0, "{stderr}");
        insta::assert_snapshot!(format!("report_{format}"), fs::read_to_string(at.join(file)).unwrap());
    }
    let (code, _, stderr) = run(at, &["report", "result.json", "--format", "hgrm"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("hgrm writes 3 files"), "{stderr}");
    let (code, _, stderr) = run(at, &["report", "result.json", "-o", "report.docx"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no format is called `docx`; there are html, md,"), "{stderr}");
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
    for format in ["html", "md", "csv", "openmetrics"] {
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
        for format in ["html", "md", "csv", "openmetrics"] {
            let text = report(at, &result, format);
            let figures = text.split("<script>").next().unwrap();
            assert!(
                !figures.contains("inf") && (format == "openmetrics" || !figures.contains("NaN")),
                "{format}: {text}"
            );
        }
    }
}

#[test]
fn two_hundred_runs_make_a_page_of_a_few_megabytes() {
    let folder = tempdir().unwrap();
    let mut many = result();
    many["runs"] = (0..200).map(|n| engine(&format!("stateful-{n}"), n % 20 + 1, 10.0 + n as f64)).collect();
    let page = report(folder.path(), &many, "html");
    assert!(page.len() < 6 << 20, "{} bytes", page.len());
    assert_eq!(page.matches("<g class=\"series\" data-line=").count(), 200);
}

fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|file| file.is_file())
}

/// Opens the page with a script at its end that looks at it, clicks, and leaves what it found as the page's only text.
#[test]
fn the_page_works_in_a_browser() {
    let Some(chromium) = chromium() else {
        eprintln!("SKIPPED: no Chromium (apt-get install chromium)");
        return;
    };
    let folder = tempdir().unwrap();
    let at = folder.path();
    let result = result();
    let page = report(at, &result, "html");
    let probe = r#"<script>
const errors = []; addEventListener("error", (e) => errors.push(e.message));
document.addEventListener("securitypolicyviolation", (e) => errors.push("policy: " + e.violatedDirective + " " + e.blockedURI));
addEventListener("load", () => {
  const table = document.querySelector("table"), rows = () => [...table.tBodies[0].rows];
  const shown = rows().map((row) => [row.cells[0].textContent, row.cells[3].dataset.value]);
  const click = (column) => { table.tHead.rows[0].cells[column].querySelector("button").click(); return rows().map((row) => row.cells[0].textContent); };
  const found = { shown, up: click(3), down: click(3), names: click(0),
    series: [...document.querySelectorAll("figure")].map((f) => [Number(f.dataset.series), f.querySelectorAll(".chart .series").length]),
    drawn: [...document.querySelectorAll(".chart .series path")].every((path) => path.getTotalLength() > 0),
    ratios: [...document.querySelectorAll("[data-ratio]")].map((g) => Number(g.dataset.ratio)),
    wide: document.documentElement.scrollWidth > innerWidth,
    requests: performance.getEntriesByType("resource").map((entry) => entry.name) };
  document.querySelector(".legend button").click();
  found.chosen = document.querySelectorAll(".is-chosen").length;
  found.errors = errors;
  document.body.innerHTML = "<pre id=found></pre>"; document.getElementById("found").textContent = JSON.stringify(found);
});
</script></head>"#;
    // The page's policy lets no second script run, so the probe goes with the policy replaced by one that allows it.
    let policy = page.find("script-src 'sha256-").unwrap();
    let end = policy + page[policy..].find(";base-uri").unwrap();
    let page = format!("{}script-src 'unsafe-inline'{}", &page[..policy], &page[end..]).replacen("</head>", probe, 1);
    write(at, "probed.html", page);
    let output = std::process::Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=500,800",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", at.join("profile").display()))
        .arg(format!("file://{}", at.join("probed.html").display()))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!log.contains("CONSOLE"), "{log}");
    let found = dom
        .split("<pre id=\"found\">")
        .nth(1)
        .and_then(|rest| rest.split("</pre>").next())
        .unwrap_or_else(|| panic!("{dom}\n{log}"));
    let found: Value =
        serde_json::from_str(&found.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")).unwrap();
    assert_eq!(found["errors"], json!([]));
    assert_eq!(found["requests"], json!([]), "no request");
    assert_eq!(found["series"], json!([[3, 3], [2, 2]]));
    assert_eq!(found["drawn"], true);
    assert_eq!(found["chosen"], 1);
    assert_eq!(found["wide"], false, "tables scroll, the page does not");
    assert_eq!(found["ratios"], json!([6.7, 0.267]));
    for (shown, run) in found["shown"].as_array().unwrap().iter().zip(result["runs"].as_array().unwrap()) {
        assert_eq!(shown[0], run["engine"]);
        let value: f64 = shown[1].as_str().unwrap().parse().unwrap();
        assert!((value * 1e6 - run["throughput"]["pps"].as_f64().unwrap()).abs() < 1e-3);
    }
    let (nothing, stateless, stateful) = ("null", "stateless-linear", "stateful-lockfree-linear");
    assert_eq!(found["up"], json!([stateful, stateless, nothing]));
    assert_eq!(found["down"], json!([nothing, stateless, stateful]));
    assert_eq!(found["names"], json!([nothing, stateful, stateless]));
}

/// The page as it is, with its policy: the hash must be that of the script.
#[test]
fn the_policy_lets_the_pages_own_script_run() {
    use base64::Engine as _;
    use sha2::{Digest, Sha256};
    let folder = tempdir().unwrap();
    let page = report(folder.path(), &result(), "html");
    let script = page.split("<script>").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script));
    assert!(page.contains(&format!("script-src 'sha256-{hash}'")));
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let at = Path::new(".");
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = run(at, &["completions", shell]);
        assert_eq!(code, 0);
        assert!(stdout.contains("report") && stdout.contains("compare"), "{shell}");
    }
    let (code, stdout, _) = run(at, &["man"]);
    assert_eq!(code, 0);
    assert!(stdout.contains(".TH ctbench 1"), "{stdout}");
    let (_, stdout, _) = run(at, &["man", "diff"]);
    assert!(stdout.contains("fail\\-above"), "{stdout}");
    assert_eq!(run(at, &["man", "nothing"]).0, 1);
}
