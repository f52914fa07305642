//! An entry: two cache lines that hold one connection.

use crate::conntrack::{Connection, Detail, Status};
use crate::packet::FlowKey;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*, fence};

/// First line: what every packet needs. Second line: what TCP and UDP need beside it.
#[repr(C, align(64))]
pub(super) struct Entry {
    key: [AtomicU64; 5],
    /// `generation << 32 | LIVE | status`.
    state: AtomicU64,
    expires_ns: AtomicU64,
    /// While free: the next free entry, plus one.
    pub(super) next_free: AtomicU32,
    detail: [AtomicU64; 7],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Entry>() == 128);

const LIVE: u64 = 1 << 31;
const _: () = assert!(Status::BITS < 31);

/// The state word of a live entry.
#[inline(always)]
fn live_word(generation: u32, status: Status) -> u64 {
    u64::from(generation) << 32 | LIVE | u64::from(status.bits())
}

#[inline(always)]
fn generation_of(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Entry {
    pub(super) fn new() -> Self {
        Entry {
            key: std::array::from_fn(|_| AtomicU64::new(0)),
            state: AtomicU64::new(0),
            expires_ns: AtomicU64::new(0),
            next_free: AtomicU32::new(0),
            detail: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Fills a free entry. Only its allocator calls this; nobody can reach the entry yet, but an
    /// overtaken reader may still look at it.
    pub(super) fn fill(&self, key: &FlowKey, connection: &Connection, detail: bool) -> u32 {
        // Relaxed: this core set the word when it freed the entry, or got it through the free
        // list's acquire.
        let generation = generation_of(self.state.load(Relaxed));
        // Release fence: an overtaken reader that sees one of the stores below, and then passes its
        // acquire fence, also sees that the old generation is over. (Found missing by loom.)
        fence(Release);
        for (word, value) in self.key.iter().zip(key.words) {
            word.store(value, Relaxed);
        }
        self.expires_ns.store(connection.expires_ns, Relaxed);
        if detail {
            for (word, value) in self.detail.iter().zip(connection.detail.0) {
                word.store(value, Relaxed);
            }
        }
        // Release: whoever acquires this word sees key and connection of this generation.
        self.state.store(live_word(generation, connection.status), Release);
        generation
    }

    /// The generation, if the entry is live and holds this key.
    #[inline(always)]
    pub(super) fn holds(&self, key: &FlowKey) -> Option<u32> {
        // Acquire: pairs with the release in `fill`, so the key read below is not older than this.
        let before = self.state.load(Acquire);
        if before & LIVE == 0 {
            return None;
        }
        let mut difference = 0;
        for (word, value) in self.key.iter().zip(key.words) {
            difference |= word.load(Relaxed) ^ value;
        }
        if difference != 0 {
            return None;
        }
        // The fence orders the key loads before the second look: a key that was overwritten in
        // between belongs to a later generation, and `kill` advanced that first.
        fence(Acquire);
        let after = self.state.load(Relaxed);
        (generation_of(before) == generation_of(after)).then_some(generation_of(before))
    }

    /// The connection, if the entry is still live in this generation.
    #[inline(always)]
    pub(super) fn load(&self, generation: u32, detail: bool) -> Option<Connection> {
        // Acquire: pairs with the release of `fill` and `store`.
        let word = self.state.load(Acquire);
        let expires_ns = self.expires_ns.load(Relaxed);
        let mut words = [0; 7];
        if detail {
            for (value, word) in words.iter_mut().zip(&self.detail) {
                *value = word.load(Relaxed);
            }
        }
        // As in `holds`: what was read belongs to the generation only if it did not advance.
        fence(Acquire);
        let after = self.state.load(Relaxed);
        let ours = |word: u64| word & LIVE != 0 && generation_of(word) == generation;
        if !ours(word) || !ours(after) {
            return None;
        }
        Some(Connection { status: Status::from_bits((word & (LIVE - 1)) as u32), expires_ns, detail: Detail(words) })
    }

    /// Generation and connection (without detail) of whatever live entry this is.
    pub(super) fn snapshot(&self) -> Option<(u32, Connection)> {
        let generation = generation_of(self.state.load(Acquire));
        Some((generation, self.load(generation, false)?))
    }

    /// Replaces `old` by `new`. False: the entry has changed, or is gone.
    #[inline(always)]
    pub(super) fn store(&self, generation: u32, old: &Connection, new: &Connection, detail: bool) -> bool {
        let expected = live_word(generation, old.status);
        if old.status != new.status {
            let word = live_word(generation, new.status);
            // AcqRel: takes over what the last writer released, and releases to the next.
            if self.state.compare_exchange(expected, word, AcqRel, Relaxed).is_err() {
                return false;
            }
            // The new status is ours, and so is its timer: another core that refreshed the timer
            // under the old status must not keep it. Whoever changes the status again takes over.
            let mut current = old.expires_ns;
            while let Err(actual) = self.expires_ns.compare_exchange(current, new.expires_ns, AcqRel, Relaxed) {
                if self.state.load(Acquire) != word {
                    break;
                }
                current = actual;
            }
        } else if self.state.load(Acquire) != expected {
            return false;
        } else if old.expires_ns != new.expires_ns {
            // A swap, not a store: it fails if another core refreshed the entry, or removed and
            // reused it, since. (If the reused entry has the very same deadline, its deadline
            // becomes ours: then the new flow may live too long or too short by the difference of
            // two timeouts. It takes a removal and an insert between two of our instructions, which
            // steering by flow rules out.)
            let swapped = self.expires_ns.compare_exchange(old.expires_ns, new.expires_ns, AcqRel, Relaxed);
            if swapped.is_err() || self.state.load(Acquire) != expected {
                return false;
            }
        }
        if detail && old.detail != new.detail {
            // Relaxed: one core owns the flow (see the module's head).
            for (word, value) in self.detail.iter().zip(new.detail.0) {
                word.store(value, Relaxed);
            }
        }
        true
    }

    /// Ends the generation. True for the one core that did it.
    pub(super) fn kill(&self, generation: u32, status: Status) -> bool {
        let dead = u64::from(generation.wrapping_add(1)) << 32;
        // AcqRel: the entry's new owner sees all earlier writes, and an overtaken reader that sees
        // what the owner writes next also sees the new generation.
        self.state.compare_exchange(live_word(generation, status), dead, AcqRel, Relaxed).is_ok()
    }

    /// Ends the generation of an entry that only the caller can reach.
    pub(super) fn discard(&self, generation: u32) {
        // Release: as in `kill`.
        self.state.store(u64::from(generation.wrapping_add(1)) << 32, Release);
    }

    /// Marks an entry dead while no worker runs.
    pub(super) fn reset(&self) {
        let generation = generation_of(self.state.load(Relaxed)).wrapping_add(1);
        self.state.store(u64::from(generation) << 32, Relaxed);
    }

    #[inline(always)]
    pub(super) fn prefetch(&self) {
        crate::table::prefetch_line(&raw const self.key);
        crate::table::prefetch_line(&raw const self.detail);
    }
}
