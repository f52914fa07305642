//! The answer in a sentence, with its uncertainty.

use super::under_load;
use crate::measure::statistics::{Estimate, paired_difference, paired_ratio};
use crate::report::COMPARABLE_SHARE;
use crate::report::result::{ResultDocument, ResultFile, Run};
use crate::report::swept::Crossing;
use crate::report::words::{counted, thousands};

/// Seed of the bootstrap: the same file gives the same intervals.
const SEED: u64 = 1;

/// What remembering costs at one place: the fastest right stateful engine (but the reference) against the fastest right
/// stateless one.
pub(super) struct Cost<'a> {
    /// The stateful engine.
    pub(super) stateful: &'a Run,
    /// The stateless engine.
    pub(super) stateless: &'a Run,
    /// Their times a packet, in ns.
    pub(super) ns: [f64; 2],
    /// By how much longer the stateful one takes, in ns.
    pub(super) extra: Estimate,
    /// How many times as long.
    pub(super) times: Estimate,
}

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
    if let Some(sweep) = &result.sweep {
        for rest in sweep.rests() {
            let crossings = sweep.crossings(rest);
            if !crossings.is_empty() {
                answer.push(format!("On {}, {}: {}", counted(rest.0, "core"), rest.1, crossover(&crossings)));
            }
        }
        if answer.is_empty() {
            answer.push("No pair of a stateful and a stateless engine was measured.".into());
        }
        return answer;
    }
    let Some(worlds) = &result.worlds else {
        answer.push("Only one world's rules were given, so stateful and stateless cannot be compared.".into());
        return answer;
    };
    let differ = worlds.stateful_only_accepts + worlds.stateless_only_accepts;
    if !worlds.comparable {
        answer.push("No cost of remembering is given, because these are two different filters.".into());
    } else {
        let mut costs: Vec<String> = costs(result).iter().map(sentence).collect();
        costs.extend(under_load::of(result));
        if costs.is_empty() {
            answer.push("No pair of a stateful and a stateless engine was measured.".into());
        }
        answer.extend(costs);
    }
    answer.push(match differ {
        0 if result.scenario.evaluated == 1 => "The two worlds' verdicts are the same on the only packet.".into(),
        0 => format!("The two worlds' verdicts are the same on all {} packets.", thousands(result.scenario.evaluated)),
        _ => format!(
            "The two worlds' verdicts differ on {} of {} packets: {} only the security groups accept, {} only the network ACL accepts.",
            thousands(differ),
            thousands(result.scenario.evaluated),
            thousands(worlds.stateful_only_accepts),
            thousands(worlds.stateless_only_accepts)
        ),
    });
    if let Some(cause) = result.differences.as_ref().and_then(|differences| differences.causes.first()) {
        answer.push(format!(
            "The largest cause, {} of {} ({}, {}): {}.",
            counted(cause.packets, "packet"),
            counted(cause.flows, "flow"),
            cause.protocol,
            match (cause.role.as_str(), cause.direction.as_str()) {
                ("request", "in") => "requests in",
                ("request", _) => "requests out",
                ("reply", "in") => "replies in",
                ("reply", _) => "replies out",
                (_, "in") => "ICMP errors in",
                _ => "ICMP errors out",
            },
            cause.text
        ));
    }
    answer
}

/// From how many rules on remembering is cheaper, by number of flows.
pub(super) fn crossover(crossings: &[Crossing]) -> String {
    let is_cheaper = |crossing: &&Crossing| crossing.is_clear && crossing.times < 1.0;
    let cheaper = crossings.iter().filter(is_cheaper).count();
    let unclear = crossings.iter().filter(|crossing| !crossing.is_clear).count();
    let mut text = format!(
        "remembering is cheaper than the rules at {cheaper} of {} combinations, dearer at {}, and at {unclear} the intervals do not tell",
        crossings.len(),
        crossings.len() - cheaper - unclear
    );
    let mut flows: Vec<Option<u64>> = crossings.iter().map(|crossing| crossing.flows).collect();
    flows.sort_unstable();
    flows.dedup();
    let from = flows.into_iter().filter_map(|flows| {
        // Crossings ascend by rules: the last that is not cheaper ends the search from above.
        let here: Vec<&Crossing> = crossings.iter().filter(|crossing| crossing.flows == flows).collect();
        let cheaper = here.iter().rev().take_while(|crossing| is_cheaper(crossing)).last()?;
        let rules = thousands(cheaper.rules?);
        Some(flows.map_or(format!("from {rules} rules on"), |flows| {
            format!("with {} flows from {rules} rules on", thousands(flows))
        }))
    });
    let from: Vec<String> = from.collect();
    if !from.is_empty() {
        text = format!("{text}; it is cheaper {}", from.join(", "));
    }
    text + "."
}

/// Of several results: between which multiples remembering lies, and how many say nothing of it.
pub(super) fn across(results: &[ResultFile]) -> Vec<String> {
    let costs: Vec<Cost> = results.iter().flat_map(|file| costs(&file.result)).collect();
    let order = |a: &&Cost, b: &&Cost| a.times.value.total_cmp(&b.times.value);
    let (Some(least), Some(most)) = (costs.iter().min_by(order), costs.iter().max_by(order)) else { return Vec::new() };
    let said = |cost: &Cost| {
        let Estimate { value, ci95: [low, high] } = cost.times;
        format!("{value:.2} ({low:.2} to {high:.2})")
    };
    let times = match costs.len() {
        1 => said(least),
        _ => format!("between {} and {}", said(least), said(most)),
    };
    let mut answer = vec![format!("With remembering a packet takes {times} times as long.")];
    let silent = results.iter().filter(|file| self::costs(&file.result).is_empty()).count();
    if silent > 0 {
        answer.push(format!("{silent} of {} results state no cost: the table says why.", results.len()));
    }
    answer
}

/// At every place of a result whose worlds mean the same.
pub(super) fn costs(result: &ResultDocument) -> Vec<Cost<'_>> {
    if !result.worlds.is_some_and(|worlds| worlds.comparable) {
        return Vec::new();
    }
    let mut places: Vec<(u64, &str, &str)> =
        result.runs.iter().map(|run| (run.cores, run.steering.as_str(), run.load.as_str())).collect();
    places.sort_unstable();
    places.dedup();
    // What a streamed run takes is mostly not the engine's.
    places.retain(|(_, _, load)| *load != "streamed");
    places.into_iter().filter_map(|place| cost(result, place)).collect()
}

fn cost<'a>(result: &'a ResultDocument, place: (u64, &str, &str)) -> Option<Cost<'a>> {
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
    let are_numbers = extra.value.is_finite() && times.value.is_finite();
    are_numbers.then(|| Cost { stateful, stateless, ns: [1e9 / ours.pps, 1e9 / base.pps], extra, times })
}

fn sentence(cost: &Cost) -> String {
    let Cost { stateful, stateless, ns, extra, times } = cost;
    let amount = match extra.ci95 {
        [low, high] if low > 0.0 => {
            format!("costs {:.1} ns a packet (95 % confidence: {low:.1} to {high:.1})", extra.value)
        }
        [low, high] if high < 0.0 => {
            format!("saves {:.1} ns a packet (95 % confidence: {:.1} to {:.1})", -extra.value, -high, -low)
        }
        [low, high] => {
            format!("makes no measurable difference (95 % confidence: {low:+.1} to {high:+.1} ns a packet)")
        }
    };
    format!(
        "On {}, remembering {amount}: {} takes {:.1} ns, {} {:.1} ns, {:.2} times as long ({:.2} to {:.2}).",
        stateful.place(),
        stateful.engine,
        ns[0],
        stateless.engine,
        ns[1],
        times.value,
        times.ci95[0],
        times.ci95[1]
    )
}

/// True if more packets than for comparable worlds were not decided as in trace order.
pub(super) fn strays(run: &Run) -> bool {
    let count = |field: &str| run.flows.as_ref().and_then(|flows| flows.get(field)?.as_f64()).unwrap_or(0.0);
    count("otherwise") > COMPARABLE_SHARE * count("packets").max(1.0)
}
