//! `ctbench report`

use super::output::write_file;
use crate::report::format::{Document, FORMATS, Format, by_name};
use crate::report::result::ResultFile;
use crate::report::{picture, plain};
use anyhow::{Context, bail};
use clap::Args;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench compare --json result.json
  ctbench report result.json -o report.html
      one file for the browser, without anything from the network
  ctbench report result.json
      on a terminal: the answer, the tables and a picture of the latency; elsewhere the page
  ctbench report result.json --format md
      Markdown for a pull request, on stdout
  ctbench report *.json -o latency.hgrm
      a percentile file for each run: latency-1-null-1-symmetric.hgrm and so on";

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Results
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// Where the report is written (`-` for stdout)
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Format [default: by the output's name; else txt on a terminal, html elsewhere]
    #[arg(long, value_parser = FORMATS.map(|format| format.name()))]
    format: Option<String>,
}

pub(super) fn report(args: ReportArgs) -> anyhow::Result<ExitCode> {
    let results = args.results.iter().map(|path| ResultFile::read(path)).collect::<Result<Vec<_>, _>>()?;
    let to_stdout = args.output == Path::new("-");
    let format = match &args.format {
        Some(name) => by_name(name),
        None if to_stdout && std::io::stdout().is_terminal() => by_name(plain::Plain.name()),
        None => Some(of_path(&args.output)?),
    };
    let format = format.unwrap_or(FORMATS[0]);
    if to_stdout && format.name() == plain::Plain.name() {
        let text = plain::text(&results, picture::stdout_has_colour())?;
        write_file(&args.output, &mut std::io::stdout().lock(), &text)?;
    } else {
        write_report(format, &results, &args.output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The format that the file's name asks for.
pub(super) fn of_path(path: &Path) -> anyhow::Result<&'static dyn Format> {
    match path.extension() {
        None => Ok(FORMATS[0]),
        Some(extension) => by_name(&extension.to_string_lossy()).with_context(|| {
            let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
            format!(
                "{}: no format is called `{}`; there are {}",
                path.display(),
                extension.to_string_lossy(),
                names.join(", ")
            )
        }),
    }
}

/// Writes a report; of a format with several files, each with its suffix.
pub(super) fn write_report(format: &dyn Format, results: &[ResultFile], path: &Path) -> anyhow::Result<()> {
    let documents = format.render(results)?;
    let mut stdout = std::io::stdout().lock();
    match documents.as_slice() {
        [] => bail!("the results have nothing that {} shows", format.name()),
        [Document { text, .. }] => write_file(path, &mut stdout, text),
        several if path == Path::new("-") => {
            bail!("{} writes {} files: name the first part of theirs with -o NAME.{0}", format.name(), several.len())
        }
        several => several.iter().try_for_each(|document| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = format!("{stem}-{}.{}", document.suffix, format.name());
            write_file(&path.with_file_name(name), &mut stdout, &document.text)
        }),
    }
}
