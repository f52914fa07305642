//! What ready-made concurrent maps need to be a flow table.
//!
//! A map for each shard, as a hashbrown map for each in `locked`: so a shard's capacity is exact, a sweep
//! goes over its shard only, and cores meet less often than in one map for all.

use super::{Fate, FlowTable, Geometry, Insert, Place, TableCounters};
use crate::conntrack::{Connection, MAX_EVICTION_CANDIDATES, OnFull, Windows};
use crate::packet::FlowKey;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Mutex, PoisonError};

/// A flow with its hash, which the map takes as it is: tables are compared, not hash functions.
#[derive(Clone, Copy)]
pub struct Hashed {
    key: FlowKey,
    hash: u64,
}

impl PartialEq for Hashed {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Hashed {}

impl Hash for Hashed {
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Hands on the one word that [`Hashed`] writes.
#[derive(Clone, Copy, Default)]
pub struct PassThrough(u64);

impl Hasher for PassThrough {
    #[inline(always)]
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[inline(always)]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes [`PassThrough`] hashers.
pub type BuildPassThrough = std::hash::BuildHasherDefault<PassThrough>;

/// What is kept of a flow.
#[derive(Clone, Copy)]
pub struct Value {
    /// Number of the insert into its shard: tells it from a later entry of the same flow.
    serial: u64,
    connection: Connection,
    windows: Windows,
}

/// A ready-made concurrent map.
pub trait Map: Send + Sync {
    /// An empty map with room for so many entries.
    fn with_capacity(entries: usize) -> Self;

    /// Lets `visit` see and change a flow's value, alone, and removes the flow if it says so. True if it was removed.
    fn visit(&self, flow: &Hashed, visit: impl FnMut(&mut Value) -> bool) -> bool;

    /// Inserts a flow; false if it is there.
    fn insert(&self, flow: &Hashed, value: &Value) -> bool;

    /// Removes every flow of which `remove` says so.
    fn remove_each(&self, remove: impl FnMut(&Value) -> bool);

    /// Removes every flow.
    fn clear(&mut self);

    /// Bytes of memory held: an estimate, from the sizes that the map's sources give.
    fn bytes(&self) -> u64;
}

/// On cache lines of its own.
#[repr(align(128))]
struct Shard<M> {
    map: M,
    entries: AtomicU32,
    serial: AtomicU64,
    /// No entry of the shard expires before this packet time.
    earliest_expiry_ns: AtomicU64,
    /// Held during a sweep: whoever needs the room waits for it.
    sweeping: Mutex<()>,
    arrivals: Mutex<VecDeque<(Hashed, u64)>>,
}

impl<M: Map> Shard<M> {
    /// Takes room for one more, if there is any.
    fn reserve(&self, capacity: u32) -> bool {
        // Relaxed: a count; what it counts is synchronised by the map.
        self.entries.fetch_update(Relaxed, Relaxed, |n| (n < capacity).then_some(n + 1)).is_ok()
    }

    fn note_expiry(&self, expires_ns: u64) {
        // Most often nothing changes. AcqRel: a sweep that overwrites the bound has then seen the entry behind it.
        if expires_ns < self.earliest_expiry_ns.load(Relaxed) {
            self.earliest_expiry_ns.fetch_min(expires_ns, AcqRel);
        }
    }

    /// Removes what has expired, if anything can have. Returns how many entries.
    fn sweep(&self, now_ns: u64) -> u64 {
        let _sweeping = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ns < self.earliest_expiry_ns.load(Relaxed) {
            return 0;
        }
        // Reset first, then collect: an insert in between lowers the new bound.
        self.earliest_expiry_ns.swap(u64::MAX, AcqRel);
        let mut removed = 0;
        self.map.remove_each(|value| {
            let expired = value.connection.expires_ns <= now_ns;
            match expired {
                true => removed += 1,
                false => self.note_expiry(value.connection.expires_ns),
            }
            expired
        });
        self.entries.fetch_sub(removed, Relaxed);
        u64::from(removed)
    }

    /// Removes the first unassured connection in order of arrival, among few.
    fn evict(&self) -> bool {
        for _ in 0..MAX_EVICTION_CANDIDATES {
            let arrival = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((flow, serial)) = arrival else { return false };
            if self.map.visit(&flow, |value| value.serial == serial && !value.connection.status.assured()) {
                self.entries.fetch_sub(1, Relaxed);
                return true;
            }
        }
        false
    }

    fn arrived(&self, flow: Hashed, serial: u64, capacity: u32) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() == capacity as usize {
            // Only the latest inserts are candidates, as many as there are entries.
            arrivals.pop_front();
        }
        arrivals.push_back((flow, serial));
    }
}

/// A flow table of such maps. Workers reach it through [`Contender::worker`].
pub struct Contender<M> {
    shards: Vec<Shard<M>>,
    entries_per_shard: u32,
    on_full: OnFull,
}

impl<M: Map> Contender<M> {
    /// Allocates what the maps let it.
    pub fn new(geometry: Geometry, on_full: OnFull) -> Self {
        let entries = geometry.entries_per_shard as usize;
        let candidates = if on_full == OnFull::EvictUnassured { entries } else { 0 };
        let shard = |_| Shard {
            // Twice the room, as in `percore`.
            map: M::with_capacity(2 * entries),
            entries: AtomicU32::new(0),
            serial: AtomicU64::new(0),
            earliest_expiry_ns: AtomicU64::new(u64::MAX),
            sweeping: Mutex::new(()),
            arrivals: Mutex::new(VecDeque::with_capacity(candidates)),
        };
        let shards = (0..geometry.shards).map(shard).collect();
        Contender { shards, entries_per_shard: geometry.entries_per_shard, on_full }
    }

    /// Forgets every connection.
    pub fn clear(&mut self) {
        for shard in &mut self.shards {
            shard.map.clear();
            *shard.entries.get_mut() = 0;
            *shard.earliest_expiry_ns.get_mut() = u64::MAX;
            shard.arrivals.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Bytes of memory held: an estimate.
    pub fn bytes(&self) -> u64 {
        let arrivals = match self.on_full {
            OnFull::DropNew => 0,
            OnFull::EvictUnassured => self.entries_per_shard as usize * size_of::<(Hashed, u64)>(),
        };
        let shard = |shard: &Shard<M>| (size_of::<Shard<M>>() + arrivals) as u64 + shard.map.bytes();
        self.shards.iter().map(shard).sum()
    }

    /// One worker's way in.
    pub fn worker(&self) -> ContenderWorker<'_, M> {
        ContenderWorker { table: self, counters: TableCounters::default() }
    }
}

/// A worker's handle, with its own counters.
pub struct ContenderWorker<'a, M> {
    table: &'a Contender<M>,
    counters: TableCounters,
}

impl<M: Map> FlowTable for ContenderWorker<'_, M> {
    fn prefetch(&self, _: Place) {}

    fn prefetch_entry(&self, _: &mut Place, _: bool) {}

    #[inline]
    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        _: bool,
        mut change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
    ) -> Option<R> {
        let shard = &self.table.shards[place.shard as usize];
        let mut result = None;
        let mut earlier_ns = u64::MAX;
        let removed = shard.map.visit(&Hashed { key: *key, hash: place.hash }, |value| {
            let expires_ns = value.connection.expires_ns;
            let (fate, r) = change(&mut value.connection, &mut value.windows);
            if value.connection.expires_ns < expires_ns {
                earlier_ns = value.connection.expires_ns;
            }
            result = Some((fate, r));
            fate != Fate::Keep
        });
        let (fate, result) = result?;
        if removed {
            shard.entries.fetch_sub(1, Relaxed);
            self.counters.removed(fate);
        } else if earlier_ns != u64::MAX {
            shard.note_expiry(earlier_ns);
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
        let Contender { shards, entries_per_shard, on_full } = self.table;
        let shard = &shards[place.shard as usize];
        let mut reserved = shard.reserve(*entries_per_shard);
        if !reserved {
            self.counters.swept(shard.sweep(now_ns));
            reserved = shard.reserve(*entries_per_shard);
        }
        if !reserved && *on_full == OnFull::EvictUnassured && shard.evict() {
            self.counters.entries -= 1;
            self.counters.evicted += 1;
            reserved = shard.reserve(*entries_per_shard);
        }
        if !reserved {
            self.counters.refused += 1;
            return Insert::Full;
        }
        let serial = match on_full {
            OnFull::DropNew => 0,
            OnFull::EvictUnassured => shard.serial.fetch_add(1, Relaxed),
        };
        let flow = Hashed { key: *key, hash: place.hash };
        let value = Value { serial, connection: *connection, windows: windows.copied().unwrap_or_default() };
        if !shard.map.insert(&flow, &value) {
            shard.entries.fetch_sub(1, Relaxed);
            return Insert::Exists;
        }
        // After the insert: see `sweep`.
        shard.note_expiry(connection.expires_ns);
        if *on_full == OnFull::EvictUnassured {
            shard.arrived(flow, serial, *entries_per_shard);
        }
        self.counters.inserted();
        Insert::Done
    }

    fn sweep(&mut self, now_ns: u64) {
        let removed = self.table.shards.iter().map(|shard| shard.sweep(now_ns)).sum();
        self.counters.swept(removed);
    }

    fn counters(&self) -> &TableCounters {
        &self.counters
    }
}
