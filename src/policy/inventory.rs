//! What an account holds beside rules: interfaces with their addresses, groups and subnets, subnets with
//! their network ACLs, prefix lists with their entries.
//!
//! A reference to a security group stands for the private addresses of the interfaces that carry it, in
//! this VPC or a peered one, never for public ones (VPC guide, "Security group rules").

use super::cursor::Cursor;
use super::document::read;
use super::{PolicyError, Unresolved, fields, quota};
use crate::packet::Exempt;
use ipnet::IpNet;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As in `eni-0123456789abcdef0`.
    pub id: String,
    /// Private IPv4 addresses, and IPv6 addresses.
    pub addresses: Vec<IpAddr>,
    /// Ids of its security groups.
    pub groups: Vec<String>,
    /// Id of its subnet.
    pub subnet: Option<String>,
    /// Id of its VPC, if the file says.
    pub vpc: Option<String>,
    /// The file that lists it, and where.
    pub place: String,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its address ranges.
    pub blocks: Vec<IpNet>,
    /// Id of its VPC, if the file says.
    pub vpc: Option<String>,
}

/// A prefix list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixList {
    /// Its name.
    pub name: Option<String>,
    /// What it counts as against the quota of rules.
    pub max_entries: Option<u64>,
    /// Its blocks; `None` if only metadata was given.
    pub entries: Option<Vec<IpNet>>,
}

/// All that some files say.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Interfaces in order of appearance.
    pub interfaces: Vec<Interface>,
    /// Subnets by id.
    pub subnets: HashMap<String, Subnet>,
    /// Prefix lists by id.
    pub prefix_lists: HashMap<String, PrefixList>,
    /// Addresses that AWS filters nowhere: of the resolver, two above the base of a VPC, and of the default
    /// router, one above the base of a subnet (VPC guide, "VPC CIDR blocks", "Subnet sizing").
    pub exempt: HashMap<IpAddr, Exempt>,
    /// Things that the user should know.
    pub warnings: Vec<String>,
    /// The interface with an address.
    by_address: HashMap<IpAddr, u32>,
    /// Addresses by group.
    members: HashMap<String, Vec<IpNet>>,
    /// Groups that are listed, carried or not.
    listed: HashSet<String>,
    /// Files in the CLI's shape, for their groups and ACLs.
    documents: Vec<(PathBuf, Value)>,
}

impl Inventory {
    /// Reads files of any format that is recognised. Entries of a prefix list, of which the CLI does not
    /// print the id, are given as `pl-ID=FILE`, or in a file named after it, as in `pl-ID.json`.
    ///
    /// # Errors
    /// [`PolicyError`] says what is wrong and where.
    pub fn load(files: &[PathBuf], unresolved: Unresolved) -> Result<Inventory, PolicyError> {
        let mut inventory = Inventory::default();
        for given in files {
            let (list, file) = prefix_list_file(given);
            let document = read(&file)?;
            inventory.add(&file, &document, list.as_deref(), unresolved)?;
            inventory.documents.push((file, document));
        }
        Ok(inventory)
    }

    /// What one document holds, itself not kept.
    pub(super) fn of_document(file: &Path, document: &Value, unresolved: Unresolved) -> Result<Inventory, PolicyError> {
        let mut inventory = Inventory::default();
        inventory.add(file, document, None, unresolved)?;
        Ok(inventory)
    }

    /// Adds the groups and ACLs of another file.
    pub fn add_rules(&mut self, file: &Path) -> Result<(), PolicyError> {
        let document = read(file)?;
        let mut own = Inventory::default();
        own.add(file, &document, None, Unresolved::Warn)?;
        for (id, list) in own.prefix_lists {
            self.prefix_lists.entry(id).or_insert(list);
        }
        self.listed.extend(own.listed);
        // Before those of the inventory: what is found first counts.
        self.documents.insert(0, (file.into(), document));
        Ok(())
    }

    /// The interface that has this address.
    pub fn interface_of(&self, address: IpAddr) -> Option<usize> {
        self.by_address.get(&address).map(|number| *number as usize)
    }

    /// Blocks of every interface address, as a capture's protected addresses.
    pub fn addresses(&self) -> Vec<IpNet> {
        let mut all: Vec<IpNet> = self.by_address.keys().map(|address| IpNet::from(*address)).collect();
        all.sort_unstable();
        all
    }

    /// Forgets the interfaces none of whose addresses are in these blocks, but not that they are members
    /// of their groups.
    pub fn keep_inside(&mut self, inside: &[IpNet]) {
        let kept = |address: &IpAddr| inside.iter().any(|block| block.contains(address));
        self.interfaces.retain(|interface| interface.addresses.iter().any(kept));
        self.index();
    }

    /// True if the address is that of an interface in this subnet, or in the subnet's blocks.
    pub fn is_in_subnet(&self, subnet: &str, address: IpAddr) -> bool {
        match self.interface_of(address) {
            Some(interface) => self.interfaces[interface].subnet.as_deref() == Some(subnet),
            None => self.subnets.get(subnet).is_some_and(|s| s.blocks.iter().any(|block| block.contains(&address))),
        }
    }

    /// The records of all files in a listing.
    pub(super) fn records(&self, list: &'static str) -> Result<Vec<Cursor<'_>>, PolicyError> {
        let mut all = Vec::new();
        for (file, document) in &self.documents {
            let top = Cursor::top(file, document);
            if document.get(list).is_some() {
                all.extend(top.field(list)?.items()?);
            }
        }
        Ok(all)
    }

    fn add(
        &mut self,
        file: &Path,
        document: &Value,
        list: Option<&str>,
        unresolved: Unresolved,
    ) -> Result<(), PolicyError> {
        if !document.is_object() {
            return Ok(());
        }
        let top = Cursor::top(file, document);
        for group in document["SecurityGroups"].as_array().into_iter().flatten() {
            self.listed.extend(group["GroupId"].as_str().map(str::to_owned));
        }
        for at in top.list("NetworkInterfaces")? {
            self.interface(&at)?;
        }
        for at in top.list("Subnets")? {
            self.subnet(&at)?;
        }
        for at in top.list("Vpcs")? {
            self.vpc(&at)?;
        }
        for at in top.list("PrefixLists")? {
            self.prefix_list(&at)?;
        }
        let is_entries = document.get("Entries").is_some() && document.get("NetworkAclId").is_none();
        if is_entries {
            let problem = "to be given as pl-ID=FILE, as the CLI does not print the id of the list";
            match list {
                Some(id) => {
                    let entries = entries(&top, &mut self.warnings)?;
                    self.prefix_lists.entry(id.into()).or_default().entries.get_or_insert_default().extend(entries);
                }
                None if unresolved == Unresolved::Error => return Err(top.missing("PrefixListId", problem)),
                None => self.warnings.push(format!("{}: left out: {problem}", file.display())),
            }
        }
        self.index();
        Ok(())
    }

    fn interface(&mut self, at: &Cursor) -> Result<(), PolicyError> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        let mut add = |at: Cursor| -> Result<(), PolicyError> {
            let address = at.text()?.parse().map_err(|_| at.bad("an IP address"))?;
            addresses.push(address);
            Ok(())
        };
        at.optional("PrivateIpAddress")?.map(&mut add).transpose()?;
        for one in at.list("PrivateIpAddresses")? {
            add(one.field("PrivateIpAddress")?)?;
        }
        for one in at.list("Ipv6Addresses")? {
            add(one.field("Ipv6Address")?)?;
        }
        // The primary address is listed twice.
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        let groups = at.list("Groups")?.map(|group| group.field("GroupId")?.id().map(str::to_owned));
        let id = at.field("NetworkInterfaceId")?.id()?.to_owned();
        if addresses.is_empty() {
            self.warnings.push(format!("{}: {}: {id} has no address in this file", at.file().display(), at.path()));
        }
        self.warnings.extend(own_timeouts(at, &id)?);
        self.interfaces.push(Interface {
            id,
            addresses,
            groups: groups.collect::<Result<_, _>>()?,
            subnet: optional_id(at, "SubnetId")?,
            vpc: optional_id(at, "VpcId")?,
            place: format!("{}: {}", at.file().display(), at.path()),
        });
        Ok(())
    }

    /// As `aws ec2 describe-vpcs` prints it: the resolver answers in its primary block only.
    fn vpc(&mut self, at: &Cursor) -> Result<(), PolicyError> {
        if let Some(block) = at.optional("CidrBlock")? {
            let block = fields::ipv4_block(&block, &mut self.warnings)?;
            self.exempt.extend(nth(&block, 2).map(|resolver| (resolver, Exempt::Dns)));
        }
        Ok(())
    }

    fn subnet(&mut self, at: &Cursor) -> Result<(), PolicyError> {
        let mut blocks = Vec::new();
        if let Some(block) = at.optional("CidrBlock")? {
            blocks.push(fields::ipv4_block(&block, &mut self.warnings)?);
        }
        for association in at.list("Ipv6CidrBlockAssociationSet")? {
            blocks.push(fields::ipv6_block(&association.field("Ipv6CidrBlock")?, &mut self.warnings)?);
        }
        self.exempt.extend(blocks.first().and_then(|block| nth(block, 1)).map(|router| (router, Exempt::Router)));
        let subnet = Subnet { blocks, vpc: optional_id(at, "VpcId")? };
        self.subnets.insert(at.field("SubnetId")?.id()?.into(), subnet);
        Ok(())
    }

    fn prefix_list(&mut self, at: &Cursor) -> Result<(), PolicyError> {
        let known = self.prefix_lists.entry(at.field("PrefixListId")?.id()?.into()).or_default();
        known.name = at.optional("PrefixListName")?.map(|name| name.text().map(str::to_owned)).transpose()?;
        let max = at.optional("MaxEntries")?.map(|max| max.integer(0..=i64::from(u32::MAX), "a number of entries"));
        known.max_entries = max.transpose()?.map(|max| max as u64);
        if at.optional("Entries")?.is_some() {
            known.entries = Some(entries(at, &mut self.warnings)?);
        }
        // `aws ec2 describe-prefix-lists` lists AWS's own with their blocks.
        if let Some(cidrs) = at.optional("Cidrs")? {
            let blocks = cidrs.items()?.map(|cidr| fields::any_block(&cidr, &mut self.warnings));
            known.entries = Some(blocks.collect::<Result<_, _>>()?);
        }
        Ok(())
    }

    /// Builds the look-ups. An address that two interfaces have, as in two VPCs, is the first one's.
    fn index(&mut self) {
        self.by_address.clear();
        for (number, interface) in (0u32..).zip(&self.interfaces) {
            for address in &interface.addresses {
                self.by_address.entry(*address).or_insert(number);
            }
        }
        // Members are only ever added: see `keep_inside`.
        for interface in &self.interfaces[..] {
            for group in &interface.groups {
                let members = self.members.entry(group.clone()).or_default();
                members.extend(interface.addresses.iter().map(|address| IpNet::from(*address)));
            }
        }
        for members in self.members.values_mut() {
            members.sort_unstable();
            members.dedup();
        }
    }
}

/// So many addresses above the base of an IPv4 block.
fn nth(block: &IpNet, n: u32) -> Option<IpAddr> {
    match block.network() {
        IpAddr::V4(base) => base.to_bits().checked_add(n).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(_) => None,
    }
}

fn optional_id(at: &Cursor, name: &str) -> Result<Option<String>, PolicyError> {
    at.optional(name)?.map(|id| id.id().map(str::to_owned)).transpose()
}

/// The warning about idle timeouts of an interface's own: a replay has those of its `[conntrack]` for all.
fn own_timeouts(at: &Cursor, id: &str) -> Result<Option<String>, PolicyError> {
    let Some(own) = at.optional("ConnectionTrackingConfiguration")? else { return Ok(None) };
    let mut set = Vec::new();
    for (theirs, ours) in
        [("TcpEstablishedTimeout", "tcp_established"), ("UdpStreamTimeout", "udp_stream"), ("UdpTimeout", "udp")]
    {
        if let Some(seconds) = own.optional(theirs)? {
            set.push(format!("{ours} = {}", seconds.integer(1..=432_000, "seconds, at most 432000")?));
        }
    }
    let (file, path) = (own.file().display(), own.path());
    let told = || {
        format!(
            "{file}: {path}: {id} has idle timeouts of its own; a replay has them only by a scenario's [conntrack]: {}",
            set.join(", ")
        )
    };
    Ok((!set.is_empty()).then(told))
}

/// The blocks of a prefix list.
fn entries(at: &Cursor, warnings: &mut Vec<String>) -> Result<Vec<IpNet>, PolicyError> {
    at.field("Entries")?.items()?.map(|entry| fields::any_block(&entry.field("Cidr")?, warnings)).collect()
}

/// The id before `=`, or in the file's name.
fn prefix_list_file(given: &Path) -> (Option<String>, PathBuf) {
    if let Some((id, file)) = given.to_str().and_then(|text| text.split_once('='))
        && (id.starts_with("pl-") && !given.exists())
    {
        return (Some(id.into()), file.into());
    }
    let stem = given.file_stem().and_then(|stem| stem.to_str());
    (stem.filter(|stem| stem.starts_with("pl-")).map(str::to_owned), given.into())
}

/// What references resolve to.
pub(super) struct Peers<'a>(Vec<&'a Inventory>);

impl<'a> Peers<'a> {
    pub fn of(inventories: &[&'a Inventory]) -> Self {
        Peers(inventories.to_vec())
    }

    /// The addresses of a group's members. Where interfaces are known, a group that none of them carries
    /// has no members, as AWS says of stale rules; `None` where no interface is known.
    pub fn members(&self, group: &str) -> Option<&'a [IpNet]> {
        let known = self.0.iter().find_map(|inventory| inventory.members.get(group));
        known.map(Vec::as_slice).or_else(|| {
            let any = |test: &dyn Fn(&Inventory) -> bool| self.0.iter().any(|inventory| test(inventory));
            (any(&|i| !i.members.is_empty()) && any(&|i| i.listed.contains(group))).then_some(&[])
        })
    }

    /// What a prefix list counts as against quotas, if a file says.
    pub fn max_entries(&self, list: &str) -> Option<u32> {
        let lists = || self.0.iter().filter_map(|inventory| inventory.prefix_lists.get(list));
        let max = lists().find_map(|list| list.max_entries).and_then(|max| u32::try_from(max).ok());
        // Of its own lists AWS prints none.
        max.or_else(|| lists().find_map(|list| quota::aws_weight(list.name.as_deref()?)))
    }

    /// The blocks of a prefix list.
    pub fn entries(&self, list: &str) -> Option<&'a [IpNet]> {
        self.0.iter().find_map(|inventory| inventory.prefix_lists.get(list)?.entries.as_deref())
    }
}
