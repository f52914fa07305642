//! The clock: the time-stamp counter where it is invariant, else the OS clock (crate `quanta`).

use super::Latencies;
use std::time::Instant;

/// A calibrated clock.
pub struct Clock {
    clock: quanta::Clock,
    /// When it was made, by the OS and by its own counter.
    made: (Instant, u64),
}

/// What the clock itself costs: the distribution of two readings with nothing in between, in ns.
#[derive(Clone, Debug, Default)]
pub struct ClockFloor {
    /// All pairs of readings.
    pub apart: Latencies,
    /// Pairs of which the second was lower than the first.
    pub backwards: u64,
}

impl ClockFloor {
    /// A quantile, in ns.
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.apart.histogram().value_at_quantile(quantile)
    }
}

/// Two clocks need so long to be compared, in ns: the OS clock's own steps are then far below a millionth.
const COMPARABLE_NS: u128 = 200_000_000;

impl Clock {
    /// Calibrates against the OS clock; takes up to 200 ms once a process.
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let made = (Instant::now(), clock.raw());
        Clock { clock, made }
    }

    /// A reading in the counter's own unit.
    #[inline(always)]
    pub fn raw(&self) -> u64 {
        self.clock.raw()
    }

    /// Time between two readings in ns; 0 if the clock went backwards.
    #[inline(always)]
    pub fn ns(&self, start: u64, end: u64) -> u64 {
        self.clock.delta_as_nanos(start, end)
    }

    /// Reads the clock pairwise, 100,000 times.
    pub fn floor(&self) -> ClockFloor {
        let mut floor = ClockFloor::default();
        for _ in 0..100_000 {
            let start = self.raw();
            let end = self.raw();
            match end < start {
                true => floor.backwards += 1,
                false => floor.apart.record(self.ns(start, end)),
            }
        }
        floor
    }

    /// The counter's steps a second, as calibrated; `None`: it is the OS clock, in ns.
    pub fn ticks_per_second(&self) -> Option<f64> {
        // The OS clock needs no scale; a counter's is a fraction that is never exactly 1.
        const TICKS: u64 = 1 << 40;
        let ns = self.ns(0, TICKS);
        (ns != TICKS && ns > 0).then(|| TICKS as f64 / ns as f64 * 1e9)
    }

    /// What it made of the time since it was made, as a multiple of what the OS clock did: 1 unless one of them
    /// jumped or was calibrated badly. `None` if that is too short ago to tell.
    pub fn against_os(&self) -> Option<f64> {
        let (instant, raw) = self.made;
        let (ours, theirs) = (self.ns(raw, self.raw()), instant.elapsed().as_nanos());
        (theirs >= COMPARABLE_NS).then(|| ours as f64 / theirs as f64)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_says_what_it_is_and_agrees_with_the_systems() {
        let clock = Clock::new();
        let floor = clock.floor();
        assert_eq!(floor.apart.histogram().len() + floor.apart.beyond() + floor.backwards, 100_000);
        assert!(floor.quantile(0.5) <= floor.quantile(0.99));
        if let Some(ticks) = clock.ticks_per_second() {
            assert!(ticks > 1e6, "{ticks}");
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
        let ratio = clock.against_os().expect("a quarter of a second has passed");
        assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
    }
}
