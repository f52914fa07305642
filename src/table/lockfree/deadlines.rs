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
//!
//! An insert need not touch a bound that is low enough, since it has swapped its bucket's header; and whoever has
//! reset the bound swaps that header too, after what it has read under it. Of two swaps of one word one comes first:
//! if the insert's, the other core has read the new entry, or reads once more; if the other core's, the insert
//! has acquired that the bound was reset, and lowers it.

use super::mode::Mode;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*};

/// Nodes below a node: their bounds fill one cache line.
const FAN: usize = 1 << FAN_BITS;
const FAN_BITS: u32 = 3;

const NEVER: u64 = u64::MAX;

/// Most buckets that one search returns.
pub(super) const MAX_DUE: usize = 64;

/// The bounds of the nodes below one node.
#[repr(align(64))]
struct Line([AtomicU64; FAN]);

impl Line {
    fn never() -> Self {
        Line(std::array::from_fn(|_| AtomicU64::new(NEVER)))
    }
}

/// Nodes of one level; of the lowest: buckets.
struct Nodes {
    numbers: [u32; MAX_DUE],
    len: usize,
}

impl Nodes {
    fn new() -> Self {
        Nodes { numbers: [0; MAX_DUE], len: 0 }
    }

    fn push(&mut self, number: usize) {
        self.numbers[self.len] = number as u32;
        self.len += 1;
    }

    fn as_slice(&self) -> &[u32] {
        &self.numbers[..self.len]
    }
}

/// Buckets in which something may have expired.
pub(super) struct Due {
    buckets: Nodes,
    /// The level above, during a search.
    above: Nodes,
}

impl Due {
    pub(super) fn new() -> Self {
        Due { buckets: Nodes::new(), above: Nodes::new() }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        self.buckets.as_slice()
    }

    pub(super) fn clear(&mut self) {
        self.buckets.len = 0;
    }
}

pub(super) struct Deadlines {
    /// Leaves first, the root last.
    levels: Vec<Vec<Line>>,
    /// The bucket after the last one that was found: the next search goes on there. Else the first buckets would
    /// be looked into as soon as one entry is due, and the last ones never, while more is due than is looked for.
    next: AtomicU32,
}

impl Deadlines {
    pub(super) fn new(buckets: usize) -> Self {
        let level = |nodes: usize| std::iter::repeat_with(Line::never).take(nodes.div_ceil(FAN)).collect::<Vec<_>>();
        let mut levels = vec![level(buckets)];
        while let Some(nodes) = levels.last().map(Vec::len) {
            levels.push(level(nodes));
            if nodes == 1 {
                break;
            }
        }
        Deadlines { levels, next: AtomicU32::new(0) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| size_of_val(level.as_slice())).sum()
    }

    /// Forgets everything, while no worker runs.
    pub(super) fn clear(&mut self) {
        self.levels.iter().flatten().flat_map(|line| &line.0).for_each(|bound| bound.store(NEVER, Relaxed));
        self.next.store(0, Relaxed);
    }

    #[inline(always)]
    fn bound(&self, level: usize, node: usize) -> &AtomicU64 {
        &self.levels[level][node / FAN].0[node % FAN]
    }

    /// Asks for the bound of a bucket, which the next insert changes.
    #[inline(always)]
    pub(super) fn prefetch(&self, bucket: usize) {
        crate::table::prefetch_line(&raw const self.levels[0][bucket / FAN]);
    }

    /// An entry that was just inserted into this bucket expires then. Mostly the bound is low enough: one look,
    /// which the swap of the bucket's header has ordered (see the module's head).
    #[inline(always)]
    pub(super) fn note_inserted<M: Mode>(&self, bucket: usize, expires_ns: u64) {
        if self.bound(0, bucket).load(Relaxed) > expires_ns {
            self.note::<M>(bucket, expires_ns);
        }
    }

    /// An entry of this bucket expires then, and is published.
    #[inline(always)]
    pub(super) fn note<M: Mode>(&self, bucket: usize, expires_ns: u64) {
        // A bound that was low enough has been told upwards, or will be, by who has lowered it.
        if lower::<M>(self.bound(0, bucket), expires_ns) > expires_ns {
            self.note_above::<M>(bucket, expires_ns);
        }
    }

    /// The same, in the levels above the lowest.
    #[inline(never)]
    fn note_above<M: Mode>(&self, bucket: usize, expires_ns: u64) {
        let mut node = bucket;
        for level in 1..self.levels.len() {
            node /= FAN;
            if lower::<M>(self.bound(level, node), expires_ns) <= expires_ns {
                return;
            }
        }
    }

    /// True if something may have expired.
    #[inline]
    pub(super) fn any_due(&self, now_ns: u64) -> bool {
        self.bound(self.levels.len() - 1, 0).load(Relaxed) <= now_ns
    }

    /// True if something may have expired in this bucket.
    pub(super) fn is_due(&self, bucket: usize, now_ns: u64) -> bool {
        self.bound(0, bucket).load(Relaxed) <= now_ns
    }

    /// Finds at most so many buckets in which something may have expired; all of them take their turn.
    #[inline]
    pub(super) fn find_due<M: Mode>(&self, now_ns: u64, most: usize, due: &mut Due) {
        due.clear();
        if self.any_due(now_ns) {
            // Relaxed: a hint.
            let from = self.next.load(Relaxed);
            self.search::<M>(now_ns, most.min(MAX_DUE), from as usize, due);
            let last = due.as_slice().last().filter(|_| due.as_slice().len() == most);
            self.next.store(last.map_or(0, |last| last + 1), Relaxed);
        }
    }

    /// The same, the first ones.
    pub(super) fn find_first_due<M: Mode>(&self, now_ns: u64, due: &mut Due) {
        due.clear();
        if self.any_due(now_ns) {
            self.search::<M>(now_ns, MAX_DUE, 0, due);
        }
    }

    /// Level by level from the root, so that the memory accesses of one level overlap. Only buckets from `from` on.
    fn search<M: Mode>(&self, now_ns: u64, most: usize, from: usize, due: &mut Due) {
        let Due { buckets, above } = due;
        let (mut found, mut above) = (buckets, above);
        if self.levels.len().is_multiple_of(2) {
            std::mem::swap(&mut found, &mut above);
        }
        found.len = 0;
        found.push(0);
        for level in (1..self.levels.len()).rev() {
            std::mem::swap(&mut found, &mut above);
            found.len = 0;
            let below = &self.levels[level - 1];
            let first = from >> (FAN_BITS * (level as u32 - 1));
            for node in above.as_slice() {
                crate::table::prefetch_line(&raw const below[*node as usize]);
            }
            for node in above.as_slice() {
                let node = *node as usize;
                // Which of them are due cannot be guessed: no branch on each.
                let is_due = |(n, bound): (usize, &AtomicU64)| u32::from(bound.load(Relaxed) <= now_ns) << n;
                let mut children = below[node].0.iter().enumerate().map(is_due).fold(0, |bits, bit| bits | bit);
                if children == 0 {
                    self.raise::<M>(level, node);
                }
                while children != 0 && found.len < most {
                    let child = node * FAN + children.trailing_zeros() as usize;
                    children &= children - 1;
                    if child >= first {
                        found.push(child);
                    }
                }
            }
        }
    }

    /// The bound of a node anew, from those below.
    fn raise<M: Mode>(&self, level: usize, node: usize) {
        let bound = self.bound(level, node);
        reset::<M>(bound);
        let below = &self.levels[level - 1][node].0;
        let least = below.iter().map(|child| child.load(Acquire)).min().unwrap_or(NEVER);
        lower::<M>(bound, least);
    }

    /// Before a bucket is looked through: what is found in it is to be noted anew.
    pub(super) fn begin<M: Mode>(&self, bucket: usize) {
        reset::<M>(self.bound(0, bucket));
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
