//! Tunnels: from a frame to the packet that it carries, on request.

use super::decode::ip_header;
use super::link::{self, link_type};
use super::protocol;

/// A frame, or a part of one that can be read as a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// Link type, as registered at tcpdump.org.
    pub link_type: u32,
    /// Its length on the wire.
    pub wire_len: usize,
}

/// Which tunnels are opened. None, by default: then their packets are evaluated as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decap {
    /// VXLAN (RFC 7348), UDP port 4789 or, as older Linux has it, 8472. VPC traffic mirroring is VXLAN.
    pub vxlan: bool,
    /// Geneve (RFC 8926), UDP port 6081. Gateway load balancers speak it.
    pub geneve: bool,
    /// GRE (RFC 2784, RFC 2890) with IP, MPLS or Ethernet in it.
    pub gre: bool,
    /// IPv4 or IPv6 in IPv4 or IPv6 (RFC 2003, RFC 2473, RFC 4213).
    pub ipip: bool,
}

impl Decap {
    /// True if no tunnel is opened.
    #[inline(always)]
    pub fn is_none(self) -> bool {
        self == Decap::default()
    }
}

const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
/// Transparent Ethernet bridging, as GRE and Geneve number it.
const BRIDGED: u16 = 0x6558;

/// Opens tunnels until there is none. A tunnel that cannot be opened is a packet like any other: one
/// that carries no IP and no Ethernet, whose header is cut off, or that is itself a fragment.
pub fn innermost<'a>(mut view: View<'a>, decap: Decap) -> View<'a> {
    // Each step makes it shorter.
    while let Some(next) = inner(view, decap) {
        view = next;
    }
    view
}

fn inner<'a>(view: View<'a>, decap: Decap) -> Option<View<'a>> {
    let bytes = link::ip_packet(view.bytes, view.link_type).ok()?;
    let ip = ip_header(bytes, view.wire_len.saturating_sub(view.bytes.len() - bytes.len())).ok()?;
    if ip.fragment.is_some() {
        return None;
    }
    let payload = ip.payload;
    let (kind, header) = match ip.protocol {
        protocol::IPV4 | protocol::IPV6 if decap.ipip => (Inner::Ip, 0),
        protocol::GRE if decap.gre => gre(payload)?,
        protocol::UDP => {
            let port = u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?]);
            let tunnel = payload.get(8..)?;
            if decap.vxlan && VXLAN_PORTS.contains(&port) {
                // The one flag says that the network's number is there.
                let valid = tunnel.first_chunk::<8>()?[0] & 0x08 != 0;
                (valid.then_some(Inner::Ethernet)?, 8 + 8)
            } else if decap.geneve && port == GENEVE_PORT {
                let [first, _, high, low, ..] = *tunnel.first_chunk::<8>()?;
                let options = usize::from(first & 0x3f) * 4;
                let kind = Inner::of(u16::from_be_bytes([high, low]));
                ((first >> 6 == 0).then_some(kind)?, 8 + 8 + options)
            } else {
                return None;
            }
        }
        _ => return None,
    };
    let bytes = payload.get(header..)?;
    let wire_len = ip.payload_len.checked_sub(header)?;
    match kind {
        Inner::Ethernet => Some(View { bytes, link_type: link_type::ETHERNET, wire_len }),
        Inner::Ip => {
            (matches!(bytes.first()? >> 4, 4 | 6)).then_some(View { bytes, link_type: link_type::RAW, wire_len })
        }
        Inner::Other(ether_type) => {
            let ip = link::by_ether_type(ether_type, bytes).ok()?;
            let wire_len = wire_len.saturating_sub(bytes.len() - ip.len());
            Some(View { bytes: ip, link_type: link_type::RAW, wire_len })
        }
    }
}

/// What a tunnel carries.
enum Inner {
    Ethernet,
    Ip,
    /// By its EtherType.
    Other(u16),
}

impl Inner {
    fn of(ether_type: u16) -> Self {
        if ether_type == BRIDGED { Inner::Ethernet } else { Inner::Other(ether_type) }
    }
}

/// What a GRE packet carries, and the length of its header.
fn gre(bytes: &[u8]) -> Option<(Inner, usize)> {
    let [flags, version, high, low] = *bytes.first_chunk::<4>()?;
    const CHECKSUM: u8 = 0x80;
    const ROUTING: u8 = 0x40;
    const KEY: u8 = 0x20;
    const SEQUENCE: u8 = 0x10;
    if flags & ROUTING != 0 || version & 7 != 0 {
        return None;
    }
    let words = 1 + (flags & (CHECKSUM | KEY | SEQUENCE)).count_ones() as usize;
    Some((Inner::of(u16::from_be_bytes([high, low])), 4 * words))
}
