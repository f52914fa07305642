//! Where plotters draws to: SVG that follows the page's style sheet.
//!
//! Places are whole numbers to plotters, so a picture counts in tenths of what it is shown in.

use super::colours::{self, TEXT};
use super::escape;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Drawable, PointCollection};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontFamily, TextStyle};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};
use std::convert::Infallible;
use std::fmt::Write;

/// Width of every picture; the page scales it.
pub(super) const WIDTH: u32 = 6_400;

/// Height of letters.
const LETTERS: i32 = 140;

/// What can go wrong while drawing: nothing, as a string takes everything.
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<Infallible>>;
type Written = Result<(), DrawingErrorKind<Infallible>>;

/// All of a picture.
pub(super) type Paper<'a> = DrawingArea<Svg<'a>, Shift>;

/// A picture. `kind` is how the page's script reads it: `lines` side by side at an x, or `marks` one by one.
pub(super) fn picture(title: &str, kind: &str, height: u32, draw: impl FnOnce(&Paper) -> Drawn) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"{kind}\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{}\" height=\"{}\" \
         role=\"img\" aria-label=\"{}\" font-family=\"system-ui,sans-serif\" font-size=\"{LETTERS}\" style=\"fill:{}\">",
        WIDTH / 10,
        height / 10,
        escape(title),
        colours::css(TEXT.color())
    );
    draw(&Svg { text: &mut text, size: (WIDTH, height) }.into_drawing_area()).expect("a string takes everything");
    text + "</svg>"
}

/// How text is written: with this corner, side or centre at its place.
pub(super) fn text(h_pos: HPos, v_pos: VPos) -> TextStyle<'static> {
    TextStyle::from((FontFamily::SansSerif, LETTERS)).color(&TEXT).pos(Pos::new(h_pos, v_pos))
}

/// The back end.
pub(super) struct Svg<'a> {
    text: &'a mut String,
    size: (u32, u32),
}

impl Svg<'_> {
    /// Writes an element. Writing to a string cannot fail.
    fn write(&mut self, element: std::fmt::Arguments) -> Written {
        let _ = self.text.write_fmt(element);
        Ok(())
    }
}

/// The style of an outline or of an area.
fn paint<S: BackendStyle>(style: &S, fill: bool) -> String {
    let colour = colours::css(style.color());
    if fill {
        format!("fill:{colour}")
    } else {
        format!("fill:none;stroke-width:{};stroke:{colour}", style.stroke_width())
    }
}

/// Lines from place to place: the first as it is, all others as seen from the one before, which is shorter.
fn steps(places: impl IntoIterator<Item = BackendCoord>) -> String {
    let mut text = String::new();
    let mut last = None;
    for (number, (x, y)) in places.into_iter().enumerate() {
        let _ = match last.replace((x, y)) {
            None => write!(text, "M{x} {y}"),
            Some((before_x, before_y)) => {
                write!(text, "{}{} {}", if number == 1 { 'l' } else { ' ' }, x - before_x, y - before_y)
            }
        };
    }
    text
}

/// What is of no colour is not drawn.
fn is_seen<S: BackendStyle>(style: &S) -> bool {
    style.color().alpha > 0.0
}

impl DrawingBackend for Svg<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Written {
        Ok(())
    }

    fn present(&mut self) -> Written {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Written {
        self.draw_rect((x, y), (x + 1, y + 1), &colour, true)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Written {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Written {
        match is_seen(style) {
            true => self.write(format_args!("<path d=\"{}\" style=\"{}\"/>", steps(path), paint(style, false))),
            false => Ok(()),
        }
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Written {
        self.write(format_args!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" style=\"{}\"/>",
            right - left,
            bottom - top,
            paint(style, fill)
        ))
    }

    fn draw_circle<S: BackendStyle>(&mut self, (x, y): BackendCoord, radius: u32, style: &S, fill: bool) -> Written {
        self.write(format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" style=\"{}\"/>", paint(style, fill)))
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Written {
        let Pos { h_pos, v_pos } = style.anchor();
        let anchor = match h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        // Text stands on its base line. What hangs from its top is the name of a tick of the x axis.
        let (y, class) = match v_pos {
            VPos::Top => (y + LETTERS * 4 / 5, " class=\"x\""),
            VPos::Center => (y + LETTERS * 7 / 20, ""),
            VPos::Bottom => (y - LETTERS / 4, ""),
        };
        self.write(format_args!("<text{class} x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>", escape(text)))
    }
}

/// Markup between what plotters draws: the begin or the end of a group with a name to point at.
pub(super) struct Markup(String);

impl Markup {
    /// The begin of a group. Attributes are written as they are, the title is text.
    pub(super) fn group(attributes: &str, title: &str) -> Markup {
        Markup(format!("<g {attributes}><title>{}</title>", escape(title)))
    }

    /// Its end.
    pub(super) fn end() -> Markup {
        Markup("</g>".into())
    }
}

impl<'a, Place: 'a> PointCollection<'a, Place> for &'a Markup {
    type Point = &'a Place;
    type IntoIter = std::iter::Empty<&'a Place>;

    fn point_iter(self) -> Self::IntoIter {
        std::iter::empty()
    }
}

impl Drawable<Svg<'_>> for Markup {
    fn draw<I: Iterator<Item = BackendCoord>>(&self, _: I, svg: &mut Svg<'_>, _: (u32, u32)) -> Written {
        svg.text.push_str(&self.0);
        Ok(())
    }
}

/// A place to point at, and what is said there. It is not seen: the group that it is in says so.
pub(super) struct Spot {
    /// x and y.
    pub(super) at: (f64, f64),
    pub(super) said: String,
}

impl<'a> PointCollection<'a, (f64, f64)> for &'a Spot {
    type Point = (f64, f64);
    type IntoIter = std::iter::Once<(f64, f64)>;

    fn point_iter(self) -> Self::IntoIter {
        std::iter::once(self.at)
    }
}

impl Drawable<Svg<'_>> for Spot {
    fn draw<I: Iterator<Item = BackendCoord>>(&self, places: I, svg: &mut Svg<'_>, _: (u32, u32)) -> Written {
        for (x, y) in places {
            svg.write(format_args!(
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"50\"><title>{}</title></circle>",
                escape(&self.said)
            ))?;
        }
        Ok(())
    }
}
