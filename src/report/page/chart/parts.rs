//! What a whole is made of: the time of a packet by stage, the packets by how they ended.

use super::colours::{LINES, MUTED};
use super::rows::{Bar, Bars};
use super::{Chart, row_name};
use crate::report::result::{ResultDocument, Run, plain};
use crate::report::words::thousands;
use plotters::style::{Color, RGBAColor};
use std::collections::BTreeMap;

/// More kinds of outcomes share one colour.
const OUTCOMES: usize = 10;

/// Time a packet, by stage.
pub(super) fn stages(result: &ResultDocument) -> Option<Chart> {
    const STAGES: [&str; 4] = ["read", "decode", "steer", "evaluate"];
    let of = |run: &Run, stage: &str| {
        run.stages_ns_per_packet.get(stage).copied().flatten().filter(|ns| ns.is_finite() && *ns > 0.0)
    };
    let runs: Vec<&Run> = result.runs.iter().filter(|run| run.measured().is_some()).collect();
    let known: Vec<&str> = STAGES.into_iter().filter(|stage| runs.iter().any(|run| of(run, stage).is_some())).collect();
    let bars = runs.iter().map(|run| {
        let parts: Vec<f64> = known.iter().map(|stage| of(run, stage).unwrap_or(0.0)).collect();
        Bar { name: row_name(result, run), value: ns(parts.iter().sum()), parts }
    });
    let bars = Bars {
        title: "Where a packet's time goes".into(),
        description: "ns a packet. Reading and decoding are done once for all engines, before they are timed; only evaluating is part of the throughput.".into(),
        parts: known.iter().enumerate().map(|(index, stage)| ((*stage).to_owned(), LINES[[7, 5, 4, 0][index % 4]].to_rgba())).collect(),
        bars: bars.collect(),
        say: ns,
    };
    bars.draw()
}

fn ns(value: f64) -> String {
    format!("{value:.1} ns")
}

fn packets(value: f64) -> String {
    format!("{} packets", thousands(value as u64))
}

/// Packets by how they ended and why. Engines with the same outcomes share a bar.
pub(super) fn outcomes(result: &ResultDocument) -> Option<Chart> {
    let mut bars: Vec<(Vec<&str>, &BTreeMap<String, u64>)> = Vec::new();
    for run in result.runs.iter().filter(|run| !run.outcomes.is_empty()) {
        match bars.iter_mut().find(|(_, outcomes)| **outcomes == run.outcomes) {
            Some((names, _)) if names.contains(&run.engine.as_str()) => {}
            Some((names, _)) => names.push(&run.engine),
            None => bars.push((vec![&run.engine], &run.outcomes)),
        }
    }
    // Accepted first, then dropped, then ignored: the order of their names.
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (outcome, packets) in bars.iter().flat_map(|(_, outcomes)| outcomes.iter()) {
        let total = totals.entry(outcome).or_default();
        *total = total.saturating_add(*packets);
    }
    let mut largest: Vec<(&str, u64)> = totals.iter().map(|(outcome, packets)| (*outcome, *packets)).collect();
    largest.sort_by_key(|(outcome, packets)| (std::cmp::Reverse(*packets), *outcome));
    let few = largest.len() > OUTCOMES;
    largest.truncate(if few { OUTCOMES - 1 } else { OUTCOMES });
    let mut names: Vec<&str> = largest.into_iter().map(|(outcome, _)| outcome).collect();
    names.sort_unstable();
    let mut shades = [0usize; 3];
    let mut parts: Vec<(String, RGBAColor)> = names
        .iter()
        .map(|outcome| {
            let kind = ["accept", "drop"].iter().position(|kind| outcome.starts_with(kind)).unwrap_or(2);
            // Blue and green is accepted, red and yellow dropped, grey never evaluated; then the same again, paler.
            let tones: &[usize] = [&[0, 5, 2][..], &[1, 6, 4], &[7]][kind];
            let (paler, tone) = (shades[kind] / tones.len(), tones[shades[kind] % tones.len()]);
            shades[kind] += 1;
            (plain(outcome), LINES[tone].mix(0.6f64.powi(paler as i32)))
        })
        .collect();
    if few {
        parts.push(("other".into(), MUTED.to_rgba()));
    }
    let bars = bars.into_iter().map(|(engines, outcomes)| {
        let mut of_names: Vec<f64> =
            names.iter().map(|name| outcomes.get(*name).copied().unwrap_or(0) as f64).collect();
        let total: f64 = outcomes.values().map(|packets| *packets as f64).sum();
        if few {
            of_names.push((total - of_names.iter().sum::<f64>()).max(0.0));
        }
        let name = match engines.as_slice() {
            [one, two, _, ..] => format!("{one}, {two} and {} more", engines.len() - 2),
            few => few.join(", "),
        };
        let dropped = outcomes.iter().filter(|(o, _)| o.starts_with("drop")).fold(0.0, |sum, (_, n)| sum + *n as f64);
        Bar { name, value: format!("{:.2} % dropped", dropped / total.max(1.0) * 100.0), parts: of_names }
    });
    let bars = Bars {
        title: "How packets ended, and why".into(),
        description: "Every packet of the trace, by its outcome; engines that give the same share a bar.".into(),
        parts,
        bars: bars.collect(),
        say: packets,
    };
    bars.draw()
}
