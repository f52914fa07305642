//! Recorders: from clock readings to latency histograms.

use super::Clock;
use super::noise::{Noise, Watch};
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

/// Packets a window: short enough that one interruption spoils little, long enough that looking at the
/// clocks at its end costs next to nothing.
const WINDOW: usize = 2048;

/// Latencies of all packets, and of those alone whose windows the system left undisturbed.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// All.
    pub raw: Latencies,
    /// Without the marked windows.
    pub clean: Latencies,
    /// How much of the time is marked.
    pub noise: Noise,
}

impl Recording {
    /// Adds another core's or pass's.
    pub fn merge(&mut self, other: &Recording) {
        self.raw.merge(&other.raw);
        self.clean.merge(&other.clean);
        self.noise.merge(&other.noise);
    }
}

/// One worker's recorder: stamps of the burst at hand, latencies of the window at hand, and all before.
pub struct Recorder<'a> {
    clock: &'a Clock,
    handed_over: u64,
    known: [u64; MAX_BURST],
    count: usize,
    window: Vec<u64>,
    watch: Watch,
    recording: Recording,
}

impl<'a> Recorder<'a> {
    /// Nothing recorded yet; the first window begins.
    pub fn new(clock: &'a Clock) -> Self {
        Recorder {
            clock,
            handed_over: 0,
            known: [0; MAX_BURST],
            count: 0,
            window: Vec::with_capacity(WINDOW + MAX_BURST),
            watch: Watch::start(clock),
            recording: Recording::default(),
        }
    }

    /// A burst is handed to the engine now.
    #[inline(always)]
    pub fn hand_over(&mut self) {
        self.count = 0;
        self.handed_over = self.clock.raw();
    }

    /// The same, where nothing but bookkeeping came after the burst before: a pause is then a gap.
    #[inline(always)]
    pub fn hand_over_next(&mut self) {
        let last = if self.count > 0 { self.known[self.count - 1] } else { 0 };
        self.hand_over();
        if last != 0 {
            self.watch.idle(self.clock.ns(last, self.handed_over));
        }
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
    pub fn record(&mut self) {
        for known in &self.known[..self.count] {
            self.window.push(self.clock.ns(self.handed_over, *known));
        }
        if self.window.len() >= WINDOW {
            self.close_window();
        }
    }

    fn close_window(&mut self) {
        let noise = self.watch.window(self.clock);
        let (raw, clean) = (&mut self.recording.raw, &mut self.recording.clean);
        let undisturbed = noise.marked_ns == 0;
        for ns in self.window.drain(..) {
            raw.record(ns);
            if undisturbed {
                clean.record(ns);
            }
        }
        self.recording.noise.merge(&noise);
        // What was done since the last verdict is no pause.
        self.count = 0;
    }

    /// All that was recorded.
    pub fn finish(mut self) -> Recording {
        self.close_window();
        self.recording
    }
}
