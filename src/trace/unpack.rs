//! Decompression, in a thread of its own.

use crate::measure::Busy;
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

/// Free room before the bytes of a chunk, for the record that the chunk before ended in.
pub(super) const HEADROOM: usize = 64 << 10;
/// Bytes of a chunk.
const CHUNK: u64 = 1 << 20;
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

/// A chunk with [`HEADROOM`] before its bytes; an error is the last that comes.
pub(super) type Chunk = io::Result<Vec<u8>>;

/// Hands the decompressed bytes to `receive`, chunk by chunk, while a thread makes the next.
pub(super) fn unpack<T>(packed: &[u8], packing: Packing, receive: impl FnOnce(Receiver<Chunk>) -> T) -> io::Result<T> {
    let (sender, receiver) = sync_channel(WAITING);
    thread::scope(|scope| {
        thread::Builder::new().name("unpack".into()).spawn_scoped(scope, move || send(packed, packing, &sender))?;
        Ok(receive(receiver))
    })
}

/// The same of a stream, whose end may be far: the chunks as they come.
pub(super) fn unpack_stream(
    packed: impl BufRead + Send + 'static,
    packing: Packing,
    busy: Busy,
) -> io::Result<Receiver<Chunk>> {
    let (sender, receiver) = sync_channel(WAITING);
    thread::Builder::new().name("unpack".into()).spawn(move || {
        send(packed, packing, &sender);
        busy.add_this_thread();
    })?;
    Ok(receiver)
}

fn send(packed: impl BufRead, packing: Packing, to: &SyncSender<Chunk>) {
    match packing.reader(packed) {
        Ok(reader) => {
            for chunk in Chunks::of(reader) {
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
    error: Option<io::Error>,
}

impl<R: Read> Chunks<R> {
    pub(super) fn of(reader: R) -> Self {
        Chunks { reader: Some(reader), error: None }
    }
}

impl<R: Read> Iterator for Chunks<R> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let Some(reader) = &mut self.reader else { return self.error.take().map(Err) };
        let mut chunk = Vec::with_capacity(HEADROOM + CHUNK as usize);
        chunk.resize(HEADROOM, 0);
        if let Err(error) = reader.take(CHUNK).read_to_end(&mut chunk) {
            (self.reader, self.error) = (None, Some(error));
        } else if chunk.len() == HEADROOM {
            self.reader = None;
        }
        if chunk.len() == HEADROOM { self.error.take().map(Err) } else { Some(Ok(chunk)) }
    }
}
