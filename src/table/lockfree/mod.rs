//! `lockfree`: our own table, sharded, shared by all cores, atomics only.
//!
//! A shard is an array of `Bucket`s of one cache line, each with room for 14 entries, and a second line for
//! 14 more beside it; and preallocated entries of 108 bytes: 123 bytes an entry all in, 127 with the
//! order of arrival that eviction needs.
//! Memory is *type-stable*: an entry is always an entry, so a reader that was overtaken reads a
//! wrong entry at worst, and notices it by the generation.
//!
//! # Protocols
//! - **One flow, one entry.** Every insert and removal in a bucket goes through a compare-and-swap
//!   of the bucket's header, which holds occupancy and a version.
//!   An inserter looks for the key *under the header that it then swaps*: of two cores that insert
//!   the same flow, one fails, looks again and finds the other's entry.
//! - **Publish.** An entry is written in full before the header's occupancy bit makes it reachable
//!   (release, paired with the acquire of the reader's header load).
//! - **Remove.** Swapping the entry's state word from live to dead decides who removes it. The
//!   winner clears the occupancy bit, then frees the bucket's slot, then the entry.
//! - **Reuse.** The state word carries a generation that removal advances. A reader checks it after
//!   it has read the key, and again after it has read the connection; every update is a swap
//!   that expects the generation.
//!
//! # Progress
//! `update` and `insert` are lock-free: a round is repeated only because another core's insert, update
//! or removal succeeded. No core waits for another.
//! The window data of TCP ([`crate::conntrack::Detail`]) is several words and is only exact while
//! steering brings a flow to one core, as `symmetric` does.

mod arrivals;
mod bucket;
mod entry;
mod shard;

use super::{Fate, FlowHash, FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::{Connection, Detail, OnFull};
use crate::packet::FlowKey;
use shard::Shard;

pub use shard::MAX_ENTRIES_PER_SHARD;

/// The table. Workers reach it through [`LockFree::worker`].
pub struct LockFree {
    shards: Vec<Shard>,
    hash: FlowHash,
}

impl LockFree {
    /// Allocates everything. `hash` is what places are made with.
    ///
    /// # Panics
    /// If a shard has more than [`MAX_ENTRIES_PER_SHARD`] entries.
    pub fn new(geometry: Geometry, on_full: OnFull, hash: FlowHash) -> Self {
        let shard = |_| Shard::new(geometry.entries_per_shard, on_full);
        LockFree { shards: (0..geometry.shards).map(shard).collect(), hash }
    }

    /// Forgets every connection; keeps the memory.
    pub fn clear(&mut self) {
        self.shards.iter_mut().for_each(Shard::clear);
    }

    /// Bytes of memory held, all in.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// One worker's way in.
    pub fn worker(&self) -> Worker<'_> {
        Worker { table: self, counters: TableCounters::default() }
    }
}

/// A worker's handle, with its own counters.
pub struct Worker<'a> {
    table: &'a LockFree,
    counters: TableCounters,
}

impl Worker<'_> {
    #[inline(always)]
    fn shard(&self, number: u32) -> &Shard {
        &self.table.shards[number as usize]
    }
}

impl FlowTable for Worker<'_> {
    #[inline(always)]
    fn prefetch(&self, place: Place) {
        self.shard(place.shard).prefetch(place.hash);
    }

    #[inline(always)]
    fn prefetch_entry(&self, place: Place) {
        self.shard(place.shard).prefetch_entry(place.hash);
    }

    #[inline]
    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        uses_detail: bool,
        mut change: impl FnMut(&mut Connection, &mut Detail) -> (Fate, R),
    ) -> Option<R> {
        let shard = &self.table.shards[place.shard as usize];
        let mut detail = Detail::default();
        loop {
            let (index, generation) = shard.find(place.hash, key)?;
            let entry = shard.entry(index);
            let Some(old) = entry.load(generation, uses_detail.then_some(&mut detail)) else { continue };
            let mut new = old;
            let (fate, result) = change(&mut new, &mut detail);
            if fate == Fate::Keep {
                if entry.store(generation, &old, &new, uses_detail.then_some(&detail)) {
                    if new.expires_ns < old.expires_ns {
                        shard.note_expiry(new.expires_ns);
                    }
                    return Some(result);
                }
            } else if shard.remove(place.hash, index, generation, &old) {
                self.counters.removed(fate);
                return Some(result);
            }
        }
    }

    fn insert(
        &mut self,
        place: Place,
        key: &FlowKey,
        connection: &Connection,
        detail: Option<&Detail>,
        now_ns: u64,
    ) -> Insert {
        let shard = &self.table.shards[place.shard as usize];
        let mut result = shard.insert(place.hash, key, connection, detail);
        if result == Insert::Full {
            let removed = shard.sweep(now_ns);
            self.counters.swept(removed);
            if removed > 0 {
                result = shard.insert(place.hash, key, connection, detail);
            }
        }
        if result == Insert::Full && shard.evict(&self.table.hash) {
            self.counters.entries -= 1;
            self.counters.evicted += 1;
            result = shard.insert(place.hash, key, connection, detail);
        }
        match result {
            Insert::Done => self.counters.inserted(),
            Insert::Full => self.counters.refused += 1,
            Insert::Exists => {}
        }
        result
    }

    fn sweep(&mut self, now_ns: u64) {
        let removed = self.table.shards.iter().map(|shard| shard.sweep(now_ns)).sum();
        self.counters.swept(removed);
    }

    fn counters(&self) -> &TableCounters {
        &self.counters
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod models;
