//! Security groups: `aws ec2 describe-security-groups` to a [`RuleSet`].
//!
//! All groups of a network interface count together: what one of them allows is allowed
//! (VPC guide, "Security group rules").

use super::cursor::Cursor;
use super::document::{SECURITY_GROUPS, listing, read, records, truncation};
use super::{LoadOptions, Loaded, Origin, PolicyError, Remote, Rule, RuleSet, Unresolved, World, fields};
use crate::packet::Direction;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Reads security groups from what `aws ec2 describe-security-groups` prints: the whole object, the
/// bare list, or one group.
///
/// Groups that are not asked for are not checked beyond their id and name.
///
/// # Errors
/// [`PolicyError`] says what is wrong and where.
pub fn load_security_groups(path: &Path, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    let document = read(path)?;
    let top = Cursor::top(path, &document);
    let groups = select(&top, &options.groups)?;
    let mut loading = Loading {
        rules: RuleSet::new(World::SecurityGroups),
        warnings: truncation(&top, &SECURITY_GROUPS).into_iter().collect(),
        unresolved: options.unresolved,
        file: path.into(),
    };
    if options.groups.is_empty() && groups.len() > 1 {
        let all = listing(groups.iter().map(Group::label));
        loading.warnings.push(format!("{}: the union of all its security groups is used: {all}", path.display()));
    }
    for group in &groups {
        loading.permissions(group, "IpPermissions", Direction::In)?;
        loading.permissions(group, "IpPermissionsEgress", Direction::Out)?;
    }
    Ok(Loaded { rules: loading.rules, warnings: loading.warnings })
}

/// One security group of the file.
struct Group<'a> {
    at: Cursor<'a>,
    id: &'a str,
    /// Unique within its VPC only.
    name: Option<&'a str>,
}

impl<'a> Group<'a> {
    fn new(at: Cursor<'a>) -> Result<Self, PolicyError> {
        let id = at.field("GroupId")?.id()?;
        let name = at.optional("GroupName")?.map(|name| name.text()).transpose()?;
        Ok(Group { at, id, name })
    }

    fn label(&self) -> String {
        self.name.map_or_else(|| self.id.into(), |name| format!("{} ({name:?})", self.id))
    }
}

/// The groups asked for by id or name, or all, in the order of the file.
fn select<'a>(top: &Cursor<'a>, wanted: &[String]) -> Result<Vec<Group<'a>>, PolicyError> {
    let groups = records(top, &SECURITY_GROUPS)?.into_iter().map(Group::new).collect::<Result<Vec<_>, _>>()?;
    let mut chosen = vec![wanted.is_empty(); groups.len()];
    for want in wanted {
        let by_id = |group: &Group| group.id == want;
        let is = |group: &Group| by_id(group) || group.name == Some(want);
        let matching: Vec<usize> = (0..groups.len()).filter(|i| is(&groups[*i])).collect();
        match matching[..] {
            [] => {
                return Err(PolicyError::Unknown {
                    file: top.file().into(),
                    what: SECURITY_GROUPS.one,
                    wanted: want.clone(),
                    known: listing(groups.iter().map(Group::label)),
                });
            }
            [_, _, ..] if !matching.iter().all(|i| by_id(&groups[*i])) => {
                return Err(PolicyError::Ambiguous {
                    file: top.file().into(),
                    problem: format!("several security groups are called {want:?}"),
                    known: listing(matching.iter().map(|i| groups[*i].label())),
                });
            }
            // Several with one id: refused below.
            _ => matching.iter().for_each(|i| chosen[*i] = true),
        }
    }
    let mut first = HashMap::new();
    let groups: Vec<Group> =
        groups.into_iter().zip(chosen).filter_map(|(group, chosen)| chosen.then_some(group)).collect();
    for group in &groups {
        if let Some(earlier) = first.insert(group.id, &group.at) {
            return Err(PolicyError::Duplicate {
                file: top.file().into(),
                path: format!("{}.GroupId", group.at.path()),
                what: format!("group id {}", group.id),
                first: format!("{}.GroupId", earlier.path()),
            });
        }
    }
    Ok(groups)
}

/// The rules read so far.
struct Loading {
    rules: RuleSet,
    warnings: Vec<String>,
    unresolved: Unresolved,
    file: Arc<Path>,
}

impl Loading {
    /// One direction of one group.
    fn permissions(&mut self, group: &Group, list: &str, direction: Direction) -> Result<(), PolicyError> {
        let owner: Arc<str> = group.id.into();
        for (n, permission) in group.at.field(list)?.items()?.enumerate() {
            self.permission(&permission, direction, format!("rule:{}#{}", group.id, n + 1), &owner)?;
        }
        Ok(())
    }

    /// One permission: a rule for each of its CIDR blocks, all of the same name.
    fn permission(
        &mut self,
        at: &Cursor,
        direction: Direction,
        name: String,
        owner: &Arc<str>,
    ) -> Result<(), PolicyError> {
        let protocol = fields::protocol(&at.field("IpProtocol")?)?;
        let ports = if fields::is_icmp(protocol) {
            fields::icmp_range(at, "FromPort", "ToPort")?
        } else if fields::has_ports(protocol) {
            fields::port_range(at, "FromPort", "ToPort")?
        } else {
            None
        };
        let mut blocks = Vec::new();
        for range in at.list("IpRanges")? {
            let block = fields::ipv4_block(&range.field("CidrIp")?, &mut self.warnings)?;
            blocks.push((range, block));
        }
        for range in at.list("Ipv6Ranges")? {
            let block = fields::ipv6_block(&range.field("CidrIpv6")?, &mut self.warnings)?;
            blocks.push((range, block));
        }
        let references = self.references(at, direction, &name, owner)?;
        if blocks.is_empty() && references == 0 {
            let (file, path) = (at.file().display(), at.path());
            self.warnings.push(format!("{file}: {path}: {name} can never match: it lists no addresses"));
        }
        for (range, remote) in blocks {
            let rule = Rule { remote, protocol, ports, allow: true, name: name.clone() };
            self.warnings.extend(fields::wrong_family(&range, &rule));
            let origin = self.origin(&range, owner, Remote::Block);
            self.rules.push_from(direction, rule, origin);
        }
        Ok(())
    }

    /// Counts the security groups and prefix lists that a permission refers to: an error or a
    /// warning for each, since the file says nothing of their addresses.
    fn references(
        &mut self,
        at: &Cursor,
        direction: Direction,
        name: &str,
        owner: &Arc<str>,
    ) -> Result<usize, PolicyError> {
        let mut count = 0;
        let kinds = [
            ("UserIdGroupPairs", "GroupId", "security group", Remote::Group),
            ("PrefixListIds", "PrefixListId", "prefix list", Remote::PrefixList { max_entries: None }),
        ];
        for (list, field, what, remote) in kinds {
            for reference in at.list(list)? {
                let target = format!("{what} {}", reference.field(field)?.id()?);
                if self.unresolved == Unresolved::Error {
                    return Err(PolicyError::Unresolved {
                        file: at.file().into(),
                        path: reference.path().into(),
                        rule: name.into(),
                        target,
                    });
                }
                let (file, path) = (at.file().display(), reference.path());
                self.warnings
                    .push(format!("{file}: {path}: {name} is left out for {target}: its addresses are unknown"));
                let origin = self.origin(&reference, owner, remote);
                self.rules.leave_out(direction, origin);
                count += 1;
            }
        }
        Ok(count)
    }

    fn origin(&self, at: &Cursor, owner: &Arc<str>, remote: Remote) -> Origin {
        Origin { file: self.file.clone(), path: at.path().into(), owner: owner.clone(), remote }
    }
}
