//! Rules by interface, step by step: the judge's own way along the path.

use super::first_match as match_in;
use crate::packet::{Direction, Packet, address};
use crate::policy::World;
use crate::policy::path::Attached;

/// The decision of one world: its number behind the rule that stands for no step, and whether it allows.
pub fn first_match(attached: &Attached, packet: &Packet) -> Option<(u32, bool)> {
    let leaving = if packet.direction() == Direction::Out { *packet } else { packet.mirrored() };
    let arriving = leaving.mirrored();
    let mut decision = Some((0, true));
    for view in [leaving, arriving] {
        let Some(own) = attached.inventory.interface_of(view.local_addr()) else { continue };
        let Some(set) = attached.of[own] else { continue };
        if attached.world == World::NetworkAcl && within_subnet(attached, own, &view) {
            continue;
        }
        let before: usize = attached.sets[..set as usize].iter().map(|rules| rules.len()).sum();
        decision = match_in(&attached.sets[set as usize], &view).map(|(rule, allow)| (1 + before as u32 + rule, allow));
        if !matches!(decision, Some((_, true))) {
            return decision;
        }
    }
    decision
}

/// True if the other end is in the subnet of this interface: then no network ACL is met.
fn within_subnet(attached: &Attached, own: usize, view: &Packet) -> bool {
    let inventory = &attached.inventory;
    let Some(subnet) = &inventory.interfaces[own].subnet else { return false };
    let other = address(view.outer_remote(), view.is_ipv6());
    match inventory.interface_of(other) {
        Some(interface) => inventory.interfaces[interface].subnet.as_ref() == Some(subnet),
        None => match inventory.subnets.get(subnet) {
            Some(known) => known.blocks.iter().any(|block| block.contains(&other)),
            None => false,
        },
    }
}
