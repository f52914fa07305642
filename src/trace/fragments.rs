//! Virtual reassembly: which pieces make a datagram, and the datagram's record.
//!
//! Linux with connection tracking reassembles before it tracks, so every piece shares the verdict of
//! the whole datagram, which is known when its last piece comes. A datagram whose pieces overlap is
//! given up (RFC 5722 for IPv6; Linux does the same for IPv4), an exact copy of a piece is not.

use crate::packet::{Inside, Packet, Piece, decode_datagram};
use ipnet::IpNet;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// A datagram that came in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Position, in [`super::Trace::packets`], of the piece that completed it.
    pub completing: u32,
    /// Positions of the other pieces.
    pub pieces: Vec<u32>,
    /// The whole datagram, at the time of its completion.
    pub packet: Packet,
}

/// Pieces wait so long for the rest: Linux's `ipfrag_time` and `ip6frag_time`, in ns.
const WAIT_V4_NS: u64 = 30_000_000_000;
const WAIT_V6_NS: u64 = 60_000_000_000;

/// At most so many datagrams wait; the oldest is given up for a new one.
const MAX_WAITING: usize = 4096;

/// At most so many pieces a datagram, copies included: 64 KiB in pieces of 8 bytes.
const MAX_PIECES: usize = 8192;

/// At most so many bytes wait; the oldest datagrams are given up for a new piece. Linux has less: `ipfrag_high_thresh`,
/// 4 MiB.
const MAX_BYTES: usize = 64 << 20;

/// What a piece takes beside its captured bytes, at most.
const PIECE_BYTES: usize = 64;

type Key = (IpAddr, IpAddr, u8, u32);

#[derive(Default)]
struct Waiting {
    /// Offset, length and captured bytes of each piece, by offset.
    pieces: Vec<(usize, usize, Vec<u8>)>,
    /// Where each piece stands in the trace, copies included.
    numbers: Vec<u64>,
    /// What it holds.
    bytes: usize,
    /// Length of the whole, once the last piece is here.
    total: Option<usize>,
    protocol: u8,
    /// The first piece's headers, in bytes: the datagram's.
    headers: usize,
    began_ns: u64,
    /// Pieces overlapped: never completed.
    spoilt: bool,
}

/// A completed datagram: as [`Datagram`], but its pieces may be numbered in any way.
pub(super) struct Whole {
    pub(super) pieces: Vec<u64>,
    pub(super) packet: Packet,
}

/// Datagrams that wait for their pieces.
#[derive(Default)]
pub(super) struct Reassembly {
    waiting: HashMap<Key, Waiting>,
    oldest_first: VecDeque<Key>,
    /// What all of them hold.
    bytes: usize,
    /// Pieces that will never be part of a datagram, by number.
    lost: Vec<u64>,
}

impl Reassembly {
    /// Adds a piece with this number. The datagram, if this completes it.
    pub(super) fn add(&mut self, piece: Piece, number: u64, packet: &Packet) -> Option<Whole> {
        let key = piece.datagram;
        let wait = if packet.is_ipv6() { WAIT_V6_NS } else { WAIT_V4_NS };
        if self.waiting.get(&key).is_some_and(|w| packet.time_ns >= w.began_ns.saturating_add(wait)) {
            self.give_up(&key);
        }
        let room = PIECE_BYTES + piece.bytes.len();
        while let Some(oldest) = self.oldest_first.front().copied()
            && oldest != key
            && (self.bytes + room > MAX_BYTES
                || (self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(&key)))
        {
            self.give_up(&oldest);
        }
        if !self.waiting.contains_key(&key) {
            self.oldest_first.push_back(key);
            self.waiting.insert(key, Waiting { began_ns: packet.time_ns, ..Waiting::default() });
        }
        let waiting = self.waiting.get_mut(&key)?;
        let before = waiting.bytes;
        waiting.add(piece, number);
        self.bytes = self.bytes + waiting.bytes - before;
        if waiting.spoilt {
            self.lost.append(&mut waiting.numbers);
        }
        if !waiting.is_complete() {
            return None;
        }
        let waiting = self.forget(&key)?;
        let packet = waiting.datagram(&key, packet);
        let mut numbers = waiting.numbers;
        match packet {
            Some(packet) => {
                numbers.retain(|other| *other != number);
                Some(Whole { pieces: numbers, packet })
            }
            None => {
                self.lost.append(&mut numbers);
                None
            }
        }
    }

    /// This packet has the mark of a fragment, but cannot be read as one.
    pub(super) fn lose(&mut self, number: u64) {
        self.lost.push(number);
    }

    /// Pieces that were found since the last call to be part of no datagram, in any order.
    pub(super) fn take_lost(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.lost)
    }

    /// No more pieces come.
    pub(super) fn end(&mut self) {
        while let Some(key) = self.oldest_first.front().copied() {
            self.give_up(&key);
        }
    }

    fn give_up(&mut self, key: &Key) {
        if let Some(mut waiting) = self.forget(key) {
            self.lost.append(&mut waiting.numbers);
        }
    }

    fn forget(&mut self, key: &Key) -> Option<Waiting> {
        self.oldest_first.retain(|other| other != key);
        let waiting = self.waiting.remove(key)?;
        self.bytes -= waiting.bytes;
        Some(waiting)
    }
}

impl Waiting {
    fn add(&mut self, piece: Piece, number: u64) {
        self.numbers.push(number);
        if self.spoilt {
            return;
        }
        self.bytes += PIECE_BYTES;
        let (start, end) = (piece.fragment.offset, piece.fragment.offset + piece.len);
        let at = self.pieces.partition_point(|(offset, _, _)| *offset < start);
        if self.pieces.get(at).is_some_and(|(offset, len, _)| *offset == start && *len == piece.len) {
            // A copy. Linux drops any number of them; here each has a number to be kept.
            if self.numbers.len() > MAX_PIECES {
                self.spoil();
            }
            return;
        }
        let after_previous = at.checked_sub(1).is_none_or(|p| self.pieces[p].0 + self.pieces[p].1 <= start);
        let before_next = self.pieces.get(at).is_none_or(|(offset, _, _)| end <= *offset);
        let last = !piece.fragment.more;
        let total_fits = match self.total {
            Some(total) => end <= total && !last,
            None => !last || self.pieces.last().is_none_or(|(offset, len, _)| offset + len <= end),
        };
        // Every piece but the last is a multiple of 8 bytes long (RFC 791, RFC 8200).
        let aligned = last || piece.len.is_multiple_of(8);
        if !after_previous
            || !before_next
            || !total_fits
            || !aligned
            || end > usize::from(u16::MAX)
            || self.pieces.len() >= MAX_PIECES
        {
            return self.spoil();
        }
        if last {
            self.total = Some(end);
        }
        if start == 0 {
            self.protocol = piece.protocol;
            self.headers = piece.headers;
        }
        self.bytes += piece.bytes.len();
        self.pieces.insert(at, (start, piece.len, piece.bytes.to_vec()));
    }

    fn spoil(&mut self) {
        self.spoilt = true;
        self.pieces = Vec::new();
        self.bytes = 0;
    }

    fn is_complete(&self) -> bool {
        let contiguous = || {
            let mut next = 0;
            self.pieces.iter().all(|(offset, len, _)| {
                let fits = *offset == next;
                next = offset + len;
                fits
            })
        };
        let sum: usize = self.pieces.iter().map(|(_, len, _)| len).sum();
        let fits = self.headers + sum <= usize::from(u16::MAX);
        !self.spoilt && self.total == Some(sum) && fits && contiguous()
    }

    fn datagram(&self, key: &Key, packet: &Packet) -> Option<Packet> {
        // What a capture cut short lacks is zero, as in single packets.
        let mut payload = vec![0; self.total?];
        for (offset, _, bytes) in &self.pieces {
            payload[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        // The pieces were found to have one end inside; the datagram has the same.
        let inside = Inside::new(&[IpNet::from(packet.local_addr())]);
        let (source, destination) = (key.0, key.1);
        decode_datagram(source, destination, self.protocol, &payload, packet.time_ns, &inside).ok()
    }
}
