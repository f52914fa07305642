//! The memory that a stream's bytes come in, used again.

use memmap2::MmapMut;
use std::io::{self, Read};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Free room before the bytes of a chunk, for the record that the chunk before ended in.
pub(super) const HEADROOM: usize = 64 << 10;
/// Memory of a chunk of a stream, [`HEADROOM`] included: it stays in a core's own cache.
pub(super) const STREAMED: usize = 1 << 20;
/// Memory of a chunk that is kept: a huge page.
pub(super) const KEPT: usize = 2 << 20;

/// Free chunks that wait to be used again; others are given back to the system.
const MOST_FREE: usize = 8;
/// Chunks that [`Buffers::stock`] keeps ready.
const READY: usize = 2;
/// What memory is first touched by.
const PAGE: usize = 4096;

/// Memory for chunks of one size. Fresh memory costs about as much as to unpack into it, so chunks are used again; and
/// where all are kept, another thread than the one that unpacks can make them ready.
#[derive(Clone)]
pub(super) struct Buffers {
    size: usize,
    free: Arc<Mutex<Vec<MmapMut>>>,
}

/// Bytes of a stream that follow each other. A frame's place is counted from the beginning of the memory.
pub(super) struct Chunk {
    memory: Memory,
    end: usize,
}

enum Memory {
    /// `None` when it was given back.
    Lent(Option<MmapMut>, Buffers),
    Own(Vec<u8>),
}

impl Buffers {
    /// Chunks of so many bytes each, [`HEADROOM`] included.
    pub(super) fn of(size: usize) -> Self {
        Buffers { size, free: Arc::default() }
    }

    fn free(&self) -> MutexGuard<'_, Vec<MmapMut>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> io::Result<MmapMut> {
        let map = MmapMut::map_anon(self.size)?;
        if self.size >= KEPT {
            // The system may refuse: then with small pages.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(map)
    }

    /// Makes memory ready for the next chunks: each page is touched here, not where it is filled.
    pub(super) fn stock(&self) -> io::Result<()> {
        while self.free().len() < READY {
            let mut map = self.fresh()?;
            map.chunks_mut(PAGE).for_each(|page| page[0] = 0);
            self.free().push(map);
        }
        Ok(())
    }

    /// The next bytes that a reader gives; with an error, what came before it.
    pub(super) fn fill(&self, reader: &mut impl Read) -> (io::Result<Chunk>, io::Result<()>) {
        let waiting = self.free().pop();
        let mut map = match waiting.map_or_else(|| self.fresh(), Ok) {
            Ok(map) => map,
            Err(error) => return (Err(error), Ok(())),
        };
        let mut end = HEADROOM;
        let result = loop {
            match reader.read(&mut map[end..]) {
                Ok(0) => break Ok(()),
                Ok(count) => end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        (Ok(Chunk { memory: Memory::Lent(Some(map), self.clone()), end }), result)
    }
}

impl Chunk {
    /// Puts bytes before those of the chunk. Gives where they begin.
    pub(super) fn put_before(&mut self, bytes: &[u8]) -> usize {
        match (&mut self.memory, HEADROOM.checked_sub(bytes.len())) {
            (Memory::Lent(Some(map), _), Some(start)) => {
                map[start..HEADROOM].copy_from_slice(bytes);
                start
            }
            _ => {
                let all = [bytes, &self[HEADROOM..]].concat();
                *self = Chunk { end: all.len(), memory: Memory::Own(all) };
                0
            }
        }
    }

    /// The same bytes, to be kept: in no more memory than they need.
    pub(super) fn kept(self) -> Self {
        match &self.memory {
            Memory::Lent(_, home) if self.end < home.size / 2 => {
                Chunk { end: self.end, memory: Memory::Own(self.to_vec()) }
            }
            _ => self,
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Lent(Some(map), _) => &map[..self.end],
            Memory::Lent(None, _) => &[],
            Memory::Own(bytes) => bytes,
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Memory::Lent(map, home) = self {
            let mut free = home.free();
            if free.len() < MOST_FREE {
                free.extend(map.take());
            }
        }
    }
}
