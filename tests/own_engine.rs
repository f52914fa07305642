//! Engines from another crate: the example program, and what registration refuses.

use assert_cmd::cargo::CommandCargoExt as _;
use ctbench::engine::{Decision, Stamp, Tag};
use ctbench::own::{Follows, OwnEngine, register};
use ctbench::packet::Packet;
use ctbench::replay::Workload;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The example program, beside the one under test. `cargo test` builds it, `cargo test --test own_engine` does not.
fn example() -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(|| {
        let tests = Command::cargo_bin("ctbench").unwrap();
        let folder = PathBuf::from(tests.get_program());
        let folder = folder.parent().unwrap();
        let path = folder.join("examples").join(format!("own_engine{}", std::env::consts::EXE_SUFFIX));
        let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/own_engine.rs");
        let made_of = [modified(&folder.join("libctbench.rlib")), modified(&source)];
        if modified(&path).is_some_and(|built| made_of.iter().all(|part| part.is_some_and(|part| part <= built))) {
            return path;
        }
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--locked", "--quiet", "--example", "own_engine"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        // As what is tested was built, so that nothing is built twice.
        if let Some(config) = std::env::var_os("CTBENCH_CARGO_CONFIG") {
            build.arg("--config").arg(config);
        }
        for (feature, is_on) in [("contenders", cfg!(feature = "contenders")), ("parquet", cfg!(feature = "parquet"))] {
            if is_on {
                build.args(["--features", feature]);
            }
        }
        assert!(build.status().unwrap().success(), "{build:?}");
        path
    });
    let mut command = Command::new(path);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn run(arguments: &[&str]) -> (i32, String) {
    let output = example().args(arguments).output().expect("the example is built");
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn own_engines_are_listed_verified_and_compared() {
    let (code, text) = run(&["engines"]);
    assert!(code == 0 && text.contains("stateful-btree-linear") && text.contains("stateless-memo-linear"), "{text}");
    for scenario in ["traces/dns-resolver", "traces/forgotten-ephemeral-ports"] {
        let (code, text) = run(&["verify", scenario]);
        assert_eq!(code, 0, "{text}");
        let lines = text.lines().filter(|line| line.starts_with("stateful-btree-linear")).collect::<Vec<_>>();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.ends_with("  ok")), "{text}");
    }
    let compare = ["compare", "traces/dns-resolver", "--time", "0.1", "--cores", "1,2", "--json", "-"];
    let chosen = ["--engine", "state*-linear", "--baseline", "stateful-btree-linear"];
    let (code, text) = run(&[&compare[..], &chosen].concat());
    assert_eq!(code, 0, "{text}");
    let result: Value = serde_json::from_str(text.split("\nwarning").next().unwrap()).unwrap();
    let runs = result["runs"].as_array().unwrap();
    let ours = |name: &str| runs.iter().filter(|run| run["engine"] == name).collect::<Vec<_>>();
    let theirs = ours("stateful-percore-linear");
    for (own, known) in ours("stateful-btree-linear").iter().zip(&theirs) {
        assert_eq!(own["digest"], known["digest"]);
        assert_eq!(own["table"]["inserts"], known["table"]["inserts"]);
        assert_eq!(own["follows"], "security groups");
        assert!(own["throughput"]["pps"].as_f64() > Some(0.0) && own["error"].is_null(), "{own}");
    }
    assert_eq!(ours("stateless-memo-linear").len(), 2);
    assert!(result["comparisons"].as_array().unwrap().iter().all(|c| c["baseline"] == "stateful-btree-linear"));
}

/// Its table is a core's own, and it follows security groups alone: asking otherwise is told.
#[test]
fn own_engines_are_refused_where_they_cannot_run() {
    let steered = ["replay", "traces/dns-resolver", "--engine", "stateful-btree-linear", "--steering", "spray"];
    let (code, text) = run(&steered);
    assert!(code == 1 && text.contains("has a table a core"), "{text}");
    let (code, text) = run(&["verify", "traces/dns-resolver", "--steering", "spray"]);
    assert!(code == 0 && text.contains("stateless-memo-linear"), "{text}");
}

/// A full table is another filter than the reference, and that is found.
#[test]
fn an_own_engine_with_wrong_verdicts_gets_no_figures() {
    let full = [
        "compare",
        "traces/web",
        "--engine",
        "stateful-btree-linear",
        "--capacity",
        "64",
        "--time",
        "0.1",
        "--profile",
        "linux",
    ];
    let (code, text) = run(&full);
    assert!(code == 3 && text.contains("ERROR"), "{code}: {text}");
}

struct Named;

impl OwnEngine<'_> for Named {
    const NAME: &'static str = "reference";
    const ABOUT: &'static str = "";
    const FOLLOWS: Follows = Follows::NetworkAcl;
    fn one_a_core(_: &Workload, _: usize) -> Vec<Self> {
        Vec::new()
    }
    fn clear(&mut self) {}
    fn burst<S: Stamp>(&mut self, _: &[Packet], _: &[Tag], _: &mut [Decision], _: &mut S) {}
}

struct Shouting;

impl OwnEngine<'_> for Shouting {
    const NAME: &'static str = "Loud Engine";
    const ABOUT: &'static str = "";
    const FOLLOWS: Follows = Follows::NetworkAcl;
    fn one_a_core(_: &Workload, _: usize) -> Vec<Self> {
        Vec::new()
    }
    fn clear(&mut self) {}
    fn burst<S: Stamp>(&mut self, _: &[Packet], _: &[Tag], _: &mut [Decision], _: &mut S) {}
}

#[test]
fn names_must_be_new_and_plain() {
    let taken = register(ctbench::engines![Named]).unwrap_err();
    assert!(taken.contains("two engines are called `reference`"), "{taken}");
    let loud = register(ctbench::engines![Shouting]).unwrap_err();
    assert!(loud.contains("`Loud Engine`") && loud.contains("small letters"), "{loud}");
    let [named] = ctbench::engines![Named];
    assert!(register([named]).is_err(), "not even alone");
}
