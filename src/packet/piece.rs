//! Pieces of fragmented datagrams, and the datagram that they make.

use super::decode::{Fragment, ip_header};
use super::{Ignored, Inside, Packet, decode_ip, link};
use std::net::IpAddr;

/// One piece of a fragmented datagram.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    /// What tells its datagram from others: source, destination, protocol (IPv4), identification.
    pub datagram: (IpAddr, IpAddr, u8, u32),
    /// Its place in the datagram.
    pub fragment: Fragment,
    /// Its length on the wire, in bytes.
    pub len: usize,
    /// Bytes of headers that the whole datagram would carry too, and that count against its greatest
    /// length: the IPv4 header, or the IPv6 extension headers before the fragment header.
    pub headers: usize,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// Protocol of the datagram's payload: right in the first piece.
    pub protocol: u8,
}

/// Reads a frame as a piece of a datagram. `None` if it is none.
pub fn piece(frame: &[u8], link_type: u32, wire_len: usize) -> Option<Piece<'_>> {
    let bytes = link::ip_packet(frame, link_type).ok()?;
    let ip = ip_header(bytes, wire_len.saturating_sub(frame.len() - bytes.len())).ok()?;
    let fragment = ip.fragment?;
    // IPv6 tells datagrams apart by addresses and identification alone (RFC 8200, section 4.5).
    let protocol = if ip.source.is_ipv6() { 0 } else { ip.protocol };
    let headers = match ip.source {
        IpAddr::V4(_) => usize::from(bytes[0] & 15) * 4,
        // The stated length, less the piece and its fragment header of 8 bytes.
        IpAddr::V6(_) => usize::from(u16::from_be_bytes([bytes[4], bytes[5]])).saturating_sub(ip.payload_len + 8),
    };
    Some(Piece {
        headers,
        datagram: (ip.source, ip.destination, protocol, fragment.id),
        fragment,
        len: ip.payload_len,
        bytes: ip.payload,
        protocol: ip.protocol,
    })
}

/// Decodes a reassembled datagram: as one packet with a plain IP header.
pub fn decode_datagram(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: &[u8],
    time_ns: u64,
    inside: &Inside,
) -> Result<Packet, Ignored> {
    let mut bytes = Vec::with_capacity(40 + payload.len());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (20 + payload.len()).min(65_535) as u16;
            bytes.extend_from_slice(&[0x45, 0]);
            bytes.extend_from_slice(&total.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, 0, 64, protocol, 0, 0]);
            bytes.extend_from_slice(&source.octets());
            bytes.extend_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            bytes.extend_from_slice(&[0x60, 0, 0, 0]);
            bytes.extend_from_slice(&(payload.len().min(65_535) as u16).to_be_bytes());
            bytes.extend_from_slice(&[protocol, 64]);
            bytes.extend_from_slice(&source.octets());
            bytes.extend_from_slice(&destination.octets());
        }
        _ => return Err(Ignored::NotIp),
    }
    bytes.extend_from_slice(payload);
    decode_ip(&bytes, bytes.len(), time_ns, inside)
}
