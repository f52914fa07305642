//! `locked`: the shards of `percore`, shared by all cores, each behind a mutex.

use super::map_shard::MapShard;
use super::{Fate, FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::{Connection, OnFull, Windows};
use crate::packet::FlowKey;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// On cache lines of its own: the pair of lines that x86 fetches together.
#[repr(align(128))]
struct Padded(Mutex<MapShard>);

/// The table. Workers reach it through [`Locked::worker`].
pub struct Locked {
    shards: Vec<Padded>,
}

impl Locked {
    /// Allocates all that it will need.
    pub fn new(geometry: Geometry, on_full: OnFull) -> Self {
        let shard = |_| Padded(Mutex::new(MapShard::new(geometry.entries_per_shard, on_full)));
        Locked { shards: (0..geometry.shards).map(shard).collect() }
    }

    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, MapShard>> {
        self.shards.iter().map(lock)
    }

    /// Forgets every connection; keeps the memory.
    pub fn clear(&mut self) {
        self.each().for_each(|mut shard| shard.clear());
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> u64 {
        size_of_val(self.shards.as_slice()) as u64 + self.each().map(|shard| shard.bytes()).sum::<u64>()
    }

    /// One worker's way in.
    pub fn worker(&self) -> LockedWorker<'_> {
        LockedWorker { table: self, counters: TableCounters::default() }
    }
}

/// A panic in another worker ends the run, and says so there.
fn lock(shard: &Padded) -> MutexGuard<'_, MapShard> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker's handle, with its own counters.
pub struct LockedWorker<'a> {
    table: &'a Locked,
    counters: TableCounters,
}

impl FlowTable for LockedWorker<'_> {
    fn prefetch(&self, place: Place) {
        super::prefetch_line(&raw const self.table.shards[place.shard as usize]);
    }

    fn prefetch_entry(&self, _: &mut Place, _: bool) {}

    #[inline]
    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        _: bool,
        change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
    ) -> Option<R> {
        lock(&self.table.shards[place.shard as usize]).update(place, key, change, &mut self.counters)
    }

    fn insert(
        &mut self,
        place: Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
        now_ns: u64,
    ) -> Insert {
        let mut shard = lock(&self.table.shards[place.shard as usize]);
        if shard.contains(place, key) {
            return Insert::Exists;
        }
        shard.insert(place, key, connection, windows, now_ns, &mut self.counters)
    }

    fn sweep(&mut self, now_ns: u64) {
        self.table.each().for_each(|mut shard| shard.sweep(now_ns, &mut self.counters));
    }

    fn counters(&self) -> &TableCounters {
        &self.counters
    }
}
