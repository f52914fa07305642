//! Decompression, in a thread of its own.

use std::io::{self, Read};
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

    /// Every member of a compressed file, one after the other.
    fn reader<'a>(self, packed: &'a [u8]) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            // `GzDecoder` would stop after the first member.
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Packing::Zstd => Box::new(zstd::Decoder::with_buffer(packed)?),
            Packing::Lz4 => Box::new(Lz4(lz4_flex::frame::FrameDecoder::new(packed))),
        })
    }
}

/// Lz4's decoder says that it is done after each member.
struct Lz4<'a>(lz4_flex::frame::FrameDecoder<&'a [u8]>);

impl Read for Lz4<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(into)? {
                0 if !into.is_empty() && !self.0.get_ref().is_empty() => continue,
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

fn send(packed: &[u8], packing: Packing, to: &SyncSender<Chunk>) {
    let mut reader = match packing.reader(packed) {
        Ok(reader) => reader,
        // The receiver is gone when it has seen enough.
        Err(error) => return drop(to.send(Err(error))),
    };
    loop {
        let mut chunk = Vec::with_capacity(HEADROOM + CHUNK as usize);
        chunk.resize(HEADROOM, 0);
        let result = reader.by_ref().take(CHUNK).read_to_end(&mut chunk);
        // What was whole before an error is used.
        let ended = chunk.len() == HEADROOM;
        if (!ended && to.send(Ok(chunk)).is_err()) || (ended && result.is_ok()) {
            return;
        }
        if let Err(error) = result {
            return drop(to.send(Err(error)));
        }
    }
}
