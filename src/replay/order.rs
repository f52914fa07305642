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
