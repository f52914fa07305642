//! Framing: where each frame of a capture lies.

use super::capture::Format;
use super::sequence::Decoded;
use super::{Capture, TraceError};
use crate::packet::{Inside, decode};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapParseError, PcapParser, PcapTsResolution};
use pcap_file::pcapng::{Block, PcapNgParseError, PcapNgParser};
use rayon::prelude::*;

/// One frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// Bytes captured.
    pub captured: u32,
    /// Bytes on the wire.
    pub wire: u32,
    /// Time in ns since 1970.
    pub time_ns: u64,
    /// Link type, as registered at tcpdump.org.
    pub link_type: u16,
}

/// A file that ends in the middle of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the last, incomplete record begins.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// What a capture says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `pcap` or `pcapng`, with resolution or version.
    pub format: String,
    /// Frames.
    pub packets: u64,
    /// Bytes captured.
    pub captured_bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// Frames by link type, in order of appearance.
    pub link_types: Vec<(u16, u64)>,
    /// Largest capture length that the file declares; 0 for none.
    pub snaplen: u32,
    /// Frames of which less was captured than was on the wire.
    pub snaplen_cut: u64,
    /// Earliest time, ns since 1970.
    pub first_ns: u64,
    /// Latest time, ns since 1970.
    pub last_ns: u64,
    /// Frames that are earlier than the one before.
    pub backwards: u64,
    /// Blocks of a pcapng file that could not be read and were skipped.
    pub bad_blocks: u64,
    /// The file ends in the middle of a record.
    pub cut: Option<Cut>,
}

impl Summary {
    /// From the earliest to the latest packet, in seconds.
    pub fn duration_s(&self) -> f64 {
        self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9
    }

    /// What the user should know, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let cut = self.cut.as_ref().map(|cut| {
            format!(
                "the capture is cut off at byte {}: {}; the {} packets before it are used",
                cut.offset, cut.reason, self.packets
            )
        });
        let bad = (self.bad_blocks > 0)
            .then(|| format!("{} pcapng blocks could not be read and were skipped", self.bad_blocks));
        cut.into_iter().chain(bad).collect()
    }

    #[inline]
    fn add(&mut self, frame: &Frame, previous: Option<&Frame>) {
        if previous.is_none() {
            self.first_ns = frame.time_ns;
        }
        self.packets += 1;
        self.captured_bytes += u64::from(frame.captured);
        self.wire_bytes += u64::from(frame.wire);
        match self.link_types.iter_mut().find(|(link, _)| *link == frame.link_type) {
            Some((_, count)) => *count += 1,
            None => self.link_types.push((frame.link_type, 1)),
        }
        self.snaplen_cut += u64::from(frame.captured < frame.wire);
        self.first_ns = self.first_ns.min(frame.time_ns);
        self.last_ns = self.last_ns.max(frame.time_ns);
        self.backwards += u64::from(previous.is_some_and(|p| frame.time_ns < p.time_ns));
    }
}

/// All frames of a capture.
pub struct Frames<'a> {
    capture: &'a Capture,
    frames: Vec<Frame>,
    summary: Summary,
}

/// Frames decoded by one task: enough work to hand over, small enough to balance.
const CHUNK: usize = 8192;

/// Bytes of a small frame with its record header.
const SMALL_RECORD: usize = 16 + 64;

impl Capture {
    /// Finds every frame. A file that is cut off gives what was whole, and says so in
    /// [`Summary::cut`].
    pub fn frames(&self) -> Result<Frames<'_>, TraceError> {
        // Most frames are larger: growing the list again and again costs more than the room.
        let estimate = self.bytes().len() / SMALL_RECORD;
        let mut frames = Frames { capture: self, frames: Vec::with_capacity(estimate), summary: Summary::default() };
        match self.format {
            Format::Pcap => frames.read_pcap()?,
            Format::PcapNg => frames.read_pcapng()?,
        }
        if u32::try_from(frames.frames.len()).is_err() {
            return Err(TraceError::TooManyPackets(self.path().to_owned()));
        }
        Ok(frames)
    }
}

impl<'a> Frames<'a> {
    /// What the capture says of itself.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The frames, in file order.
    pub fn list(&self) -> &[Frame] {
        &self.frames
    }

    /// The captured bytes of a frame.
    pub fn bytes(&self, frame: &Frame) -> &'a [u8] {
        let start = frame.offset as usize;
        &self.capture.bytes()[start..start + frame.captured as usize]
    }

    /// Decodes all frames on all cores. The order is kept.
    pub fn decode(&self, inside: &Inside) -> Decoded {
        let decode_one = |frame: &Frame| {
            decode(self.bytes(frame), u32::from(frame.link_type), frame.wire as usize, frame.time_ns, inside)
        };
        let chunks: Vec<Vec<_>> =
            self.frames.par_chunks(CHUNK).map(|chunk| chunk.iter().map(decode_one).collect()).collect();
        Decoded { chunks }
    }

    #[inline]
    fn push(&mut self, frame: Frame) {
        self.summary.add(&frame, self.frames.last());
        self.frames.push(frame);
    }

    fn read_pcap(&mut self) -> Result<(), TraceError> {
        let bytes = self.capture.bytes();
        let header_error =
            |reason: String| TraceError::Header { path: self.capture.path().to_owned(), format: "pcap", reason };
        let (mut rest, parser) = PcapParser::new(bytes).map_err(|e| header_error(e.to_string()))?;
        let header = parser.header();
        let (unit_ns, unit) = match header.ts_resolution {
            PcapTsResolution::MicroSecond => (1000, "microseconds"),
            PcapTsResolution::NanoSecond => (1, "nanoseconds"),
        };
        self.summary.format = format!("pcap ({unit}, {:?} endian)", header.endianness).to_lowercase();
        self.summary.snaplen = header.snaplen;
        // The upper bits may hold the length of a frame check sequence.
        let link_type = (u32::from(header.datalink) & 0xffff) as u16;
        while !rest.is_empty() {
            let offset = (bytes.len() - rest.len()) as u64;
            let (after, packet) = match parser.next_raw_packet(rest) {
                Ok(next) => next,
                Err(error) => {
                    self.summary.cut = Some(Cut { offset, reason: pcap_reason(&error) });
                    break;
                }
            };
            self.push(Frame {
                offset: offset + 16,
                captured: packet.incl_len,
                wire: packet.orig_len,
                time_ns: u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_frac) * unit_ns,
                link_type,
            });
            rest = after;
        }
        Ok(())
    }

    fn read_pcapng(&mut self) -> Result<(), TraceError> {
        let bytes = self.capture.bytes();
        let header_error =
            |reason: String| TraceError::Header { path: self.capture.path().to_owned(), format: "pcapng", reason };
        let (mut rest, mut parser) = PcapNgParser::new(bytes).map_err(|e| header_error(e.to_string()))?;
        let section = parser.section();
        self.summary.format =
            format!("pcapng ({}.{}, {:?} endian)", section.major_version, section.minor_version, section.endianness)
                .to_lowercase();
        while !rest.is_empty() {
            let offset = (bytes.len() - rest.len()) as u64;
            let (after, block) = match parser.next_raw_block(rest) {
                Ok(next) => next,
                Err(error) => {
                    self.summary.cut = Some(Cut { offset, reason: pcapng_reason(&error) });
                    break;
                }
            };
            rest = after;
            if !matches!(block.type_, 1 | 2 | 3 | 6) {
                continue;
            }
            let Ok(block) = block.try_into_block(parser.state()) else {
                self.summary.bad_blocks += 1;
                continue;
            };
            let (interface, data, wire, time) = match &block {
                Block::EnhancedPacket(p) => (p.interface_id as usize, &p.data, p.original_len, Some(p.timestamp)),
                Block::Packet(p) => (usize::from(p.interface_id), &p.data, p.original_len, Some(p.timestamp)),
                // Simple packets are of the first interface and carry no time.
                Block::SimplePacket(p) => (0, &p.data, p.original_len, None),
                Block::InterfaceDescription(interface) => {
                    self.summary.snaplen = self.summary.snaplen.max(interface.snaplen);
                    continue;
                }
                _ => continue,
            };
            let Some(interface) = parser.interfaces().get(interface) else {
                self.summary.bad_blocks += 1;
                continue;
            };
            self.push(Frame {
                // The data is a part of the map.
                offset: (data.as_ptr().addr() - bytes.as_ptr().addr()) as u64,
                captured: data.len() as u32,
                wire,
                time_ns: time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
                link_type: link_number(interface.linktype),
            });
        }
        Ok(())
    }
}

fn link_number(link: DataLink) -> u16 {
    (u32::from(link) & 0xffff) as u16
}

fn pcap_reason(error: &PcapParseError) -> String {
    match error {
        PcapParseError::IncompleteBuffer(needed, left) => {
            format!("a record needs {needed} more bytes where {left} are left")
        }
        other => other.to_string(),
    }
}

fn pcapng_reason(error: &PcapNgParseError) -> String {
    match error {
        PcapNgParseError::IncompleteBuffer(needed, left) => {
            format!("a block needs {needed} more bytes where {left} are left")
        }
        other => other.to_string(),
    }
}
