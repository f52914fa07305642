//! `aws ec2 describe-security-groups`.

use super::cursor::Cursor;
use super::files::{LoadOptions, Loaded, Unresolved, block_v4, block_v6, icmp, objects, ports, protocol_of, read_json};
use super::{PolicyError, Rule, RuleSet, World};
use crate::packet::{Direction, protocol};
use ipnet::IpNet;
use std::path::Path;

const COMMAND: &str = "aws ec2 describe-security-groups";

/// Reads security groups as one rule set: the union of their allows decides, as for all groups of a
/// network interface (VPC guide, "Security group rules").
pub fn load_security_groups(file: &Path, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    let document = read_json(file)?;
    let root = Cursor::root(file, &document);
    let is_group = |at: &Cursor| at.get("IpPermissions").is_some() || at.get("IpPermissionsEgress").is_some();
    let groups = objects(&root, "SecurityGroups", is_group, COMMAND)?;
    let mut loaded = Loaded { rules: RuleSet::new(World::SecurityGroups), warnings: Vec::new() };
    let mut used = Vec::new();
    let mut known = Vec::new();
    for group in &groups {
        let id = group.need("GroupId")?.text()?;
        let name = group.get("GroupName").map_or(Ok(""), |name| name.text())?;
        known.push((id, name));
        if !options.groups.is_empty() && !options.groups.iter().any(|wanted| wanted == id || wanted == name) {
            continue;
        }
        used.push(id);
        for (key, direction) in [("IpPermissions", Direction::In), ("IpPermissionsEgress", Direction::Out)] {
            for (n, permission) in group.items_of(key)?.iter().enumerate() {
                let name = format!("rule:{id}#{}", n + 1);
                add_permission(&mut loaded, direction, permission, &name, options)?;
            }
        }
    }
    if let Some(missing) = options.groups.iter().find(|w| !known.iter().any(|(id, name)| w == id || w == name)) {
        return Err(PolicyError::NoSuchGroup {
            file: file.to_owned(),
            wanted: missing.clone(),
            known: known.iter().map(|(id, name)| format!("{id} ({name})")).collect::<Vec<_>>().join(", "),
        });
    }
    if options.groups.is_empty() && used.len() > 1 {
        loaded.warnings.push(format!(
            "{}: all {} groups are taken together, as if one interface had them all ({}); choose with --group",
            file.display(),
            used.len(),
            used.join(", ")
        ));
    }
    Ok(loaded)
}

/// One entry of `IpPermissions`: as many rules as it has targets.
fn add_permission(
    loaded: &mut Loaded,
    direction: Direction,
    permission: &Cursor,
    name: &str,
    options: &LoadOptions,
) -> Result<(), PolicyError> {
    let number = protocol_of(&permission.need("IpProtocol")?)?;
    let ports = permission_ports(permission, number)?;
    let mut push = |remote: IpNet| {
        let rule = Rule { remote, protocol: number, ports, allow: true, name: name.to_owned() };
        loaded.rules.push(direction, rule);
    };
    for range in permission.items_of("IpRanges")? {
        push(block_v4(&range.need("CidrIp")?)?);
    }
    for range in permission.items_of("Ipv6Ranges")? {
        push(block_v6(&range.need("CidrIpv6")?)?);
    }
    for (key, id, what) in
        [("UserIdGroupPairs", "GroupId", "security group"), ("PrefixListIds", "PrefixListId", "prefix list")]
    {
        for target in permission.items_of(key)? {
            let id = target.need(id)?;
            let text = format!("{name} refers to {what} {}, whose addresses are not in the file", id.text()?);
            match options.unresolved {
                Unresolved::Error => {
                    return Err(id.error(format!("CIDR blocks: {text}; --skip-unresolved leaves such rules out")));
                }
                Unresolved::Warn => loaded.warnings.push(format!("{text}: left out")),
            }
        }
    }
    Ok(())
}

/// Ports count for TCP and UDP, type and code for ICMP; for all other protocols AWS lets every
/// packet pass (EC2 API, IpPermission).
fn permission_ports(permission: &Cursor, number: Option<u8>) -> Result<Option<(u16, u16)>, PolicyError> {
    let (from, to) = (permission.get("FromPort"), permission.get("ToPort"));
    match (number, from, to) {
        (Some(protocol::TCP | protocol::UDP), Some(from), Some(to)) => ports(&from, &to),
        (Some(protocol::ICMP | protocol::ICMPV6), Some(from), Some(to)) => icmp(&from, &to),
        (Some(protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6), Some(_), None) => {
            Err(permission.error("a ToPort beside FromPort"))
        }
        (Some(protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6), None, Some(_)) => {
            Err(permission.error("a FromPort beside ToPort"))
        }
        _ => Ok(None),
    }
}
