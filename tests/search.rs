//! `ctbench search` from outside, and runs that are cut short.

mod common;

use assert_cmd::Command;
use common::*;
use ctbench::engine::Decision;
use ctbench::measure::search::{Criterion, Goal, SearchPlan};
use ctbench::measure::statistics::Random;
use ctbench::measure::{Budget, Clock, Expected, Noise, Stop, Trials, Variant};
use ctbench::replay::{Mode, Pass};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("ctbench").unwrap().current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code().unwrap(), stdout, stderr)
}

fn json(path: &Path) -> Value {
    let result: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("results/schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&result).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
    result
}

/// Whatever this machine can do: bounds are in order, trials led to them, latency is there where something was found.
#[test]
fn a_search_says_what_it_found_and_how() {
    let folder = web_visit();
    let at = folder.path();
    let arguments = [
        "search",
        "scenario.toml",
        "--loop",
        "500",
        "--engine",
        "stateless-linear",
        "--loss",
        "0,50",
        "--exceed",
        "90",
        "--latency",
        "60s",
        "--trial",
        "0.001",
        "--width",
        "20",
        "--max-pps",
        "100000",
        "--time",
        "20",
        "--json",
        "s.json",
        "--csv",
        "s.csv",
        "--report",
        "s.html",
    ];
    let (code, stdout, stderr) = run(at, &arguments);
    assert_eq!(code, 0, "{stderr}");
    for words in ["NDR", "PDR 50 %", "p99.9 1m", "MLRsearch", "at 50 %"] {
        assert!(stdout.contains(words), "no {words:?} in {stdout}");
    }
    let result = json(&at.join("s.json"));
    assert_eq!(result["partial"], false);
    let run = &result["runs"][0];
    assert_eq!((&run["load"], &run["throughput"]), (&Value::from("search"), &Value::Null));
    let search = &run["search"];
    // A pass of 5,000 packets takes a second at most.
    assert_eq!((search["min_pps"].as_f64(), search["max_pps"].as_f64()), (Some(5_000.0), Some(100_000.0)));
    let trials = search["trials"].as_array().unwrap();
    assert!(!trials.is_empty());
    for trial in trials {
        assert_eq!(
            trial["offered"].as_u64().unwrap(),
            trial["passes"].as_u64().unwrap() * run["packets"].as_u64().unwrap()
        );
        assert_eq!(trial["bad"].as_array().unwrap().len(), 3);
    }
    let goals = search["goals"].as_array().unwrap();
    assert_eq!(goals.len(), 3);
    for goal in goals {
        let (lower, upper) = (goal["lower_pps"].as_f64(), goal["upper_pps"].as_f64());
        assert!(lower.zip(upper).is_none_or(|(lower, upper)| lower < upper), "{goal}");
        let found = goal["conditional_throughput_pps"].as_f64();
        assert!(found.zip(lower).is_none_or(|(found, lower)| found <= lower), "{goal}");
        assert_eq!(goal["under_load"].as_array().unwrap().len(), if found.is_some() { 3 } else { 0 }, "{goal}");
    }
    let csv = fs::read_to_string(at.join("s.csv")).unwrap();
    assert_eq!(csv.lines().count(), 4);
    assert!(csv.starts_with("engine,cores,goal,") && csv.contains("stateless-linear,1,NDR,0,"), "{csv}");
    assert!(fs::read_to_string(at.join("s.html")).unwrap().contains("<html"));
}

#[test]
fn searches_that_make_no_sense_say_so() {
    let folder = web_visit();
    let wrong = |arguments: &[&str], code: i32, says: &str| {
        let (found, _, stderr) = run(folder.path(), &[&["search", "scenario.toml"], arguments].concat());
        assert!(stderr.contains(says), "{arguments:?}: no {says:?} in: {stderr}");
        assert_eq!(found, code, "{stderr}");
    };
    wrong(&[], 1, " packets is over before a rate means anything: repeat it with --loop");
    wrong(&["--limit", "1"], 1, "1 packets");
    wrong(&["--min-pps", "5", "--max-pps", "5"], 1, "must be below");
    wrong(&["--loss", "100"], 2, "from 0 to below 100");
    wrong(&["--latency", "soon"], 2, "a time such as 100us");
    wrong(&["--report", "page.xyz"], 1, "no format is called `xyz`");
    if Path::new("/dev/full").exists() {
        let arguments = ["--loop", "200", "--time", "0.01", "--json", "/dev/full"];
        wrong(&arguments, 1, "writing /dev/full: No space left");
        wrong(&["--loop", "200", "--time", "0.01", "--csv", "/dev/full"], 1, "writing /dev/full: No space left");
    }
}

/// Takes no time: two packets, always the same verdicts. Moving takes as long as it is told to.
#[derive(Default)]
struct Instant {
    moves: Arc<AtomicUsize>,
    a_move_takes: Duration,
    /// Who has passed, in order, and its own name in there.
    passes: Arc<Mutex<Vec<usize>>>,
    name: usize,
}

impl Variant for Instant {
    fn pass(&mut self, mode: Mode, _: Vec<Vec<Decision>>) -> Pass {
        self.passes.lock().unwrap().push(self.name);
        let paced = matches!(mode, Mode::Paced(_)).then(Default::default);
        let decisions = vec![vec![Decision::default(); 2]];
        Pass {
            elapsed_ns: 1_000,
            decisions,
            counters: None,
            latencies: None,
            paced,
            probes: None,
            instructions: None,
            noise: Noise::default(),
        }
    }

    fn renew(&mut self, _: &mut Random) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.a_move_takes);
    }

    fn digest(&self, _: &[Vec<Decision>]) -> u64 {
        7
    }

    fn gather(&self, lanes: &[Vec<Decision>]) -> Vec<Decision> {
        lanes.concat()
    }

    fn packets(&self) -> usize {
        2
    }

    fn table_bytes(&self) -> u64 {
        0
    }

    fn huge_bytes(&self) -> Option<u64> {
        None
    }
}

/// An hour: only the wish to stop ends it.
fn trials<'a>(clock: &'a Clock, stop: &Stop) -> Trials<'a> {
    trials_of(3_600, clock, stop)
}

fn trials_of<'a>(seconds: u64, clock: &'a Clock, stop: &Stop) -> Trials<'a> {
    let budget = Budget {
        total_ns: seconds * 1_000_000_000,
        latency_samples: u64::MAX,
        stamping: None,
        seed: 1,
        precision: 0.0,
    };
    Trials::new(clock, budget).stopped_by(stop)
}

/// Asked in the middle of a block: its whole rounds count.
#[test]
fn trials_end_between_passes_and_keep_whole_rounds() {
    let (clock, stop) = (Clock::new(), Stop::default());
    let mut variants: Vec<Box<dyn Variant>> = vec![Box::new(Instant::default()), Box::new(Instant::default())];
    let expected = [Expected::Digest(7), Expected::Digest(7)];
    let mut samples = 0;
    let measured = trials(&clock, &stop).run(&mut variants, 0, &expected, |_| {
        samples += 1;
        stop.flag().store(samples == 15, Ordering::Relaxed);
    });
    assert_eq!(measured.iter().map(|measured| measured.pps.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(measured.iter().map(|measured| measured.passes).sum::<u64>(), 15);

    stop.flag().store(false, Ordering::Relaxed);
    let measured =
        trials(&clock, &stop).run(&mut variants, 0, &expected, |_| stop.flag().store(true, Ordering::Relaxed));
    assert!(measured.iter().all(|measured| measured.pps.is_empty()), "no variant is ahead of another");
}

/// Where a table lies must not decide who is faster.
#[test]
fn tables_move_before_each_block() {
    let (clock, stop) = (Clock::new(), Stop::default());
    let moves = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let variant = |i: usize| Box::new(Instant { moves: moves[i].clone(), ..Instant::default() });
    let mut variants: Vec<Box<dyn Variant>> = vec![variant(0), variant(1)];
    let expected = [Expected::Digest(7), Expected::Digest(7)];
    let measured = trials_of(60, &clock, &stop).run(&mut variants, 0, &expected, |_| {
        stop.flag().store(moves[0].load(Ordering::Relaxed) == 5, Ordering::Relaxed);
    });
    // Once to know how long it takes, and before each block.
    assert_eq!(moves.map(|moves| moves.load(Ordering::Relaxed)), [5, 5]);
    assert_eq!(measured[0].pps.len(), measured[1].pps.len());
    assert!((3..=4).contains(&measured[0].pps.len()), "{}", measured[0].pps.len());
}

/// A short trace takes less time once a processor has met it, so nobody may meet it twice in a row: neither in a round, nor
/// where one round ends and the next begins, nor after tables have moved. And yet every order comes.
#[test]
fn nobody_passes_twice_in_a_row() {
    let (clock, stop) = (Clock::new(), Stop::default());
    let passes = Arc::new(Mutex::new(Vec::new()));
    for count in [2, 3, 5] {
        passes.lock().unwrap().clear();
        let variant = |name| Box::new(Instant { passes: passes.clone(), name, ..Instant::default() });
        let mut variants: Vec<Box<dyn Variant>> = Vec::new();
        (0..count).for_each(|name| variants.push(variant(name)));
        let expected: Vec<Expected> = (0..count).map(|_| Expected::Digest(7)).collect();
        let mut warm_up = None;
        trials_of(60, &clock, &stop).run(&mut variants, 0, &expected, |_| {
            let passed = passes.lock().unwrap().len();
            warm_up.get_or_insert(passed - 1);
            stop.flag().store(passed > 3000, Ordering::Relaxed);
        });
        stop.flag().store(false, Ordering::Relaxed);
        let sampled = &passes.lock().unwrap()[warm_up.unwrap()..];
        assert!(sampled.len() > 2000 && sampled.windows(2).all(|two| two[0] != two[1]), "of {count}");
        let pairs: HashSet<_> = sampled.windows(2).map(|two| (two[0], two[1])).collect();
        assert_eq!(pairs.len(), count * (count - 1), "everybody follows everybody else");
    }
}

/// A second's run of tables that take long to move: they stay, once that is known.
#[test]
fn tables_that_take_long_to_move_stay() {
    let (clock, stop) = (Clock::new(), Stop::default());
    let moves = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let a_move_takes = Duration::from_millis(50);
    let variant = |i: usize| Box::new(Instant { moves: moves[i].clone(), a_move_takes, ..Instant::default() });
    let mut variants: Vec<Box<dyn Variant>> = vec![variant(0), variant(1)];
    let expected = [Expected::Digest(7), Expected::Digest(7)];
    let measured = trials_of(1, &clock, &stop).run(&mut variants, 0, &expected, |_| {});
    assert_eq!(moves.map(|moves| moves.load(Ordering::Relaxed)), [1, 0]);
    assert!(measured.iter().all(|measured| measured.pps.len() >= 5));
}

#[test]
fn a_search_ends_between_passes() {
    let (clock, stop) = (Clock::new(), Stop::default());
    let mut variants: Vec<Box<dyn Variant>> = vec![Box::new(Instant::default())];
    let goal = Goal {
        name: "NDR".into(),
        criterion: Criterion::Lost,
        loss_ratio: 0.0,
        exceed_ratio: 0.5,
        width: 0.01,
        initial_trial_s: 1e-6,
        final_trial_s: 1e-6,
        duration_sum_s: 1e3,
        preceding_targets: 0,
    };
    let plan = SearchPlan { goals: vec![goal], min_pps: None, max_pps: None, queue: 1 };
    let mut calls = 0;
    let found = trials(&clock, &stop).search(&mut variants, &plan, &[Expected::Digest(7)], |_| {
        calls += 1;
        stop.flag().store(calls >= 10, Ordering::Relaxed);
    });
    let (_, searched) = &found.unwrap()[0];
    assert_eq!(searched.steps.len(), 10);
    assert_eq!(searched.found[0].1.status.name(), "unfinished");
}

/// Real signals: the handler is in place when the heading has been printed.
#[cfg(unix)]
mod ctrl_c {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Child, ChildStdout, Stdio};

    fn start(folder: &Path, arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ctbench"));
        command.current_dir(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "no heading of {arguments:?}");
        (child, stdout)
    }

    fn interrupt(child: &Child) {
        let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// A day's run ends, and what it knows is written and marked.
    fn cut_short(arguments: &[&str]) -> Value {
        let folder = web_visit();
        let (mut child, mut stdout) = start(folder.path(), arguments);
        interrupt(&child);
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{arguments:?}: {text}");
        assert!(text.contains("PARTIAL: cut short by Ctrl-C"), "{text}");
        let result = json(&folder.path().join("r.json"));
        assert_eq!(result["partial"], true);
        result
    }

    #[test]
    fn once_writes_what_is_known() {
        let day = ["scenario.toml", "--cores", "1", "--time", "86400", "--json", "r.json"];
        cut_short(&[&["compare"], &day[..]].concat());
        cut_short(&[&["replay", "--engine", "reference"], &day[..]].concat());
        cut_short(&[&["compare", "--load", "paced", "--pps", "1000"], &day[..]].concat());
        cut_short(&[&["search", "--loop", "200", "--trial", "60"], &day[..]].concat());
    }

    /// A pass that lasts for hours does not end for one Ctrl-C; a second one ends it at once.
    /// A terminal's Ctrl-C reaches the process at work as well. What it has measured is the result.
    #[test]
    fn once_ends_fresh_processes_too() {
        use std::os::unix::process::CommandExt;
        let folder = web_visit();
        let arguments = ["compare", "scenario.toml", "--cores", "1", "--time", "86400", "--fresh-processes", "2"];
        // Before the first pass there is nothing to write, and on a busy machine that takes its time.
        let text = [1, 4, 16, 64].into_iter().find_map(|seconds| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ctbench"));
            command.current_dir(folder.path()).args(arguments).args(["--json", "r.json"]).stdout(Stdio::piped());
            let child = command.stderr(Stdio::null()).process_group(0).spawn().unwrap();
            std::thread::sleep(Duration::from_secs(seconds));
            let group = format!("-{}", child.id());
            assert!(std::process::Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
            let output = child.wait_with_output().unwrap();
            (output.status.code() == Some(130)).then(|| String::from_utf8(output.stdout).unwrap())
        });
        let text = text.expect("an end with what is known");
        assert!(text.contains("Measured in 1 fresh process,"), "{text}");
        assert_eq!(json(&folder.path().join("r.json"))["partial"], true);
    }

    #[test]
    fn twice_ends_at_once() {
        let folder = web_visit();
        let slow = ["compare", "scenario.toml", "--load", "paced", "--pps", "0.001", "--cores", "1"];
        let (mut child, _stdout) = start(folder.path(), &slow);
        // The check of the verdicts is quick; then comes the pass.
        std::thread::sleep(Duration::from_millis(1_500));
        interrupt(&child);
        std::thread::sleep(Duration::from_millis(100));
        interrupt(&child);
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}
