//! Latency over the trace's time: which interval a packet lies in.

use super::Latencies;
use crate::trace::Trace;

/// Intervals that a trace's time is cut into. A chart cannot show more, and each has a histogram.
pub const INTERVALS: usize = 60;

/// A stretch of packet time, in ns since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first packet's time.
    pub first_ns: u64,
    /// The last packet's.
    pub last_ns: u64,
}

impl Span {
    /// From a trace's first packet to its last.
    pub fn of(trace: &Trace) -> Self {
        let time = |packet: Option<&crate::packet::Packet>| packet.map_or(0, |packet| packet.time_ns);
        Span { first_ns: time(trace.packets.first()), last_ns: time(trace.packets.last()) }
    }

    /// Length of one of [`INTERVALS`], in ns; at least 1.
    pub fn interval_ns(self) -> u64 {
        (self.last_ns.saturating_sub(self.first_ns) / INTERVALS as u64).saturating_add(1)
    }

    /// The interval of a packet time, below [`INTERVALS`].
    pub fn interval(self, time_ns: u64) -> usize {
        let after = time_ns.saturating_sub(self.first_ns) / self.interval_ns();
        after.min(INTERVALS as u64 - 1) as usize
    }
}

/// Where the intervals end among packets whose times never decrease.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    ends: Vec<usize>,
    at: usize,
}

impl Slots {
    /// For packets with these times.
    pub fn new(span: Span, packets: usize, time_ns: impl Fn(usize) -> u64) -> Self {
        let mut ends = Vec::with_capacity(INTERVALS);
        let mut from = 0;
        for interval in 0..INTERVALS {
            // Binary search: packets are many, intervals few.
            let (mut low, mut high) = (from, packets);
            while low < high {
                let middle = low + (high - low) / 2;
                match span.interval(time_ns(middle)) <= interval {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            from = low;
            ends.push(from);
        }
        Slots { ends, at: 0 }
    }

    /// The interval of the packet at this place; places never decrease.
    #[inline]
    pub fn of(&mut self, place: usize) -> usize {
        while self.at + 1 < self.ends.len() && place >= self.ends[self.at] {
            self.at += 1;
        }
        self.at
    }

    /// True if this later place lies in the same interval as the last one asked for.
    #[inline]
    pub fn holds(&self, place: usize) -> bool {
        self.ends.get(self.at).is_none_or(|end| place < *end) || self.at + 1 >= self.ends.len()
    }
}

/// A histogram for each interval.
#[derive(Clone, Debug, Default)]
pub struct Intervals(Vec<Latencies>);

impl Intervals {
    /// So many packets of an interval took so long.
    #[inline]
    pub fn record(&mut self, interval: usize, ns: u64, packets: u64) {
        if self.0.len() <= interval {
            self.0.resize_with(interval + 1, Latencies::coarse);
        }
        self.0[interval].record_n(ns, packets);
    }

    /// Adds another core's or pass's.
    pub fn merge(&mut self, other: &Intervals) {
        if self.0.len() < other.0.len() {
            self.0.resize_with(other.0.len(), Latencies::coarse);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(ours, theirs)| ours.merge(theirs));
    }

    /// Each interval in which something was recorded, by number.
    pub fn recorded(&self) -> impl Iterator<Item = (usize, &Latencies)> {
        self.0.iter().enumerate().filter(|(_, latencies)| !latencies.histogram().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_in_the_interval_of_its_time() {
        for times in [vec![7], vec![5, 5, 5], (0..1000).collect(), vec![0, 59, 60, 61, 6_000, u64::MAX]] {
            let span = Span { first_ns: times[0], last_ns: times[times.len() - 1] };
            let mut slots = Slots::new(span, times.len(), |i| times[i]);
            for (place, time) in times.iter().enumerate() {
                assert_eq!(slots.of(place), span.interval(*time), "{time} of {times:?}");
            }
        }
        assert_eq!(Slots::default().of(3), 0);
    }

    #[test]
    fn intervals_add_up() {
        let mut sum = Intervals::default();
        let mut one = Intervals::default();
        one.record(0, 10, 1);
        one.record(3, 100, 2);
        sum.merge(&one);
        sum.merge(&one);
        let counts: Vec<(usize, u64)> = sum.recorded().map(|(at, l)| (at, l.histogram().len())).collect();
        assert_eq!(counts, [(0, 2), (3, 4)]);
    }
}
