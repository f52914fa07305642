//! An entry: one cache line with what every packet of a connection needs, and beside it, in an array of
//! its own, the windows of TCP. 108 bytes in all; a UDP or ICMP flow touches one line.

use super::Mode;
use super::memory::Zeroed;
use crate::conntrack::{Connection, MAX_TIME_NS, MAX_TIMEOUT_S, Notes, Status, Windows};
use crate::packet::FlowKey;
use crate::table::sync::{AtomicU64, Ordering::*, UnsafeCell, fence};

/// What every packet needs.
#[repr(C, align(64))]
pub(super) struct Head {
    /// While the entry is free, the first word is the next free entry, plus one.
    key: [AtomicU64; 5],
    /// Generation, live bit, busy bit, status and the deadline in units of 1.07 s: see [`Word`].
    state: AtomicU64,
    /// The rest of the deadline, its low 30 bits in ns, and above it the marks of the notes.
    deadline_low: AtomicU64,
    /// The number of the notes.
    number: AtomicU64,
}

/// What only TCP needs. Belongs to whoever is alone with the entry: its core, the holder of its bucket's
/// lock, or of its busy bit; while it is not published, its allocator.
pub(super) struct Tail(UnsafeCell<Windows>);

#[cfg(not(loom))]
const _: () = assert!(size_of::<Head>() == 64 && size_of::<Tail>() == 44);

/// Both parts of an entry.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    head: &'a Head,
    tail: &'a Tail,
}

/// The state word: `generation << 49 | live << 48 | busy << 47 | status << 32 | deadline >> 30`.
///
/// All that must change together is in it. A packet that only moves the deadline within the same
/// 1.07 s, as most do, changes the other word alone: no swap, one plain store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const LOW_BITS: u32 = 30;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;
const BUSY: u64 = 1 << 47;
const LIVE: u64 = 1 << 48;
const GENERATION: u32 = 49;
const GENERATIONS: u16 = 1 << (64 - GENERATION);
const _: () = assert!(Status::BITS <= 15);
/// Deadlines fit: the coarse part has 32 bits.
const _: () = assert!((MAX_TIME_NS + MAX_TIMEOUT_S * 1_000_000_000) >> LOW_BITS <= u32::MAX as u64);

impl Word {
    #[inline(always)]
    fn live(generation: u16, connection: &Connection) -> Self {
        let status = u64::from(connection.status.bits()) << 32;
        Word(u64::from(generation) << GENERATION | LIVE | status | connection.expires_ns >> LOW_BITS)
    }

    /// What follows the end of a generation.
    #[inline(always)]
    fn dead_after(generation: u16) -> Self {
        Word(u64::from((generation + 1) % GENERATIONS) << GENERATION)
    }

    #[inline(always)]
    pub(super) fn generation(self) -> u16 {
        (self.0 >> GENERATION) as u16
    }

    #[inline(always)]
    fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }

    #[inline(always)]
    fn is_busy(self) -> bool {
        self.0 & BUSY != 0
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

/// What became of an entry whose time may be up.
pub(super) enum Expiry {
    /// It was free, or about to be.
    Nothing,
    /// It lives until then at least, in ns.
    Until(u64),
    /// Its generation was ended. It is still in its bucket.
    Ended,
}

/// An entry whose busy bit this core has set, and the connection in it.
pub(super) struct Held<'a> {
    entry: Entry<'a>,
    generation: u16,
    pub(super) connection: Connection,
}

impl<'a> Held<'a> {
    /// What only the holder may touch.
    #[inline(always)]
    pub(super) fn with<R>(&mut self, change: impl FnOnce(&mut Connection, &mut Windows) -> R) -> R {
        let connection = &mut self.connection;
        // SAFETY: the busy bit makes this core the only one that touches the windows (see `Entry::hold`).
        self.entry.tail.0.with_mut(|windows| change(connection, unsafe { &mut *windows }))
    }

    /// Publishes the connection as it is now.
    #[inline(always)]
    pub(super) fn keep(self) {
        self.entry.store_deadline_and_notes(&self.connection);
        self.release();
    }

    /// Lets the entry go, with nothing changed but perhaps the status. Returns the deadline.
    #[inline(always)]
    pub(super) fn release(self) -> u64 {
        // Release: the next holder sees the windows and all else that this one has left.
        self.entry.head.state.store(Word::live(self.generation, &self.connection).0, Release);
        self.connection.expires_ns
    }

    /// Ends the generation. The entry is still in its bucket.
    #[inline(always)]
    pub(super) fn kill(self) {
        // Release: the entry's next owner sees all earlier writes.
        self.entry.head.state.store(Word::dead_after(self.generation).0, Release);
    }
}

// SAFETY: atomic integers, of which zero is a valid value: a dead entry.
unsafe impl Zeroed for Head {
    #[cfg(loom)]
    fn zeroed() -> Self {
        Head {
            key: std::array::from_fn(|_| AtomicU64::new(0)),
            state: AtomicU64::new(0),
            deadline_low: AtomicU64::new(0),
            number: AtomicU64::new(0),
        }
    }
}

// SAFETY: windows are integers throughout.
unsafe impl Zeroed for Tail {
    #[cfg(loom)]
    fn zeroed() -> Self {
        Tail(UnsafeCell::new(Windows::default()))
    }
}

impl<'a> Entry<'a> {
    pub(super) fn new(head: &'a Head, tail: &'a Tail) -> Self {
        Entry { head, tail }
    }

    /// The link to the next free entry, while this one is free.
    pub(super) fn next_free(self) -> &'a AtomicU64 {
        &self.head.key[0]
    }

    /// The key, whosever it is.
    #[inline(always)]
    pub(super) fn key(self) -> FlowKey {
        FlowKey { words: std::array::from_fn(|i| self.head.key[i].load(Relaxed)) }
    }

    /// Fills a free entry. Only its allocator calls this; nobody can reach the entry yet, but an
    /// overtaken reader may still look at it.
    #[inline(always)]
    pub(super) fn fill(self, key: &FlowKey, connection: &Connection, windows: Option<&Windows>) -> u16 {
        // Relaxed: this core set the word when it freed the entry, or got it through the free
        // list's acquire.
        let generation = Word(self.head.state.load(Relaxed)).generation();
        // Release fence: an overtaken reader that sees one of the stores below, and then passes its
        // acquire fence, also sees that the old generation is over. (Found missing by loom.)
        fence(Release);
        for (word, value) in self.head.key.iter().zip(key.words) {
            word.store(value, Relaxed);
        }
        self.store_deadline_and_notes(connection);
        if let Some(windows) = windows {
            // SAFETY: the entry is dead and its allocator's alone: windows are only touched in a live
            // entry (see `Tail`), and who ended the last generation did so after its last use.
            self.tail.0.with_mut(|own| unsafe { *own = *windows });
        }
        // Release: whoever acquires this word sees key and connection of this generation.
        self.head.state.store(Word::live(generation, connection).0, Release);
        generation
    }

    /// Relaxed: published by the state word, or exact because one core owns the flow (see the
    /// module's head). The notes that stand beside the deadline are the connection's own.
    #[inline(always)]
    fn store_deadline(self, connection: &Connection) {
        let low = connection.expires_ns & LOW_MASK | u64::from(connection.notes.marks) << 32;
        self.head.deadline_low.store(low, Relaxed);
    }

    /// Relaxed: published by the state word.
    #[inline(always)]
    fn store_deadline_and_notes(self, connection: &Connection) {
        self.store_deadline(connection);
        self.head.number.store(connection.notes.number, Relaxed);
    }

    /// What this word and the others say.
    #[inline(always)]
    fn connection(self, word: Word) -> Connection {
        let deadline = self.head.deadline_low.load(Relaxed);
        Connection {
            status: word.status(),
            expires_ns: word.deadline(deadline as u32),
            notes: Notes { marks: (deadline >> 32) as u32, number: self.head.number.load(Relaxed) },
        }
    }

    /// The state word, if the entry is live and seems to hold this key: the caller makes sure that it was not
    /// being removed meanwhile.
    #[inline(always)]
    pub(super) fn holds(self, key: &FlowKey) -> Option<Word> {
        // Acquire: pairs with the release in `fill`, so the key read below is not older than this.
        let word = Word(self.head.state.load(Acquire));
        let mut difference = 0;
        for (word, value) in self.head.key.iter().zip(key.words) {
            difference |= word.load(Relaxed) ^ value;
        }
        (word.is_live() && difference == 0).then_some(word)
    }

    /// The connection, if this still is the entry's word, and nobody is changing it.
    #[inline(always)]
    pub(super) fn load(self, word: Word) -> Option<Connection> {
        let connection = self.connection(word);
        // Who sees a later connection's words sees below that the word has changed.
        fence(Acquire);
        let same = Word(self.head.state.load(Relaxed)) == word;
        (same && word.is_live() && !word.is_busy()).then_some(connection)
    }

    /// The state word of a live connection that may be evicted and that nobody is working on.
    #[inline(always)]
    pub(super) fn unassured(self) -> Option<Word> {
        // Acquire: pairs with the release in `fill`, so the key read next is not older than this.
        let word = Word(self.head.state.load(Acquire));
        (word.is_live() && !word.is_busy() && !word.status().assured()).then_some(word)
    }

    /// Makes this core the only one that works on the entry. `None`: another one does, or this no longer is its word.
    #[inline(always)]
    pub(super) fn try_hold<M: Mode>(self, word: Word) -> Option<Held<'a>> {
        if !M::EXCLUSIVE {
            if word.is_busy() {
                return None;
            }
            // Acquire: pairs with the release of the last holder. The busy bit keeps everybody else out: all
            // other changes of a live entry's word expect it without.
            self.head.state.compare_exchange(word.0, word.0 | BUSY, Acquire, Relaxed).ok()?;
        }
        Some(Held { entry: self, generation: word.generation(), connection: self.connection(word) })
    }

    /// Replaces what the word says by `new`, of a connection without windows. False: the entry has changed, or is gone.
    ///
    /// Where the word stays the same, another core may remove and reuse the entry between the look
    /// at the word and the plain store. Steering by flow rules that out; without it the reused
    /// entry's deadline may be off by up to 1.07 s.
    #[inline(always)]
    pub(super) fn store(self, expected: Word, new: &Connection) -> bool {
        let word = Word::live(expected.generation(), new);
        let unchanged = match expected == word {
            true => Word(self.head.state.load(Acquire)) == expected,
            // AcqRel: takes over what the last writer released, and releases to the next.
            false => self.head.state.compare_exchange(expected.0, word.0, AcqRel, Relaxed).is_ok(),
        };
        if unchanged {
            self.store_deadline(new);
        }
        unchanged
    }

    /// True if it may have to go: its time is up, or nothing is sure. And the deadline, or "never" if true. Good as long
    /// as its bucket's header stays the same.
    #[inline(always)]
    pub(super) fn is_due(self, now_ns: u64) -> (bool, u64) {
        // Acquire: pairs with the release of `fill`, `store` and `Held::keep`.
        let word = Word(self.head.state.load(Acquire));
        let expires_ns = word.deadline(self.head.deadline_low.load(Relaxed) as u32);
        let is_due = !word.is_live() | word.is_busy() | (expires_ns <= now_ns);
        (is_due, if is_due { u64::MAX } else { expires_ns })
    }

    /// Ends the generation if its time is up.
    #[inline(always)]
    pub(super) fn expire<M: Mode>(self, now_ns: u64) -> Expiry {
        let word = Word(self.head.state.load(Acquire));
        if !word.is_live() {
            return Expiry::Nothing;
        }
        match self.try_hold::<M>(word) {
            Some(held) if held.connection.expires_ns <= now_ns => {
                held.kill();
                Expiry::Ended
            }
            Some(held) => Expiry::Until(held.release()),
            // Somebody works on it: look again at the next packet.
            None => Expiry::Until(now_ns.saturating_add(1)),
        }
    }

    /// Ends the generation, if this still is the entry's word. True for the one core that did it.
    pub(super) fn kill<M: Mode>(self, word: Word) -> bool {
        // The entry's new owner sees all earlier writes, and an overtaken reader that sees what the owner
        // writes next also sees the new generation.
        let dead = Word::dead_after(word.generation());
        super::mode::swap(&self.head.state, M::EXCLUSIVE, word.0, dead.0).is_ok()
    }

    /// Ends the generation of an entry that only the caller can reach.
    pub(super) fn discard(self, generation: u16) {
        // Release: as in `kill`.
        self.head.state.store(Word::dead_after(generation).0, Release);
    }

    /// Marks an entry dead while no worker runs.
    pub(super) fn reset(self) {
        let generation = Word(self.head.state.load(Relaxed)).generation();
        self.head.state.store(Word::dead_after(generation).0, Relaxed);
    }

    /// Asks for what a packet, an insert or an expiry is going to change. To write: another core that shares the entry then
    /// gives it up before the change waits for it.
    #[inline(always)]
    pub(super) fn prefetch(self, tail_too: bool) {
        crate::table::prefetch_line_to_write(self.head);
        if tail_too {
            self.tail_lines().into_iter().for_each(crate::table::prefetch_line_to_write);
        }
    }

    /// The tail may begin in one line and end in the next.
    #[inline(always)]
    fn tail_lines(self) -> [*const u8; 2] {
        let start = (&raw const *self.tail).cast::<u8>();
        [start, start.wrapping_add(size_of::<Windows>() - 1)]
    }
}
