//! Files that verbs write, and stdout for `-`.

use super::report::{of_path, write_report};
use crate::report::result::ResultFile;
use anyhow::Context;
use clap::Args;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a measuring verb writes beside its text.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Write the result as JSON (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report for the browser, or what the file's name ends with: md, csv, json, hgrm, openmetrics, svg
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

impl OutputArgs {
    /// A name that asks for no format is better told before measuring.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.report.as_deref().map_or(Ok(()), |path| of_path(path).map(|_| ()))
    }

    /// Writes what was asked for.
    pub(super) fn write(&self, out: &mut dyn Write, document: Value) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            write_file(path, out, &format!("{document:#}\n"))?;
        }
        if let Some(path) = &self.report {
            out.flush()?;
            write_report(of_path(path)?, &[ResultFile::from_json(Path::new("this run"), document)?], path)?;
        }
        Ok(())
    }
}

pub(super) fn is_stdout(path: &Option<PathBuf>) -> bool {
    path.as_deref() == Some(Path::new("-"))
}

pub(super) fn write_file(path: &Path, stdout: &mut dyn Write, text: &str) -> anyhow::Result<()> {
    write_with(path, stdout, |out| out.write_all(text.as_bytes()))
}

/// Writes to a file, or to stdout for `-`. A full disk is an error that names the file.
pub(super) fn write_with(
    path: &Path,
    stdout: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return Ok(write(stdout)?);
    }
    let write_all = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        write(&mut file)?;
        file.flush()
    };
    write_all().with_context(|| format!("writing {}", path.display()))
}
