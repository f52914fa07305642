//! Two results, run by run: is the newer faster, and does it still decide the same?

use super::result::{QUANTILES, ResultFile, Run};
use super::words::{thousands, time};
use crate::measure::statistics::{Estimate, claim, unpaired_ratio};
use serde_json::{Value, json};
use std::fmt::Write;

/// Seed of the bootstrap: the same files give the same intervals.
const SEED: u64 = 1;

/// A run that both results have.
pub struct Pair<'a> {
    /// The older.
    pub old: &'a Run,
    /// The newer.
    pub new: &'a Run,
    /// Throughput of the newer as a multiple of the older's; none if either has no figures.
    pub ratio: Option<Estimate>,
    /// faster, slower or inconclusive.
    pub verdict: &'static str,
    /// Whether both gave every packet the same answer.
    pub verdicts: Verdicts,
}

/// Whether two runs gave every packet the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdicts {
    /// Yes.
    Same,
    /// No: a bug in one of them, or other rules.
    Differ,
    /// Other packets, or no digest.
    NotComparable,
}

/// Two results beside each other.
pub struct Diff<'a> {
    old: &'a ResultFile,
    new: &'a ResultFile,
    /// Runs that both have.
    pub pairs: Vec<Pair<'a>>,
    /// What makes the comparison doubtful.
    pub warnings: Vec<String>,
    lonely: [Vec<&'a Run>; 2],
}

impl<'a> Diff<'a> {
    /// Compares.
    pub fn of(old: &'a ResultFile, new: &'a ResultFile) -> Self {
        let same = |a: &Run, b: &Run| {
            (&a.engine, a.cores, &a.steering, &a.load, a.offered_pps)
                == (&b.engine, b.cores, &b.steering, &b.load, b.offered_pps)
        };
        let same_packets = old.result.same_trace(&new.result) && old.result.scenario.shard == new.result.scenario.shard;
        let mut pairs = Vec::new();
        let mut lonely = [Vec::new(), Vec::new()];
        for run in &new.result.runs {
            match old.result.runs.iter().find(|other| same(run, other)) {
                Some(other) => {
                    let floor = old.result.noise_floor(run.cores).max(new.result.noise_floor(run.cores));
                    pairs.push(pair(other, run, floor, same_packets));
                }
                None => lonely[1].push(run),
            }
        }
        lonely[0] =
            old.result.runs.iter().filter(|run| !new.result.runs.iter().any(|other| same(run, other))).collect();
        Diff { old, new, pairs, warnings: warnings(old, new), lonely }
    }

    /// True if a run's verdicts are wrong in the newer result, or others than in the older.
    pub fn is_wrong(&self) -> bool {
        self.pairs.iter().any(|pair| pair.verdicts == Verdicts::Differ)
            || self.new.result.runs.iter().any(|run| run.error.is_some())
    }

    /// Runs that are slower by more than this share with their whole interval.
    pub fn slower_by(&self, share: f64) -> impl Iterator<Item = &Pair<'a>> {
        self.pairs.iter().filter(move |pair| pair.ratio.is_some_and(|ratio| ratio.ci95[1] < 1.0 - share))
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; hence the ignored results.
        for (word, file) in [("old", self.old), ("new", self.new)] {
            let result = &file.result;
            let commit = result
                .ctbench
                .commit
                .as_deref()
                .map_or(String::new(), |c| format!(", commit {:.12}", super::result::plain(c)));
            let _ = writeln!(
                text,
                "{word}  {}: {}, {} packets; {}{commit}, {}",
                file.name(),
                result.scenario.name,
                thousands(result.scenario.packets),
                result.date(),
                result.host("cpu")
            );
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        let width = self.pairs.iter().map(|pair| pair.new.engine.chars().count()).max().unwrap_or(6).max(6);
        let places = self.pairs.iter().map(|pair| pair.new.place().len()).max().unwrap_or(5).max(5);
        let head: String = QUANTILES.iter().map(|(name, ..)| format!("{name:>20}")).collect();
        let _ = writeln!(
            text,
            "\n{:width$}  {:places$} {:>9} {:>9}  {:<25} {:<12}{head}",
            "engine", "where", "old Mpps", "new Mpps", "new / old (95 % interval)", ""
        );
        for pair in &self.pairs {
            let _ = writeln!(text, "{:width$}  {:places$} {}", pair.new.engine, pair.new.place(), row(pair));
        }
        for (runs, file) in self.lonely.iter().zip([self.old, self.new]) {
            for run in runs {
                let _ = writeln!(text, "{:width$}  {:places$} only in {}", run.engine, run.place(), file.name());
            }
        }
        let _ = writeln!(text, "\n{}", self.sentence());
        for pair in self.pairs.iter().filter(|pair| pair.verdicts == Verdicts::Differ) {
            let (old, new) = (pair.old, pair.new);
            let _ = writeln!(
                text,
                "VERDICTS DIFFER: {} on {} accepted {} packets and now {}; digest {} and now {}.",
                new.engine,
                new.place(),
                thousands(old.verdicts.accept),
                thousands(new.verdicts.accept),
                old.digest.as_deref().unwrap_or("-"),
                new.digest.as_deref().unwrap_or("-")
            );
        }
        text
    }

    fn sentence(&self) -> String {
        let count = |verdict: &str| self.pairs.iter().filter(|pair| pair.verdict == verdict).count();
        let (faster, slower, open) = (count("faster"), count("slower"), count("inconclusive"));
        format!(
            "{faster} faster, {slower} slower, {open} inconclusive. The two were measured at different times, so \
             their samples are not paired and what changed on the machine counts as well; less than 2 % is never claimed."
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let file = |file: &ResultFile| json!({ "file": file.path, "started": file.result.started, "commit": file.result.ctbench.commit });
        let key =
            |run: &Run| json!({ "engine": run.engine, "cores": run.cores, "steering": run.steering, "load": run.load });
        json!({
            "old": file(self.old),
            "new": file(self.new),
            "warnings": self.warnings,
            "pairs": self.pairs.iter().map(|pair| {
                let mut value = key(pair.new);
                value["ratio"] = json!(pair.ratio.map(|ratio| ratio.value));
                value["ci95"] = json!(pair.ratio.map(|ratio| ratio.ci95));
                value["paired"] = json!(false);
                value["verdict"] = json!(pair.verdict);
                value["verdicts_differ"] = match pair.verdicts {
                    Verdicts::Same => json!(false),
                    Verdicts::Differ => json!(true),
                    Verdicts::NotComparable => Value::Null,
                };
                value["digests"] = json!([pair.old.digest, pair.new.digest]);
                value["pps"] = json!([pair.old, pair.new].map(|run| run.measured().map(|t| t.pps)));
                let latency = |run: &Run, of: super::result::Quantile| run.latency_ns.as_ref().and_then(of);
                let quantiles = QUANTILES.iter().map(|(name, _, of)| (name.replace('.', "_"), json!([latency(pair.old, *of), latency(pair.new, *of)])));
                value["latency_ns"] = Value::Object(quantiles.collect());
                value["errors"] = json!([pair.old.error, pair.new.error]);
                value
            }).collect::<Vec<_>>(),
            "only_old": self.lonely[0].iter().map(|run| key(run)).collect::<Vec<_>>(),
            "only_new": self.lonely[1].iter().map(|run| key(run)).collect::<Vec<_>>(),
        })
    }
}

fn pair<'a>(old: &'a Run, new: &'a Run, noise_floor: f64, same_packets: bool) -> Pair<'a> {
    let ratio = match (old.measured(), new.measured()) {
        (Some(old), Some(new)) => Some(unpaired_ratio(&new.samples_pps, &old.samples_pps, SEED)),
        _ => None,
    };
    let ratio = ratio.filter(|ratio| ratio.value.is_finite());
    let verdict = ratio.as_ref().map_or("not measured", |ratio| claim(ratio, noise_floor));
    let verdicts = match (&old.digest, &new.digest) {
        (Some(old), Some(new)) if same_packets => {
            if old == new {
                Verdicts::Same
            } else {
                Verdicts::Differ
            }
        }
        _ => Verdicts::NotComparable,
    };
    Pair { old, new, ratio, verdict, verdicts }
}

fn row(pair: &Pair) -> String {
    if let Some(error) = pair.new.error.as_ref().or(pair.old.error.as_ref()) {
        let which = if pair.new.error.is_some() { "new" } else { "old" };
        return format!("{which} ERROR: {}", super::result::plain(error));
    }
    let mpps = |run: &Run| run.measured().map_or("-".to_owned(), |t| format!("{:.2}", t.pps / 1e6));
    let ratio = pair.ratio.map_or("-".to_owned(), |r| format!("{:.3} ({:.3} to {:.3})", r.value, r.ci95[0], r.ci95[1]));
    let mut row = format!("{:>9} {:>9}  {ratio:<25} {:<12}", mpps(pair.old), mpps(pair.new), pair.verdict);
    let (old, new) = (pair.old.latency_ns.as_ref(), pair.new.latency_ns.as_ref());
    for (_, _, of) in QUANTILES {
        let show = |value: Option<u64>| value.map_or("-".to_owned(), time);
        let both = format!("{} > {}", show(old.and_then(of)), show(new.and_then(of)));
        let _ = write!(row, "{both:>20}");
    }
    row
}

/// What is not the same on both sides, beside what is compared.
fn warnings(old: &ResultFile, new: &ResultFile) -> Vec<String> {
    let (a, b) = (&old.result, &new.result);
    let mut warnings = Vec::new();
    if !a.same_host(b) {
        let host = |r: &super::result::ResultDocument| format!("{}, {} cores", r.host("cpu"), r.host("cores"));
        warnings.push(format!(
            "different machines, so their ratio says nothing of ctbench: {} and {}",
            host(a),
            host(b)
        ));
    } else if a.host("kernel") != b.host("kernel") {
        warnings.push(format!("different kernels: {} and {}", a.host("kernel"), b.host("kernel")));
    }
    if !a.same_trace(b) {
        let trace = |r: &super::result::ResultDocument| {
            format!("{} ({} packets)", r.scenario.name, thousands(r.scenario.packets))
        };
        warnings.push(format!("different traces, so verdicts are not compared: {} and {}", trace(a), trace(b)));
    }
    if a.scenario.shard != b.scenario.shard {
        warnings.push("different shares of the flows (--shard), so verdicts are not compared".into());
    }
    if a.scenario.rules != b.scenario.rules {
        warnings.push("different numbers of rules".into());
    }
    // Every run draws its own seed.
    let settings: Vec<&str> = a.settings.keys().chain(b.settings.keys()).map(String::as_str).collect();
    let mut differ: Vec<&str> =
        settings.into_iter().filter(|key| *key != "seed" && a.settings.get(*key) != b.settings.get(*key)).collect();
    differ.sort_unstable();
    differ.dedup();
    for key in differ {
        let show = |settings: &serde_json::Map<String, Value>| {
            settings.get(key).map_or("nothing".to_owned(), super::result::text_of)
        };
        let (was, is) = (show(&a.settings), show(&b.settings));
        // Connection tracking has dozens of timers.
        let values = if was.len() + is.len() < 80 { format!(": {was} and {is}") } else { String::new() };
        warnings.push(format!("settings.{} differs{values}", super::result::plain(key)));
    }
    for (file, result) in [(old, a), (new, b)] {
        warnings.extend(result.doubts.iter().map(|doubt| format!("{}: {}", file.name(), super::result::plain(doubt))));
    }
    warnings
}
