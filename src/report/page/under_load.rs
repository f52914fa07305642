//! The answer of results with an offered load: rates that a search found, latency at a pace.

use super::answer::strays;
use crate::report::result::{ResultDocument, Run};
use crate::report::words::{counted, time};
use serde_json::{Map, Value};

/// A sentence for each goal of a search and each place, and for each place with a pace.
pub(super) fn of(result: &ResultDocument) -> Vec<String> {
    let mut places: Vec<(u64, &str)> = result.runs.iter().map(|run| (run.cores, run.steering.as_str())).collect();
    places.sort_unstable();
    places.dedup();
    let mut sentences = Vec::new();
    for (cores, steering) in places {
        let here: Vec<&Run> = result
            .runs
            .iter()
            .filter(|run| {
                (run.cores, run.steering.as_str()) == (cores, steering) && run.error.is_none() && !strays(run)
            })
            .collect();
        let place = format!("{}, {steering}", counted(cores, "core"));
        sentences.extend(goals(&here).iter().filter_map(|goal| found(&here, goal, &place)));
        sentences.extend(late(&here, &place));
    }
    sentences
}

/// What a search found for one goal: the rate and the bounds it lies between, in packets a second.
struct Rate<'a> {
    engine: &'a str,
    pps: f64,
    between: [f64; 2],
}

/// The goals of these searches, as the first of them lists them.
fn goals<'a>(runs: &[&'a Run]) -> Vec<&'a Map<String, Value>> {
    runs.iter()
        .find_map(|run| run.search.as_ref()?.get("goals")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .collect()
}

/// `None` if neither world was searched.
fn found(runs: &[&Run], goal: &Map<String, Value>, place: &str) -> Option<String> {
    if !runs.iter().any(|run| run.search.is_some() && run.engine.starts_with("state")) {
        return None;
    }
    let best = |world: &str| {
        let rates =
            runs.iter().filter(|run| run.engine.starts_with(world)).filter_map(|run| rate(run, goal.get("name")?));
        rates.max_by(|a, b| a.pps.total_cmp(&b.pps))
    };
    let keeps_up = |rate: &Rate| {
        let [low, high] = rate.between.map(|pps| pps / 1e6);
        format!("{} keeps up with {:.2} Mpps ({low:.2} to {high:.2})", rate.engine, rate.pps / 1e6)
    };
    let (stateless, stateful) = (best("stateless"), best("stateful"));
    let said = match (&stateless, &stateful) {
        (Some(stateless), Some(stateful)) => format!(
            "{}, {}: {:.2} times as much ({:.2} to {:.2})",
            keeps_up(stateful),
            keeps_up(stateless),
            stateless.pps / stateful.pps,
            stateless.between[0] / stateful.between[1],
            stateless.between[1] / stateful.between[0]
        ),
        (Some(one), None) | (None, Some(one)) => format!("{}; of the other world no rate was found", keeps_up(one)),
        (None, None) => "no highest rate was found: the search did not finish, or it lies outside its limits".into(),
    };
    Some(format!("On {place}, {}, {said}.", meaning(goal)))
}

/// What a run's search found for the goal of this name, if it is finished.
fn rate<'a>(run: &'a Run, name: &Value) -> Option<Rate<'a>> {
    let goals = run.search.as_ref()?.get("goals")?.as_array()?;
    let goal = goals.iter().find(|goal| goal.get("name") == Some(name))?;
    let pps = |field: &str| goal.get(field).and_then(Value::as_f64).filter(|pps| *pps > 0.0 && pps.is_finite());
    let between = [pps("lower_pps")?, pps("upper_pps")?];
    Some(Rate { engine: &run.engine, pps: pps("conditional_throughput_pps")?, between })
}

fn meaning(goal: &Map<String, Value>) -> String {
    let share = goal.get("loss_ratio").and_then(Value::as_f64).unwrap_or(0.0) * 100.0;
    match goal.get("latency_bound_ns").and_then(Value::as_u64) {
        Some(bound) => {
            let kept = ((100.0 - share) * 1e4).round() / 1e4;
            format!("with {kept} % of the packets decided within {}", time(bound))
        }
        None if share == 0.0 => "without loss".into(),
        None => format!("with at most {share} % lost"),
    }
}

/// The lowest p99 of each world at the pace that was offered.
fn late(runs: &[&Run], place: &str) -> Option<String> {
    let paced = || runs.iter().filter(|run| run.load == "paced");
    let offered = paced().find_map(|run| run.offered_pps)?;
    let best = |world: &str| {
        let measured = paced().filter(|run| run.engine.starts_with(world));
        let measured = measured.filter_map(|run| Some((run, run.latency_ns.as_ref()?.p99?)));
        measured.min_by_key(|(run, p99)| (run.lost, *p99))
    };
    let said = |(run, p99): (&&Run, u64)| {
        let due = run.paced.as_ref().and_then(|paced| paced.get("offered")?.as_f64()).unwrap_or(0.0);
        let lost = match run.lost {
            0 => "none lost".to_owned(),
            lost => format!("{:.3} % lost", lost as f64 / due.max(1.0) * 100.0),
        };
        format!("{} decides 99 % of the packets within {} of when they were due ({lost})", run.engine, time(p99))
    };
    let both: Vec<String> = [best("stateful"), best("stateless")].into_iter().flatten().map(said).collect();
    (!both.is_empty()).then(|| format!("On {place}, at {:.2} Mpps, {}.", offered / 1e6, both.join("; ")))
}
