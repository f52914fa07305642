//! AWS's conntrack allowance: how many connections an instance may track in all.
//!
//! EC2 user guide, "Security group connection tracking" and the ENA driver's metrics: beyond the
//! allowance the packets of new tracked connections are dropped (`conntrack_allowance_exceeded` counts
//! the packets); `conntrack_allowance_available` is what is left of it.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The allowance of one instance, shared by all workers.
#[derive(Debug)]
pub struct Allowance {
    limit: i64,
    /// Connections held by all workers, as far as they have said.
    held: AtomicI64,
}

impl Allowance {
    /// An allowance of so many connections. `None` for 0, which stands for no limit.
    pub fn new(limit: u64) -> Option<Self> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        (limit > 0).then_some(Allowance { limit, held: AtomicI64::new(0) })
    }

    /// True if another connection would be one too many.
    #[inline]
    pub fn is_used_up(&self) -> bool {
        self.held.load(Relaxed) >= self.limit
    }

    /// A worker holds so many connections more, or fewer.
    #[inline]
    pub fn add(&self, change: i64) {
        if change != 0 {
            self.held.fetch_add(change, Relaxed);
        }
    }

    /// Forgets all connections, while no worker runs.
    pub fn clear(&mut self) {
        *self.held.get_mut() = 0;
    }
}
