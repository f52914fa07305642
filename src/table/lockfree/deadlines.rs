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
//! Whoever lowers a bound then lowers those above it, up to the first that is low enough: that one was told upwards by who
//! had lowered it, or will be. Bounds go up in two ways:
//! - **A leaf** with its bucket's header. Who brings a deadline into a bucket that is new there, or nearer than before,
//!   changes the header first and looks at the leaf then; who sets the leaf has read the bucket before, and changes
//!   the header after. Of two changes of one word one comes first: if the new deadline's, the other core finds that
//!   the header is not the one it has read under, and reads again; if the other core's, the new deadline's core has
//!   acquired that the leaf was raised, and lowers it.
//! - **A node above** by a swap for "never", before the nodes below it are read; what they say lowers it again. If somebody
//!   else lowered it before the swap, the swap has acquired what was lowered below, and that is read; if after, it stands.
//!
//! So no entry is forgotten. In between a bound may for a moment be too high: then something expires a little later.

use super::memory::{Arena, Array, Zeroed, bytes_of};
use super::mode::Mode;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*};

/// Nodes below a node: their bounds fill one cache line. Few in models, so that small trees have several levels.
const FAN: usize = if cfg!(loom) { 2 } else { 8 };

const NEVER: u64 = u64::MAX;

/// Most buckets that one search returns.
pub(super) const MAX_DUE: usize = 64;

/// The bounds of the nodes below one node.
#[repr(align(64))]
struct Line([AtomicU64; FAN]);

// SAFETY: atomic integers, of which zero is a valid value.
unsafe impl Zeroed for Line {
    #[cfg(loom)]
    fn zeroed() -> Self {
        Line::never()
    }
}

impl Line {
    fn never() -> Self {
        Line(std::array::from_fn(|_| AtomicU64::new(NEVER)))
    }
}

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

    fn push(&mut self, bucket: usize) {
        self.buckets[self.len] = bucket as u32;
        self.len += 1;
    }
}

pub(super) struct Deadlines {
    /// The buckets' bounds.
    leaves: Array<Line>,
    /// The levels above, the root last.
    above: Vec<Box<[Line]>>,
    /// The bucket after the last one that was found: the next search goes on there. Else the first buckets would
    /// be looked into as soon as one entry is due, and the last ones never, while more is due than is looked for.
    next: AtomicU32,
}

impl Deadlines {
    /// Bytes that the bounds of so many buckets take from the arena.
    pub(super) fn arena_bytes(buckets: usize) -> usize {
        bytes_of::<Line>(buckets.div_ceil(FAN))
    }

    pub(super) fn new(buckets: usize, arena: &mut Arena) -> Self {
        let leaves: Array<Line> = arena.array(buckets.div_ceil(FAN));
        leaves.iter().flat_map(|line| &line.0).for_each(|bound| bound.store(NEVER, Relaxed));
        let mut above: Vec<Box<[Line]>> = Vec::new();
        let mut nodes = leaves.len();
        loop {
            above.push(std::iter::repeat_with(Line::never).take(nodes.div_ceil(FAN)).collect());
            if nodes == 1 {
                break;
            }
            nodes = nodes.div_ceil(FAN);
        }
        Deadlines { leaves, above, next: AtomicU32::new(0) }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.leaves) + self.above.iter().map(|level| size_of_val(&**level)).sum::<usize>()
    }

    /// Forgets everything, while no worker runs.
    pub(super) fn clear(&mut self) {
        let lines = self.leaves.iter().chain(self.above.iter().flatten());
        lines.flat_map(|line| &line.0).for_each(|bound| bound.store(NEVER, Relaxed));
        self.next.store(0, Relaxed);
    }

    #[inline(always)]
    fn leaf(&self, bucket: usize) -> &AtomicU64 {
        &self.leaves[bucket / FAN].0[bucket % FAN]
    }

    /// The bound of a node. Level 0 is the one above the leaves: its node n is over the leaves' line n.
    #[inline(always)]
    fn bound(&self, level: usize, node: usize) -> &AtomicU64 {
        &self.above[level][node / FAN].0[node % FAN]
    }

    /// The line below a node.
    #[inline(always)]
    fn below(&self, level: usize, node: usize) -> &Line {
        match level.checked_sub(1) {
            Some(below) => &self.above[below][node],
            None => &self.leaves[node],
        }
    }

    /// Asks for the bound of a bucket, which the next insert changes.
    #[inline(always)]
    pub(super) fn prefetch(&self, bucket: usize) {
        crate::table::prefetch_line(&raw const self.leaves[bucket / FAN]);
    }

    /// An entry of this bucket expires then, which is new or nearer than before; the bucket's header was changed since.
    /// Mostly the bound is low enough: one look.
    #[inline(always)]
    pub(super) fn note<M: Mode>(&self, bucket: usize, expires_ns: u64) {
        // Relaxed: the change of the header has ordered it (see the module's head).
        let leaf = self.leaf(bucket);
        if leaf.load(Relaxed) > expires_ns && lower::<M>(leaf, expires_ns) > expires_ns {
            self.note_above::<M>(0, bucket / FAN, expires_ns);
        }
    }

    /// The same in the levels from this one on.
    #[inline(never)]
    fn note_above<M: Mode>(&self, level: usize, mut node: usize, expires_ns: u64) {
        for level in level..self.above.len() {
            // A bound that was low enough has been told upwards, or will be, by who has lowered it.
            if lower::<M>(self.bound(level, node), expires_ns) <= expires_ns {
                return;
            }
            node /= FAN;
        }
    }

    /// The bucket was looked through, and none of its entries expires before this. Its header is changed after.
    #[inline(always)]
    pub(super) fn set_leaf<M: Mode>(&self, bucket: usize, to: u64) {
        // It may be lower than it was: if this core looked before another one, or if that is the result of another
        // look, as an insert has overtaken the first.
        if replace::<M>(self.leaf(bucket), to) > to {
            self.note_above::<M>(0, bucket / FAN, to);
        }
    }

    /// True if something may have expired.
    #[inline]
    pub(super) fn any_due(&self, now_ns: u64) -> bool {
        self.bound(self.above.len() - 1, 0).load(Relaxed) <= now_ns
    }

    /// True if something may have expired in this bucket.
    pub(super) fn is_due(&self, bucket: usize, now_ns: u64) -> bool {
        self.leaf(bucket).load(Relaxed) <= now_ns
    }

    /// Finds at most so many buckets in which something may have expired; all of them take their turn.
    #[inline]
    pub(super) fn find_due<M: Mode>(&self, now_ns: u64, most: usize, due: &mut Due) {
        due.clear();
        if self.any_due(now_ns) {
            // Relaxed: a hint.
            let from = self.next.load(Relaxed) as usize;
            self.next.store(self.search::<M>(now_ns, most.min(MAX_DUE), from, due) as u32, Relaxed);
        }
    }

    /// The same, the first ones.
    pub(super) fn find_first_due<M: Mode>(&self, now_ns: u64, due: &mut Due) {
        due.clear();
        if self.any_due(now_ns) {
            self.search::<M>(now_ns, MAX_DUE, 0, due);
        }
    }

    /// Finds at most so many buckets from this one on, in at most so many lines of leaves. Returns where to go on.
    fn search<M: Mode>(&self, now_ns: u64, most: usize, from: usize, due: &mut Due) -> usize {
        let (mut line, mut first) = if from / FAN < self.leaves.len() { (from / FAN, from % FAN) } else { (0, 0) };
        for _ in 0..most {
            let all = due_in(&self.leaves[line], now_ns);
            self.raise_if_stale::<M>(all, 0, line, now_ns);
            let mut bits = all & !0 << first;
            first = 0;
            while bits != 0 {
                let bucket = line * FAN + bits.trailing_zeros() as usize;
                if due.len == most {
                    return bucket;
                }
                due.push(bucket);
                bits &= bits - 1;
            }
            if due.len == most {
                return (line + 1) * FAN;
            }
            match self.line_after::<M>(line, now_ns) {
                Some(next) => line = next,
                None => return 0,
            }
        }
        line * FAN
    }

    /// The next line of leaves after this one in which something is due.
    fn line_after<M: Mode>(&self, line: usize, now_ns: u64) -> Option<usize> {
        let (mut level, mut node) = (0, line);
        loop {
            // Up, until a node has a sibling to the right in which something is due ...
            loop {
                if level + 1 == self.above.len() {
                    return None;
                }
                let (parent, place) = (node / FAN, node % FAN);
                let all = due_in(&self.above[level][parent], now_ns);
                self.raise_if_stale::<M>(all, level + 1, parent, now_ns);
                let later = all & !1 << place;
                if later != 0 {
                    node = parent * FAN + later.trailing_zeros() as usize;
                    break;
                }
                (level, node) = (level + 1, parent);
            }
            // ... then down to the first of it, unless its bound was too low.
            loop {
                if level == 0 {
                    return Some(node);
                }
                let all = due_in(&self.above[level - 1][node], now_ns);
                if all == 0 {
                    self.raise_if_stale::<M>(all, level, node, now_ns);
                    break;
                }
                (level, node) = (level - 1, node * FAN + all.trailing_zeros() as usize);
            }
        }
    }

    /// If nothing below a node is due, its bound is not to say so any longer.
    #[inline(always)]
    fn raise_if_stale<M: Mode>(&self, due_below: u32, level: usize, node: usize, now_ns: u64) {
        if due_below == 0 && self.bound(level, node).load(Relaxed) <= now_ns {
            self.raise::<M>(level, node);
        }
    }

    /// The bound of a node anew, from those below.
    #[inline(never)]
    fn raise<M: Mode>(&self, level: usize, node: usize) {
        replace::<M>(self.bound(level, node), NEVER);
        let least = self.below(level, node).0.iter().map(|child| child.load(Acquire)).min().unwrap_or(NEVER);
        if least != NEVER {
            // Who has raised a bound above this one meanwhile may have done so to "never".
            self.note_above::<M>(level, node, least);
        }
    }
}

/// Which bounds of a line are due, a bit each. Which cannot be guessed: no branch on each.
#[inline(always)]
fn due_in(line: &Line, now_ns: u64) -> u32 {
    let later = |bits: u32, bound: &AtomicU64| bits << 1 | u32::from(bound.load(Relaxed) > now_ns);
    !line.0.iter().rev().fold(0, later) & ((1 << FAN) - 1)
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

/// Replaces a bound. Returns what it was.
#[inline(always)]
fn replace<M: Mode>(bound: &AtomicU64, to: u64) -> u64 {
    if M::OWNER_ONLY {
        let old = bound.load(Relaxed);
        bound.store(to, Relaxed);
        return old;
    }
    // AcqRel: it must acquire what the last minimum has released.
    bound.swap(to, AcqRel)
}
