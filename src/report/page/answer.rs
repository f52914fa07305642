//! The answer in a sentence, with its uncertainty.

use crate::measure::statistics::{paired_difference, paired_ratio};
use crate::report::COMPARABLE_SHARE;
use crate::report::result::{ResultDocument, Run};
use crate::report::text::thousands;

/// Seed of the bootstrap: the same file gives the same intervals.
const SEED: u64 = 1;

/// One sentence a number of cores, and how far the two worlds mean the same.
pub(super) fn of(result: &ResultDocument) -> Vec<String> {
    let wrong = result.runs.iter().filter(|run| run.error.is_some()).count();
    let mut answer = Vec::new();
    if wrong > 0 {
        answer.push(format!(
            "{wrong} of {} runs failed or gave wrong verdicts: they have no figures.",
            result.runs.len()
        ));
    }
    let Some(worlds) = &result.worlds else {
        answer.push("Only one world's rules were given, so stateful and stateless cannot be compared.".into());
        return answer;
    };
    let differ = worlds.stateful_only_accepts + worlds.stateless_only_accepts;
    if !worlds.comparable {
        answer.push("No cost of remembering is given, because these are two different filters.".into());
    } else {
        let mut places: Vec<(u64, &str, &str)> =
            result.runs.iter().map(|run| (run.cores, run.steering.as_str(), run.load.as_str())).collect();
        places.sort_unstable();
        places.dedup();
        let costs: Vec<String> = places.into_iter().filter_map(|place| cost(result, place)).collect();
        if costs.is_empty() {
            answer.push("No pair of a stateful and a stateless engine was measured.".into());
        }
        answer.extend(costs);
    }
    answer.push(match differ {
        0 => format!("The two worlds' verdicts are the same on all {} packets.", thousands(result.scenario.evaluated)),
        _ => format!(
            "The two worlds' verdicts differ on {} of {} packets: {} only the security groups accept, {} only the network ACL accepts.",
            thousands(differ),
            thousands(result.scenario.evaluated),
            thousands(worlds.stateful_only_accepts),
            thousands(worlds.stateless_only_accepts)
        ),
    });
    answer
}

/// The fastest right stateful engine (but the reference) against the fastest right stateless one.
fn cost(result: &ResultDocument, place: (u64, &str, &str)) -> Option<String> {
    let here = || {
        result.runs.iter().filter(|run| (run.cores, run.steering.as_str(), run.load.as_str()) == place && !strays(run))
    };
    let fastest = |is_wanted: &dyn Fn(&Run) -> bool| {
        let measured = here().filter(|run| is_wanted(run)).filter_map(|run| Some((run, run.measured()?)));
        measured.max_by(|(_, a), (_, b)| a.pps.total_cmp(&b.pps))
    };
    let (stateless, base) = fastest(&|run| run.engine.starts_with("stateless"))?;
    let (stateful, ours) = fastest(&|run| run.engine.starts_with("stateful"))?;
    let ns = |samples: &[f64]| samples.iter().map(|pps| 1e9 / pps).collect::<Vec<_>>();
    let extra = paired_difference(&ns(&ours.samples_pps), &ns(&base.samples_pps), SEED);
    let times = paired_ratio(&base.samples_pps, &ours.samples_pps, SEED);
    let [low, high] = extra.ci95;
    if !extra.value.is_finite() || !times.value.is_finite() {
        return None;
    }
    let amount = match extra.ci95 {
        [low, high] if low > 0.0 => {
            format!("costs {:.1} ns a packet (95 % confidence: {low:.1} to {high:.1})", extra.value)
        }
        [low, high] if high < 0.0 => {
            format!("saves {:.1} ns a packet (95 % confidence: {:.1} to {:.1})", -extra.value, -high, -low)
        }
        _ => format!("makes no measurable difference (95 % confidence: {low:+.1} to {high:+.1} ns a packet)"),
    };
    Some(format!(
        "On {}, remembering {amount}: {} takes {:.1} ns, {} {:.1} ns, {:.2} times as long ({:.2} to {:.2}).",
        stateful.place(),
        stateful.engine,
        1e9 / ours.pps,
        stateless.engine,
        1e9 / base.pps,
        times.value,
        times.ci95[0],
        times.ci95[1]
    ))
}

/// True if more packets than for comparable worlds were not decided as in trace order.
fn strays(run: &Run) -> bool {
    let count = |field: &str| run.flows.as_ref().and_then(|flows| flows.get(field)?.as_f64()).unwrap_or(0.0);
    count("otherwise") > COMPARABLE_SHARE * count("packets").max(1.0)
}
