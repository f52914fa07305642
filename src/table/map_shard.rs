//! A shard that one core at a time works on: a hashbrown map. Owned in `percore`, behind a mutex in `locked`.

use super::{Fate, Insert, Place, TableCounters};
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
pub(super) struct MapShard {
    map: HashTable<Entry>,
    capacity: usize,
    on_full: OnFull,
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

impl MapShard {
    /// With room for so many entries. Allocates all that it will need.
    pub(super) fn new(capacity: u32, on_full: OnFull) -> Self {
        let capacity = capacity as usize;
        let arrivals = if on_full == OnFull::EvictUnassured { capacity } else { 0 };
        MapShard {
            // Twice the room: below half full, hashbrown clears its tombstones in place and never grows.
            map: HashTable::with_capacity(2 * capacity),
            capacity,
            on_full,
            earliest_expiry_ns: u64::MAX,
            arrivals: VecDeque::with_capacity(arrivals),
            serial: 0,
        }
    }

    /// Forgets every connection; keeps the memory.
    pub(super) fn clear(&mut self) {
        self.map.clear();
        self.earliest_expiry_ns = u64::MAX;
        self.arrivals.clear();
    }

    /// Bytes of memory held: one control byte and one entry a slot, and the order of arrival.
    pub(super) fn bytes(&self) -> u64 {
        (self.map.allocation_size() + self.arrivals.capacity() * size_of::<Arrival>()) as u64
    }

    /// True if the flow has an entry.
    pub(super) fn contains(&self, place: Place, key: &FlowKey) -> bool {
        self.map.find(place.hash, |entry| entry.key == *key).is_some()
    }

    /// As [`super::FlowTable::update`].
    #[inline]
    pub(super) fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        mut change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
        counters: &mut TableCounters,
    ) -> Option<R> {
        let index = self.map.find_bucket_index(place.hash, |e| e.key == *key)?;
        let entry = self.map.get_bucket_mut(index)?;
        let expires_ns = entry.connection.expires_ns;
        let (fate, result) = change(&mut entry.connection, &mut entry.windows);
        if fate == Fate::Keep {
            // Most packets move the deadline on: then the bound need not be touched.
            if entry.connection.expires_ns < expires_ns {
                self.earliest_expiry_ns = self.earliest_expiry_ns.min(entry.connection.expires_ns);
            }
        } else if let Ok(entry) = self.map.get_bucket_entry(index) {
            entry.remove();
            counters.removed(fate);
        }
        Some(result)
    }

    /// As [`super::FlowTable::insert`], of a flow that has no entry.
    pub(super) fn insert(
        &mut self,
        place: Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
        now_ns: u64,
        counters: &mut TableCounters,
    ) -> Insert {
        if self.map.len() >= self.capacity {
            self.sweep(now_ns, counters);
        }
        if self.map.len() >= self.capacity && self.on_full == OnFull::EvictUnassured && self.evict() {
            counters.entries -= 1;
            counters.evicted += 1;
        }
        if self.map.len() >= self.capacity {
            counters.refused += 1;
            return Insert::Full;
        }
        self.serial += 1;
        let serial = self.serial;
        let windows = windows.copied().unwrap_or_default();
        let entry = Entry { key: *key, hash: place.hash, serial, connection: *connection, windows };
        self.map.insert_unique(place.hash, entry, |entry| entry.hash);
        self.earliest_expiry_ns = self.earliest_expiry_ns.min(connection.expires_ns);
        if self.on_full == OnFull::EvictUnassured {
            if self.arrivals.len() == self.capacity {
                // Only the latest inserts are candidates, as many as there are entries.
                self.arrivals.pop_front();
            }
            self.arrivals.push_back(Arrival { key: *key, hash: place.hash, serial });
        }
        counters.inserted();
        Insert::Done
    }

    /// Removes what has expired, if anything can have.
    pub(super) fn sweep(&mut self, now_ns: u64, counters: &mut TableCounters) {
        if now_ns < self.earliest_expiry_ns {
            return;
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
        counters.swept((before - self.map.len()) as u64);
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
