//! Axes with room for their values, from round value to round value, and how values are named on them.

use crate::report::words::time;
use plotters::coord::combinators::{BindKeyPoints, IntoLogRange, LogCoord, WithKeyPoints};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use std::ops::Range;

/// A logarithmic axis with ticks of our own: plotters' leave out the first or last where a logarithm is not exact, and are
/// a decade or a tenth of one apart, nothing between.
pub(super) type Logarithmic = WithKeyPoints<LogCoord<f64>>;

/// Of tens: a decade or two have a tick at 2 and 5 as well, or there would be hardly one.
pub(super) fn decades(values: impl Iterator<Item = f64>) -> Option<Logarithmic> {
    let (low, high) = extent(values.filter(|value| *value > 0.0))?;
    let low = low.log10().floor();
    let high = high.log10().ceil().max(low + 1.0);
    let between: &[f64] = if high - low <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let ends = 10f64.powf(low)..10f64.powf(high);
    let ticks = (low as i32..=high as i32).flat_map(|power| between.iter().map(move |n| n * 10f64.powi(power)));
    let ticks = ticks.filter(|tick| *tick <= ends.end * 1.001).collect();
    Some(ends.log_scale().with_key_points(ticks))
}

/// Of twos, no more than this many ticks.
pub(super) fn doublings(values: impl Iterator<Item = f64>, most: f64) -> Option<Logarithmic> {
    let (low, high) = extent(values.filter(|value| *value > 0.0))?;
    // Beyond forty there is nothing to measure.
    let low = low.log2().floor().clamp(-40.0, 39.0);
    let high = high.log2().ceil().clamp(low + 1.0, 40.0);
    let step = ((high - low) / most).ceil().max(1.0) as usize;
    let ticks = (low as i32..=high as i32).step_by(step).map(|power| 2f64.powi(power)).collect();
    Some((2f64.powf(low)..2f64.powf(high)).log_scale().base(2.0).with_key_points(ticks))
}

/// An even one from 0.
pub(super) fn even(values: impl Iterator<Item = f64>) -> Option<RangedCoordf64> {
    let (low, high) = extent(values)?;
    Some((0f64.min(low)..if high > 0.0 { high } else { 1.0 }).into())
}

/// Shares of packets as HdrHistogram plots them, given as their nines (1 is 90 %): each further nine as wide as the last.
pub(super) struct Nines(RangedCoordf64);

impl Nines {
    /// With room for these.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Option<Nines> {
        let (_, high) = extent(values)?;
        Some(Nines((0.0..high.max(2.0).ceil()).into()))
    }

    /// As a share in percent.
    pub(super) fn name(nines: f64) -> String {
        match nines.round() as usize {
            0 => "0".to_owned(),
            1 => "90".to_owned(),
            2 => "99".to_owned(),
            nines => format!("99.{}", "9".repeat(nines - 2)),
        }
    }
}

impl Ranged for Nines {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, nines: &f64, limit: (i32, i32)) -> i32 {
        self.0.map(nines, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        (0..=self.0.range().end as u32).map(f64::from).collect()
    }

    fn range(&self) -> Range<f64> {
        self.0.range()
    }
}

/// The least and the greatest of what is a number; `None` without one.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let numbers = values.filter(|value| value.is_finite());
    numbers.fold(None, |extent, value| match extent {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// What values are, and so how they are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Ns,
    Seconds,
    PacketsPerSecond,
    Nines,
}

impl Unit {
    /// A value as people write it.
    pub(super) fn name(self, value: f64) -> String {
        match self {
            Unit::Ns if value < 1e18 => short(&time(value.round() as u64)),
            Unit::Ns => "∞".into(),
            Unit::Seconds if value > 0.0 && value < 0.01 => short(&time((value * 1e9).round() as u64)),
            Unit::Seconds => format!("{} s", trimmed(value)),
            Unit::PacketsPerSecond => rate(value),
            Unit::Nines => Nines::name(value),
        }
    }
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
    use plotters::coord::ranged1d::BoldPoints;

    /// The ticks' names and the places of these values on an axis a thousand wide.
    fn looks<R: Ranged<ValueType = f64>>(axis: R, unit: Unit, values: &[f64]) -> (Vec<String>, Vec<i32>) {
        let names = axis.key_points(BoldPoints(7)).into_iter().map(|tick| unit.name(tick)).collect();
        (names, values.iter().map(|value| axis.map(value, (0, 1_000))).collect())
    }

    #[test]
    fn axes_have_room_for_their_values_and_round_names() {
        let (names, places) = looks(decades([150.0, 90_000.0].into_iter()).unwrap(), Unit::Ns, &[100.0, 1e4, 1e5]);
        assert_eq!(names, ["100 ns", "1 us", "10 us", "100 us"]);
        assert_eq!(places, [0, 666, 1_000]);
        let (names, _) = looks(decades([3e5, 9e5].into_iter()).unwrap(), Unit::PacketsPerSecond, &[]);
        assert_eq!(names, ["100 kpps", "200 kpps", "500 kpps", "1 Mpps"]);
        let (names, places) = looks(even([0.0, 57.0].into_iter()).unwrap(), Unit::Seconds, &[0.0, 57.0]);
        assert_eq!(names, ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s"]);
        assert_eq!(places, [0, 1_000]);
        let (names, _) = looks(even([0.0, 5e-5].into_iter()).unwrap(), Unit::Seconds, &[]);
        assert_eq!(names, ["0 s", "10 us", "20 us", "30 us", "40 us", "50 us"]);
        let (names, places) = looks(Nines::around([3.3].into_iter()).unwrap(), Unit::Nines, &[1.0, 3.3]);
        assert_eq!(names, ["0", "90", "99", "99.9", "99.99"]);
        assert_eq!(places, [250, 825]);
    }

    #[test]
    fn doublings_leave_ticks_out_before_they_are_too_many() {
        let ticks = |low: f64, high: f64| doublings([low, high].into_iter(), 8.0).unwrap().key_points(BoldPoints(9));
        assert_eq!(ticks(0.3, 6.7), [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]);
        assert_eq!(ticks(1.0, 1.0), [1.0, 2.0]);
        assert_eq!(ticks(1e-300, 1e300).len(), 9);
    }

    #[test]
    fn no_value_makes_no_axis_and_one_value_does() {
        for none in [vec![], vec![f64::NAN], vec![0.0], vec![-1.0, f64::INFINITY]] {
            assert!(decades(none.iter().copied()).is_none());
            assert!(doublings(none.into_iter(), 8.0).is_none());
        }
        assert_eq!(looks(decades([10.0].into_iter()).unwrap(), Unit::Ns, &[10.0]).1, [0]);
        assert_eq!(looks(Nines::around([0.0].into_iter()).unwrap(), Unit::Nines, &[2.0]).1, [1_000]);
        let (names, places) = looks(even([0.0].into_iter()).unwrap(), Unit::Seconds, &[0.0]);
        assert!(names.len() > 1 && places == [0]);
    }

    /// Every power of ten and of two that figures may have is a tick, also where logarithms are not exact.
    #[test]
    fn no_end_of_an_axis_is_left_without_its_tick() {
        for power in -12..=18 {
            let (low, high) = (10f64.powi(power), 10f64.powi(power + 4));
            let axis = decades([low, high].into_iter()).unwrap();
            let ticks = axis.key_points(BoldPoints(7));
            assert_eq!((ticks.len(), axis.map(&ticks[0], (0, 1_000)), axis.map(&ticks[4], (0, 1_000))), (5, 0, 1_000));
        }
    }
}
