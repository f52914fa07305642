//! IP packets, byte by byte. Checksums are left at zero: nobody here looks at them.

use ctbench::packet::{protocol, tcp_flags};
use std::net::IpAddr;

/// An IP packet, without options or extension headers.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = 20 + payload.len() as u16;
            let mut bytes = vec![0x45, 0];
            bytes.extend(total.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend([protocol, 64]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        other => panic!("two families: {other:?}"),
    };
    bytes.extend(payload);
    bytes
}

/// A TCP segment, as its header states it.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub len: usize,
    /// Padded with end-of-list to whole words.
    pub options: Vec<u8>,
    /// Data offset in words, if it is to be wrong.
    pub offset: Option<u8>,
}

impl Segment {
    /// Header and payload.
    pub fn bytes(&self, source: u16, destination: u16) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = self.offset.unwrap_or((5 + options.len() / 4) as u8);
        let mut bytes = Vec::new();
        bytes.extend(source.to_be_bytes());
        bytes.extend(destination.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([words << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.resize(bytes.len() + self.len, b'x');
        bytes
    }
}

/// Flag bits of a word of F, S, R, P, A, U, E and W (CWR); `-` for none.
pub fn flag_bits(word: &str) -> u8 {
    let bit = |letter| match letter {
        'F' => tcp_flags::FIN,
        'S' => tcp_flags::SYN,
        'R' => tcp_flags::RST,
        'P' => tcp_flags::PSH,
        'A' => tcp_flags::ACK,
        'U' => tcp_flags::URG,
        'E' => tcp_flags::ECE,
        'W' => tcp_flags::CWR,
        '-' => 0,
        other => panic!("no flag {other} in {word}"),
    };
    word.chars().map(bit).fold(0, |all, bit| all | bit)
}

/// A UDP datagram with `len` bytes of payload.
pub fn udp(source: u16, destination: u16, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend((8 + len as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.resize(bytes.len() + len, b'x');
    bytes
}

/// An ICMP or ICMPv6 message with an identifier.
pub fn icmp(kind: u8, code: u8, identifier: u16) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(identifier.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend([b'x'; 24]);
    bytes
}

/// An ICMP or ICMPv6 error that quotes the beginning of a packet.
pub fn icmp_error(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0, 0, 0, 0, 0];
    bytes.extend(&quoted[..quoted.len().min(64)]);
    bytes
}

/// The protocol number of ICMP in this family.
pub fn icmp_number(address: IpAddr) -> u8 {
    if address.is_ipv6() { protocol::ICMPV6 } else { protocol::ICMP }
}
