//! `percore`: hashbrown, shared-nothing. Each shard is a map of its own that one core owns.
//!
//! Only valid while steering brings both directions of a flow to one core.

use super::{FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::Connection;
use crate::packet::FlowKey;
use hashbrown::HashTable;

struct Entry {
    key: FlowKey,
    hash: u64,
    connection: Connection,
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

/// An entry's shard and its index there.
#[derive(Clone, Copy)]
pub struct Slot {
    shard: u32,
    index: usize,
}

/// A worker's exclusive hold of its table.
pub struct Owned<'a>(pub &'a mut PerCore);

impl PerCore {
    #[inline(always)]
    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.shards[slot.shard as usize].map.get_bucket(slot.index)
    }
}

impl FlowTable for Owned<'_> {
    type Slot = Slot;

    fn prefetch(&self, _: Place) {}

    fn prefetch_entry(&self, _: Place) {}

    #[inline]
    fn find(&self, place: Place, key: &FlowKey) -> Option<Slot> {
        let index = self.0.shards[place.shard as usize].map.find_bucket_index(place.hash, |e| e.key == *key)?;
        Some(Slot { shard: place.shard, index })
    }

    #[inline]
    fn load(&self, slot: Slot, _: bool) -> Option<Connection> {
        self.0.entry(slot).map(|entry| entry.connection)
    }

    #[inline]
    fn store(&mut self, slot: Slot, old: &Connection, new: &Connection, _: bool) -> bool {
        let shard = &mut self.0.shards[slot.shard as usize];
        if new.expires_ns < old.expires_ns {
            shard.earliest_expiry_ns = shard.earliest_expiry_ns.min(new.expires_ns);
        }
        match shard.map.get_bucket_mut(slot.index) {
            Some(entry) => {
                entry.connection = *new;
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, _: Place, slot: Slot, _: &Connection) -> bool {
        match self.0.shards[slot.shard as usize].map.get_bucket_entry(slot.index) {
            Ok(entry) => {
                entry.remove();
                self.0.counters.entries -= 1;
                true
            }
            Err(_) => false,
        }
    }

    fn insert(&mut self, place: Place, key: &FlowKey, connection: &Connection, _: bool, now_ns: u64) -> Insert {
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
        let entry = Entry { key: *key, hash: place.hash, connection: *connection };
        shard.map.insert_unique(place.hash, entry, |entry| entry.hash);
        shard.earliest_expiry_ns = shard.earliest_expiry_ns.min(connection.expires_ns);
        self.0.counters.inserted();
        Insert::Done
    }

    fn counters(&self) -> &TableCounters {
        &self.0.counters
    }

    fn counters_mut(&mut self) -> &mut TableCounters {
        &mut self.0.counters
    }
}
