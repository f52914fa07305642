//! How cores keep out of each other's way. The memory layout is the same in all modes, so that a
//! comparison of modes shows the cost of synchronisation and of nothing else.

use crate::table::sync::{AtomicU32, AtomicU64, Ordering::*};

/// A synchronisation mode.
pub trait Mode: Send + Sync + 'static {
    /// One core alone reaches the table: nothing is synchronised.
    const OWNER_ONLY: bool;
    /// Whoever works in a bucket holds its lock.
    const BUCKET_LOCKS: bool;
    /// Whoever works on a bucket and its entries is alone with them.
    const EXCLUSIVE: bool = Self::OWNER_ONLY || Self::BUCKET_LOCKS;
}

/// One core owns the table.
#[derive(Debug)]
pub struct OwnerOnly;

/// All cores share the table through atomics.
#[derive(Debug)]
pub struct Shared;

/// All cores share the table; one lock bit in each bucket's header.
#[derive(Debug)]
pub struct BucketLock;

impl Mode for OwnerOnly {
    const OWNER_ONLY: bool = true;
    const BUCKET_LOCKS: bool = false;
}

impl Mode for Shared {
    const OWNER_ONLY: bool = false;
    const BUCKET_LOCKS: bool = false;
}

impl Mode for BucketLock {
    const OWNER_ONLY: bool = false;
    const BUCKET_LOCKS: bool = true;
}

/// Replaces `expected` by `new` with acquire and release, or says what is there instead. If the caller is
/// `alone` with the word, which it has read, a store does.
#[inline(always)]
pub(super) fn swap(word: &AtomicU64, alone: bool, expected: u64, new: u64) -> Result<u64, u64> {
    if alone {
        // Release is free on most machines, and in `BucketLock` readers without the lock exist.
        word.store(new, Release);
        return Ok(expected);
    }
    word.compare_exchange(expected, new, AcqRel, Acquire)
}

/// The same for a slot, which must be free.
#[inline(always)]
pub(super) fn take(slot: &AtomicU32, alone: bool, new: u32) -> bool {
    if alone {
        let free = slot.load(Relaxed) == 0;
        if free {
            slot.store(new, Relaxed);
        }
        return free;
    }
    // AcqRel: takes the slot over from the core that freed it. Relaxed on failure: then it is another's.
    slot.compare_exchange(0, new, AcqRel, Relaxed).is_ok()
}
