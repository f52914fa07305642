//! `percore`: hashbrown, shared-nothing. Each shard is a map of its own that one core owns.
//!
//! Only valid while steering brings both directions of a flow to one core.

use super::{Fate, FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::{Connection, Detail};
use crate::packet::FlowKey;
use hashbrown::HashTable;

struct Entry {
    key: FlowKey,
    hash: u64,
    connection: Connection,
    detail: Detail,
}

/// One shard: a map, and a lower bound of when its first entry expires.
struct Shard {
    map: HashTable<Entry>,
    earliest_expiry_ns: u64,
}

/// The shards of one core.
pub struct PerCore {
    /// Indexed by shard number; shards of other cores stay unallocated.
    shards: Vec<Shard>,
    entries_per_shard: usize,
    counters: TableCounters,
}

impl PerCore {
    /// A table for the shards that `owned` says are this core's. Allocates all that it will need.
    pub fn new(geometry: Geometry, owned: impl Fn(u32) -> bool) -> Self {
        let entries = geometry.entries_per_shard as usize;
        let shard = |number| {
            // Twice the room: below half full, hashbrown clears its tombstones in place and never grows.
            let map = if owned(number) { HashTable::with_capacity(2 * entries) } else { HashTable::new() };
            Shard { map, earliest_expiry_ns: u64::MAX }
        };
        PerCore {
            shards: (0..geometry.shards).map(shard).collect(),
            entries_per_shard: entries,
            counters: TableCounters::default(),
        }
    }

    /// Forgets every connection; keeps the memory.
    pub fn clear(&mut self) {
        for shard in &mut self.shards {
            shard.map.clear();
            shard.earliest_expiry_ns = u64::MAX;
        }
        self.counters = TableCounters::default();
    }

    /// Bytes of memory held: one control byte and one entry a slot.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.map.allocation_size() as u64).sum()
    }
}

/// A worker's exclusive hold of its table.
pub struct Owned<'a>(pub &'a mut PerCore);

impl FlowTable for Owned<'_> {
    fn prefetch(&self, _: Place) {}

    fn prefetch_entry(&self, _: Place) {}

    #[inline]
    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        _: bool,
        mut change: impl FnMut(&mut Connection, &mut Detail) -> (Fate, R),
    ) -> Option<R> {
        let shard = &mut self.0.shards[place.shard as usize];
        let index = shard.map.find_bucket_index(place.hash, |e| e.key == *key)?;
        let entry = shard.map.get_bucket_mut(index)?;
        let expires_ns = entry.connection.expires_ns;
        let (fate, result) = change(&mut entry.connection, &mut entry.detail);
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
        detail: Option<&Detail>,
        now_ns: u64,
    ) -> Insert {
        let shard = &mut self.0.shards[place.shard as usize];
        if shard.map.len() >= self.0.entries_per_shard && now_ns >= shard.earliest_expiry_ns {
            let before = shard.map.len();
            let mut earliest = u64::MAX;
            shard.map.retain(|entry| {
                let alive = now_ns < entry.connection.expires_ns;
                if alive {
                    earliest = earliest.min(entry.connection.expires_ns);
                }
                alive
            });
            shard.earliest_expiry_ns = earliest;
            let removed = (before - shard.map.len()) as u64;
            self.0.counters.entries -= removed as i64;
            self.0.counters.expired += removed;
        }
        if shard.map.len() >= self.0.entries_per_shard {
            self.0.counters.refused += 1;
            return Insert::Full;
        }
        let detail = detail.copied().unwrap_or_default();
        let entry = Entry { key: *key, hash: place.hash, connection: *connection, detail };
        shard.map.insert_unique(place.hash, entry, |entry| entry.hash);
        shard.earliest_expiry_ns = shard.earliest_expiry_ns.min(connection.expires_ns);
        self.0.counters.inserted();
        Insert::Done
    }

    fn counters(&self) -> &TableCounters {
        &self.0.counters
    }
}
