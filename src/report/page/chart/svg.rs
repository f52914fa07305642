//! What all charts are drawn with: the picture's frame, lines of the grid, labels, and axes.

use super::escape;
use crate::report::text::time;
use std::fmt::Write;

/// Width of every picture; the page scales it.
pub(super) const WIDTH: f64 = 640.0;

/// Opens a picture. `kind` is how the page's script reads it: `lines` side by side at an x, or `marks` one by one.
pub(super) fn open(title: &str, kind: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"{kind}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"14\" style=\"fill:var(--text,#222)\">"
    )
}

/// A thin line. Writing to a string cannot fail; hence the ignored results here and in all charts.
pub(super) fn grid(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = write!(svg, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" style=\"stroke:var(--grid,#ddd);fill:none\"/>");
}

/// Text.
pub(super) fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
}

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Even.
    Linear,
    /// Each ten times as much as wide as the last.
    Logarithmic,
    /// Of a share of packets, given as its nines (1 is 90 %): each further nine as wide as the last.
    Nines,
}

/// An axis from one value to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Where they lie in the picture.
    pub(super) from: f64,
    pub(super) to: f64,
    unit: Unit,
}

/// What the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nanoseconds.
    Ns,
    /// Seconds.
    Seconds,
    /// Packets a second.
    PacketsPerSecond,
    /// Packets that are as fast or faster.
    Share,
}

impl Axis {
    /// An axis that has room for all the values, from round value to round value. `None` if there is no value for it.
    pub(super) fn around(
        values: impl Iterator<Item = f64>,
        scale: Scale,
        unit: Unit,
        [from, to]: [f64; 2],
    ) -> Option<Axis> {
        let usable = values.filter(|value| value.is_finite() && (scale != Scale::Logarithmic || *value > 0.0));
        let (low, high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return None;
        }
        let (low, high) = match scale {
            Scale::Linear => (0f64.min(low), if high > 0.0 { high } else { 1.0 }),
            Scale::Nines => (0.0, high.max(2.0).ceil()),
            Scale::Logarithmic => {
                let low = low.log10().floor();
                (low, high.log10().ceil().max(low + 1.0))
            }
        };
        Some(Axis { scale, low, high, from, to, unit })
    }

    /// The place of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Logarithmic { value.log10() } else { value };
        self.from + (self.to - self.from) * (value.clamp(self.low, self.high) - self.low) / (self.high - self.low)
    }

    /// Places of the grid's lines with their names.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = round_step((self.high - self.low) / 5.0);
                let first = (self.low / step).ceil() as i64;
                let last = (self.high / step + 1e-9).floor() as i64;
                (first..=last).map(|n| n as f64 * step).map(|value| (self.at(value), self.name(value))).collect()
            }
            Scale::Logarithmic => {
                let powers = (self.low as i32)..=(self.high as i32);
                // A range of a decade or two has the 2 and the 5 as well, or it would have hardly a line.
                let between: &[f64] = if self.high - self.low <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let values = powers.flat_map(|power| between.iter().map(move |n| n * 10f64.powi(power)));
                let limit = 10f64.powf(self.high) * 1.001;
                values.filter(|value| *value <= limit).map(|value| (self.at(value), self.name(value))).collect()
            }
            Scale::Nines => {
                (0..=self.high as usize).map(|nines| (self.at(nines as f64), self.name(nines as f64))).collect()
            }
        }
    }

    /// A value as people write it.
    pub(super) fn name(&self, value: f64) -> String {
        match self.unit {
            Unit::Ns if value < 1e18 => short(&time(value.round() as u64)),
            Unit::Ns => "∞".into(),
            Unit::Seconds => format!("{} s", trimmed(value)),
            Unit::PacketsPerSecond => rate(value),
            Unit::Share => match value.round() as usize {
                0 => "0 %".to_owned(),
                1 => "90 %".to_owned(),
                2 => "99 %".to_owned(),
                nines => format!("99.{} %", "9".repeat(nines - 2)),
            },
        }
    }
}

/// 1, 2 or 5 times a power of ten, no less than this.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= least * 0.999).unwrap_or(power * 10.0)
}

/// `10.0 us` as `10 us`.
fn short(time: &str) -> String {
    match time.split_once(' ') {
        Some((value, unit)) if value.contains('.') => {
            format!("{} {unit}", value.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => time.to_owned(),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Packets a second in the unit that suits it.
pub(super) fn rate(pps: f64) -> String {
    match pps {
        v if v >= 1e6 => format!("{} Mpps", trimmed(v / 1e6)),
        v if v >= 1e3 => format!("{} kpps", trimmed(v / 1e3)),
        v => format!("{} pps", trimmed(v)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_room_for_their_values_and_round_names() {
        let times = Axis::around([150.0, 90_000.0].into_iter(), Scale::Logarithmic, Unit::Ns, [0.0, 300.0]).unwrap();
        let names: Vec<String> = times.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["100 ns", "1 us", "10 us", "100 us"]);
        assert_eq!((times.at(100.0), times.at(100_000.0)), (0.0, 300.0));
        let seconds = Axis::around([0.0, 57.0].into_iter(), Scale::Linear, Unit::Seconds, [0.0, 57.0]).unwrap();
        let names: Vec<String> = seconds.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["0 s", "20 s", "40 s"]);
        let narrow =
            Axis::around([3e5, 9e5].into_iter(), Scale::Logarithmic, Unit::PacketsPerSecond, [0.0, 1.0]).unwrap();
        let names: Vec<String> = narrow.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["100 kpps", "200 kpps", "500 kpps", "1 Mpps"]);
        let nines = Axis::around([3.3].into_iter(), Scale::Nines, Unit::Share, [0.0, 4.0]).unwrap();
        assert_eq!(nines.ticks().last().unwrap(), &(4.0, "99.99 %".to_owned()));
    }

    #[test]
    fn no_value_makes_no_axis_and_one_value_does() {
        for none in [vec![], vec![f64::NAN], vec![0.0], vec![-1.0, f64::INFINITY]] {
            assert!(Axis::around(none.into_iter(), Scale::Logarithmic, Unit::Ns, [0.0, 1.0]).is_none());
        }
        for scale in [Scale::Linear, Scale::Logarithmic, Scale::Nines] {
            let axis = Axis::around([10.0].into_iter(), scale, Unit::Ns, [0.0, 1.0]).unwrap();
            assert!(axis.at(10.0).is_finite() && !axis.ticks().is_empty());
        }
        let zero = Axis::around([0.0].into_iter(), Scale::Linear, Unit::Seconds, [0.0, 1.0]).unwrap();
        assert!(zero.at(0.0) == 0.0 && zero.ticks().len() > 1);
    }
}
