//! The way of a packet past the interfaces of an inventory.
//!
//! Between two interfaces: security group egress of the sender's, network ACL egress of its subnet,
//! network ACL ingress of the receiver's subnet, security group ingress of the receiver's; within one
//! subnet no ACL; with one end outside, the steps of the other end only (VPC guide, "Network ACLs":
//! "traffic entering and leaving the subnet", and "Security groups").

use super::cursor::Cursor;
use super::formats::RULE_ID;
use super::inventory::Peers;
use super::security_groups::{Loading, another_record};
use super::untracked::Untracked;
use super::{Evaluate, Inventory, LoadOptions, PolicyError, Rule, RuleMatch, RuleSet, Unresolved, World, network_acl};
use crate::packet::{Direction, Packet, address};
use ipnet::IpNet;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// One world's rules, by interface.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Which world.
    pub world: World,
    /// The interfaces.
    pub inventory: Arc<Inventory>,
    /// Rule sets: of the groups of an interface together, or of one ACL.
    pub sets: Vec<RuleSet>,
    /// What each set is: ids of its groups joined by `+`, or of its ACL.
    pub names: Vec<String>,
    /// The set of each interface; `None` where it is not known, which filters nothing.
    pub of: Vec<Option<u32>>,
    /// Things that the user should know.
    pub warnings: Vec<String>,
    rules: usize,
}

/// One filter on a packet's way, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Security groups or network ACL.
    pub world: World,
    /// Number of the interface in [`Inventory::interfaces`].
    pub interface: usize,
    /// The set of [`Attached::sets`].
    pub set: usize,
    /// Egress of the sender's side, or ingress of the receiver's.
    pub direction: Direction,
    /// The rule of the set that matched; `None` is the implicit deny.
    pub matched: Option<RuleMatch>,
}

/// The steps that a packet meets if no connection tracking lets it through, in order, all of them, even
/// behind one that drops it. A world that is not given is left out.
pub fn steps(groups: Option<&Attached>, acls: Option<&Attached>, packet: &Packet) -> Vec<Step> {
    let order = match packet.direction() {
        Direction::Out => [*packet, packet.mirrored()],
        Direction::In => [packet.mirrored(), *packet],
    };
    let step = |attached: Option<&Attached>, view: &Packet| attached.and_then(|attached| attached.step(view));
    let [sent, received] = &order;
    [step(groups, sent), step(acls, sent), step(acls, received), step(groups, received)].into_iter().flatten().collect()
}

impl Attached {
    /// The step at the local end of a packet, if it is an interface that this world filters.
    fn step(&self, packet: &Packet) -> Option<Step> {
        let interface = self.inventory.interface_of(packet.local_addr())?;
        let set = self.of[interface]? as usize;
        if self.world == World::NetworkAcl
            && let Some(subnet) = &self.inventory.interfaces[interface].subnet
            && self.inventory.is_in_subnet(subnet, address(packet.outer_remote(), packet.is_ipv6()))
        {
            return None;
        }
        let matched = self.sets[set].first_match_naive(packet);
        Some(Step { world: self.world, interface, set, direction: packet.direction(), matched })
    }

    /// The security groups of every interface.
    ///
    /// # Errors
    /// [`PolicyError`] says what is wrong and where: a rule, or a group of an interface that no file holds.
    pub fn security_groups(inventory: &Arc<Inventory>, options: &LoadOptions) -> Result<Attached, PolicyError> {
        let mut attached = Attached::new(World::SecurityGroups, inventory);
        let mut groups: HashMap<&str, Vec<_>> = HashMap::new();
        let records = inventory.records("SecurityGroups")?;
        let mut seen = HashSet::new();
        for record in &records {
            let known = groups.entry(record.field("GroupId")?.id()?).or_default();
            // The same group may come rule by rule as well: a union again. Of files that list it as a whole, the first
            // counts; within a file, all that differ do.
            let by_rule = |at: &Cursor| {
                let first = ["IpPermissions", "IpPermissionsEgress"].iter().find_map(|list| at.value()[list].get(0));
                first.is_some_and(|rule| rule.get(RULE_ID).is_some())
            };
            match known.iter().find(|other| by_rule(other) == by_rule(record)) {
                Some(first) if first.file() != record.file() => continue,
                _ if !seen.insert(record.value().to_string()) => continue,
                Some(first) => {
                    attached.warnings.push(another_record(record, record.field("GroupId")?.id()?, first));
                }
                None => {}
            }
            known.push(record.clone());
        }
        let mut numbers: HashMap<Vec<&str>, u32> = HashMap::new();
        for interface in &inventory.interfaces {
            let mut ids: Vec<&str> = interface.groups.iter().map(String::as_str).collect();
            ids.sort_unstable();
            ids.dedup();
            if let Some(number) = numbers.get(&ids) {
                attached.of.push(Some(*number));
                continue;
            }
            let mut loading = Loading::new(Peers::of(&[&**inventory]), options.unresolved);
            for id in &ids {
                match groups.get(id) {
                    Some(records) => records.iter().try_for_each(|record| loading.group(record))?,
                    None => {
                        attached.unknown(&interface.place, &interface.id, &format!("security group {id}"), options)?
                    }
                }
            }
            attached.warnings.append(&mut loading.warnings);
            let number = attached.sets.len() as u32;
            attached.of.push(Some(number));
            attached.push(ids.join("+"), loading.rules)?;
            numbers.insert(ids, number);
        }
        Ok(attached)
    }

    /// The network ACL of every interface's subnet.
    ///
    /// # Errors
    /// [`PolicyError`] says what is wrong and where: an entry, or a subnet whose ACL no file holds.
    pub fn network_acls(inventory: &Arc<Inventory>, options: &LoadOptions) -> Result<Attached, PolicyError> {
        let mut attached = Attached::new(World::NetworkAcl, inventory);
        let records = inventory.records("NetworkAcls")?;
        let (mut of_subnet, mut default_of) = (HashMap::new(), HashMap::new());
        for (number, acl) in records.iter().enumerate() {
            for association in acl.list("Associations")? {
                of_subnet.entry(association.field("SubnetId")?.id()?).or_insert(number);
            }
            if acl.optional("IsDefault")?.is_some_and(|default| default.boolean().unwrap_or(false))
                && let Some(vpc) = acl.optional("VpcId")?
            {
                default_of.entry(vpc.id()?).or_insert(number);
            }
        }
        let mut sets: HashMap<usize, u32> = HashMap::new();
        for interface in &inventory.interfaces {
            let subnet = interface.subnet.as_deref().unwrap_or("");
            let vpc = inventory.subnets.get(subnet).and_then(|s| s.vpc.as_deref()).or(interface.vpc.as_deref());
            let found = of_subnet.get(subnet).or_else(|| default_of.get(vpc?));
            let Some(record) = found.copied() else {
                attached.unknown(
                    &interface.place,
                    &interface.id,
                    &format!("network ACL of subnet {subnet:?}"),
                    options,
                )?;
                attached.of.push(None);
                continue;
            };
            let number = match sets.get(&record) {
                Some(number) => *number,
                None => {
                    let acl = &records[record];
                    let id = acl.field("NetworkAclId")?.id()?;
                    let mut rules =
                        network_acl::rules_of(acl, &format!("acl:{id}#"), options.unresolved, &mut attached.warnings)?;
                    final_denies(&mut rules, id);
                    let number = attached.sets.len() as u32;
                    attached.push(id.into(), rules)?;
                    sets.insert(record, number);
                    number
                }
            };
            attached.of.push(Some(number));
        }
        Ok(attached)
    }

    /// Network ACLs that are no file's: each with its id and subnet. Their rules' names become `acl:<id>#<number>`.
    ///
    /// # Errors
    /// [`PolicyError`] if they hold too many rules.
    pub fn of_acls<'a>(
        inventory: &Arc<Inventory>,
        acls: impl IntoIterator<Item = (&'a str, &'a str, &'a RuleSet)>,
    ) -> Result<Attached, PolicyError> {
        let mut attached = Attached::new(World::NetworkAcl, inventory);
        let mut of_subnet = HashMap::new();
        for (id, subnet, rules) in acls {
            let mut named = RuleSet::new(World::NetworkAcl);
            for direction in [Direction::In, Direction::Out] {
                for (_, rule) in rules.rules(direction) {
                    let number = rule.name.strip_prefix("acl:").unwrap_or(&rule.name);
                    named.push(direction, Rule { name: format!("acl:{id}#{number}"), ..rule.clone() });
                }
            }
            final_denies(&mut named, id);
            of_subnet.insert(subnet, attached.sets.len() as u32);
            attached.push(id.to_owned(), named)?;
        }
        let subnets = inventory.interfaces.iter().map(|interface| interface.subnet.as_deref());
        attached.of = subnets.map(|subnet| of_subnet.get(subnet?).copied()).collect();
        Ok(attached)
    }

    fn new(world: World, inventory: &Arc<Inventory>) -> Self {
        let (sets, names, of, warnings) = Default::default();
        Attached { world, inventory: inventory.clone(), sets, names, of, warnings, rules: 0 }
    }

    fn push(&mut self, name: String, rules: RuleSet) -> Result<(), PolicyError> {
        const MOST: usize = 4_000_000;
        self.rules += rules.len();
        self.names.push(name);
        self.sets.push(rules);
        match self.rules {
            0..=MOST => Ok(()),
            rules => Err(PolicyError::Value {
                file: "the inventory".into(),
                path: "all interfaces".into(),
                value: format!("{rules} rules in all sets of groups"),
                allowed: format!("at most {MOST}"),
            }),
        }
    }

    /// The number of a step's rule among those of all sets, one after the other.
    pub fn number(&self, step: &Step) -> Option<u32> {
        let before: usize = self.sets[..step.set].iter().map(RuleSet::len).sum();
        step.matched.map(|found| before as u32 + found.rule)
    }

    /// Rules in all.
    pub fn len(&self) -> usize {
        self.rules
    }

    /// True if no interface has a rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn unknown(&mut self, place: &str, id: &str, what: &str, options: &LoadOptions) -> Result<(), PolicyError> {
        if options.unresolved == Unresolved::Warn {
            self.warnings.push(format!("{place}: {id}: the {what} is in no file and filters nothing"));
            return Ok(());
        }
        let (file, path) = place.split_once(": ").unwrap_or((place, ""));
        Err(PolicyError::Value {
            file: file.into(),
            path: path.into(),
            value: format!("the {what}, of {id},"),
            allowed: "what one of the files holds; add its listing, or go on without with --skip-unresolved".into(),
        })
    }
}

/// True for one of the entries that [`Attached::network_acls`] appends: it stands for "no rule".
pub fn is_final_deny(rule: &Rule) -> bool {
    !rule.allow && rule.name.ends_with("#*")
}

/// AWS's own last entries, 32767 and 32768, so that a drop by one of them says which ACL it was.
fn final_denies(rules: &mut RuleSet, id: &str) {
    for direction in [Direction::In, Direction::Out] {
        for remote in [IpNet::V4(Default::default()), IpNet::V6(Default::default())] {
            let name = format!("acl:{id}#*");
            rules.push(direction, Rule { remote, protocol: None, ports: None, allow: false, name });
        }
    }
}

/// The name of the rule that stands for "no filter on the way", as within a subnet.
pub const NO_STEP: &str = "no-step";

/// One world's rules by interface, as engines evaluate them: the step of the sender's side and that of
/// the receiver's; the first that drops decides, else the last one met.
#[derive(Debug)]
pub struct Paths<R> {
    /// By address. Looked up before the clock starts where the harness can ([`Ends`]).
    ports: HashMap<IpAddr, Port>,
    sets: Vec<(R, Untracked)>,
    /// The rule that stands for no step.
    no_step: u32,
    /// Peers that no interface has but that are in a subnet, by subnet.
    blocks: Vec<Vec<IpNet>>,
    is_acl: bool,
}

/// The rule sets that a packet meets at its local end and at the end that is remote, if they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends([u16; 2]);

impl Ends {
    const NONE: u16 = u16::MAX;
    /// Not looked up yet, or a number that does not fit.
    const UNKNOWN: u16 = u16::MAX - 1;

    fn of(sets: [Option<usize>; 2]) -> Ends {
        let number = |set: usize| u16::try_from(set).unwrap_or(Ends::UNKNOWN).min(Ends::UNKNOWN);
        Ends(sets.map(|set| set.map_or(Ends::NONE, number)))
    }

    #[inline(always)]
    fn known(self) -> Option<[Option<usize>; 2]> {
        let set = |set: u16| (set != Ends::NONE).then_some(usize::from(set));
        (!self.0.contains(&Ends::UNKNOWN)).then_some(self.0.map(set))
    }
}

impl Default for Ends {
    /// To be looked up.
    fn default() -> Ends {
        Ends([Ends::UNKNOWN; 2])
    }
}

#[derive(Clone, Copy, Debug)]
struct Port {
    set: Option<u32>,
    subnet: Option<u32>,
}

impl<R: Evaluate> Paths<R> {
    /// Prepares rules, numbered through from `first` on: that of [`NO_STEP`], then all sets in order.
    pub fn new(
        attached: &Attached,
        first: u32,
        form: impl Fn(u32, &RuleSet) -> R,
        untracked: impl Fn(&RuleSet) -> Untracked,
    ) -> Self {
        let inventory = &attached.inventory;
        let mut subnets: HashMap<&str, u32> = HashMap::new();
        let mut blocks = Vec::new();
        let mut ports = HashMap::new();
        for (interface, set) in inventory.interfaces.iter().zip(&attached.of) {
            let subnet = interface.subnet.as_deref().map(|id| {
                *subnets.entry(id).or_insert_with(|| {
                    blocks.push(inventory.subnets.get(id).map(|subnet| subnet.blocks.clone()).unwrap_or_default());
                    blocks.len() as u32 - 1
                })
            });
            for address in &interface.addresses {
                ports.entry(*address).or_insert(Port { set: *set, subnet });
            }
        }
        let mut next = first + 1;
        let mut sets = Vec::new();
        for rules in &attached.sets {
            sets.push((form(next, rules), untracked(rules)));
            next += rules.len() as u32;
        }
        Paths { ports, sets, no_step: first, blocks, is_acl: attached.world == World::NetworkAcl }
    }

    /// What [`Evaluate::first_match_between`] needs to know of this packet.
    pub fn ends(&self, packet: &Packet) -> Ends {
        Ends::of(self.sets_of(packet))
    }

    /// The sets at the local end of a packet and at the end that is remote.
    fn sets_of(&self, packet: &Packet) -> [Option<usize>; 2] {
        [self.at(packet), self.at(&packet.mirrored())]
    }

    /// The set at the local end of this packet, if there is one.
    fn at(&self, packet: &Packet) -> Option<usize> {
        let port = self.ports.get(&packet.local_addr())?;
        let set = port.set? as usize;
        if self.is_acl && port.subnet.is_some() {
            let remote = address(packet.outer_remote(), packet.is_ipv6());
            let within = match self.ports.get(&remote) {
                Some(other) => other.subnet == port.subnet,
                None => {
                    let blocks = port.subnet.and_then(|subnet| self.blocks.get(subnet as usize));
                    blocks.is_some_and(|blocks| blocks.iter().any(|block| block.contains(&remote)))
                }
            };
            if within {
                return None;
            }
        }
        Some(set)
    }
}

impl<R: Evaluate> Paths<R> {
    #[inline]
    fn first_match_in(&self, packet: &Packet, [local, remote]: [Option<usize>; 2]) -> Option<RuleMatch> {
        let mut last = Some(RuleMatch { rule: self.no_step, allow: true });
        let order = match packet.direction() {
            Direction::Out => [(local, false), (remote, true)],
            Direction::In => [(remote, true), (local, false)],
        };
        for (set, is_far) in order {
            let Some((rules, _)) = set.and_then(|set| self.sets.get(set)) else { continue };
            last = if is_far { rules.first_match(&packet.mirrored()) } else { rules.first_match(packet) };
            if !last.is_some_and(|found| found.allow) {
                return last;
            }
        }
        last
    }

    /// Untracked only if it is at every interface on its way.
    #[inline]
    fn is_untracked_in(&self, packet: &Packet, [local, remote]: [Option<usize>; 2]) -> bool {
        let of = |set: Option<usize>| set.and_then(|set| self.sets.get(set)).map(|(_, untracked)| untracked);
        let near = of(local).map(|untracked| untracked.is_untracked(packet));
        let far = of(remote).map(|untracked| untracked.is_untracked(&packet.mirrored()));
        match (near, far) {
            (Some(near), Some(far)) => near && far,
            (one, other) => one.or(other) == Some(true),
        }
    }
}

impl<R: Evaluate> Evaluate for Paths<R> {
    fn first_match(&self, packet: &Packet) -> Option<RuleMatch> {
        self.first_match_in(packet, self.sets_of(packet))
    }

    fn is_untracked(&self, packet: &Packet) -> bool {
        self.is_untracked_in(packet, self.sets_of(packet))
    }

    #[inline]
    fn first_match_between(&self, packet: &Packet, ends: Ends) -> Option<RuleMatch> {
        self.first_match_in(packet, ends.known().unwrap_or_else(|| self.sets_of(packet)))
    }

    #[inline]
    fn is_untracked_between(&self, packet: &Packet, ends: Ends) -> bool {
        self.is_untracked_in(packet, ends.known().unwrap_or_else(|| self.sets_of(packet)))
    }
}
