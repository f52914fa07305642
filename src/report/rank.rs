//! Engines in order, over all cases that all of them ran.

use super::result::ResultFile;
use crate::measure::statistics::{Estimate, geometric_mean, midmean};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Seed of the bootstrap: the same files give the same intervals.
const SEED: u64 = 1;

/// One trace on so many cores under one steering and load.
type Case = (String, String, u64, String, String);

/// Engines by the geometric mean of their throughput ratios to a baseline.
pub struct Ranking {
    /// The engine that the others are compared with.
    pub baseline: String,
    /// Fastest first.
    pub places: Vec<Place>,
    /// What was counted: `Web server, 2 cores, symmetric`.
    pub cases: Vec<String>,
    /// Cases that some of the engines did not run.
    pub left_out: usize,
}

/// One engine.
pub struct Place {
    /// Name.
    pub engine: String,
    /// Throughput as a multiple of the baseline's.
    pub ratio: Estimate,
    /// In the best and the worst case.
    pub range: [f64; 2],
}

/// Why there is no ranking.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RankError {
    /// No such engine in the results.
    #[error("no result has figures of an engine `{wanted}`; they have {known}")]
    NoEngine {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// Nothing that all engines ran.
    #[error("no case (trace, cores, steering, load) was run by all of {engines}: name fewer with --engine")]
    NothingCommon {
        /// The engines.
        engines: String,
    },
}

impl Ranking {
    /// Ranks the engines whose names `is_wanted`. Without a baseline it is stateless-linear, else null, else the first.
    pub fn of(
        results: &[ResultFile],
        baseline: Option<&str>,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Ranking, RankError> {
        let known: BTreeSet<&str> = measured(results).map(|(_, engine, _)| engine).collect();
        let no_engine = |wanted: &str| {
            let known = if known.is_empty() {
                "no figures at all".to_owned()
            } else {
                Vec::from_iter(known.iter().copied()).join(", ")
            };
            RankError::NoEngine { wanted: wanted.into(), known }
        };
        let baseline = match baseline {
            Some(name) => known.get(name).copied().ok_or_else(|| no_engine(name))?,
            None => ["stateless-linear", "null"]
                .into_iter()
                .find(|name| known.contains(name))
                .or_else(|| known.first().copied())
                .ok_or_else(|| no_engine("*"))?,
        };
        let engines: BTreeSet<&str> =
            known.iter().copied().filter(|name| is_wanted(name) || *name == baseline).collect();

        // Logarithms of paired ratios; of a case in several files, the pairs of all.
        let mut pairs: BTreeMap<Case, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
        for file in results {
            let base = |case: &Case| {
                measured(std::slice::from_ref(file))
                    .find(|(other, name, _)| other == case && *name == baseline)
                    .map(|(.., samples)| samples)
            };
            for (case, engine, samples) in measured(std::slice::from_ref(file)) {
                if engines.contains(engine)
                    && let Some(base) = base(&case)
                {
                    let ratios = samples.iter().zip(base).map(|(ours, theirs)| (ours / theirs).ln());
                    pairs.entry(case).or_default().entry(engine).or_default().extend(ratios);
                }
            }
        }
        let all = pairs.len();
        pairs.retain(|_, ran| ran.len() == engines.len());
        if pairs.is_empty() {
            return Err(RankError::NothingCommon { engines: Vec::from_iter(engines).join(", ") });
        }
        let mut places: Vec<Place> = engines
            .iter()
            .map(|engine| place(engine, pairs.values().map(|ran| ran[engine].clone()).collect()))
            .collect();
        places.sort_by(|a, b| b.ratio.value.total_cmp(&a.ratio.value));
        let cases = pairs
            .keys()
            .map(|(_, name, cores, steering, load)| format!("{name}, {cores} cores, {steering}, {load}"))
            .collect();
        Ok(Ranking { baseline: baseline.to_owned(), places, cases, left_out: all - pairs.len() })
    }

    /// For people.
    pub fn text(&self) -> String {
        let width = self.places.iter().map(|place| place.engine.chars().count()).max().unwrap_or(6).max(6);
        let mut text = format!(
            "{:>4} {:width$}  {:>16}  {:<16} {:<16}\n",
            "", "engine", "times baseline", "95 % interval", "worst to best case"
        );
        // Writing to a string cannot fail.
        for (number, Place { engine, ratio, range }) in (1..).zip(&self.places) {
            let interval = format!("{:.3} to {:.3}", ratio.ci95[0], ratio.ci95[1]);
            let _ = writeln!(
                text,
                "{number:>4} {engine:width$}  {:>16.3}  {interval:<16} {:.3} to {:.3}",
                ratio.value, range[0], range[1]
            );
        }
        let _ = write!(
            text,
            "\nGeometric mean of the throughput as a multiple of {}'s over {}:\n",
            self.baseline,
            cases(self.cases.len())
        );
        for case in &self.cases {
            let _ = writeln!(text, "  {case}");
        }
        if self.left_out > 0 {
            let _ = writeln!(
                text,
                "{} left out: not all of these engines ran there (name fewer with --engine).",
                cases(self.left_out)
            );
        }
        text.push_str("The interval is that of measuring; how engines would rank on other traffic it does not tell.\n");
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "baseline": self.baseline,
            "cases": self.cases,
            "cases_left_out": self.left_out,
            "ranking": self.places.iter().map(|place| json!({
                "engine": place.engine,
                "ratio": place.ratio.value,
                "ci95": place.ratio.ci95,
                "worst_case": place.range[0],
                "best_case": place.range[1],
            })).collect::<Vec<_>>(),
        })
    }
}

fn cases(count: usize) -> String {
    if count == 1 { "1 case".to_owned() } else { format!("{count} cases") }
}

fn place(engine: &str, cases: Vec<Vec<f64>>) -> Place {
    let ratios: Vec<f64> = cases.iter().map(|case| midmean(case).exp()).collect();
    let range = ratios.iter().fold([f64::MAX, f64::MIN], |[low, high], m| [low.min(*m), high.max(*m)]);
    Place { engine: engine.to_owned(), ratio: geometric_mean(&cases, SEED), range }
}

/// Every run with figures: its case, engine and samples.
fn measured(results: &[ResultFile]) -> impl Iterator<Item = (Case, &str, &[f64])> {
    results.iter().flat_map(|file| {
        let scenario = &file.result.scenario;
        let trace = scenario.trace_sha256.clone().unwrap_or_default();
        file.result.runs.iter().filter_map(move |run| {
            let samples = run.measured()?.samples_pps.as_slice();
            let case = (trace.clone(), scenario.name.clone(), run.cores, run.steering.clone(), run.load.clone());
            (!samples.is_empty()).then_some((case, run.engine.as_str(), samples))
        })
    })
}
