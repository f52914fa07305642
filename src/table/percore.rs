//! `percore`: hashbrown, shared-nothing. Each shard is a map of its own that one core owns.
//!
//! Only valid while steering brings both directions of a flow to one core.

use super::map_shard::MapShard;
use super::{Fate, FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::{Connection, OnFull, Windows};
use crate::packet::FlowKey;

/// The shards of one core.
pub struct PerCore {
    /// Indexed by shard number; shards of other cores have no room.
    shards: Vec<MapShard>,
    counters: TableCounters,
}

impl PerCore {
    /// A table for the shards that `owned` says are this core's. Allocates all that it will need.
    pub fn new(geometry: Geometry, on_full: OnFull, owned: impl Fn(u32) -> bool) -> Self {
        let entries = |shard| if owned(shard) { geometry.entries_per_shard } else { 0 };
        let shards = (0..geometry.shards).map(|shard| MapShard::new(entries(shard), on_full)).collect();
        PerCore { shards, counters: TableCounters::default() }
    }

    /// Forgets every connection; keeps the memory.
    pub fn clear(&mut self) {
        self.shards.iter_mut().for_each(MapShard::clear);
        self.counters = TableCounters::default();
    }

    /// Bytes of memory held: one control byte and one entry a slot, and the order of arrival.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(MapShard::bytes).sum()
    }
}

/// A worker's exclusive hold of its table.
pub struct Owned<'a>(pub &'a mut PerCore);

impl FlowTable for Owned<'_> {
    fn prefetch(&self, _: Place) {}

    fn prefetch_entry(&self, _: &mut Place, _: bool) {}

    #[inline]
    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        _: bool,
        change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
    ) -> Option<R> {
        let PerCore { shards, counters } = &mut *self.0;
        shards[place.shard as usize].update(place, key, change, counters)
    }

    fn insert(
        &mut self,
        place: Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
        now_ns: u64,
    ) -> Insert {
        let PerCore { shards, counters } = &mut *self.0;
        shards[place.shard as usize].insert(place, key, connection, windows, now_ns, counters)
    }

    fn sweep(&mut self, now_ns: u64) {
        let PerCore { shards, counters } = &mut *self.0;
        shards.iter_mut().for_each(|shard| shard.sweep(now_ns, counters));
    }

    fn counters(&self) -> &TableCounters {
        &self.0.counters
    }
}
