//! The flow key: who talks to whom, the same for both directions.

use super::{Packet, address, flags, protocol};
use std::net::IpAddr;

/// Local address, remote address, ports and protocol in five words: 40 bytes for IPv4 and IPv6 alike.
///
/// Hashed and compared by words: `derive(Hash)` would go byte by byte through the hasher.
#[derive(Clone, Copy, Debug, Default, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    /// Local address (2 words), remote address (2 words), ports, protocol and key flags (1 word).
    pub words: [u64; 5],
}

impl FlowKey {
    /// The key of a packet's flow.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        let half = |bytes: &[u8; 16], i: usize| {
            u64::from_le_bytes([
                bytes[i],
                bytes[i + 1],
                bytes[i + 2],
                bytes[i + 3],
                bytes[i + 4],
                bytes[i + 5],
                bytes[i + 6],
                bytes[i + 7],
            ])
        };
        let tail = u64::from(packet.local_port)
            | u64::from(packet.remote_port) << 16
            | u64::from(packet.protocol) << 32
            | u64::from(packet.flags & flags::KEY_MASK) << 40;
        FlowKey {
            words: [
                half(&packet.local, 0),
                half(&packet.local, 8),
                half(&packet.remote, 0),
                half(&packet.remote, 8),
                tail,
            ],
        }
    }
}

impl FlowKey {
    /// The key as it is where the end outside is taken for the protected one.
    pub fn flipped(&self) -> Self {
        let [local, local_rest, remote, remote_rest, tail] = self.words;
        let (ports, rest) = (tail as u32, tail >> 32);
        let is_icmp = matches!(self.protocol(), protocol::ICMP | protocol::ICMPV6);
        // An ICMP query has its identifier and its type instead of ports, and says which end asks.
        let is_query = is_icmp && ports != 0;
        let ports = if is_icmp { ports } else { ports.rotate_left(16) };
        let rest = if is_query { rest ^ u64::from(flags::LOCAL_ASKS) << 8 } else { rest };
        FlowKey { words: [remote, remote_rest, local, local_rest, rest << 32 | u64::from(ports)] }
    }

    /// IANA protocol number of the flow.
    pub fn protocol(&self) -> u8 {
        (self.words[4] >> 32) as u8
    }

    /// True for IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.words[4] >> 40 & u64::from(flags::IPV6) != 0
    }

    /// The protected end's address, and that of the end outside.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        let bytes = |low: u64, high: u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&low.to_le_bytes());
            bytes[8..].copy_from_slice(&high.to_le_bytes());
            address(bytes, self.is_ipv6())
        };
        (bytes(self.words[0], self.words[1]), bytes(self.words[2], self.words[3]))
    }
}

impl PartialEq for FlowKey {
    /// Word by word in line: the derived comparison calls `memcmp`, 9 % of a stateful pass.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl std::hash::Hash for FlowKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.words.iter().for_each(|word| state.write_u64(*word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Direction;

    #[test]
    fn a_flipped_key_is_the_key_of_the_other_end() {
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [198, 51, 100, 7].into());
        for (protocol, with) in [
            (protocol::TCP, (|packet| Packet::with_ports(packet, 443, 50_000)) as fn(Packet) -> Packet),
            (protocol::GRE, |packet| packet),
            // An echo request, an echo reply without identifier, a router advertisement.
            (protocol::ICMP, |packet| packet.with_icmp(8, 0, 77)),
            (protocol::ICMP, |packet| packet.with_icmp(0, 0, 0)),
            (protocol::ICMP, |packet| packet.with_icmp(9, 0, 5)),
        ] {
            let mine = with(Packet::new(a, b, Direction::Out, protocol, 0));
            let mut theirs = with(Packet::new(b, a, Direction::In, protocol, 0));
            if protocol == protocol::TCP {
                theirs = theirs.with_ports(50_000, 443);
            }
            assert_eq!(mine.flow_key().flipped(), theirs.flow_key(), "{mine:?}");
            assert_eq!(mine.flow_key().flipped().flipped(), mine.flow_key());
            assert_eq!((mine.flow_key().ends(), mine.flow_key().protocol()), ((a, b), protocol));
        }
    }
}
