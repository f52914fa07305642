//! The trials so far, and what they say of each load.

use super::goal::Target;

/// One trial's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Packets a second that were offered.
    pub load: f64,
    /// How long it should last, in s: what was asked for.
    pub intended_s: f64,
    /// How long it lasted, in s.
    pub lasted_s: f64,
    /// Share of bad packets, by each goal's criterion in the order of the goals.
    pub bad: Vec<f64>,
}

/// What is known of a load by one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Undecided,
}

/// The relevant bounds: the lowest load that is an upper bound, and the highest lower bound below it. Above may lie loads
/// that did well (loss inversion); they do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Packets a second at which the goal is met.
    pub lower: Option<f64>,
    /// Packets a second at which it is not.
    pub upper: Option<f64>,
}

/// All trials by load, ascending.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads(Vec<(f64, Vec<Trial>)>);

impl Loads {
    pub(super) fn add(&mut self, trial: Trial) {
        match self.0.binary_search_by(|(load, _)| load.total_cmp(&trial.load)) {
            Ok(at) => self.0[at].1.push(trial),
            Err(at) => self.0.insert(at, (trial.load, vec![trial])),
        }
    }

    fn at(&self, load: f64) -> &[Trial] {
        let found = self.0.binary_search_by(|(other, _)| other.total_cmp(&load));
        found.map_or(&[], |at| &self.0[at].1)
    }

    /// The bounds by a target of goal number `goal`.
    pub(super) fn bounds(&self, goal: usize, target: &Target) -> Bounds {
        let mut bounds = Bounds::default();
        for (load, trials) in &self.0 {
            match class(trials, goal, target) {
                Class::Lower => bounds.lower = Some(*load),
                Class::Upper => {
                    bounds.upper = Some(*load);
                    break;
                }
                Class::Undecided => {}
            }
        }
        bounds
    }

    /// The share of bad packets at a load that the target's exceed ratio leaves: of the trials that are long enough, each
    /// weighed by its duration, the best but for that share; what is missing of the duration sum counts as all bad.
    pub(super) fn bad_share(&self, load: f64, goal: usize, target: &Target) -> f64 {
        let long = self.at(load).iter().filter(|trial| trial.intended_s >= target.trial_s);
        let mut by_share: Vec<(f64, f64)> = long.map(|trial| (trial.bad[goal], trial.lasted_s)).collect();
        by_share.sort_by(|a, b| a.0.total_cmp(&b.0));
        let whole = by_share.iter().map(|(_, lasted)| lasted).sum::<f64>().max(target.duration_sum_s);
        let mut remaining = whole * (1.0 - target.exceed_ratio);
        for (share, lasted) in by_share {
            remaining -= lasted;
            if remaining <= 0.0 {
                return share;
            }
        }
        1.0
    }

    /// The mean share of bad packets at a load; `None` without a trial.
    pub(super) fn mean_bad(&self, load: f64, goal: usize) -> Option<f64> {
        let trials = self.at(load);
        let sum: f64 = trials.iter().map(|trial| trial.bad[goal]).sum();
        (!trials.is_empty()).then(|| sum / trials.len() as f64)
    }
}

/// Lower if the goal is met even should all missing trials be bad, upper if it is not even should all be good. Bad trials
/// that are too short count as far as good short ones do not make up for them (draft, "Load Classification").
fn class(trials: &[Trial], goal: usize, target: &Target) -> Class {
    // Seconds of trials: [good, bad] that are long enough, and that are too short.
    let (mut long, mut short) = ([0.0; 2], [0.0; 2]);
    for trial in trials {
        let seconds = if trial.intended_s >= target.trial_s { &mut long } else { &mut short };
        seconds[usize::from(trial.bad[goal] > target.loss_ratio)] += trial.lasted_s;
    }
    let exceed = target.exceed_ratio;
    let bad = long[1] + (short[1] - short[0] * exceed / (1.0 - exceed)).max(0.0);
    let whole = (long[0] + bad).max(target.duration_sum_s);
    let allowed = whole * exceed;
    match (bad <= allowed, whole - long[0] <= allowed) {
        (true, true) => Class::Lower,
        (false, false) => Class::Upper,
        _ => Class::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::super::goal::tests::goal;
    use super::*;

    fn trial(load: f64, seconds: f64, bad: f64) -> Trial {
        Trial { load, intended_s: seconds, lasted_s: seconds, bad: vec![bad] }
    }

    fn target(exceed_ratio: f64) -> Target {
        Target { exceed_ratio, duration_sum_s: 4.0, ..goal(0.0).targets()[2] }
    }

    #[test]
    fn a_load_is_decided_as_soon_as_what_is_missing_cannot_change_it() {
        let decided = |bad: &[f64], exceed| {
            class(&bad.iter().map(|bad| trial(1.0, 1.0, *bad)).collect::<Vec<_>>(), 0, &target(exceed))
        };
        assert_eq!(decided(&[0.0], 0.5), Class::Undecided);
        assert_eq!(decided(&[0.0, 0.0], 0.5), Class::Lower, "half of four good seconds");
        assert_eq!(decided(&[0.1, 0.1], 0.5), Class::Undecided, "half may be bad");
        assert_eq!(decided(&[0.1, 0.0, 0.1, 0.1], 0.5), Class::Upper);
        assert_eq!(decided(&[0.1], 0.0), Class::Upper, "none may be bad");
        assert_eq!(decided(&[0.0; 3], 0.0), Class::Undecided);
        assert_eq!(decided(&[0.0; 4], 0.0), Class::Lower);
    }

    #[test]
    fn short_trials_condemn_but_do_not_acquit() {
        let short = |bad: &[f64]| bad.iter().map(|bad| trial(1.0, 0.5, *bad)).collect::<Vec<_>>();
        assert_eq!(class(&short(&[0.0; 20]), 0, &target(0.5)), Class::Undecided);
        assert_eq!(class(&short(&[0.1; 5]), 0, &target(0.5)), Class::Upper, "2.5 of 4 seconds");
        assert_eq!(class(&short(&[0.1, 0.0, 0.1, 0.0, 0.1]), 0, &target(0.5)), Class::Undecided);
    }

    #[test]
    fn loads_above_an_upper_bound_do_not_count() {
        let mut loads = Loads::default();
        for (load, bad) in [(10.0, 0.0), (30.0, 0.0), (20.0, 0.5)] {
            (0..4).for_each(|_| loads.add(trial(load, 1.0, bad)));
        }
        assert_eq!(loads.bounds(0, &target(0.5)), Bounds { lower: Some(10.0), upper: Some(20.0) });
    }

    #[test]
    fn the_conditional_loss_is_the_best_but_for_what_may_exceed() {
        let mut loads = Loads::default();
        for bad in [0.0, 0.001, 0.5] {
            loads.add(trial(10.0, 1.0, bad));
        }
        assert_eq!(loads.bad_share(10.0, 0, &target(0.5)), 0.001, "two of four seconds");
        assert_eq!(loads.bad_share(10.0, 0, &target(0.25)), 0.5);
        assert_eq!(loads.bad_share(10.0, 0, &target(0.0)), 1.0, "a second is missing");
    }
}
