//! The bundled scenarios: every engine's verdicts are those expected, and traces made by a recipe are still what it makes.

use assert_cmd::Command;
use ctbench::scenario::Scenario;
use ctbench::trace::synthesis;
use std::fs;
use std::path::{Path, PathBuf};

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("scenario.toml").exists())
        .collect();
    found.sort();
    assert!(found.len() >= 8, "{found:?}");
    found
}

#[test]
fn every_engine_gives_the_expected_verdicts() {
    for folder in scenarios() {
        let (scenario, _) = Scenario::read(&folder).unwrap();
        assert!(scenario.expect.is_some(), "{}: no [expect]", folder.display());
        Command::cargo_bin("ctbench").unwrap().arg("verify").arg(&folder).assert().success();
    }
}

#[test]
fn a_kept_trace_is_what_its_recipe_makes_on_this_machine_too() {
    let mut compared = 0;
    for folder in scenarios() {
        let (scenario, _) = Scenario::read(&folder).unwrap();
        let Some(recipe) = scenario.r#gen else { continue };
        let Ok(kept) = fs::read(folder.join(&scenario.trace)) else { continue };
        let mut made = Vec::new();
        synthesis::write(&recipe, &mut made).unwrap();
        assert!(made == kept, "{}: the recipe makes another trace", folder.display());
        compared += 1;
    }
    assert!(compared >= 5, "{compared}");
}
