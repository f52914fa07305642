//! Charts of lines: a value that depends on another, a line an engine.

use super::svg::{Axis, Scale, Unit, WIDTH, grid, label, open};
use super::{Chart, escape};
use std::fmt::Write;

/// A point: x, y, and what is said of it.
pub(super) type Point = (f64, f64, String);

/// A line.
pub(super) struct Line {
    /// Its name.
    pub(super) name: String,
    /// How it is drawn.
    pub(super) style: String,
    /// Ascending by x.
    pub(super) points: Vec<Point>,
}

/// A chart of lines.
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) x: (Scale, Unit, &'static str),
    pub(super) y: (Scale, Unit),
    pub(super) lines: Vec<Line>,
}

const LEFT: f64 = 82.0;
const RIGHT: f64 = WIDTH - 34.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 348.0;

/// More names than these do not fit under a chart on a phone.
const NAMES: usize = 5;

impl Lines {
    /// Draws it; `None` if no line has a point.
    pub(super) fn draw(self) -> Option<Chart> {
        let lines: Vec<Line> = self.lines.into_iter().filter(|line| !line.points.is_empty()).collect();
        let points = || lines.iter().flat_map(|line| &line.points);
        let x = Axis::around(points().map(|(x, ..)| *x), self.x.0, self.x.1, [LEFT, RIGHT])?;
        let y = Axis::around(points().map(|(_, y, _)| *y), self.y.0, self.y.1, [BOTTOM, TOP])?;
        let mut svg = open(&self.title, "lines", 396.0);
        for (at, name) in y.ticks() {
            grid(&mut svg, [LEFT, at, RIGHT, at]);
            label(&mut svg, LEFT - 8.0, at + 5.0, "end", &name);
        }
        let ticks = x.ticks();
        let crowded = ticks.len() > NAMES;
        for (number, (at, name)) in ticks.into_iter().enumerate() {
            grid(&mut svg, [at, TOP, at, BOTTOM]);
            let class = if crowded && number % 2 == 1 { " class=\"wide\"" } else { "" };
            // The last name must not run out of the picture.
            let (at, anchor) = if at + 40.0 > WIDTH { (WIDTH - 2.0, "end") } else { (at, "middle") };
            let _ = write!(
                svg,
                "<text{class} x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                BOTTOM + 20.0,
                escape(&name)
            );
        }
        label(&mut svg, (LEFT + RIGHT) / 2.0, BOTTOM + 42.0, "middle", self.x.2);
        let mut legend = Vec::new();
        for (index, Line { name, style, points }) in lines.iter().enumerate() {
            let _ = write!(
                svg,
                "<g class=\"series\" data-line=\"{index}\"><path fill=\"none\" stroke-width=\"2\" stroke-linejoin=\"round\" style=\"{style}\" d=\""
            );
            for (number, (px, py, _)) in points.iter().enumerate() {
                let _ = write!(svg, "{}{:.1} {:.1}", if number == 0 { 'M' } else { 'L' }, x.at(*px), y.at(*py));
            }
            // A line of one point has no length: a round end makes it seen.
            if let [(px, py, _)] = points.as_slice() {
                let _ = write!(svg, "M{:.1} {:.1}h8", x.at(*px) - 4.0, y.at(*py));
            }
            let _ = write!(svg, "\"><title>{}</title></path>", escape(name));
            for (px, py, said) in points {
                let _ = write!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"transparent\"><title>{}: {}</title></circle>",
                    x.at(*px),
                    y.at(*py),
                    escape(name),
                    escape(said)
                );
            }
            svg.push_str("</g>");
            legend.push((name.clone(), style.clone()));
        }
        svg.push_str("</svg>");
        Some(Chart { title: self.title, description: self.description, svg, series: lines.len(), legend })
    }
}
