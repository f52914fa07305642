//! `--fresh-processes N`: the same comparison in several processes, one after the other, and their results as one.
//!
//! Where a table lies in memory and how its hash is keyed are differences that no number of blocks in one process
//! evens out: each process draws them anew.

use super::{FAILURE, WRONG_VERDICTS, interrupt};
use crate::measure::statistics::Random;
use crate::report::merge::merge;
use crate::report::result::ResultFile;
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::process::Command;

/// Runs the program again, `processes` times, with these arguments for each; gives their merged result, how many there
/// were (fewer if cut short), and the worst exit code. Ctrl-C reaches the process at work too: what it and those before it found is the result then.
pub(super) fn run(processes: u16, seconds: f64, seed: u64) -> anyhow::Result<(ResultFile, usize, u8)> {
    let program = std::env::current_exe().context("finding this program, to start it again")?;
    let folder = std::env::temp_dir().join(format!("ctbench-{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let result = run_in(&folder, &program, processes, seconds, seed);
    // What cannot be removed lies in the system's folder for such things.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn run_in(
    folder: &std::path::Path,
    program: &std::path::Path,
    processes: u16,
    seconds: f64,
    seed: u64,
) -> anyhow::Result<(ResultFile, usize, u8)> {
    let mut seeds = Random::new(seed);
    let mut parts = Vec::new();
    let mut worst = 0;
    let stop = interrupt::stop()?;
    for number in 1..=processes {
        if stop.is_asked() {
            break;
        }
        let path = folder.join(format!("process-{number}.json"));
        let own_seed = seeds.bits();
        // Later options win over the user's own.
        let status = Command::new(program)
            .args(std::env::args_os().skip(1))
            .arg("--part")
            .arg(&path)
            .args(["--time", &(seconds / f64::from(processes)).to_string()])
            .args(["--seed", &own_seed.to_string()])
            .status()
            .with_context(|| format!("starting {}", program.display()))?;
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(0) => {}
            Some(WRONG_VERDICTS) => worst = WRONG_VERDICTS,
            // Before its first pass it has nothing to save.
            Some(interrupt::INTERRUPTED) if !path.exists() => break,
            Some(interrupt::INTERRUPTED) => {}
            Some(FAILURE) => bail!("process {number} of {processes} failed"),
            _ => bail!("process {number} of {processes} ended with {status}"),
        }
        parts.push(ResultFile::read(&path)?);
    }
    ensure!(!parts.is_empty(), "cut short before the first process had measured anything");
    let cut = stop.is_asked() || parts.iter().any(|part| part.result.partial);
    if cut && worst == 0 {
        worst = interrupt::INTERRUPTED;
    }
    let mut document = match parts.as_slice() {
        [one] => one.json.clone(),
        several => merge(several, false)?,
    };
    document["partial"] = json!(cut);
    document["command"] = json!(crate::report::command_line());
    document["settings"]["seed"] = json!(seed.to_string());
    // The result of a single process has no such list.
    let merged = document.get_mut("merged").and_then(Value::as_array_mut);
    for (part, merged) in parts.iter().zip(merged.into_iter().flatten()) {
        // The file is gone; what repeats the process is its seed.
        merged["file"] = Value::Null;
        merged["seed"] = part.json["settings"]["seed"].clone();
    }
    Ok((ResultFile::from_json(std::path::Path::new("this run"), document)?, parts.len(), worst))
}
