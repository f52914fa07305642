//! What is searched for.

/// Which packets of a trial are bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// Those that were lost.
    Lost,
    /// Those that were lost, or whose verdict was known later than so many ns after they were due.
    LostOrLate(
        /// The bound in ns.
        u64,
    ),
}

/// A search goal: the draft's attributes, with its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// What users call it.
    pub name: String,
    /// Which packets are bad.
    pub criterion: Criterion,
    /// A trial is good if at most this share of its packets is bad; below 1.
    pub loss_ratio: f64,
    /// A load is a lower bound if at most this share of its trials' duration is bad; below 1.
    pub exceed_ratio: f64,
    /// The search ends when the bounds lie no further apart than this share of the upper one; between 0 and 1.
    pub width: f64,
    /// Shortest trial, in s: how a first guess is found.
    pub initial_trial_s: f64,
    /// Longest trial, in s.
    pub final_trial_s: f64,
    /// So many seconds of trials decide on a load.
    pub duration_sum_s: f64,
    /// So many coarser searches with shorter trials come first.
    pub preceding_targets: u32,
}

/// What a goal asks of a load at one stage of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    /// See [`Goal`].
    pub loss_ratio: f64,
    /// See [`Goal`].
    pub exceed_ratio: f64,
    /// The bounds are close enough when the logarithms of their loads differ by no more than this.
    pub log_width: f64,
    /// Trials last so long; shorter ones count for less.
    pub trial_s: f64,
    /// And decide after so many seconds.
    pub duration_sum_s: f64,
}

impl Goal {
    /// The stages, coarse to final: durations grow by a constant factor, widths halve.
    pub(super) fn targets(&self) -> Vec<Target> {
        let preceding = self.preceding_targets;
        let shrink = (self.initial_trial_s / self.duration_sum_s).powf(1.0 / f64::from(preceding.max(1)));
        let log_width = -(-self.width).ln_1p();
        let target = |steps: u32| {
            let duration_sum_s = match steps {
                0 => self.duration_sum_s,
                // The last step ends where it should, without rounding.
                steps if steps == preceding => self.initial_trial_s,
                steps => self.duration_sum_s * shrink.powi(steps as i32),
            };
            Target {
                loss_ratio: self.loss_ratio,
                exceed_ratio: self.exceed_ratio,
                log_width: log_width * f64::from(1 << steps),
                trial_s: self.final_trial_s.min(duration_sum_s),
                duration_sum_s,
            }
        };
        (0..=preceding).rev().map(target).collect()
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let share = |x: f64| (0.0..1.0).contains(&x);
        let durations = [self.initial_trial_s, self.final_trial_s, self.duration_sum_s];
        match self {
            goal if !share(goal.loss_ratio) => Some("the loss ratio is a share below 1"),
            goal if !share(goal.exceed_ratio) => Some("the exceed ratio is a share below 1"),
            goal if !share(goal.width) || goal.width == 0.0 => Some("the width is a share above 0 and below 1"),
            _ if !durations.is_sorted() || durations[0] <= 0.0 || !durations[2].is_finite() => {
                Some("durations ascend: initial trial, final trial, sum")
            }
            goal if goal.preceding_targets > 16 => Some("at most 16 preceding targets"),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn goal(loss_ratio: f64) -> Goal {
        Goal {
            name: format!("{loss_ratio}"),
            criterion: Criterion::Lost,
            loss_ratio,
            exceed_ratio: 0.5,
            width: 0.005,
            initial_trial_s: 1.0,
            final_trial_s: 1.0,
            duration_sum_s: 21.0,
            preceding_targets: 2,
        }
    }

    #[test]
    fn stages_begin_with_one_short_trial_and_end_with_the_goal() {
        let targets = goal(0.0).targets();
        let sums: Vec<f64> = targets.iter().map(|target| target.duration_sum_s).collect();
        assert!(sums[0] == 1.0 && (sums[1] - 21f64.sqrt()).abs() < 1e-9 && sums[2] == 21.0, "{sums:?}");
        assert!(targets.iter().all(|target| target.trial_s == 1.0));
        assert_eq!(targets[0].log_width, 4.0 * targets[2].log_width);
        assert!((targets[2].log_width.exp() - 1.0 / 0.995).abs() < 1e-12);
        let alone = Goal { preceding_targets: 0, ..goal(0.0) }.targets();
        assert_eq!(alone, targets[2..]);
    }

    #[test]
    fn goals_that_make_no_sense_are_told() {
        let goal = goal(0.005);
        assert_eq!(goal.problem(), None);
        for (wrong, about) in [
            (Goal { loss_ratio: 1.0, ..goal.clone() }, "loss ratio"),
            (Goal { exceed_ratio: -0.1, ..goal.clone() }, "exceed ratio"),
            (Goal { width: 0.0, ..goal.clone() }, "width"),
            (Goal { final_trial_s: 0.5, ..goal.clone() }, "durations"),
            (Goal { duration_sum_s: f64::INFINITY, ..goal.clone() }, "durations"),
            (Goal { preceding_targets: 17, ..goal.clone() }, "preceding"),
        ] {
            assert!(wrong.problem().is_some_and(|problem| problem.contains(about)), "{about}: {:?}", wrong.problem());
        }
    }
}
