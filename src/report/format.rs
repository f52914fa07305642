//! The formats of `ctbench report`, behind one trait.

use super::page::Section;
use super::result::{ResultError, ResultFile};
use super::{csv, hgrm, hlog, html, markdown, openmetrics, plain};

/// A finished file. Formats with several (a chart each, a histogram each) tell them apart by a suffix.
#[derive(Clone, Debug)]
pub struct Document {
    /// Goes between the file's stem and its extension; empty for the only file. Letters, digits, `-` and `.` alone.
    pub suffix: String,
    /// The content.
    pub text: String,
}

/// A way to write results down.
pub trait Format {
    /// What the file's name ends with; also the word of `--format`.
    fn name(&self) -> &'static str;
    /// The files.
    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError>;
}

/// All formats, the default first.
pub const FORMATS: [&dyn Format; 9] = [
    &html::Html,
    &markdown::Markdown,
    &plain::Plain,
    &Csv,
    &Json,
    &hgrm::Hgrm,
    &hlog::Hlog,
    &openmetrics::OpenMetrics,
    &Svg,
];

/// The format of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    FORMATS.into_iter().find(|format| format.name() == name)
}

/// The only file of a format.
pub(super) fn single(text: String) -> Vec<Document> {
    vec![Document { suffix: String::new(), text }]
}

/// A file name's part.
pub(super) fn suffix(parts: &[&str]) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    parts.join("-").chars().map(safe).collect()
}

struct Csv;

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        Ok(single(csv::render(results)))
    }
}

/// The results themselves: one as it is, several as an array.
struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        Ok(single(match results {
            [one] => format!("{:#}\n", one.json),
            several => format!("{:#}\n", serde_json::Value::from_iter(several.iter().map(|file| file.json.clone()))),
        }))
    }
}

/// Every chart as a file.
struct Svg;

impl Format for Svg {
    fn name(&self) -> &'static str {
        "svg"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        let mut documents = Vec::new();
        // The section about several results together, if there is one, is number 0.
        let first = if results.len() > 1 { 0 } else { 1 };
        for (number, section) in (first..).zip(Section::all(results)?) {
            for (chart_number, chart) in (1..).zip(section.charts) {
                let suffix = suffix(&[&format!("{number}"), &format!("{chart_number}")]);
                documents.push(Document { suffix, text: chart.svg + "\n" });
            }
        }
        Ok(documents)
    }
}
