//! `aws ec2 describe-network-acls`.

use super::cursor::Cursor;
use super::files::{LoadOptions, Loaded, block_v4, block_v6, icmp, objects, ports, protocol_of, read_json};
use super::{PolicyError, Rule, RuleSet, World};
use crate::packet::{Direction, protocol};
use std::path::Path;

const COMMAND: &str = "aws ec2 describe-network-acls";

/// Numbers of the immutable last rules, which deny: `*` for IPv4 and IPv6 (VPC guide, quotas).
const IMPLICIT_DENY: [i64; 2] = [32_767, 32_768];

/// Reads one network ACL. Rules are tried by ascending number (the file's order means nothing); what
/// no rule matches is denied, whether or not the file lists the `*` rules.
pub fn load_network_acl(file: &Path, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    let document = read_json(file)?;
    let root = Cursor::root(file, &document);
    let acls = objects(&root, "NetworkAcls", |at| at.get("Entries").is_some(), COMMAND)?;
    let acl = choose(file, &acls, options)?;
    let mut rules = RuleSet::new(World::NetworkAcl);
    for direction in [Direction::In, Direction::Out] {
        let mut entries = Vec::new();
        for entry in acl.need("Entries")?.items()? {
            if entry.need("Egress")?.boolean()? == (direction == Direction::Out) {
                let number = entry.need("RuleNumber")?.number(1, IMPLICIT_DENY[1])?;
                entries.push((number, entry));
            }
        }
        entries.sort_by_key(|(number, _)| *number);
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(pair[1].1.need("RuleNumber")?.error("a number that no other rule of this direction has"));
        }
        for (number, entry) in entries {
            if let Some(rule) = entry_rule(number, &entry)? {
                rules.push(direction, rule);
            }
        }
    }
    Ok(Loaded { rules, warnings: Vec::new() })
}

/// The ACL that was asked for, or the only one.
fn choose<'a>(file: &Path, acls: &[Cursor<'a>], options: &LoadOptions) -> Result<Cursor<'a>, PolicyError> {
    let id = |acl: &Cursor<'a>| acl.get("NetworkAclId").map_or(Ok("(no id)"), |id| id.text());
    let ids = acls.iter().map(id).collect::<Result<Vec<_>, _>>()?;
    let chosen = match &options.acl {
        Some(wanted) => ids.iter().position(|id| id == wanted),
        None => (acls.len() == 1).then_some(0),
    };
    chosen.map(|i| acls[i].clone()).ok_or_else(|| PolicyError::WhichAcl {
        file: file.to_owned(),
        wanted: options.acl.clone(),
        known: ids.join(", "),
    })
}

/// One entry as a rule. `None`: the implicit deny.
fn entry_rule(number: i64, entry: &Cursor) -> Result<Option<Rule>, PolicyError> {
    let action = entry.need("RuleAction")?;
    let allow = match action.text()?.to_ascii_lowercase().as_str() {
        "allow" => true,
        "deny" => false,
        _ => return Err(action.error("allow or deny")),
    };
    if IMPLICIT_DENY.contains(&number) {
        let allowed = "1 to 32766 for a rule of your own; 32767 and 32768 are the implicit deny";
        return if allow { Err(entry.need("RuleNumber")?.error(allowed)) } else { Ok(None) };
    }
    let remote = match (entry.get("CidrBlock"), entry.get("Ipv6CidrBlock")) {
        (Some(block), None) => block_v4(&block)?,
        (None, Some(block)) => block_v6(&block)?,
        _ => return Err(entry.error("either a CidrBlock or an Ipv6CidrBlock")),
    };
    let protocol_number = protocol_of(&entry.need("Protocol")?)?;
    let ports = match protocol_number {
        Some(protocol::TCP | protocol::UDP) => match entry.get("PortRange") {
            Some(range) => ports(&range.need("From")?, &range.need("To")?)?,
            None => None,
        },
        Some(protocol::ICMP | protocol::ICMPV6) => match entry.get("IcmpTypeCode") {
            Some(icmp_range) => icmp(&icmp_range.need("Type")?, &icmp_range.need("Code")?)?,
            None => None,
        },
        _ => None,
    };
    Ok(Some(Rule { remote, protocol: protocol_number, ports, allow, name: format!("acl:{number}") }))
}
