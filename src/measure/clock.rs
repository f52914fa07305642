//! The clock: the time-stamp counter where it is invariant, else the OS clock (crate `quanta`).

use super::Latencies;
use hdrhistogram::Histogram;

/// A calibrated clock.
pub struct Clock(quanta::Clock);

/// What the clock itself costs: the distribution of two readings with nothing in between, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFloor {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest: mostly interruptions of the whole machine.
    pub max: u64,
}

impl Clock {
    /// Calibrates against the OS clock; takes up to 200 ms once a process.
    pub fn new() -> Self {
        Clock(quanta::Clock::new())
    }

    /// A reading in the counter's own unit.
    #[inline(always)]
    pub fn raw(&self) -> u64 {
        self.0.raw()
    }

    /// Time between two readings in ns; 0 if the clock went backwards.
    #[inline(always)]
    pub fn ns(&self, start: u64, end: u64) -> u64 {
        self.0.delta_as_nanos(start, end)
    }

    /// Reads the clock pairwise, 100,000 times.
    pub fn floor(&self) -> ClockFloor {
        let mut latencies = Latencies::new();
        for _ in 0..100_000 {
            let start = self.raw();
            let end = self.raw();
            latencies.record(self.ns(start, end));
        }
        let h: &Histogram<u64> = latencies.histogram();
        ClockFloor { p50: h.value_at_quantile(0.5), p99: h.value_at_quantile(0.99), max: h.max() }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}
