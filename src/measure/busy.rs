//! CPU time of a stage that several threads may work on.

use super::cpu_time;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Sums up what a stage's threads have been running. Clones share the sum.
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<Sum>);

#[derive(Debug, Default)]
struct Sum {
    ns: AtomicU64,
    /// The system does not tell how long threads run, or nobody waits for them.
    unknown: AtomicBool,
}

impl Busy {
    /// Adds all that the calling thread has run since it began: called once, at its end.
    pub fn add_this_thread(&self) {
        self.add(cpu_time::thread_ns());
    }

    /// Adds what the calling thread runs for this work.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = cpu_time::thread_ns();
        let done = work();
        let end = cpu_time::thread_ns();
        self.add(start.zip(end).map(|(start, end)| end.saturating_sub(start)));
        done
    }

    fn add(&self, ns: Option<u64>) {
        match ns {
            Some(ns) => _ = self.0.ns.fetch_add(ns, Relaxed),
            None => self.0.unknown.store(true, Relaxed),
        }
    }

    /// Not all of it will be known.
    pub fn give_up(&self) {
        self.add(None);
    }

    /// The sum in ns. `None` where it is not known.
    pub fn ns(&self) -> Option<u64> {
        (!self.0.unknown.load(Relaxed)).then(|| self.0.ns.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_is_counted() {
        let busy = Busy::default();
        busy.time(|| std::thread::sleep(std::time::Duration::from_millis(200)));
        let Some(slept) = busy.ns() else { return };
        assert!(slept < 200_000_000, "{slept}");
        let twin = busy.clone();
        std::thread::spawn(move || {
            assert_ne!((0..5_000_000u64).map(std::hint::black_box).sum::<u64>(), 0);
            twin.add_this_thread();
        })
        .join()
        .unwrap();
        assert!(busy.ns().unwrap() > slept);
    }
}
