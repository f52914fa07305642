//! Which trial next: the controller of the draft, as a state machine without a clock.

use super::goal::{Criterion, Goal, Target};
use super::loads::{Bounds, Loads, Trial};
use thiserror::Error;

/// A trial to be run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Packets a second.
    pub load: f64,
    /// At least so long, in s.
    pub seconds: f64,
}

/// Why nothing can be searched for.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SearchError {
    /// The loads are no range.
    #[error("loads from {0} to {1} packets a second are no range: the first must be above 0 and below the second")]
    Limits(f64, f64),
    /// No goals.
    #[error("nothing to search for: no goal is given")]
    NoGoals,
    /// A goal makes no sense.
    #[error("goal {0}: {1}")]
    Goal(String, &'static str),
}

/// How far the search for a goal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The bounds are as close as the goal asks for.
    Found,
    /// The goal is met at the highest load: more was not tried.
    AtMaximum,
    /// The goal is not met even at the lowest load.
    BelowMinimum,
    /// The search was ended before.
    Unfinished,
}

impl Status {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Found => "found",
            Status::AtMaximum => "at-maximum",
            Status::BelowMinimum => "below-minimum",
            Status::Unfinished => "unfinished",
        }
    }
}

/// What came out for a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How far it came.
    pub status: Status,
    /// Stages done, of [`Outcome::stages`]; the bounds are those of the last stage that has any.
    pub stages_done: usize,
    /// Stages in all, coarse to final.
    pub stages: usize,
    /// The relevant bounds.
    pub bounds: Bounds,
    /// Packets a second that were not bad at the lower bound, in the worst of the trials that the exceed ratio leaves.
    pub conditional_throughput: Option<f64>,
}

/// The search for one goal.
#[derive(Clone, Debug)]
struct Progress {
    goal: Goal,
    /// Coarse to final.
    targets: Vec<Target>,
    stage: usize,
    /// Bounds of the stage before.
    hints: Bounds,
    /// By how much the next load outside of all that is known lies further out, as a logarithm.
    stride: f64,
    /// The bound from which was stepped out last.
    stepped_from: Option<f64>,
}

/// A search for several goals at once: every trial counts for all of them.
#[derive(Clone, Debug)]
pub struct Search {
    goals: Vec<Progress>,
    /// Lowest and highest load.
    limits: [f64; 2],
    loads: Loads,
}

impl Search {
    /// Loads from `min` to `max` packets a second.
    pub fn new(goals: Vec<Goal>, min: f64, max: f64) -> Result<Self, SearchError> {
        if !(min > 0.0 && min < max && max.is_finite()) {
            return Err(SearchError::Limits(min, max));
        }
        if goals.is_empty() {
            return Err(SearchError::NoGoals);
        }
        if let Some((goal, problem)) = goals.iter().find_map(|goal| goal.problem().map(|problem| (goal, problem))) {
            return Err(SearchError::Goal(goal.name.clone(), problem));
        }
        let start = |goal: Goal| {
            let targets = goal.targets();
            let stride = 2.0 * targets[0].log_width;
            Progress { goal, targets, stage: 0, hints: Bounds::default(), stride, stepped_from: None }
        };
        let goals = goals.into_iter().map(start).collect();
        Ok(Search { goals, limits: [min, max], loads: Loads::default() })
    }

    /// The trial that is needed next; `None` when all goals are reached, or cannot be. Goals that are behind come first,
    /// so a search that is cut short knows about as much of each.
    pub fn ask(&mut self) -> Option<Request> {
        let Search { goals, limits, loads } = self;
        loop {
            let open = |(number, progress): &(usize, &mut Progress)| !progress.is_done(*number, loads, *limits);
            let (number, progress) =
                goals.iter_mut().enumerate().filter(open).min_by_key(|(_, progress)| progress.stage)?;
            let bounds = loads.bounds(number, progress.target());
            if progress.is_reached(&bounds, *limits) {
                progress.advance(bounds);
                continue;
            }
            let load = progress.choose(&bounds, *limits, |load| loads.mean_bad(load, number));
            return Some(Request { load, seconds: progress.target().trial_s });
        }
    }

    /// Takes a trial's result.
    pub fn add(&mut self, trial: Trial) {
        debug_assert_eq!(trial.bad.len(), self.goals.len());
        self.loads.add(trial);
    }

    /// The relevant bounds of a goal by its final target, as the trials so far have them.
    pub fn bounds(&self, goal: usize) -> Bounds {
        let progress = &self.goals[goal];
        self.loads.bounds(goal, &progress.targets[progress.targets.len() - 1])
    }

    /// What the trials so far say of each goal.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.goals.iter().enumerate().map(|(number, progress)| self.outcome(number, progress)).collect()
    }

    fn outcome(&self, number: usize, progress: &Progress) -> Outcome {
        let last = progress.targets.len() - 1;
        let known = |target: &&Target| self.loads.bounds(number, target) != Bounds::default();
        let target = progress.targets.iter().rev().find(known).unwrap_or(&progress.targets[last]);
        let bounds = self.loads.bounds(number, target);
        let done = progress.is_done(number, &self.loads, self.limits);
        let status = match bounds {
            _ if !done => Status::Unfinished,
            Bounds { lower: Some(lower), .. } if lower >= self.limits[1] => Status::AtMaximum,
            Bounds { lower: None, .. } => Status::BelowMinimum,
            _ => Status::Found,
        };
        let conditional = |load| load * (1.0 - self.loads.bad_share(load, number, target));
        Outcome {
            status,
            stages_done: progress.stage + usize::from(done),
            stages: progress.targets.len(),
            bounds,
            conditional_throughput: bounds.lower.map(conditional),
        }
    }
}

impl Progress {
    fn target(&self) -> &Target {
        &self.targets[self.stage]
    }

    /// The last stage has found what it can. Trials for other goals may still undo this.
    fn is_done(&self, number: usize, loads: &Loads, limits: [f64; 2]) -> bool {
        self.stage + 1 == self.targets.len() && self.is_reached(&loads.bounds(number, self.target()), limits)
    }

    /// This stage has found what it can.
    fn is_reached(&self, bounds: &Bounds, [min, max]: [f64; 2]) -> bool {
        match *bounds {
            Bounds { lower: Some(lower), upper: Some(upper) } => (upper / lower).ln() <= self.target().log_width,
            Bounds { lower: Some(lower), upper: None } => lower >= max,
            Bounds { lower: None, upper: Some(upper) } => upper <= min,
            _ => false,
        }
    }

    fn advance(&mut self, bounds: Bounds) {
        self.stage += 1;
        self.hints = bounds;
        self.stride = 2.0 * self.target().log_width;
        self.stepped_from = None;
    }

    /// The load of which something should be known. It lies between the bounds, so it is not decided yet.
    fn choose(&mut self, bounds: &Bounds, [min, max]: [f64; 2], mean_bad: impl Fn(f64) -> Option<f64>) -> f64 {
        let width = self.target().log_width;
        if self.stage == 0 && self.goal.criterion == Criterion::Lost {
            // What got through at too high a load is about what can get through.
            let forwarded = bounds.upper.and_then(|load| mean_bad(load).map(|bad| load * (1.0 - bad)));
            let guess = forwarded.map(|rate| rate / (1.0 - self.goal.loss_ratio));
            self.hints.lower = guess.map(|guess| guess * (-width / 2.0).exp());
            self.hints.upper = guess.map(|guess| guess * (width / 2.0).exp());
        }
        // A hint is worth a trial if it is new: not next to a bound, unless it would be the first.
        let margin = (width / 4.0).exp();
        let (low, high) =
            (bounds.lower.map_or(min, |load| load * margin), bounds.upper.map_or(max, |load| load / margin));
        // The middle of a wide interval first: whatever comes of it, only one of its ends is still needed.
        let halfway = self.hints.lower.zip(self.hints.upper).filter(|(lower, upper)| (upper / lower).ln() > width);
        let halfway = halfway.map(|(lower, upper)| (lower * upper).sqrt());
        let mut hints = [halfway, self.hints.lower, self.hints.upper].into_iter().flatten();
        if let Some(hint) = hints.find(|hint| (low..=high).contains(hint)) {
            return hint;
        }
        match *bounds {
            Bounds { lower: Some(lower), upper: Some(upper) } => (lower * upper).sqrt(),
            // Steps that would leave next to nothing before the limit go all the way.
            Bounds { lower: None, upper: Some(upper) } => {
                let load = upper * (-self.step_from(upper)).exp();
                if load <= min * width.exp() { min } else { load }
            }
            Bounds { lower: Some(lower), upper: None } => {
                let load = lower * self.step_from(lower).exp();
                if load >= max / width.exp() { max } else { load }
            }
            _ => max,
        }
    }

    /// The stride from this bound: twice as long as from the last one.
    fn step_from(&mut self, bound: f64) -> f64 {
        if self.stepped_from.is_some_and(|last| last != bound) {
            self.stride *= 2.0;
        }
        self.stepped_from = Some(bound);
        self.stride
    }
}
