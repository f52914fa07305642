//! One file, chunk by chunk.

use crate::measure::Busy;
use crate::trace::chunk::{Buffers, Chunk, STREAMED};
use crate::trace::framer::Framer;
use crate::trace::source::{self, Origin};
use crate::trace::unpack::{Chunks, Packing, unpack_stream};
use crate::trace::{Frame, Summary, TraceError, headers};
use std::fs;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// Bytes by which a format is recognised.
const HEAD: u64 = 4096;
/// Compressed bytes read at once.
const PACKED_BUFFER: usize = 256 << 10;

/// A file that is being read. Bytes are read, not mapped: they need not stay, and a file may be cut meanwhile.
pub(super) struct File {
    chunks: Box<dyn Iterator<Item = io::Result<Chunk>> + Send>,
    framer: Framer,
    path: PathBuf,
    /// To see whether it changed; and its length when it was opened.
    regular: Option<(fs::File, u64)>,
}

impl File {
    /// Opens a file, a pipe, or standard input (`-`). Decompression, in a thread of its own, is added to `busy`.
    pub(super) fn open(path: &Path, busy: &Busy) -> Result<Self, TraceError> {
        let failed = |source| TraceError::Io { path: path.to_owned(), source };
        let mut regular = None;
        let mut reader: Box<dyn Read + Send> = match path == Path::new("-") {
            true => Box::new(io::stdin()),
            false => {
                let file = fs::File::open(path).map_err(failed)?;
                let about = file.metadata().map_err(failed)?;
                if about.is_file() {
                    regular = Some((file.try_clone().map_err(failed)?, about.len()));
                }
                // What it grows by is not used.
                Box::new(file.take(if about.is_file() { about.len() } else { u64::MAX }))
            }
        };
        let mut head = Vec::new();
        reader.by_ref().take(HEAD).read_to_end(&mut head).map_err(failed)?;
        if head.is_empty() {
            return Err(TraceError::Empty(path.to_owned()));
        }
        if headers::recognise(&head) {
            return Err(TraceError::HeadersStreamed(path.to_owned()));
        }
        let origin = Origin { path: path.to_owned(), packing: Packing::of(&head) };
        let packing = origin.packing;
        let framer = Framer::new(origin);
        let reader = Cursor::new(head).chain(reader);
        let buffers = Buffers::of(STREAMED);
        let chunks: Box<dyn Iterator<Item = io::Result<Chunk>> + Send> = match packing {
            None => Box::new(Chunks::of(reader, buffers)),
            Some(packing) => {
                let packed = BufReader::with_capacity(PACKED_BUFFER, reader);
                let unpacked = unpack_stream(packed, packing, buffers, busy.clone());
                Box::new(unpacked.map_err(TraceError::Thread)?.into_iter())
            }
        };
        Ok(File { chunks, framer, path: path.to_owned(), regular })
    }

    /// True if it can be opened again.
    pub(super) fn is_regular(&self) -> bool {
        self.regular.is_some()
    }

    /// Adds the frames of the next chunk, and gives the bytes that they lie in. `None` at the end.
    pub(super) fn next(&mut self, frames: &mut Vec<Frame>) -> Result<Option<Chunk>, TraceError> {
        match self.chunks.next() {
            Some(chunk) => self.framer.chunk(chunk, frames, 0),
            None => Ok(None),
        }
    }

    /// At the end: what the file says of itself.
    pub(super) fn end(&mut self) -> Result<Summary, TraceError> {
        let mut summary = self.framer.end()?;
        if let Some((file, then)) = &self.regular
            && let Ok(now) = file.metadata()
        {
            summary.changes.extend(source::change(&self.path, *then, now.len()));
        }
        Ok(summary)
    }
}
