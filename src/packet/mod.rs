//! Raw bytes to a [`Packet`]: the 64-byte record that everything after decoding works on.
//!
//! A record is written from the protected side's point of view: *local* is the end inside, *remote*
//! the end outside. Both directions of a conversation therefore have the same `(local, remote)`
//! endpoints, which makes the pair the canonical flow key with no ordering step, and the direction
//! is one bit. Rules, too, only ever look at the remote address.

mod decap;
mod decode;
mod flow_key;
mod ignored;
mod inside;
mod link;
mod piece;
mod plain;
mod transport;

pub use decap::{Decap, View, innermost};
pub use decode::{Envelope, Fragment, decode, decode_into, decode_ip, ends, envelope};
pub use flow_key::FlowKey;
pub use ignored::{Exempt, Ignored, Malformed};
pub use inside::Inside;
pub use link::ip_packet;
pub use piece::{Piece, decode_datagram, piece};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IANA protocol numbers that the tool treats by name.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// TCP flag bits as in the header's 14th byte (RFC 9293, section 3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// Which way a packet crosses the boundary of the protected addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From outside to a protected address.
    In,
    /// From a protected address to the outside.
    Out,
}

impl Direction {
    /// 0 for `In`, 1 for `Out`: an index into per-direction arrays.
    #[inline(always)]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// The bits of [`Packet::flags`].
pub mod flags {
    /// IPv6 (else IPv4).
    pub const IPV6: u8 = 1 << 0;
    /// Leaves the protected addresses (else enters them).
    pub const OUT: u8 = 1 << 1;
    /// An ICMP or ICMPv6 error: the key fields hold the flow that it quotes, as in [`super::Packet::icmp_error`].
    pub const ICMP_ERROR: u8 = 1 << 2;
    /// ICMP request or answer whose *requester* is the local end: part of the flow key, so that
    /// two ends that ping each other with one identifier are two flows, as in nf_conntrack.
    pub const LOCAL_ASKS: u8 = 1 << 3;
    /// Cannot belong to any connection, whatever the table holds: illegal TCP flags, a TCP data
    /// offset below 5 or past the end, an ICMP error whose quote is too short or was not sent by
    /// the host it is addressed to.
    pub const INVALID: u8 = 1 << 4;
    /// A fragment other than the first: its ports are unknown (and zero).
    pub const NO_PORTS: u8 = 1 << 5;
    /// Never tracked by Linux: ICMPv6 neighbour discovery and multicast listener messages
    /// (types 130 to 136, 143, 151, 152).
    pub const NEVER_TRACKED: u8 = 1 << 6;

    /// A piece of a fragmented datagram, the first included.
    pub const FRAGMENT: u8 = 1 << 7;

    /// The bits that are part of the flow key.
    pub const KEY_MASK: u8 = IPV6 | LOCAL_ASKS;
}

/// One decoded packet: one cache line, fixed size, no pointers.
///
/// IPv4 addresses stand in the first four bytes of `local` and `remote`, the rest is zero.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Packet {
    /// Address of the protected end. For an ICMP error: of the flow it quotes.
    pub local: [u8; 16],
    /// Address of the end outside. For an ICMP error: of the flow it quotes.
    pub remote: [u8; 16],
    /// TCP or UDP port of the protected end; ICMP request or answer: the identifier; else 0.
    pub local_port: u16,
    /// TCP or UDP port of the end outside; ICMP request or answer: `request type << 8 | code`; else 0.
    pub remote_port: u16,
    /// IANA protocol number of the flow. For an ICMP error: of the flow it quotes.
    pub protocol: u8,
    /// Bits of [`flags`].
    pub flags: u8,
    /// ICMP and ICMPv6: the code of this packet; else 0.
    pub icmp_code: u8,
    /// TCP: the [`tcp_flags`]; ICMP and ICMPv6: the type of this packet; else 0.
    pub tcp_flags_or_icmp_type: u8,
    /// Packet time in ns since 1970, as the conntrack clock sees it: the running maximum of the
    /// timestamps of evaluated packets, so that it never goes back.
    pub time_ns: u64,
    /// TCP: sequence, acknowledgement, SACK edge or SYN options, `window << 16 | payload length`.
    /// ICMP errors: the address of the end outside in the *outer* header (big-endian words). Else 0.
    tail: [u32; 4],
}

const _: () = assert!(size_of::<Packet>() == 64);

/// What a TCP header adds to the flow key; see [`Packet::with_tcp`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFields {
    /// Flag bits as in [`tcp_flags`].
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, as in the header, even without the ACK flag.
    pub ack: u32,
    /// Without SYN: the later (mod 2^32) of `ack` and the right edges of all SACK blocks (RFC 2018).
    /// With SYN: what [`SynOptions::to_bits`] gives.
    pub sack_or_options: u32,
    /// The window field, unscaled.
    pub window: u16,
    /// Bytes of payload by the IP header's total length (so a snaplen-cut packet counts in full).
    pub payload_len: u16,
}

/// The options of a SYN that decide how windows are read later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynOptions {
    /// Window scale shift, at most 14 (RFC 7323, section 2.3), if offered.
    pub window_scale: Option<u8>,
    /// SACK-permitted was offered (RFC 2018, section 2).
    pub sack_permitted: bool,
    /// The header is longer than 20 bytes: there are options, whichever.
    pub any: bool,
}

impl SynOptions {
    /// Packs the options into the record's word.
    pub fn to_bits(self) -> u32 {
        let scale = self.window_scale.map_or(0, |shift| 0x100 | u32::from(shift.min(14)));
        scale | u32::from(self.sack_permitted) << 9 | u32::from(self.any) << 10
    }

    /// The inverse of [`SynOptions::to_bits`].
    pub fn from_bits(bits: u32) -> Self {
        SynOptions {
            window_scale: (bits & 0x100 != 0).then_some(bits as u8),
            sack_permitted: bits & 0x200 != 0,
            any: bits & 0x400 != 0,
        }
    }
}

/// What an ICMP message is to a connection tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpRole {
    /// Opens a flow: echo, timestamp, information and address mask request; ICMPv6 echo and node information.
    Request,
    /// Answers a request.
    Answer,
    /// Quotes another packet.
    Error,
    /// Anything else.
    Other,
}

impl Packet {
    /// All zero: room for a record.
    pub const ZERO: Packet = Packet {
        local: [0; 16],
        remote: [0; 16],
        local_port: 0,
        remote_port: 0,
        protocol: 0,
        flags: 0,
        icmp_code: 0,
        tcp_flags_or_icmp_type: 0,
        time_ns: 0,
        tail: [0; 4],
    };

    /// A packet with no transport fields: `direction` says which end sent it.
    ///
    /// # Panics
    /// If one address is IPv4 and the other IPv6.
    pub fn new(local: IpAddr, remote: IpAddr, direction: Direction, protocol: u8, time_ns: u64) -> Self {
        assert_eq!(local.is_ipv6(), remote.is_ipv6(), "both ends are of one address family");
        let mut flags = if local.is_ipv6() { flags::IPV6 } else { 0 };
        if direction == Direction::Out {
            flags |= flags::OUT;
        }
        Packet {
            local: address_bytes(local),
            remote: address_bytes(remote),
            local_port: 0,
            remote_port: 0,
            protocol,
            flags,
            icmp_code: 0,
            tcp_flags_or_icmp_type: 0,
            time_ns,
            tail: [0; 4],
        }
    }

    /// Sets the ports, by end (not by source and destination).
    pub fn with_ports(mut self, local_port: u16, remote_port: u16) -> Self {
        self.local_port = local_port;
        self.remote_port = remote_port;
        self
    }

    /// Sets what the TCP header says beside the ports.
    pub fn with_tcp(mut self, tcp: TcpFields) -> Self {
        self.tcp_flags_or_icmp_type = tcp.flags;
        let window_and_len = u32::from(tcp.window) << 16 | u32::from(tcp.payload_len);
        self.tail = [tcp.seq, tcp.ack, tcp.sack_or_options, window_and_len];
        self
    }

    /// Sets an ICMP or ICMPv6 message that is not an error. Requests and answers get the flow key
    /// that they share: identifier, request type and code, and which end asks.
    pub fn with_icmp(mut self, icmp_type: u8, icmp_code: u8, identifier: u16) -> Self {
        self.tcp_flags_or_icmp_type = icmp_type;
        self.icmp_code = icmp_code;
        self.tail = [0; 4];
        let request_type = match self.icmp_role() {
            IcmpRole::Request => icmp_type,
            IcmpRole::Answer => icmp_request_type(icmp_type, self.is_ipv6()),
            IcmpRole::Error | IcmpRole::Other => {
                if self.is_ipv6() && matches!(icmp_type, 130..=136 | 143 | 151 | 152) {
                    self.flags |= flags::NEVER_TRACKED;
                }
                return self;
            }
        };
        let sender_asks = request_type == icmp_type;
        if sender_asks == (self.direction() == Direction::Out) {
            self.flags |= flags::LOCAL_ASKS;
        }
        self.local_port = identifier;
        self.remote_port = u16::from(request_type) << 8 | u16::from(icmp_code);
        self
    }

    /// Makes an ICMP or ICMPv6 error out of the flow it quotes.
    ///
    /// `quoted` is a record of the *quoted* packet's flow (its ends, ports or ICMP query fields);
    /// `direction` is that of the error itself and `outer_remote` the address of the end outside in
    /// the error's own header: a router in between, perhaps.
    pub fn icmp_error(
        quoted: Packet,
        direction: Direction,
        outer_remote: IpAddr,
        icmp_type: u8,
        icmp_code: u8,
        time_ns: u64,
    ) -> Self {
        let outer = address_bytes(outer_remote);
        let word = |i: usize| u32::from_be_bytes([outer[i], outer[i + 1], outer[i + 2], outer[i + 3]]);
        let mut error = quoted;
        error.flags &= flags::KEY_MASK;
        error.flags |= flags::ICMP_ERROR;
        if direction == Direction::Out {
            error.flags |= flags::OUT;
        }
        error.tcp_flags_or_icmp_type = icmp_type;
        error.icmp_code = icmp_code;
        error.time_ns = time_ns;
        error.tail = [word(0), word(4), word(8), word(12)];
        error
    }

    /// Sets bits of [`flags`].
    pub fn with_flags(mut self, bits: u8) -> Self {
        self.flags |= bits;
        self
    }

    /// True if all of these bits are set.
    #[inline(always)]
    pub fn has(&self, bits: u8) -> bool {
        self.flags & bits == bits
    }

    /// True for IPv6.
    #[inline(always)]
    pub fn is_ipv6(&self) -> bool {
        self.has(flags::IPV6)
    }

    /// Which way the packet goes.
    #[inline(always)]
    pub fn direction(&self) -> Direction {
        if self.has(flags::OUT) { Direction::Out } else { Direction::In }
    }

    /// The same packet from the point of view of the end outside: what leaves one enters the other.
    ///
    /// For rules only: an ICMP error's own header is taken to name the ends of the flow that it quotes.
    pub fn mirrored(&self) -> Packet {
        let mut packet = *self;
        (packet.local, packet.remote) = (self.remote, self.local);
        (packet.local_port, packet.remote_port) = (self.remote_port, self.local_port);
        packet.flags ^= flags::OUT;
        if self.has(flags::ICMP_ERROR) {
            let word =
                |i: usize| u32::from_be_bytes([self.local[i], self.local[i + 1], self.local[i + 2], self.local[i + 3]]);
            packet.tail = [word(0), word(4), word(8), word(12)];
        }
        packet
    }

    /// The protocol in this packet's own IP header: ICMP for an ICMP error, whatever it quotes.
    #[inline(always)]
    pub fn outer_protocol(&self) -> u8 {
        if self.has(flags::ICMP_ERROR) {
            if self.is_ipv6() { protocol::ICMPV6 } else { protocol::ICMP }
        } else {
            self.protocol
        }
    }

    /// The address that rules match: of the end outside, in this packet's own IP header.
    #[inline(always)]
    pub fn outer_remote(&self) -> [u8; 16] {
        if !self.has(flags::ICMP_ERROR) {
            return self.remote;
        }
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(self.tail) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// The same of an IPv4 packet, as a number.
    #[inline(always)]
    pub(crate) fn outer_remote_v4(&self) -> u32 {
        let [a, b, c, d, ..] = self.remote;
        if self.has(flags::ICMP_ERROR) { self.tail[0] } else { u32::from_be_bytes([a, b, c, d]) }
    }

    /// What a rule's port range is matched against: the destination port of TCP and UDP, or
    /// `type << 8 | code` of ICMP and ICMPv6. `None` where there is no such thing.
    #[inline(always)]
    pub fn match_port(&self) -> Option<u16> {
        match self.outer_protocol() {
            protocol::ICMP | protocol::ICMPV6 if !self.has(flags::NO_PORTS) => {
                Some(u16::from(self.tcp_flags_or_icmp_type) << 8 | u16::from(self.icmp_code))
            }
            protocol::TCP | protocol::UDP if !self.has(flags::NO_PORTS) => Some(match self.direction() {
                Direction::In => self.local_port,
                Direction::Out => self.remote_port,
            }),
            _ => None,
        }
    }

    /// The flow key: equal for both directions of a flow.
    #[inline(always)]
    pub fn flow_key(&self) -> FlowKey {
        FlowKey::of(self)
    }

    /// TCP flag bits; meaningless for other protocols.
    #[inline(always)]
    pub fn tcp_flags(&self) -> u8 {
        self.tcp_flags_or_icmp_type
    }

    /// TCP sequence number.
    #[inline(always)]
    pub fn seq(&self) -> u32 {
        self.tail[0]
    }

    /// TCP acknowledgement number.
    #[inline(always)]
    pub fn ack(&self) -> u32 {
        self.tail[1]
    }

    /// Without SYN: the later of the acknowledgement and all SACK right edges.
    #[inline(always)]
    pub fn sack_edge(&self) -> u32 {
        self.tail[2]
    }

    /// With SYN: its options.
    #[inline(always)]
    pub fn syn_options(&self) -> SynOptions {
        SynOptions::from_bits(self.tail[2])
    }

    /// TCP window field, unscaled.
    #[inline(always)]
    pub fn window(&self) -> u16 {
        (self.tail[3] >> 16) as u16
    }

    /// Bytes of TCP payload.
    #[inline(always)]
    pub fn payload_len(&self) -> u16 {
        self.tail[3] as u16
    }

    /// What this ICMP or ICMPv6 message is to a connection tracker. Only for those protocols.
    #[inline]
    pub fn icmp_role(&self) -> IcmpRole {
        if self.has(flags::ICMP_ERROR) {
            return IcmpRole::Error;
        }
        match (self.is_ipv6(), self.tcp_flags_or_icmp_type) {
            (false, 8 | 13 | 15 | 17) | (true, 128 | 139) => IcmpRole::Request,
            (false, 0 | 14 | 16 | 18) | (true, 129 | 140) => IcmpRole::Answer,
            (false, 3 | 4 | 5 | 11 | 12) | (true, 0..=127) => IcmpRole::Error,
            _ => IcmpRole::Other,
        }
    }

    /// The protected end's address.
    pub fn local_addr(&self) -> IpAddr {
        address(self.local, self.is_ipv6())
    }

    /// The address of the end outside.
    pub fn remote_addr(&self) -> IpAddr {
        address(self.remote, self.is_ipv6())
    }
}

/// The request type that an ICMP or ICMPv6 answer belongs to.
fn icmp_request_type(answer_type: u8, ipv6: bool) -> u8 {
    match (ipv6, answer_type) {
        (false, 0) => 8,
        (_, other) => other - 1,
    }
}

/// The 16 bytes of an address as the record holds it.
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The inverse of [`address_bytes`].
pub fn address(bytes: [u8; 16], ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::from(bytes).into() } else { Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into() }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.has(flags::OUT) { "->" } else { "<-" };
        write!(
            f,
            "Packet {{ {}#{} {arrow} {}#{} proto {} flags {:#04x} tcp/icmp {:#04x}/{} seq {} ack {} sack {} win {} len {} t {} }}",
            self.local_addr(),
            self.local_port,
            self.remote_addr(),
            self.remote_port,
            self.protocol,
            self.flags,
            self.tcp_flags_or_icmp_type,
            self.icmp_code,
            self.seq(),
            self.ack(),
            self.tail[2],
            self.window(),
            self.payload_len(),
            self.time_ns,
        )
    }
}
