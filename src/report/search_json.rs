//! A search in the result JSON: goals with what was found, and every trial.

use super::Report;
use super::json::{latency, quantiles};
use crate::measure::Stamping;
use crate::measure::search::{Criterion, Goal, Outcome, Searched, Step, UnderLoad};
use serde_json::{Value, json};

pub(super) fn value(searched: &Searched, report: &Report) -> Value {
    let [min, max] = searched.limits;
    json!({
        "min_pps": min,
        "max_pps": max,
        "closed_pps": searched.closed_pps,
        "queue": searched.queue,
        "goals": searched.found.iter().map(|(goal, outcome, at)| found(goal, outcome, at, report)).collect::<Vec<_>>(),
        "trials": searched.steps.iter().map(trial).collect::<Vec<_>>(),
    })
}

fn found(goal: &Goal, outcome: &Outcome, under_load: &[UnderLoad], report: &Report) -> Value {
    json!({
        "name": goal.name,
        "latency_bound_ns": match goal.criterion {
            Criterion::Lost => None,
            Criterion::LostOrLate(bound) => Some(bound),
        },
        "loss_ratio": goal.loss_ratio,
        "exceed_ratio": goal.exceed_ratio,
        "width": goal.width,
        "initial_trial_s": goal.initial_trial_s,
        "final_trial_s": goal.final_trial_s,
        "duration_sum_s": goal.duration_sum_s,
        "status": outcome.status.name(),
        "stages_done": outcome.stages_done,
        "stages": outcome.stages,
        "lower_pps": outcome.bounds.lower,
        "upper_pps": outcome.bounds.upper,
        "conditional_throughput_pps": outcome.conditional_throughput,
        "under_load": under_load.iter().map(|at| json!({
            "share": at.share,
            "pps": at.pps,
            "passes": at.measured.passes,
            "offered": at.measured.paced.offered,
            "lost": at.measured.paced.lost,
            "latency_ns": latency(&at.measured.paced.latency, Stamping::Burst, report),
            "service_ns": quantiles(at.measured.paced.service.histogram()),
        })).collect::<Vec<_>>(),
    })
}

fn trial(step: &Step) -> Value {
    let [p50, p90, p99, p99_9, max] = step.latency_ns;
    json!({
        "pps": step.trial.load,
        "asked_s": step.trial.intended_s,
        "lasted_s": step.trial.lasted_s,
        "passes": step.passes,
        "offered": step.offered,
        "lost": step.lost,
        "left_waiting": step.left_waiting,
        "bad": step.trial.bad,
        "latency_ns": { "p50": p50, "p90": p90, "p99": p99, "p99_9": p99_9, "max": max },
        "taken_share": step.taken_share,
    })
}
