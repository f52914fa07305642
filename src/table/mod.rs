//! Flow tables: where connections are kept. One trait, one file a table.
//!
//! A table finds, updates and removes; what a packet means is the [`crate::conntrack`] tracker's
//! part. Tables are split into *shards* of fixed capacity. Steering hands out whole shards, so a
//! shard sees its packets in trace order on any number of cores, and is full at the same packet in
//! every table.

pub mod access;
#[cfg(feature = "contenders")]
pub mod contender;
#[cfg(feature = "contenders")]
pub mod dashmap;
mod hash;
pub mod locked;
pub mod lockfree;
mod map_shard;
#[cfg(feature = "contenders")]
pub mod papaya;
pub mod percore;
#[cfg(feature = "contenders")]
pub mod scc;
mod sync;

pub use hash::{FlowHash, HashKey};

use crate::conntrack::{Connection, Windows};
use crate::packet::FlowKey;

/// Where a flow belongs: its shard, and its hash inside the shard. And what [`FlowTable::prefetch_entry`] has
/// learnt on its way, for the table alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Shard number, below [`Geometry::shards`].
    pub shard: u32,
    /// Where in its bucket the flow seemed to be; any value is right.
    hint: u32,
    /// Keyed hash of the flow.
    pub hash: u64,
    /// The header of the flow's bucket, all bits inverted, under which the flow was not there; 0 for none.
    absent: u64,
}

impl Place {
    /// `shard` is below [`Geometry::shards`]; `hash` is the keyed hash of the flow.
    #[inline(always)]
    pub const fn new(shard: u32, hash: u64) -> Self {
        Place { shard, hint: 0, hash, absent: 0 }
    }
}

/// Size of a table, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Number of shards, a property of the scenario and not of the cores.
    pub shards: u32,
    /// Entries in each shard.
    pub entries_per_shard: u32,
}

impl Geometry {
    /// Default number of shards: enough for 16 cores to differ by at most a few per cent in load.
    pub const DEFAULT_SHARDS: u32 = 64;

    /// At least this many entries in all, rounded up to whole shards.
    pub fn with_capacity(entries: u64, shards: u32) -> Self {
        let each = entries.div_ceil(u64::from(shards)).clamp(1, u64::from(u32::MAX));
        Geometry { shards, entries_per_shard: each as u32 }
    }

    /// Entries in all shards together.
    pub fn capacity(self) -> u64 {
        u64::from(self.shards) * u64::from(self.entries_per_shard)
    }
}

/// What an insert came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// The connection is in the table.
    Done,
    /// Somebody else has just inserted the same flow: look again.
    Exists,
    /// No room in the shard, even after what had expired was removed.
    Full,
}

/// What a table has done since it was made or cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    /// Entries inserted less entries removed, through this worker: in a shared table a worker may
    /// remove what others inserted. Summed over workers: entries now held, those included that have
    /// expired but were not touched since.
    pub entries: i64,
    /// The most entries ever held. Over several cores: the sum of their peaks.
    pub peak_entries: u64,
    /// Look-ups: of each packet that is tracked, one.
    pub lookups: u64,
    /// Of them, those that found their connection alive.
    pub hits: u64,
    /// Connections inserted.
    pub inserts: u64,
    /// Connections removed because their time was up.
    pub expired: u64,
    /// Connections removed to make room, before their time.
    pub evicted: u64,
    /// Inserts refused because the shard was full.
    pub refused: u64,
}

impl TableCounters {
    #[inline]
    fn removed(&mut self, fate: Fate) {
        self.entries -= 1;
        self.expired += u64::from(fate == Fate::Expire);
    }

    #[inline]
    fn swept(&mut self, removed: u64) {
        self.entries -= removed as i64;
        self.expired += removed;
    }

    #[inline]
    fn inserted(&mut self) {
        self.inserts += 1;
        self.entries += 1;
        self.peak_entries = self.peak_entries.max(self.entries.max(0) as u64);
    }

    /// Adds another core's counters.
    pub fn merge(&mut self, other: &TableCounters) {
        self.entries += other.entries;
        self.peak_entries += other.peak_entries;
        self.lookups += other.lookups;
        self.hits += other.hits;
        self.inserts += other.inserts;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.refused += other.refused;
    }
}

/// What is to be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Keep it, with what has changed in it.
    Keep,
    /// Remove it.
    Remove,
    /// Remove it; its time was up.
    Expire,
}

/// One worker's way into a flow table.
pub trait FlowTable: Send {
    /// Asks the memory for what `update` will read first.
    fn prefetch(&self, place: Place);

    /// Asks the memory for the entry itself, and for its windows if the protocol uses them; its bucket should
    /// have arrived. May leave in `place` what spares `update` and `insert` a search.
    fn prefetch_entry(&self, place: &mut Place, uses_windows: bool);

    /// Finds the entry of a flow, expired or not, lets `change` do its work on it, and does to it
    /// what `change` says. `None`: the flow has no entry.
    ///
    /// `uses_windows` says whether the protocol uses [`Windows`]. If not, `change` finds anything in them,
    /// and leaves them and the connection's notes alone. In a shared table another core may then act on the
    /// entry in between: `change` runs again, on what the other core has left.
    fn update<R>(
        &mut self,
        place: Place,
        key: &FlowKey,
        uses_windows: bool,
        change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
    ) -> Option<R>;

    /// Adds a flow that has no entry. `windows` if its protocol uses them; `now_ns`: packet time, to make
    /// room by removing what has expired.
    fn insert(
        &mut self,
        place: Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
        now_ns: u64,
    ) -> Insert;

    /// Once a burst, bounded work on what has expired, in three steps so that its memory accesses overlap
    /// with those of the burst's packets. First: finds at most so many places of this shard in which something
    /// may have expired. Tables that remove what has expired only when they are full do nothing.
    fn find_expired(&mut self, _shard: u32, _now_ns: u64, _most: usize) {}

    /// Second: asks the memory for what is there.
    fn prefetch_expired(&mut self) {}

    /// Third, when the next burst begins: removes what has expired there.
    fn remove_expired(&mut self) {}

    /// How many entries a look-up of this flow would compare with it, found or not; `None` if the table does not tell.
    /// For accounting, beside any pass that is timed.
    fn probes(&self, _place: Place, _key: &FlowKey) -> Option<u32> {
        None
    }

    /// Removes all that has expired, from all shards that this worker may touch.
    fn sweep(&mut self, now_ns: u64);

    /// What was done through this worker.
    fn counters(&self) -> &TableCounters;
}

/// Asks for a cache line that is going to be changed, without waiting for it: if another core has it, it gives it up
/// now, and not when the change comes.
#[inline(always)]
pub(crate) fn prefetch_line_to_write<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect but on the caches, whatever the address. Every x86-64 processor takes this
    // one, if only as an instruction that does nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    prefetch_line(address);
}

/// Asks for a cache line, without waiting for it.
#[inline(always)]
pub(crate) fn prefetch_line<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on the caches, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
