//! `ctbench diff`

use super::{SLOWER, WRONG_VERDICTS, output};
use crate::report::diff::Diff;
use crate::report::result::ResultFile;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench diff before.json after.json
  ctbench diff main.json branch.json --fail-above 5%
      in CI: exit code 4 if an engine has become slower by more than 5 % with its whole interval, 3 if
      verdicts have changed";

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The older result
    old: PathBuf,
    /// The newer result
    new: PathBuf,
    /// Exit code 4 if an engine is slower by more than this percentage, with its whole 95 % interval
    #[arg(long, value_name = "PERCENT", value_parser = super::percentage)]
    fail_above: Option<f64>,
    /// Write the comparison as JSON (`-` for stdout, instead of the text)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn diff(args: DiffArgs) -> anyhow::Result<ExitCode> {
    let (old, new) = (ResultFile::read(&args.old)?, ResultFile::read(&args.new)?);
    let diff = Diff::of(&old, &new);
    let mut out = std::io::stdout().lock();
    if !output::is_stdout(&args.json) {
        out.write_all(diff.text().as_bytes())?;
    }
    if let Some(path) = &args.json {
        output::write_file(path, &mut out, &format!("{:#}\n", diff.json()))?;
    }
    out.flush()?;
    if diff.is_wrong() {
        eprintln!("ctbench: verdicts differ");
        return Ok(ExitCode::from(WRONG_VERDICTS));
    }
    if let Some(share) = args.fail_above {
        let slower: Vec<String> =
            diff.slower_by(share).map(|pair| format!("{} on {}", pair.new.engine, pair.new.place())).collect();
        if !slower.is_empty() {
            eprintln!("ctbench: slower by more than {} %: {}", share * 100.0, slower.join("; "));
            return Ok(ExitCode::from(SLOWER));
        }
    }
    Ok(ExitCode::SUCCESS)
}
