//! Security groups to a [`RuleSet`].
//!
//! All groups of a network interface count together: what one of them allows is allowed
//! (VPC guide, "Security group rules").

use super::cursor::Cursor;
use super::document::{SECURITY_GROUPS, listing, read, records, truncation};
use super::formats::{RULE_ID, UNKNOWN};
use super::inventory::{Inventory, Peers};
use super::{LoadOptions, Loaded, Origin, PolicyError, Remote, Rule, RuleSet, Unresolved, World, classbench, fields};
use crate::packet::Direction;
use ipnet::IpNet;
use serde_json::Value;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Reads security groups, in any of the formats that are recognised. References to groups and prefix lists
/// resolve to what this file and [`LoadOptions::inventory`] hold.
///
/// Groups that are not asked for are not checked beyond their id and name.
///
/// # Errors
/// [`PolicyError`] says what is wrong and where.
pub fn load_security_groups(path: &Path, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    if let Some(filters) = classbench::load(path, World::SecurityGroups)? {
        return Ok(filters);
    }
    let document = read(path)?;
    let top = Cursor::top(path, &document);
    let (groups, twice) = select(&top, &options.groups)?;
    let own = Inventory::of_document(path, &document, options.unresolved)?;
    let mut inventories = vec![&own];
    inventories.extend(options.inventory.as_deref());
    let mut loading = Loading::new(Peers::of(&inventories), options.unresolved);
    loading.warnings.extend(truncation(&top, &SECURITY_GROUPS));
    loading.warnings.extend(twice);
    if options.groups.is_empty() && groups.len() > 1 {
        let all = listing(groups.iter().map(Group::label));
        loading.warnings.push(format!("{}: the union of all its security groups is used: {all}", path.display()));
    }
    for group in &groups {
        loading.group(&group.at)?;
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

/// The groups asked for by id or name, or all, in the order of the file. What is listed twice in the same words counts
/// once, as where listings overlap; an id with several records means all of them, with a warning.
fn select<'a>(top: &Cursor<'a>, wanted: &[String]) -> Result<(Vec<Group<'a>>, Vec<String>), PolicyError> {
    let groups = records(top, &SECURITY_GROUPS)?.into_iter().map(Group::new).collect::<Result<Vec<_>, _>>()?;
    let mut chosen = vec![wanted.is_empty(); groups.len()];
    for want in wanted {
        let is = |group: &Group| group.id == want || group.name == Some(want);
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
            [first, ..] if matching.iter().any(|i| groups[*i].id != groups[first].id) => {
                return Err(PolicyError::Ambiguous {
                    file: top.file().into(),
                    problem: format!("several security groups are called {want:?}"),
                    known: listing(matching.iter().map(|i| groups[*i].label())),
                });
            }
            _ => matching.iter().for_each(|i| chosen[*i] = true),
        }
    }
    let (mut first_of, mut seen) = (HashMap::new(), HashSet::new());
    let (mut kept, mut twice) = (Vec::new(), Vec::new());
    for group in groups.into_iter().zip(chosen).filter_map(|(group, chosen)| chosen.then_some(group)) {
        if !seen.insert(group.at.value().to_string()) {
            continue;
        }
        match first_of.entry(group.id) {
            Entry::Occupied(first) => twice.push(another_record(&group.at, group.id, first.get())),
            Entry::Vacant(none) => {
                none.insert(group.at.clone());
            }
        }
        kept.push(group);
    }
    Ok((kept, twice))
}

/// The warning about a group that is listed once more, otherwise.
pub(super) fn another_record(at: &Cursor, id: &str, first: &Cursor) -> String {
    let (file, path, first) = (at.file().display(), at.path(), first.path());
    format!("{file}: {path}: group id {id} is also {first}, with other contents: the rules of both count")
}

/// The warning about a rule that its template does not determine, or the error.
pub(super) fn undetermined(at: &Cursor, rule: &str, what: &str, unresolved: Unresolved) -> Result<String, PolicyError> {
    let (file, path, rule, what) = (at.file().to_owned(), at.path().to_owned(), rule.to_owned(), what.to_owned());
    match unresolved {
        Unresolved::Error => Err(PolicyError::Undetermined { file, path, rule, what }),
        Unresolved::Warn => {
            Ok(format!("{}: {path}: {rule} is left out: the template does not determine {what}", file.display()))
        }
    }
}

/// Most rules in all, as far as each block of each reference is one: far more than AWS lets anyone have.
const MAX_RULES: usize = 2_000_000;

/// The rules read so far.
pub(super) struct Loading<'a> {
    pub rules: RuleSet,
    pub warnings: Vec<String>,
    peers: Peers<'a>,
    unresolved: Unresolved,
    file: Arc<Path>,
}

impl<'a> Loading<'a> {
    pub fn new(peers: Peers<'a>, unresolved: Unresolved) -> Self {
        Loading {
            rules: RuleSet::new(World::SecurityGroups),
            warnings: Vec::new(),
            peers,
            unresolved,
            file: Path::new("").into(),
        }
    }

    /// Both directions of a group.
    pub fn group(&mut self, at: &Cursor) -> Result<(), PolicyError> {
        self.permissions(at, "IpPermissions", Direction::In)?;
        self.permissions(at, "IpPermissionsEgress", Direction::Out)
    }

    /// One direction of one group.
    fn permissions(&mut self, group: &Cursor, list: &str, direction: Direction) -> Result<(), PolicyError> {
        let id = group.field("GroupId")?.id()?;
        let owner: Arc<str> = id.into();
        if *self.file != *group.file() {
            self.file = group.file().into();
        }
        for (n, permission) in group.field(list)?.items()?.enumerate() {
            let rule = permission.optional(RULE_ID)?.map(|rule| rule.id()).transpose()?;
            let name = rule.map_or_else(|| format!("rule:{id}#{}", n + 1), |rule| format!("rule:{id}#{rule}"));
            self.permission(&permission, direction, name, &owner)?;
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
        if let Some(what) = at.value().get(UNKNOWN).and_then(Value::as_str) {
            self.warnings.push(undetermined(at, &name, what, self.unresolved)?);
            let origin = self.origin(at, owner, Remote::Block);
            self.rules.leave_out(direction, origin);
            return Ok(());
        }
        let protocol = fields::protocol(&at.field("IpProtocol")?)?;
        let ports = if fields::is_icmp(protocol) {
            fields::icmp_range(at, "FromPort", "ToPort")
        } else if fields::has_ports(protocol) {
            fields::port_range(at, "FromPort", "ToPort")
        } else {
            Ok(None)
        };
        let ports = match (ports, self.unresolved) {
            (Ok(ports), _) => ports,
            (Err(error @ PolicyError::Value { .. }), Unresolved::Warn) => {
                self.warnings.push(format!("{error}; {name} is left out"));
                let origin = self.origin(at, owner, Remote::Block);
                self.rules.leave_out(direction, origin);
                return Ok(());
            }
            (Err(error), _) => return Err(error),
        };
        let mut blocks = Vec::new();
        for range in at.list("IpRanges")? {
            let block = fields::ipv4_block(&range.field("CidrIp")?, &mut self.warnings)?;
            blocks.push((range, block, Remote::Block));
        }
        for range in at.list("Ipv6Ranges")? {
            let block = fields::ipv6_block(&range.field("CidrIpv6")?, &mut self.warnings)?;
            blocks.push((range, block, Remote::Block));
        }
        let references = self.references(at, direction, &name, owner, &mut blocks)?;
        if blocks.is_empty() && references == 0 {
            let (file, path) = (at.file().display(), at.path());
            self.warnings.push(format!("{file}: {path}: {name} can never match: it lists no addresses"));
        }
        if self.rules.len() + blocks.len() > MAX_RULES {
            return Err(at.bad(format!("rules for at most {MAX_RULES} blocks and addresses in all")));
        }
        for (range, remote, kind) in blocks {
            let rule = Rule { remote, protocol, ports, allow: true, name: name.clone() };
            self.warnings.extend(fields::wrong_family(&range, &rule));
            let origin = self.origin(&range, owner, kind);
            self.rules.push_from(direction, rule, origin);
        }
        Ok(())
    }

    /// Adds the blocks of the security groups and prefix lists that a permission refers to. Those of which no
    /// file says anything are an error or a warning. Gives their number.
    fn references<'c>(
        &mut self,
        at: &Cursor<'c>,
        direction: Direction,
        name: &str,
        owner: &Arc<str>,
        blocks: &mut Vec<(Cursor<'c>, IpNet, Remote)>,
    ) -> Result<usize, PolicyError> {
        let mut count = 0;
        let kinds = [
            ("UserIdGroupPairs", "GroupId", "security group", Remote::Group),
            ("PrefixListIds", "PrefixListId", "prefix list", Remote::PrefixList { max_entries: None }),
        ];
        for (list, field, what, remote) in kinds {
            for reference in at.list(list)? {
                let id = reference.field(field)?.id()?;
                let known = if field == "GroupId" { self.peers.members(id) } else { self.peers.entries(id) };
                count += 1;
                if let Some(known) = known {
                    let remote = match remote {
                        Remote::PrefixList { .. } => Remote::PrefixList { max_entries: self.peers.max_entries(id) },
                        other => other,
                    };
                    blocks.extend(known.iter().map(|block| (reference.clone(), *block, remote)));
                    continue;
                }
                let target = format!("{what} {id}");
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
            }
        }
        Ok(count)
    }

    fn origin(&self, at: &Cursor, owner: &Arc<str>, remote: Remote) -> Origin {
        Origin { file: self.file.clone(), path: at.path().into(), owner: owner.clone(), remote }
    }
}
