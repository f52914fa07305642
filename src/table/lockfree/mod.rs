//! `lockfree`: our own table, sharded, shared by all cores, atomics only.
//!
//! A shard is an array of home `Bucket`s of one cache line, each with room for 13 entries and for a
//! link to one overflow line of 13 more, and an array of preallocated `Entry`s of two lines.
//! Memory is *type-stable*: an entry is always an entry, so a reader that was overtaken reads a
//! wrong entry at worst, and notices it by the generation.
//!
//! # Protocols
//! - **One flow, one entry.** Every insert and removal in a bucket, and in its overflow line, goes
//!   through a compare-and-swap of the home bucket's header, which holds occupancy and a version.
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
//! `load` is wait-free; `find`, `insert`, `store` and `remove` are lock-free: a round is repeated only
//! because another core's insert, update or removal succeeded. No core waits for another.
//! The window data of TCP ([`crate::conntrack::Detail`]) is several words and is only exact while
//! steering brings a flow to one core, as `symmetric` does.

mod bucket;
mod entry;
mod shard;

use super::{FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::Connection;
use crate::packet::FlowKey;
use shard::Shard;

pub use shard::MAX_ENTRIES_PER_SHARD;

/// The table. Workers reach it through [`LockFree::worker`].
pub struct LockFree {
    shards: Vec<Shard>,
}

impl LockFree {
    /// Allocates everything.
    ///
    /// # Panics
    /// If a shard has more than [`MAX_ENTRIES_PER_SHARD`] entries.
    pub fn new(geometry: Geometry) -> Self {
        LockFree { shards: (0..geometry.shards).map(|_| Shard::new(geometry.entries_per_shard)).collect() }
    }

    /// Forgets every connection; keeps the memory.
    pub fn clear(&mut self) {
        self.shards.iter_mut().for_each(Shard::clear);
    }

    /// Bytes of memory held.
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

/// An entry as it was found: its index in the shard, and its generation then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    shard: u32,
    index: u32,
    generation: u16,
}

impl Worker<'_> {
    #[inline(always)]
    fn shard(&self, number: u32) -> &Shard {
        &self.table.shards[number as usize]
    }
}

impl FlowTable for Worker<'_> {
    type Slot = Slot;

    #[inline(always)]
    fn prefetch(&self, place: Place) {
        self.shard(place.shard).prefetch(place.hash);
    }

    #[inline(always)]
    fn prefetch_entry(&self, place: Place) {
        self.shard(place.shard).prefetch_entry(place.hash);
    }

    #[inline]
    fn find(&self, place: Place, key: &FlowKey) -> Option<Slot> {
        let (index, generation) = self.shard(place.shard).find(place.hash, key)?;
        Some(Slot { shard: place.shard, index, generation })
    }

    #[inline]
    fn load(&self, slot: Slot, detail: bool) -> Option<Connection> {
        self.shard(slot.shard).entry(slot.index).load(slot.generation, detail)
    }

    #[inline]
    fn store(&mut self, slot: Slot, old: &Connection, new: &Connection, detail: bool) -> bool {
        let shard = self.shard(slot.shard);
        let stored = shard.entry(slot.index).store(slot.generation, old, new, detail);
        if new.expires_ns < old.expires_ns {
            shard.note_expiry(new.expires_ns);
        }
        stored
    }

    fn remove(&mut self, place: Place, slot: Slot, old: &Connection) -> bool {
        let removed = self.shard(slot.shard).remove(place.hash, slot.index, slot.generation, old);
        self.counters.entries -= i64::from(removed);
        removed
    }

    fn insert(&mut self, place: Place, key: &FlowKey, connection: &Connection, detail: bool, now_ns: u64) -> Insert {
        let shard = &self.table.shards[place.shard as usize];
        let mut result = shard.insert(place.hash, key, connection, detail);
        if result == Insert::Full {
            let removed = shard.sweep(now_ns);
            self.counters.expired += removed;
            self.counters.entries -= removed as i64;
            if removed > 0 {
                result = shard.insert(place.hash, key, connection, detail);
            }
        }
        match result {
            Insert::Done => self.counters.inserted(),
            Insert::Full => self.counters.refused += 1,
            Insert::Exists => {}
        }
        result
    }

    fn counters(&self) -> &TableCounters {
        &self.counters
    }

    fn counters_mut(&mut self) -> &mut TableCounters {
        &mut self.counters
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod models;
