//! One frame to one record. Pure: no state, no order.

use super::transport;
use super::{Direction, Ignored, Inside, Malformed, Packet, flags, link, plain};
use etherparse::{IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, LaxIpv4Slice, LaxIpv6Slice};
use std::net::IpAddr;

/// What an IP header says, whatever its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ip<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Protocol of the payload, behind IPv6 extension headers up to the fragment header.
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
    let mut packet = Packet::ZERO;
    decode_into(&mut packet, frame, link_type, wire_len, time_ns, inside).map(|()| packet)
}

/// The same, into a place that the caller has for the record: a result of 128 bytes is not passed around. On an error
/// nothing is written.
#[inline]
pub fn decode_into(
    packet: &mut Packet,
    frame: &[u8],
    link_type: u32,
    wire_len: usize,
    time_ns: u64,
    inside: &Inside,
) -> Result<(), Ignored> {
    let ip = link::ip_packet(frame, link_type)?;
    if let Some(done) = plain::decode(ip, time_ns, inside, packet) {
        return done;
    }
    *packet = decode_any(ip, wire_len.saturating_sub(frame.len() - ip.len()), time_ns, inside)?;
    Ok(())
}

/// Decodes an IP packet. `wire_len` is its length on the wire, link-layer padding included.
#[inline]
pub fn decode_ip(bytes: &[u8], wire_len: usize, time_ns: u64, inside: &Inside) -> Result<Packet, Ignored> {
    let mut packet = Packet::ZERO;
    match plain::decode(bytes, time_ns, inside, &mut packet) {
        Some(done) => done.map(|()| packet),
        None => decode_any(bytes, wire_len, time_ns, inside),
    }
}

/// Decodes any IP packet, without shortcuts.
#[inline(never)]
fn decode_any(bytes: &[u8], wire_len: usize, time_ns: u64, inside: &Inside) -> Result<Packet, Ignored> {
    let mut ip = ip_header(bytes, wire_len).map_err(Ignored::Malformed)?;
    if let (Some(Fragment { offset: 0, .. }), true) = (ip.fragment, ip.source.is_ipv6()) {
        ip = past_extensions(ip).map_err(Ignored::Malformed)?;
    }
    let direction = inside.direction(inside.ends(ip.source, ip.destination), ip.source, ip.destination)?;
    let (local, remote) = match direction {
        Direction::Out => (ip.source, ip.destination),
        Direction::In => (ip.destination, ip.source),
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

/// What stands on the outside of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom to.
    pub destination: IpAddr,
    /// Bytes of the whole packet, its header included, on the wire.
    pub len: usize,
}

/// Reads a frame as far as its IP header.
pub fn envelope(frame: &[u8], link_type: u32, wire_len: usize) -> Result<Envelope, Ignored> {
    let bytes = link::ip_packet(frame, link_type)?;
    let ip = ip_header(bytes, wire_len.saturating_sub(frame.len() - bytes.len())).map_err(Ignored::Malformed)?;
    // The payload is a part of the packet.
    let headers = ip.payload.as_ptr().addr() - bytes.as_ptr().addr();
    Ok(Envelope { source: ip.source, destination: ip.destination, len: headers + ip.payload_len })
}

/// Reads an IPv4 or IPv6 header, by etherparse's lax slices.
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

fn ipv6_header(bytes: &[u8], wire_len: usize) -> Result<Ip<'_>, Malformed> {
    const HEADER_LEN: usize = 40;
    let (slice, stopped) = LaxIpv6Slice::from_slice(bytes).map_err(|_| Malformed::IpHeader)?;
    let header = slice.header();
    let stated = usize::from(header.payload_length());
    let total = if stated == 0 && wire_len > HEADER_LEN { wire_len } else { HEADER_LEN + stated };
    if total > MAX_LEN + HEADER_LEN {
        return Err(Malformed::IpLength);
    }
    let extensions = slice.extensions();
    // What is behind a fragment header is data: headers in it are the datagram's, not the piece's.
    let fragment = if extensions.is_fragmenting_payload() { ipv6_fragment(extensions) } else { None };
    let (start, protocol, fragment) = match fragment {
        Some((fragment, protocol, header)) => (end_in(bytes, header), protocol, Some(fragment)),
        None if stopped.is_some() => return Err(Malformed::Extensions),
        None => (HEADER_LEN + extensions.slice().len(), slice.payload().ip_number.0, None),
    };
    Ok(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol,
        payload: &bytes[start..bytes.len().min(total).max(start)],
        payload_len: total.checked_sub(start).ok_or(Malformed::Extensions)?,
        fragment,
    })
}

/// Where a part of a packet ends in it.
fn end_in(packet: &[u8], part: &[u8]) -> usize {
    part.as_ptr_range().end.addr() - packet.as_ptr().addr()
}

/// The fragment header, and the number of the header or protocol behind it. `None` if it says that the datagram is
/// whole (an atomic fragment, RFC 6946).
fn ipv6_fragment<'a>(extensions: &Ipv6ExtensionsSlice<'a>) -> Option<(Fragment, u8, &'a [u8])> {
    extensions.clone().into_iter().find_map(|extension| match extension {
        Ipv6ExtensionSlice::Fragment(header) if header.is_fragmenting_payload() => {
            let offset = usize::from(header.fragment_offset().value()) * 8;
            let fragment = Fragment { offset, more: header.more_fragments(), id: header.identification() };
            Some((fragment, header.next_header().0, header.slice()))
        }
        _ => None,
    })
}

/// The first piece of an IPv6 datagram: it may begin with more extension headers.
fn past_extensions(ip: Ip<'_>) -> Result<Ip<'_>, Malformed> {
    let (extensions, protocol, payload, stopped) =
        Ipv6ExtensionsSlice::from_slice_lax(IpNumber(ip.protocol), ip.payload);
    let payload_len = ip.payload_len.checked_sub(extensions.slice().len());
    match (stopped, payload_len) {
        (None, Some(payload_len)) => Ok(Ip { protocol: protocol.0, payload, payload_len, ..ip }),
        _ => Err(Malformed::Extensions),
    }
}

#[cfg(test)]
mod tests;
