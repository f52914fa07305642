//! Transport headers: what of them is in the record, and what makes a packet INVALID.

use super::decode::{Ip, ip_header};
use super::{Direction, IcmpRole, Ignored, Malformed, Packet, SynOptions, TcpFields, flags, protocol, tcp_flags};

/// Adds the transport header's fields to a record of the packet's ends.
#[inline]
pub(super) fn fill(packet: Packet, ip: &Ip) -> Result<Packet, Ignored> {
    match ip.protocol {
        protocol::TCP => tcp(packet, ip),
        protocol::UDP => udp(packet, ip),
        protocol::ICMP if !packet.is_ipv6() => icmp(packet, ip),
        protocol::ICMPV6 if packet.is_ipv6() => icmp(packet, ip),
        _ => Ok(packet),
    }
}

/// The first `N` bytes of the payload; what a cut capture lacks is zero. `None` if even the first
/// `least` bytes, which the packet had, are lacking.
#[inline(always)]
fn head<const N: usize>(ip: &Ip, least: usize) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let count = ip.payload.len().min(N);
    bytes[..count].copy_from_slice(&ip.payload[..count]);
    (count >= least.min(ip.payload_len)).then_some(bytes)
}

/// The flow is unknown, because the capture ends before the header says it.
const CUT: Ignored = Ignored::Malformed(Malformed::Transport);

#[inline(always)]
fn ports(packet: Packet, bytes: &[u8]) -> Packet {
    let (source, destination) = (u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]]));
    match packet.direction() {
        Direction::In => packet.with_ports(destination, source),
        Direction::Out => packet.with_ports(source, destination),
    }
}

/// Combinations of flags that a segment can have, but for PSH, ECE and CWR, which may always be set.
#[inline(always)]
pub(super) fn legal_flags(bits: u8) -> bool {
    use tcp_flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};
    const SYN_URG: u8 = SYN | URG;
    const SYN_ACK: u8 = SYN | ACK;
    const RST_ACK: u8 = RST | ACK;
    const FIN_ACK: u8 = FIN | ACK;
    const FIN_ACK_URG: u8 = FIN | ACK | URG;
    const ACK_URG: u8 = ACK | URG;
    matches!(bits & !(PSH | ECE | CWR), SYN | SYN_URG | SYN_ACK | RST | RST_ACK | FIN_ACK | FIN_ACK_URG | ACK | ACK_URG)
}

/// Longest TCP header: a data offset of 15 words.
const TCP_MAX_HEADER: usize = 60;

#[inline]
fn tcp(packet: Packet, ip: &Ip) -> Result<Packet, Ignored> {
    let padded;
    let head = match ip.payload.len() >= TCP_MAX_HEADER.min(ip.payload_len) && ip.payload.len() >= 20 {
        true => ip.payload,
        false => {
            padded = head::<TCP_MAX_HEADER>(ip, 4).ok_or(CUT)?;
            &padded[..]
        }
    };
    let packet = ports(packet, head);
    let header_len = usize::from(head[12] >> 4) * 4;
    let bits = head[13];
    if header_len < 20 || header_len > ip.payload_len || !legal_flags(bits) {
        return Ok(packet.with_tcp(TcpFields { flags: bits, ..TcpFields::default() }).with_flags(flags::INVALID));
    }
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let ack = word(8);
    let options = &head[20..header_len];
    let sack_or_options = match bits & tcp_flags::SYN != 0 {
        true => syn_options(options).to_bits(),
        false => sack_edge(options, ack),
    };
    Ok(packet.with_tcp(TcpFields {
        flags: bits,
        seq: word(4),
        ack,
        sack_or_options,
        window: u16::from_be_bytes([head[14], head[15]]),
        payload_len: (ip.payload_len - header_len) as u16,
    }))
}

/// Calls `visit(kind, value)` for each option (RFC 9293, section 3.1); stops at the first that does not fit.
#[inline]
fn each_option(mut options: &[u8], mut visit: impl FnMut(u8, &[u8])) {
    loop {
        match options {
            [] | [0, ..] => return,
            [1, rest @ ..] => options = rest,
            [kind, len, ..] if usize::from(*len) >= 2 && usize::from(*len) <= options.len() => {
                let (option, rest) = options.split_at(usize::from(*len));
                visit(*kind, &option[2..]);
                options = rest;
            }
            _ => return,
        }
    }
}

pub(super) fn syn_options(options: &[u8]) -> SynOptions {
    let mut found = SynOptions { any: !options.is_empty(), ..SynOptions::default() };
    each_option(options, |kind, value| match (kind, value) {
        (3, [shift]) => found.window_scale = Some((*shift).min(14)),
        (4, []) => found.sack_permitted = true,
        _ => {}
    });
    found
}

#[inline]
pub(super) fn sack_edge(options: &[u8], ack: u32) -> u32 {
    let mut edge = ack;
    if !options.is_empty() {
        each_option(options, |kind, value| {
            if kind == 5 && !value.is_empty() && value.len().is_multiple_of(8) {
                for block in value.chunks_exact(8) {
                    let right = u32::from_be_bytes([block[4], block[5], block[6], block[7]]);
                    if (right.wrapping_sub(edge) as i32) > 0 {
                        edge = right;
                    }
                }
            }
        });
    }
    edge
}

#[inline]
fn udp(packet: Packet, ip: &Ip) -> Result<Packet, Ignored> {
    let head = head::<8>(ip, 4).ok_or(CUT)?;
    let packet = ports(packet, &head);
    let stated = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let fits = (8..=ip.payload_len).contains(&stated);
    Ok(if fits { packet } else { packet.with_flags(flags::INVALID) })
}

#[inline]
fn icmp(packet: Packet, ip: &Ip) -> Result<Packet, Ignored> {
    let head = head::<8>(ip, 2).ok_or(CUT)?;
    let [kind, code, _, _, id_high, id_low, ..] = head;
    if ip.payload_len < 8 {
        return Ok(packet.with_icmp(kind, code, 0).with_flags(flags::INVALID));
    }
    let packet = packet.with_icmp(kind, code, u16::from_be_bytes([id_high, id_low]));
    if packet.icmp_role() != IcmpRole::Error {
        return Ok(packet);
    }
    let quoted = quoted_flow(&packet, ip);
    let valid = quoted.is_some();
    let error = Packet::icmp_error(
        quoted.unwrap_or(packet),
        packet.direction(),
        packet.remote_addr(),
        kind,
        code,
        packet.time_ns,
    );
    Ok(if valid { error } else { error.with_flags(flags::INVALID) })
}

/// The flow of the packet that an ICMP error quotes (RFC 792, RFC 4443). The error goes to the host
/// that sent that packet, so its own direction says which end of the flow sent it.
fn quoted_flow(error: &Packet, ip: &Ip) -> Option<Packet> {
    let quote = ip.payload.get(8..)?;
    let inner = ip_header(quote, quote.len()).ok()?;
    if inner.source != ip.destination || inner.destination.is_ipv6() != error.is_ipv6() {
        return None;
    }
    if inner.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return None;
    }
    let sent = match error.direction() {
        Direction::In => Packet::new(inner.source, inner.destination, Direction::Out, inner.protocol, 0),
        Direction::Out => Packet::new(inner.destination, inner.source, Direction::In, inner.protocol, 0),
    };
    match inner.protocol {
        protocol::TCP | protocol::UDP => inner.payload.get(..4).map(|head| ports(sent, head)),
        protocol::ICMP | protocol::ICMPV6 => match inner.payload.get(..8)? {
            [kind, code, _, _, high, low, ..] => {
                let sent = sent.with_icmp(*kind, *code, u16::from_be_bytes([*high, *low]));
                matches!(sent.icmp_role(), IcmpRole::Request | IcmpRole::Answer).then_some(sent)
            }
            _ => None,
        },
        _ => Some(sent),
    }
}
