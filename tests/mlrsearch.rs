//! The load search beside the public reference implementation of MLRsearch (`MLRsearch` 1.2.1 on PyPI), whose trials and
//! results `tests/mlrsearch/record.py` has recorded.

use ctbench::measure::search::{Bounds, Criterion, Goal, Search, Status, Trial};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    system: System,
    min: f64,
    max: f64,
    goals: Vec<RecordedGoal>,
    results: Vec<RecordedResult>,
    overhead: f64,
    trials: Vec<RecordedTrial>,
}

#[derive(Deserialize)]
struct RecordedGoal {
    loss_ratio: f64,
    exceed_ratio: f64,
    relative_width: f64,
    initial_trial_duration: f64,
    final_trial_duration: f64,
    duration_sum: f64,
    preceding_targets: u32,
}

#[derive(Deserialize)]
struct RecordedResult {
    lower: Option<f64>,
    upper: Option<f64>,
    conditional_throughput: Option<f64>,
}

/// Load, asked seconds, seconds, offered, lost, bounds by goal.
#[derive(Deserialize)]
struct RecordedTrial(f64, f64, f64, u64, u64, Vec<[Option<f64>; 2]>);

/// As `System` in `record.py`.
#[derive(Deserialize)]
struct System {
    capacity: f64,
    queue: f64,
    leak_from: f64,
    leak: f64,
    band: [f64; 3],
    noise: Vec<f64>,
    stalls: Vec<f64>,
}

impl System {
    fn lost_share(&self, load: f64, seconds: f64, n: usize) -> f64 {
        let offered = (load * seconds).floor();
        let handled = self.capacity * self.noise[n % self.noise.len()] * seconds;
        let excess = ((offered - handled).floor().max(0.0) - self.queue).max(0.0);
        let mut share = self.stalls[n % self.stalls.len()];
        if self.leak > 0.0 && load > self.leak_from {
            share += self.leak * ((load - self.leak_from) / (self.capacity - self.leak_from)).min(1.0);
        }
        if (self.band[0]..self.band[1]).contains(&load) {
            share += self.band[2];
        }
        (excess + (offered * share).floor()).min(offered) / offered
    }

    /// How far the capacity strays from its mean.
    fn jitter(&self) -> f64 {
        self.noise.iter().map(|factor| (factor - 1.0).abs()).fold(0.0, f64::max)
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("mlrsearch/trials.json")).unwrap()
}

fn search(case: &Case) -> Search {
    let goal = |goal: &RecordedGoal| Goal {
        name: format!("{} lost", goal.loss_ratio),
        criterion: Criterion::Lost,
        loss_ratio: goal.loss_ratio,
        exceed_ratio: goal.exceed_ratio,
        width: goal.relative_width,
        initial_trial_s: goal.initial_trial_duration,
        final_trial_s: goal.final_trial_duration,
        duration_sum_s: goal.duration_sum,
        preceding_targets: goal.preceding_targets,
    };
    Search::new(case.goals.iter().map(goal).collect(), case.min, case.max).unwrap()
}

/// The reference's trials, one by one: the same relevant bounds after each, the same conditional throughput at the end.
#[test]
fn the_same_trials_mean_the_same_bounds() {
    let mut compared = 0;
    for case in cases() {
        let mut search = search(&case);
        for (n, RecordedTrial(load, asked, lasted, offered, lost, bounds)) in case.trials.iter().enumerate() {
            let bad = vec![*lost as f64 / *offered as f64; case.goals.len()];
            search.add(Trial { load: *load, intended_s: *asked, lasted_s: *lasted, bad });
            for (goal, [lower, upper]) in bounds.iter().enumerate() {
                let expected = Bounds { lower: *lower, upper: *upper };
                assert_eq!(search.bounds(goal), expected, "{}, goal {goal} after trial {n}", case.name);
                compared += 1;
            }
        }
        for (outcome, expected) in search.outcomes().iter().zip(&case.results) {
            assert_eq!(outcome.bounds, Bounds { lower: expected.lower, upper: expected.upper }, "{}", case.name);
            let (ours, theirs) = (outcome.conditional_throughput, expected.conditional_throughput);
            let close = ours.zip(theirs).is_some_and(|(a, b)| (a / b - 1.0).abs() < 1e-12);
            assert!(close || ours == theirs, "{}: {ours:?} is not {theirs:?}", case.name);
        }
    }
    assert!(compared > 500, "{compared}");
}

/// The search's own choice of trials on the same systems: it ends, within the goal's width, where the reference does.
#[test]
fn the_search_ends_where_the_reference_does() {
    let (mut ours_s, mut theirs_s) = (0.0, 0.0);
    for case in cases() {
        let mut search = search(&case);
        let (mut n, mut seconds) = (0, 0.0);
        while let Some(ask) = search.ask() {
            assert!((case.min..=case.max).contains(&ask.load), "{}: {ask:?}", case.name);
            let lost = case.system.lost_share(ask.load, ask.seconds, n);
            let lasted_s = ask.seconds * case.overhead;
            let bad = vec![lost; case.goals.len()];
            search.add(Trial { load: ask.load, intended_s: ask.seconds, lasted_s, bad });
            (n, seconds) = (n + 1, seconds + lasted_s);
            assert!(n < 1_000, "{}: no end", case.name);
        }
        let theirs: f64 = case.trials.iter().map(|trial| trial.2).sum();
        println!("{}: {n} trials, {seconds} s; the reference {} trials, {theirs} s", case.name, case.trials.len());
        (ours_s, theirs_s) = (ours_s + seconds, theirs_s + theirs);
        for ((outcome, expected), goal) in search.outcomes().iter().zip(&case.results).zip(&case.goals) {
            println!("  {outcome:?} {:?} {:?}", expected.lower, expected.upper);
            let label = format!("{}, {} lost: {outcome:?}", case.name, goal.loss_ratio);
            assert_eq!(outcome.stages_done, outcome.stages, "{label}");
            match (outcome.bounds, expected.lower, expected.upper) {
                (Bounds { lower: Some(lower), upper: Some(upper) }, Some(their_lower), Some(their_upper)) => {
                    assert_eq!(outcome.status, Status::Found, "{label}");
                    assert!((upper - lower) / upper <= goal.relative_width * (1.0 + 1e-9), "{label}");
                    // The truth lies in both intervals, give or take what the capacity strays.
                    let slack = 1.0 + case.system.jitter();
                    assert!(lower <= their_upper * slack && their_lower <= upper * slack, "{label}");
                    let (throughput, theirs) =
                        (outcome.conditional_throughput.unwrap(), expected.conditional_throughput.unwrap());
                    let apart = (throughput / theirs - 1.0).abs();
                    assert!(apart <= goal.relative_width + goal.loss_ratio + case.system.jitter(), "{label}: {apart}");
                }
                (Bounds { lower, upper }, their_lower, their_upper) => {
                    assert_eq!((lower, upper), (their_lower, their_upper), "{label}");
                    let expected = if lower.is_some() { Status::AtMaximum } else { Status::BelowMinimum };
                    assert_eq!(outcome.status, expected, "{label}");
                }
            }
        }
    }
    println!("{ours_s} s, the reference {theirs_s} s");
    assert!(ours_s < 1.3 * theirs_s, "simulated seconds: {ours_s}, the reference {theirs_s}");
}
