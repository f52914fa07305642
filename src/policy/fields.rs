//! The fields that security groups and network ACLs share: protocol, ports, ICMP type and code, CIDR block.

use super::cursor::Cursor;
use super::{PolicyError, Rule};
use crate::packet::protocol;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A port range as a rule holds it; `None` for all.
pub(super) type Ports = Option<(u16, u16)>;

/// A protocol: a name, an IANA number as a string, or `-1` for all (which is `None`).
pub(super) fn protocol(at: &Cursor) -> Result<Option<u8>, PolicyError> {
    let number = match at.text()? {
        "-1" | "all" => return Ok(None),
        "tcp" => Some(protocol::TCP),
        "udp" => Some(protocol::UDP),
        "icmp" => Some(protocol::ICMP),
        "icmpv6" => Some(protocol::ICMPV6),
        // `parse` alone would take "+6".
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    let allowed = "\"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"-1\" for all, or a number from \"0\" to \"255\"";
    number.map(Some).ok_or_else(|| at.bad(allowed))
}

/// True for ICMP and ICMPv6.
pub(super) fn is_icmp(protocol: Option<u8>) -> bool {
    matches!(protocol, Some(protocol::ICMP | protocol::ICMPV6))
}

/// True for TCP and UDP: the protocols whose ports AWS matches. For all others but ICMP every port
/// passes, whatever the file says (EC2 API, `IpPermission.IpProtocol`).
pub(super) fn has_ports(protocol: Option<u8>) -> bool {
    matches!(protocol, Some(protocol::TCP | protocol::UDP))
}

/// A port range in two fields of an object. All ports are written in many ways: both ends absent,
/// null, -1, or 0 to 65535.
pub(super) fn port_range(at: &Cursor, from: &str, to: &str) -> Result<Ports, PolicyError> {
    let Some((from_at, to_at)) = pair(at, from, to)? else { return Ok(None) };
    let allowed = format!("a port from 0 to 65535, or -1 in both {from} and {to} for all ports");
    let low = from_at.integer(-1..=i64::from(u16::MAX), &allowed)?;
    let high = to_at.integer(-1..=i64::from(u16::MAX), &allowed)?;
    match (low, high) {
        (-1, -1) | (0, 0xffff) => Ok(None),
        (-1, _) => Err(from_at.bad(allowed)),
        (_, -1) => Err(to_at.bad(allowed)),
        _ if low > high => Err(from_at.bad(format!("at most {to}, which is {high}"))),
        _ => Ok(Some((low as u16, high as u16))),
    }
}

/// An ICMP type and code in two fields of an object, as a range of `type << 8 | code`; -1 is all.
pub(super) fn icmp_range(at: &Cursor, icmp_type: &str, code: &str) -> Result<Ports, PolicyError> {
    let Some((type_at, code_at)) = pair(at, icmp_type, code)? else { return Ok(None) };
    let number = type_at.integer(-1..=255, "an ICMP type from 0 to 255, or -1 for all")?;
    let code = code_at.integer(-1..=255, "an ICMP code from 0 to 255, or -1 for all")?;
    match (number, code) {
        (-1, -1) => Ok(None),
        (-1, _) => Err(code_at.bad("-1, since the type is -1")),
        (_, -1) => Ok(Some(((number << 8) as u16, (number << 8 | 0xff) as u16))),
        _ => Ok(Some(((number << 8 | code) as u16, (number << 8 | code) as u16))),
    }
}

/// Two fields that are there together or not at all.
fn pair<'a>(at: &Cursor<'a>, first: &str, second: &str) -> Result<Option<(Cursor<'a>, Cursor<'a>)>, PolicyError> {
    let together = |missing: &str, there: &str| at.missing(missing, format!("needed with {there}"));
    match (at.optional(first)?, at.optional(second)?) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(together(second, first)),
        (None, Some(_)) => Err(together(first, second)),
    }
}

/// An IPv4 block.
pub(super) fn ipv4_block(at: &Cursor, warnings: &mut Vec<String>) -> Result<IpNet, PolicyError> {
    let net: Ipv4Net = at.text()?.parse().map_err(|_| at.bad("an IPv4 CIDR block as in 10.0.0.0/16"))?;
    Ok(canonical(at, net.into(), warnings))
}

/// An IPv6 block.
pub(super) fn ipv6_block(at: &Cursor, warnings: &mut Vec<String>) -> Result<IpNet, PolicyError> {
    let net: Ipv6Net = at.text()?.parse().map_err(|_| at.bad("an IPv6 CIDR block as in 2001:db8::/32"))?;
    Ok(canonical(at, net.into(), warnings))
}

/// AWS clears host bits when a rule is made (EC2 API, `AuthorizeSecurityGroupIngress`), so a file
/// with host bits was edited by hand: do the same, and say so.
fn canonical(at: &Cursor, net: IpNet, warnings: &mut Vec<String>) -> IpNet {
    let clean = net.trunc();
    if clean != net {
        warnings.push(format!("{}: {}: {net} has host bits, read as {clean}", at.file().display(), at.path()));
    }
    clean
}

/// A warning if a rule is for one family's ICMP and the other family's addresses. The rule stays: it
/// matches by protocol number, which no sender uses with the other family.
pub(super) fn wrong_family(at: &Cursor, rule: &Rule) -> Option<String> {
    let (message, addresses) = match (rule.protocol, rule.remote) {
        (Some(protocol::ICMP), IpNet::V6(_)) => ("ICMP for IPv4", "IPv6"),
        (Some(protocol::ICMPV6), IpNet::V4(_)) => ("ICMPv6", "IPv4"),
        _ => return None,
    };
    let (file, path, name) = (at.file().display(), at.path(), &rule.name);
    Some(format!("{file}: {path}: {name} matches no real traffic: {message} with {addresses} addresses"))
}

/// A block of either family.
pub(super) fn any_block(at: &Cursor, warnings: &mut Vec<String>) -> Result<IpNet, PolicyError> {
    let net: IpNet = at.text()?.parse().map_err(|_| at.bad("a CIDR block as in 10.0.0.0/16 or 2001:db8::/32"))?;
    Ok(canonical(at, net, warnings))
}
