//! The measurer of the search: asks the controllers of all engines in turn, and replays what they ask for.

use super::{Criterion, Goal, Outcome, Search, SearchError, Status, Trial};
use crate::engine::Decision;
use crate::measure::statistics::Random;
use crate::measure::{Expected, Measured, Trials, Variant};
use crate::replay::{Mode, Pace, Paced, Rate};

/// What is searched for, and where.
#[derive(Clone, Debug)]
pub struct SearchPlan {
    /// The goals.
    pub goals: Vec<Goal>,
    /// Lowest load in packets a second; `None`: a hundredth of the highest, more if a pass took over a second.
    pub min_pps: Option<f64>,
    /// Highest load; `None`: 1.2 times what the engine does in a closed loop.
    pub max_pps: Option<f64>,
    /// At most so many packets wait for each core; what comes then is lost.
    pub queue: usize,
}

/// One trial: passes at one rate.
#[derive(Clone, Debug)]
pub struct Step {
    /// What the controller was told.
    pub trial: Trial,
    /// Passes.
    pub passes: u64,
    /// Packets that were due.
    pub offered: u64,
    /// Packets that found the queue full.
    pub lost: u64,
    /// See [`Paced::left_waiting`].
    pub left_waiting: u64,
    /// From when a packet was due until its verdict was known: p50, p90, p99, p99.9 and the longest, in ns.
    pub latency_ns: [u64; 5],
    /// Share of the time that the system took from the workers.
    pub taken_share: f64,
}

/// Latency at a share of the rate that was found.
#[derive(Clone, Debug)]
pub struct UnderLoad {
    /// Share of the conditional throughput.
    pub share: f64,
    /// Packets a second.
    pub pps: f64,
    /// What it came to.
    pub measured: Measured,
}

/// What was found for one engine on one number of cores.
#[derive(Clone, Debug)]
pub struct Searched {
    /// Lowest and highest load in packets a second.
    pub limits: [f64; 2],
    /// Packets a second in a closed loop, where the highest load was derived from it.
    pub closed_pps: Option<f64>,
    /// At most so many packets waited for each core.
    pub queue: usize,
    /// The trials, in the order in which they were run.
    pub steps: Vec<Step>,
    /// For each goal what came out, and latencies at 10, 50 and 90 % of the rate found.
    pub found: Vec<(Goal, Outcome, Vec<UnderLoad>)>,
}

/// Latency is measured at these shares of a rate that was found.
const SHARES: [f64; 3] = [0.1, 0.5, 0.9];

/// The search may use so much of the time; latency at what was found gets the rest.
const SEARCH_SHARE: f64 = 0.85;

/// Passes that say how fast an engine is in a closed loop, after one that warms it up.
const CLOSED_PASSES: usize = 5;

/// The highest load, as a multiple of the closed loop's rate: an open loop looks at the clock more often and has smaller
/// bursts, so it hardly does more.
const HEADROOM: f64 = 1.2;

/// Highest by lowest load, unless a pass would take longer than [`LONGEST_PASS_S`].
const RANGE: f64 = 100.0;

/// A pass at the lowest load takes so long at most, in s, as long as that is at most a quarter of the highest load.
const LONGEST_PASS_S: f64 = 1.0;

/// One engine on one number of cores.
struct Candidate<'v, 'w, 'e> {
    variant: &'v mut (dyn Variant + 'w),
    expected: &'v Expected<'e>,
    buffers: Vec<Vec<Decision>>,
    search: Search,
    /// What the passes that warm up came to; their verdicts count, too.
    total: Measured,
    searched: Searched,
    is_done: bool,
}

impl Trials<'_> {
    /// Searches for all variants at once: a trial of each in turn, so that what slows the machine for a while slows all
    /// alike. Ends when the time is up; what is known then is returned. `progress` is told the share that is done.
    pub fn search(
        &self,
        variants: &mut [Box<dyn Variant + '_>],
        plan: &SearchPlan,
        expected: &[Expected],
        mut progress: impl FnMut(f64),
    ) -> Result<Vec<(Measured, Searched)>, SearchError> {
        let mut candidates = Vec::new();
        for (variant, expected) in variants.iter_mut().zip(expected) {
            candidates.push(self.candidate(variant.as_mut(), expected, plan)?);
        }
        let mut random = Random::new(self.seed());
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        let is_over = || self.is_stopped() || self.spent_share() >= SEARCH_SHARE;
        while !is_over() && candidates.iter().any(|candidate| !candidate.is_done) {
            random.shuffle(&mut order);
            for &i in &order {
                if !candidates[i].is_done && !is_over() {
                    self.next_trial(&mut candidates[i], plan);
                }
                progress(self.spent_share());
            }
        }
        for candidate in &mut candidates {
            let found = plan.goals.iter().cloned().zip(candidate.search.outcomes());
            for (goal, outcome) in found {
                let under_load = self.under_load(candidate, &goal, &outcome, plan.queue);
                candidate.searched.found.push((goal, outcome, under_load));
                progress(self.spent_share());
            }
        }
        Ok(candidates.into_iter().map(|candidate| (candidate.total, candidate.searched)).collect())
    }

    fn candidate<'v, 'w, 'e>(
        &self,
        variant: &'v mut (dyn Variant + 'w),
        expected: &'v Expected<'e>,
        plan: &SearchPlan,
    ) -> Result<Candidate<'v, 'w, 'e>, SearchError> {
        let mut total = Measured::default();
        let mut buffers = Vec::new();
        let mut closed_pps = None;
        let max = plan.max_pps.unwrap_or_else(|| {
            let mut rates = Vec::new();
            for _ in 0..=CLOSED_PASSES {
                let pass = variant.pass(Mode::Throughput, std::mem::take(&mut buffers));
                rates.push(variant.packets() as f64 * 1e9 / pass.elapsed_ns.max(1) as f64);
                self.check(variant, pass, &mut buffers, expected, &mut total);
            }
            // The fastest: what the others met came from outside.
            let pps = rates[1..].iter().copied().fold(0.0, f64::max);
            closed_pps = Some(pps);
            pps * HEADROOM
        });
        let slow = (variant.packets() as f64 / LONGEST_PASS_S).min(max / 4.0);
        let limits = [plan.min_pps.unwrap_or(slow.max(max / RANGE)), max];
        let search = Search::new(plan.goals.clone(), limits[0], limits[1])?;
        let searched = Searched { limits, closed_pps, queue: plan.queue, steps: Vec::new(), found: Vec::new() };
        Ok(Candidate { variant, expected, buffers, search, total, searched, is_done: false })
    }

    /// Runs the trial that the controller asks for next.
    fn next_trial(&self, candidate: &mut Candidate, plan: &SearchPlan) {
        let Some(ask) = candidate.search.ask() else {
            candidate.is_done = true;
            return;
        };
        let (measured, lasted_s) = self.offer(candidate, ask.load, ask.seconds, plan.queue);
        if measured.passes == 0 {
            return;
        }
        let bad = plan.goals.iter().map(|goal| bad_share(&measured.paced, goal)).collect();
        let trial = Trial { load: ask.load, intended_s: ask.seconds, lasted_s, bad };
        candidate.search.add(trial.clone());
        let latency = measured.paced.latency.raw.histogram();
        candidate.searched.steps.push(Step {
            trial,
            passes: measured.passes,
            offered: measured.paced.offered,
            lost: measured.paced.lost,
            left_waiting: measured.paced.left_waiting,
            latency_ns: [0.5, 0.9, 0.99, 0.999, 1.0].map(|q| latency.value_at_quantile(q)),
            taken_share: measured.noise.taken_share(),
        });
    }

    /// Whole passes at one rate until the trial has lasted as long as it should, or, of a trace that is over in no time, until
    /// ten times as long has passed on the wall: what they came to, and for how long packets came. Nothing if it was cut
    /// short.
    fn offer(&self, candidate: &mut Candidate, pps: f64, seconds: f64, queue: usize) -> (Measured, f64) {
        let pass_s = candidate.variant.packets() as f64 / pps;
        let passes = (seconds / pass_s).ceil().max(1.0);
        let pace = Pace { rate: Rate::PerSecond(pps), queue };
        let mut measured = Measured::default();
        let started_ns = self.spent_ns();
        for pass in 0..passes as u64 {
            if self.is_stopped() {
                return (Measured::default(), 0.0);
            }
            if pass > 0 && (self.spent_ns() - started_ns) as f64 > seconds * 1e10 {
                break;
            }
            let (variant, expected, buffers) = (&mut *candidate.variant, candidate.expected, &mut candidate.buffers);
            self.paced_pass(variant, pace, expected, buffers, &mut measured);
        }
        candidate.total.passes += measured.passes;
        candidate.total.wrong_passes += measured.wrong_passes;
        candidate.total.noise.merge(&measured.noise);
        candidate.total.counters = measured.counters;
        candidate.total.paced.lost += measured.paced.lost;
        candidate.total.paced.offered += measured.paced.offered;
        let lasted_s = measured.passes as f64 * pass_s;
        (measured, lasted_s)
    }

    /// Latency at 10, 50 and 90 % of the rate that was found; a trial each.
    fn under_load(&self, candidate: &mut Candidate, goal: &Goal, outcome: &Outcome, queue: usize) -> Vec<UnderLoad> {
        let Some(found) = outcome.conditional_throughput.filter(|_| outcome.status != Status::BelowMinimum) else {
            return Vec::new();
        };
        let mut under_load = Vec::new();
        for share in SHARES {
            let pps = found * share;
            let (measured, _) = self.offer(candidate, pps, goal.final_trial_s, queue);
            if measured.passes > 0 {
                under_load.push(UnderLoad { share, pps, measured });
            }
        }
        under_load
    }
}

/// The share of a trial's packets that are bad. A queue hides overload as long as it is not full, and a trial is short: what
/// still waited at the end is bad, too, as far as it is more than the goal's width of all packets. So the queue makes a rate
/// look higher by no more than the width within which it is searched for.
fn bad_share(paced: &Paced, goal: &Goal) -> f64 {
    let late = match goal.criterion {
        Criterion::Lost => 0,
        Criterion::LostOrLate(bound) => {
            let latency = &paced.latency.raw;
            latency.histogram().len() - latency.histogram().count_between(0, bound) + latency.beyond()
        }
    };
    let waiting = paced.left_waiting.saturating_sub((paced.offered as f64 * goal.width) as u64);
    (paced.lost + late.max(waiting)) as f64 / paced.offered.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::goal::tests::goal;
    use super::*;

    #[test]
    fn late_lost_and_waiting_packets_are_bad() {
        let bad = |paced: &Paced, criterion| bad_share(paced, &Goal { criterion, width: 0.005, ..goal(0.0) });
        let mut paced = Paced { offered: 1_000, lost: 10, left_waiting: 10, ..Paced::default() };
        (0..980).for_each(|_| paced.latency.raw.record(100));
        (0..10).for_each(|_| paced.latency.raw.record(5_000));
        assert_eq!(bad(&paced, Criterion::Lost), 0.015, "five of those that waited are within the width");
        assert_eq!(bad(&paced, Criterion::LostOrLate(1_000)), 0.02);
        assert_eq!(bad(&paced, Criterion::LostOrLate(6_000)), 0.015);
        assert_eq!(bad(&Paced::default(), Criterion::Lost), 0.0);
    }
}
