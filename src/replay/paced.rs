//! The open loop of one core: its lane's packets from the wire, in bursts, at their time.

use super::Lane;
use super::wire::{Service, Wire};
use crate::engine::{Decision, Engine, NoStamps};
use crate::measure::{Clock, Latencies, Noise, Recording, Slots, Watch};
use crate::packet::Packet;
use crate::trace::Trace;

/// When packets are due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// At the trace's own times, so many times as fast.
    Trace(
        /// Above 0.
        f64,
    ),
    /// So many packets a second, evenly, in trace order.
    PerSecond(
        /// Above 0.
        f64,
    ),
}

impl Rate {
    /// How long it takes until the last packet of a trace is due, in s.
    pub fn seconds(self, trace: &Trace) -> f64 {
        let packets = &trace.packets;
        match (self, packets.first(), packets.last()) {
            (Rate::Trace(multiplier), Some(first), Some(last)) => {
                last.time_ns.saturating_sub(first.time_ns) as f64 / 1e9 / multiplier
            }
            (Rate::PerSecond(pps), ..) => packets.len() as f64 / pps,
            _ => 0.0,
        }
    }

    /// Packets a second, on average over a trace. `None` if all are due at once.
    pub fn mean_pps(self, trace: &Trace) -> Option<f64> {
        let pps = match self {
            Rate::PerSecond(pps) => pps,
            Rate::Trace(_) => trace.packets.len() as f64 / self.seconds(trace),
        };
        pps.is_finite().then_some(pps)
    }
}

/// An offered load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// When packets are due.
    pub rate: Rate,
    /// At most so many packets wait for each core; what comes then is lost.
    pub queue: usize,
}

/// What an open loop came to.
#[derive(Clone, Debug, Default)]
pub struct Paced {
    /// From when a packet was due until the verdicts of its burst were known.
    pub latency: Recording,
    /// From when a burst was handed over until its verdicts were known: one value a burst.
    pub service: Latencies,
    /// How late an idle core noticed that a packet was due: the error of the pacing itself.
    pub late: Latencies,
    /// Packets that found the queue full.
    pub lost: u64,
    /// Packets that were due.
    pub offered: u64,
}

impl Paced {
    /// Adds another core's or pass's.
    pub fn merge(&mut self, other: &Paced) {
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.late.merge(&other.late);
        self.lost += other.lost;
        self.offered += other.offered;
    }
}

/// Nothing is due before all cores look, in ns.
const LEAD_NS: u64 = 100_000;

/// When the packets of a lane are due, in ns after the start. `first_ns` is the trace's first packet time.
pub(super) fn due_times(lane: &Lane, first_ns: u64, rate: Rate) -> Vec<u64> {
    let due = |(packet, position): (&Packet, &u32)| {
        let after = match rate {
            Rate::Trace(multiplier) => packet.time_ns.saturating_sub(first_ns) as f64 / multiplier,
            Rate::PerSecond(pps) => f64::from(*position) * 1e9 / pps,
        };
        LEAD_NS.saturating_add(after as u64)
    };
    lane.packets.iter().zip(&lane.positions).map(due).collect()
}

/// Packets after which the watch on the system is read.
const WINDOW: usize = 2048;

/// Bursts that were served, and which of them the system disturbed.
pub(super) struct Served {
    bursts: Vec<Service>,
    /// Each with the number of bursts before its end.
    windows: Vec<(usize, Noise)>,
}

/// Replays a lane as its packets become due. What is lost keeps its decision.
pub(super) fn replay_lane_paced<E: Engine>(
    engine: &mut E,
    lane: &Lane,
    decisions: &mut [Decision],
    burst: usize,
    clock: &Clock,
    due_ns: &[u64],
    queue: usize,
) -> Served {
    // Filled in while the clock runs: room for the worst case, a packet a burst.
    let mut bursts = Vec::with_capacity(due_ns.len());
    let mut windows = Vec::with_capacity(due_ns.len() / WINDOW + 2);
    let mut watch = Watch::start(clock);
    let mut in_window = 0;
    let start = clock.raw();
    Wire::new(due_ns, queue).run(
        burst,
        || clock.ns(start, clock.raw()),
        |packets| {
            let (records, shards) = (&lane.packets[packets.clone()], &lane.shards[packets.clone()]);
            engine.burst(records, shards, &mut decisions[packets], &mut NoStamps);
        },
        |service| {
            in_window += service.packets.len();
            bursts.push(service);
            if in_window >= WINDOW {
                windows.push((bursts.len(), watch.window(clock)));
                in_window = 0;
            }
        },
    );
    windows.push((bursts.len(), watch.window(clock)));
    Served { bursts, windows }
}

impl Served {
    /// The figures of what was served.
    pub(super) fn measure(&self, due_ns: &[u64], mut slots: Slots) -> Paced {
        let mut paced = Paced { offered: due_ns.len() as u64, lost: due_ns.len() as u64, ..Paced::default() };
        let mut from = 0;
        // What a disturbance left in the queue spoils what comes after it, until the queue was empty once.
        let mut spoilt = false;
        for (to, noise) in &self.windows {
            paced.latency.noise.merge(noise);
            spoilt |= noise.marked_ns > 0;
            for burst in &self.bursts[from..*to] {
                spoilt &= noise.marked_ns > 0 || !burst.was_idle;
                paced.lost -= burst.packets.len() as u64;
                // A clock that goes backwards gives no value; the packets' own say that it did.
                if let Some(ns) = burst.done_ns.checked_sub(burst.handed_ns) {
                    paced.service.record(ns);
                }
                let late = burst.handed_ns.checked_sub(due_ns[burst.packets.start]);
                if let Some(ns) = late.filter(|_| burst.was_idle) {
                    paced.late.record(ns);
                }
                for place in burst.packets.clone() {
                    let ns = burst.done_ns.checked_sub(due_ns[place]);
                    paced.latency.file(slots.of(place), ns, 1, !spoilt);
                }
            }
            from = *to;
        }
        paced
    }
}
