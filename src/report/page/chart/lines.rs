//! Charts of lines: a value that depends on another, a line an engine.

use super::axis::{Logarithmic, Nines, Unit, decades, even};
use super::colours::GRID;
use super::svg::{Markup, Spot, picture, text};
use super::{Chart, Stroke};
use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::element::{Circle, PathElement};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, TRANSPARENT};

/// A point: x, y, and what is said of it.
pub(super) type Point = (f64, f64, String);

/// A line.
pub(super) struct Line {
    /// Its name.
    pub(super) name: String,
    /// How it is drawn.
    pub(super) stroke: Stroke,
    /// Ascending by x.
    pub(super) points: Vec<Point>,
}

/// A chart of lines. The y axis is logarithmic.
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) description: String,
    /// What the x axis counts in, and what it is called.
    pub(super) x: (Unit, &'static str),
    pub(super) y: Unit,
    pub(super) lines: Vec<Line>,
}

/// The edges of the plot; the page's script draws its cursor from top to bottom.
const LEFT: u32 = 820;
const RIGHT: u32 = 340;
const TOP: u32 = 160;
const BELOW: u32 = 500;
const HEIGHT: u32 = 3_960;

impl Lines {
    /// Draws it; `None` if no line has a point.
    pub(super) fn draw(mut self) -> Option<Chart> {
        for line in &mut self.lines {
            line.points.retain(|(x, y, _)| x.is_finite() && y.is_finite());
        }
        self.lines.retain(|line| !line.points.is_empty());
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (xs, y) = (points().map(|(x, ..)| *x), decades(points().map(|(_, y, _)| *y))?);
        let svg = match self.x.0 {
            Unit::Nines => self.on(Nines::around(xs)?, y),
            Unit::Seconds => self.on(even(xs)?, y),
            Unit::PacketsPerSecond | Unit::Ns => self.on(decades(xs)?, y),
        };
        let series = self.lines.len();
        let legend = self.lines.into_iter().map(|line| (line.name, line.stroke.css())).collect();
        Some(Chart { title: self.title, description: self.description, svg, series, legend })
    }

    /// On this x axis.
    fn on<X>(&self, x: X, y: Logarithmic) -> String
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        picture(&self.title, "lines", HEIGHT, |paper| {
            let mut builder = ChartBuilder::on(paper);
            builder.margin_top(TOP).margin_right(RIGHT).x_label_area_size(BELOW).y_label_area_size(LEFT);
            let mut chart = builder.build_cartesian_2d(x, y)?;
            chart
                .configure_mesh()
                .bold_line_style(GRID.stroke_width(10))
                .light_line_style(TRANSPARENT)
                .axis_style(TRANSPARENT)
                .set_all_tick_mark_size(40)
                .label_style(text(HPos::Left, VPos::Top))
                .x_labels(7)
                .x_label_formatter(&|value| self.x.0.name(*value))
                .x_desc(self.x.1)
                .y_label_formatter(&|value| self.y.name(*value))
                .draw()?;
            let plot = chart.plotting_area();
            for (index, Line { name, stroke, points }) in self.lines.iter().enumerate() {
                let dashes =
                    stroke.dashes.map(|[on, off]| format!(" stroke-dasharray=\"{on}0 {off}0\"")).unwrap_or_default();
                let attributes = format!(
                    "class=\"series\" data-line=\"{index}\" fill=\"transparent\" stroke-linejoin=\"round\"{dashes}"
                );
                plot.draw(&Markup::group(&attributes, name))?;
                let places: Vec<(f64, f64)> = points.iter().map(|(x, y, _)| (*x, *y)).collect();
                match places.as_slice() {
                    // A line of one place has no length.
                    [only] => plot.draw(&Circle::new(*only, 40, stroke.colour.filled()))?,
                    _ => plot.draw(&PathElement::new(places, stroke.colour.stroke_width(20)))?,
                }
                for (x, y, said) in points {
                    plot.draw(&Spot { at: (*x, *y), said: format!("{name}: {said}") })?;
                }
                plot.draw(&Markup::end())?;
            }
            Ok(())
        })
    }
}
