//! The frames of one file, whose bytes may come in chunks.

use super::chunk::Chunk;
use super::record::{NoRecords, Records, Stop};
use super::source::Origin;
use super::{Cut, Frame, Summary, TraceError};
use std::io;

/// The largest record that is waited for where bytes come in chunks: captures hold 256 KiB at most, and damaged ones
/// state any length.
const MAX_RECORD: u64 = 64 << 20;

/// Finds the frames of one file.
pub(super) struct Framer {
    origin: Origin,
    records: Option<Records>,
    /// The beginning of a record, of the chunk before.
    rest: Vec<u8>,
    /// Of all bytes, how many were used up.
    used: u64,
    stop: Stop,
    /// Bytes after `used` that are no whole record.
    unused: u64,
    previous_ns: Option<u64>,
    summary: Summary,
}

impl Framer {
    pub(super) fn new(origin: Origin) -> Self {
        Framer {
            origin,
            records: None,
            rest: Vec::new(),
            used: 0,
            stop: Stop::End,
            unused: 0,
            previous_ns: None,
            summary: Summary::default(),
        }
    }

    /// Bytes that go before the next chunk.
    pub(super) fn left(&self) -> u64 {
        self.rest.len() as u64
    }

    /// Adds the frames of a file that is there in one piece.
    pub(super) fn whole(&mut self, bytes: &[u8], frames: &mut Vec<Frame>, part: usize) -> Result<(), TraceError> {
        self.walk(bytes, 0, frames, part)?;
        self.unused = bytes.len() as u64 - self.used;
        Ok(())
    }

    /// Adds the frames of the next chunk. Gives the bytes that they lie in; `None` if no further chunk is of use.
    pub(super) fn chunk(
        &mut self,
        chunk: io::Result<Chunk>,
        frames: &mut Vec<Frame>,
        part: usize,
    ) -> Result<Option<Chunk>, TraceError> {
        if matches!(self.stop, Stop::Damaged(_)) || matches!(self.stop, Stop::More { needed } if needed > MAX_RECORD) {
            return Ok(None);
        }
        let mut chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                let reason = match self.origin.packing {
                    Some(packing) => format!("the {} data is damaged or cut off: {error}", packing.name()),
                    None => format!("reading failed: {error}"),
                };
                return match (&self.records, self.origin.packing) {
                    (Some(_), _) => {
                        self.stop = Stop::Damaged(reason);
                        Ok(None)
                    }
                    (None, Some(packing)) => {
                        let why = NoRecords::Header { format: packing.name(), reason };
                        Err(self.origin.no_records(why, &[]))
                    }
                    (None, None) => Err(TraceError::Io { path: self.origin.path.clone(), source: error }),
                };
            }
        };
        let start = chunk.put_before(&self.rest);
        let end = self.walk(&chunk, start, frames, part)?;
        self.rest.clear();
        self.rest.extend_from_slice(&chunk[end..]);
        self.unused = self.rest.len() as u64;
        Ok(Some(chunk))
    }

    /// Adds the frames of all whole records from `start` on; gives where they end.
    fn walk(
        &mut self,
        bytes: &[u8],
        mut start: usize,
        frames: &mut Vec<Frame>,
        part: usize,
    ) -> Result<usize, TraceError> {
        let records = match &mut self.records {
            Some(records) => records,
            none => {
                let (begun, begin) =
                    Records::begin(&bytes[start..]).map_err(|why| self.origin.no_records(why, &bytes[start..]))?;
                start += begin;
                self.used += begin as u64;
                none.insert(begun)
            }
        };
        // There are not as many parts as frames, and these are counted.
        let part = part as u32;
        let before = frames.len();
        let (taken, stop) = records.walk(&bytes[start..], |frame| {
            frames.push(Frame { offset: frame.offset + start as u64, part, ..frame });
        });
        self.stop = stop;
        let found = &frames[before..];
        self.summary.add(found, self.previous_ns);
        self.previous_ns = found.last().map(|frame| frame.time_ns).or(self.previous_ns);
        self.used += taken as u64;
        Ok(start + taken)
    }

    /// No more bytes come: what the file says of itself.
    pub(super) fn end(&mut self) -> Result<Summary, TraceError> {
        let Some(records) = &self.records else { return Err(TraceError::Empty(self.origin.path.clone())) };
        let mut summary = std::mem::take(&mut self.summary);
        summary.format = records.name();
        if let Some(packing) = self.origin.packing {
            summary.format = format!("{}, {}", summary.format, packing.name());
        }
        summary.snaplen = records.snaplen();
        summary.bad_blocks = records.bad_blocks();
        let reason = match std::mem::replace(&mut self.stop, Stop::End) {
            Stop::End => None,
            Stop::More { needed } => Some(format!("a record needs {needed} bytes where {} are left", self.unused)),
            Stop::Damaged(reason) => Some(reason),
        };
        if let Some(reason) = reason {
            let packets = summary.packets;
            summary.cuts.push(Cut { path: self.origin.path.clone(), offset: self.used, reason, packets });
        }
        Ok(summary)
    }
}

impl Origin {
    pub(super) fn no_records(&self, why: NoRecords, bytes: &[u8]) -> TraceError {
        let path = self.path.clone();
        match why {
            NoRecords::Header { format, reason } => TraceError::Header { path, format, reason },
            NoRecords::Unknown => {
                let magic = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
                let packed =
                    self.packing.map_or(String::new(), |packing| format!(" when decompressed with {}", packing.name()));
                TraceError::NotACapture { path, magic, packed }
            }
        }
    }
}
