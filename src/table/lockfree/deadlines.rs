//! When something of a shard may expire: a tree of lower bounds over its buckets.
//!
//! A leaf is a bucket's: none of its entries expires before it. Every node above is the least of the eight
//! below it. Bounds are only lower bounds: a packet that moves a deadline on touches nothing here, and
//! whoever looks later into a bucket that had nothing to give raises its bound.
//!
//! Of a timer wheel's list nodes this needs none: one byte an entry instead of eight; it is exact to the
//! nanosecond, which a full table needs; a deadline that moves nearer costs a few steps; and it has no
//! lists for cores to fight over, only minima.
//!
//! # Concurrency
//! Bounds go down by `fetch_min`, after the entry was published. They go up in one way: a core swaps the
//! bound for "never", and *then* reads what is below it and lowers the bound to that. Both are
//! read-modify-writes of one word: if the minimum came before the swap, the swap has acquired what was
//! published before it, and the core reads it; if it came after, it stands. So no entry is forgotten. In
//! between a bound may for a moment be too high: then something expires a little later.

use super::mode::Mode;
use crate::table::sync::{AtomicU64, Ordering::*};

/// Nodes below a node: their bounds fill one cache line.
const FAN: usize = 8;

const NEVER: u64 = u64::MAX;

/// Most buckets that one search returns.
pub(super) const MAX_DUE: usize = 64;

/// Buckets in which something may have expired.
pub(super) struct Due {
    buckets: [u32; MAX_DUE],
    len: usize,
}

impl Due {
    pub(super) fn new() -> Self {
        Due { buckets: [0; MAX_DUE], len: 0 }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.buckets[..self.len]
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}

pub(super) struct Deadlines {
    /// Leaves first, the root last.
    levels: Vec<Vec<AtomicU64>>,
}

impl Deadlines {
    pub(super) fn new(buckets: usize) -> Self {
        let level = |nodes| std::iter::repeat_with(|| AtomicU64::new(NEVER)).take(nodes).collect::<Vec<_>>();
        let mut levels = vec![level(buckets)];
        while let Some(nodes) = levels.last().map(Vec::len).filter(|nodes| *nodes > 1) {
            levels.push(level(nodes.div_ceil(FAN)));
        }
        Deadlines { levels }
    }

    pub(super) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| size_of_val(level.as_slice())).sum()
    }

    /// Forgets everything, while no worker runs.
    pub(super) fn clear(&mut self) {
        self.levels.iter().flatten().for_each(|bound| bound.store(NEVER, Relaxed));
    }

    /// An entry of this bucket expires then, and is published.
    #[inline]
    pub(super) fn note<M: Mode>(&self, bucket: usize, expires_ns: u64) {
        let mut node = bucket;
        for level in &self.levels {
            // A bound that was low enough has been told upwards, or will be, by who has lowered it.
            if lower::<M>(&level[node], expires_ns) <= expires_ns {
                return;
            }
            node /= FAN;
        }
    }

    /// True if something may have expired.
    #[inline]
    pub(super) fn any_due(&self, now_ns: u64) -> bool {
        self.levels.last().is_some_and(|root| root[0].load(Relaxed) <= now_ns)
    }

    /// Finds at most so many buckets in which something may have expired.
    pub(super) fn find_due<M: Mode>(&self, now_ns: u64, most: usize, due: &mut Due) {
        due.clear();
        if self.any_due(now_ns) {
            self.search::<M>(self.levels.len() - 1, 0, now_ns, most.min(MAX_DUE), due);
        }
    }

    fn search<M: Mode>(&self, level: usize, node: usize, now_ns: u64, most: usize, due: &mut Due) {
        if level == 0 {
            due.buckets[due.len] = node as u32;
            due.len += 1;
            return;
        }
        let before = due.len;
        for (child, bound) in (node * FAN..).zip(self.children(level, node)) {
            if due.len == most {
                return;
            }
            if bound.load(Relaxed) <= now_ns {
                self.search::<M>(level - 1, child, now_ns, most, due);
            }
        }
        if due.len == before {
            self.raise::<M>(level, node);
        }
    }

    fn children(&self, level: usize, node: usize) -> &[AtomicU64] {
        let below = &self.levels[level - 1];
        &below[node * FAN..below.len().min((node + 1) * FAN)]
    }

    /// The bound of a node anew, from those below.
    fn raise<M: Mode>(&self, level: usize, node: usize) {
        let bound = &self.levels[level][node];
        reset::<M>(bound);
        let least = self.children(level, node).iter().map(|child| child.load(Acquire)).min().unwrap_or(NEVER);
        lower::<M>(bound, least);
    }

    /// Before a bucket is looked through: what is found in it is to be noted anew.
    pub(super) fn begin<M: Mode>(&self, bucket: usize) {
        reset::<M>(&self.levels[0][bucket]);
    }
}

/// Lowers a bound. Returns what it was.
#[inline(always)]
fn lower<M: Mode>(bound: &AtomicU64, to: u64) -> u64 {
    if M::OWNER_ONLY {
        let old = bound.load(Relaxed);
        bound.store(old.min(to), Relaxed);
        return old;
    }
    // AcqRel: see the module's head.
    bound.fetch_min(to, AcqRel)
}

#[inline(always)]
fn reset<M: Mode>(bound: &AtomicU64) {
    if M::OWNER_ONLY {
        bound.store(NEVER, Relaxed);
    } else {
        // A swap, not a store: it must acquire what the last minimum has released.
        bound.swap(NEVER, AcqRel);
    }
}
