//! Framing: where each frame of a capture lies.

use super::chunk::{Buffers, Chunk, HEADROOM, KEPT};
use super::framer::Framer;
use super::sequence::Decoded;
use super::source::{Source, memory_limit};
use super::unpack::unpack;
use super::{Capture, Filter, Summary, TraceError, merge};
use crate::packet::{Decap, Inside, View, decode, innermost};
use rayon::prelude::*;
use std::io;
use std::sync::mpsc::Receiver;

/// One frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where its bytes begin, in the file or in what was decompressed of it.
    pub offset: u64,
    /// Time in ns since 1970.
    pub time_ns: u64,
    /// Bytes captured.
    pub captured: u32,
    /// Bytes on the wire.
    pub wire: u32,
    /// Which file, or piece of a decompressed one, its bytes are in.
    pub(super) part: u32,
    /// Link type, as registered at tcpdump.org.
    pub link_type: u16,
}

/// All frames of a capture.
pub struct Frames<'a> {
    /// The files that are mapped, and the parts that they are.
    mapped: Vec<(&'a Source, usize)>,
    parts: Vec<Part<'a>>,
    frames: Vec<Frame>,
    summary: Summary,
    decap: Decap,
}

/// Bytes that frames lie in.
enum Part<'a> {
    File(&'a [u8]),
    Unpacked(Chunk),
}

impl Part<'_> {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        match self {
            Part::File(bytes) => bytes,
            Part::Unpacked(bytes) => bytes,
        }
    }
}

/// Frames decoded by one task: enough work to hand over, small enough to balance.
const CHUNK: usize = 8192;

/// Bytes of a small frame with its record header.
const SMALL_RECORD: usize = 16 + 64;

impl Capture {
    /// Finds every frame; decompresses what is compressed. A file that is cut off gives what was whole,
    /// and says so in [`Summary::cuts`]. Several files become one trace, in order of time.
    pub fn frames(&self) -> Result<Frames<'_>, TraceError> {
        let (mut mapped, mut parts) = (Vec::new(), Vec::new());
        let mut files = Vec::with_capacity(self.sources.len());
        let mut summary: Option<Summary> = None;
        let mut room = memory_limit();
        for source in &self.sources {
            let mut frames = Vec::new();
            if source.origin.packing.is_none() {
                mapped.push((source, parts.len()));
            }
            let mut of_file = read(source, &mut frames, &mut parts, &mut room)?;
            of_file.changes.extend(source.change());
            files.push(frames);
            summary = Some(match summary {
                None => of_file,
                Some(summary) => summary.and(of_file),
            });
        }
        let frames = merge::by_time(files);
        if u32::try_from(frames.len()).is_err() {
            return Err(TraceError::TooManyPackets(self.path().to_owned()));
        }
        let mut summary = summary.unwrap_or_default();
        summary.skipped.clone_from(&self.skipped);
        Ok(Frames { mapped, parts, frames, summary, decap: self.decap })
    }
}

impl Frames<'_> {
    /// What the capture says of itself.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// True if a file was cut since its frames were found: the bytes of some are gone, and read as zeros. Finding them
    /// again finds those that are left.
    pub fn are_cut(&self) -> bool {
        self.mapped.iter().any(|(source, part)| source.length_now() < self.parts[*part].bytes().len())
    }

    /// The frames, in trace order.
    pub fn list(&self) -> &[Frame] {
        &self.frames
    }

    /// The captured bytes of a frame.
    #[inline]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        let start = frame.offset as usize;
        &self.parts[frame.part as usize].bytes()[start..start + frame.captured as usize]
    }

    /// What is looked at of a frame: itself, or what the tunnels that are opened carry in it.
    #[inline]
    pub fn view(&self, frame: &Frame) -> View<'_> {
        let view =
            View { bytes: self.bytes(frame), link_type: u32::from(frame.link_type), wire_len: frame.wire as usize };
        if self.decap.is_none() { view } else { innermost(view, self.decap) }
    }

    /// Forgets what a filter does not select: the rest is numbered anew, and summed up.
    pub(super) fn keep(&mut self, filter: &Filter) {
        let mut selected = self.selected_by(filter).into_iter();
        self.frames.retain(|_| selected.next() == Some(true));
        self.summary = std::mem::take(&mut self.summary).with_counts(Summary::of(&self.frames));
    }

    /// Decodes all frames on all cores. The order is kept.
    pub fn decode(&self, inside: &Inside) -> Decoded {
        let decode_one = |frame: &Frame| {
            let view = self.view(frame);
            decode(view.bytes, view.link_type, view.wire_len, frame.time_ns, inside)
        };
        let chunks: Vec<Vec<_>> =
            self.frames.par_chunks(CHUNK).map(|chunk| chunk.iter().map(decode_one).collect()).collect();
        Decoded { chunks }
    }
}

/// Finds the frames of one file. `room`: bytes that may still be held of decompressed files.
fn read<'a>(
    source: &'a Source,
    frames: &mut Vec<Frame>,
    parts: &mut Vec<Part<'a>>,
    room: &mut u64,
) -> Result<Summary, TraceError> {
    let mut framer = Framer::new(source.origin.clone());
    let Some(packing) = source.origin.packing else {
        // Most frames are larger: growing the list again and again costs more than the room.
        frames.reserve(source.bytes.len() / SMALL_RECORD);
        let mut bytes = &source.bytes[..];
        framer.whole(bytes, frames, parts.len())?;
        // Of a file that was cut meanwhile, what was read of its lost end is nothing.
        while source.length_now() < bytes.len() {
            bytes = &bytes[..source.length_now()];
            frames.clear();
            framer = Framer::new(source.origin.clone());
            framer.whole(bytes, frames, parts.len())?;
        }
        parts.push(Part::File(bytes));
        return framer.end();
    };
    let failed = |error| TraceError::Io { path: source.origin.path.clone(), source: error };
    let buffers = Buffers::of(KEPT);
    let mut read_chunks = |chunks: Receiver<io::Result<Chunk>>| {
        for chunk in chunks {
            if let Ok(chunk) = &chunk {
                if chunk.len() == KEPT {
                    // More is likely to come, and whoever unpacks is the one that is waited for.
                    buffers.stock().map_err(failed)?;
                }
                *room = room
                    .checked_sub((chunk.len() - HEADROOM) as u64 + framer.left())
                    .ok_or_else(|| TraceError::TooLarge { path: source.origin.path.clone(), limit: memory_limit() })?;
            }
            let Some(chunk) = framer.chunk(chunk, frames, parts.len())? else { break };
            parts.push(Part::Unpacked(chunk.kept()));
        }
        framer.end()
    };
    unpack(&source.bytes, packing, &buffers, &mut read_chunks).map_err(failed)?
}
