//! Reading policy files: what is common to security groups and network ACLs.

use super::cursor::Cursor;
use super::{PolicyError, RuleSet};
use crate::packet::protocol;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::Path;

/// Larger files are refused: AWS's quotas allow no account such a policy.
const MAX_BYTES: u64 = 256 << 20;

/// What of a file is used, and how strictly.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Only these security groups, by id or name; all if empty.
    pub groups: Vec<String>,
    /// This network ACL; needed if the file holds several.
    pub acl: Option<String>,
    /// What happens to rules that refer to other groups or to prefix lists.
    pub unresolved: Unresolved,
}

/// What happens to rules whose addresses the file does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unresolved {
    /// An error that names the rule.
    #[default]
    Error,
    /// A warning; the rule is left out.
    Warn,
}

/// A policy, and what the user should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The rules.
    pub rules: RuleSet,
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// Reads a JSON document.
pub(super) fn read_json(file: &Path) -> Result<Value, PolicyError> {
    let io = |source| PolicyError::Io { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(file).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(PolicyError::TooLarge { file: file.to_owned(), limit_mib: MAX_BYTES >> 20 });
    }
    serde_json::from_slice(&bytes).map_err(|source| PolicyError::Json { file: file.to_owned(), source })
}

/// The objects of a document that has them under `key`, as a bare list, or as a single object that
/// `is_one` recognises: the shapes in which people cut the AWS CLI's output.
pub(super) fn objects<'a>(
    root: &Cursor<'a>,
    key: &str,
    is_one: impl Fn(&Cursor) -> bool,
    command: &str,
) -> Result<Vec<Cursor<'a>>, PolicyError> {
    if let Some(list) = root.get(key) {
        return list.items();
    }
    if root.is_list() {
        let items = root.items()?;
        if items.iter().all(&is_one) {
            return Ok(items);
        }
    } else if is_one(root) {
        return Ok(vec![root.clone()]);
    }
    Err(root.error(format!("what `{command}` prints, with a list {key}")))
}

/// A protocol name or number; `None` for all (`-1`).
pub(super) fn protocol_of(at: &Cursor) -> Result<Option<u8>, PolicyError> {
    let text = at.as_text()?;
    let number = match text.to_ascii_lowercase().as_str() {
        "-1" | "all" => return Ok(None),
        "tcp" => protocol::TCP,
        "udp" => protocol::UDP,
        "icmp" => protocol::ICMP,
        "icmpv6" => protocol::ICMPV6,
        other => other
            .parse()
            .map_err(|_| at.error("tcp, udp, icmp, icmpv6, a protocol number from 0 to 255, or -1 for all"))?,
    };
    Ok(Some(number))
}

/// An IPv4 block. Host bits are cleared, as AWS does.
pub(super) fn block_v4(at: &Cursor) -> Result<IpNet, PolicyError> {
    let block: Ipv4Net = at.text()?.parse().map_err(|_| at.error("an IPv4 CIDR block such as 192.0.2.0/24"))?;
    Ok(IpNet::V4(block.trunc()))
}

/// An IPv6 block. Host bits are cleared.
pub(super) fn block_v6(at: &Cursor) -> Result<IpNet, PolicyError> {
    let block: Ipv6Net = at.text()?.parse().map_err(|_| at.error("an IPv6 CIDR block such as 2001:db8::/32"))?;
    Ok(IpNet::V6(block.trunc()))
}

/// A port range; all ports as `None`.
pub(super) fn ports(from: &Cursor, to: &Cursor) -> Result<Option<(u16, u16)>, PolicyError> {
    let (low, high) = (from.number(-1, 65_535)?, to.number(-1, 65_535)?);
    match (u16::try_from(low), u16::try_from(high)) {
        (Err(_), Err(_)) | (Ok(0), Ok(65_535)) => Ok(None),
        (Ok(low), Ok(high)) if low <= high => Ok(Some((low, high))),
        (Ok(_), Ok(_)) => Err(to.error(format!("a last port that is not below the first, {low}"))),
        _ => Err(from.error("a port from 0 to 65535 at both ends, or -1 at both ends for all")),
    }
}

/// ICMP type and code as a range of `type << 8 | code`; all as `None`.
pub(super) fn icmp(kind: &Cursor, code: &Cursor) -> Result<Option<(u16, u16)>, PolicyError> {
    let (kind_number, code_number) = (kind.number(-1, 255)?, code.number(-1, 255)?);
    match (u16::try_from(kind_number), u16::try_from(code_number)) {
        (Err(_), Err(_)) => Ok(None),
        (Err(_), Ok(_)) => Err(code.error("-1, since the type is -1 (all types)")),
        (Ok(kind), Err(_)) => Ok(Some((kind << 8, kind << 8 | 0xff))),
        (Ok(kind), Ok(code)) => Ok(Some((kind << 8 | code, kind << 8 | code))),
    }
}
