//! `lockfree`: our own table, sharded, shared by all cores, atomics only. `docs/TABLE.md` is its long story.
//!
//! A shard is an array of `Bucket`s of one cache line, each with room for 14 entries, and a second line for
//! 14 more beside it; preallocated entries of 108 bytes; and a tree of deadlines: 123 bytes an entry all in,
//! 127 with the order of arrival that eviction needs.
//! Memory is *type-stable*: an entry is always an entry, so a reader that was overtaken reads a
//! wrong entry at worst, and notices it by the generation.
//!
//! # Modes
//! One layout, three ways to keep cores apart ([`Mode`]): [`OwnerOnly`], where one core has the table to itself;
//! [`Shared`], described below; and [`BucketLock`], where whoever works in a bucket holds its lock.
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
//! - **Windows.** The window data of TCP ([`Windows`]) is 44 bytes. Who works on it sets the busy bit in the state
//!   word first; every other change of the word expects it clear.
//! - **Expiry.** A tree of lower bounds finds the buckets in which something may have expired (`deadlines`).
//! - **Noted absence.** A burst that finds no slot with a flow's tag notes the bucket's header. As long as the header, with
//!   its version, is the same, the flow is not there: neither lookup nor insert search for it again.
//!
//! # Progress
//! Lookups, inserts, removals, evictions and expiry are lock-free: a round is repeated only because another
//! core's insert, update or removal succeeded; and so is `update` for connections without windows. Two cores with
//! packets of the *same TCP connection* take turns where windows are checked: `update` then waits, for as long as
//! the state machine runs. Nobody else waits for them: expiry and eviction pass a busy entry by.

mod arrivals;
mod bucket;
mod deadlines;
mod entry;
mod free;
mod memory;
mod mode;
mod removal;
mod shard;

use super::sync::pause;
use super::{Fate, FlowHash, FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::{Connection, OnFull, Windows};
use crate::packet::FlowKey;
use deadlines::Due;
use free::{Lane, Lanes};
use memory::Arena;
use shard::Shard;

pub use mode::{BucketLock, Mode, OwnerOnly, Shared};
pub use shard::MAX_ENTRIES_PER_SHARD;

/// The table. Workers reach it through [`LockFree::worker`] or [`LockFree::owner`].
pub struct LockFree<M = Shared> {
    shards: Vec<Shard<M>>,
    hash: FlowHash,
    arena: Arena,
    lanes: Lanes,
}

// SAFETY: all that workers share are atomics, but for the windows, which belong to whoever is alone with
// their entry (see `entry::Tail`): in `Shared` by its busy bit, in `BucketLock` by its bucket's lock. In
// `OwnerOnly` no method that reaches an entry takes `&self`: `owner` borrows the table exclusively.
unsafe impl<M: Mode> Sync for LockFree<M> {}

impl LockFree {
    /// Allocates everything. `hash` is what places are made with.
    ///
    /// # Panics
    /// If a shard has more than [`MAX_ENTRIES_PER_SHARD`] entries.
    pub fn new(geometry: Geometry, on_full: OnFull, hash: FlowHash) -> Self {
        Self::of_shards(geometry, on_full, hash, |_| true)
    }
}

impl<M: Mode> LockFree<M> {
    /// In any mode, and only with the shards that `owned` says; the others have no room.
    ///
    /// # Panics
    /// If a shard has more than [`MAX_ENTRIES_PER_SHARD`] entries.
    pub fn of_shards(geometry: Geometry, on_full: OnFull, hash: FlowHash, owned: impl Fn(u32) -> bool) -> Self {
        let most = MAX_ENTRIES_PER_SHARD;
        assert!(geometry.entries_per_shard <= most, "a shard holds at most {most} entries");
        let entries = |shard| if owned(shard) { geometry.entries_per_shard } else { 0 };
        let shards = || (0..geometry.shards).map(entries);
        let mut arena = Arena::new(shards().map(Shard::<M>::arena_bytes).sum());
        let shards = shards().map(|entries| Shard::new(entries, on_full, &mut arena)).collect();
        LockFree { shards, hash, arena, lanes: Lanes::new() }
    }

    /// Forgets every connection; keeps the memory.
    pub fn clear(&mut self) {
        self.shards.iter_mut().for_each(Shard::clear);
    }

    /// Bytes of memory held, all in.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// Bytes of it that are in huge pages; `None` if the system does not tell.
    pub fn huge_bytes(&self) -> Option<u64> {
        self.arena.huge_bytes()
    }

    /// The only way in, as long as it lives.
    pub fn owner(&mut self) -> Worker<'_, M> {
        Worker::new(self)
    }
}

/// The modes in which cores share a table.
pub trait SharedMode: Mode {}
impl SharedMode for Shared {}
impl SharedMode for BucketLock {}

impl<M: SharedMode> LockFree<M> {
    /// One worker's way in.
    pub fn worker(&self) -> Worker<'_, M> {
        Worker::new(self)
    }
}

/// A worker's handle, with its own counters.
pub struct Worker<'a, M = Shared> {
    table: &'a LockFree<M>,
    counters: TableCounters,
    lane: Lane<'a>,
    /// What may have expired: of which shard, and when.
    due: Due,
    due_in: u32,
    due_at_ns: u64,
}

impl<'a, M: Mode> Worker<'a, M> {
    fn new(table: &'a LockFree<M>) -> Self {
        let (lane, counters) = (table.lanes.take(), TableCounters::default());
        Worker { table, counters, lane, due: Due::new(), due_in: 0, due_at_ns: 0 }
    }

    #[inline(always)]
    fn shard(&self, number: u32) -> &'a Shard<M> {
        &self.table.shards[number as usize]
    }

    /// Inserts once there is room: what has expired goes, or else a connection that may be evicted.
    #[inline(never)]
    fn insert_into_full(
        &mut self,
        place: &Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
        now_ns: u64,
    ) -> Insert {
        let shard = self.shard(place.shard);
        loop {
            let removed = shard.make_room(self.lane.number, place.hash, now_ns);
            if removed == 0 {
                break;
            }
            self.counters.swept(removed);
            let result = shard.insert(self.lane.number, place, key, connection, windows);
            if result != Insert::Full {
                return result;
            }
        }
        let Some(entry) = shard.evict(&self.table.hash) else { return Insert::Full };
        self.counters.entries -= 1;
        self.counters.evicted += 1;
        shard.insert_as(self.lane.number, entry, place, key, connection, windows)
    }
}

impl<M: Mode> FlowTable for Worker<'_, M> {
    #[inline(always)]
    fn prefetch(&self, place: Place) {
        self.shard(place.shard).prefetch(place.hash);
    }

    #[inline(always)]
    fn prefetch_entry(&self, place: &mut Place, uses_windows: bool) {
        self.shard(place.shard).prefetch_entry(self.lane.number, place, uses_windows);
    }

    #[inline]
    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        uses_windows: bool,
        mut change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
    ) -> Option<R> {
        let shard = self.shard(place.shard);
        let _guard = shard.lock(place.hash);
        loop {
            let (index, word) = shard.find(&place, key)?;
            let entry = shard.entry(index);
            if M::EXCLUSIVE || uses_windows {
                // This is where one core may wait for another: the one that handles a packet of the same TCP
                // connection at the same moment, for as long as the state machine runs.
                let Some(mut held) = entry.try_hold::<M>(word) else {
                    pause();
                    continue;
                };
                let expires_ns = held.connection.expires_ns;
                let (fate, result) = held.with(&mut change);
                if fate == Fate::Keep {
                    if held.connection.expires_ns < expires_ns {
                        shard.note_nearer(place.hash, held.connection.expires_ns);
                    }
                    held.keep();
                } else {
                    held.kill();
                    shard.bury(self.lane.number, place.hash, index);
                    self.counters.removed(fate);
                }
                return Some(result);
            }
            let Some(old) = entry.load(word) else { continue };
            let mut new = old;
            // Nothing of these is kept: another core may have the entry's own.
            let (fate, result) = change(&mut new, &mut Windows::default());
            if fate == Fate::Keep {
                if entry.store(word, &new) {
                    if new.expires_ns < old.expires_ns {
                        shard.note_nearer(place.hash, new.expires_ns);
                    }
                    return Some(result);
                }
            } else if shard.remove(self.lane.number, place.hash, index, word) {
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
        windows: Option<&Windows>,
        now_ns: u64,
    ) -> Insert {
        let result = match self.shard(place.shard).insert(self.lane.number, &place, key, connection, windows) {
            Insert::Full => self.insert_into_full(&place, key, connection, windows, now_ns),
            result => result,
        };
        match result {
            Insert::Done => self.counters.inserted(),
            Insert::Full => self.counters.refused += 1,
            Insert::Exists => {}
        }
        result
    }

    #[inline]
    fn find_expired(&mut self, shard: u32, now_ns: u64, most: usize) {
        (self.due_in, self.due_at_ns) = (shard, now_ns);
        self.shard(shard).find_due(now_ns, most, &mut self.due);
    }

    #[inline]
    fn prefetch_expired(&mut self) {
        self.shard(self.due_in).prefetch_due(&self.due);
    }

    #[inline]
    fn remove_expired(&mut self) {
        let removed = self.shard(self.due_in).remove_due(self.lane.number, &self.due, self.due_at_ns);
        self.due.clear();
        self.counters.swept(removed);
    }

    fn probes(&self, place: Place, key: &FlowKey) -> Option<u32> {
        Some(self.shard(place.shard).probes(place.hash, key))
    }

    fn sweep(&mut self, now_ns: u64) {
        let removed = self.table.shards.iter().map(|shard| shard.sweep(self.lane.number, now_ns)).sum();
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
