//! A shard: buckets, entries, and the list of free entries.

use super::arrivals::{Arrival, Arrivals};
use super::bucket::{
    self, Bucket, FIRST_LINE, Guard, Overflow, SLOTS, home_of, index_if_tagged, index_in, nearest, next_header,
    occupancy, slot_word, tag_of,
};
use super::deadlines::{Deadlines, Due, MAX_DUE};
use super::entry::{Entry, Head, Snapshot, Tail, Word};
use super::memory::{Arena, Array, bytes_of};
use super::mode::{Mode, swap, take};
use crate::conntrack::{Connection, MAX_EVICTION_CANDIDATES, OnFull, Windows};
use crate::packet::FlowKey;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*, fence};
use crate::table::{FlowHash, Insert};
use std::marker::PhantomData;

/// A slot holds 20 bits of entry index.
pub const MAX_ENTRIES_PER_SHARD: u32 = bucket::MAX_INDEX + 1;

/// A full shard has so many entries a bucket. With that many on average, one bucket in 24 needs its
/// second line, and one in 30 million would need a third, which it does not have (Poisson).
const ENTRIES_PER_BUCKET: u32 = 9;

/// So many slots from a flow's home on are looked at one by one, as most flows are found there; then all others
/// at once, as a new flow would otherwise cost a look at every slot, and a wrong guess of where they end.
const LOOKS: usize = 2;

/// What changes with inserts and removals: away from the lines that every lookup reads.
#[repr(align(128))]
struct FreeList {
    /// `tag << 32 | (index + 1)` of the first free entry. The tag changes with every swap, so that
    /// a head that came back is not taken for one that never left (Treiber, IBM RJ5118, 1986).
    head: AtomicU64,
    /// Entries from here on were never used.
    fresh: AtomicU32,
}

pub(super) struct Shard<M> {
    buckets: Array<Bucket>,
    /// The buckets' second lines.
    overflows: Array<Overflow>,
    heads: Array<Head>,
    tails: Array<Tail>,
    free: FreeList,
    deadlines: Deadlines,
    arrivals: Arrivals,
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
    }

    pub(super) fn new(entries: u32, on_full: OnFull, arena: &mut Arena) -> Self {
        let buckets = buckets_of(entries);
        Shard {
            buckets: arena.array(buckets),
            overflows: arena.array(buckets),
            heads: arena.array(entries as usize),
            tails: arena.array(entries as usize),
            free: FreeList { head: AtomicU64::new(0), fresh: AtomicU32::new(0) },
            deadlines: Deadlines::new(buckets),
            arrivals: Arrivals::new(if on_full == OnFull::EvictUnassured { entries } else { 0 }),
            mode: PhantomData,
        }
    }

    /// Forgets everything. `&mut`: no worker runs, so relaxed stores do.
    pub(super) fn clear(&mut self) {
        let used = self.free.fresh.load(Relaxed);
        (0..used).filter_map(|index| self.get(index)).for_each(Entry::reset);
        for (bucket, overflow) in self.buckets.iter().zip(self.overflows.iter()) {
            // Most tables are larger than their traces.
            if bucket.header.swap(0, Relaxed) != 0 {
                bucket.slots.iter().chain(&overflow.0).for_each(|slot| slot.store(0, Relaxed));
            }
        }
        self.free.head.store(0, Relaxed);
        self.free.fresh.store(0, Relaxed);
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
        Entry::new(&self.heads[index as usize], &self.tails[index as usize])
    }

    /// The entry, if there is one with this index.
    #[inline(always)]
    fn get(&self, index: u32) -> Option<Entry<'_>> {
        let head = self.heads.get(index as usize)?;
        // SAFETY: there are as many tails as heads (see `new`).
        Some(Entry::new(head, unsafe { self.tails.get_unchecked(index as usize) }))
    }

    /// The number of a hash's bucket: its upper half, scaled to the number of buckets (Lemire, "Fast
    /// Random Integer Generation in an Interval", 2019), which need not be a power of two. Tags come
    /// from the lower half.
    #[inline(always)]
    fn bucket_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        crate::table::prefetch_line(&raw const self.buckets[self.bucket_of(hash)]);
    }

    /// Prefetches the first entry whose tag fits: nearly always the right one. Returns its slot. If none fits,
    /// prefetches what an insert needs.
    #[inline(always)]
    pub(super) fn prefetch_entry(&self, hash: u64, uses_windows: bool) -> u32 {
        let number = self.bucket_of(hash);
        let (bucket, tag, home) = (&self.buckets[number], tag_of(hash), home_of(hash));
        let mut bits = occupancy(bucket.header.load(Relaxed)) & FIRST_LINE;
        for _ in 0..LOOKS {
            let bit = nearest(bits, home);
            let Some(slot) = bucket.slots.get(bit as usize) else { break };
            if let Some(entry) = index_if_tagged(slot.load(Relaxed), tag).and_then(|index| self.get(index)) {
                entry.prefetch(uses_windows);
                return bit;
            }
            bits &= !(1 << bit);
        }
        self.prefetch_far(number, bits, tag, uses_windows)
    }

    /// The same, in these other slots. If there is none, prefetches what an insert needs. Not inlined: the
    /// shorter way needs the registers.
    #[inline(never)]
    fn prefetch_far(&self, number: usize, bits: u32, tag: u32, uses_windows: bool) -> u32 {
        let bucket = &self.buckets[number];
        let bit = (bits & bucket.tagged(tag)).trailing_zeros();
        match bucket.slots.get(bit as usize).and_then(|slot| self.get(index_in(slot.load(Relaxed)))) {
            Some(entry) => entry.prefetch(uses_windows),
            None => self.prefetch_insert(number, uses_windows),
        }
        bit
    }

    /// Asks for the entry that the next insert takes, and for the deadline that it notes.
    fn prefetch_insert(&self, bucket: usize, uses_windows: bool) {
        let next = match (self.free.head.load(Relaxed) as u32).checked_sub(1) {
            Some(free) => free,
            None => self.free.fresh.load(Relaxed),
        };
        if let Some(entry) = self.get(next) {
            entry.prefetch(uses_windows);
            self.deadlines.prefetch(bucket);
        }
    }

    /// The bucket's lock, in the mode that has locks.
    #[inline(always)]
    pub(super) fn lock(&self, hash: u64) -> Guard<'_> {
        self.buckets[self.bucket_of(hash)].lock::<M>()
    }

    /// The slot of a bit in a bucket's header.
    #[inline(always)]
    fn slot(&self, bucket: usize, bit: usize) -> &AtomicU32 {
        match bit.checked_sub(SLOTS) {
            None => &self.buckets[bucket].slots[bit],
            Some(bit) => &self.overflows[bucket].0[bit],
        }
    }

    /// Index and state word of the live entry with this key. `hint`: the slot to look at first.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, key: &FlowKey, hint: u32) -> Option<(u32, Word)> {
        self.search(self.bucket_of(hash), tag_of(hash), key, hint).1
    }

    /// A header of the bucket, and the entry with this key that was reachable under it.
    #[inline(always)]
    fn search(&self, bucket: usize, tag: u32, key: &FlowKey, hint: u32) -> (u64, Option<(u32, Word)>) {
        loop {
            // Acquire: pairs with the swap in `publish`, so the entry behind a bit is filled.
            let header = self.buckets[bucket].header.load(Acquire);
            let occupied = occupancy(header);
            let found = match occupied >> (hint & 31) & 1 {
                1 => self.at_slot(bucket, hint as usize & 31, tag, key),
                _ => None,
            };
            let Some(found) = found.or_else(|| self.find_under(bucket, occupied, tag, key)) else {
                return (header, None);
            };
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
    pub(super) fn insert(
        &self,
        hash: u64,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
    ) -> Insert {
        let Some(index) = self.allocate() else { return Insert::Full };
        let generation = self.entry(index).fill(key, connection, windows);
        let _guard = self.lock(hash);
        let result = self.publish(hash, key, slot_word(tag_of(hash), index));
        if result == Insert::Done {
            self.note_expiry(hash, connection.expires_ns);
            self.arrivals.push(Arrival::new(index, generation));
        } else {
            self.entry(index).discard(generation);
            self.release(index);
        }
        result
    }

    /// Makes a filled entry reachable, unless its flow already is.
    fn publish(&self, hash: u64, key: &FlowKey, word: u32) -> Insert {
        let (bucket, tag) = (self.bucket_of(hash), tag_of(hash));
        let mut claim: Option<Claim> = None;
        let result = loop {
            // The swap below expects the very header under which the flow was not found: it fails
            // if any flow was inserted or removed since.
            let (header, found) = self.search(bucket, tag, key, 0);
            if found.is_some() {
                break Insert::Exists;
            }
            if claim.is_none() {
                claim = self.claim(bucket, header, word, home_of(hash));
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
    fn claim(&self, bucket: usize, header: u64, word: u32, home: u32) -> Option<Claim<'_>> {
        let mut free = !occupancy(header) & ((1 << (2 * SLOTS)) - 1);
        while free != 0 {
            let bit = nearest(free, home);
            let slot = self.slot(bucket, bit as usize);
            if take(slot, M::EXCLUSIVE, word) {
                return Some(Claim { slot, bit: 1 << bit });
            }
            free &= !(1 << bit);
        }
        None
    }

    /// Removes the entry if it still is what the word says.
    pub(super) fn remove(&self, hash: u64, index: u32, word: Word) -> bool {
        let killed = self.entry(index).kill::<M>(word);
        if killed {
            self.bury(hash, index);
        }
        killed
    }

    /// Takes a dead entry out of the bucket of its hash, and frees it. Only the core that killed it does this.
    pub(super) fn bury(&self, hash: u64, index: u32) {
        self.bury_in(self.bucket_of(hash), index, 0);
    }

    /// `likely`: the slot to look at first.
    fn bury_in(&self, bucket: usize, index: u32, likely: usize) {
        self.unlink(bucket, index, likely);
        self.release(index);
    }

    fn unlink(&self, bucket: usize, index: u32, likely: usize) {
        let mut header = self.buckets[bucket].header.load(Acquire);
        let ours =
            |bit: &usize| occupancy(header) & 1 << bit != 0 && index_in(self.slot(bucket, *bit).load(Relaxed)) == index;
        let Some(bit) = std::iter::once(likely).chain(0..2 * SLOTS).find(ours) else {
            unreachable_entry(index);
            return;
        };
        loop {
            let new = next_header(header, occupancy(header) & !(1 << bit));
            // Release: the removal is visible with the new version. Acquire: for the next round.
            match swap(&self.buckets[bucket].header, M::EXCLUSIVE, header, new) {
                Ok(_) => break,
                Err(current) => header = current,
            }
        }
        // Release: pairs with the acquire of the next claim.
        self.slot(bucket, bit).store(0, Release);
    }

    /// A free entry.
    fn allocate(&self) -> Option<u32> {
        // Acquire: pairs with the release in `release`, so that the entry's next link is there.
        let mut head = self.free.head.load(Acquire);
        while let Some(index) = (head as u32).checked_sub(1) {
            let next = self.entry(index).next_free().load(Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | u64::from(next as u32);
            match swap(&self.free.head, M::OWNER_ONLY, head, new) {
                Ok(_) => {
                    self.prefetch_free(next as u32);
                    return Some(index);
                }
                Err(current) => head = current,
            }
        }
        let entries = self.heads.len() as u32;
        // Relaxed: a fresh entry has no history.
        let index = if M::OWNER_ONLY {
            let fresh = self.free.fresh.load(Relaxed);
            self.free.fresh.store((fresh + 1).min(entries), Relaxed);
            Some(fresh).filter(|n| *n < entries)?
        } else {
            self.free.fresh.fetch_update(Relaxed, Relaxed, |n| (n < entries).then_some(n + 1)).ok()?
        };
        self.prefetch_free(index + 2);
        Some(index)
    }

    /// Asks for the entry of the next insert, by its index + 1: nobody else asks for it before.
    fn prefetch_free(&self, next: u32) {
        if let Some(entry) = next.checked_sub(1).and_then(|index| self.get(index)) {
            entry.prefetch_head();
        }
    }

    /// Puts a dead, unreachable entry on the free list.
    fn release(&self, index: u32) {
        let mut head = self.free.head.load(Relaxed);
        loop {
            self.entry(index).next_free().store(u64::from(head as u32), Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | u64::from(index + 1);
            // Release: the entry's last writes come before it is handed out again.
            match swap(&self.free.head, M::OWNER_ONLY, head, new) {
                Ok(_) => return,
                Err(current) => head = current,
            }
        }
    }

    /// An entry of the bucket of this hash has a deadline that is new, or nearer than before.
    #[inline(always)]
    pub(super) fn note_expiry(&self, hash: u64, expires_ns: u64) {
        self.deadlines.note::<M>(self.bucket_of(hash), expires_ns);
    }

    /// Finds at most so many buckets in which something may have expired, and asks for their lines.
    pub(super) fn find_due(&self, now_ns: u64, most: usize, due: &mut Due) {
        self.deadlines.find_due::<M>(now_ns, most, due);
        for bucket in due.as_slice() {
            crate::table::prefetch_line(&raw const self.buckets[*bucket as usize]);
        }
    }

    /// Asks for the entries of these buckets, as far as they stand in the first lines.
    pub(super) fn prefetch_due(&self, due: &Due) {
        for bucket in due.as_slice() {
            let bucket = &self.buckets[*bucket as usize];
            let mut bits = occupancy(bucket.header.load(Relaxed)) & FIRST_LINE;
            while bits != 0 {
                let word = bucket.slots[bits.trailing_zeros() as usize].load(Relaxed);
                self.get(index_in(word)).into_iter().for_each(Entry::prefetch_head);
                bits &= bits - 1;
            }
        }
    }

    /// Removes what has expired in these buckets. Returns how many entries.
    pub(super) fn remove_due(&self, due: &Due, now_ns: u64) -> u64 {
        due.as_slice().iter().map(|bucket| self.sweep_bucket(*bucket as usize, now_ns)).sum()
    }

    /// Removes all that has expired. Returns how many entries. The work is in proportion to the buckets in
    /// which something may have expired.
    pub(super) fn sweep(&self, now_ns: u64) -> u64 {
        let (mut removed, mut due) = (0, Due::new());
        // Every round raises the bounds of what it has found to beyond `now_ns`; but other cores may lower
        // some anew, for ever. A bucket is never looked through more often than there are rounds.
        for _ in 0..=self.buckets.len().div_ceil(MAX_DUE) * 2 {
            self.deadlines.find_first_due::<M>(now_ns, &mut due);
            if due.as_slice().is_empty() && !self.deadlines.any_due(now_ns) {
                break;
            }
            removed += self.remove_due(&due, now_ns);
        }
        removed
    }

    fn sweep_bucket(&self, bucket: usize, now_ns: u64) -> u64 {
        let _guard = self.buckets[bucket].lock::<M>();
        // Reset first, then collect: an insert in between lowers the new bound.
        self.deadlines.begin::<M>(bucket);
        let (mut removed, mut earliest) = (0, u64::MAX);
        let mut bits = occupancy(self.buckets[bucket].header.load(Acquire));
        while bits != 0 {
            let bit = bits.trailing_zeros() as usize;
            let index = index_in(self.slot(bucket, bit).load(Relaxed));
            bits &= bits - 1;
            let Some(entry) = self.get(index) else { continue };
            let expires_ns = match entry.snapshot() {
                Snapshot::Dead => continue,
                Snapshot::Live(_, connection) if now_ns < connection.expires_ns => connection.expires_ns,
                Snapshot::Live(word, _) => match entry.try_hold::<M>(word) {
                    // Looked at once more: a packet may have moved the deadline on meanwhile.
                    Some(held) if held.connection.expires_ns <= now_ns => {
                        held.kill();
                        self.bury_in(bucket, index, bit);
                        removed += 1;
                        continue;
                    }
                    Some(held) => held.release(),
                    None => now_ns.saturating_add(1),
                },
                // Somebody works on it: look again at the next packet.
                Snapshot::Busy => now_ns.saturating_add(1),
            };
            earliest = earliest.min(expires_ns);
        }
        if earliest != u64::MAX {
            self.deadlines.note::<M>(bucket, earliest);
        }
        removed
    }

    /// Removes the first unassured connection in order of arrival, among few: constant work.
    pub(super) fn evict(&self, hash: &FlowHash) -> bool {
        for _ in 0..MAX_EVICTION_CANDIDATES {
            let Some(arrival) = self.arrivals.pop() else { return false };
            self.prefetch_candidates(hash);
            let Some(entry) = self.get(arrival.index()) else { continue };
            let key = entry.key();
            let place = hash.hash(&key);
            let _guard = self.lock(place);
            let Snapshot::Live(word, connection) = entry.snapshot() else { continue };
            if arrival == Arrival::new(arrival.index(), word.generation())
                && key == entry.key()
                && !connection.status.assured()
                && entry.kill::<M>(word)
            {
                // The key is the killed connection's: it was read between two looks at its generation.
                self.bury(place, arrival.index());
                return true;
            }
        }
        false
    }

    /// Asks for what the next evictions look at: the bucket of the next candidate, whose entry was asked for
    /// one eviction ago, and the entry of the one after it.
    fn prefetch_candidates(&self, hash: &FlowHash) {
        let entry = |n| self.arrivals.peek(n).and_then(|arrival| self.get(arrival.index()));
        if let Some(next) = entry(0) {
            self.prefetch(hash.hash(&next.key()));
        }
        if let Some(second) = entry(1) {
            second.prefetch_head();
        }
    }

    /// Number of occupied slots, for tests.
    #[cfg(test)]
    pub(super) fn occupied(&self) -> usize {
        self.buckets.iter().map(|b| occupancy(b.header.load(Acquire)).count_ones() as usize).sum()
    }
}

/// A dead entry is in its bucket until its killer takes it out.
#[cold]
fn unreachable_entry(index: u32) {
    debug_assert!(false, "entry {index} was killed but is in no bucket");
}
