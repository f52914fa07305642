//! Decompression, in a thread of its own.

use super::chunk::{Buffers, Chunk, HEADROOM};
use crate::measure::Busy;
use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// How a capture is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    Lz4,
}

/// Chunks that wait to be framed. When they do, decompression waits, too.
const WAITING: usize = 4;

impl Packing {
    /// By the first bytes. A file may begin with a frame to be skipped (as `pzstd` writes), which zstd
    /// and lz4 share; lz4 does not write any.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Packing::Zstd),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Packing::Lz4),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Lz4 => "lz4",
        }
    }

    /// The first so many bytes, or all there are, and how many compressed ones they were made of, about.
    pub(super) fn sample(self, packed: impl BufRead, most: u64) -> io::Result<(Vec<u8>, u64)> {
        let (mut sample, used) = (Vec::new(), Cell::new(0));
        self.reader(Counted { packed, used: &used })?.take(most).read_to_end(&mut sample)?;
        Ok((sample, used.get()))
    }

    /// Every member of what is compressed, one after the other.
    fn reader<'a>(self, packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            // `GzDecoder` would stop after the first member.
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Packing::Zstd => Box::new(zstd::Decoder::with_buffer(packed)?),
            Packing::Lz4 => Box::new(Lz4(lz4_flex::frame::FrameDecoder::new(packed))),
        })
    }
}

/// Counts the bytes that are taken.
struct Counted<'a, R> {
    packed: R,
    used: &'a Cell<u64>,
}

impl<R: BufRead> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.packed.read(into)?;
        self.used.set(self.used.get() + count as u64);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.packed.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.used.set(self.used.get() + count as u64);
        self.packed.consume(count);
    }
}

/// Lz4's decoder says that it is done after each member.
struct Lz4<R: BufRead>(lz4_flex::frame::FrameDecoder<R>);

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(into)? {
                0 if !into.is_empty() && !self.0.get_mut().fill_buf()?.is_empty() => continue,
                count => return Ok(count),
            }
        }
    }
}

/// Hands the decompressed bytes to `receive`, chunk by chunk, while a thread makes the next. An error is the last that
/// comes.
pub(super) fn unpack<T>(
    packed: &[u8],
    packing: Packing,
    buffers: &Buffers,
    receive: impl FnOnce(Receiver<io::Result<Chunk>>) -> T,
) -> io::Result<T> {
    let (sender, receiver) = sync_channel(WAITING);
    let buffers = buffers.clone();
    thread::scope(|scope| {
        let run = move || send(packed, packing, buffers, &sender);
        thread::Builder::new().name("unpack".into()).spawn_scoped(scope, run)?;
        Ok(receive(receiver))
    })
}

/// The same of a stream, whose end may be far: the chunks as they come.
pub(super) fn unpack_stream(
    packed: impl BufRead + Send + 'static,
    packing: Packing,
    buffers: Buffers,
    busy: Busy,
) -> io::Result<Receiver<io::Result<Chunk>>> {
    let (sender, receiver) = sync_channel(WAITING);
    thread::Builder::new().name("unpack".into()).spawn(move || {
        send(packed, packing, buffers, &sender);
        busy.add_this_thread();
    })?;
    Ok(receiver)
}

fn send(packed: impl BufRead, packing: Packing, buffers: Buffers, to: &SyncSender<io::Result<Chunk>>) {
    match packing.reader(packed) {
        Ok(reader) => {
            for chunk in Chunks::of(reader, buffers) {
                // The receiver is gone when it has seen enough.
                if to.send(chunk).is_err() {
                    return;
                }
            }
        }
        Err(error) => drop(to.send(Err(error))),
    }
}

/// What a reader gives, in chunks. What was whole before an error comes before it.
pub(super) struct Chunks<R> {
    /// `None` after the end or an error.
    reader: Option<R>,
    buffers: Buffers,
    error: Option<io::Error>,
}

impl<R: Read> Chunks<R> {
    pub(super) fn of(reader: R, buffers: Buffers) -> Self {
        Chunks { reader: Some(reader), buffers, error: None }
    }
}

impl<R: Read> Iterator for Chunks<R> {
    type Item = io::Result<Chunk>;

    fn next(&mut self) -> Option<io::Result<Chunk>> {
        let Some(reader) = &mut self.reader else { return self.error.take().map(Err) };
        let (chunk, result) = self.buffers.fill(reader);
        let is_empty = chunk.as_ref().is_ok_and(|chunk| chunk.len() == HEADROOM);
        if is_empty || chunk.is_err() || result.is_err() {
            self.reader = None;
        }
        self.error = result.err();
        if is_empty { self.error.take().map(Err) } else { Some(chunk) }
    }
}
