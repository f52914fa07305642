//! Charts as SVG, drawn with plotters.
//!
//! Its coordinate systems, ticks, meshes and shapes are used as they are. Ours are the back end (`svg`), which writes the
//! palette (`colours`) as variables of the page's style sheet and gives marks a name to point at, and the axis of nines
//! (`axis`).

mod axis;
mod colours;
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
use crate::report::words::counted;
use plotters::style::{Color, RGBColor};

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

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
struct Stroke {
    colour: RGBColor,
    /// Lengths of a dash and of the gap after it.
    dashes: Option<[u32; 2]>,
}

impl Stroke {
    /// Stateless dashed, stateful solid, neither dotted: seen at a glance, and without colours.
    fn of(engines: &[&str], engine: &str) -> Stroke {
        let dashes = match engine {
            name if name.starts_with("stateless") => Some([7, 4]),
            name if name.starts_with("stateful") => None,
            _ => Some([2, 3]),
        };
        let colour = engines.iter().position(|name| *name == engine).unwrap_or(0) % colours::LINES.len();
        Stroke { colour: colours::LINES[colour], dashes }
    }

    /// As the legend's style.
    fn css(self) -> String {
        let dashes = self.dashes.map(|[on, off]| format!(";stroke-dasharray:{on} {off}")).unwrap_or_default();
        format!("stroke:{}{dashes}", colours::css(self.colour.to_backend_color()))
    }
}
