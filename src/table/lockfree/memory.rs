//! The table's memory: one mapping for all shards, in huge pages where the system grants them.
//!
//! A random access to a table of many megabytes also misses the TLB; with pages of 2 MiB it seldom does.
//! Linux grants them to whoever asks by `madvise`, unless they are switched off
//! (`/sys/kernel/mm/transparent_hugepage/enabled`). All pages are touched here, so that no page fault falls
//! into a measurement.

/// Types of which memory full of zeros is a valid, new value.
///
/// # Safety
/// It must be.
pub(super) unsafe trait Zeroed: Sized {
    /// The same value, made the ordinary way.
    #[cfg(loom)]
    fn zeroed() -> Self;
}

#[cfg(not(loom))]
mod pages {
    use super::Zeroed;
    use memmap2::MmapMut;
    use std::marker::PhantomData;
    use std::ptr::NonNull;
    use std::sync::Arc;

    const HUGE_PAGE: usize = 2 << 20;
    const SMALL_PAGE: usize = 4 << 10;
    /// Arrays begin on a pair of cache lines of their own.
    const ALIGN: usize = 128;

    /// Memory that is handed out piece by piece.
    pub(in super::super) struct Arena {
        map: Arc<MmapMut>,
        next: usize,
        end: usize,
    }

    /// An array in an arena.
    pub(in super::super) struct Array<T> {
        start: NonNull<T>,
        len: usize,
        _map: Arc<MmapMut>,
        _owns: PhantomData<T>,
    }

    // SAFETY: an array owns its part of the mapping, like a `Box<[T]>`.
    unsafe impl<T: Send> Send for Array<T> {}
    // SAFETY: as above.
    unsafe impl<T: Sync> Sync for Array<T> {}

    /// Bytes that an array of this length takes.
    pub(in super::super) fn bytes_of<T>(len: usize) -> usize {
        (len * size_of::<T>()).next_multiple_of(ALIGN)
    }

    impl Arena {
        /// # Panics
        /// If the system does not give the memory.
        pub(in super::super) fn new(bytes: usize) -> Self {
            let length = bytes.max(1) + HUGE_PAGE;
            let mut map = MmapMut::map_anon(length)
                .unwrap_or_else(|error| panic!("no memory for a table of {bytes} bytes: {error}"));
            // Refused where huge pages are not compiled in: then the table has small ones, and says so.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            let next = map.as_ptr().align_offset(HUGE_PAGE);
            let end = next + bytes;
            map[next..end].iter_mut().step_by(SMALL_PAGE).for_each(|byte| {
                // SAFETY: a valid reference. Volatile, since a store of zero to zeroed memory could be left out.
                unsafe { std::ptr::write_volatile(byte, 0) }
            });
            Arena { map: Arc::new(map), next, end }
        }

        /// The next array of this length, all zeros.
        ///
        /// # Panics
        /// If the arena is used up.
        pub(in super::super) fn array<T: Zeroed>(&mut self, len: usize) -> Array<T> {
            let (start, bytes) = (self.next, bytes_of::<T>(len));
            assert!(align_of::<T>() <= ALIGN && bytes <= self.end - start, "the arena is too small");
            self.next += bytes;
            // SAFETY: within the mapping, as was just asserted.
            let start = unsafe { self.map.as_ptr().add(start) };
            // The mapping is reached through the arrays alone, each through its own part.
            let start = NonNull::new(start.cast_mut().cast()).unwrap_or(NonNull::dangling());
            Array { start, len, _map: self.map.clone(), _owns: PhantomData }
        }

        /// Bytes of it that are in huge pages; `None` if the system does not tell.
        pub(in super::super) fn huge_bytes(&self) -> Option<u64> {
            let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
            let start = self.map.as_ptr() as u64;
            Some(huge_bytes(&maps, start, start + self.map.len() as u64)?.min(self.map.len() as u64))
        }
    }

    /// The sum of `AnonHugePages` of the mappings that begin in this range, or hold its start. `None` if there
    /// is no such line.
    fn huge_bytes(maps: &str, start: u64, end: u64) -> Option<u64> {
        let (mut inside, mut sum) = (false, None);
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let hex = |text| u64::from_str_radix(text, 16).ok();
            if let Some((Some(from), Some(to))) = range.map(|(from, to)| (hex(from), hex(to))) {
                inside = from < end && to > start;
            } else if inside && let Some(size) = line.strip_prefix("AnonHugePages:") {
                let kib: u64 = size.trim().trim_end_matches("kB").trim().parse().ok()?;
                *sum.get_or_insert(0) += kib << 10;
            }
        }
        sum
    }

    impl<T> std::ops::Deref for Array<T> {
        type Target = [T];

        #[inline(always)]
        fn deref(&self) -> &[T] {
            // SAFETY: `Arena::array` has made start and length; the memory lives as long as `_map`, it is
            // zeroed or written through `T`'s own interior, and zeros are a valid `T` (`Zeroed`).
            unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        // SAFETY: an integer.
        unsafe impl Zeroed for u32 {}

        #[test]
        fn huge_pages_are_counted_by_mapping() {
            let maps = "\
1000-3000 rw-p 00000000 00:00 0 \nSize: 8 kB\nAnonHugePages:      4 kB\nVmFlags: rd wr\n\
3000-5000 rw-p 00000000 00:00 0 \nAnonHugePages:      2 kB\n\
9000-a000 r--p 00000000 00:00 0 /lib/a b\nAnonHugePages:      8 kB\n";
            assert_eq!(huge_bytes(maps, 0x1000, 0x3000), Some(4 << 10));
            assert_eq!(huge_bytes(maps, 0x2000, 0x4000), Some(6 << 10));
            assert_eq!(huge_bytes(maps, 0x6000, 0x7000), None);
        }

        #[test]
        fn arrays_are_zeroed_apart_and_whole() {
            let mut arena = Arena::new(bytes_of::<u32>(5) + bytes_of::<u32>(40));
            let (a, b) = (arena.array::<u32>(5), arena.array::<u32>(40));
            drop(arena);
            assert_eq!((&a[..], b.len(), b.iter().sum::<u32>()), (&[0; 5][..], 40, 0));
            assert!(a.as_ptr_range().end <= b.as_ptr() && b.as_ptr().align_offset(ALIGN) == 0);
        }
    }
}

#[cfg(not(loom))]
pub(super) use pages::{Arena, Array, bytes_of};

/// loom's atomics live on the heap.
#[cfg(loom)]
pub(super) struct Arena;

#[cfg(loom)]
pub(super) type Array<T> = Vec<T>;

#[cfg(loom)]
pub(super) fn bytes_of<T>(_: usize) -> usize {
    0
}

#[cfg(loom)]
impl Arena {
    pub(super) fn new(_: usize) -> Self {
        Arena
    }

    pub(super) fn array<T: Zeroed>(&mut self, len: usize) -> Array<T> {
        std::iter::repeat_with(T::zeroed).take(len).collect()
    }

    pub(super) fn huge_bytes(&self) -> Option<u64> {
        None
    }
}
