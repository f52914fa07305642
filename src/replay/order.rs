//! The order window: how far cores may drift apart where packets of one flow meet several of them.
//!
//! # Guarantee
//! A packet is decided before an earlier one of the trace only if the two lie at most a *window* of
//! trace packets apart; and packets of one core are decided in trace order.
//!
//! Every core publishes the trace index of the first packet that it has not decided yet, once a burst.
//! It begins a burst only when the burst's *last* packet is at most a window ahead of the slowest
//! core's first undecided packet. So an earlier packet that is still undecided then is at most a
//! window away.
//!
//! # No deadlock
//! A burst ends before it spans more than a window. Hence the core whose first undecided packet is the
//! earliest of all may always begin: its last packet is at most a window ahead of its own first. Some
//! core is that one until all have finished; a core that has finished, and one without packets, counts
//! as infinitely far. A core that panics counts as finished. This holds for any number of threads on
//! any number of processors, because who waits yields.

use super::Lane;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What no packet's index or time reaches.
const FINISHED: u64 = u64::MAX;

/// One core's progress, away from the other cores' lines (and from the neighbouring line, which
/// processors fetch in pairs).
#[repr(align(128))]
struct Slot {
    /// Trace index of the first packet that is not decided yet.
    next: AtomicU64,
    /// Its packet time, in ns.
    time_ns: AtomicU64,
}

/// How far each core is.
pub(super) struct Progress {
    slots: Vec<Slot>,
    window: u64,
}

/// Where the slowest core was when it was last looked at. It can only be further by now.
#[derive(Clone, Copy)]
struct Slowest {
    next: u64,
    time_ns: u64,
}

impl Progress {
    /// No core has begun.
    pub(super) fn new(lanes: &[Lane], window: u32) -> Self {
        let slot = |lane| {
            let (next, time_ns) = first_of(lane, 0);
            Slot { next: AtomicU64::new(next), time_ns: AtomicU64::new(time_ns) }
        };
        Progress { slots: lanes.iter().map(slot).collect(), window: u64::from(window) }
    }

    /// A core's part in keeping order.
    pub(super) fn turns<'a>(&'a self, core: usize, lane: &'a Lane, burst: usize) -> Turns<'a> {
        Turns { progress: self, core, lane, burst, at: 0, slowest: self.slowest() }
    }

    fn slowest(&self) -> Slowest {
        // Acquire: pairs with the release in `publish`. What the other core's decisions did to the
        // table is visible to whoever then begins a burst, or sweeps.
        let least = |value: fn(&Slot) -> &AtomicU64| {
            self.slots.iter().map(|slot| value(slot).load(Ordering::Acquire)).min().unwrap_or(FINISHED)
        };
        Slowest { next: least(|slot| &slot.next), time_ns: least(|slot| &slot.time_ns) }
    }

    fn publish(&self, core: usize, (next, time_ns): (u64, u64)) {
        self.slots[core].time_ns.store(time_ns, Ordering::Release);
        self.slots[core].next.store(next, Ordering::Release);
    }
}

/// Index and time of the packet at this place of a lane, or past all if there is none.
fn first_of(lane: &Lane, at: usize) -> (u64, u64) {
    match (lane.positions.get(at), lane.packets.get(at)) {
        (Some(position), Some(packet)) => (u64::from(*position), packet.time_ns),
        _ => (FINISHED, FINISHED),
    }
}

/// One core's bursts, each handed out when its turn has come.
pub(super) struct Turns<'a> {
    progress: &'a Progress,
    core: usize,
    lane: &'a Lane,
    burst: usize,
    at: usize,
    slowest: Slowest,
}

impl Turns<'_> {
    /// Publishes that the burst before is done, and waits until the next may begin. Gives its place in
    /// the lane, and the lowest packet time of any packet, on any core, that is not decided yet.
    pub(super) fn next(&mut self) -> Option<(Range<usize>, u64)> {
        let first = first_of(self.lane, self.at);
        self.progress.publish(self.core, first);
        if self.at == self.lane.packets.len() {
            return None;
        }
        let positions = &self.lane.positions;
        let furthest = first.0 + self.progress.window;
        let most = (self.at + self.burst).min(positions.len());
        let fitting = positions[self.at..most].iter().rposition(|position| u64::from(*position) <= furthest);
        let end = self.at + fitting.unwrap_or(0) + 1;
        let last = u64::from(positions[end - 1]);
        // The bound of an earlier look will do, so the other cores' lines are read once in many bursts.
        let mut spins = 0u32;
        while last > self.slowest.next.saturating_add(self.progress.window) {
            self.slowest = self.progress.slowest();
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(256) {
                std::thread::yield_now();
            }
        }
        let range = self.at..end;
        self.at = end;
        Some((range, self.slowest.time_ns))
    }
}

impl Drop for Turns<'_> {
    /// Nobody waits for a core that is gone.
    fn drop(&mut self) {
        self.progress.publish(self.core, (FINISHED, FINISHED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Decision, Engine, Stamp};
    use crate::measure::{Clock, Stamping};
    use crate::packet::{Direction, Packet, protocol};
    use crate::replay::{Job, Mode, Pool, Setup, Steering, Stream, pass, steer};
    use crate::table::{FlowHash, HashKey};
    use crate::trace::Trace;
    use std::sync::atomic::AtomicUsize;

    /// Packet time is the trace index.
    fn trace(packets: u64) -> Trace {
        let mut trace = Trace::default();
        for index in 0..packets {
            let (local, remote) = ([10, 0, 1, 10].into(), [198, 51, 100, 7].into());
            let packet = Packet::new(local, remote, Direction::In, protocol::UDP, index);
            trace.packets.push(packet.with_ports(53, (index % 50) as u16));
            trace.frames.push(index as u32 + 1);
            trace.timestamps_ns.push(index);
        }
        trace
    }

    /// Notes what was decided, and whether anything was decided too soon.
    struct Witness {
        decided: Vec<AtomicUsize>,
        window: usize,
        too_soon: AtomicUsize,
        swept_too_far: AtomicUsize,
        slow: usize,
        cores: usize,
    }

    struct Watched<'a>(&'a Witness, usize, u64);

    impl Witness {
        /// The first packet that is not decided.
        fn first_open(&self) -> usize {
            self.decided.iter().position(|n| n.load(Ordering::Acquire) == 0).unwrap_or(self.decided.len())
        }
    }

    impl Engine for Watched<'_> {
        fn burst<S: Stamp>(&mut self, packets: &[Packet], _: &[u16], _: &mut [Decision], stamp: &mut S) {
            let Watched(witness, core, sweep_ns) = self;
            if *core == witness.slow {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            let open = witness.first_open();
            let last = packets.last().map_or(0, |packet| packet.time_ns as usize);
            witness.too_soon.fetch_add(usize::from(last > open + witness.window), Ordering::Relaxed);
            // With one core nothing says how far sweeps may go, for the packet's own time does.
            let bounded = witness.cores > 1;
            witness.swept_too_far.fetch_add(usize::from(bounded && *sweep_ns > open as u64), Ordering::Relaxed);
            for packet in packets {
                witness.decided[packet.time_ns as usize].fetch_add(1, Ordering::Release);
                stamp.verdict_known();
            }
        }

        fn sweep_until(&mut self, packet_time_ns: u64) {
            self.2 = packet_time_ns;
        }
    }

    impl Setup for Witness {
        type Engine<'a> = Watched<'a>;
        fn engines(&mut self) -> Vec<Watched<'_>> {
            (0..self.cores).map(|core| Watched(self, core, 0)).collect()
        }
    }

    /// Replays so many packets; checks that each is decided once and none too soon.
    fn replay(packets: u64, cores: usize, burst: usize, spray: bool, slow: usize) {
        let window = burst as u32;
        let steering = if spray { Steering::Spray { window } } else { Steering::Asymmetric { window } };
        let trace = trace(packets);
        let hash = FlowHash::new(HashKey::from_seed(3));
        let steered = steer(&trace, Stream::Datagrams, steering, cores, &hash, 16);
        let (pool, clock) = (Pool::new(cores).unwrap(), Clock::new());
        let job = Job { steered: &steered, pool: &pool, burst, clock: &clock };
        for mode in [Mode::Throughput, Mode::Stamped(Stamping::Every), Mode::Stamped(Stamping::Burst)] {
            let mut witness = Witness {
                decided: (0..packets).map(|_| AtomicUsize::new(0)).collect(),
                window: window as usize,
                too_soon: AtomicUsize::new(0),
                swept_too_far: AtomicUsize::new(0),
                slow,
                cores,
            };
            pass(&job, &mut witness, mode, Vec::new());
            assert!(witness.decided.iter().all(|n| n.load(Ordering::Relaxed) == 1), "each packet once");
            assert_eq!(witness.too_soon.into_inner(), 0, "ahead of the slowest by more than {window}");
            assert_eq!(witness.swept_too_far.into_inner(), 0, "swept past the slowest");
        }
    }

    #[test]
    fn no_core_runs_further_ahead_than_the_window() {
        for spray in [true, false] {
            for slow in [0, 1] {
                replay(2000, 2, 32, spray, slow);
                replay(600, 3, 1, spray, slow);
            }
        }
    }

    #[test]
    fn more_workers_than_cores_and_lanes_without_packets_come_to_an_end() {
        let many = 4 * std::thread::available_parallelism().map_or(1, |n| n.get()) + 1;
        for spray in [true, false] {
            replay(1500, many, 32, spray, 0);
            replay(1500, many, 1, spray, 0);
            replay(1, many, 32, spray, many - 1);
            replay(0, many, 32, spray, 0);
            replay(100, 1, 7, spray, 0);
        }
    }

    #[test]
    fn bursts_end_before_they_span_more_than_the_window() {
        let mut lane = Lane::default();
        let trace = trace(100);
        for index in [0u32, 1, 2, 40, 41, 99] {
            lane.packets.push(trace.packets[index as usize]);
            lane.shards.push(0);
            lane.positions.push(index);
        }
        let progress = Progress::new(std::slice::from_ref(&lane), 32);
        let mut turns = progress.turns(0, &lane, 32);
        let bursts: Vec<Range<usize>> = std::iter::from_fn(|| turns.next().map(|(burst, _)| burst)).collect();
        assert_eq!(bursts, [0..3, 3..5, 5..6]);
    }

    #[test]
    fn a_core_that_is_gone_is_not_waited_for() {
        let trace = trace(100);
        let hash = FlowHash::new(HashKey::from_seed(3));
        let steered = steer(&trace, Stream::Datagrams, Steering::Spray { window: 4 }, 2, &hash, 16);
        let progress = Progress::new(&steered.lanes, 4);
        drop(progress.turns(1, &steered.lanes[1], 4));
        let mut turns = progress.turns(0, &steered.lanes[0], 4);
        let mut packets = 0;
        while let Some((burst, _)) = turns.next() {
            packets += burst.len();
        }
        assert_eq!(packets, 50);
    }
}
