//! A shard: its memory, and how flows are found in it and inserted. How they go is in `removal`.

use super::arrivals::{Arrival, Arrivals};
use super::bucket::{
    self, Bucket, FIRST_LINE, Guard, NOWHERE, Overflow, SLOTS, absence, index_if_tagged, index_in, next_header,
    occupancy, slot_word, tag_of,
};
use super::deadlines::Deadlines;
use super::entry::{Entry, Head, Tail, Word};
use super::free::FreeLists;
use super::memory::{Arena, Array, bytes_of};
use super::mode::{Mode, swap, take};
use crate::conntrack::{Connection, OnFull, Windows};
use crate::packet::FlowKey;
use crate::table::sync::{AtomicU32, Ordering::*, fence};
use crate::table::{Insert, Place};
use std::marker::PhantomData;

/// A slot holds 20 bits of entry index.
pub const MAX_ENTRIES_PER_SHARD: u32 = bucket::MAX_INDEX + 1;

/// A full shard has so many entries a bucket. With that many on average, one bucket in 24 needs its
/// second line, and one in 30 million would need a third, which it does not have (Poisson).
const ENTRIES_PER_BUCKET: u32 = 9;

pub(super) struct Shard<M> {
    pub(super) buckets: Array<Bucket>,
    /// The buckets' second lines.
    overflows: Array<Overflow>,
    heads: Array<Head>,
    tails: Array<Tail>,
    pub(super) free: FreeLists,
    pub(super) deadlines: Deadlines,
    pub(super) arrivals: Arrivals,
    mode: PhantomData<M>,
}

/// A slot that this core has claimed, and its bit in the bucket's header.
struct Claim<'a> {
    slot: &'a AtomicU32,
    bit: u32,
}

fn buckets_of(entries: u32) -> usize {
    entries.div_ceil(ENTRIES_PER_BUCKET).max(1) as usize
}

impl<M: Mode> Shard<M> {
    /// Bytes that a shard of so many entries takes from the arena.
    pub(super) fn arena_bytes(entries: u32) -> usize {
        let (buckets, entries) = (buckets_of(entries), entries as usize);
        bytes_of::<Bucket>(buckets)
            + bytes_of::<Overflow>(buckets)
            + bytes_of::<Head>(entries)
            + bytes_of::<Tail>(entries)
            + Deadlines::arena_bytes(buckets)
    }

    pub(super) fn new(entries: u32, on_full: OnFull, arena: &mut Arena) -> Self {
        let buckets = buckets_of(entries);
        Shard {
            buckets: arena.array(buckets),
            overflows: arena.array(buckets),
            heads: arena.array(entries as usize),
            tails: arena.array(entries as usize),
            free: FreeLists::new(),
            deadlines: Deadlines::new(buckets, arena),
            arrivals: Arrivals::new(if on_full == OnFull::EvictUnassured { entries } else { 0 }),
            mode: PhantomData,
        }
    }

    /// Forgets everything. `&mut`: no worker runs, so relaxed stores do.
    pub(super) fn clear(&mut self) {
        let used = self.free.fresh();
        (0..used).filter_map(|index| self.get(index)).for_each(Entry::reset);
        for (bucket, overflow) in self.buckets.iter().zip(self.overflows.iter()) {
            // Most tables are larger than their traces.
            if bucket.header.swap(0, Relaxed) != 0 {
                bucket.slots.iter().chain(&overflow.0).for_each(|slot| slot.store(0, Relaxed));
            }
        }
        self.free.clear();
        self.deadlines.clear();
        self.arrivals.clear();
    }

    pub(super) fn bytes(&self) -> u64 {
        let arrays = size_of_val(&self.buckets[..])
            + size_of_val(&self.overflows[..])
            + size_of_val(&self.heads[..])
            + size_of_val(&self.tails[..]);
        (arrays + self.deadlines.bytes() + self.arrivals.bytes() + size_of::<Shard<M>>()) as u64
    }

    #[inline(always)]
    pub(super) fn entry(&self, index: u32) -> Entry<'_> {
        let head = &self.heads[index as usize];
        // SAFETY: there are as many tails as heads (see `new`).
        Entry::new(head, unsafe { self.tails.get_unchecked(index as usize) })
    }

    /// The entry, if there is one with this index.
    #[inline(always)]
    pub(super) fn get(&self, index: u32) -> Option<Entry<'_>> {
        let head = self.heads.get(index as usize)?;
        // SAFETY: there are as many tails as heads (see `new`).
        Some(Entry::new(head, unsafe { self.tails.get_unchecked(index as usize) }))
    }

    /// The number of a hash's bucket: its upper half, scaled to the number of buckets (Lemire, "Fast
    /// Random Integer Generation in an Interval", 2019), which need not be a power of two. Tags come
    /// from the lower half.
    #[inline(always)]
    pub(super) fn bucket_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        crate::table::prefetch_line(&raw const self.buckets[self.bucket_of(hash)]);
    }

    /// Prefetches the first entry whose tag fits: nearly always the right one. Notes its slot. If none fits,
    /// prefetches what an insert needs, and notes under which header that was.
    #[inline(always)]
    pub(super) fn prefetch_entry(&self, lane: usize, place: &mut Place, uses_windows: bool) {
        let number = self.bucket_of(place.hash);
        let bucket = &self.buckets[number];
        // Acquire: as in `search`, since `update` and `insert` believe what is noted.
        let header = bucket.header.load(Acquire);
        place.hint = (occupancy(header) & bucket.tagged(tag_of(place.hash))).trailing_zeros();
        match bucket.slots.get(place.hint as usize) {
            Some(slot) => {
                if let Some(entry) = self.get(index_in(slot.load(Relaxed))) {
                    entry.prefetch(uses_windows);
                }
            }
            None => self.prefetch_absent(lane, place, number, header, uses_windows),
        }
    }

    /// No slot of the first line has the flow's tag.
    #[inline(never)]
    fn prefetch_absent(&self, lane: usize, place: &mut Place, number: usize, header: u64, uses_windows: bool) {
        place.hint = NOWHERE;
        if occupancy(header) <= FIRST_LINE {
            place.absent = absence(header);
        } else {
            crate::table::prefetch_line(&raw const self.overflows[number]);
        }
        crate::table::prefetch_line_to_write(&raw const self.buckets[number]);
        self.prefetch_insert(lane, number, uses_windows);
    }

    /// Asks for the entry that the next insert takes, and for the deadline that it notes.
    #[inline(always)]
    fn prefetch_insert(&self, lane: usize, bucket: usize, uses_windows: bool) {
        self.deadlines.prefetch(bucket);
        if let Some(entry) = self.get(self.free.peek(lane)) {
            entry.prefetch(uses_windows);
        }
    }

    /// The bucket's lock, in the mode that has locks.
    #[inline(always)]
    pub(super) fn lock(&self, hash: u64) -> Guard<'_> {
        self.buckets[self.bucket_of(hash)].lock::<M>()
    }

    /// The slot of a bit in a bucket's header.
    #[inline(always)]
    pub(super) fn slot(&self, bucket: usize, bit: usize) -> &AtomicU32 {
        match bit.checked_sub(SLOTS) {
            None => &self.buckets[bucket].slots[bit],
            Some(bit) => &self.overflows[bucket].0[bit],
        }
    }

    /// Index and state word of the live entry with this key.
    #[inline(always)]
    pub(super) fn find(&self, place: &Place, key: &FlowKey) -> Option<(u32, Word)> {
        self.search(self.bucket_of(place.hash), place, key).1
    }

    /// A header of the bucket, and the entry with this key that was reachable under it.
    #[inline(always)]
    fn search(&self, bucket: usize, place: &Place, key: &FlowKey) -> (u64, Option<(u32, Word)>) {
        let tag = tag_of(place.hash);
        loop {
            // Acquire: pairs with the swap in `publish`, so the entry behind a bit is filled.
            let header = self.buckets[bucket].header.load(Acquire);
            let occupied = occupancy(header);
            let mut found = match occupied >> (place.hint & 31) & 1 {
                1 => self.at_slot(bucket, place.hint as usize & 31, tag, key),
                _ => None,
            };
            if found.is_none() {
                // The flow was not there under this very header.
                if absence(header) == place.absent {
                    return (header, None);
                }
                found = self.find_under(bucket, occupied, tag, key);
            }
            let Some(found) = found else { return (header, None) };
            if M::EXCLUSIVE {
                return (header, Some(found));
            }
            // A slot that was freed and claimed since the header was read may show an entry that is
            // not published yet, and perhaps never will be; and a key may be half overwritten, but only after
            // its entry's removal has changed the header: who sees such a key, sees that below.
            fence(Acquire);
            if self.buckets[bucket].header.load(Relaxed) == header {
                return (header, Some(found));
            }
        }
    }

    #[inline(always)]
    fn at_slot(&self, bucket: usize, bit: usize, tag: u32, key: &FlowKey) -> Option<(u32, Word)> {
        // Relaxed: the word was written before its bit. If the slot was freed and claimed anew since, the
        // header says so.
        let index = index_if_tagged(self.slot(bucket, bit).load(Relaxed), tag)?;
        Some((index, self.get(index)?.holds(key)?))
    }

    #[inline(never)]
    fn find_under(&self, bucket: usize, occupied: u32, tag: u32, key: &FlowKey) -> Option<(u32, Word)> {
        let mut bits = occupied & self.buckets[bucket].tagged(tag);
        if occupied > FIRST_LINE {
            bits |= occupied & self.overflows[bucket].tagged(tag) << SLOTS;
        }
        while bits != 0 {
            if let Some(found) = self.at_slot(bucket, bits.trailing_zeros() as usize, tag, key) {
                return Some(found);
            }
            bits &= bits - 1;
        }
        None
    }

    /// Entries that a look-up of this flow compares with it, found or not.
    pub(super) fn probes(&self, hash: u64, key: &FlowKey) -> u32 {
        let (bucket, tag) = (self.bucket_of(hash), tag_of(hash));
        let occupied = occupancy(self.buckets[bucket].header.load(Acquire));
        let mut bits = occupied & self.buckets[bucket].tagged(tag);
        if occupied > FIRST_LINE {
            bits |= occupied & self.overflows[bucket].tagged(tag) << SLOTS;
        }
        let mut probes = 0;
        while bits != 0 {
            probes += 1;
            if self.at_slot(bucket, bits.trailing_zeros() as usize, tag, key).is_some() {
                break;
            }
            bits &= bits - 1;
        }
        probes
    }

    /// Inserts a flow that is not there. `Full` if there is neither a free entry nor a free slot.
    #[inline(always)]
    pub(super) fn insert(
        &self,
        lane: usize,
        place: &Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
    ) -> Insert {
        match self.allocate(lane) {
            Some(index) => self.insert_as(lane, index, place, key, connection, windows),
            None => Insert::Full,
        }
    }

    /// The same, as this entry, which is free and the caller's.
    #[inline(always)]
    pub(super) fn insert_as(
        &self,
        lane: usize,
        index: u32,
        place: &Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
    ) -> Insert {
        let number = self.bucket_of(place.hash);
        let bucket = &self.buckets[number];
        let generation = self.entry(index).fill(key, connection, windows);
        let _guard = bucket.lock::<M>();
        let word = slot_word(tag_of(place.hash), index);
        if !self.publish_absent(bucket, place, word) {
            let result = self.publish(number, place, key, word);
            if result != Insert::Done {
                self.entry(index).discard(generation);
                self.release(lane, index);
                return result;
            }
        }
        self.deadlines.note::<M>(number, connection.expires_ns);
        self.arrivals.push(Arrival::new(index, generation));
        Insert::Done
    }

    /// Makes a filled entry reachable if nothing has changed in the bucket since it was seen that the flow is not
    /// there, and the first line has room. As nearly all inserts.
    #[inline(always)]
    fn publish_absent(&self, bucket: &Bucket, place: &Place, word: u32) -> bool {
        // Relaxed: `prefetch_entry` has acquired this header.
        let header = bucket.header.load(Relaxed);
        let bit = (!occupancy(header) & FIRST_LINE).trailing_zeros();
        let Some(slot) = bucket.slots.get(bit as usize) else { return false };
        if absence(header) != place.absent || !take(slot, M::EXCLUSIVE, word) {
            return false;
        }
        // As in `publish`.
        let new = next_header(header, occupancy(header) | 1 << bit);
        let published = swap(&bucket.header, M::EXCLUSIVE, header, new).is_ok();
        if !published {
            slot.store(0, Release);
        }
        published
    }

    /// Makes a filled entry reachable, unless its flow already is.
    #[inline(never)]
    fn publish(&self, bucket: usize, place: &Place, key: &FlowKey, word: u32) -> Insert {
        let mut claim: Option<Claim> = None;
        let result = loop {
            // The swap below expects the very header under which the flow was not found: it fails
            // if any flow was inserted or removed since.
            let (header, found) = self.search(bucket, place, key);
            if found.is_some() {
                break Insert::Exists;
            }
            if claim.is_none() {
                claim = self.claim(bucket, header, word);
            }
            let Some(Claim { bit, .. }) = claim else { break Insert::Full };
            let new = next_header(header, occupancy(header) | bit);
            // Release: publishes entry and slot. Acquire: so that the next insert, through this
            // header, has seen all inserts before.
            if swap(&self.buckets[bucket].header, M::EXCLUSIVE, header, new).is_ok() {
                return Insert::Done;
            }
        };
        if let Some(Claim { slot, .. }) = claim {
            // Release: the next claimer's word comes after ours.
            slot.store(0, Release);
        }
        result
    }

    /// Claims a free slot, in the second line only if the first has none.
    fn claim(&self, bucket: usize, header: u64, word: u32) -> Option<Claim<'_>> {
        let mut free = !occupancy(header) & ((1 << (2 * SLOTS)) - 1);
        while free != 0 {
            let bit = free.trailing_zeros();
            let slot = self.slot(bucket, bit as usize);
            if take(slot, M::EXCLUSIVE, word) {
                return Some(Claim { slot, bit: 1 << bit });
            }
            free &= !(1 << bit);
        }
        None
    }

    /// A free entry.
    #[inline(always)]
    fn allocate(&self, lane: usize) -> Option<u32> {
        let link = |index| self.entry(index).next_free();
        let (index, next) = self.free.take::<M>(lane, self.heads.len() as u32, link)?;
        // Nobody else asks for it before the next insert does.
        if let Some(entry) = self.get(next) {
            entry.prefetch(false);
        }
        Some(index)
    }

    /// Puts a dead, unreachable entry on the free list.
    pub(super) fn release(&self, lane: usize, index: u32) {
        self.free.give::<M>(lane, index, self.entry(index).next_free());
    }

    /// Number of occupied slots, for tests.
    #[cfg(test)]
    pub(super) fn occupied(&self) -> usize {
        self.buckets.iter().map(|b| occupancy(b.header.load(Acquire)).count_ones() as usize).sum()
    }
}
