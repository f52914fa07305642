//! The pcap format, as in the pcap-savefile(5) page of libpcap, with its older and modified variants.

use super::Frame;
use super::record::{Order, Stop};

/// A pcap file, its header read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pcap {
    order: Order,
    resolution: Resolution,
    record_header: usize,
    lengths: Lengths,
    pub(super) snaplen: u32,
    link_type: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    Microseconds,
    Nanoseconds,
}

/// Which length of a record comes first: before version 2.4 it was the one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    /// Version 2.3: both are found. The captured one is the smaller.
    Either,
}

/// Magic numbers, as a file of its own byte order has them.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Alexey Kuznetzov's patches to old Linux libpcaps: 8 bytes more a record.
const MODIFIED: u32 = 0xa1b2_cd34;

impl Pcap {
    pub(super) const HEADER_LEN: usize = 24;

    fn magic(bytes: &[u8]) -> Option<(Order, u32)> {
        let first = bytes.first_chunk::<4>()?;
        let known = |magic: &u32| matches!(*magic, MICROSECONDS | NANOSECONDS | MODIFIED);
        let little = Some(u32::from_le_bytes(*first)).filter(known).map(|magic| (Order::Little, magic));
        little.or_else(|| Some(u32::from_be_bytes(*first)).filter(known).map(|magic| (Order::Big, magic)))
    }

    pub(super) fn recognise(bytes: &[u8]) -> bool {
        Pcap::magic(bytes).is_some()
    }

    pub(super) fn begin(bytes: &[u8]) -> Result<Self, String> {
        let (Some((order, magic)), true) = (Pcap::magic(bytes), bytes.len() >= Pcap::HEADER_LEN) else {
            return Err(format!("it needs {} bytes where {} are left", Pcap::HEADER_LEN, bytes.len()));
        };
        let version = (order.u16(bytes, 4), order.u16(bytes, 6));
        Ok(Pcap {
            order,
            resolution: if magic == NANOSECONDS { Resolution::Nanoseconds } else { Resolution::Microseconds },
            record_header: if magic == MODIFIED { 24 } else { 16 },
            lengths: match version {
                // 543.0 is what DG/UX wrote.
                (2, 0..=2) | (543, 0) => Lengths::WireFirst,
                (2, 3) => Lengths::Either,
                _ => Lengths::CapturedFirst,
            },
            snaplen: order.u32(bytes, 16),
            // The upper bits may hold the length of a frame check sequence.
            link_type: (order.u32(bytes, 20) & 0xffff) as u16,
        })
    }

    pub(super) fn name(&self) -> String {
        let unit = match self.resolution {
            Resolution::Microseconds => "microseconds",
            Resolution::Nanoseconds => "nanoseconds",
        };
        let modified = if self.record_header == 24 { "modified, " } else { "" };
        format!("pcap ({modified}{unit}, {})", self.order.name())
    }

    #[inline]
    pub(super) fn walk(&self, bytes: &[u8], mut found: impl FnMut(Frame)) -> (usize, Stop) {
        let unit_ns = match self.resolution {
            Resolution::Microseconds => 1000,
            Resolution::Nanoseconds => 1,
        };
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if rest.len() < self.record_header {
                let stop = if rest.is_empty() { Stop::End } else { Stop::More { needed: self.record_header as u64 } };
                return (at, stop);
            }
            let (first, second) = (self.order.u32(rest, 8), self.order.u32(rest, 12));
            let (captured, wire) = match self.lengths {
                Lengths::CapturedFirst => (first, second),
                Lengths::WireFirst => (second, first),
                Lengths::Either => (first.min(second), first.max(second)),
            };
            let needed = self.record_header as u64 + u64::from(captured);
            if (rest.len() as u64) < needed {
                return (at, Stop::More { needed });
            }
            let seconds = u64::from(self.order.u32(rest, 0));
            found(Frame {
                offset: (at + self.record_header) as u64,
                time_ns: seconds * 1_000_000_000 + u64::from(self.order.u32(rest, 4)) * unit_ns,
                captured,
                wire,
                link_type: self.link_type,
                part: 0,
            });
            at += needed as usize;
        }
    }
}
