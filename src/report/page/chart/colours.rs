//! The palette: what plotters knows as a colour is a variable of the page's style sheet, so that it follows light and dark
//! mode. Where no style sheet sets it, as in a file of its own, it is light mode's.

use plotters::style::{Color, RGBColor};
use plotters_backend::BackendColor;

/// Of lines and of parts (Okabe and Ito, "Color Universal Design", 2008).
pub(super) const LINES: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xb5, 0x53, 0x9a),
    RGBColor(0x8a, 0x6d, 0x00),
    RGBColor(0x2a, 0x93, 0xc9),
    RGBColor(0xc0, 0x39, 0x2b),
    RGBColor(0x44, 0x44, 0x44),
];
/// What is better than the baseline.
pub(super) const BETTER: RGBColor = LINES[0];
/// What is worse.
pub(super) const WORSE: RGBColor = LINES[1];
/// What is neither.
pub(super) const MUTED: RGBColor = RGBColor(0x66, 0x66, 0x66);
pub(super) const TEXT: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// The end of a style that begins with what is to have the colour: `fill:` or `stroke:`.
pub(super) fn css(colour: BackendColor) -> String {
    let of = |known: RGBColor| known.to_backend_color().rgb == colour.rgb;
    let name = match LINES.into_iter().position(of) {
        Some(line) => Some(format!("line{line}")),
        None => [(MUTED, "muted"), (TEXT, "text"), (GRID, "grid")]
            .into_iter()
            .find_map(|(known, name)| of(known).then(|| name.to_owned())),
    };
    let (r, g, b) = colour.rgb;
    let css = match name {
        Some(name) => format!("var(--{name},#{r:02x}{g:02x}{b:02x})"),
        None => format!("#{r:02x}{g:02x}{b:02x}"),
    };
    if colour.alpha < 1.0 { format!("{css};opacity:{:.2}", colour.alpha) } else { css }
}
