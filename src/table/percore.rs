//! `percore`: hashbrown, shared-nothing. Each shard is a map of its own that one core owns.
//!
//! Only valid while steering brings both directions of a flow to one core.

use super::{Fate, FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::{Connection, MAX_EVICTION_CANDIDATES, OnFull, Windows};
use crate::packet::FlowKey;
use hashbrown::HashTable;
use std::collections::VecDeque;

struct Entry {
    key: FlowKey,
    hash: u64,
    /// Number of the insert into its shard: tells it from a later entry of the same flow.
    serial: u64,
    connection: Connection,
    windows: Windows,
}

/// One shard: a map, a lower bound of when its first entry expires, and, if the table evicts, its
/// connections in order of arrival.
struct Shard {
    map: HashTable<Entry>,
    earliest_expiry_ns: u64,
    arrivals: VecDeque<Arrival>,
    serial: u64,
}

/// An entry, as long as it was not removed since.
struct Arrival {
    key: FlowKey,
    hash: u64,
    serial: u64,
}

impl Shard {
    /// Removes what has expired, if anything can have. Returns how many.
    fn sweep(&mut self, now_ns: u64) -> u64 {
        if now_ns < self.earliest_expiry_ns {
            return 0;
        }
        let before = self.map.len();
        let mut earliest = u64::MAX;
        self.map.retain(|entry| {
            let alive = now_ns < entry.connection.expires_ns;
            if alive {
                earliest = earliest.min(entry.connection.expires_ns);
            }
            alive
        });
        self.earliest_expiry_ns = earliest;
        (before - self.map.len()) as u64
    }

    /// Removes the first unassured connection in order of arrival, among few.
    fn evict(&mut self) -> bool {
        for _ in 0..MAX_EVICTION_CANDIDATES {
            let Some(arrival) = self.arrivals.pop_front() else { return false };
            let same = |entry: &Entry| entry.serial == arrival.serial && entry.key == arrival.key;
            if let Ok(entry) = self.map.find_entry(arrival.hash, same)
                && !entry.get().connection.status.assured()
            {
                entry.remove();
                return true;
            }
        }
        false
    }
}

/// The shards of one core.
pub struct PerCore {
    /// Indexed by shard number; shards of other cores stay unallocated.
    shards: Vec<Shard>,
    entries_per_shard: usize,
    on_full: OnFull,
    counters: TableCounters,
}

impl PerCore {
    /// A table for the shards that `owned` says are this core's. Allocates all that it will need.
    pub fn new(geometry: Geometry, on_full: OnFull, owned: impl Fn(u32) -> bool) -> Self {
        let entries = geometry.entries_per_shard as usize;
        let shard = |number| {
            // Twice the room: below half full, hashbrown clears its tombstones in place and never grows.
            let map = if owned(number) { HashTable::with_capacity(2 * entries) } else { HashTable::new() };
            let arrivals = match on_full {
                OnFull::EvictUnassured if owned(number) => VecDeque::with_capacity(entries),
                _ => VecDeque::new(),
            };
            Shard { map, earliest_expiry_ns: u64::MAX, arrivals, serial: 0 }
        };
        PerCore {
            shards: (0..geometry.shards).map(shard).collect(),
            entries_per_shard: entries,
            on_full,
            counters: TableCounters::default(),
        }
    }

    /// Forgets every connection; keeps the memory.
    pub fn clear(&mut self) {
        for shard in &mut self.shards {
            shard.map.clear();
            shard.earliest_expiry_ns = u64::MAX;
            shard.arrivals.clear();
        }
        self.counters = TableCounters::default();
    }

    /// Bytes of memory held: one control byte and one entry a slot, and the order of arrival.
    pub fn bytes(&self) -> u64 {
        let shard = |s: &Shard| s.map.allocation_size() + s.arrivals.capacity() * size_of::<Arrival>();
        self.shards.iter().map(|s| shard(s) as u64).sum()
    }
}

/// A worker's exclusive hold of its table.
pub struct Owned<'a>(pub &'a mut PerCore);

impl FlowTable for Owned<'_> {
    fn prefetch(&self, _: Place) {}

    fn prefetch_entry(&self, _: &mut Place) {}

    #[inline]
    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        _: bool,
        mut change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
    ) -> Option<R> {
        let shard = &mut self.0.shards[place.shard as usize];
        let index = shard.map.find_bucket_index(place.hash, |e| e.key == *key)?;
        let entry = shard.map.get_bucket_mut(index)?;
        let expires_ns = entry.connection.expires_ns;
        let (fate, result) = change(&mut entry.connection, &mut entry.windows);
        if fate == Fate::Keep {
            // Most packets move the deadline on: then the bound need not be touched.
            if entry.connection.expires_ns < expires_ns {
                shard.earliest_expiry_ns = shard.earliest_expiry_ns.min(entry.connection.expires_ns);
            }
        } else if let Ok(entry) = shard.map.get_bucket_entry(index) {
            entry.remove();
            self.0.counters.removed(fate);
        }
        Some(result)
    }

    fn insert(
        &mut self,
        place: Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
        now_ns: u64,
    ) -> Insert {
        let PerCore { shards, entries_per_shard, on_full, counters } = &mut *self.0;
        let shard = &mut shards[place.shard as usize];
        if shard.map.len() >= *entries_per_shard {
            counters.swept(shard.sweep(now_ns));
        }
        if shard.map.len() >= *entries_per_shard && *on_full == OnFull::EvictUnassured && shard.evict() {
            counters.entries -= 1;
            counters.evicted += 1;
        }
        if shard.map.len() >= *entries_per_shard {
            counters.refused += 1;
            return Insert::Full;
        }
        shard.serial += 1;
        let serial = shard.serial;
        let windows = windows.copied().unwrap_or_default();
        let entry = Entry { key: *key, hash: place.hash, serial, connection: *connection, windows };
        shard.map.insert_unique(place.hash, entry, |entry| entry.hash);
        shard.earliest_expiry_ns = shard.earliest_expiry_ns.min(connection.expires_ns);
        if *on_full == OnFull::EvictUnassured {
            if shard.arrivals.len() == *entries_per_shard {
                // Only the latest inserts are candidates, as many as there are entries.
                shard.arrivals.pop_front();
            }
            shard.arrivals.push_back(Arrival { key: *key, hash: place.hash, serial });
        }
        counters.inserted();
        Insert::Done
    }

    fn sweep(&mut self, now_ns: u64) {
        let removed = self.0.shards.iter_mut().map(|shard| shard.sweep(now_ns)).sum();
        self.0.counters.swept(removed);
    }

    fn counters(&self) -> &TableCounters {
        &self.0.counters
    }
}
