//! Charts of rows: a name, a value, and under them a point with its interval or a bar of parts.
//!
//! The name stands above its row, not beside it, so that it can be read on a telephone too.

use super::svg::{WIDTH, grid, label, open};
use super::{Chart, escape};
use std::fmt::Write;

const LEFT: f64 = 12.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 6.0;
const ROW: f64 = 42.0;

/// A row with a point.
pub(super) struct Dot {
    pub(super) name: String,
    /// Shown at the right.
    pub(super) value: String,
    /// Said on hover.
    pub(super) said: String,
    pub(super) at: f64,
    pub(super) ci95: [f64; 2],
    pub(super) colour: &'static str,
}

/// A chart of points on an axis that doubles.
pub(super) struct Dots {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) rows: Vec<Dot>,
    /// Values with a line of their own, and its name.
    pub(super) marks: Vec<(f64, String)>,
    /// What the axis counts in.
    pub(super) unit: &'static str,
}

impl Dots {
    /// Draws it; `None` without rows.
    pub(super) fn draw(self) -> Option<Chart> {
        let values = || {
            let rows = self.rows.iter().flat_map(|row| [row.at, row.ci95[0], row.ci95[1]]);
            rows.chain(self.marks.iter().map(|(value, _)| *value))
        };
        if self.rows.is_empty() {
            return None;
        }
        let low = values().fold(f64::INFINITY, f64::min).log2().floor().max(-40.0);
        let high = values().fold(0.0, f64::max).log2().ceil().min(40.0).max(low + 1.0);
        let x = |value: f64| LEFT + 18.0 + (RIGHT - LEFT - 36.0) * (value.log2().clamp(low, high) - low) / (high - low);
        let bottom = TOP + ROW * self.rows.len() as f64 + 4.0;
        let mut svg = open(&self.title, "marks", bottom + 30.0);
        let step = ((high - low) / 8.0).ceil().max(1.0) as usize;
        for power in (low as i32..=high as i32).step_by(step) {
            let value = 2f64.powi(power);
            grid(&mut svg, [x(value), TOP, x(value), bottom]);
            let name = if power < 0 { format!("1/{}", 2f64.powi(-power)) } else { format!("{value}") };
            label(&mut svg, x(value), bottom + 20.0, "middle", &format!("{name}{}", self.unit));
        }
        for (value, name) in &self.marks {
            let _ = write!(
                svg,
                "<path d=\"M{0:.1} {TOP}L{0:.1} {bottom:.1}\" style=\"stroke:var(--text,#222);fill:none\"><title>{1}</title></path>",
                x(*value),
                escape(name)
            );
        }
        for (index, row) in self.rows.iter().enumerate() {
            let top = TOP + ROW * index as f64;
            let y = top + 30.0;
            head(&mut svg, top, &row.name, &row.value);
            let _ = write!(
                svg,
                "<g class=\"series\" data-value=\"{value}\" style=\"stroke:{colour};fill:{colour}\"><title>{said}</title>\
                 <path stroke-width=\"2\" d=\"M{from:.1} {y:.1}L{to:.1} {y:.1}M{from:.1} {tick:.1}v8M{to:.1} {tick:.1}v8\"/><circle cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"4.5\"/></g>",
                value = row.at,
                colour = row.colour,
                said = escape(&row.said),
                from = x(row.ci95[0]),
                to = x(row.ci95[1]),
                tick = y - 4.0,
                at = x(row.at),
            );
        }
        svg.push_str("</svg>");
        let series = self.rows.len();
        Some(Chart { title: self.title, description: self.description, svg, series, legend: Vec::new() })
    }
}

/// A row with a bar.
pub(super) struct Bar {
    pub(super) name: String,
    /// Shown at the right.
    pub(super) value: String,
    /// One for each part of the chart.
    pub(super) parts: Vec<f64>,
}

/// A chart of bars made of parts, on an even axis from 0.
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) description: String,
    /// Names and colours.
    pub(super) parts: Vec<(String, String)>,
    pub(super) bars: Vec<Bar>,
    /// How a part's value is said.
    pub(super) say: fn(f64) -> String,
}

impl Bars {
    /// Draws it; `None` if there is nothing.
    pub(super) fn draw(self) -> Option<Chart> {
        let longest = self.bars.iter().map(|bar| bar.parts.iter().sum::<f64>()).fold(0.0, f64::max);
        if longest <= 0.0 {
            return None;
        }
        let mut svg = open(&self.title, "marks", TOP + ROW * self.bars.len() as f64 + 4.0);
        for (index, bar) in self.bars.iter().enumerate() {
            head(&mut svg, TOP + ROW * index as f64, &bar.name, &bar.value);
        }
        for (part, (name, colour)) in self.parts.iter().enumerate() {
            let _ = write!(svg, "<g class=\"series\" data-line=\"{part}\" style=\"fill:{colour}\">");
            for (index, bar) in self.bars.iter().enumerate() {
                let before: f64 = bar.parts[..part].iter().sum();
                let width = |value: f64| (RIGHT - LEFT) * value / longest;
                if bar.parts[part] > 0.0 {
                    let _ = write!(
                        svg,
                        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" data-value=\"{}\"><title>{}: {name} {}</title></rect>",
                        LEFT + width(before),
                        TOP + ROW * index as f64 + 22.0,
                        // What is there is seen.
                        width(bar.parts[part]).max(1.0),
                        bar.parts[part],
                        escape(&bar.name),
                        escape(&(self.say)(bar.parts[part])),
                        name = escape(name),
                    );
                }
            }
            svg.push_str("</g>");
        }
        svg.push_str("</svg>");
        let series = self.parts.len();
        let legend = self.parts.into_iter().map(|(name, colour)| (name, format!("stroke:{colour}"))).collect();
        Some(Chart { title: self.title, description: self.description, svg, series, legend })
    }
}

/// Name and value of a row.
fn head(svg: &mut String, top: f64, name: &str, value: &str) {
    // A longer name would run into the value.
    let name: String = name.chars().take(46).collect();
    label(svg, LEFT, top + 16.0, "start", &name);
    label(svg, RIGHT, top + 16.0, "end", value);
}
