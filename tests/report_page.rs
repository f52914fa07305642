//! The report's page in a real browser: what is drawn, said, sorted and copied, and that nothing else happens.

mod common;

use assert_cmd::Command;
use base64::Engine as _;
use common::results::{result, sweep};
use common::write;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::tempdir;

/// The page of this result.
fn page(folder: &Path, result: &Value) -> String {
    write(folder, "result.json", result.to_string());
    let arguments = ["report", "result.json", "--format", "html"];
    let output = Command::cargo_bin("ctbench").unwrap().current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|file| file.is_file())
}

/// Opens the page with a script at its end that looks at it and leaves what it found as the page's only text. `None`
/// without a browser.
fn look(page: &str, script: &str) -> Option<Value> {
    let Some(chromium) = chromium() else {
        eprintln!("SKIPPED: no Chromium (apt-get install chromium)");
        return None;
    };
    let folder = tempdir().unwrap();
    let probe = format!(
        r#"<script>
const found = {{}}, errors = [];
addEventListener("error", (e) => errors.push(e.message));
document.addEventListener("securitypolicyviolation", (e) => errors.push("policy: " + e.violatedDirective + " " + e.blockedURI));
window.alert = () => errors.push("alert");
addEventListener("load", () => {{
  {script}
  found.wide = document.documentElement.scrollWidth > innerWidth;
  found.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  found.errors = errors;
  const text = JSON.stringify(found);
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = text;
}});
</script></head>"#
    );
    // The page's policy lets no second script run, so the probe's hash is added to it.
    let source = probe.split("<script>").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    use sha2::{Digest, Sha256};
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(source));
    let page =
        page.replacen("script-src '", &format!("script-src 'sha256-{hash}' '"), 1).replacen("</head>", &probe, 1);
    write(folder.path(), "probed.html", page);
    // One browser at a time: several at once may find no room to start their processes. That, unlike a page that does
    // not work, may be otherwise the next time.
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let open = |attempt: u32| {
        std::process::Command::new(&chromium)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--window-size=500,800", "--enable-logging=stderr"])
            .arg("--dump-dom")
            .arg(format!("--user-data-dir={}", folder.path().join(format!("profile-{attempt}")).display()))
            .arg(format!("file://{}", folder.path().join("probed.html").display()))
            .output()
            .unwrap()
    };
    let mut output = open(1);
    for attempt in 2..=4 {
        if !output.stdout.is_empty() {
            break;
        }
        eprintln!("Chromium gave no page: {}", String::from_utf8_lossy(&output.stderr));
        output = open(attempt);
    }
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
    assert_eq!(found["wide"], false, "tables scroll, the page does not");
    Some(found)
}

#[test]
fn every_chart_is_drawn_and_shows_the_values_of_the_json() {
    let folder = tempdir().unwrap();
    let result = result();
    let script = r#"
  const figures = [...document.querySelectorAll("figure")];
  found.titles = figures.map((f) => f.querySelector("h2").textContent.replace(/,.*/, ""));
  found.series = figures.map((f) => [Number(f.dataset.series), f.querySelectorAll(".chart .series").length]);
  found.drawn = [...document.querySelectorAll(".chart .series path, .chart .series rect")].every((mark) => mark.getTotalLength() > 0);
  found.values = figures.map((f) => [...f.querySelectorAll("[data-value]")].map((mark) => Number(mark.dataset.value)));
  found.over_time = [...figures[1].querySelectorAll(".series:first-of-type circle title")].map((t) => t.textContent);
  found.ends = [...figures[0].querySelectorAll(".series")].map((s) => s.querySelector("circle:last-of-type title").textContent);
  const cells = (title, column) => { const h = [...document.querySelectorAll("h2")].find((h) => h.textContent === title);
    return [...document.getElementById(h.id.slice(0, -1)).tBodies[0].rows].map((row) => row.cells[column].dataset.value ?? row.cells[column].textContent); };
  found.mpps = cells("Throughput", 3); found.p99 = cells("Latency in a burst", 5); found.differing = cells("Why the two worlds differ", 3);"#;
    let Some(found) = look(&page(folder.path(), &result), script) else { return };
    let titles = [
        "Latency by percentile",
        "Latency over the trace's time",
        "Throughput as a multiple of stateless-linear's",
        "Time a packet",
        "Where a packet's time goes",
        "How packets ended",
    ];
    assert_eq!(found["titles"], json!(titles));
    assert_eq!(found["series"], json!([[3, 3], [3, 3], [2, 2], [3, 3], [3, 3], [3, 3]]));
    assert_eq!(found["drawn"], true);
    assert_eq!(found["values"][2], json!([6.7, 0.267]));
    let close = |ours: &Value, theirs: &[f64]| {
        let ours: Vec<f64> = ours
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap_or_else(|| v.as_str().unwrap().parse().unwrap()))
            .collect();
        assert_eq!(ours.len(), theirs.len());
        assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs()), "{ours:?} {theirs:?}");
    };
    let of_runs = |of: &dyn Fn(&Value) -> f64| result["runs"].as_array().unwrap().iter().map(of).collect::<Vec<_>>();
    let pps = of_runs(&|run| run["throughput"]["pps"].as_f64().unwrap());
    close(&found["values"][3], &pps.iter().map(|pps| 1e9 / pps).collect::<Vec<_>>());
    close(&found["mpps"], &pps.iter().map(|pps| pps / 1e6).collect::<Vec<_>>());
    close(&found["p99"], &of_runs(&|run| run["latency_ns"]["p99"].as_f64().unwrap()));
    // Stages one after the other, of all engines; the three engines' outcomes are the same and share a bar.
    let stage = |name: &str| of_runs(&|run| run["stages_ns_per_packet"][name].as_f64().unwrap());
    close(&found["values"][4], &[stage("read"), stage("decode"), stage("evaluate")].concat());
    assert_eq!(found["values"][5], json!([90, 9, 1]));
    assert_eq!(found["differing"], json!(["6"]));
    assert_eq!(
        found["over_time"],
        json!([
            "null: 0.00 to 1.00 s: p99 2.00 us, p50 100 ns, 30 packets",
            "null: 1.00 to 2.00 s: p99 2.10 us, p50 101 ns, 30 packets",
            "null: 2.00 to 3.00 s: p99 2.20 us, p50 102 ns, 30 packets"
        ])
    );
    // The slowest of a thousand values: the upper end of its bucket.
    let slowest = [
        "null: 99.900 % within 20.1 us",
        "stateless-linear: 99.900 % within 160 us",
        "stateful-lockfree-linear: 99.900 % within 621 us",
    ];
    assert_eq!(found["ends"], json!(slowest));
}

#[test]
fn tables_sort_lines_lift_and_values_are_told_to_pointer_and_keys() {
    let folder = tempdir().unwrap();
    let script = r#"
  const table = document.querySelector("table"), names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const click = (column) => { table.tHead.rows[0].cells[column].querySelector("button").click(); return names(); };
  Object.assign(found, { up: click(3), down: click(3), names: click(0), sorted: table.querySelectorAll("[aria-sort]").length });
  const charts = [...document.querySelectorAll(".chart")], said = (chart) => [...chart.querySelectorAll(".readout p")].map((p) => p.textContent);
  const point = (mark, at) => { const box = mark.getBoundingClientRect(); at.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 })); };
  const key = (chart, name) => { chart.focus(); chart.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true })); return said(chart); };
  point(charts[1].querySelector(".series circle:nth-of-type(2)"), charts[1].querySelector("svg"));
  found.lines = said(charts[1]);
  found.tooltips = charts[1].querySelectorAll("circle title").length;
  const rect = charts[5].querySelectorAll("rect")[1];
  point(rect, rect); found.bar = said(charts[5]);
  rect.dispatchEvent(new PointerEvent("pointerleave", { bubbles: false })); charts[5].querySelector("svg").dispatchEvent(new PointerEvent("pointerleave"));
  found.left = said(charts[5]);
  found.first = key(charts[2], "ArrowDown"); found.second = key(charts[2], "ArrowRight"); found.end = key(charts[2], "End"); found.gone = key(charts[2], "Escape");
  found.home = key(charts[1], "Home");
  found.focusable = charts.every((chart) => chart.tabIndex === 0 && document.getElementById(chart.getAttribute("aria-labelledby")) && chart.querySelector("svg[role=img][aria-label]"));
  Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => { (found.copied ??= []).push(text); } } });
  document.querySelector(".copy").click();
  [...document.querySelectorAll(".copy")].at(-1).click();
  document.querySelector(".legend button").click();
  found.chosen = document.querySelectorAll(".is-chosen").length;
  found.contents = [...document.querySelectorAll(".contents a")].every((a) => document.getElementById(a.hash.slice(1)));
  found.buttons = [...document.querySelectorAll("button")].every((button) => button.textContent.trim());"#;
    let Some(found) = look(&page(folder.path(), &result()), script) else { return };
    let (nothing, stateless, stateful) = ("null", "stateless-linear", "stateful-lockfree-linear");
    assert_eq!(found["up"], json!([stateful, stateless, nothing]));
    assert_eq!(found["down"], json!([nothing, stateless, stateful]));
    assert_eq!(found["names"], json!([nothing, stateful, stateless]));
    assert_eq!(found["sorted"], 1);
    let at_one = |engine: &str| format!("{engine}: 1.00 to 2.00 s: p99 2.10 us, p50 101 ns, 30 packets");
    assert_eq!(
        found["lines"],
        json!([at_one(nothing), at_one(stateless), at_one(stateful)]),
        "all lines at the pointer's x"
    );
    assert_eq!(found["tooltips"], 0, "nothing is said twice");
    assert_eq!(found["bar"], json!(["null, stateless-linear and 1 more: drop: no rule 9 packets"]));
    assert_eq!(found["left"], json!([]));
    let ratios = [
        "null, 1 core: 6.700 (6.365 to 7.035), faster",
        "stateful-lockfree-linear, 1 core: 0.267 (0.254 to 0.280), slower",
    ];
    assert_eq!(
        (&found["first"][0], &found["second"][0], &found["end"][0]),
        (&json!(ratios[0]), &json!(ratios[1]), &json!(ratios[1]))
    );
    assert_eq!(found["gone"], json!([]));
    assert_eq!(found["home"].as_array().unwrap().len(), 3);
    for truth in ["focusable", "contents", "buttons"] {
        assert_eq!(found[truth], true, "{truth}");
    }
    assert_eq!(found["chosen"], 1);
    // As a spreadsheet takes it: a head and three rows of twelve columns; and the command as it is.
    let table: Vec<Vec<&str>> =
        found["copied"][0].as_str().unwrap().lines().map(|line| line.split('\t').collect()).collect();
    assert!(table.len() == 4 && table.iter().all(|row| row.len() == 12), "{table:?}");
    assert_eq!((table[0][3], table[1][0], table[1][3]), ("Mpps", nothing, "400.00"));
    assert_eq!(found["copied"][1], "ctbench compare --time 1");
}

/// What a screen reader and a keyboard find: names, roles, an order of headings, and nothing out of reach.
#[test]
fn everything_has_a_name_and_can_be_reached() {
    let folder = tempdir().unwrap();
    let script = r#"
  const all = (selector) => [...document.querySelectorAll(selector)], name = (e) => e.getAttribute("aria-label") || e.textContent.trim();
  const wrong = found.wrong = [];
  const must = (what, selector, holds) => { const elements = all(selector); if (!elements.length) wrong.push("none: " + what); for (const e of elements) if (!holds(e)) wrong.push(what + ": " + e.outerHTML.slice(0, 200)); };
  must("language", "html", (e) => e.lang === "en");
  must("one main", "body", (e) => e.querySelectorAll("main").length === 1);
  must("ids are unique", "[id]", (e) => all(`[id="${e.id}"]`).length === 1);
  must("references lead somewhere", "[aria-labelledby], [aria-describedby]", (e) => ["labelledby", "describedby"].every((by) => !e.hasAttribute("aria-" + by) || name(document.getElementById(e.getAttribute("aria-" + by)))));
  must("buttons have names", "button", name);
  must("buttons can be reached", "button", (e) => e.tabIndex === 0);
  must("pictures are images with a name, or hidden", "svg", (e) => (e.getAttribute("role") === "img" && e.getAttribute("aria-label")) || e.getAttribute("aria-hidden") === "true");
  must("charts are groups that can be reached", ".chart", (e) => e.tabIndex === 0 && e.getAttribute("role") === "group" && e.hasAttribute("aria-labelledby") && e.hasAttribute("aria-describedby"));
  must("tables scroll in named regions that can be reached", ".scroll", (e) => e.tabIndex === 0 && e.getAttribute("role") === "region" && e.hasAttribute("aria-labelledby"));
  must("columns have heads", "thead th", (e) => e.scope === "col" && e.querySelector("button"));
  must("links lead somewhere", "a", (e) => document.getElementById(e.hash.slice(1)));
  must("headings skip no level", "h1, h2, h3", (e) => e.tagName !== "H3");
  found.first = document.querySelector("h1, h2").tagName;
  const button = document.querySelector("th button"); button.focus(); found.focus = document.activeElement === button;
  button.click(); found.sort = button.parentNode.getAttribute("aria-sort");
  const chart = document.querySelector(".chart"); chart.focus(); chart.dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true, cancelable: true }));
  found.told = chart.querySelector("[role=status]").textContent.length > 0;"#;
    let Some(found) = look(&page(folder.path(), &result()), script) else { return };
    assert_eq!(found["wrong"], json!([]));
    assert_eq!(
        (&found["first"], &found["focus"], &found["sort"], &found["told"]),
        (&json!("H1"), &json!(true), &json!("ascending"), &json!(true))
    );
}

/// The map of a sweep: a cell for every combination, with the ratio of the JSON's figures.
#[test]
fn the_crossover_map_is_drawn_and_told() {
    let folder = tempdir().unwrap();
    let script = r#"
  found.series = [...document.querySelectorAll("figure")].map((f) => [Number(f.dataset.series), f.querySelectorAll(".series").length]);
  found.values = [...document.querySelectorAll("[data-value].series")].map((cell) => Number(cell.dataset.value));
  const chart = document.querySelector(".chart");
  chart.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  found.said = chart.querySelector(".readout").textContent;"#;
    let Some(found) = look(&page(folder.path(), &sweep()), script) else { return };
    assert_eq!(found["series"], json!([[6, 6]]));
    // 10, 100 and 1,000 ns of rules against 20 and 100 ns of remembering.
    let ratios = [2.0, 10.0, 0.2, 1.0, 0.02, 0.1];
    let values: Vec<f64> = found["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    assert!(values.iter().zip(ratios).all(|(a, b)| (a - b).abs() < 1e-9) && values.len() == 6, "{values:?}");
    let said = "10 rules, 1,000 flows: stateful-lockfree-linear 20.0 ns, stateless-linear 10.0 ns; 2.00 times as long";
    assert_eq!(found["said"], said);
}

/// What hides in names is text, in the page and when it is pointed at.
#[test]
fn hostile_names_do_nothing_in_a_browser() {
    let folder = tempdir().unwrap();
    let bad =
        "\"><img src=x onerror=alert(1)><script>alert(1)</script></svg></title><b onload=x>'|`\u{202e}\u{1b}[31m\0";
    let mut hostile = result();
    hostile["scenario"]["name"] = json!(bad);
    hostile["command"] = json!(bad);
    hostile["runs"][0]["engine"] = json!(bad);
    hostile["runs"][2]["outcomes"] = json!({ bad: 5 });
    hostile["comparisons"][0]["engine"] = json!(bad);
    hostile["differences"]["causes"][0]["text"] = json!(bad);
    hostile["differences"]["causes"][0]["examples"][0]["why"] = json!(bad);
    let script = r#"
  for (const chart of document.querySelectorAll(".chart")) chart.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  for (const button of document.querySelectorAll("button:not(.copy)")) button.click();
  found.made = document.querySelectorAll("img, b, .readout script, main script").length;
  found.shown = document.body.textContent.includes("alert(1)");"#;
    let Some(found) = look(&page(folder.path(), &hostile), script) else { return };
    assert_eq!((&found["made"], &found["shown"]), (&json!(0), &json!(true)));
}

/// No engine, no packet, figures that are none: still a page without errors.
#[test]
fn empty_results_make_a_page_that_works() {
    let folder = tempdir().unwrap();
    let mut empty = result();
    empty["runs"] = json!([]);
    empty["comparisons"] = json!([]);
    let mut none = result();
    for run in none["runs"].as_array_mut().unwrap() {
        run["throughput"] = Value::Null;
        run["latency_ns"] = Value::Null;
        run["packets"] = json!(0);
        run["outcomes"] = json!({});
    }
    none["differences"] = Value::Null;
    none["comparisons"][0]["ratio"] = Value::Null;
    let mut one = result();
    one["runs"][0]["outcomes"] = json!({ "accept: by rule": 1 });
    one["runs"][0]["latency_ns"]["intervals"] =
        json!([{ "start_s": 0.0, "end_s": 0.0, "count": 1, "p50": 0, "p99": 0 }]);
    one["runs"] = json!([one["runs"][0]]);
    let click = "for (const button of document.querySelectorAll('th button')) button.click();
        for (const chart of document.querySelectorAll('.chart')) chart.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
        found.numbers = !/NaN|Infinity/.test(document.querySelector('main').innerHTML);";
    for result in [empty, none, one] {
        let Some(found) = look(&page(folder.path(), &result), click) else { return };
        assert_eq!(found["numbers"], true);
    }
}

/// The page as it is, with its policy: the hash must be that of the script.
#[test]
fn the_policy_lets_the_pages_own_script_run() {
    use sha2::{Digest, Sha256};
    let folder = tempdir().unwrap();
    let page = page(folder.path(), &result());
    let script = page.split("<script>").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script));
    assert!(page.contains(&format!("script-src 'sha256-{hash}'")));
}
