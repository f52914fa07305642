//! Recorders: from clock readings to latency histograms.

use super::Clock;
use super::intervals::{Intervals, Slots};
use super::noise::{Noise, Watch};
use super::statistics::Random;
use crate::engine::MAX_BURST;
use hdrhistogram::Histogram;

/// Longest latency that is told apart: one minute in ns.
const HIGHEST_NS: u64 = 60_000_000_000;

/// Significant decimal digits of every recorded value.
const DIGITS: u8 = 3;

/// The same where there are many histograms.
const COARSE_DIGITS: u8 = 2;

/// A latency histogram in ns that grows no further and loses nothing in silence.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
    beyond: u64,
}

impl Latencies {
    /// Empty: 1 ns to 1 minute with three digits.
    pub fn new() -> Self {
        Latencies::with_digits(DIGITS)
    }

    /// The same with two digits: an eighth of the memory.
    pub fn coarse() -> Self {
        Latencies::with_digits(COARSE_DIGITS)
    }

    fn with_digits(digits: u8) -> Self {
        // These bounds are valid by construction: `new_with_bounds` asks for low >= 1,
        // high >= 2 * low and at most 5 digits.
        let histogram = Histogram::new_with_bounds(1, HIGHEST_NS, digits).expect("bounds are constants and valid");
        Latencies { histogram, beyond: 0 }
    }

    /// Records one value; one beyond the largest is counted, not clamped.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.record_n(ns, 1);
    }

    /// The same for so many values alike.
    #[inline]
    pub fn record_n(&mut self, ns: u64, count: u64) {
        if self.histogram.record_n(ns, count).is_err() {
            self.beyond += count;
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

/// Which verdicts are stamped in a latency pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamping {
    /// None: one reading a burst, and all its packets count as decided at its end.
    Burst,
    /// One in so many packets, at a place that is drawn anew among every so many.
    Sampled(
        /// At least 1.
        u32,
    ),
    /// All.
    Every,
}

impl Stamping {
    /// The word of the command line and of results.
    pub fn name(self) -> &'static str {
        match self {
            Stamping::Burst => "burst",
            Stamping::Sampled(_) => "sampled",
            Stamping::Every => "every",
        }
    }

    /// One in so many packets has a latency of its own.
    pub fn one_in(self) -> u32 {
        match self {
            Stamping::Sampled(n) => n.max(1),
            Stamping::Burst | Stamping::Every => 1,
        }
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
    /// All, over the trace's time.
    pub intervals: Intervals,
    /// How much of the time is marked.
    pub noise: Noise,
    /// Values that are none, because the clock went backwards.
    pub backwards: u64,
}

impl Recording {
    /// So many packets of an interval took so long; `None`: the clock went backwards.
    pub fn file(&mut self, interval: usize, ns: Option<u64>, packets: u64, undisturbed: bool) {
        let Some(ns) = ns else {
            self.backwards += packets;
            return;
        };
        self.raw.record_n(ns, packets);
        self.intervals.record(interval, ns, packets);
        if undisturbed {
            self.clean.record_n(ns, packets);
        }
    }

    /// Adds another core's or pass's.
    pub fn merge(&mut self, other: &Recording) {
        self.raw.merge(&other.raw);
        self.clean.merge(&other.clean);
        self.intervals.merge(&other.intervals);
        self.noise.merge(&other.noise);
        self.backwards += other.backwards;
    }
}

/// Packets that took equally long, as the clock counts.
#[derive(Clone, Copy)]
struct Value {
    /// Place of the first in the lane.
    place: u32,
    packets: u32,
    /// Readings apart; wraps if the clock went backwards.
    apart: u64,
}

/// One worker's recorder: stamps of the burst at hand, latencies of the window at hand, and all before.
pub struct Recorder<'a> {
    clock: &'a Clock,
    stamping: Stamping,
    slots: Slots,
    random: Random,
    /// Place in the lane of the burst's first packet.
    place: usize,
    handed_over: u64,
    /// Verdicts of this burst so far.
    verdicts: usize,
    /// Verdicts to pass over until the next is stamped.
    pass_over: u32,
    /// Of the current run of packets out of which one is stamped, those after the stamped one.
    rest: u32,
    known: [u64; MAX_BURST],
    known_at: [u8; MAX_BURST],
    count: usize,
    /// The reading at the end of the burst before, if nothing came after it.
    last_end: Option<u64>,
    window: Vec<Value>,
    in_window: usize,
    watch: Watch,
    recording: Recording,
}

impl<'a> Recorder<'a> {
    /// Nothing recorded yet; the first window begins. `seed` is for the places of samples.
    pub fn new(clock: &'a Clock, stamping: Stamping, slots: Slots, seed: u64) -> Self {
        let mut recorder = Recorder {
            clock,
            stamping,
            slots,
            random: Random::new(seed),
            place: 0,
            handed_over: 0,
            verdicts: 0,
            pass_over: 0,
            rest: 0,
            known: [0; MAX_BURST],
            known_at: [0; MAX_BURST],
            count: 0,
            last_end: None,
            window: Vec::with_capacity(WINDOW + MAX_BURST),
            in_window: 0,
            watch: Watch::start(clock),
            recording: Recording::default(),
        };
        recorder.draw();
        recorder
    }

    /// Which verdicts it stamps.
    pub fn stamping(&self) -> Stamping {
        self.stamping
    }

    /// Draws which of the next run of packets is stamped.
    #[inline]
    fn draw(&mut self) {
        let one_in = self.stamping.one_in();
        if one_in > 1 {
            let at = self.random.below(one_in as usize) as u32;
            self.pass_over = self.rest + at;
            self.rest = one_in - 1 - at;
        }
    }

    /// A burst of so many packets is handed to the engine now.
    #[inline(always)]
    pub fn hand_over(&mut self, packets: usize) {
        self.count = 0;
        self.verdicts = 0;
        // A burst without a stamp needs no reading.
        if self.stamping == Stamping::Burst || (self.pass_over as usize) < packets {
            self.handed_over = self.clock.raw();
        }
    }

    /// The same, where nothing but bookkeeping came after the burst before: a pause is then a gap, and with one
    /// reading a burst its end is this one's beginning.
    #[inline(always)]
    pub fn hand_over_next(&mut self, packets: usize) {
        match (self.stamping, self.last_end.take()) {
            (Stamping::Burst, Some(end)) => (self.count, self.verdicts, self.handed_over) = (0, 0, end),
            (Stamping::Every, Some(end)) => {
                self.hand_over(packets);
                self.watch.idle(self.clock.ns(end, self.handed_over));
            }
            _ => self.hand_over(packets),
        }
    }

    /// A verdict is known now.
    #[inline(always)]
    pub fn stamp(&mut self) {
        if self.pass_over > 0 {
            self.pass_over -= 1;
        } else if self.count < MAX_BURST {
            self.known[self.count] = self.clock.raw();
            self.known_at[self.count] = self.verdicts as u8;
            self.count += 1;
            self.draw();
        }
        self.verdicts += 1;
    }

    /// Files the latencies of a burst of so many packets, which has just been decided.
    pub fn record(&mut self, packets: usize) {
        if self.stamping == Stamping::Burst {
            let end = self.clock.raw();
            self.last_end = Some(end);
            let apart = end.wrapping_sub(self.handed_over);
            self.window.push(Value { place: self.place as u32, packets: packets as u32, apart });
        } else {
            for (known, at) in self.known[..self.count].iter().zip(&self.known_at) {
                let place = self.place as u32 + u32::from(*at);
                self.window.push(Value { place, packets: 1, apart: known.wrapping_sub(self.handed_over) });
            }
            self.last_end = self.count.checked_sub(1).map(|last| self.known[last]);
        }
        self.place += packets;
        self.in_window += packets;
        if self.in_window >= WINDOW {
            self.close_window();
        }
    }

    fn close_window(&mut self) {
        let noise = self.watch.window(self.clock);
        let undisturbed = noise.marked_ns == 0;
        for value in self.window.drain(..) {
            let forward = value.apart <= i64::MAX as u64;
            let ns = forward.then(|| self.clock.ns(0, value.apart));
            let first = value.place as usize;
            // The packets of a burst lie in one interval, but for few.
            let interval = self.slots.of(first);
            if self.slots.holds(first + value.packets as usize - 1) {
                self.recording.file(interval, ns, u64::from(value.packets), undisturbed);
            } else {
                for place in first..first + value.packets as usize {
                    self.recording.file(self.slots.of(place), ns, 1, undisturbed);
                }
            }
        }
        self.recording.noise.merge(&noise);
        self.in_window = 0;
        // What was done since the last verdict is no pause.
        self.last_end = None;
    }

    /// All that was recorded.
    pub fn finish(mut self) -> Recording {
        self.close_window();
        self.recording
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::intervals::Span;

    /// Bursts of these sizes, each verdict announced as an engine does.
    fn replay(stamping: Stamping, bursts: &[usize], seed: u64) -> (Recording, Vec<u32>) {
        let clock = Clock::new();
        let packets = bursts.iter().sum();
        let span = Span { first_ns: 0, last_ns: packets as u64 };
        let mut recorder = Recorder::new(&clock, stamping, Slots::new(span, packets, |i| i as u64), seed);
        let mut places = Vec::new();
        for burst in bursts {
            recorder.hand_over_next(*burst);
            if stamping != Stamping::Burst {
                (0..*burst).for_each(|_| recorder.stamp());
                places.extend(
                    recorder.known_at[..recorder.count].iter().map(|at| (recorder.place as u32) + u32::from(*at)),
                );
            }
            recorder.record(*burst);
        }
        (recorder.finish(), places)
    }

    #[test]
    fn every_packet_is_recorded_once_in_its_interval() {
        let bursts: Vec<usize> = (0..500).map(|i| 1 + i % 64).collect();
        let packets: u64 = bursts.iter().map(|burst| *burst as u64).sum();
        for stamping in [Stamping::Every, Stamping::Burst, Stamping::Sampled(1)] {
            let (recording, _) = replay(stamping, &bursts, 1);
            assert_eq!(recording.raw.histogram().len() + recording.raw.beyond() + recording.backwards, packets);
            let span = Span { first_ns: 0, last_ns: packets };
            for (interval, latencies) in recording.intervals.recorded() {
                let here = (0..packets).filter(|time| span.interval(*time) == interval).count() as u64;
                assert_eq!(latencies.histogram().len(), here, "{stamping:?}, interval {interval}");
            }
        }
    }

    #[test]
    fn one_in_n_packets_is_sampled_at_places_of_no_pattern() {
        let bursts = [32; 1_000];
        let (recording, places) = replay(Stamping::Sampled(32), &bursts, 7);
        assert_eq!(recording.raw.histogram().len(), 1_000);
        // Exactly one of every 32 packets, and at every place among them.
        assert!(places.iter().enumerate().all(|(run, place)| *place as usize / 32 == run));
        let mut at: Vec<u32> = places.iter().map(|place| place % 32).collect();
        at.sort_unstable();
        at.dedup();
        assert_eq!(at.len(), 32);
        assert_ne!(replay(Stamping::Sampled(32), &bursts, 8).1, places, "drawn anew with another seed");
        // Runs that no burst ends with, and bursts without a sample.
        let (recording, places) = replay(Stamping::Sampled(100), &[7; 1_000], 7);
        assert_eq!(recording.raw.histogram().len(), 70);
        assert!(places.iter().enumerate().all(|(run, place)| *place as usize / 100 == run));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut recording = Recording::default();
        recording.file(0, Some(HIGHEST_NS * 4), 3, true);
        recording.file(0, None, 2, true);
        recording.file(0, Some(5), 1, false);
        assert_eq!((recording.raw.beyond(), recording.backwards), (3, 2));
        assert_eq!((recording.raw.histogram().len(), recording.clean.histogram().len()), (1, 0));
        let mut sum = Recording::default();
        sum.merge(&recording);
        sum.merge(&recording);
        assert_eq!((sum.raw.beyond(), sum.backwards), (6, 4));
    }
}
