//! The pcap format, as in the pcap-savefile(5) page of libpcap, with its older and modified variants.

use super::Frame;
use super::record::{Order, Stop};

/// A pcap file, its header read.
#[derive(Debug)]
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

/// Magic numbers, as a file of its own byte order has them.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Alexey Kuznetzov's patches to old Linux libpcaps: 8 bytes more a record.
const MODIFIED: u32 = 0xa1b2_cd34;

/// Headers in a row that make a guess.
const GUESS_RECORDS: usize = 8;
/// Most captured bytes of a record that a guess takes: what tcpdump captures at most.
const MAX_GUESSED: usize = 262_144;
/// Records in a row of a guess are less than this apart.
const DAY_S: u32 = 86_400;

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
    pub(super) fn walk(&self, bytes: &[u8], found: impl FnMut(Frame)) -> (usize, Stop) {
        match self.order {
            Order::Little => self.walk_in(u32::from_le_bytes, bytes, found),
            Order::Big => self.walk_in(u32::from_be_bytes, bytes, found),
        }
    }

    /// In one byte order, so that the loop has no choice to make.
    #[inline(always)]
    fn walk_in(&self, number: impl Fn([u8; 4]) -> u32, bytes: &[u8], mut found: impl FnMut(Frame)) -> (usize, Stop) {
        let unit_ns = match self.resolution {
            Resolution::Microseconds => 1000,
            Resolution::Nanoseconds => 1,
        };
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let Some(header) = rest.first_chunk::<16>().filter(|_| rest.len() >= self.record_header) else {
                let stop = if rest.is_empty() { Stop::End } else { Stop::More { needed: self.record_header as u64 } };
                return (at, stop);
            };
            let word = |at: usize| number([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let (captured, wire) = self.lengths.order(word(8), word(12));
            let needed = self.record_header + captured as usize;
            if rest.len() < needed {
                return (at, Stop::More { needed: needed as u64 });
            }
            found(Frame {
                offset: (at + self.record_header) as u64,
                time_ns: u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)) * unit_ns,
                captured,
                wire,
                link_type: self.link_type,
                part: 0,
            });
            at += needed;
        }
    }

    /// Where a record may begin, at `start` or later but before `end`: where several headers in a row make sense. To be
    /// checked.
    pub(super) fn guess(&self, bytes: &[u8], start: usize, end: usize) -> Option<usize> {
        let end = end.min(start.saturating_add(MAX_GUESSED + self.record_header));
        (start..end).find(|at| self.is_likely(bytes, *at))
    }

    fn is_likely(&self, bytes: &[u8], mut at: usize) -> bool {
        let most_frac = if self.resolution == Resolution::Nanoseconds { 1_000_000_000 } else { 1_000_000 };
        let mut previous_s = None;
        for _ in 0..GUESS_RECORDS {
            // A file that ends like this says no more.
            let Some(header) = bytes.get(at..at + self.record_header) else { return at == bytes.len() };
            let (seconds, frac) = (self.order.u32(header, 0), self.order.u32(header, 4));
            let (captured, wire) = self.lengths.order(self.order.u32(header, 8), self.order.u32(header, 12));
            let near = previous_s.is_none_or(|previous| seconds.abs_diff(previous) < DAY_S);
            if !(1..=MAX_GUESSED as u32).contains(&captured) || captured > wire || frac >= most_frac || !near {
                return false;
            }
            previous_s = Some(seconds);
            at += self.record_header + captured as usize;
        }
        true
    }
}
