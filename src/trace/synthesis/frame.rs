//! Frames as a pcap file holds them: headers, checksums, records.

use crate::packet::{protocol, tcp_flags};
use std::io::{self, Write};

/// Who sends a packet to whom. IPv4 addresses stand in the first four bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Ends {
    pub from: [u8; 16],
    pub to: [u8; 16],
    pub from_port: u16,
    pub to_port: u16,
    pub v6: bool,
    /// From the protected side: the two sides have their own hardware addresses.
    pub out: bool,
}

/// What a TCP header adds.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Largest segment that is offered in a SYN's options.
    pub mss: u16,
}

/// Record header and Ethernet header.
const IP_AT: usize = 16 + 14;
/// Smallest frame, without the check sequence (IEEE 802.3).
const MIN_FRAME: usize = 60;
/// Longest headers with the longest payload that is not zeros.
const DRAFT: usize = 192;
/// Written at once: large, so that a system call costs nothing a packet; in the second-level cache.
const BLOCK: usize = 256 << 10;
/// Window of a SYN, unscaled; of the rest, scaled by 2^7. Both what Linux begins with.
const SYN_WINDOW: u16 = 64_240;
const WINDOW: u16 = 502;
/// MSS, SACK permitted, window scale 7 (RFC 9293, 2018, 7323). The MSS is filled in.
const SYN_OPTIONS: [u8; 12] = [2, 4, 0, 0, 1, 1, 4, 2, 1, 3, 3, 7];

/// The writer.
pub(super) struct Pcap<W: Write> {
    out: W,
    block: Vec<u8>,
    snaplen: usize,
    /// Where the latest record begins in the block.
    latest: usize,
    pub(super) packets: u64,
    written: u64,
}

impl<W: Write> Pcap<W> {
    /// Begins a file with nanosecond timestamps, Ethernet.
    pub(super) fn new(out: W, snaplen: u32) -> Self {
        let snaplen = if snaplen == 0 { 262_144 } else { snaplen };
        let mut block = Vec::with_capacity(BLOCK + (16 << 10));
        block.extend([0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        block.extend(snaplen.to_le_bytes());
        block.extend(1u32.to_le_bytes());
        Pcap { out, block, snaplen: snaplen as usize, latest: 0, packets: 0, written: 0 }
    }

    /// Writes what is left; returns the bytes of the file.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.out.flush()?;
        Ok(self.written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.block)?;
        self.written += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    /// A TCP segment with so many bytes of payload, all zero.
    #[inline]
    pub(super) fn tcp(&mut self, time_ns: u64, ends: &Ends, segment: &Segment, payload: usize) -> io::Result<()> {
        let syn = segment.flags & tcp_flags::SYN != 0;
        let header = if syn { 32 } else { 20 };
        let mut draft = Draft::new(ends, protocol::TCP, header + payload);
        let tcp = draft.transport(header);
        tcp[0..2].copy_from_slice(&ends.from_port.to_be_bytes());
        tcp[2..4].copy_from_slice(&ends.to_port.to_be_bytes());
        tcp[4..8].copy_from_slice(&segment.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&segment.ack.to_be_bytes());
        tcp[12] = (header as u8 / 4) << 4;
        tcp[13] = segment.flags;
        let window = match segment.flags & (tcp_flags::SYN | tcp_flags::RST) {
            0 => WINDOW,
            tcp_flags::SYN => SYN_WINDOW,
            _ => 0,
        };
        tcp[14..16].copy_from_slice(&window.to_be_bytes());
        if syn {
            tcp[20..32].copy_from_slice(&SYN_OPTIONS);
            tcp[22..24].copy_from_slice(&segment.mss.to_be_bytes());
        }
        draft.checksum(protocol::TCP, header, 16, header + payload);
        self.record(time_ns, &mut draft, header, payload)
    }

    /// A UDP datagram that begins with these bytes; the rest of so many are zero.
    #[inline]
    pub(super) fn udp(&mut self, time_ns: u64, ends: &Ends, begins: &[u8], payload: usize) -> io::Result<()> {
        let payload = payload.max(begins.len());
        let header = 8 + begins.len();
        let mut draft = Draft::new(ends, protocol::UDP, 8 + payload);
        let udp = draft.transport(header);
        udp[0..2].copy_from_slice(&ends.from_port.to_be_bytes());
        udp[2..4].copy_from_slice(&ends.to_port.to_be_bytes());
        udp[4..6].copy_from_slice(&(8 + payload as u16).to_be_bytes());
        udp[8..].copy_from_slice(begins);
        draft.checksum(protocol::UDP, header, 6, 8 + payload);
        self.record(time_ns, &mut draft, header, payload - begins.len())
    }

    /// An echo request, or the reply; the identifier is the client's port.
    pub(super) fn echo(
        &mut self,
        time_ns: u64,
        ends: &Ends,
        reply: bool,
        number: u16,
        payload: usize,
    ) -> io::Result<()> {
        let protocol = if ends.v6 { protocol::ICMPV6 } else { protocol::ICMP };
        let mut draft = Draft::new(ends, protocol, 8 + payload);
        let icmp = draft.transport(8);
        icmp[0] = match (ends.v6, reply) {
            (false, false) => 8,
            (false, true) => 0,
            (true, false) => 128,
            (true, true) => 129,
        };
        icmp[4..6].copy_from_slice(&(if reply { ends.to_port } else { ends.from_port }).to_be_bytes());
        icmp[6..8].copy_from_slice(&number.to_be_bytes());
        draft.checksum(protocol, 8, 2, 8 + payload);
        self.record(time_ns, &mut draft, 8, payload)
    }

    /// Adds a record: a draft with so many bytes of transport header, then zeros.
    #[inline(always)]
    fn record(&mut self, time_ns: u64, draft: &mut Draft, header: usize, zeros: usize) -> io::Result<()> {
        let headers = draft.transport_at + header;
        let frame = (headers - 16 + zeros).max(MIN_FRAME);
        let captured = frame.min(self.snaplen);
        record_header(&mut draft.bytes, time_ns, captured as u32, frame as u32);
        self.latest = self.block.len();
        self.block.extend_from_slice(&draft.bytes[..headers.min(16 + captured)]);
        self.block.resize(self.latest + 16 + captured, 0);
        self.packets += 1;
        if self.block.len() >= BLOCK { self.flush_but_latest() } else { Ok(()) }
    }

    /// Keeps the latest record, which a damaged copy may be made of.
    #[cold]
    fn flush_but_latest(&mut self) -> io::Result<()> {
        let latest = self.block.split_off(self.latest);
        self.flush()?;
        self.block.extend_from_slice(&latest);
        self.latest = 0;
        Ok(())
    }

    /// Adds a copy of the latest frame with something wrong in it, chosen by a number.
    pub(super) fn damaged_copy(&mut self, what: u32) {
        let from = self.latest;
        self.latest = self.block.len();
        self.block.extend_from_within(from..self.latest);
        let record = &mut self.block[self.latest..];
        let v6 = record[IP_AT - 1] == 0xdd;
        let is_tcp = record[IP_AT + if v6 { 6 } else { 9 }] == protocol::TCP;
        let tcp = IP_AT + if v6 { 40 } else { 20 };
        match what % 5 {
            // A data offset below 5; SYN and FIN at once: not in any connection (RFC 9293).
            0 if is_tcp => record[tcp + 12] = 4 << 4,
            1 if is_tcp => record[tcp + 13] = tcp_flags::SYN | tcp_flags::FIN,
            // Neither IPv4 nor IPv6; a header shorter than the shortest.
            2 => record[IP_AT] = 0xf5,
            3 if !v6 => record[IP_AT] = 0x44,
            // Ends within the IP header.
            _ => {
                let length = 26u32.to_le_bytes();
                record[8..12].copy_from_slice(&length);
                record[12..16].copy_from_slice(&length);
                self.block.truncate(self.latest + 16 + 26);
            }
        }
        self.packets += 1;
    }
}

#[inline(always)]
fn record_header(bytes: &mut [u8; DRAFT], time_ns: u64, captured: u32, frame: u32) {
    bytes[0..4].copy_from_slice(&((time_ns / 1_000_000_000) as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&((time_ns % 1_000_000_000) as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&captured.to_le_bytes());
    bytes[12..16].copy_from_slice(&frame.to_le_bytes());
}

/// Record header, Ethernet, IP and transport header of one frame.
struct Draft {
    bytes: [u8; DRAFT],
    transport_at: usize,
    /// Sum of the addresses, for checksums.
    addresses: u64,
}

/// Locally administered: router, protected side.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

impl Draft {
    #[inline(always)]
    fn new(ends: &Ends, protocol: u8, transport_len: usize) -> Self {
        let mut bytes = [0; DRAFT];
        bytes[16..22].copy_from_slice(&MACS[usize::from(!ends.out)]);
        bytes[22..28].copy_from_slice(&MACS[usize::from(ends.out)]);
        let ip = &mut bytes[IP_AT..];
        if ends.v6 {
            let addresses = words(&ends.from) + words(&ends.to);
            ip[0] = 0x60;
            ip[4..6].copy_from_slice(&(transport_len as u16).to_be_bytes());
            ip[6] = protocol;
            ip[7] = 64;
            ip[8..24].copy_from_slice(&ends.from);
            ip[24..40].copy_from_slice(&ends.to);
            bytes[28..30].copy_from_slice(&[0x86, 0xdd]);
            return Draft { bytes, transport_at: IP_AT + 40, addresses };
        }
        // The upper twelve bytes are zero.
        let addresses = words(&ends.from[..4]) + words(&ends.to[..4]);
        let length = 20 + transport_len as u64;
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        // Don't fragment, and so an identification of 0 (RFC 6864).
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = protocol;
        let sum = 0x4500 + length + 0x4000 + (64 << 8 | u64::from(protocol)) + addresses;
        ip[10..12].copy_from_slice(&fold(sum).to_be_bytes());
        ip[12..16].copy_from_slice(&ends.from[..4]);
        ip[16..20].copy_from_slice(&ends.to[..4]);
        bytes[28..30].copy_from_slice(&[8, 0]);
        Draft { bytes, transport_at: IP_AT + 20, addresses }
    }

    #[inline(always)]
    fn transport(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.transport_at..self.transport_at + len]
    }

    /// Fills in the checksum (RFC 1071) of so many header bytes; payload after them is zero and adds nothing.
    #[inline(always)]
    fn checksum(&mut self, protocol: u8, header: usize, at: usize, length: usize) {
        let pseudo = if protocol == protocol::ICMP { 0 } else { self.addresses + u64::from(protocol) + length as u64 };
        let transport = self.transport(header);
        let sum = fold(pseudo + words(transport));
        // UDP: zero says that there is none (RFC 768).
        let sum = if sum == 0 && protocol == protocol::UDP { 0xffff } else { sum };
        transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The sum of big-endian words of 32 bits; 2^16 is 1 where carries come round, so the width does not matter.
#[inline(always)]
fn words(bytes: &[u8]) -> u64 {
    let (whole, rest) = bytes.as_chunks::<4>();
    let sum: u64 = whole.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

/// The ones' complement of a ones' complement sum.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}
