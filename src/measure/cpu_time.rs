//! How long the calling thread has been running, as the system's scheduler counts it.
//!
//! What a thread's CPU time lacks of the wall clock's was taken: by another thread on its core, or, where the
//! kernel accounts for stolen time (Linux: `CONFIG_PARAVIRT_TIME_ACCOUNTING`), by another virtual machine.

/// CPU time of this thread in ns. `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn thread_ns() -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a `timespec` to a valid, exclusive pointer, and nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0;
    (!failed).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// CPU time of this thread in ns. `None` where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn thread_ns() -> Option<u64> {
    None
}
