//! What the system took from the workers while they were measured.

use super::{Clock, cpu_time};

/// A window in which this much or more was taken, in ns, is marked. A timer interrupt takes less.
const TAKEN_NS: u64 = 10_000;

/// Two clock readings with nothing but bookkeeping in between lie further apart only if something else ran.
const GAP_NS: u64 = 10_000;

/// Time on the wall, and what of it was taken. Summed over workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Wall time in ns.
    pub wall_ns: u64,
    /// Of it the workers were not running, in ns; 0 where the system does not tell.
    pub taken_ns: u64,
    /// Wall time of the windows that were marked, in ns.
    pub marked_ns: u64,
}

impl Noise {
    /// Adds another worker's or pass's.
    pub fn merge(&mut self, other: &Noise) {
        self.wall_ns += other.wall_ns;
        self.taken_ns += other.taken_ns;
        self.marked_ns += other.marked_ns;
    }

    /// Share of the time that was taken.
    pub fn taken_share(&self) -> f64 {
        self.taken_ns as f64 / self.wall_ns.max(1) as f64
    }

    /// Share of the time that lies in marked windows.
    pub fn marked_share(&self) -> f64 {
        self.marked_ns as f64 / self.wall_ns.max(1) as f64
    }
}

/// Watches one thread, window by window.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    wall: u64,
    cpu_ns: Option<u64>,
    gap: bool,
}

impl Watch {
    /// The first window begins now.
    pub fn start(clock: &Clock) -> Self {
        Watch { wall: clock.raw(), cpu_ns: cpu_time::thread_ns(), gap: false }
    }

    /// So many ns have passed in which next to nothing was done.
    #[inline(always)]
    pub fn idle(&mut self, ns: u64) {
        self.gap |= ns >= GAP_NS;
    }

    /// The window ends, and the next one begins.
    pub fn window(&mut self, clock: &Clock) -> Noise {
        let next = Watch::start(clock);
        let ran = self.cpu_ns.zip(next.cpu_ns).map(|(from, to)| to.saturating_sub(from));
        let noise = judge(clock.ns(self.wall, next.wall), ran, self.gap);
        *self = next;
        noise
    }
}

/// What a window of this length says in which the thread ran so long.
fn judge(wall_ns: u64, ran_ns: Option<u64>, gap: bool) -> Noise {
    let taken_ns = ran_ns.map_or(0, |ran| wall_ns.saturating_sub(ran));
    let marked = gap || taken_ns >= TAKEN_NS;
    Noise { wall_ns, taken_ns, marked_ns: if marked { wall_ns } else { 0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_marked_by_what_was_taken_or_by_a_gap() {
        assert_eq!(judge(100_000, Some(99_000), false), Noise { wall_ns: 100_000, taken_ns: 1_000, marked_ns: 0 });
        assert_eq!(judge(100_000, Some(90_000), false).marked_ns, 100_000);
        assert_eq!(judge(100_000, Some(100_500), false).taken_ns, 0, "clocks need not agree to the ns");
        assert_eq!(judge(100_000, None, false).marked_ns, 0);
        assert_eq!(judge(100_000, None, true).marked_ns, 100_000);
        let mut watch = Watch::start(&Clock::new());
        watch.idle(GAP_NS - 1);
        assert!(!watch.gap);
        watch.idle(GAP_NS);
        watch.idle(1);
        assert!(watch.gap, "once is enough");
    }

    /// A thread that sleeps is not running, and every system that tells the CPU time knows.
    #[test]
    fn a_sleep_is_time_taken() {
        let clock = Clock::new();
        let mut watch = Watch::start(&clock);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let noise = watch.window(&clock);
        assert!(noise.wall_ns >= 20_000_000);
        if cpu_time::thread_ns().is_some() {
            assert!(noise.taken_ns > 10_000_000 && noise.marked_ns == noise.wall_ns, "{noise:?}");
        }
    }
}
