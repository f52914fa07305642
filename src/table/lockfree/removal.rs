//! How flows leave a shard: by their last packet, by time, and to make room.

use super::arrivals::Arrival;
use super::bucket::{FIRST_LINE, SLOTS, VERSION, index_in, next_header, occupancy, tag_of};
use super::deadlines::{Due, MAX_DUE};
use super::entry::{Expiry, Word};
use super::mode::{Mode, swap};
use super::shard::Shard;
use crate::conntrack::MAX_EVICTION_CANDIDATES;
use crate::table::FlowHash;
use crate::table::sync::Ordering::*;

impl<M: Mode> Shard<M> {
    /// Removes the entry if it still is what the word says.
    pub(super) fn remove(&self, lane: usize, hash: u64, index: u32, word: Word) -> bool {
        let killed = self.entry(index).kill::<M>(word);
        if killed {
            self.bury(lane, hash, index);
        }
        killed
    }

    /// Takes a dead entry out of the bucket of its hash, and frees it. Only the core that killed it does this.
    pub(super) fn bury(&self, lane: usize, hash: u64, index: u32) {
        if let Some(bit) = self.unlink(hash, index) {
            self.release_slots(lane, self.bucket_of(hash), 1 << bit);
        }
    }

    /// Takes a dead entry out of the bucket of its hash. Returns its slot, which still is the caller's.
    #[inline(always)]
    fn unlink(&self, hash: u64, index: u32) -> Option<u32> {
        let (number, tag) = (self.bucket_of(hash), tag_of(hash));
        let bucket = &self.buckets[number];
        let header = bucket.header.load(Acquire);
        let mut bits = occupancy(header) & bucket.tagged(tag);
        while let Some(slot) = bucket.slots.get(bits.trailing_zeros() as usize) {
            if index_in(slot.load(Relaxed)) == index {
                break;
            }
            bits &= bits - 1;
        }
        if bits == 0 {
            bits = self.overflow_slot(number, header, index)?;
        }
        let bit = bits.trailing_zeros();
        self.unlink_bits(number, header, 1 << bit);
        Some(bit)
    }

    /// The bit of an entry's slot in the bucket's second line.
    #[inline(never)]
    fn overflow_slot(&self, bucket: usize, header: u64, index: u32) -> Option<u32> {
        let holds =
            |bit: &usize| occupancy(header) & 1 << bit != 0 && index_in(self.slot(bucket, *bit).load(Relaxed)) == index;
        let bit = (SLOTS..2 * SLOTS).find(holds);
        if bit.is_none() {
            unreachable_entry(index);
        }
        bit.map(|bit| 1 << bit)
    }

    /// Takes these slots, whose entries the caller has killed, out of the header; `header` is what it was last.
    #[inline(always)]
    fn unlink_bits(&self, bucket: usize, mut header: u64, bits: u32) {
        loop {
            let new = next_header(header, occupancy(header) & !bits);
            // Release: the removal is visible with the new version. Acquire: for the next round.
            match swap(&self.buckets[bucket].header, M::EXCLUSIVE, header, new) {
                Ok(_) => return,
                Err(current) => header = current,
            }
        }
    }

    /// Frees slots that were taken out of the header, and their entries, all at once.
    #[inline(always)]
    fn release_slots(&self, lane: usize, bucket: usize, mut bits: u32) {
        // The entries are linked in a chain. Not before they are out of the header: the link stands in the key.
        let (mut first, mut last) = (0, 0);
        while bits != 0 {
            let slot = self.slot(bucket, bits.trailing_zeros() as usize);
            bits &= bits - 1;
            let index = index_in(slot.load(Relaxed));
            // Release: pairs with the acquire of the next claim.
            slot.store(0, Release);
            self.entry(index).next_free().store(u64::from(first), Relaxed);
            last = if first == 0 { index } else { last };
            first = index + 1;
        }
        self.free.give::<M>(lane, first - 1, self.entry(last).next_free());
    }

    /// An entry of the bucket of this hash has a deadline that is nearer than before.
    #[inline(always)]
    pub(super) fn note_nearer(&self, hash: u64, expires_ns: u64) {
        let number = self.bucket_of(hash);
        if !M::EXCLUSIVE {
            // Release: who raises the bucket's bound has read the deadline before this, or reads again. Acquire: or
            // has raised it before, and that is seen (see `deadlines`).
            self.buckets[number].header.fetch_add(VERSION, AcqRel);
        }
        self.deadlines.note::<M>(number, expires_ns);
    }

    /// Finds at most so many buckets in which something may have expired, and asks for their lines.
    pub(super) fn find_due(&self, now_ns: u64, most: usize, due: &mut Due) {
        self.deadlines.find_due::<M>(now_ns, most, due);
        for bucket in due.as_slice() {
            crate::table::prefetch_line_to_write(&raw const self.buckets[*bucket as usize]);
        }
    }

    /// Asks for the entries of these buckets, as far as they stand in the first lines.
    pub(super) fn prefetch_due(&self, due: &Due) {
        for bucket in due.as_slice() {
            let bucket = &self.buckets[*bucket as usize];
            let mut bits = occupancy(bucket.header.load(Relaxed)) & FIRST_LINE;
            while bits != 0 {
                let word = bucket.slots[bits.trailing_zeros() as usize].load(Relaxed);
                self.get(index_in(word)).into_iter().for_each(|entry| entry.prefetch(false));
                bits &= bits - 1;
            }
        }
    }

    /// Removes what has expired in these buckets. Returns how many entries.
    pub(super) fn remove_due(&self, lane: usize, due: &Due, now_ns: u64) -> u64 {
        due.as_slice().iter().map(|bucket| self.sweep_bucket(lane, *bucket as usize, now_ns)).sum()
    }

    /// Removes all that has expired. Returns how many entries. The work is in proportion to the buckets in
    /// which something may have expired.
    pub(super) fn sweep(&self, lane: usize, now_ns: u64) -> u64 {
        let (mut removed, mut due) = (0, Due::new());
        // Every round raises the bounds of what it has found to beyond `now_ns`; but other cores may lower
        // some anew, for ever. A bucket is never looked through more often than there are rounds.
        for _ in 0..=self.buckets.len().div_ceil(MAX_DUE) * 2 {
            self.deadlines.find_first_due::<M>(now_ns, &mut due);
            if due.as_slice().is_empty() && !self.deadlines.any_due(now_ns) {
                break;
            }
            removed += self.remove_due(lane, &due, now_ns);
        }
        removed
    }

    /// Removes something that has expired, if there is anything in the shard; in the bucket of this hash all.
    /// Returns how many entries. One look if there is nothing.
    #[inline(always)]
    pub(super) fn make_room(&self, lane: usize, hash: u64, now_ns: u64) -> u64 {
        if self.deadlines.any_due(now_ns) { self.sweep_some(lane, hash, now_ns) } else { 0 }
    }

    /// So many buckets at a time, so that an insert into a full shard does not pay for all of it.
    #[inline(never)]
    fn sweep_some(&self, lane: usize, hash: u64, now_ns: u64) -> u64 {
        const AT_A_TIME: usize = 8;
        let own = self.bucket_of(hash);
        let mut removed = if self.deadlines.is_due(own, now_ns) { self.sweep_bucket(lane, own, now_ns) } else { 0 };
        let mut due = Due::new();
        // As in `sweep`; and the search goes round once more than it finds buckets.
        for _ in 0..=self.buckets.len().div_ceil(AT_A_TIME) * 4 {
            if removed > 0 || !self.deadlines.any_due(now_ns) {
                break;
            }
            self.find_due(now_ns, AT_A_TIME, &mut due);
            self.prefetch_due(&due);
            removed += self.remove_due(lane, &due, now_ns);
        }
        removed
    }

    fn sweep_bucket(&self, lane: usize, number: usize, now_ns: u64) -> u64 {
        let bucket = &self.buckets[number];
        let _guard = bucket.lock::<M>();
        let mut ended = 0;
        loop {
            let header = bucket.header.load(Acquire);
            let (mut bits, mut due, mut earliest) = (occupancy(header) & !ended, 0, u64::MAX);
            // Two rounds: which entries are due cannot be guessed, so the first round has no branch on it.
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                let slot = bucket.slots.get(bit as usize).unwrap_or_else(|| self.slot(number, bit as usize));
                let Some(entry) = self.get(index_in(slot.load(Relaxed))) else { continue };
                let (is_due, expires_ns) = entry.is_due(now_ns);
                due |= u32::from(is_due) << bit;
                earliest = earliest.min(expires_ns);
            }
            while due != 0 {
                let bit = due.trailing_zeros();
                due &= due - 1;
                let Some(entry) = self.get(index_in(self.slot(number, bit as usize).load(Relaxed))) else { continue };
                match entry.expire::<M>(now_ns) {
                    Expiry::Nothing => {}
                    Expiry::Until(expires_ns) => earliest = earliest.min(expires_ns),
                    Expiry::Ended => ended |= 1 << bit,
                }
            }
            self.deadlines.set_leaf::<M>(number, earliest);
            // A swap of the header, even if nothing goes: what was read belongs to this very header, and who brings
            // another deadline into the bucket after it finds the bound as it is now (see `deadlines`).
            let swapped = match ended {
                0 => M::EXCLUSIVE || bucket.header.fetch_or(0, AcqRel) == header,
                _ => {
                    swap(&bucket.header, M::EXCLUSIVE, header, next_header(header, occupancy(header) & !ended)).is_ok()
                }
            };
            if swapped {
                break;
            }
        }
        if ended != 0 {
            self.release_slots(lane, number, ended);
        }
        u64::from(ended.count_ones())
    }

    /// Removes the first unassured connection in order of arrival, among few: constant work. Returns its entry,
    /// which is the caller's.
    #[inline(always)]
    pub(super) fn evict(&self, hash: &FlowHash) -> Option<u32> {
        for _ in 0..MAX_EVICTION_CANDIDATES {
            let arrival = self.arrivals.pop()?;
            self.prefetch_candidates(hash);
            let index = arrival.index();
            let Some(entry) = self.get(index) else { continue };
            let Some(word) = entry.unassured() else { continue };
            if arrival != Arrival::new(index, word.generation()) {
                continue;
            }
            // The key is the connection's that is then killed: its generation has lasted from before to after.
            let hash = hash.hash(&entry.key());
            let number = self.bucket_of(hash);
            let _guard = self.buckets[number].lock::<M>();
            if M::BUCKET_LOCKS && entry.unassured() != Some(word) {
                continue;
            }
            if entry.kill::<M>(word)
                && let Some(bit) = self.unlink(hash, index)
            {
                // Release: pairs with the acquire of the next claim.
                self.slot(number, bit as usize).store(0, Release);
                return Some(index);
            }
        }
        None
    }

    /// Asks for what the next evictions look at: the bucket of the next candidate, whose entry was asked for
    /// one eviction ago, and the entry of the one after it.
    fn prefetch_candidates(&self, hash: &FlowHash) {
        let entry = |n| self.arrivals.peek(n).and_then(|arrival| self.get(arrival.index()));
        if let Some(next) = entry(0) {
            self.prefetch(hash.hash(&next.key()));
        }
        if let Some(second) = entry(1) {
            second.prefetch(false);
        }
    }
}

/// A dead entry is in its bucket until its killer takes it out.
#[cold]
fn unreachable_entry(index: u32) {
    debug_assert!(false, "entry {index} was killed but is in no bucket");
}
