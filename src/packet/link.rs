//! Link layers: from a frame to the IP packet in it.

use super::{Ignored, Malformed};

/// Link types as registered at <https://www.tcpdump.org/linktypes.html>.
pub(super) mod link_type {
    pub const NULL: u32 = 0;
    pub const ETHERNET: u32 = 1;
    pub const PPP: u32 = 9;
    /// Raw IP as older systems number it.
    pub const RAW_BSD: [u32; 2] = [12, 14];
    pub const RAW: u32 = 101;
    pub const LOOP: u32 = 108;
    pub const LINUX_SLL: u32 = 113;
    /// PPP in HDLC-like framing, with address and control.
    pub const PPP_HDLC: u32 = 50;
    /// PPPoE without Ethernet.
    pub const PPP_ETHER: u32 = 51;
    pub const IPV4: u32 = 228;
    pub const IPV6: u32 = 229;
    pub const LINUX_SLL2: u32 = 276;
}

/// EtherTypes (IANA, IEEE 802 numbers).
mod ether_type {
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
    pub const VLAN: u16 = 0x8100;
    pub const QINQ: u16 = 0x88a8;
    pub const QINQ_OLD: u16 = 0x9100;
    pub const MPLS: u16 = 0x8847;
    pub const MPLS_MULTICAST: u16 = 0x8848;
    pub const PPPOE_SESSION: u16 = 0x8864;
}

/// The part of a frame that begins with the IP header.
///
/// # Errors
/// [`Ignored`] says why there is none.
#[inline(always)]
pub fn ip_packet(frame: &[u8], link: u32) -> Result<&[u8], Ignored> {
    // What nearly all frames are.
    if link == link_type::ETHERNET
        && let Some((head, rest)) = frame.split_first_chunk::<14>()
        && matches!(u16::from_be_bytes([head[12], head[13]]), ether_type::IPV4 | ether_type::IPV6)
    {
        return Ok(rest);
    }
    ip_packet_of_any(frame, link)
}

#[inline(never)]
fn ip_packet_of_any(frame: &[u8], link: u32) -> Result<&[u8], Ignored> {
    match link {
        link_type::ETHERNET => {
            let kind = word(frame, 12)?;
            by_ether_type(kind, skip(frame, 14)?)
        }
        link_type::RAW | link_type::IPV4 | link_type::IPV6 => ip_or_not(frame),
        link_type::LINUX_SLL => by_ether_type(word(frame, 14)?, skip(frame, 16)?),
        link_type::LINUX_SLL2 => by_ether_type(word(frame, 0)?, skip(frame, 20)?),
        // The address family is a number of the capturing system: the IP version says more.
        link_type::NULL | link_type::LOOP => ip_or_not(skip(frame, 4)?),
        link_type::PPP | link_type::PPP_HDLC => ppp(frame),
        link_type::PPP_ETHER => ppp(skip(frame, 6)?),
        old if link_type::RAW_BSD.contains(&old) => ip_or_not(frame),
        _ => Err(Ignored::LinkType),
    }
}

const CUT: Ignored = Ignored::Malformed(Malformed::LinkHeader);

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Result<u16, Ignored> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or(CUT)
}

#[inline(always)]
fn skip(bytes: &[u8], count: usize) -> Result<&[u8], Ignored> {
    bytes.get(count..).ok_or(CUT)
}

/// Follows VLAN tags, MPLS labels and PPPoE to the IP packet. Each step shortens the slice.
#[inline]
pub(super) fn by_ether_type(mut kind: u16, mut rest: &[u8]) -> Result<&[u8], Ignored> {
    loop {
        match kind {
            ether_type::IPV4 | ether_type::IPV6 => return Ok(rest),
            ether_type::VLAN | ether_type::QINQ | ether_type::QINQ_OLD => {
                kind = word(rest, 2)?;
                rest = skip(rest, 4)?;
            }
            ether_type::PPPOE_SESSION => return ppp(skip(rest, 6)?),
            ether_type::MPLS | ether_type::MPLS_MULTICAST => {
                let bottom = *rest.get(2).ok_or(CUT)? & 1 != 0;
                rest = skip(rest, 4)?;
                if bottom {
                    return ip_or_not(rest);
                }
            }
            _ => return Err(Ignored::NotIp),
        }
    }
}

/// PPP, with or without the address and control bytes (RFC 1662).
fn ppp(bytes: &[u8]) -> Result<&[u8], Ignored> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    match word(bytes, 0)? {
        0x0021 | 0x0057 => skip(bytes, 2),
        _ => Err(Ignored::NotIp),
    }
}

/// Nothing but the IP version says what it is.
#[inline]
fn ip_or_not(bytes: &[u8]) -> Result<&[u8], Ignored> {
    match bytes.first().ok_or(CUT)? >> 4 {
        4 | 6 => Ok(bytes),
        _ => Err(Ignored::NotIp),
    }
}
