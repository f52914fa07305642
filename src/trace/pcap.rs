//! The pcap format, as in the pcap-savefile(5) page of libpcap, with its older and modified variants.
//!
//! The header, and the records of what nearly all files are, are read by `pcap-file`: by its raw packets, since what it
//! calls packets must be no longer than the snaplen, which ordinary captures break. It knows no records with other
//! headers or with swapped lengths; these are read here.

use super::Frame;
use super::record::{Order, Stop};
use byteorder_slice::{BigEndian, ByteOrder, LittleEndian};
use pcap_file::Endianness;
use pcap_file::pcap::{PcapHeader, PcapTsResolution, RawPcapPacket};

/// A pcap file, its header read.
#[derive(Debug)]
pub(super) struct Pcap {
    order: Order,
    resolution: PcapTsResolution,
    record_header: usize,
    lengths: Lengths,
    pub(super) snaplen: u32,
    link_type: u16,
}

/// Which length of a record comes first: before version 2.4 it was the one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    /// Version 2.3: both are found. The captured one is the smaller.
    Either,
}

impl Lengths {
    /// Bytes captured and bytes on the wire, of the two lengths of a record.
    #[inline(always)]
    fn order(self, first: u32, second: u32) -> (u32, u32) {
        match self {
            Lengths::CapturedFirst => (first, second),
            Lengths::WireFirst => (second, first),
            Lengths::Either => (first.min(second), first.max(second)),
        }
    }
}

/// The magic number of Alexey Kuznetzov's patches to old Linux libpcaps: 8 bytes more a record. The rest of the file is
/// as with [`MICROSECONDS`].
const MODIFIED: u32 = 0xa1b2_cd34;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const MAGIC: [u32; 3] = [MICROSECONDS, NANOSECONDS, MODIFIED];

/// Bytes before a record's frame, in other files than modified ones.
const RECORD_HEADER: usize = 16;

/// Headers in a row that make a guess.
const GUESS_RECORDS: usize = 8;
/// Most captured bytes of a record that a guess takes: what tcpdump captures at most.
const MAX_GUESSED: usize = 262_144;
/// Records in a row of a guess are less than this apart.
const DAY_S: u32 = 86_400;

impl Pcap {
    pub(super) const HEADER_LEN: usize = 24;

    pub(super) fn recognise(bytes: &[u8]) -> bool {
        let first = bytes.first_chunk::<4>().copied().map(u32::from_be_bytes);
        first.is_some_and(|magic| [magic, magic.swap_bytes()].iter().any(|magic| MAGIC.contains(magic)))
    }

    pub(super) fn begin(bytes: &[u8]) -> Result<Self, String> {
        let short = || format!("it needs {} bytes where {} are left", Pcap::HEADER_LEN, bytes.len());
        let mut head = *bytes.first_chunk::<{ Pcap::HEADER_LEN }>().ok_or_else(short)?;
        let magic = [head[0], head[1], head[2], head[3]];
        let is_modified = [MODIFIED.to_be_bytes(), MODIFIED.to_le_bytes()].contains(&magic);
        if is_modified {
            let plain =
                if magic == MODIFIED.to_be_bytes() { MICROSECONDS.to_be_bytes() } else { MICROSECONDS.to_le_bytes() };
            head[..4].copy_from_slice(&plain);
        }
        let (_, header) = PcapHeader::from_slice(&head).map_err(|error| error.to_string())?;
        Ok(Pcap {
            order: match header.endianness {
                Endianness::Little => Order::Little,
                Endianness::Big => Order::Big,
            },
            resolution: header.ts_resolution,
            record_header: if is_modified { 24 } else { RECORD_HEADER },
            lengths: match (header.version_major, header.version_minor) {
                // 543.0 is what DG/UX wrote.
                (2, 0..=2) | (543, 0) => Lengths::WireFirst,
                (2, 3) => Lengths::Either,
                _ => Lengths::CapturedFirst,
            },
            snaplen: header.snaplen,
            // The upper bits may hold the length of a frame check sequence.
            link_type: (u32::from(header.datalink) & 0xffff) as u16,
        })
    }

    pub(super) fn name(&self) -> String {
        let unit = match self.resolution {
            PcapTsResolution::MicroSecond => "microseconds",
            PcapTsResolution::NanoSecond => "nanoseconds",
        };
        let modified = if self.record_header == RECORD_HEADER { "" } else { "modified, " };
        format!("pcap ({modified}{unit}, {})", self.order.name())
    }

    #[inline]
    pub(super) fn walk(&self, bytes: &[u8], found: impl FnMut(Frame)) -> (usize, Stop) {
        match (self.order, self.record_header, self.lengths) {
            (Order::Little, RECORD_HEADER, Lengths::CapturedFirst) => self.walk_plain::<LittleEndian>(bytes, found),
            (Order::Big, RECORD_HEADER, Lengths::CapturedFirst) => self.walk_plain::<BigEndian>(bytes, found),
            _ => self.walk_variant(bytes, found),
        }
    }

    /// Records as `pcap-file` finds them.
    #[inline(always)]
    fn walk_plain<B: ByteOrder>(&self, bytes: &[u8], mut found: impl FnMut(Frame)) -> (usize, Stop) {
        let unit_ns = self.unit_ns();
        let mut rest = bytes;
        // Its error is always that bytes are missing.
        while let Ok((after, record)) = RawPcapPacket::from_slice::<B>(rest) {
            found(Frame {
                offset: (bytes.len() - rest.len() + RECORD_HEADER) as u64,
                time_ns: u64::from(record.ts_sec) * 1_000_000_000 + u64::from(record.ts_frac) * unit_ns,
                captured: record.incl_len,
                wire: record.orig_len,
                link_type: self.link_type,
                part: 0,
            });
            rest = after;
        }
        (bytes.len() - rest.len(), self.stop(rest))
    }

    /// Records of the kinds that `pcap-file` does not know.
    fn walk_variant(&self, bytes: &[u8], mut found: impl FnMut(Frame)) -> (usize, Stop) {
        let unit_ns = self.unit_ns();
        let mut at = 0;
        while let Some((captured, wire)) = self.lengths_of(&bytes[at..])
            && captured as usize <= bytes.len() - at - self.record_header
        {
            found(Frame {
                offset: (at + self.record_header) as u64,
                time_ns: u64::from(self.order.u32(bytes, at)) * 1_000_000_000
                    + u64::from(self.order.u32(bytes, at + 4)) * unit_ns,
                captured,
                wire,
                link_type: self.link_type,
                part: 0,
            });
            at += self.record_header + captured as usize;
        }
        (at, self.stop(&bytes[at..]))
    }

    /// Why there is no whole record at the beginning of `rest`.
    fn stop(&self, rest: &[u8]) -> Stop {
        let header = self.record_header as u64;
        match self.lengths_of(rest) {
            None if rest.is_empty() => Stop::End,
            None => Stop::More { needed: header },
            Some((captured, _)) => Stop::More { needed: header + u64::from(captured) },
        }
    }

    /// Bytes captured and bytes on the wire of the record at the beginning of `rest`, if its header is there.
    fn lengths_of(&self, rest: &[u8]) -> Option<(u32, u32)> {
        let header = rest.get(..self.record_header)?;
        Some(self.lengths.order(self.order.u32(header, 8), self.order.u32(header, 12)))
    }

    fn unit_ns(&self) -> u64 {
        match self.resolution {
            PcapTsResolution::MicroSecond => 1000,
            PcapTsResolution::NanoSecond => 1,
        }
    }

    /// Where a record may begin, before `end`: where several headers in a row make sense. To be checked.
    pub(super) fn guess(&self, bytes: &[u8], end: usize) -> Option<usize> {
        (0..end.min(MAX_GUESSED + self.record_header)).find(|at| self.is_likely(bytes, *at))
    }

    fn is_likely(&self, bytes: &[u8], mut at: usize) -> bool {
        let most_frac = 1_000_000_000 / self.unit_ns();
        let mut previous_s = None;
        for number in 0..GUESS_RECORDS {
            // The rest says no more. One header alone may be anything.
            let Some((captured, wire)) = bytes.get(at..).and_then(|rest| self.lengths_of(rest)) else {
                return number > 1;
            };
            let (seconds, frac) = (self.order.u32(bytes, at), self.order.u32(bytes, at + 4));
            let near = previous_s.is_none_or(|previous| seconds.abs_diff(previous) < DAY_S);
            let fits = (1..=MAX_GUESSED as u32).contains(&captured) && captured <= wire;
            if !fits || u64::from(frac) >= most_frac || !near {
                return false;
            }
            previous_s = Some(seconds);
            at += self.record_header + captured as usize;
        }
        true
    }
}
