//! All the twins of a workload: one, or where rules differ by interface one for each subnet, for a network ACL filters
//! what enters or leaves a subnet.
//!
//! A subnet's twin lets pass what the groups of *any* of its interfaces do: an ACL does not tell them apart. Traffic
//! within a subnet meets no ACL, so no twin is made of it.

use super::{Ephemeral, Exposed, Needs, exposure, twin};
use crate::engine::Decision;
use crate::packet::{Packet, address};
use crate::policy::path::Attached;
use crate::policy::{Inventory, RuleSet, World};
use serde::Serialize;
use std::collections::BTreeMap;

/// A network ACL in the place of security groups.
#[derive(Clone, Debug)]
pub struct Twin {
    /// The subnet that it is for, where rules differ by interface.
    pub subnet: Option<String>,
    /// All rules of the groups that it stands for.
    pub groups: RuleSet,
    /// The answers that the trace holds.
    pub needs: Needs,
    /// Its rules.
    pub rules: RuleSet,
    /// What it exposes.
    pub exposed: Vec<Exposure>,
}

/// What a twin lets pass to and from some interfaces that the rules of their own groups do not.
#[derive(Clone, Debug, Serialize)]
pub struct Exposure {
    /// The interfaces; none where one set of rules holds for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Their groups, joined by `+`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub groups: String,
    /// The packets.
    pub exposed: Vec<Exposed>,
}

/// Ids of interfaces of which no file says the subnet: no twin filters their packets.
pub type WithoutSubnet = Vec<String>;

impl Twin {
    /// The one twin where one set of rules holds for all.
    pub fn of_all(groups: &RuleSet, packets: &[Packet], decisions: &[Decision], ephemeral: Ephemeral) -> Twin {
        let needs = Needs::of(packets, decisions);
        let rules = twin(groups, &needs, ephemeral);
        let exposed = exposure(&rules, groups);
        let exposed = vec![Exposure { interfaces: Vec::new(), groups: String::new(), exposed }];
        Twin { subnet: None, groups: groups.clone(), needs, rules, exposed }
    }

    /// The twins of all subnets in the order of their ids.
    pub fn of_subnets(
        groups: &Attached,
        packets: &[Packet],
        decisions: &[Decision],
        ephemeral: Ephemeral,
    ) -> (Vec<Twin>, WithoutSubnet) {
        let inventory = &*groups.inventory;
        let mut sets: BTreeMap<&str, BTreeMap<u32, Vec<String>>> = BTreeMap::new();
        let mut without = Vec::new();
        for (interface, set) in inventory.interfaces.iter().zip(&groups.of) {
            match (&interface.subnet, set) {
                (Some(subnet), Some(set)) => {
                    sets.entry(subnet).or_default().entry(*set).or_default().push(interface.id.clone());
                }
                _ => without.push(interface.id.clone()),
            }
        }
        let mut needs: BTreeMap<&str, Needs> = BTreeMap::new();
        for (packet, decision) in packets.iter().zip(decisions) {
            for view in [*packet, packet.mirrored()] {
                if let Some(subnet) = crossed(inventory, &view) {
                    needs.entry(subnet).or_default().see(&view, *decision);
                }
            }
        }
        let one = |(subnet, sets): (&str, BTreeMap<u32, Vec<String>>)| {
            let mut all = RuleSet::new(World::SecurityGroups);
            sets.keys().for_each(|set| all.append(&groups.sets[*set as usize]));
            let needs = needs.remove(subnet).unwrap_or_default();
            let rules = twin(&all, &needs, ephemeral);
            let exposed = sets.into_iter().map(|(set, interfaces)| {
                let (groups, of_groups) = (groups.names[set as usize].clone(), &groups.sets[set as usize]);
                Exposure { interfaces, groups, exposed: exposure(&rules, of_groups) }
            });
            Twin { subnet: Some(subnet.to_owned()), groups: all, exposed: exposed.collect(), needs, rules }
        };
        (sets.into_iter().map(one).collect(), without)
    }
}

/// The subnet of the local end, if the packet enters or leaves it.
fn crossed<'a>(inventory: &'a Inventory, view: &Packet) -> Option<&'a str> {
    let own = inventory.interface_of(view.local_addr())?;
    let subnet = inventory.interfaces[own].subnet.as_deref()?;
    let remote = address(view.outer_remote(), view.is_ipv6());
    (!inventory.is_in_subnet(subnet, remote)).then_some(subnet)
}
