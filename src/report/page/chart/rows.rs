//! Charts of rows: a name, a value, and under them a point with its interval or a bar of parts.
//!
//! The name stands above its row, not beside it, so that it can be read on a telephone too.

use super::Chart;
use super::axis::{doublings, even};
use super::colours::{self, GRID, TEXT};
use super::svg::{Drawn, Markup, Paper, WIDTH, picture, text};
use plotters::chart::ChartBuilder;
use plotters::element::{ErrorBar, PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBAColor, RGBColor, TRANSPARENT};

/// Left and right of names and values.
const EDGE: u32 = 120;
/// From there to the ends of the axis, so that its ticks' names have room.
const ROOM: u32 = 180;
const TOP: u32 = 60;
const ROW: u32 = 420;
/// Under the last row: the names of the ticks, or nothing.
const TICKS: u32 = 320;
const NOTHING: u32 = 40;

/// A row with a point.
pub(super) struct Dot {
    pub(super) name: String,
    /// Shown at the right.
    pub(super) value: String,
    /// Said on hover.
    pub(super) said: String,
    pub(super) at: f64,
    pub(super) ci95: [f64; 2],
    pub(super) colour: RGBColor,
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
        if self.rows.is_empty() {
            return None;
        }
        let svg = picture(&self.title, "marks", height(self.rows.len(), TICKS), |paper| self.plot(paper));
        let series = self.rows.len();
        Some(Chart { title: self.title, description: self.description, svg, series, legend: Vec::new() })
    }

    fn plot(&self, paper: &Paper) -> Drawn {
        let values = self.rows.iter().flat_map(|row| [row.at, row.ci95[0], row.ci95[1]]);
        let Some(x) = doublings(values.chain(self.marks.iter().map(|(value, _)| *value)), 8.0) else { return Ok(()) };
        let rows = self.rows.len() as f64;
        let mut builder = ChartBuilder::on(paper);
        builder.margin_top(TOP).margin_left(EDGE + ROOM).margin_right(EDGE + ROOM).x_label_area_size(TICKS);
        let mut chart = builder.build_cartesian_2d(x, rows..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .bold_line_style(GRID.stroke_width(10))
            .light_line_style(TRANSPARENT)
            .axis_style(TRANSPARENT)
            .set_all_tick_mark_size(40)
            .label_style(text(HPos::Left, VPos::Top))
            .x_label_formatter(&|value| doubled(*value, self.unit))
            .draw()?;
        let plot = chart.plotting_area();
        for (value, name) in &self.marks {
            plot.draw(&Markup::group("class=\"mark\"", name))?;
            plot.draw(&PathElement::new([(*value, 0.0), (*value, rows)], TEXT.stroke_width(10)))?;
            plot.draw(&Markup::end())?;
        }
        for (index, row) in self.rows.iter().enumerate() {
            head(paper, index, &row.name, &row.value)?;
            plot.draw(&Markup::group(&format!("class=\"series\" data-value=\"{}\"", row.at), &row.said))?;
            let [low, high] = row.ci95;
            let style = row.colour.filled().stroke_width(20);
            plot.draw(&ErrorBar::new_horizontal(index as f64 + 0.72, low, row.at, high, style, 90))?;
            plot.draw(&Markup::end())?;
        }
        Ok(())
    }
}

/// `1/4` for a quarter.
fn doubled(value: f64, unit: &str) -> String {
    if value < 1.0 { format!("1/{}{unit}", 1.0 / value) } else { format!("{value}{unit}") }
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
    pub(super) parts: Vec<(String, RGBAColor)>,
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
        let svg = picture(&self.title, "marks", height(self.bars.len(), NOTHING), |paper| self.plot(paper, longest));
        let series = self.parts.len();
        let style = |colour: RGBAColor| format!("stroke:{}", colours::css(colour.to_backend_color()));
        let legend = self.parts.into_iter().map(|(name, colour)| (name, style(colour))).collect();
        Some(Chart { title: self.title, description: self.description, svg, series, legend })
    }

    fn plot(&self, paper: &Paper, longest: f64) -> Drawn {
        let Some(x) = even([longest].into_iter()) else { return Ok(()) };
        let mut builder = ChartBuilder::on(paper);
        builder.margin_top(TOP).margin_bottom(NOTHING).margin_left(EDGE).margin_right(EDGE);
        let chart = builder.build_cartesian_2d(x, self.bars.len() as f64..0.0)?;
        for (index, bar) in self.bars.iter().enumerate() {
            head(paper, index, &bar.name, &bar.value)?;
        }
        // What is there is seen, be it a pixel.
        let least = longest * 10.0 / f64::from(WIDTH - 2 * EDGE);
        for (part, (name, colour)) in self.parts.iter().enumerate() {
            paper.draw(&Markup::group(&format!("class=\"series\" data-line=\"{part}\""), name))?;
            for (index, bar) in self.bars.iter().enumerate().filter(|(_, bar)| bar.parts[part] > 0.0) {
                let (from, value) = (bar.parts[..part].iter().sum::<f64>(), bar.parts[part]);
                let said = format!("{}: {name} {}", bar.name, (self.say)(value));
                paper.draw(&Markup::group(&format!("data-value=\"{value}\""), &said))?;
                let (top, bottom) = (index as f64 + 0.53, index as f64 + 0.87);
                let corners = [(from, top), (from + value.max(least), bottom)];
                chart.plotting_area().draw(&Rectangle::new(corners, colour.filled()))?;
                paper.draw(&Markup::end())?;
            }
            paper.draw(&Markup::end())?;
        }
        Ok(())
    }
}

fn height(rows: usize, below: u32) -> u32 {
    TOP + ROW * rows as u32 + below
}

/// Name and value of a row.
fn head(paper: &Paper, row: usize, name: &str, value: &str) -> Drawn {
    // A longer name would run into the value.
    let name = match name.chars().count() {
        0..=46 => name.to_owned(),
        _ => name.chars().take(45).chain(['…']).collect(),
    };
    let y = (TOP + ROW * row as u32 + 195) as i32;
    paper.draw(&Text::new(name, (EDGE as i32, y), text(HPos::Left, VPos::Bottom)))?;
    paper.draw(&Text::new(value, ((WIDTH - EDGE) as i32, y), text(HPos::Right, VPos::Bottom)))
}
