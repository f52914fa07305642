//! Exactly one thread a core, pinned where the system allows.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Worker threads.
pub struct Pool {
    threads: ThreadPool,
    pinned: Arc<AtomicUsize>,
}

impl Pool {
    /// Starts the threads; waits until each runs.
    pub fn new(cores: usize) -> Result<Self, ThreadPoolBuildError> {
        let available = core_affinity::get_core_ids().unwrap_or_default();
        let pinned = Arc::new(AtomicUsize::new(0));
        let count = pinned.clone();
        let threads = ThreadPoolBuilder::new()
            .num_threads(cores)
            .thread_name(|core| format!("worker-{core}"))
            .start_handler(move |core| {
                if available.get(core).is_some_and(|id| core_affinity::set_for_current(*id)) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build()?;
        let pool = Pool { threads, pinned };
        pool.threads.broadcast(|_| ());
        Ok(pool)
    }

    /// Number of threads.
    pub fn cores(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Number of threads that are pinned to a core of their own.
    pub fn pinned(&self) -> usize {
        self.pinned.load(Ordering::Relaxed)
    }

    /// Runs the closure once on every thread at the same time; it gets the thread's number.
    pub fn run<T: Send>(&self, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
        self.threads.broadcast(|context| work(context.index()))
    }
}
