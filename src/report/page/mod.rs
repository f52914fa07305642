//! What a report shows, whatever the format: one section a result, with an answer, charts and tables.

mod answer;
pub mod chart;
mod tables;
mod under_load;

use super::result::{ResultError, ResultFile};
use super::words::counted;
use chart::Chart;

/// A cell: what is shown, and by what it sorts.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Shown.
    pub text: String,
    /// A number's exact value.
    pub value: Option<f64>,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// Columns.
    pub columns: Vec<String>,
    /// Rows, as long as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// What is shown of one result.
#[derive(Clone, Debug)]
pub struct Section {
    /// The scenario.
    pub title: String,
    /// When, where, what.
    pub subtitle: String,
    /// The answer with its uncertainty, a sentence an item.
    pub answer: Vec<String>,
    /// Reasons for doubt.
    pub doubts: Vec<String>,
    /// Pictures of what the result has.
    pub charts: Vec<Chart>,
    /// Tables of what the result has.
    pub tables: Vec<Table>,
    /// The command that reproduces it; empty where there is not one.
    pub command: String,
}

impl Section {
    /// What is shown of these results: each, and before them what several show together.
    pub fn all(results: &[ResultFile]) -> Result<Vec<Section>, ResultError> {
        let each = results.iter().map(Section::of).collect::<Result<Vec<_>, _>>()?;
        Ok(Section::across(results).into_iter().chain(each).collect())
    }

    /// What several results show together; `None` of a single one.
    fn across(results: &[ResultFile]) -> Option<Section> {
        if results.len() < 2 {
            return None;
        }
        let mut tables = vec![tables::across(results)];
        tables.retain(|table| !table.rows.is_empty());
        Some(Section {
            title: format!("{} results", results.len()),
            subtitle: "What remembering costs in each of them, and what they show together; below, each by itself."
                .into(),
            answer: answer::across(results),
            doubts: Vec::new(),
            charts: chart::load::of(results),
            tables,
            command: String::new(),
        })
    }

    /// Of one result. A histogram that cannot be read is an error.
    pub fn of(file: &ResultFile) -> Result<Section, ResultError> {
        let result = &file.result;
        let count = |field: &str, world: &str| {
            let count = result.scenario.rules.get(field).copied().flatten()?;
            Some(format!("{count} {world} rules"))
        };
        let rules = [count("security_groups", "security group"), count("network_acl", "network ACL")];
        let rules: Vec<String> = rules.into_iter().flatten().collect();
        let flows = match result.scenario.flows {
            0 => String::new(),
            flows => format!(", {}", counted(flows, "flow")),
        };
        let what = match &result.sweep {
            Some(sweep) => format!("sweep of {}; {}", counted(sweep.points.len() as u64, "point"), sweep.settings),
            None => format!(
                "{} · {}{flows} · {}",
                result.scenario.trace,
                counted(result.scenario.packets, "packet"),
                rules.join(", "),
            ),
        };
        let machine = format!("{}, {} cores", result.host("cpu"), result.host("cores"));
        let subtitle = format!("{what} · {machine} · {}", result.date());
        let cut =
            result.partial.then(|| "the run was cut short by Ctrl-C: measure again, with a smaller --time".into());
        let told = result.warnings.iter().chain(&result.doubts);
        Ok(Section {
            title: result.scenario.name.clone(),
            subtitle,
            answer: answer::of(result),
            doubts: cut.into_iter().chain(told.map(|text| super::result::plain(text))).collect(),
            charts: chart::of(file)?,
            tables: tables::of(result),
            command: result.command.clone(),
        })
    }
}
