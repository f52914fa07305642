//! An entry: one cache line with what every packet of a connection needs, and beside it, in an array of
//! its own, the rest of what TCP needs. 108 bytes in all; a UDP or ICMP flow touches one line.

use crate::conntrack::{Connection, Detail, MAX_TIME_NS, MAX_TIMEOUT_S, Status};
use crate::packet::FlowKey;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*, fence};

/// What every packet needs.
#[repr(C, align(64))]
pub(super) struct Head {
    key: [AtomicU64; 5],
    /// Generation, live bit, status and the deadline in units of 1.07 s: see [`Word`].
    state: AtomicU64,
    /// The rest of the deadline: its low 30 bits in ns.
    deadline_low: AtomicU32,
    /// The first words of the detail: enough for UDP. While the entry is free, the first of them is
    /// the next free entry, plus one.
    detail: [AtomicU32; HEAD_WORDS],
}

/// The rest of the detail.
pub(super) struct Tail([AtomicU32; TAIL_WORDS]);

const HEAD_WORDS: usize = 3;
const TAIL_WORDS: usize = Detail::WORDS - HEAD_WORDS;

#[cfg(not(loom))]
const _: () = assert!(size_of::<Head>() == 64 && size_of::<Tail>() == 44);

/// Both parts of an entry.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    head: &'a Head,
    tail: &'a Tail,
}

/// The state word: `generation << 48 | live << 47 | status << 32 | deadline >> 30`.
///
/// All that must change together is in it. A packet that only moves the deadline within the same
/// 1.07 s, as most do, changes the other word alone: no swap, one plain store.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

const LOW_BITS: u32 = 30;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;
const LIVE: u64 = 1 << 47;
const _: () = assert!(Status::BITS <= 15);
/// Deadlines fit: the coarse part has 32 bits.
const _: () = assert!((MAX_TIME_NS + MAX_TIMEOUT_S * 1_000_000_000) >> LOW_BITS <= u32::MAX as u64);

impl Word {
    #[inline(always)]
    fn live(generation: u16, connection: &Connection) -> Self {
        let status = u64::from(connection.status.bits()) << 32;
        Word(u64::from(generation) << 48 | LIVE | status | connection.expires_ns >> LOW_BITS)
    }

    #[inline(always)]
    fn dead(generation: u16) -> Self {
        Word(u64::from(generation) << 48)
    }

    #[inline(always)]
    fn generation(self) -> u16 {
        (self.0 >> 48) as u16
    }

    #[inline(always)]
    fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }

    #[inline(always)]
    fn status(self) -> Status {
        Status::from_bits((self.0 >> 32) as u32 & 0x7fff)
    }

    #[inline(always)]
    fn deadline(self, low: u32) -> u64 {
        (self.0 & u64::from(u32::MAX)) << LOW_BITS | u64::from(low)
    }
}

impl Head {
    pub(super) fn new() -> Self {
        Head {
            key: std::array::from_fn(|_| AtomicU64::new(0)),
            state: AtomicU64::new(0),
            deadline_low: AtomicU32::new(0),
            detail: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

impl Tail {
    pub(super) fn new() -> Self {
        Tail(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl<'a> Entry<'a> {
    pub(super) fn new(head: &'a Head, tail: &'a Tail) -> Self {
        Entry { head, tail }
    }

    /// The link to the next free entry, while this one is free.
    pub(super) fn next_free(self) -> &'a AtomicU32 {
        &self.head.detail[0]
    }

    /// The key, whosever it is.
    pub(super) fn key(self) -> FlowKey {
        FlowKey { words: std::array::from_fn(|i| self.head.key[i].load(Relaxed)) }
    }

    /// Reads the detail. Written out for the two parts, so that the compiler unrolls both loops: one
    /// chained iterator took ten instructions a word.
    #[inline(always)]
    fn load_detail(self, detail: &mut Detail) {
        let (head, tail) = detail.0.split_at_mut(HEAD_WORDS);
        for (value, word) in head.iter_mut().zip(&self.head.detail) {
            *value = word.load(Relaxed);
        }
        for (value, word) in tail.iter_mut().zip(&self.tail.0) {
            *value = word.load(Relaxed);
        }
    }

    /// Writes the detail.
    #[inline(always)]
    fn store_detail(self, detail: &Detail) {
        let (head, tail) = detail.0.split_at(HEAD_WORDS);
        for (word, value) in self.head.detail.iter().zip(head) {
            word.store(*value, Relaxed);
        }
        for (word, value) in self.tail.0.iter().zip(tail) {
            word.store(*value, Relaxed);
        }
    }

    /// Fills a free entry. Only its allocator calls this; nobody can reach the entry yet, but an
    /// overtaken reader may still look at it.
    pub(super) fn fill(self, key: &FlowKey, connection: &Connection, detail: Option<&Detail>) -> u16 {
        // Relaxed: this core set the word when it freed the entry, or got it through the free
        // list's acquire.
        let generation = Word(self.head.state.load(Relaxed)).generation();
        // Release fence: an overtaken reader that sees one of the stores below, and then passes its
        // acquire fence, also sees that the old generation is over. (Found missing by loom.)
        fence(Release);
        for (word, value) in self.head.key.iter().zip(key.words) {
            word.store(value, Relaxed);
        }
        self.store_rest(connection, detail);
        // Release: whoever acquires this word sees key and connection of this generation.
        self.head.state.store(Word::live(generation, connection).0, Release);
        generation
    }

    /// Relaxed: published by the state word, or exact because one core owns the flow (see the
    /// module's head).
    #[inline(always)]
    fn store_rest(self, connection: &Connection, detail: Option<&Detail>) {
        self.head.deadline_low.store((connection.expires_ns & LOW_MASK) as u32, Relaxed);
        if let Some(detail) = detail {
            self.store_detail(detail);
        }
    }

    /// The generation, if the entry is live and holds this key.
    #[inline(always)]
    pub(super) fn holds(self, key: &FlowKey) -> Option<u16> {
        // Acquire: pairs with the release in `fill`, so the key read below is not older than this.
        let before = Word(self.head.state.load(Acquire));
        if !before.is_live() {
            return None;
        }
        let mut difference = 0;
        for (word, value) in self.head.key.iter().zip(key.words) {
            difference |= word.load(Relaxed) ^ value;
        }
        if difference != 0 {
            return None;
        }
        // The fence orders the key loads before the second look: a key that was overwritten in
        // between belongs to a later generation, and `kill` advanced that first.
        fence(Acquire);
        let after = Word(self.head.state.load(Relaxed));
        (before.generation() == after.generation()).then_some(before.generation())
    }

    /// The connection and, if asked for, its detail, if the entry is still live in this generation and did not change meanwhile.
    #[inline(always)]
    pub(super) fn load(self, generation: u16, detail: Option<&mut Detail>) -> Option<Connection> {
        // Acquire: pairs with the release of `fill` and `store`.
        let word = Word(self.head.state.load(Acquire));
        let low = self.head.deadline_low.load(Relaxed);
        if let Some(detail) = detail {
            self.load_detail(detail);
        }
        // As in `holds`: what was read belongs together only if the word is still the same.
        fence(Acquire);
        if !word.is_live() || word.generation() != generation || Word(self.head.state.load(Relaxed)) != word {
            return None;
        }
        Some(Connection { status: word.status(), expires_ns: word.deadline(low) })
    }

    /// Generation and connection (without detail) of whatever live entry this is.
    pub(super) fn snapshot(self) -> Option<(u16, Connection)> {
        let generation = Word(self.head.state.load(Acquire)).generation();
        Some((generation, self.load(generation, None)?))
    }

    /// Replaces `old` by `new`. False: the entry has changed, or is gone.
    ///
    /// Where the word stays the same, another core may remove and reuse the entry between the look
    /// at the word and the plain stores. Steering by flow rules that out; without it the reused
    /// entry's deadline may be off by up to 1.07 s.
    #[inline(always)]
    pub(super) fn store(self, generation: u16, old: &Connection, new: &Connection, detail: Option<&Detail>) -> bool {
        let (expected, word) = (Word::live(generation, old), Word::live(generation, new));
        let unchanged = match expected == word {
            true => Word(self.head.state.load(Acquire)) == expected,
            // AcqRel: takes over what the last writer released, and releases to the next.
            false => self.head.state.compare_exchange(expected.0, word.0, AcqRel, Relaxed).is_ok(),
        };
        if unchanged {
            self.store_rest(new, detail);
        }
        unchanged
    }

    /// Ends the generation, if the entry still is what `old` says. True for the one core that did it.
    pub(super) fn kill(self, generation: u16, old: &Connection) -> bool {
        let dead = Word::dead(generation.wrapping_add(1));
        // AcqRel: the entry's new owner sees all earlier writes, and an overtaken reader that sees
        // what the owner writes next also sees the new generation.
        self.head.state.compare_exchange(Word::live(generation, old).0, dead.0, AcqRel, Relaxed).is_ok()
    }

    /// Ends the generation of an entry that only the caller can reach.
    pub(super) fn discard(self, generation: u16) {
        // Release: as in `kill`.
        self.head.state.store(Word::dead(generation.wrapping_add(1)).0, Release);
    }

    /// Marks an entry dead while no worker runs.
    pub(super) fn reset(self) {
        let generation = Word(self.head.state.load(Relaxed)).generation().wrapping_add(1);
        self.head.state.store(Word::dead(generation).0, Relaxed);
    }

    #[inline(always)]
    pub(super) fn prefetch(self) {
        crate::table::prefetch_line(self.head);
        crate::table::prefetch_line(self.tail);
        // The tail may begin in one line and end in the next.
        crate::table::prefetch_line(&raw const self.tail.0[TAIL_WORDS - 1]);
    }
}
