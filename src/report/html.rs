//! One HTML file that holds everything: it opens from disk and from a mail, and asks the network for nothing.
//!
//! Names come from files that others made, so every text is escaped; should one get through, the content security policy
//! runs no script but the page's own, told by its hash, and loads nothing.

use super::format::{Document, Format, single};
use super::page::chart::{Chart, escape};
use super::page::{Section, Table};
use super::result::{ResultError, ResultFile};
use super::words::counted;
use base64::Engine as _;
use sha2::{Digest, Sha256};
use std::fmt::Write;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// A longer name may take several lines.
const NAME: usize = 32;

/// The format.
pub struct Html;

impl Format for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn render(&self, results: &[ResultFile]) -> Result<Vec<Document>, ResultError> {
        let sections = Section::all(results)?;
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT));
        let title = match sections.as_slice() {
            [one] => format!("{} – ctbench", one.title),
            _ => format!("{} results – ctbench", results.len()),
        };
        // Writing to a string cannot fail; hence the ignored results.
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline';script-src 'sha256-{hash}';base-uri 'none';form-action 'none'\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
            escape(&title)
        );
        for (number, section) in sections.iter().enumerate() {
            write_section(&mut page, number, section);
            // The first of several is about them all.
            if number == 0 && sections.len() > 1 {
                write_list(&mut page, &sections);
            }
        }
        let _ = write!(page, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
        Ok(single(page))
    }
}

/// Links to the sections of the results, with the answer of each.
fn write_list(page: &mut String, sections: &[Section]) {
    page.push_str("<h2 id=\"each\">Each by itself</h2>\n<nav aria-labelledby=\"each\"><ol>\n");
    for (number, section) in sections.iter().enumerate().skip(1) {
        let answer = section.answer.first().map_or("", String::as_str);
        let _ = writeln!(page, "<li><a href=\"#r{number}\">{}</a>: {}</li>", escape(&section.title), escape(answer));
    }
    page.push_str("</ol></nav>\n");
}

fn write_section(page: &mut String, number: usize, section: &Section) {
    let _ = writeln!(
        page,
        "<section id=\"r{number}\">\n<h1>{}</h1>\n<p class=\"subtitle\">{}</p>",
        escape(&section.title),
        escape(&section.subtitle)
    );
    if !section.answer.is_empty() {
        page.push_str("<div class=\"answer\">");
        for sentence in &section.answer {
            let _ = write!(page, "<p>{}</p>", escape(sentence));
        }
        page.push_str("</div>\n");
    }
    if !section.doubts.is_empty() {
        let open = if section.doubts.len() <= 3 { " open" } else { "" };
        let _ = write!(
            page,
            "<details class=\"doubts\"{open}><summary>Reasons for doubt: {}</summary><ul>",
            section.doubts.len()
        );
        for doubt in &section.doubts {
            let _ = write!(page, "<li>{}</li>", escape(doubt));
        }
        page.push_str("</ul></details>\n");
    }
    write_contents(page, number, section);
    if !section.charts.is_empty() {
        page.push_str("<div class=\"charts\">\n");
        for (index, chart) in section.charts.iter().enumerate() {
            write_chart(page, &format!("r{number}f{index}"), chart);
        }
        page.push_str("</div>\n");
    }
    for (index, table) in section.tables.iter().enumerate() {
        write_table(page, &format!("r{number}t{index}"), table);
    }
    if !section.command.is_empty() {
        let _ = writeln!(
            page,
            "<div class=\"bar\"><h2 id=\"r{number}ch\">The command that made this</h2><button class=\"copy\" data-of=\"r{number}c\" aria-label=\"Copy the command\">Copy</button></div>\n<pre id=\"r{number}c\">{}</pre>",
            escape(&section.command)
        );
    }
    page.push_str("</section>\n");
}

/// Links to what the section holds.
fn write_contents(page: &mut String, number: usize, section: &Section) {
    // What is seen at a glance needs no list.
    if section.charts.len() + section.tables.len() < 4 {
        return;
    }
    let charts = section.charts.iter().enumerate().map(|(index, chart)| (format!("r{number}f{index}"), &*chart.title));
    let tables = section.tables.iter().enumerate().map(|(index, table)| (format!("r{number}t{index}h"), &*table.title));
    let command = (!section.command.is_empty()).then(|| (format!("r{number}ch"), "The command that made this"));
    let links = |items: &mut dyn Iterator<Item = (String, &str)>| -> String {
        items.map(|(id, title)| format!("<li><a href=\"#{id}\">{}</a></li>", escape(title))).collect()
    };
    let _ = writeln!(
        page,
        "<details class=\"contents\"><summary>Contents: {}, {}</summary><nav aria-label=\"Contents of {}\"><ul>{}</ul><ul>{}</ul></nav></details>",
        counted(section.charts.len() as u64, "chart"),
        counted(section.tables.len() as u64, "table"),
        escape(&section.title),
        links(&mut charts.into_iter()),
        links(&mut tables.chain(command)),
    );
}

fn write_chart(page: &mut String, id: &str, chart: &Chart) {
    let _ = write!(
        page,
        "<figure id=\"{id}\" data-series=\"{}\"><h2 id=\"{id}h\">{}</h2><div class=\"chart\" tabindex=\"0\" role=\"group\" aria-labelledby=\"{id}h\" aria-describedby=\"{id}d\">{}</div>",
        chart.series,
        escape(&chart.title),
        chart.svg
    );
    if !chart.legend.is_empty() {
        page.push_str("<ul class=\"legend\">");
        for (line, (name, style)) in chart.legend.iter().enumerate() {
            let _ = write!(
                page,
                "<li><button aria-pressed=\"false\" data-line=\"{line}\"><svg viewBox=\"0 0 28 8\" aria-hidden=\"true\"><path d=\"M0 4L28 4\" stroke-width=\"3\" style=\"{style}\"/></svg>{}</button></li>",
                escape(name)
            );
        }
        page.push_str("</ul>");
    }
    let _ = writeln!(page, "<figcaption id=\"{id}d\">{}</figcaption></figure>", escape(&chart.description));
}

fn write_table(page: &mut String, id: &str, table: &Table) {
    let title = escape(&table.title);
    let _ = write!(
        page,
        "<div class=\"bar\"><h2 id=\"{id}h\">{title}</h2><button class=\"copy\" data-of=\"{id}\" aria-label=\"Copy table: {title}\">Copy</button></div>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"{id}h\"><table id=\"{id}\"><thead><tr>"
    );
    let numeric: Vec<bool> =
        (0..table.columns.len()).map(|column| table.rows.iter().any(|row| row[column].value.is_some())).collect();
    let class = |column: usize| if numeric[column] { " class=\"n\"" } else { "" };
    for (column, name) in table.columns.iter().enumerate() {
        let _ = write!(page, "<th scope=\"col\"{}><button>{}</button></th>", class(column), escape(name));
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let value = cell.value.map_or(String::new(), |value| format!(" data-value=\"{value}\""));
            // A name is read as one word, and would break at its hyphens.
            let is_name = column > 0 && !numeric[column] && cell.text.len() <= NAME && cell.text.contains('-');
            let class = if is_name && !cell.text.contains(' ') { " class=\"w\"" } else { class(column) };
            let _ = write!(page, "<td{class}{value}>{}</td>", escape(&cell.text));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}
