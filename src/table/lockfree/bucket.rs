//! A bucket: one cache line that says which entries may hold a flow, and a second one for when the first
//! is full.

use super::Mode;
use super::memory::Zeroed;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*, pause};

/// Slots in one line.
pub(super) const SLOTS: usize = 14;

/// A bucket's first line.
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// `version << 32 | lock << 31 | occupancy`: bits 0 to 13 for the own slots, 14 to 27 for the second
    /// line's. The lock is only used by [`super::BucketLock`].
    pub(super) header: AtomicU64,
    pub(super) slots: Slots,
}

/// A bucket's second line.
#[repr(C, align(64))]
pub(super) struct Overflow(pub(super) Slots);

/// `tag << 20 | (entry index + 1)`; 0 for free. A slot belongs to the core that claimed it until the
/// header's bit is set.
pub(super) type Slots = [AtomicU32; SLOTS];

#[cfg(not(loom))]
const _: () = assert!(size_of::<Bucket>() == 64 && size_of::<Overflow>() == 64);

const INDEX_BITS: u32 = 20;

/// One less than the number of indices that a slot can hold: index + 1 must fit.
pub(super) const MAX_INDEX: u32 = (1 << INDEX_BITS) - 2;

// SAFETY: atomic integers, of which zero is a valid value: an empty bucket.
unsafe impl Zeroed for Bucket {
    #[cfg(loom)]
    fn zeroed() -> Self {
        Bucket { header: AtomicU64::new(0), slots: empty() }
    }
}

// SAFETY: as above.
unsafe impl Zeroed for Overflow {
    #[cfg(loom)]
    fn zeroed() -> Self {
        Overflow(empty())
    }
}

#[cfg(loom)]
fn empty() -> Slots {
    std::array::from_fn(|_| AtomicU32::new(0))
}

/// The occupancy bits of a header.
#[inline(always)]
pub(super) fn occupancy(header: u64) -> u32 {
    header as u32 & ALL_LINES
}

/// Added to a header, advances its version.
pub(super) const VERSION: u64 = 1 << 32;

/// The header after one change of occupancy: the version makes every change visible.
#[inline(always)]
pub(super) fn next_header(header: u64, occupancy: u32) -> u64 {
    (header & !u64::from(ALL_LINES)).wrapping_add(VERSION) | u64::from(occupancy)
}

/// What a place keeps of a header under which its flow was not in the bucket. Never 0: no header has all bits set.
/// The lock says nothing of what is in the bucket.
#[inline(always)]
pub(super) fn absence(header: u64) -> u64 {
    !(header | LOCKED)
}

/// A hint that points to no slot.
pub(super) const NOWHERE: u32 = 31;
const _: () = assert!(2 * SLOTS <= NOWHERE as usize);

/// The occupancy bits of both lines.
const ALL_LINES: u32 = (1 << (2 * SLOTS)) - 1;

/// The occupancy bits of the first line.
pub(super) const FIRST_LINE: u32 = (1 << SLOTS) - 1;

/// The bit of whoever works in the bucket.
const LOCKED: u64 = 1 << 31;

/// A bucket's lock, while it is held.
pub(super) struct Guard<'a>(Option<&'a AtomicU64>);

impl Bucket {
    /// Waits for the lock, in the mode that has locks.
    #[inline(always)]
    pub(super) fn lock<M: Mode>(&self) -> Guard<'_> {
        if !M::BUCKET_LOCKS {
            return Guard(None);
        }
        loop {
            let header = self.header.load(Relaxed);
            // Acquire: pairs with the release of the last holder.
            if header & LOCKED == 0
                && self.header.compare_exchange_weak(header, header | LOCKED, Acquire, Relaxed).is_ok()
            {
                return Guard(Some(&self.header));
            }
            pause();
        }
    }
}

impl Drop for Guard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(header) = self.0 {
            // Release: the next holder sees what this one did. A plain store: only the holder writes.
            header.store(header.load(Relaxed) & !LOCKED, Release);
        }
    }
}

/// The slot word of an entry.
#[inline(always)]
pub(super) fn slot_word(tag: u32, index: u32) -> u32 {
    tag << INDEX_BITS | (index + 1)
}

/// True if the tag fits.
#[inline(always)]
pub(super) fn has_tag(word: u32, tag: u32) -> bool {
    word >> INDEX_BITS == tag
}

/// The entry index in a slot word, if the tag fits.
#[inline(always)]
pub(super) fn index_if_tagged(word: u32, tag: u32) -> Option<u32> {
    has_tag(word, tag).then(|| index_in(word))
}

/// The entry index in a slot word.
#[inline(always)]
pub(super) fn index_in(word: u32) -> u32 {
    (word & ((1 << INDEX_BITS) - 1)).wrapping_sub(1)
}

impl Bucket {
    /// The bits of the first line's slots that carry the tag.
    #[inline(always)]
    pub(super) fn tagged(&self, tag: u32) -> u32 {
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        return lanes_tagged(&raw const *self, tag) >> HEADER_LANES;
        #[cfg(not(all(target_arch = "x86_64", not(loom))))]
        slots_tagged(&self.slots, tag)
    }
}

impl Overflow {
    /// The bits of the second line's slots that carry the tag, from bit 0 on.
    #[inline(always)]
    pub(super) fn tagged(&self, tag: u32) -> u32 {
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        return lanes_tagged(&raw const *self, tag) & FIRST_LINE;
        #[cfg(not(all(target_arch = "x86_64", not(loom))))]
        slots_tagged(&self.0, tag)
    }
}

/// So many 4-byte lanes of a bucket's line come before the first slot.
#[cfg(all(target_arch = "x86_64", not(loom)))]
const HEADER_LANES: usize = std::mem::offset_of!(Bucket, slots) / 4;

/// One bit for each of a line's 16 lanes of 4 bytes, set where the upper 12 bits are the tag. 16 instructions
/// without a branch; a loop over the slots that are in use ends where the processor does not expect it.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline(always)]
fn lanes_tagged<T>(line: *const T, tag: u32) -> u32 {
    const { assert!(size_of::<T>() == 64 && align_of::<T>() == 64) };
    let lanes: u32;
    // SAFETY: `line` comes from a reference to a whole aligned line, which is only read. Other cores may write to
    // its words meanwhile: an aligned 16-byte load never tears an aligned word of 4 bytes, so this is as good as
    // 16 relaxed loads. SSE2 belongs to every x86-64 processor.
    unsafe {
        std::arch::asm!(
            "movd {tag:x}, {tag_word:e}",
            "pshufd {tag:x}, {tag:x}, 0",
            "movdqa {a:x}, [{line}]",
            "movdqa {b:x}, [{line} + 16]",
            "movdqa {c:x}, [{line} + 32]",
            "movdqa {d:x}, [{line} + 48]",
            "psrld {a:x}, {index_bits}",
            "psrld {b:x}, {index_bits}",
            "psrld {c:x}, {index_bits}",
            "psrld {d:x}, {index_bits}",
            "pcmpeqd {a:x}, {tag:x}",
            "pcmpeqd {b:x}, {tag:x}",
            "pcmpeqd {c:x}, {tag:x}",
            "pcmpeqd {d:x}, {tag:x}",
            "packssdw {a:x}, {b:x}",
            "packssdw {c:x}, {d:x}",
            "packsswb {a:x}, {c:x}",
            "pmovmskb {lanes:e}, {a:x}",
            line = in(reg) line,
            tag_word = in(reg) tag,
            index_bits = const INDEX_BITS,
            tag = out(xmm_reg) _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            lanes = out(reg) lanes,
            options(readonly, nostack, preserves_flags),
        );
    }
    lanes
}

#[cfg(any(test, not(all(target_arch = "x86_64", not(loom)))))]
fn slots_tagged(slots: &Slots, tag: u32) -> u32 {
    let bit_of = |(bit, slot): (usize, &AtomicU32)| u32::from(slot.load(Relaxed) >> INDEX_BITS == tag) << bit;
    slots.iter().enumerate().map(bit_of).fold(0, |bits, bit| bits | bit)
}

/// The 12 bits of the hash that are kept in a slot.
#[inline(always)]
pub(super) fn tag_of(hash: u64) -> u32 {
    (hash & 0xfff) as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_tagged_slots() {
        let slots = |seed: u32| -> Slots {
            std::array::from_fn(|n| {
                AtomicU32::new(slot_word((n as u32 * seed) % 4 * 0x555, (n as u32 * seed) & MAX_INDEX))
            })
        };
        for seed in 0..200 {
            // A header that looks like tags must not matter.
            let header = u64::from(slot_word(0x555, 1)) << 32 | u64::from(slot_word(0xfff, 7));
            let bucket = Bucket { header: AtomicU64::new(header), slots: slots(seed * 77_777) };
            let overflow = Overflow(slots(seed * 31_337));
            for tag in [0, 0x555, 0xaaa, 0xfff, 1] {
                assert_eq!(bucket.tagged(tag), slots_tagged(&bucket.slots, tag));
                assert_eq!(overflow.tagged(tag), slots_tagged(&overflow.0, tag));
            }
        }
    }
}
