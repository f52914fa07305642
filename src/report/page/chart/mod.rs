//! Charts as plain SVG.
//!
//! Why not by a library is said in docs/REPORTS.md: what draws in the browser leaves nothing for a mail's preview, for
//! print and for `--format svg`; what draws in Rust writes fixed colours and no value to hover over.

mod lines;
pub(super) mod load;
mod map;
mod over_time;
mod parts;
mod percentiles;
mod rows;
mod svg;
mod throughput;

use crate::report::result::{ResultDocument, ResultError, ResultFile, Run};
use crate::report::text::counted;

/// A chart, ready to be put into a page or a file of its own.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// What to see, in words.
    pub description: String,
    /// The picture. Colours are CSS variables with defaults.
    pub svg: String,
    /// Lines, rows or parts drawn.
    pub series: usize,
    /// Names of the lines or parts with their style; empty where rows name themselves.
    pub legend: Vec<(String, String)>,
}

/// Light-mode colours, for where no style sheet sets others (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#b5539a", "#8a6d00", "#2a93c9", "#c0392b", "#444444"];

/// Of what the result has.
pub(super) fn of(file: &ResultFile) -> Result<Vec<Chart>, ResultError> {
    let result = &file.result;
    let mut places: Vec<String> = Vec::new();
    for place in result.runs.iter().map(Run::place) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let mut charts = Vec::new();
    for place in &places {
        charts.extend(percentiles::of(file, place)?);
        charts.extend(over_time::of(result, place));
        charts.extend(load::of_search(result, place));
    }
    charts.extend(result.sweep.iter().flat_map(map::of));
    charts.extend(throughput::ratios(result));
    charts.extend(throughput::floor(result));
    charts.extend(parts::stages(result));
    charts.extend(parts::outcomes(result));
    Ok(charts)
}

/// Text inside XML and HTML. What XML does not allow at all was replaced when the file was read.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The engines of a result, in its order: each has the same colour in all its charts.
fn engines(result: &ResultDocument) -> Vec<&str> {
    engines_of(result.runs.iter())
}

fn engines_of<'a>(runs: impl Iterator<Item = &'a Run>) -> Vec<&'a str> {
    let mut engines: Vec<&str> = Vec::new();
    for run in runs {
        if !engines.contains(&run.engine.as_str()) {
            engines.push(&run.engine);
        }
    }
    engines
}

/// A run's name in a row: with steering and load only where they tell runs apart, for rows are narrow.
fn row_name(result: &ResultDocument, run: &Run) -> String {
    let alike = |other: &Run| (&other.steering, &other.load) == (&run.steering, &run.load);
    if result.runs.iter().all(alike) {
        format!("{}, {}", run.engine, counted(run.cores, "core"))
    } else {
        format!("{}, {}", run.engine, run.place())
    }
}

/// Stateless dashed, stateful solid, neither dotted: seen at a glance, and without colours.
fn style(engines: &[&str], engine: &str) -> String {
    let dashes = match engine {
        name if name.starts_with("stateless") => ";stroke-dasharray:7 4",
        name if name.starts_with("stateful") => "",
        _ => ";stroke-dasharray:2 3",
    };
    let colour = engines.iter().position(|name| *name == engine).unwrap_or(0) % COLOURS.len();
    format!("stroke:var(--line{colour},{}){dashes}", COLOURS[colour])
}
