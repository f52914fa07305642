//! The packet that the kernel is given: from the capture, whole and with a correct IPv4 header.

use crate::packet::{IcmpRole, Packet, protocol};

/// A packet to send, and what of it is made up.
pub(super) struct Injected {
    /// From the IP header to the last byte that the header speaks of. What the capture lacks is zero.
    pub(super) bytes: Vec<u8>,
    /// How much of it was captured.
    captured: usize,
    /// Where the transport header begins.
    transport: usize,
}

/// Hops left to every packet, so that none dies on its way.
const HOPS: u8 = 64;

/// IPv6 extension headers that a transport header can follow: hop-by-hop, routing, fragment,
/// authentication, destination options, mobility, HIP, Shim6.
const EXTENSIONS: [u8; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

impl Injected {
    /// Prepares a captured IP packet, of which so many bytes were on the wire. `None` if it is none.
    pub(super) fn new(captured: &[u8], on_the_wire: usize) -> Option<Self> {
        match captured.first()? >> 4 {
            4 => Injected::v4(captured, on_the_wire),
            6 => Injected::v6(captured, on_the_wire),
            _ => None,
        }
    }

    fn v4(captured: &[u8], on_the_wire: usize) -> Option<Self> {
        let header_len = usize::from(captured[0] & 15) * 4;
        // Length 0: captured before segmentation offload filled it in.
        let total = match usize::from(u16::from_be_bytes([*captured.get(2)?, *captured.get(3)?])) {
            0 => on_the_wire,
            total => total,
        };
        if header_len < 20 || captured.len() < header_len || total < header_len {
            return None;
        }
        let mut bytes = fitted(captured, total);
        bytes[2..4].copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
        bytes[8] = HOPS;
        bytes[10..12].copy_from_slice(&[0, 0]);
        let checksum = checksum(&bytes[..header_len]);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        Some(Injected { bytes, captured: captured.len().min(total), transport: header_len })
    }

    fn v6(captured: &[u8], on_the_wire: usize) -> Option<Self> {
        let stated = usize::from(u16::from_be_bytes([*captured.get(4)?, *captured.get(5)?]));
        if captured.len() < 40 {
            return None;
        }
        let total = if stated == 0 && on_the_wire > 40 { on_the_wire } else { 40 + stated };
        let mut bytes = fitted(captured, total);
        bytes[4..6].copy_from_slice(&u16::try_from(total - 40).ok()?.to_be_bytes());
        bytes[7] = HOPS;
        let (mut next, mut transport) = (bytes[6], 40);
        while EXTENSIONS.contains(&next)
            && let Some([after, len, ..]) = bytes.get(transport..)
        {
            transport += match next {
                44 => 8,
                51 => (usize::from(*len) + 2) * 4,
                _ => (usize::from(*len) + 1) * 8,
            };
            next = *after;
        }
        Some(Injected { bytes, captured: captured.len().min(total), transport })
    }

    /// The transport header, and what follows it.
    pub(super) fn transport(&self) -> &[u8] {
        self.bytes.get(self.transport..).unwrap_or(&[])
    }

    /// True if bytes that connection tracking reads were not captured: part of a TCP header, or of
    /// the headers that an ICMP error quotes. Any other byte may be zero for all it cares.
    pub(super) fn lacks_headers(&self, packet: &Packet) -> bool {
        let needed = match (packet.outer_protocol(), self.transport()) {
            (protocol::TCP, [_, _, _, _, _, _, _, _, _, _, _, _, offset, ..]) => usize::from(offset >> 4).max(5) * 4,
            (protocol::TCP, _) => 20,
            (protocol::ICMP | protocol::ICMPV6, message) if packet.icmp_role() == IcmpRole::Error => {
                8 + message.get(8..).map_or(0, quoted_headers)
            }
            _ => 8,
        };
        self.captured < self.bytes.len().min(self.transport + needed)
    }
}

/// Length of the IP header that an ICMP error quotes, with the eight bytes after it.
fn quoted_headers(quote: &[u8]) -> usize {
    match quote {
        [first, ..] if first >> 4 == 4 => usize::from(first & 15) * 4 + 8,
        [first, _, _, _, _, _, next, ..] if first >> 4 == 6 && !EXTENSIONS.contains(next) => 48,
        // Extension headers: more than this is not quoted of them.
        _ => 200,
    }
}

/// The captured bytes, cut or filled up with zeros to the packet's length.
fn fitted(captured: &[u8], total: usize) -> Vec<u8> {
    let mut bytes = captured[..captured.len().min(total)].to_vec();
    bytes.resize(total, 0);
    bytes
}

/// The internet checksum (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_gets_its_checksum() {
        // The example of RFC 1071 as used in many textbooks: 45 00 00 73 ... gives b8 61.
        let mut header = vec![0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&header), 0xb861);
        header.resize(30, 1);
        let made = Injected::new(&header, 0x73).unwrap();
        assert_eq!((made.bytes.len(), &made.bytes[10..12], made.captured), (0x73, &[0xb8, 0x61][..], 30));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(first in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()], mut bytes in prop::collection::vec(any::<u8>(), 0..150), wire in 0usize..70_000) {
            bytes.insert(0, first);
            if let Some(made) = Injected::new(&bytes, wire) {
                let _ = made.transport();
            }
        }
    }
}
