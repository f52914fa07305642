//! The free entries of a shard: lists that cores do not fight over.
//!
//! A list is a Treiber stack (IBM RJ5118, 1986): the last entry freed, still in the cache, is the next one used. There
//! are some lists a shard, and a core uses its own (its *lane*), so that under steering by packet two cores that open
//! flows in one shard do not pass the head of a list, and freed entries, to and fro between their caches. When
//! a core's own list is empty, it takes entries that were never used, then those of the other lists: a shard is full
//! only if all are empty.

use super::mode::{Mode, swap};
use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*};
use std::sync::atomic::{AtomicU32 as Bits, Ordering};

/// Lists of a shard. More cores than that share some.
pub(super) const LANES: usize = if cfg!(loom) { 2 } else { 4 };

/// `tag << 32 | (index + 1)` of the first free entry. The tag changes with every swap, so that
/// a head that came back is not taken for one that never left.
#[repr(align(64))]
struct Head(AtomicU64);

/// A line of its own, away from what every lookup reads.
#[repr(align(64))]
struct Fresh(AtomicU32);

pub(super) struct FreeLists {
    heads: [Head; LANES],
    /// Entries from here on were never used.
    fresh: Fresh,
}

/// A list's head with another first entry (index + 1, or 0).
fn next_head(head: u64, first: u32) -> u64 {
    (head >> 32).wrapping_add(1) << 32 | u64::from(first)
}

impl FreeLists {
    pub(super) fn new() -> Self {
        FreeLists { heads: std::array::from_fn(|_| Head(AtomicU64::new(0))), fresh: Fresh(AtomicU32::new(0)) }
    }

    /// Forgets everything, while no worker runs.
    pub(super) fn clear(&mut self) {
        self.heads.iter().for_each(|head| head.0.store(0, Relaxed));
        self.fresh.0.store(0, Relaxed);
    }

    /// Entries from here on were never used.
    pub(super) fn fresh(&self) -> u32 {
        self.fresh.0.load(Relaxed)
    }

    /// The entry that `take` would return, if nobody overtakes: good enough for a prefetch.
    #[inline(always)]
    pub(super) fn peek(&self, lane: usize) -> u32 {
        match (self.heads[lane].0.load(Relaxed) as u32).checked_sub(1) {
            Some(free) => free,
            None => self.fresh(),
        }
    }

    /// A free entry of so many, and the one that probably comes next. `link`: where an entry that is free keeps the
    /// next one, plus one.
    #[inline(always)]
    pub(super) fn take<'a, M: Mode>(
        &self,
        lane: usize,
        entries: u32,
        link: impl Fn(u32) -> &'a AtomicU64 + Copy,
    ) -> Option<(u32, u32)> {
        match self.pop::<M>(lane, link) {
            Some(popped) => Some(popped),
            None => self.take_elsewhere::<M>(lane, entries, link),
        }
    }

    #[inline(always)]
    fn pop<'a, M: Mode>(&self, lane: usize, link: impl Fn(u32) -> &'a AtomicU64) -> Option<(u32, u32)> {
        let list = &self.heads[lane].0;
        // Acquire: pairs with the release in `give`, so that the entry's next link is there.
        let mut head = list.load(Acquire);
        while let Some(index) = (head as u32).checked_sub(1) {
            let next = link(index).load(Relaxed) as u32;
            match swap(list, M::OWNER_ONLY, head, next_head(head, next)) {
                Ok(_) => return Some((index, next.wrapping_sub(1))),
                Err(current) => head = current,
            }
        }
        None
    }

    #[inline(never)]
    fn take_elsewhere<'a, M: Mode>(
        &self,
        lane: usize,
        entries: u32,
        link: impl Fn(u32) -> &'a AtomicU64 + Copy,
    ) -> Option<(u32, u32)> {
        // Relaxed: a fresh entry has no history.
        let fresh = &self.fresh.0;
        let next = |n: u32| (n < entries).then_some(n + 1);
        let fresh = match M::OWNER_ONLY {
            true => next(fresh.load(Relaxed)).map(|n| (fresh.store(n, Relaxed), n - 1).1),
            false => fresh.fetch_update(Relaxed, Relaxed, next).ok(),
        };
        match fresh {
            Some(index) => Some((index, index + 1)),
            None => (1..LANES).find_map(|n| self.pop::<M>((lane + n) % LANES, link)),
        }
    }

    /// Puts dead, unreachable entries on a list, of which each but the last is linked to the next.
    #[inline(always)]
    pub(super) fn give<M: Mode>(&self, lane: usize, first: u32, last: &AtomicU64) {
        let list = &self.heads[lane].0;
        let mut head = list.load(Relaxed);
        loop {
            last.store(u64::from(head as u32), Relaxed);
            // Release: the entries' last writes come before they are handed out again.
            match swap(list, M::OWNER_ONLY, head, next_head(head, first + 1)) {
                Ok(_) => return,
                Err(current) => head = current,
            }
        }
    }
}

/// Which lanes are taken, one bit each. Of any value all is right, only slower: so this is no part of a protocol.
pub(super) struct Lanes(Bits);

/// A worker's lane, its own as long as it lives, if there are enough.
pub(super) struct Lane<'a> {
    lanes: &'a Lanes,
    bit: u32,
    pub(super) number: usize,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Lanes(Bits::new(0))
    }

    /// The first that is not taken.
    pub(super) fn take(&self) -> Lane<'_> {
        let first_free = |taken: u32| {
            let bit = !taken & taken.wrapping_add(1);
            (bit.trailing_zeros() < LANES as u32).then_some(taken | bit)
        };
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, first_free) {
            Ok(taken) => {
                Lane { lanes: self, bit: !taken & taken.wrapping_add(1), number: taken.trailing_ones() as usize }
            }
            Err(_) => Lane { lanes: self, bit: 0, number: 0 },
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.lanes.0.fetch_and(!self.bit, Ordering::Relaxed);
    }
}
