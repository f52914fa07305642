//! Markdown for a pull request: the answer and the tables.

use super::format::{Document, Format, single};
use super::page::{Section, Table};
use super::result::{ResultError, ResultFile};
use std::fmt::Write;

/// Tables that are seen at once; the others open on a click.
const OPEN: [&str; 5] = [
    "What remembering costs",
    "Points of the sweep",
    "Highest rates that meet a goal",
    "Throughput",
    "Why the two worlds differ",
];

/// The format.
pub struct Markdown;

impl Format for Markdown {
    fn name(&self) -> &'static str {
        "md"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        let mut text = String::new();
        for section in Section::all(results)? {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# {}\n\n{}\n", escape(&section.title), escape(&section.subtitle));
            for sentence in &section.answer {
                let _ = writeln!(text, "**{}**\n", escape(sentence));
            }
            for doubt in &section.doubts {
                let _ = writeln!(text, "> {}\n", escape(doubt));
            }
            section.tables.iter().for_each(|table| write_table(&mut text, table));
            if section.command.is_empty() {
                continue;
            }
            // Code cannot be escaped: a fence longer than any inside.
            let longest = section.command.split(|c| c != '`').map(str::len).max().unwrap_or(0);
            let fence = "`".repeat(longest.max(2) + 1);
            let _ = writeln!(text, "{fence}\n{}\n{fence}\n", section.command);
        }
        Ok(single(text))
    }
}

fn write_table(text: &mut String, table: &Table) {
    let is_number = |column: usize| table.rows.iter().any(|row| row[column].value.is_some());
    let rule: Vec<&str> =
        (0..table.columns.len()).map(|column| if is_number(column) { "---:" } else { "---" }).collect();
    let columns: Vec<String> = table.columns.iter().map(|column| escape(column)).collect();
    let _ = writeln!(
        text,
        "<details{}><summary>{}</summary>\n",
        if OPEN.contains(&table.title.as_str()) { " open" } else { "" },
        escape(&table.title)
    );
    let _ = writeln!(text, "| {} |\n|{}|", columns.join(" | "), rule.join("|"));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| escape(&cell.text)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push_str("\n</details>\n\n");
}

/// Neither HTML, nor a link, nor the end of a table's cell.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '!' | '~' | '@' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}
