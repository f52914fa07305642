//! `ctbench engines`

use crate::engine::registry::ENGINES;
use std::io::Write;
use std::process::ExitCode;

pub(super) fn engines() -> anyhow::Result<ExitCode> {
    let width = ENGINES.iter().map(|engine| engine.name.len()).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    for engine in ENGINES {
        writeln!(out, "{:width$}  {}", engine.name, engine.about)?;
    }
    Ok(ExitCode::SUCCESS)
}
