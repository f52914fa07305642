//! Open loop: packets arrive when they are due, whether the engine is ready or not.
//!
//! A lane's packets wait in a queue of bounded length, as in a network card's receive ring. One that is due while the
//! queue is full is lost. Nothing here knows what a clock is, so queues can be tested against theory.

use std::collections::VecDeque;
use std::ops::Range;

/// Packets of one lane on their way to its engine.
pub struct Wire<'a> {
    due_ns: &'a [u64],
    arrived: usize,
    /// Runs of packets without a lost one in between, oldest first.
    waiting: VecDeque<Range<usize>>,
    queued: usize,
    capacity: usize,
}

/// One burst that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its packets, by their place in the lane.
    pub packets: Range<usize>,
    /// When the engine got them, in ns.
    pub handed_ns: u64,
    /// When all their verdicts were known, in ns.
    pub done_ns: u64,
    /// The engine had been waiting for them.
    pub was_idle: bool,
}

impl<'a> Wire<'a> {
    /// `due_ns` ascends: when each packet arrives. At most `capacity` packets wait, at least one.
    pub fn new(due_ns: &'a [u64], capacity: usize) -> Self {
        let capacity = capacity.max(1);
        // Two runs are parted by a lost packet, which needs a full queue: still there are never more runs than packets.
        let waiting = VecDeque::with_capacity(capacity.min(due_ns.len()) + 1);
        Wire { due_ns, arrived: 0, waiting, queued: 0, capacity }
    }

    /// What is due by now arrives, or is lost.
    fn arrive(&mut self, now_ns: u64) {
        while self.due_ns.get(self.arrived).is_some_and(|due| *due <= now_ns) {
            let packet = self.arrived;
            self.arrived += 1;
            if self.queued == self.capacity {
                continue;
            }
            self.queued += 1;
            match self.waiting.back_mut() {
                Some(run) if run.end == packet => run.end += 1,
                _ => self.waiting.push_back(packet..packet + 1),
            }
        }
    }

    /// The next packets in the queue, at most a burst of them, none lost in between.
    fn take(&mut self, burst: usize) -> Option<Range<usize>> {
        let run = self.waiting.front_mut()?;
        let taken = run.start..run.end.min(run.start + burst);
        run.start = taken.end;
        if run.start == run.end {
            self.waiting.pop_front();
        }
        self.queued -= taken.len();
        Some(taken)
    }

    fn is_over(&self) -> bool {
        self.arrived == self.due_ns.len() && self.queued == 0
    }

    /// Serves all packets in bursts, as they come. `now` tells the time in the unit of the due times; `serve` decides on
    /// packets of the lane; `served` is told of each burst once it is done.
    pub fn run(
        mut self,
        burst: usize,
        mut now: impl FnMut() -> u64,
        mut serve: impl FnMut(Range<usize>),
        mut served: impl FnMut(Service),
    ) {
        let mut was_idle = true;
        while !self.is_over() {
            let handed_ns = now();
            self.arrive(handed_ns);
            match self.take(burst) {
                Some(packets) => {
                    serve(packets.clone());
                    served(Service { packets, handed_ns, done_ns: now(), was_idle });
                    was_idle = false;
                }
                None => was_idle = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Latencies;
    use crate::measure::statistics::Random;
    use std::cell::Cell;

    /// Serves the packets in simulated time: looking costs nothing, waiting ends with the next packet, a packet takes
    /// `service_ns` and what `extra` adds at its time.
    fn simulate(
        due: &[u64],
        capacity: usize,
        burst: usize,
        service_ns: u64,
        extra: impl Fn(u64) -> u64,
    ) -> Vec<Service> {
        let (time, looks) = (Cell::new(0), Cell::new(0));
        let mut served = Vec::new();
        let now = || {
            // After a service the time is asked for twice, for its end and for what has arrived since. Once more at the
            // same instant means that nothing has: on to the next arrival.
            if looks.replace(looks.get() + 1) >= 2 {
                let next = due.partition_point(|due| *due <= time.get());
                time.set(due.get(next).copied().unwrap_or(time.get()));
            }
            time.get()
        };
        let serve = |packets: Range<usize>| {
            time.set(time.get() + service_ns * packets.len() as u64 + extra(time.get()));
            looks.set(0);
        };
        Wire::new(due, capacity).run(burst, now, serve, |service| served.push(service));
        served
    }

    #[test]
    fn packets_are_served_in_order_when_they_are_due() {
        let due = [0, 0, 0, 100, 105, 110];
        let served = simulate(&due, 10, 2, 10, |_| 0);
        let expected = [(0..2, 0, 20, true), (2..3, 20, 30, false), (3..4, 100, 110, true), (4..6, 110, 130, false)];
        let expected =
            expected.map(|(packets, handed_ns, done_ns, was_idle)| Service { packets, handed_ns, done_ns, was_idle });
        assert_eq!(served, expected);
    }

    /// Ten packets at once for a queue of four: the first look finds four places, the rest is lost. What comes later
    /// finds room again.
    #[test]
    fn what_finds_the_queue_full_is_lost() {
        let due = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 500, 500];
        let served = simulate(&due, 4, 32, 10, |_| 0);
        assert_eq!(served.iter().map(|s| s.packets.clone()).collect::<Vec<_>>(), [0..4, 10..12]);
        // A slow engine: while it serves the first, the next five arrive, and one is lost.
        let due = [0, 1, 2, 3, 4, 5, 1_000];
        let served = simulate(&due, 4, 32, 100, |_| 0);
        assert_eq!(served.iter().map(|s| s.packets.clone()).collect::<Vec<_>>(), [0..1, 1..5, 6..7]);
    }

    /// Poisson arrivals and a fixed service time: M/D/1. The mean wait is `rho / (2 (1 - rho))` service times (Pollaczek
    /// and Khinchine), and `P(wait = 0) = 1 - rho`, `P(wait <= t) = (1 - rho) e^(lambda t)` for t of at most one service
    /// (Erlang 1909).
    #[test]
    fn waiting_times_are_those_of_queueing_theory() {
        const SERVICE: f64 = 1_000.0;
        const PACKETS: usize = 2_000_000;
        for (rho, tolerance) in [(0.5, 0.01), (0.8, 0.02), (0.95, 0.08)] {
            let mut random = Random::new(42);
            let mut at = 0.0;
            let due: Vec<u64> = (0..PACKETS)
                .map(|_| {
                    let uniform = (random.bits() >> 11) as f64 / (1u64 << 53) as f64;
                    at -= (1.0 - uniform).ln() * SERVICE / rho;
                    at as u64
                })
                .collect();
            let served = simulate(&due, PACKETS, 1, SERVICE as u64, |_| 0);
            assert_eq!(served.len(), PACKETS);
            let waits: Vec<f64> =
                served.iter().map(|s| (s.handed_ns - due[s.packets.start]) as f64 / SERVICE).collect();
            let share = |up_to: f64| waits.iter().filter(|wait| **wait <= up_to).count() as f64 / PACKETS as f64;
            let mean = waits.iter().sum::<f64>() / PACKETS as f64;
            let theory = rho / (2.0 * (1.0 - rho));
            assert!((mean / theory - 1.0).abs() < tolerance, "load {rho}: mean wait {mean}, by theory {theory}");
            for t in [0.0, 0.5, 0.999] {
                let theory = (1.0 - rho) * (rho * t).exp();
                // Due times are whole ns: one part in a thousand of a service.
                assert!(
                    (share(t) - theory).abs() < 0.01,
                    "load {rho}: P(wait <= {t}) {}, by theory {theory}",
                    share(t)
                );
            }
        }
    }

    /// An engine that stands still for 10 ms once a second: in an open loop everything that was due meanwhile waits, one
    /// packet in a hundred; in a closed loop the next packet is sent late, and one in many thousands shows it.
    #[test]
    fn a_stall_shows_in_an_open_loop_and_hides_in_a_closed_one() {
        const STALL: u64 = 10_000_000;
        const SECOND: u64 = 1_000_000_000;
        let due: Vec<u64> = (0..1_000_000).map(|i| i * 10_000).collect(); // 100,000 a second for ten seconds.
        let stalled = Cell::new(0);
        let extra = |now: u64| {
            let seconds = now / SECOND;
            let stalls = seconds - stalled.get();
            stalled.set(seconds);
            stalls * STALL
        };
        let (mut open, mut closed) = (Latencies::new(), Latencies::new());
        for service in simulate(&due, 1 << 20, 32, 200, extra) {
            for packet in service.packets.clone() {
                open.record(service.done_ns - due[packet]);
            }
            closed.record(service.done_ns - service.handed_ns);
        }
        let p99_9 = |latencies: &Latencies| latencies.histogram().value_at_quantile(0.999);
        assert!(p99_9(&open) > STALL * 8 / 10, "{}", p99_9(&open));
        assert!(p99_9(&closed) < 10_000, "{}", p99_9(&closed));
    }
}
