//! Recorders: from clock readings to latency histograms.

use super::Clock;
use crate::engine::MAX_BURST;
use hdrhistogram::Histogram;

/// Longest latency that is told apart: one minute in ns.
const HIGHEST_NS: u64 = 60_000_000_000;

/// Significant decimal digits of every recorded value.
const DIGITS: u8 = 3;

/// A latency histogram in ns that grows no further and loses nothing in silence.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
    beyond: u64,
}

impl Latencies {
    /// Empty: 1 ns to 1 minute with three digits.
    pub fn new() -> Self {
        // These bounds are valid by construction: `new_with_bounds` asks for low >= 1,
        // high >= 2 * low and at most 5 digits.
        let histogram = Histogram::new_with_bounds(1, HIGHEST_NS, DIGITS).expect("bounds are constants and valid");
        Latencies { histogram, beyond: 0 }
    }

    /// Records one value; one beyond the largest is counted, not clamped.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        if self.histogram.record(ns).is_err() {
            self.beyond += 1;
        }
    }

    /// Adds another core's or pass's.
    pub fn merge(&mut self, other: &Latencies) {
        self.beyond += other.beyond;
        if self.histogram.add(&other.histogram).is_err() {
            // Same bounds always: `add` cannot fail. Counted all the same.
            self.beyond += other.histogram.len();
        }
    }

    /// The histogram.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Values beyond one minute.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies::new()
    }
}

/// Stamps of one burst: when it was handed over, and when each verdict was known.
pub struct PacketStamps<'a> {
    clock: &'a Clock,
    handed_over: u64,
    known: [u64; MAX_BURST],
    count: usize,
}

impl<'a> PacketStamps<'a> {
    /// No stamps yet.
    pub fn new(clock: &'a Clock) -> Self {
        PacketStamps { clock, handed_over: 0, known: [0; MAX_BURST], count: 0 }
    }

    /// A burst is handed to the engine now.
    #[inline(always)]
    pub fn hand_over(&mut self) {
        self.count = 0;
        self.handed_over = self.clock.raw();
    }

    /// A verdict is known now.
    #[inline(always)]
    pub fn stamp(&mut self) {
        if self.count < MAX_BURST {
            self.known[self.count] = self.clock.raw();
            self.count += 1;
        }
    }

    /// Files the burst's latencies.
    pub fn record(&self, latencies: &mut Latencies) {
        for known in &self.known[..self.count] {
            latencies.record(self.clock.ns(self.handed_over, *known));
        }
    }
}
