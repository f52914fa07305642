//! A shard's connections in order of arrival: who may be evicted, oldest first.

use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*};

/// Which entry was filled, and in which generation: `generation << 20 | index + 1`, of the generation
/// the lower 12 bits. 0 for none.
///
/// Four bytes keep an entry with all that belongs to it within 128. An arrival would be taken for
/// another only if its entry was reused 4,096 times while it was in the ring, which a shard of up to
/// 4,096 entries rules out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival(u32);

impl Arrival {
    pub(super) fn new(index: u32, generation: u16) -> Self {
        Arrival(u32::from(generation) << 20 | (index + 1))
    }

    pub(super) fn index(self) -> u32 {
        (self.0 & 0xf_ffff) - 1
    }
}

/// A ring of the latest inserts. Lock-free: cores take positions by adding to a counter. What is read
/// from it is a hint, which the entry's own state word confirms: an arrival that two cores overtake
/// in the ring is at worst not evicted.
pub(super) struct Arrivals {
    ring: Vec<AtomicU32>,
    /// 2^64 / length, rounded down: to divide by.
    reciprocal: u64,
    /// Positions given out so far.
    next: AtomicU64,
    /// The oldest position that was not taken.
    oldest: AtomicU64,
}

impl Arrivals {
    /// Remembers so many inserts; 0: none, for tables that do not evict.
    pub(super) fn new(length: u32) -> Self {
        Arrivals {
            ring: std::iter::repeat_with(|| AtomicU32::new(0)).take(length as usize).collect(),
            reciprocal: u64::MAX / u64::from(length.max(1)),
            next: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.ring.as_slice())
    }

    pub(super) fn is_kept(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Where in the ring a position is. A division takes as long as all the rest.
    #[inline(always)]
    fn slot(&self, position: u64) -> &AtomicU32 {
        let length = self.ring.len() as u64;
        let laps = ((u128::from(position) * u128::from(self.reciprocal)) >> 64) as u64;
        // At most one lap too few, since positions are far below 2^64.
        let rest = position - laps * length;
        &self.ring[if rest < length { rest } else { rest - length } as usize]
    }

    #[inline(always)]
    pub(super) fn push(&self, arrival: Arrival) {
        if self.is_kept() {
            // Relaxed throughout: nothing is read through an arrival that its entry does not confirm.
            let position = self.next.fetch_add(1, Relaxed);
            self.slot(position).store(arrival.0, Relaxed);
        }
    }

    /// Takes the oldest arrival out.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<Arrival> {
        let length = self.ring.len() as u64;
        let mut oldest = self.oldest.load(Relaxed);
        loop {
            let next = self.next.load(Relaxed);
            if oldest >= next {
                return None;
            }
            // What was overwritten since is lost.
            let position = oldest.max(next.saturating_sub(length));
            match self.oldest.compare_exchange(oldest, position + 1, Relaxed, Relaxed) {
                Ok(_) => {
                    // It may be another's from a lap ago, if this one is still on its way: never mind it. Its entry
                    // then says that it is gone, or it is as good a candidate.
                    if let Some(arrival) = self.at(position) {
                        return Some(arrival);
                    }
                    oldest = position + 1;
                }
                Err(current) => oldest = current,
            }
        }
    }

    /// What `pop` would return after so many others, if nobody overtakes: good enough for a prefetch.
    #[inline(always)]
    pub(super) fn peek(&self, others: u64) -> Option<Arrival> {
        let (position, next) = (self.oldest.load(Relaxed) + others, self.next.load(Relaxed));
        if position < next { self.at(position) } else { None }
    }

    #[inline(always)]
    fn at(&self, position: u64) -> Option<Arrival> {
        Some(Arrival(self.slot(position).load(Relaxed))).filter(|arrival| arrival.0 != 0)
    }

    /// Forgets everything, while no worker runs.
    pub(super) fn clear(&mut self) {
        self.ring.iter().for_each(|slot| slot.store(0, Relaxed));
        self.next.store(0, Relaxed);
        self.oldest.store(0, Relaxed);
    }
}
