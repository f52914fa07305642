//! A network ACL: one of `aws ec2 describe-network-acls` to a [`RuleSet`].
//!
//! Each direction is tried by ascending rule number and the first match decides (VPC guide,
//! "Network ACLs"). The listing's own order means nothing.

use super::cursor::Cursor;
use super::document::{NETWORK_ACLS, listing, read, records, truncation};
use super::formats::UNKNOWN;
use super::security_groups::undetermined;
use super::{LoadOptions, Loaded, Origin, PolicyError, Remote, Rule, RuleSet, Unresolved, World, classbench, fields};
use crate::packet::{Direction, protocol};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The highest number a user can give; above stand AWS's own final denies, 32767 for IPv4 and 32768
/// for IPv6, printed as `*` in the console.
const LAST_NUMBER: i64 = 32_766;

/// Above this many rules, unreachable ones are not looked for: the search is quadratic. AWS allows 40.
const SHADOW_SEARCH_LIMIT: usize = 1_000;

/// Reads a network ACL, in any of the formats that are recognised. If there are several, [`LoadOptions::acl`] says which.
///
/// # Errors
/// [`PolicyError`] says what is wrong and where.
pub fn load_network_acl(path: &Path, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    if let Some(filters) = classbench::load(path, World::NetworkAcl)? {
        return Ok(filters);
    }
    let document = read(path)?;
    let top = Cursor::top(path, &document);
    let acl = select(&top, options.acl.as_deref())?;
    let mut warnings: Vec<String> = truncation(&top, &NETWORK_ACLS).into_iter().collect();
    let rules = rules_of(&acl, "acl:", options.unresolved, &mut warnings)?;
    Ok(Loaded { rules, warnings })
}

/// The rules of one ACL. `prefix` stands before the numbers in their names.
pub(super) fn rules_of(
    acl: &Cursor,
    prefix: &str,
    unresolved: Unresolved,
    warnings: &mut Vec<String>,
) -> Result<RuleSet, PolicyError> {
    let mut directions: [BTreeMap<i64, (Cursor, Rule)>; 2] = Default::default();
    for at in acl.field("Entries")?.items()? {
        if let Some(what) = at.value().get(UNKNOWN).and_then(Value::as_str) {
            warnings.push(undetermined(&at, "this entry", what, unresolved)?);
            continue;
        }
        let (number, direction, rule) = entry(&at, prefix, unresolved, warnings)?;
        let numbered = &mut directions[direction.index()];
        if let Some((earlier, _)) = numbered.get(&number) {
            return Err(PolicyError::Duplicate {
                file: at.file().into(),
                path: format!("{}.RuleNumber", at.path()),
                what: format!("rule number {number} of this direction"),
                first: format!("{}.RuleNumber", earlier.path()),
            });
        }
        numbered.insert(number, (at, rule));
    }
    let file: Arc<Path> = acl.file().into();
    let owner: Arc<str> = acl.optional("NetworkAclId")?.and_then(|id| id.value().as_str()).unwrap_or("acl").into();
    let mut rules = RuleSet::new(World::NetworkAcl);
    for (direction, numbered) in [Direction::In, Direction::Out].into_iter().zip(directions) {
        // The final denies are what `RuleSet::implicit_deny` stands for, listed or not.
        let own: Vec<(Cursor, Rule)> =
            numbered.into_iter().filter(|(n, _)| *n <= LAST_NUMBER).map(|(_, e)| e).collect();
        warnings.extend(unreachable(&own));
        for (at, rule) in own {
            let path = at.path().into();
            let origin = Origin { file: file.clone(), path, owner: owner.clone(), remote: Remote::Block };
            rules.push_from(direction, rule, origin);
        }
    }
    Ok(rules)
}

/// The ACL asked for, or the only one.
fn select<'a>(top: &Cursor<'a>, wanted: Option<&str>) -> Result<Cursor<'a>, PolicyError> {
    let mut acls = records(top, &NETWORK_ACLS)?;
    // Where listings overlap, what stands there twice in the same words counts once.
    let mut seen = HashSet::new();
    acls.retain(|acl| seen.insert(acl.value().to_string()));
    let Some(wanted) = wanted else {
        if acls.len() == 1 {
            return Ok(acls.remove(0));
        }
        let problem = format!("holds {} network ACLs, but a packet meets only that of its subnet", acls.len());
        return Err(PolicyError::Ambiguous { file: top.file().into(), problem, known: labels(&acls)? });
    };
    let mut found = None;
    for acl in &acls {
        let id = acl.field("NetworkAclId")?;
        if id.text()? == wanted {
            if found.is_some() {
                let problem = format!("several network ACLs have the id {wanted:?}");
                return Err(PolicyError::Ambiguous { file: top.file().into(), problem, known: labels(&acls)? });
            }
            found = Some(acl.clone());
        }
    }
    match found {
        Some(acl) => Ok(acl),
        None => Err(PolicyError::Unknown {
            file: top.file().into(),
            what: NETWORK_ACLS.one,
            wanted: wanted.into(),
            known: labels(&acls)?,
        }),
    }
}

/// The ids of ACLs with their subnets, by which people know them.
fn labels(acls: &[Cursor]) -> Result<String, PolicyError> {
    let label = |acl: &Cursor| -> Result<String, PolicyError> {
        let id = acl.field("NetworkAclId")?.id()?;
        let subnets = acl
            .list("Associations")?
            .map(|association| association.field("SubnetId")?.id())
            .collect::<Result<Vec<&str>, _>>()?;
        Ok(if subnets.is_empty() { format!("{id} (no subnet)") } else { format!("{id} ({})", subnets.join(" ")) })
    };
    Ok(listing(acls.iter().map(label).collect::<Result<Vec<_>, _>>()?.into_iter()))
}

/// One entry: its number, direction and rule.
fn entry(
    at: &Cursor,
    prefix: &str,
    unresolved: Unresolved,
    warnings: &mut Vec<String>,
) -> Result<(i64, Direction, Rule), PolicyError> {
    let number_at = at.field("RuleNumber")?;
    let number = number_at.integer(1..=LAST_NUMBER + 2, "1 to 32766, or 32767 and 32768 for the final denies")?;
    let direction = if at.field("Egress")?.boolean()? { Direction::Out } else { Direction::In };
    let action_at = at.field("RuleAction")?;
    let allow = match action_at.text()? {
        "allow" if number > LAST_NUMBER => return Err(action_at.bad(format!("deny, for rule {number}"))),
        "allow" => true,
        "deny" => false,
        _ => return Err(action_at.bad("\"allow\" or \"deny\"")),
    };
    let protocol = fields::protocol(&at.field("Protocol")?)?;
    let remote = block(at, warnings)?;
    let name = if number > LAST_NUMBER { format!("{prefix}*") } else { format!("{prefix}{number}") };
    let ports = match ports(at, protocol, remote) {
        Err(error @ PolicyError::Missing { .. }) if unresolved == Unresolved::Warn && lost_type(at) => {
            warnings.push(format!("{error}; {name} is read as one for all types"));
            None
        }
        other => other?,
    };
    let rule = Rule { remote, protocol, ports, allow, name };
    warnings.extend(fields::wrong_family(at, &rule));
    Ok((number, direction, rule))
}

/// The CIDR block: of exactly one family.
fn block(at: &Cursor, warnings: &mut Vec<String>) -> Result<IpNet, PolicyError> {
    match (at.optional("CidrBlock")?, at.optional("Ipv6CidrBlock")?) {
        (Some(v4), None) => fields::ipv4_block(&v4, warnings),
        (None, Some(v6)) => fields::ipv6_block(&v6, warnings),
        (None, None) => Err(at.missing("CidrBlock", "an entry has CidrBlock or Ipv6CidrBlock")),
        (Some(_), Some(v6)) => Err(v6.bad("nothing, since the entry has a CidrBlock")),
    }
}

/// The port range, or the ICMP type and code. The latter must be there, or one could not tell "all"
/// from a listing that lost it (EC2 API, `NetworkAclEntry.IcmpTypeCode`: required for protocol 1, and
/// for 58 with an IPv6 block).
fn ports(at: &Cursor, protocol: Option<u8>, remote: IpNet) -> Result<fields::Ports, PolicyError> {
    if fields::is_icmp(protocol) {
        let needed = protocol == Some(protocol::ICMP) || matches!(remote, IpNet::V6(_));
        return match at.optional("IcmpTypeCode")? {
            Some(icmp) => {
                icmp.field("Type")?;
                icmp.field("Code")?;
                fields::icmp_range(&icmp, "Type", "Code")
            }
            None if needed => Err(at.missing("IcmpTypeCode", "an ICMP entry needs a type and a code, -1 for all")),
            None => Ok(None),
        };
    }
    match at.optional("PortRange")? {
        Some(range) if fields::has_ports(protocol) => fields::port_range(&range, "From", "To"),
        _ => Ok(None),
    }
}

/// True for an entry without its ICMP type and code, as listings of AWS's imitations have it.
fn lost_type(at: &Cursor) -> bool {
    at.value().get("IcmpTypeCode").is_none_or(Value::is_null)
}

/// Warnings for rules of one direction that an earlier rule covers entirely.
fn unreachable(rules: &[(Cursor, Rule)]) -> Vec<String> {
    if rules.len() > SHADOW_SEARCH_LIMIT {
        return Vec::new();
    }
    let shadowed = rules.iter().enumerate().filter_map(|(i, (at, rule))| {
        let (_, by) = rules[..i].iter().find(|(_, earlier)| earlier.covers(rule))?;
        let (file, path, name, by) = (at.file().display(), at.path(), &rule.name, &by.name);
        Some(format!("{file}: {path}: {name} can never match: {by} takes all its packets"))
    });
    shadowed.collect()
}
