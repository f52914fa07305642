//! Text for a terminal: the answer, the two main tables, and the picture of latency.

use super::format::{Document, Format, single};
use super::page::{Section, Table};
use super::picture::{self, Row};
use super::result::{Latency, QUANTILES, ResultError, ResultFile, Run};
use std::fmt::Write;

/// The format.
pub struct Plain;

/// Of a page's tables.
const TABLES: [&str; 5] = [
    "What remembering costs",
    "Highest rates that meet a goal",
    "Throughput",
    "Latency in a burst",
    "Why the two worlds differ",
];

impl Format for Plain {
    fn name(&self) -> &'static str {
        "txt"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        Ok(single(text(results, false)?))
    }
}

/// The text, with colours or without.
pub fn text(results: &[ResultFile], colour: bool) -> Result<String, ResultError> {
    let sections = Section::all(results)?;
    // The first of several is about them all.
    let about_all = sections.len() - results.len();
    let mut text = String::new();
    for (number, section) in sections.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{}\n{}", if number > 0 { "\n" } else { "" }, section.title, section.subtitle);
        for table in section.tables.iter().filter(|table| TABLES.contains(&table.title.as_str())) {
            let _ = write!(text, "\n{}\n{}", table.title, aligned(table));
        }
        if let Some(file) = number.checked_sub(about_all).and_then(|number| results.get(number)) {
            let rows: Vec<Row> = file.result.runs.iter().filter_map(row).collect();
            text.push_str(&picture::latency(&rows, colour));
        }
        if !section.answer.is_empty() {
            let _ = writeln!(text, "\n{}", section.answer.join("\n"));
        }
        section.doubts.iter().for_each(|doubt| {
            let _ = writeln!(text, "Doubt: {doubt}.");
        });
    }
    Ok(text)
}

fn row(run: &Run) -> Option<Row<'_>> {
    let latency: &Latency = run.latency_ns.as_ref().filter(|_| run.error.is_none())?;
    let mut quantiles = [0; 5];
    for (quantile, (_, _, of)) in quantiles.iter_mut().zip(QUANTILES) {
        *quantile = of(latency)?;
    }
    Some(Row { engine: &run.engine, cores: run.cores, quantiles })
}

/// Columns as wide as their widest cell; numbers to the right.
fn aligned(table: &Table) -> String {
    let width = |column: usize| {
        let cells = table.rows.iter().map(|row| row[column].text.chars().count());
        cells.chain([table.columns[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    let is_number = |column: usize| table.rows.iter().any(|row| row[column].value.is_some());
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, cell) in cells.enumerate() {
            let width = widths[column];
            let _ = if is_number(column) { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    };
    let head = line(&mut table.columns.iter().map(String::as_str));
    let rows = table.rows.iter().map(|row| line(&mut row.iter().map(|cell| cell.text.as_str())));
    std::iter::once(head).chain(rows).collect()
}
