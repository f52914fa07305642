//! The packets that nearly all traffic is made of, decoded straight into the record.
//!
//! IPv4 without options and not fragmented, or IPv6 without extension headers; TCP or UDP whose whole header was
//! captured and is valid. Everything else is left to the general decoder, which has no shortcuts; tests hold the two
//! equal on random bytes, on damaged packets and on captures.

use super::transport::{legal_flags, sack_edge, syn_options};
use super::{Direction, Ignored, Inside, Packet, flags, protocol, tcp_flags};
use std::hint::select_unpredictable;

/// Decodes a plain IP packet. `None` if it is not one: nothing is said of it, and nothing written, then.
#[inline(always)]
pub(super) fn decode(ip: &[u8], time_ns: u64, inside: &Inside, into: &mut Packet) -> Option<Result<(), Ignored>> {
    match ip.first()? {
        0x45 => v4(ip, time_ns, inside, into),
        0x60..=0x6f => v6(ip, time_ns, inside, into),
        _ => None,
    }
}

/// Ends and direction.
struct Ends {
    local: u128,
    remote: u128,
    is_out: bool,
    flags: u8,
}

#[inline(always)]
fn v4(ip: &[u8], time_ns: u64, inside: &Inside, into: &mut Packet) -> Option<Result<(), Ignored>> {
    // As long as the shortest that is taken: with a UDP header.
    let head = ip.first_chunk::<28>()?;
    let fragment = u16::from_be_bytes([head[6], head[7]]) & 0x3fff;
    let payload_len = usize::from(u16::from_be_bytes([head[2], head[3]])).checked_sub(20)?;
    if fragment != 0 {
        return None;
    }
    let address = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let (source, destination) = (address(12), address(16));
    let numbers = (u32::from_be_bytes(source), u32::from_be_bytes(destination));
    let direction = match inside.direction(inside.ends_v4(numbers.0, numbers.1), numbers.0, numbers.1) {
        Ok(direction) => direction,
        Err(why) => return Some(Err(why)),
    };
    let wide = |address: [u8; 4]| u128::from(u32::from_le_bytes(address));
    let ends = Ends::new(direction, wide(source), wide(destination), 0);
    transport(ends, head[9], time_ns, &ip[20..ip.len().min(20 + payload_len)], payload_len, into)
}

#[inline(always)]
fn v6(ip: &[u8], time_ns: u64, inside: &Inside, into: &mut Packet) -> Option<Result<(), Ignored>> {
    let head = ip.first_chunk::<48>()?;
    let payload_len = usize::from(u16::from_be_bytes([head[4], head[5]]));
    // Behind extension headers, what is wrong with them comes first.
    if payload_len == 0 || !matches!(head[6], protocol::TCP | protocol::UDP) {
        return None;
    }
    let source: [u8; 16] = *head[8..].first_chunk()?;
    let destination: [u8; 16] = *head[24..].first_chunk()?;
    let numbers = (u128::from_be_bytes(source), u128::from_be_bytes(destination));
    let direction = match inside.direction(inside.ends_v6(numbers.0, numbers.1), numbers.0, numbers.1) {
        Ok(direction) => direction,
        Err(why) => return Some(Err(why)),
    };
    let ends = Ends::new(direction, u128::from_le_bytes(source), u128::from_le_bytes(destination), flags::IPV6);
    transport(ends, head[6], time_ns, &ip[40..ip.len().min(40 + payload_len)], payload_len, into)
}

impl Ends {
    /// Chosen without a branch: which way the next packet goes, no processor can guess.
    #[inline(always)]
    fn new(direction: Direction, source: u128, destination: u128, flags: u8) -> Self {
        let is_out = direction == Direction::Out;
        let (local, remote) = select_unpredictable(is_out, (source, destination), (destination, source));
        Ends { local, remote, is_out, flags: flags | select_unpredictable(is_out, flags::OUT, 0) }
    }
}

#[inline(always)]
fn transport(
    ends: Ends,
    protocol: u8,
    time_ns: u64,
    payload: &[u8],
    payload_len: usize,
    into: &mut Packet,
) -> Option<Result<(), Ignored>> {
    let (mut bits, mut tail) = (0, [0; 4]);
    match protocol {
        protocol::TCP => {
            let head = payload.first_chunk::<20>()?;
            let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (tcp_flags, ack) = (head[13], word(8));
            let options = payload.get(20..usize::from(head[12] >> 4) * 4)?;
            if !legal_flags(tcp_flags) {
                return None;
            }
            let sack_or_options = match (tcp_flags & tcp_flags::SYN != 0, options) {
                (true, _) => syn_options(options).to_bits(),
                // None, or timestamps alone as most systems write them (RFC 7323, appendix A).
                (false, [] | [1, 1, 8, 10, _, _, _, _, _, _, _, _]) => ack,
                (false, _) => sack_edge(options, ack),
            };
            let window = u32::from(u16::from_be_bytes([head[14], head[15]]));
            let data = (payload_len - 20 - options.len()) as u16;
            bits = tcp_flags;
            tail = [word(4), ack, sack_or_options, window << 16 | u32::from(data)];
        }
        protocol::UDP => {
            let head = payload.first_chunk::<8>()?;
            if !(8..=payload_len).contains(&usize::from(u16::from_be_bytes([head[4], head[5]]))) {
                return None;
            }
        }
        _ => return None,
    }
    // The source's in the upper half, then the local end's.
    let ports = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]);
    let ports = select_unpredictable(ends.is_out, ports, ports.rotate_left(16));
    *into = Packet {
        local: ends.local.to_le_bytes(),
        remote: ends.remote.to_le_bytes(),
        local_port: (ports >> 16) as u16,
        remote_port: ports as u16,
        protocol,
        flags: ends.flags,
        icmp_code: 0,
        tcp_flags_or_icmp_type: bits,
        time_ns,
        tail,
    };
    Some(Ok(()))
}
