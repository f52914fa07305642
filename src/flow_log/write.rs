//! Records to a file: text, text in gzip, or Parquet, by the file's name.

use super::field::LAST_WRITTEN;
use super::{FlowLogError, Format, Labels, Observation, aggregate};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::path::Path;

/// How a flow log is written.
#[derive(Clone, Debug)]
pub struct Settings {
    format: Format,
    /// Seconds of traffic in one record: 600, or 60 where asked for.
    pub interval_s: u64,
    /// What no capture tells.
    pub labels: Labels,
}

impl Settings {
    /// Fields, window and labels.
    ///
    /// # Errors
    /// A field of a version above 5: captures do not tell those.
    pub fn new(format: Format, interval_s: u64, labels: Labels) -> Result<Settings, FlowLogError> {
        match format.fields().iter().find(|field| field.version() > LAST_WRITTEN) {
            Some(field) => Err(FlowLogError::Format {
                problem: format!(
                    "field {field} is of version {}; fields up to version {LAST_WRITTEN} are written",
                    field.version()
                ),
            }),
            None => Ok(Settings { format, interval_s, labels }),
        }
    }

    /// The fields.
    pub fn format(&self) -> &Format {
        &self.format
    }
}

/// Writes a log of these packets. `path` only tells the kind: `.gz`, `.parquet`, else text with a header line.
///
/// # Errors
/// What `out` says, and Parquet in a build without it.
pub fn write(
    path: &Path,
    out: &mut dyn Write,
    observations: impl Iterator<Item = Observation>,
    settings: &Settings,
) -> io::Result<()> {
    let ends = |extension: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    if ends("parquet") {
        return parquet(out, observations, settings);
    }
    if ends("gz") {
        let mut packed = GzEncoder::new(out, Compression::default());
        text(&mut packed, observations, settings)?;
        packed.finish()?;
        return Ok(());
    }
    text(out, observations, settings)
}

fn text(
    out: &mut (impl Write + ?Sized),
    observations: impl Iterator<Item = Observation>,
    settings: &Settings,
) -> io::Result<()> {
    let format = settings.format();
    writeln!(out, "{}", format.header())?;
    let mut line = String::new();
    aggregate(observations, settings.interval_s, |record| {
        line.clear();
        for field in format.fields() {
            if !line.is_empty() {
                line.push(' ');
            }
            record.word(*field, format.version(), &settings.labels, &mut line);
        }
        line.push('\n');
        out.write_all(line.as_bytes())
    })
}

#[cfg(feature = "parquet")]
use super::parquet::write as parquet;

#[cfg(not(feature = "parquet"))]
fn parquet(_: &mut dyn Write, _: impl Iterator<Item = Observation>, _: &Settings) -> io::Result<()> {
    Err(io::Error::other("this ctbench writes no Parquet: build it with --features parquet, or name a .log.gz"))
}
