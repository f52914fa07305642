//! `ctbench engines`

use crate::engine::registry::engines as all;
use std::io::Write;
use std::process::ExitCode;

pub(super) fn engines() -> anyhow::Result<ExitCode> {
    let width = all().map(|engine| engine.name.len()).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    for default in [true, false] {
        let title =
            if default { "Run by default:" } else { "\nRun by name (compare --engine), and checked by verify:" };
        writeln!(out, "{title}")?;
        for engine in all().filter(|engine| engine.kind.is_default() == default) {
            writeln!(out, "  {:width$}  {}", engine.name, engine.about)?;
        }
    }
    if !cfg!(feature = "contenders") {
        writeln!(out, "\nBuilt with --features contenders, also the tables papaya, dashmap and scc.")?;
    }
    Ok(ExitCode::SUCCESS)
}
