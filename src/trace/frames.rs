//! Framing: where each frame of a capture lies.

use super::record::{NoRecords, Records, Stop};
use super::sequence::Decoded;
use super::source::{Source, memory_limit};
use super::unpack::{HEADROOM, Packing, unpack};
use super::{Capture, Cut, Filter, Summary, TraceError, merge};
use crate::packet::{Decap, Inside, View, decode, innermost};
use rayon::prelude::*;

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
    parts: Vec<Part<'a>>,
    frames: Vec<Frame>,
    summary: Summary,
    decap: Decap,
}

/// Bytes that frames lie in.
enum Part<'a> {
    File(&'a [u8]),
    Unpacked(Vec<u8>),
}

/// Frames decoded by one task: enough work to hand over, small enough to balance.
const CHUNK: usize = 8192;

/// Bytes of a small frame with its record header.
const SMALL_RECORD: usize = 16 + 64;

/// The largest record that is waited for while a file is decompressed: captures hold 256 KiB at most,
/// and damaged ones state any length.
const MAX_RECORD: u64 = 64 << 20;

impl Capture {
    /// Finds every frame; decompresses what is compressed. A file that is cut off gives what was whole,
    /// and says so in [`Summary::cuts`]. Several files become one trace, in order of time.
    pub fn frames(&self) -> Result<Frames<'_>, TraceError> {
        let mut parts = Vec::new();
        let mut files = Vec::with_capacity(self.sources.len());
        let mut summary: Option<Summary> = None;
        let mut room = memory_limit();
        for source in &self.sources {
            let mut file = File::default();
            file.read(source, &mut parts, &mut room)?;
            file.summary.changes.extend(source.change());
            files.push(file.frames);
            summary = Some(match summary {
                None => file.summary,
                Some(summary) => summary.and(file.summary),
            });
        }
        let frames = merge::by_time(files);
        if u32::try_from(frames.len()).is_err() {
            return Err(TraceError::TooManyPackets(self.path().to_owned()));
        }
        let mut summary = summary.unwrap_or_default();
        summary.skipped.clone_from(&self.skipped);
        Ok(Frames { parts, frames, summary, decap: self.decap })
    }
}

impl Frames<'_> {
    /// What the capture says of itself.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The frames, in trace order.
    pub fn list(&self) -> &[Frame] {
        &self.frames
    }

    /// The captured bytes of a frame.
    #[inline]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        let part = match &self.parts[frame.part as usize] {
            Part::File(bytes) => bytes,
            Part::Unpacked(bytes) => bytes.as_slice(),
        };
        let start = frame.offset as usize;
        &part[start..start + frame.captured as usize]
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
        let Summary { format, snaplen, bad_blocks, cuts, changes, skipped, .. } = std::mem::take(&mut self.summary);
        self.summary =
            Summary { format, snaplen, bad_blocks, cuts, changes, skipped, ..Summary::of(&self.frames, None) };
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

/// One file's frames.
#[derive(Default)]
struct File {
    frames: Vec<Frame>,
    summary: Summary,
}

impl File {
    /// `room`: bytes that may still be held of decompressed files.
    fn read<'a>(&mut self, source: &'a Source, parts: &mut Vec<Part<'a>>, room: &mut u64) -> Result<(), TraceError> {
        match source.packing {
            None => {
                // Most frames are larger: growing the list again and again costs more than the room.
                self.frames.reserve(source.bytes.len() / SMALL_RECORD);
                let (mut records, begin) =
                    Records::begin(&source.bytes).map_err(|why| no_records(source, why, &source.bytes))?;
                let (used, stop) = self.walk(&mut records, &source.bytes, begin, parts.len());
                self.end(&records, source, (begin + used) as u64, stop, (source.bytes.len() - begin - used) as u64);
                parts.push(Part::File(&source.bytes));
            }
            Some(packing) => {
                let failed = |error| TraceError::Io { path: source.path.clone(), source: error };
                unpack(&source.bytes, packing, |chunks| self.read_unpacked(source, packing, chunks, parts, room))
                    .map_err(failed)??;
            }
        }
        Ok(())
    }

    /// Finds frames in each chunk while the next is decompressed. What is left of a chunk, a record's
    /// beginning, is put before the next.
    fn read_unpacked<'a>(
        &mut self,
        source: &'a Source,
        packing: Packing,
        chunks: impl IntoIterator<Item = std::io::Result<Vec<u8>>>,
        parts: &mut Vec<Part<'a>>,
        room: &mut u64,
    ) -> Result<(), TraceError> {
        let mut records: Option<Records> = None;
        let mut rest: Vec<u8> = Vec::new();
        // Of all decompressed bytes, how many were used up.
        let mut used: u64 = 0;
        let mut stop = Stop::End;
        let corrupt = |error: std::io::Error| format!("the {} data is damaged or cut off: {error}", packing.name());
        for chunk in chunks {
            let mut chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) if records.is_none() => {
                    return Err(no_records(
                        source,
                        NoRecords::Header { format: packing.name(), reason: corrupt(error) },
                        &[],
                    ));
                }
                Err(error) => {
                    stop = Stop::Damaged(corrupt(error));
                    break;
                }
            };
            *room = room
                .checked_sub((chunk.len() - HEADROOM + rest.len()) as u64)
                .ok_or_else(|| TraceError::TooLarge { path: source.path.clone(), limit: memory_limit() })?;
            let mut start = match HEADROOM.checked_sub(rest.len()) {
                Some(start) => {
                    chunk[start..HEADROOM].copy_from_slice(&rest);
                    start
                }
                None => {
                    chunk = [&rest, &chunk[HEADROOM..]].concat();
                    0
                }
            };
            let records = match &mut records {
                Some(records) => records,
                none => {
                    let (begun, begin) =
                        Records::begin(&chunk[start..]).map_err(|why| no_records(source, why, &chunk[start..]))?;
                    (start, used) = (start + begin, used + begin as u64);
                    none.insert(begun)
                }
            };
            let taken;
            (taken, stop) = self.walk(records, &chunk, start, parts.len());
            used += taken as u64;
            rest = chunk[start + taken..].to_vec();
            parts.push(Part::Unpacked(chunk));
            match stop {
                Stop::More { needed } if needed > MAX_RECORD => break,
                Stop::Damaged(_) => break,
                Stop::More { .. } | Stop::End => {}
            }
        }
        let Some(records) = records else { return Err(TraceError::Empty(source.path.clone())) };
        self.end(&records, source, used, stop, rest.len() as u64);
        self.summary.format = format!("{}, {}", self.summary.format, packing.name());
        Ok(())
    }

    /// Adds the frames of all whole records from `start` on.
    fn walk(&mut self, records: &mut Records, bytes: &[u8], start: usize, part: usize) -> (usize, Stop) {
        let File { frames, summary } = self;
        let mut previous_ns = frames.last().map(|frame| frame.time_ns);
        // There are not as many parts as frames, and these are counted.
        let part = part as u32;
        records.walk(&bytes[start..], |frame| {
            let frame = Frame { offset: frame.offset + start as u64, part, ..frame };
            summary.add(&frame, previous_ns);
            previous_ns = Some(frame.time_ns);
            frames.push(frame);
        })
    }

    fn end(&mut self, records: &Records, source: &Source, offset: u64, stop: Stop, left: u64) {
        self.summary.format = records.name();
        self.summary.snaplen = records.snaplen();
        self.summary.bad_blocks = records.bad_blocks();
        let reason = match stop {
            Stop::End => return,
            Stop::More { needed } => format!("a record needs {needed} bytes where {left} are left"),
            Stop::Damaged(reason) => reason,
        };
        let packets = self.summary.packets;
        self.summary.cuts.push(Cut { path: source.path.clone(), offset, reason, packets });
    }
}

pub(super) fn no_records(source: &Source, why: NoRecords, bytes: &[u8]) -> TraceError {
    let path = source.path.clone();
    match why {
        NoRecords::Header { format, reason } => TraceError::Header { path, format, reason },
        NoRecords::Unknown => {
            let magic = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            let packed =
                source.packing.map_or(String::new(), |packing| format!(" when decompressed with {}", packing.name()));
            TraceError::NotACapture { path, magic, packed }
        }
    }
}
