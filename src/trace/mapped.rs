//! Mapped files that may be cut while they are read.
//!
//! Reading beyond the end of a file that shrank after it was mapped raises SIGBUS, which ends a program. What is kept for a
//! whole replay would need twice the memory if it were copied. So the signal is caught: what is gone reads as zeros, and who
//! reads looks at the file's length afterwards. On systems other than Linux, the signal is not caught.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Deref;

/// Bytes that stay where they are.
pub(super) struct Mapped {
    // Dropped before the map, after which others may be mapped there.
    #[cfg(target_os = "linux")]
    _guard: Option<guard::Guard>,
    map: Mmap,
}

impl Mapped {
    /// Maps a file.
    pub(super) fn file(file: &File) -> io::Result<Self> {
        // SAFETY: the map is only read. If another process changes bytes, we read other frames, and every
        // length is checked against the map before it is used; if it cuts the file, the guard below has zeros read.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Mapped {
            #[cfg(target_os = "linux")]
            _guard: Some(guard::Guard::over(&map)),
            map,
        })
    }

    /// Memory that no file can take away.
    pub(super) fn memory(map: Mmap) -> Self {
        Mapped {
            #[cfg(target_os = "linux")]
            _guard: None,
            map,
        }
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(target_os = "linux")]
mod guard {
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Release};
    use std::sync::{Once, OnceLock};

    /// Addresses that are guarded: `start..end`; none if `end` is 0. Never freed, since the handler may look at it at
    /// any time; there are as many as files are ever mapped.
    struct Range {
        start: usize,
        end: AtomicUsize,
        next: AtomicPtr<Range>,
    }

    /// The latest of the ranges.
    static RANGES: AtomicPtr<Range> = AtomicPtr::new(ptr::null_mut());

    /// What SIGBUS did before; and the size of a page.
    static BEFORE: OnceLock<(libc::sigaction, usize)> = OnceLock::new();

    /// The handler is installed once a process.
    static INSTALLED: Once = Once::new();

    /// While it lives, reading a lost part of its addresses gives zeros.
    pub(super) struct Guard(&'static Range);

    impl Guard {
        pub(super) fn over(bytes: &[u8]) -> Self {
            INSTALLED.call_once(install);
            let start = bytes.as_ptr() as usize;
            let end = AtomicUsize::new(start + bytes.len());
            let range: &'static Range = Box::leak(Box::new(Range { start, end, next: AtomicPtr::default() }));
            let mut latest = RANGES.load(Acquire);
            loop {
                range.next.store(latest, Release);
                match RANGES.compare_exchange(latest, ptr::from_ref(range).cast_mut(), Release, Acquire) {
                    Ok(_) => return Guard(range),
                    Err(other) => latest = other,
                }
            }
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.end.store(0, Release);
        }
    }

    fn install() {
        // SAFETY: asks for the present action and the page size, and sets an action. A zeroed `sigaction` is a valid
        // one; the handler has the signature that SA_SIGINFO asks for, and does only what a handler may. None of the
        // calls can fail with these arguments.
        unsafe {
            let mut before = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            libc::sigaction(libc::SIGBUS, ptr::null(), &mut before);
            let _ = BEFORE.set((before, libc::sysconf(libc::_SC_PAGESIZE) as usize));
            let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
        }
    }

    /// Puts zeros from the page that is gone to the end of its range: a file is cut at its end.
    extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        let Some((before, page)) = BEFORE.get() else { return };
        // SAFETY: the system hands over a valid `info`. Ranges are never freed. The pages that are replaced belong to a
        // map that is still there, for its guard is dropped before it, and that is only read; no Rust reference into it
        // sees more change than that of the file itself. `mmap` and `sigaction` are plain system calls, which a handler
        // may make; nothing here allocates or locks.
        unsafe {
            let address = (*info).si_addr() as usize;
            let mut range: *const Range = RANGES.load(Acquire);
            while let Some(here) = range.as_ref() {
                let end = here.end.load(Acquire);
                if (here.start..end).contains(&address) {
                    let from = address / page * page;
                    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
                    let at = from as *mut libc::c_void;
                    if libc::mmap(at, end - from, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED {
                        return;
                    }
                    break;
                }
                range = here.next.load(Acquire);
            }
            // Not ours: the access is tried again, and whoever was there before has it.
            libc::sigaction(libc::SIGBUS, before, ptr::null_mut());
        }
    }
}
