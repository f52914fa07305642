//! Rules that differ by interface, as nftables reads them.
//!
//! Each set of rules is a chain for either direction, from which an allow returns. The way of a packet is two jumps:
//! by its source's interface to what that may send, by its destination's interface to what that may receive. What
//! comes back from both is accepted.

use super::rules::{chain, statements};
use crate::packet::Direction;
use crate::policy::World;
use crate::policy::path::Attached;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The chains of all interfaces. Those of network ACLs are by subnet as well: what stays within one returns at once.
pub(super) fn chains(text: &mut String, attached: &Attached) {
    for direction in [Direction::In, Direction::Out] {
        for (number, rules) in attached.sets.iter().enumerate() {
            let rules = rules.rules(direction).flat_map(|(_, rule)| statements(rule, direction, "return"));
            let lines: Vec<String> = rules.chain(["goto say_drop".to_owned()]).collect();
            chain(text, &set(number, direction), &lines);
        }
        for (number, place) in places(attached).into_iter().enumerate() {
            chain(text, &at_place(number, direction), &of_place(attached, place, direction));
        }
    }
}

/// What a packet does on its way: sender's side, receiver's side, and out.
pub(super) fn steps(attached: &Attached) -> Vec<String> {
    let places = places(attached);
    let mut lines = Vec::new();
    for (direction, end) in [(Direction::Out, "saddr"), (Direction::In, "daddr")] {
        for ipv6 in [false, true] {
            let mut jumps = Vec::new();
            for (number, interface) in attached.inventory.interfaces.iter().enumerate() {
                let Some(rules) = attached.of[number] else { continue };
                let subnet = interface.subnet.as_deref();
                let place = places.iter().position(|place| Some(place.subnet) == subnet && place.set == rules as usize);
                let to = place.map_or_else(|| set(rules as usize, direction), |place| at_place(place, direction));
                let addresses = interface.addresses.iter().filter(|address| address.is_ipv6() == ipv6);
                // An address that two interfaces have is the first one's.
                let own = addresses.filter(|address| attached.inventory.interface_of(**address) == Some(number));
                jumps.extend(own.map(|address| format!("{address} : jump {to}")));
            }
            if !jumps.is_empty() {
                lines.push(format!("{} {end} vmap {{ {} }}", family(ipv6), jumps.join(", ")));
            }
        }
    }
    lines.push("goto say_accept".to_owned());
    lines
}

/// A subnet's ACL, with one of the interfaces that meet it there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    subnet: &'a str,
    set: usize,
    interface: usize,
}

/// All of them; none for security groups.
fn places(attached: &Attached) -> Vec<Place<'_>> {
    if attached.world != World::NetworkAcl {
        return Vec::new();
    }
    let interfaces = attached.inventory.interfaces.iter().zip(&attached.of).enumerate();
    let mut places: Vec<Place> = interfaces
        .filter_map(|(number, (interface, set))| {
            Some(Place { subnet: interface.subnet.as_deref()?, set: (*set)? as usize, interface: number })
        })
        .collect();
    places.sort_unstable();
    places.dedup_by_key(|place| (place.subnet, place.set));
    places
}

/// Returns for what comes from, or goes to, the subnet itself; else its ACL.
fn of_place(attached: &Attached, place: Place, direction: Direction) -> Vec<String> {
    let inventory = &attached.inventory;
    let end = if direction == Direction::In { "saddr" } else { "daddr" };
    let acl = format!("goto {}", set(place.set, direction));
    let mut lines = Vec::new();
    // An interface is where its own record says, whatever its address.
    for (is_here, then) in [(true, "return"), (false, &acl)] {
        for ipv6 in [false, true] {
            let all = inventory.interfaces.iter().flat_map(|interface| &interface.addresses);
            let here = all.filter(|address| {
                address.is_ipv6() == ipv6 && inventory.is_in_subnet(place.subnet, **address) == is_here
            });
            let addresses: BTreeSet<String> = here.map(IpAddr::to_string).collect();
            if !addresses.is_empty() {
                let addresses = Vec::from_iter(addresses).join(", ");
                lines.push(format!("{} {end} {{ {addresses} }} {then}", family(ipv6)));
            }
        }
    }
    for block in inventory.subnets.get(place.subnet).iter().flat_map(|subnet| &subnet.blocks) {
        lines.push(format!("{} {end} {} return", family(block.addr().is_ipv6()), block.trunc()));
    }
    lines.push(acl);
    lines
}

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "ip6" } else { "ip" }
}

fn way(direction: Direction) -> &'static str {
    if direction == Direction::In { "in" } else { "out" }
}

fn set(number: usize, direction: Direction) -> String {
    format!("set_{number}_{}", way(direction))
}

fn at_place(number: usize, direction: Direction) -> String {
    format!("place_{number}_{}", way(direction))
}
