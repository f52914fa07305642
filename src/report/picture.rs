//! Latency as a picture of characters, for a terminal: a bar an engine on one logarithmic axis.

use super::words::time;
use anstream::{AutoStream, ColorChoice};
use std::fmt::Write;

/// Columns of the axis.
const COLUMNS: usize = 60;

/// What a bar is made of, from one percentile to the next.
const SHADES: [(char, &str); 4] = [('█', "p50 to p90"), ('▓', "to p99"), ('▒', "to p99.9"), ('░', "to p99.99")];

/// An engine on so many cores.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Name.
    pub engine: &'a str,
    /// Cores.
    pub cores: u64,
    /// p50, p90, p99, p99.9 and p99.99 in ns.
    pub quantiles: [u64; 5],
}

/// True if standard output is a terminal that shows colours and the user has not said no (`NO_COLOR`).
pub fn stdout_has_colour() -> bool {
    AutoStream::choice(&std::io::stdout()) != ColorChoice::Never
}

/// The picture, with a line before it; empty without rows.
pub fn latency(rows: &[Row], colour: bool) -> String {
    let all = || rows.iter().flat_map(|row| row.quantiles).map(|ns| ns.max(1) as f64);
    let (low, high) = all().fold((f64::INFINITY, 0.0f64), |(low, high), ns| (low.min(ns), high.max(ns)));
    if rows.is_empty() {
        return String::new();
    }
    let low = low.log10().floor();
    let high = high.log10().ceil().max(low + 1.0);
    let column = |ns: f64| ((ns.max(1.0).log10() - low) / (high - low) * COLUMNS as f64) as usize;
    let width = rows.iter().map(|row| row.engine.chars().count()).max().unwrap_or(6).max(6);
    let shades: Vec<String> = SHADES.iter().map(|(shade, what)| format!("{shade} {what}")).collect();
    // Writing to a string cannot fail.
    let mut text = format!("\nlatency, each step of the axis ten times the last: {}\n", shades.join(", "));
    for row in rows {
        let mut bar = [' '; COLUMNS + 1];
        // From right to left, so that the nearer part keeps a column that two of them share.
        for (part, (shade, _)) in SHADES.iter().enumerate().rev() {
            let [from, to] = [row.quantiles[part], row.quantiles[part + 1]].map(|ns| column(ns as f64).min(COLUMNS));
            bar[from..=to.max(from)].fill(*shade);
        }
        let bar: String = bar.iter().collect::<String>().trim_end().to_owned();
        let (on, off) = match row.engine {
            _ if !colour => ("", ""),
            name if name.starts_with("stateless") => ("\u{1b}[32m", "\u{1b}[0m"),
            name if name.starts_with("stateful") => ("\u{1b}[35m", "\u{1b}[0m"),
            _ => ("\u{1b}[2m", "\u{1b}[0m"),
        };
        let _ = writeln!(text, "{:width$} {:>5}  {on}{bar}{off}", row.engine, row.cores);
    }
    let mut axis = String::new();
    for power in low as i32..=high as i32 {
        let ns = 10f64.powi(power);
        let gap = column(ns).saturating_sub(axis.chars().count());
        let name = time(ns as u64).replace(".00", "").replace(".0", "");
        let _ = write!(axis, "{:gap$}|{name}", "");
    }
    let _ = writeln!(text, "{:width$} {:>5}  {axis}", "", "");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [Row; 3] = [
        Row { engine: "null", cores: 1, quantiles: [160, 280, 380, 721, 2_660] },
        Row { engine: "stateless-linear", cores: 1, quantiles: [300, 540, 831, 1_450, 34_200] },
        Row { engine: "stateful-lockfree-linear", cores: 2, quantiles: [1_490, 2_320, 3_370, 9_480, 54_900] },
    ];

    #[test]
    fn bars_stand_on_one_axis() {
        insta::assert_snapshot!(latency(&ROWS, false));
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let coloured = latency(&ROWS, true);
        assert!(coloured.contains("\u{1b}[32m") && coloured.contains("\u{1b}[35m"));
        let stripped = ["\u{1b}[32m", "\u{1b}[35m", "\u{1b}[2m", "\u{1b}[0m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(stripped, latency(&ROWS, false));
    }

    #[test]
    fn odd_values_have_a_picture_too() {
        assert_eq!(latency(&[], false), "");
        for quantiles in [[0; 5], [1, 1, 1, 1, u64::MAX], [u64::MAX; 5], [5, 4, 3, 2, 1]] {
            let picture = latency(&[Row { engine: "", cores: 0, quantiles }], false);
            assert!(picture.lines().count() == 4, "{picture}");
        }
    }
}
