//! Records of a capture file, one after the other: pcap and pcapng behind one face.
//!
//! Both are read by the crate `pcap-file` as far as it goes; [`pcap`](super::pcap) and [`pcapng`](super::pcapng) say what
//! it leaves to them, and why. Nothing is copied: a frame is a place in the bytes.

use super::Frame;
use super::pcap::Pcap;
use super::pcapng::PcapNg;

/// Finds the records of one capture file, which may come in pieces.
#[derive(Debug)]
pub(super) enum Records {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// Why no further record was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// All bytes are used.
    End,
    /// A record needs more bytes than there are.
    More {
        /// Bytes of the whole record, as far as is known.
        needed: u64,
    },
    /// The place of the next record cannot be known.
    Damaged(String),
}

/// Why a file is no capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoRecords {
    /// The first bytes are of no format that is known.
    Unknown,
    /// The header is not valid.
    Header {
        /// pcap or pcapng.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Records {
    /// Reads the file's header. Gives the place of the first record, too.
    pub(super) fn begin(bytes: &[u8]) -> Result<(Self, usize), NoRecords> {
        match bytes {
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => match PcapNg::begin(bytes) {
                Ok(format) => Ok((Records::PcapNg(format), 0)),
                Err(reason) => Err(NoRecords::Header { format: "pcapng", reason }),
            },
            _ if Pcap::recognise(bytes) => match Pcap::begin(bytes) {
                Ok(format) => Ok((Records::Pcap(format), Pcap::HEADER_LEN)),
                Err(reason) => Err(NoRecords::Header { format: "pcap", reason }),
            },
            _ => Err(NoRecords::Unknown),
        }
    }

    /// Calls `found` for every whole record, with its frame's place in `bytes`. Gives how many bytes
    /// were used up, and why not more.
    #[inline]
    pub(super) fn walk(&mut self, bytes: &[u8], found: impl FnMut(Frame)) -> (usize, Stop) {
        match self {
            Records::Pcap(format) => format.walk(bytes, found),
            Records::PcapNg(format) => format.walk(bytes, found),
        }
    }

    /// The format, for people.
    pub(super) fn name(&self) -> String {
        match self {
            Records::Pcap(format) => format.name(),
            Records::PcapNg(format) => format.name(),
        }
    }

    /// Largest capture length that the file declares; 0 for none.
    pub(super) fn snaplen(&self) -> u32 {
        match self {
            Records::Pcap(format) => format.snaplen,
            Records::PcapNg(format) => format.snaplen,
        }
    }

    /// Blocks that could not be read and were skipped.
    pub(super) fn bad_blocks(&self) -> u64 {
        match self {
            Records::Pcap(_) => 0,
            Records::PcapNg(format) => format.bad_blocks,
        }
    }
}

/// Byte order of a file, or a section of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn name(self) -> &'static str {
        match self {
            Order::Little => "little endian",
            Order::Big => "big endian",
        }
    }

    /// The number at a place that was checked to be there.
    #[inline(always)]
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }

    #[inline(always)]
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let bytes = [bytes[at], bytes[at + 1]];
        match self {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        }
    }
}
