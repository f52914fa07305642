//! What the kernel calls a connection: its tuple.

use super::netlink::{NESTED, attribute};
use crate::packet::{Packet, flags, protocol};

/// The kernel's name of a connection, the same for packets of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tuple {
    ipv6: bool,
    /// ICMP: who asks. GRE with call identifiers: who sends. Else the protected end.
    source: [u8; 16],
    destination: [u8; 16],
    protocol: u8,
    /// ICMP: the identifier, then type and code of the request. Else the ports, or none.
    ports: (u16, u16),
}

/// Protocols beside TCP and UDP of which the kernel knows the ports: SCTP and UDP-Lite.
const OTHERS_WITH_PORTS: [u8; 2] = [132, 136];

impl Tuple {
    /// The tuple of a packet's connection; for an ICMP error, of the one that it quotes.
    pub(super) fn of(packet: &Packet, transport: &[u8]) -> Self {
        let mut tuple = Tuple {
            ipv6: packet.is_ipv6(),
            source: packet.local,
            destination: packet.remote,
            protocol: packet.protocol,
            ports: (packet.local_port, packet.remote_port),
        };
        let out = packet.has(flags::OUT);
        match (packet.protocol, transport) {
            (protocol::ICMP | protocol::ICMPV6, _) if !packet.has(flags::LOCAL_ASKS) => tuple.swap_ends(),
            _ if packet.has(flags::ICMP_ERROR) => {}
            // Version 1 (PPTP): each direction is a connection of its own, named by its call.
            (protocol::GRE, [_, version, _, _, _, _, a, b, ..]) if version & 7 == 1 => {
                if !out {
                    tuple.swap_ends();
                }
                tuple.ports = (0, u16::from_be_bytes([*a, *b]));
            }
            (number, [a, b, c, d, ..]) if OTHERS_WITH_PORTS.contains(&number) => {
                let (from, to) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                tuple.ports = if out { (from, to) } else { (to, from) };
            }
            _ => {}
        }
        tuple
    }

    fn swap_ends(&mut self) {
        std::mem::swap(&mut self.source, &mut self.destination);
    }

    /// `AF_INET` or `AF_INET6`.
    pub(super) fn family(&self) -> u8 {
        (if self.ipv6 { libc::AF_INET6 } else { libc::AF_INET }) as u8
    }

    /// As ctnetlink reads it: the value of `CTA_TUPLE_ORIG`, without the attribute's own header.
    pub(super) fn attribute(&self) -> Vec<u8> {
        // linux/netfilter/nfnetlink_conntrack.h: CTA_TUPLE_IP 1, CTA_TUPLE_PROTO 2; CTA_IP_V4_SRC 1,
        // _DST 2, CTA_IP_V6_SRC 3, _DST 4; CTA_PROTO_NUM 1, _SRC_PORT 2, _DST_PORT 3, _ICMP_ID 4,
        // _TYPE 5, _CODE 6, and for ICMPv6 7, 8, 9.
        let (first, len) = if self.ipv6 { (3, 16) } else { (1, 4) };
        let mut ip = Vec::new();
        attribute(&mut ip, first, &self.source[..len]);
        attribute(&mut ip, first + 1, &self.destination[..len]);
        let mut proto = Vec::new();
        attribute(&mut proto, 1, &[self.protocol]);
        let (first, second) = self.ports;
        let icmp = match self.protocol {
            protocol::ICMP => Some(4),
            protocol::ICMPV6 => Some(7),
            _ => None,
        };
        if let Some(kind) = icmp {
            let [type_, code] = second.to_be_bytes();
            attribute(&mut proto, kind, &first.to_be_bytes());
            attribute(&mut proto, kind + 1, &[type_]);
            attribute(&mut proto, kind + 2, &[code]);
        } else {
            attribute(&mut proto, 2, &first.to_be_bytes());
            attribute(&mut proto, 3, &second.to_be_bytes());
        }
        let mut tuple = Vec::new();
        attribute(&mut tuple, 1 | NESTED, &ip);
        attribute(&mut tuple, 2 | NESTED, &proto);
        tuple
    }
}
