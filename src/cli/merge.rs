//! `ctbench merge`

use super::{WRONG_VERDICTS, output};
use crate::report::merge::{MergeError, merge as merged};
use crate::report::result::ResultFile;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench merge monday.json tuesday.json -o both.json
      repetitions of one comparison: their samples and histograms in one
  ctbench replay --engine reference --shard 1/2 --json 1.json
  ctbench replay --engine reference --shard 2/2 --json 2.json
  ctbench merge 1.json 2.json -o whole.json
      shares of one trace: counts and digests are those of the whole";

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// Results: repetitions of the same runs, or all shares of one trace
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// Where the merged result is written (`-` for stdout)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Take results of different machines; their timings are kept apart
    #[arg(long)]
    by_host: bool,
}

pub(super) fn merge(args: MergeArgs) -> anyhow::Result<ExitCode> {
    let results = args.results.iter().map(|path| ResultFile::read(path)).collect::<Result<Vec<_>, _>>()?;
    match merged(&results, args.by_host) {
        Ok(document) => {
            output::write_file(&args.output, &mut std::io::stdout().lock(), &format!("{document:#}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ MergeError::Verdicts { .. }) => {
            eprintln!("ctbench: {error}");
            Ok(ExitCode::from(WRONG_VERDICTS))
        }
        Err(error) => Err(error.into()),
    }
}
