//! One frame to one record. Pure: no state, no order.

use super::transport;
use super::{Direction, Ignored, Inside, Malformed, Packet, flags, link, protocol};
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
    let ip = link::ip_packet(frame, link_type)?;
    let link_len = frame.len() - ip.len();
    decode_ip(ip, wire_len.saturating_sub(link_len), time_ns, inside)
}

/// Decodes an IP packet. `wire_len` is its length on the wire, link-layer padding included.
#[inline]
pub fn decode_ip(bytes: &[u8], wire_len: usize, time_ns: u64, inside: &Inside) -> Result<Packet, Ignored> {
    let mut ip = ip_header(bytes, wire_len).map_err(Ignored::Malformed)?;
    if let (Some(Fragment { offset: 0, .. }), true) = (ip.fragment, ip.source.is_ipv6()) {
        ip = past_extensions(ip).map_err(Ignored::Malformed)?;
    }
    let (local, remote, direction) = match inside.ends(ip.source, ip.destination) {
        (true, false) => (ip.source, ip.destination, Direction::Out),
        (false, true) => (ip.destination, ip.source, Direction::In),
        (false, false) => return Err(Ignored::NeitherInside),
        (true, true) if !inside.has_pairs() => return Err(Ignored::BothInside),
        // Whoever sends: both directions of a flow need the same local end.
        (true, true) if ip.source <= ip.destination => (ip.source, ip.destination, Direction::Out),
        (true, true) => (ip.destination, ip.source, Direction::In),
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

/// Reads an IPv4 or IPv6 header.
#[inline]
pub(super) fn ip_header(bytes: &[u8], wire_len: usize) -> Result<Ip<'_>, Malformed> {
    match plain_header(bytes) {
        Some(ip) => Ok(ip),
        None => any_header(bytes, wire_len),
    }
}

/// The headers that nearly all packets have: IPv4 without options, not fragmented, and IPv6 without
/// extension headers, with lengths that fit. A third faster than etherparse's slices; a property
/// test holds it equal to them.
#[inline]
fn plain_header(bytes: &[u8]) -> Option<Ip<'_>> {
    match bytes {
        [0x45, _, len_high, len_low, _, _, fragment_high, fragment_low, _, protocol, _, _, a @ ..] if a.len() >= 8 => {
            let total = usize::from(u16::from_be_bytes([*len_high, *len_low]));
            let fragment = u16::from_be_bytes([*fragment_high, *fragment_low]) & 0x3fff;
            if total < 20 || fragment != 0 {
                return None;
            }
            Some(Ip {
                source: IpAddr::from([a[0], a[1], a[2], a[3]]),
                destination: IpAddr::from([a[4], a[5], a[6], a[7]]),
                protocol: *protocol,
                payload: &bytes[20..bytes.len().min(total)],
                payload_len: total - 20,
                fragment: None,
            })
        }
        [first, _, _, _, len_high, len_low, next @ (protocol::TCP | protocol::UDP | protocol::ICMPV6), _, ..]
            if first >> 4 == 6 && bytes.len() >= 40 =>
        {
            let payload_len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
            if payload_len == 0 {
                return None;
            }
            let source: [u8; 16] = bytes[8..24].try_into().ok()?;
            let destination: [u8; 16] = bytes[24..40].try_into().ok()?;
            Some(Ip {
                source: source.into(),
                destination: destination.into(),
                protocol: *next,
                payload: &bytes[40..bytes.len().min(40 + payload_len)],
                payload_len,
                fragment: None,
            })
        }
        _ => None,
    }
}

/// Every header, by etherparse's lax slices.
fn any_header(bytes: &[u8], wire_len: usize) -> Result<Ip<'_>, Malformed> {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that often look like an IP header, and often do not.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![4 => Just(0x45u8), 4 => 0x60u8..0x70, 2 => any::<u8>()];
        let small = prop_oneof![3 => 0u8..3, 1 => any::<u8>()];
        (first, prop::collection::vec(prop_oneof![2 => small, 1 => any::<u8>()], 0..120)).prop_map(
            |(first, mut rest)| {
                rest.insert(0, first);
                if rest.len() > 9 {
                    // Protocols that are known, at the place of either version.
                    for at in [6, 9] {
                        rest[at] = match rest[at] % 8 {
                            0 => 6,
                            1 => 17,
                            2 => 58,
                            3 => 44,
                            4 => 0,
                            _ => rest[at],
                        };
                    }
                }
                rest
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn the_plain_header_reads_as_etherparse_does(bytes in bytes(), more in 0usize..100) {
            if let Some(plain) = plain_header(&bytes) {
                prop_assert_eq!(Ok(plain), any_header(&bytes, bytes.len() + more));
            }
        }

        #[test]
        fn no_bytes_panic(
            frame in prop::collection::vec(any::<u8>(), 0..200),
            link in prop::sample::select(vec![0u32, 1, 9, 12, 14, 101, 108, 113, 228, 229, 276, 147]),
            wire in 0usize..70_000,
        ) {
            let inside = Inside::new(&["0.0.0.0/1".parse().unwrap(), "::/1".parse().unwrap()]);
            let _ = decode(&frame, link, wire, 0, &inside);
        }

        #[test]
        fn no_ip_bytes_panic(bytes in bytes(), wire in 0usize..70_000) {
            let inside = Inside::new(&["0.0.0.0/1".parse().unwrap(), "::/1".parse().unwrap()]);
            let _ = decode_ip(&bytes, wire, 0, &inside);
        }
    }
}
