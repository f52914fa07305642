//! `ctbench rank`

use super::output;
use crate::engine::registry::glob;
use crate::report::rank::Ranking;
use crate::report::result::ResultFile;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench rank web.json flood.json long-lived.json
  ctbench rank *.json --engine 'stateful-*' --baseline stateless-linear";

/// Arguments of `rank`.
#[derive(Debug, Args)]
pub(super) struct RankArgs {
    /// Results
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// Rank only these engines; repeat it, or use * and ? [default: all in the results]
    #[arg(long, value_name = "NAME")]
    engine: Vec<String>,
    /// Engine that the others are compared with [default: stateless-linear, else null]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Write the ranking as JSON (`-` for stdout, instead of the text)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn rank(args: RankArgs) -> anyhow::Result<ExitCode> {
    let results = args.results.iter().map(|path| ResultFile::read(path)).collect::<Result<Vec<_>, _>>()?;
    let wanted = |name: &str| {
        args.engine.is_empty() || args.engine.iter().any(|pattern| glob(pattern.as_bytes(), name.as_bytes()))
    };
    let ranking = Ranking::of(&results, args.baseline.as_deref(), wanted)?;
    let mut out = std::io::stdout().lock();
    if !output::is_stdout(&args.json) {
        out.write_all(ranking.text().as_bytes())?;
    }
    if let Some(path) = &args.json {
        output::write_file(path, &mut out, &format!("{:#}\n", ranking.json()))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
