//! What stands in `results/` is read by this release, and the README's table is what it gives.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder that the README's table names, and the table; `None` before the first run.
fn table_of_the_readme() -> Option<(PathBuf, String)> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) =
        readme.split_once("<!-- results: begin; made by results/run from ").expect("the README has a table");
    let (folder, rest) = rest.split_once(": do not edit -->\n").unwrap();
    let (table, _) = rest.split_once("<!-- results: end -->").unwrap();
    if folder == "results/none" {
        eprintln!("SKIPPED: nothing was recorded yet: results/run");
        return None;
    }
    Some((root().join(folder), table.to_owned()))
}

/// The folder's results, in the order in which they were measured.
fn results(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut results: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|name| name == "json")).collect();
    let started = |path: &PathBuf| {
        let result: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        result["started"].as_u64().unwrap()
    };
    results.sort_by_key(started);
    results
}

fn report(results: &[PathBuf], format: &str) -> String {
    let output =
        Command::cargo_bin("ctbench").unwrap().arg("report").args(results).args(["--format", format]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_readmes_table_is_what_the_results_give() {
    let Some((folder, table)) = table_of_the_readme() else { return };
    let markdown = report(&results(&folder), "md");
    let (_, rest) = markdown.split_once("<summary>What remembering costs</summary>\n\n").unwrap();
    let (made, _) = rest.split_once("\n\n</details>").unwrap();
    assert_eq!(table.trim_end(), made, "run results/run, or mend what it makes");
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(index.contains(made), "{} has the same table", folder.display());
}

#[test]
fn every_bundled_scenario_has_a_result_a_report_and_an_essay() {
    let Some((folder, _)) = table_of_the_readme() else { return };
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    for entry in fs::read_dir(root().join("traces")).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("scenario.toml").exists() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let result: Value = serde_json::from_slice(&fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
        let runs = result["runs"].as_array().unwrap();
        assert!(!runs.is_empty() && runs.iter().all(|run| run["error"].is_null()), "{name}");
        assert!(result["command"].as_str().unwrap().contains(&format!("traces/{name}")));
        for extension in ["html", "md"] {
            let size = fs::metadata(folder.join(format!("{name}.{extension}"))).unwrap().len();
            assert!(size > 1_000 && size < 1 << 20, "{name}.{extension}: {size} bytes");
        }
        let essay = fs::read_to_string(root().join(format!("results/essays/{name}.md"))).unwrap();
        assert!(index.contains(&essay), "{name}");
    }
}

/// The schema as it is now, and this release's reports.
#[test]
fn recorded_results_stay_readable() {
    let schema: Value = serde_json::from_slice(&fs::read(root().join("results/schema.json")).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for entry in fs::read_dir(root().join("results")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let results = results(&folder);
        for path in &results {
            let result: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            if let Some(error) = validator.iter_errors(&result).next() {
                panic!("{}: {error}", path.display());
            }
        }
        if !results.is_empty() {
            report(&results, "html");
        }
    }
}
