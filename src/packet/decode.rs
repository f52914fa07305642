//! One frame to one record. Pure: no state, no order.

use super::transport;
use super::{Direction, Ignored, Inside, Malformed, Packet, flags, link};
use etherparse::{Ipv6ExtensionSlice, LaxIpv4Slice, LaxIpv6Slice};
use std::net::IpAddr;

/// What an IP header says, whatever its version.
pub(super) struct Ip<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Protocol of the payload, behind IPv6 extension headers.
    pub protocol: u8,
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// Length of the payload on the wire.
    pub payload_len: usize,
    /// Where in its datagram the payload lies, if it is a fragment.
    pub fragment: Option<Fragment>,
}

/// A fragment's place in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset of the piece in bytes.
    pub offset: usize,
    /// More pieces follow.
    pub more: bool,
    /// Identification.
    pub id: u32,
}

/// Decodes a frame. `wire_len` is its length on the wire, of which `frame` may be a part;
/// `link_type` as registered at tcpdump.org; `time_ns` becomes the record's time.
///
/// Checksums are not verified: captures with offload hold packets before theirs was computed.
#[inline]
pub fn decode(frame: &[u8], link_type: u32, wire_len: usize, time_ns: u64, inside: &Inside) -> Result<Packet, Ignored> {
    let ip = link::ip_packet(frame, link_type)?;
    let link_len = frame.len() - ip.len();
    decode_ip(ip, wire_len.saturating_sub(link_len), time_ns, inside)
}

/// Decodes an IP packet. `wire_len` is its length on the wire, link-layer padding included.
#[inline]
pub fn decode_ip(bytes: &[u8], wire_len: usize, time_ns: u64, inside: &Inside) -> Result<Packet, Ignored> {
    let ip = ip_header(bytes, wire_len).map_err(Ignored::Malformed)?;
    let (local, remote, direction) = match (inside.contains(ip.source), inside.contains(ip.destination)) {
        (true, false) => (ip.source, ip.destination, Direction::Out),
        (false, true) => (ip.destination, ip.source, Direction::In),
        (false, false) => return Err(Ignored::NeitherInside),
        (true, true) => return Err(Ignored::BothInside),
    };
    let packet = Packet::new(local, remote, direction, ip.protocol, time_ns);
    match ip.fragment {
        None => transport::fill(packet, &ip),
        Some(Fragment { offset: 0, .. }) => Ok(transport::fill(packet, &ip)?.with_flags(flags::FRAGMENT)),
        Some(_) => Ok(packet.with_flags(flags::FRAGMENT | flags::NO_PORTS)),
    }
}

/// Source and destination of a frame.
pub fn ends(frame: &[u8], link_type: u32, wire_len: usize) -> Result<(IpAddr, IpAddr), Ignored> {
    let ip = link::ip_packet(frame, link_type)?;
    let ip = ip_header(ip, wire_len.saturating_sub(frame.len() - ip.len())).map_err(Ignored::Malformed)?;
    Ok((ip.source, ip.destination))
}

/// Reads an IPv4 or IPv6 header.
#[inline]
pub(super) fn ip_header(bytes: &[u8], wire_len: usize) -> Result<Ip<'_>, Malformed> {
    match bytes.first().ok_or(Malformed::IpHeader)? >> 4 {
        4 => ipv4_header(bytes, wire_len),
        6 => ipv6_header(bytes, wire_len),
        _ => Err(Malformed::IpHeader),
    }
}

/// Largest packet that an IPv4 or IPv6 length field can state. Jumbograms (RFC 2675) are not read.
const MAX_LEN: usize = 65_535;

#[inline]
fn ipv4_header(bytes: &[u8], wire_len: usize) -> Result<Ip<'_>, Malformed> {
    let (slice, _) = LaxIpv4Slice::from_slice(bytes).map_err(|_| Malformed::IpHeader)?;
    let header = slice.header();
    let header_len = header.slice().len();
    // Total length 0: captured before segmentation offload filled it in.
    let total = match usize::from(header.total_len()) {
        0 => wire_len,
        total => total,
    };
    if total < header_len || total > MAX_LEN {
        return Err(Malformed::IpLength);
    }
    let offset = usize::from(header.fragments_offset().value()) * 8;
    let more = header.more_fragments();
    Ok(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        // The authentication header is a protocol of its own in IPv4, to Linux as well.
        protocol: header.protocol().0,
        payload: &bytes[header_len..bytes.len().min(total).max(header_len)],
        payload_len: total - header_len,
        fragment: (offset != 0 || more).then(|| Fragment { offset, more, id: u32::from(header.identification()) }),
    })
}

#[inline]
fn ipv6_header(bytes: &[u8], wire_len: usize) -> Result<Ip<'_>, Malformed> {
    const HEADER_LEN: usize = 40;
    let (slice, stopped) = LaxIpv6Slice::from_slice(bytes).map_err(|_| Malformed::IpHeader)?;
    if stopped.is_some() {
        return Err(Malformed::Extensions);
    }
    let header = slice.header();
    let stated = usize::from(header.payload_length());
    let total = if stated == 0 && wire_len > HEADER_LEN { wire_len } else { HEADER_LEN + stated };
    if total > MAX_LEN + HEADER_LEN {
        return Err(Malformed::IpLength);
    }
    let extensions = slice.extensions();
    let extensions_len = extensions.slice().len();
    let payload_len = (total - HEADER_LEN).checked_sub(extensions_len).ok_or(Malformed::Extensions)?;
    let payload = slice.payload();
    Ok(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: payload.ip_number.0,
        payload: &payload.payload[..payload.payload.len().min(payload_len)],
        payload_len,
        fragment: if extensions_len == 0 { None } else { ipv6_fragment(extensions) },
    })
}

/// The fragment header, unless it says that the datagram is whole (an atomic fragment, RFC 6946).
fn ipv6_fragment(extensions: &etherparse::Ipv6ExtensionsSlice) -> Option<Fragment> {
    extensions.clone().into_iter().find_map(|extension| match extension {
        Ipv6ExtensionSlice::Fragment(header) => {
            let offset = usize::from(header.fragment_offset().value()) * 8;
            let more = header.more_fragments();
            (offset != 0 || more).then(|| Fragment { offset, more, id: header.identification() })
        }
        _ => None,
    })
}
