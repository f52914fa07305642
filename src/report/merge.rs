//! Several results made one: the shares of one trace (`--shard`), or repetitions of the same runs.
//!
//! Counts, digests and histograms add up exactly: a digest is a wrapping sum over packets, and histograms have the same
//! buckets. What cannot be added (percentiles of undisturbed windows, whose histograms are not kept; the probe) is left
//! out. A share's peak of the table is added to the others', which may be more than ever was there at once.

use super::json::{encoded, interval, quantiles};
use super::result::{Latency, ResultError, ResultFile, Run, Share};
use crate::measure::statistics::{Estimate, claim, deviation, grouped_median, grouped_midmean, median_with_interval};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Seed of the bootstrap: the same files give the same intervals.
const SEED: u64 = 1;

/// Why results cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Two results or more.
    #[error("one result alone cannot be merged: name two or more")]
    Alone,
    /// Something in a file is not as it must be.
    #[error(transparent)]
    File(#[from] ResultError),
    /// They are not of the same thing.
    #[error("{one} and {other} cannot be merged: {what}")]
    Unlike {
        /// A file.
        one: String,
        /// Another.
        other: String,
        /// What differs.
        what: String,
    },
    /// The same share twice.
    #[error("{one} and {other} are the same share, {}/{}, of the flows: leave one out", share.index, share.of)]
    Overlap {
        /// A file.
        one: String,
        /// Another.
        other: String,
        /// Their share.
        share: Share,
    },
    /// Some shares are not there.
    #[error("share {missing} of the flows is missing: replay it with --shard")]
    Missing {
        /// `2/4, 3/4`
        missing: String,
    },
    /// Timings of different machines.
    #[error(
        "{one} and {other} come from different machines, whose timings mean nothing together: with --by-host they are kept apart"
    )]
    Hosts {
        /// A file.
        one: String,
        /// Another.
        other: String,
    },
    /// Repetitions of the same run with other verdicts.
    #[error("{one} and {other} decide differently on the same packets: {engine} on {place}")]
    Verdicts {
        /// A file.
        one: String,
        /// Another.
        other: String,
        /// The engine.
        engine: String,
        /// Cores and steering.
        place: String,
    },
}

/// Adds results up. Timings of different machines are an error, or with `by_host` stand beside each other.
pub fn merge(files: &[ResultFile], by_host: bool) -> Result<Value, MergeError> {
    let [first, rest @ ..] = files else { return Err(MergeError::Alone) };
    if rest.is_empty() {
        return Err(MergeError::Alone);
    }
    for other in rest {
        alike(first, other)?;
    }
    let sharded = check_shares(files)?;
    let hosts = by_machine(files);
    if let (Some(other), false) = (hosts.get(1), by_host) {
        return Err(MergeError::Hosts { one: first.name(), other: other[0].name() });
    }

    let mut merged = first.json.clone();
    let mut runs = Vec::new();
    for (position, run) in first.result.runs.iter().enumerate() {
        let mut value = first.json["runs"][position].clone();
        let parts = matching(files, run)?;
        merge_run(&mut value, &parts, sharded)?;
        if hosts.len() > 1 {
            let mut kept = Vec::new();
            for group in &hosts {
                let parts: Vec<Part> = parts
                    .iter()
                    .filter(|part| group.iter().any(|file| std::ptr::eq(*file, part.file)))
                    .copied()
                    .collect();
                kept.push(json!({ "host": group[0].json["host"], "throughput": throughput(&parts, sharded), "latency_ns": latency(&latencies(&parts))? }));
            }
            value["throughput"] = Value::Null;
            value["latency_ns"] = Value::Null;
            value["by_host"] = json!(kept);
        } else {
            value["throughput"] = throughput(&parts, sharded);
            value["latency_ns"] = latency(&latencies(&parts))?;
            value["stages_ns_per_packet"]["evaluate"] = json!(value["throughput"]["pps"].as_f64().map(|pps| 1e9 / pps));
        }
        runs.push(value);
    }
    merged["runs"] = Value::Array(runs);
    merged["merged"] = files.iter().map(|file| json!({
        "file": file.path, "command": file.result.command, "started": file.result.started, "host": file.json["host"], "shard": file.json["scenario"].get("shard"),
    })).collect();
    let all = |field: &str| {
        let mut seen: Vec<Value> = Vec::new();
        for item in files.iter().filter_map(|file| file.json[field].as_array()).flatten() {
            if !seen.contains(item) {
                seen.push(item.clone());
            }
        }
        Value::Array(seen)
    };
    merged["warnings"] = all("warnings");
    merged["doubts"] = all("doubts");
    merged["started"] = json!(files.iter().map(|file| file.result.started).min());
    merged["command"] = json!(format!(
        "ctbench merge {}",
        files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>().join(" ")
    ));
    merged["probe"] = Value::Null;
    if sharded {
        add_up_shares(&mut merged, files);
    }
    if hosts.len() > 1 {
        let names: Vec<String> = hosts.iter().map(|group| group[0].result.host("cpu")).collect();
        merged["host"]["cpu"] = json!(format!("{} machines: {}", names.len(), names.join("; ")));
        for field in ["single_packet_latency", "controls", "comparisons"] {
            merged[field] = json!([]);
        }
    } else {
        merged["single_packet_latency"] = alone(files)?;
        merged["controls"] = controls(files);
        let judged = ResultFile::from_json(&first.path, merged.clone())?;
        merged["comparisons"] = comparisons(&judged, files, sharded);
    }
    Ok(merged)
}

/// A run of one file.
#[derive(Clone, Copy)]
struct Part<'a> {
    file: &'a ResultFile,
    run: &'a Run,
    json: &'a Value,
}

/// Both replayed the same packets in the same way.
fn alike(one: &ResultFile, other: &ResultFile) -> Result<(), MergeError> {
    let unlike = |what: String| Err(MergeError::Unlike { one: one.name(), other: other.name(), what });
    let (a, b) = (&one.result, &other.result);
    if !a.same_trace(b) {
        return unlike(format!("they replayed different traces, {} and {}", a.scenario.name, b.scenario.name));
    }
    if a.scenario.rules != b.scenario.rules {
        return unlike("they have different rules".into());
    }
    let differing = a.settings.iter().find(|(key, value)| *key != "seed" && b.settings.get(*key) != Some(value));
    match differing {
        Some((key, _)) => unlike(format!("settings.{key} differs")),
        None => Ok(()),
    }
}

/// True if the files are the shares of one trace, each once; false if none is a share.
fn check_shares(files: &[ResultFile]) -> Result<bool, MergeError> {
    let mut shares: Vec<(Option<Share>, &ResultFile)> =
        files.iter().map(|file| (file.result.scenario.shard, file)).collect();
    shares.sort_by_key(|(share, _)| *share);
    for pair in shares.windows(2) {
        let [(a, one), (b, other)] = pair else { continue };
        let names = || (one.name(), other.name());
        match (a, b) {
            (None, None) => {}
            (Some(a), Some(b)) if a == b => {
                let (one, other) = names();
                return Err(MergeError::Overlap { one, other, share: *a });
            }
            (Some(a), Some(b)) if a.of == b.of => {}
            _ => {
                let (one, other) = names();
                return Err(MergeError::Unlike {
                    one,
                    other,
                    what: "they are not shares of the same number (--shard)".into(),
                });
            }
        }
    }
    let Some(share) = shares[0].0 else { return Ok(false) };
    if shares.len() as u64 != share.of {
        let there = |index: &u64| shares.iter().any(|(share, _)| share.is_some_and(|share| share.index == *index));
        let missing: Vec<String> =
            (1..=share.of).filter(|index| !there(index)).take(8).map(|index| format!("{index}/{}", share.of)).collect();
        return Err(MergeError::Missing { missing: missing.join(", ") });
    }
    Ok(true)
}

fn by_machine(files: &[ResultFile]) -> Vec<Vec<&ResultFile>> {
    let mut groups: Vec<Vec<&ResultFile>> = Vec::new();
    for file in files {
        match groups.iter_mut().find(|group| group[0].result.same_host(&file.result)) {
            Some(group) => group.push(file),
            None => groups.push(vec![file]),
        }
    }
    groups
}

/// This run in every file.
fn matching<'a>(files: &'a [ResultFile], run: &Run) -> Result<Vec<Part<'a>>, MergeError> {
    let same = |other: &Run| {
        (&run.engine, run.cores, &run.steering, &run.load) == (&other.engine, other.cores, &other.steering, &other.load)
    };
    let part = |file: &'a ResultFile| {
        let found =
            file.result.runs.iter().position(same).filter(|_| file.result.runs.len() == files[0].result.runs.len());
        let what = || format!("they have not the same runs; {} on {} is not in both", run.engine, run.place());
        let position =
            found.ok_or_else(|| MergeError::Unlike { one: files[0].name(), other: file.name(), what: what() })?;
        Ok(Part { file, run: &file.result.runs[position], json: &file.json["runs"][position] })
    };
    files.iter().map(part).collect()
}

/// All but the timings.
fn merge_run(value: &mut Value, parts: &[Part], sharded: bool) -> Result<(), MergeError> {
    let first = &parts[0];
    if let Some(part) = parts.iter().find(|part| part.run.error.is_some()) {
        value["error"] = json!(part.run.error);
    }
    if !sharded {
        let answers = |part: &Part| (part.run.packets, part.run.verdicts, part.run.digest.clone());
        let other = parts.iter().find(|part| first.run.digest.is_some() && answers(part) != answers(first));
        return match other.filter(|part| part.run.error.is_none() && first.run.error.is_none()) {
            None => Ok(()),
            Some(part) => Err(MergeError::Verdicts {
                one: first.file.name(),
                other: part.file.name(),
                engine: first.run.engine.clone(),
                place: first.run.place(),
            }),
        };
    }
    for field in ["packets", "verdicts", "outcomes", "lost", "flows"] {
        value[field] = sum(parts.iter().map(|part| &part.json[field]));
    }
    let mut digest = Some(0u64);
    for part in parts {
        let own = match &part.run.digest {
            Some(text) => Some(
                u64::from_str_radix(text, 16)
                    .map_err(|_| part.file.wrong("runs.digest", format!("`{text}` is no digest")))?,
            ),
            None => None,
        };
        digest = digest.zip(own).map(|(a, b)| a.wrapping_add(b));
    }
    value["digest"] = json!(digest.map(|digest| format!("{digest:016x}")));
    let packets: f64 = parts.iter().map(|part| part.run.packets as f64).sum();
    let tracked = parts.iter().map(|part| Some(part.json["tracked_share"].as_f64()? * part.run.packets as f64));
    value["tracked_share"] = json!(tracked.sum::<Option<f64>>().map(|tracked| tracked / packets.max(1.0)));
    for field in ["lookups", "hits", "inserts", "expired", "evicted", "full_drops", "peak_entries"] {
        if value["table"].is_object() {
            value["table"][field] = sum(parts.iter().map(|part| &part.json["table"][field]));
        }
    }
    Ok(())
}

/// The sum of counts, or of objects of counts, member by member.
fn sum<'a>(values: impl Iterator<Item = &'a Value>) -> Value {
    values.fold(Value::Null, |sum, value| match (sum, value) {
        (Value::Object(mut all), Value::Object(more)) => {
            for (key, count) in more {
                let before = all.remove(key).unwrap_or(Value::Null);
                all.insert(key.clone(), self::sum([&before, count].into_iter()));
            }
            Value::Object(all)
        }
        (Value::Number(a), Value::Number(b)) => json!(a.as_u64().unwrap_or(0).saturating_add(b.as_u64().unwrap_or(0))),
        (Value::Null, value) => value.clone(),
        (sum, _) => sum,
    })
}

/// Repetitions: the samples of all. Shares: block by block, all packets in the time that the shares took together.
fn throughput(parts: &[Part], sharded: bool) -> Value {
    let measured: Option<Vec<_>> =
        parts.iter().map(|part| Some((part.run.packets as f64, part.run.measured()?))).collect();
    let Some(measured) = measured else { return Value::Null };
    let samples: Vec<f64> = match sharded {
        false => measured.iter().flat_map(|(_, throughput)| throughput.samples_pps.iter().copied()).collect(),
        true => {
            let blocks = measured.iter().map(|(_, throughput)| throughput.samples_pps.len()).min().unwrap_or(0);
            let packets: f64 = measured.iter().map(|(packets, _)| packets).sum();
            let seconds = |block: usize| {
                measured.iter().map(|(packets, throughput)| packets / throughput.samples_pps[block]).sum::<f64>()
            };
            (0..blocks).map(|block| packets / seconds(block)).collect()
        }
    };
    if samples.is_empty() {
        return Value::Null;
    }
    let groups: Vec<Vec<f64>> = measured.iter().map(|(_, throughput)| throughput.samples_pps.clone()).collect();
    let pps = if sharded { median_with_interval(&samples, SEED) } else { grouped_median(&groups, SEED) };
    let passes: u64 = measured.iter().map(|(_, throughput)| throughput.passes).sum();
    json!({ "pps": pps.value, "ci95": pps.ci95, "samples_pps": samples, "passes": passes })
}

fn latencies<'a>(parts: &[Part<'a>]) -> Vec<(&'a ResultFile, &'a Latency, &'a Value)> {
    parts.iter().filter_map(|part| Some((part.file, part.run.latency_ns.as_ref()?, &part.json["latency_ns"]))).collect()
}

fn latency(parts: &[(&ResultFile, &Latency, &Value)]) -> Result<Value, MergeError> {
    let Some((_, first, json)) = parts.first() else { return Ok(Value::Null) };
    let mut all: Option<Histogram<u64>> = None;
    for (file, latency, _) in parts {
        let wrong = |problem: String| file.wrong("latency_ns.histogram", problem);
        let one = latency
            .decoded()
            .ok_or_else(|| wrong("is missing, so latencies cannot be added".into()))?
            .map_err(wrong)?;
        match &mut all {
            None => all = Some(one),
            Some(all) => {
                all.auto(true);
                all.add(&one).map_err(|error| wrong(error.to_string()))?;
            }
        }
    }
    let Some(all) = all else { return Ok(Value::Null) };
    let mut value = quantiles(&all);
    value["recorder"] = json!(first.recorder);
    value["beyond_one_minute"] = json!(parts.iter().map(|(_, latency, _)| latency.beyond_one_minute).sum::<u64>());
    value["clock_floor_p50"] = json["clock_floor_p50"].clone();
    value["histogram"] = json!(encoded(&all));
    value["intervals"] = intervals(parts)?;
    Ok(value)
}

/// Those that begin at the same time of the trace, added up. Results of releases that knew none have none.
fn intervals(parts: &[(&ResultFile, &Latency, &Value)]) -> Result<Value, MergeError> {
    let mut merged: Vec<(f64, f64, Histogram<u64>)> = Vec::new();
    for (file, latency, _) in parts {
        for one in &latency.intervals {
            let wrong = |problem: String| file.wrong("latency_ns.intervals.histogram", problem);
            let histogram = one.decoded().ok_or_else(|| wrong("is missing".into()))?.map_err(wrong)?;
            match merged.iter_mut().find(|(start, ..)| *start == one.start_s) {
                Some((_, _, sum)) => {
                    sum.auto(true);
                    sum.add(&histogram).map_err(|error| wrong(error.to_string()))?;
                }
                None => merged.push((one.start_s, one.end_s, histogram)),
            }
        }
    }
    merged.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(merged.iter().map(|(start, end, histogram)| interval(*start, *end, histogram)).collect())
}

fn alone(files: &[ResultFile]) -> Result<Value, MergeError> {
    let mut merged = Vec::new();
    for one in &files[0].result.single_packet_latency {
        let mut parts = Vec::new();
        for file in files {
            let found = file
                .result
                .single_packet_latency
                .iter()
                .position(|other| (&other.engine, other.cores) == (&one.engine, one.cores));
            parts.extend(found.map(|position| {
                (
                    file,
                    &file.result.single_packet_latency[position].latency_ns,
                    &file.json["single_packet_latency"][position]["latency_ns"],
                )
            }));
        }
        merged.push(json!({ "engine": one.engine, "cores": one.cores, "latency_ns": latency(&parts)? }));
    }
    Ok(Value::Array(merged))
}

/// Each control from the blocks of all files. Of files that kept no blocks the noisiest: nothing is claimed that one of
/// the results would not have claimed for its noise.
fn controls(files: &[ResultFile]) -> Value {
    let same = |a: &Value, b: &Value| a["engine"] == b["engine"] && a["cores"] == b["cores"];
    let floor = |control: &Value| control["noise_floor"].as_f64().unwrap_or(0.0);
    let all: Vec<&Value> = files.iter().filter_map(|file| file.json["controls"].as_array()).flatten().collect();
    let mut merged: Vec<Value> = Vec::new();
    for control in &all {
        if merged.iter().any(|known| same(known, control)) {
            continue;
        }
        let alike: Vec<&Value> = all.iter().copied().filter(|other| same(other, control)).collect();
        let logarithms = |control: &&Value| -> Option<Vec<f64>> {
            let samples = control["samples"].as_array()?;
            Some(samples.iter().filter_map(|sample| sample.as_f64().filter(|s| *s > 0.0)).map(f64::ln).collect())
        };
        let groups: Option<Vec<Vec<f64>>> = alike.iter().map(logarithms).collect();
        let groups = groups.filter(|groups| groups.iter().any(|group| !group.is_empty()));
        merged.push(match groups {
            Some(groups) => {
                let ratio = grouped_ratio(&groups);
                json!({
                    "engine": control["engine"], "cores": control["cores"],
                    "ratio": ratio.value, "ci95": ratio.ci95, "noise_floor": deviation(ratio.value),
                    "samples": groups.concat().into_iter().map(f64::exp).collect::<Vec<_>>(),
                })
            }
            None => {
                let worst = alike.iter().max_by(|a, b| floor(a).total_cmp(&floor(b)));
                worst.map_or(Value::Null, |worst| (*worst).clone())
            }
        });
    }
    json!(merged)
}

/// A ratio from the logarithms of its pairs, file by file.
fn grouped_ratio(logarithms: &[Vec<f64>]) -> Estimate {
    let Estimate { value, ci95 } = grouped_midmean(logarithms, SEED);
    Estimate { value: value.exp(), ci95: ci95.map(f64::exp) }
}

/// The same engines against the same baselines, from the pairs of every file; of shares from their blocks together.
fn comparisons(merged: &ResultFile, files: &[ResultFile], sharded: bool) -> Value {
    let files: Vec<&ResultFile> = if sharded { vec![merged] } else { files.iter().collect() };
    let judged = merged.result.comparisons.iter().filter_map(|c| {
        let samples = |file: &ResultFile, engine: &str| -> Option<Vec<f64>> {
            let run = file.result.runs.iter().find(|run| run.engine == engine && run.cores == c.cores)?;
            Some(run.measured()?.samples_pps.clone())
        };
        let pairs = |pair: fn((f64, f64)) -> f64| -> Option<Vec<Vec<f64>>> {
            let of = |file: &&ResultFile| {
                let (ours, theirs) = (samples(file, &c.engine)?, samples(file, &c.baseline)?);
                Some(ours.into_iter().zip(theirs).map(pair).collect())
            };
            files.iter().map(of).collect()
        };
        let ratio = grouped_ratio(&pairs(|(ours, theirs)| (ours / theirs).ln())?);
        let extra = grouped_midmean(&pairs(|(ours, theirs)| 1e9 / ours - 1e9 / theirs)?, SEED);
        Some(json!({
            "engine": c.engine, "baseline": c.baseline, "cores": c.cores,
            "ratio": ratio.value, "ci95": ratio.ci95, "extra_ns": extra.value, "extra_ns_ci95": extra.ci95,
            "verdict": claim(&ratio, merged.result.noise_floor(c.cores)),
        }))
    });
    judged.collect()
}

/// What the whole has of what the shares have.
fn add_up_shares(merged: &mut Value, files: &[ResultFile]) {
    for field in ["evaluated", "flows"] {
        merged["scenario"][field] = sum(files.iter().map(|file| &file.json["scenario"][field]));
    }
    merged["scenario"].as_object_mut().map(|scenario: &mut Map<String, Value>| scenario.remove("shard"));
    let evaluated = merged["scenario"]["evaluated"].as_u64().unwrap_or(0);
    if merged["worlds"].is_object() {
        let differ = |field: &str| files.iter().filter_map(|file| file.json["worlds"][field].as_u64()).sum::<u64>();
        let (stateful, stateless) = (differ("stateful_only_accepts"), differ("stateless_only_accepts"));
        let share = (stateful + stateless) as f64 / evaluated.max(1) as f64;
        merged["worlds"] = json!({ "stateful_only_accepts": stateful, "stateless_only_accepts": stateless, "comparable": share <= super::COMPARABLE_SHARE });
    }
    // A share's causes are not the whole's, and say not enough to be added up.
    merged.as_object_mut().map(|merged| merged.remove("differences"));
    for (index, change) in merged["changes"].as_array_mut().into_iter().flatten().enumerate() {
        for field in ["cut", "lived_on", "kept_by_tracking"] {
            change[field] = sum(files.iter().map(|file| &file.json["changes"][index][field]));
        }
    }
}
