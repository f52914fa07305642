//! A guess of what a capture's firewall would protect.

use hashbrown::HashMap;
use ipnet::IpNet;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Share of the packets that must touch an address for it to be worth protecting.
const COVERAGE: f64 = 0.95;
/// A guess names at most so many addresses.
const LIMIT: usize = 32;

/// Hosts are counted in so many parts, on all cores; the hosts of one part fit a core's own cache.
const PARTS: usize = 8;
/// So many hosts with the most packets are looked at first: enough, unless most of them talk to each other.
const FIRST: usize = 4 * LIMIT;

/// Who talks to whom, in how many packets.
type Pair = ((IpAddr, IpAddr), u64);

/// Hosts in order of how many packets they take part in, private addresses first among equals, until 95 % of the
/// packets have an end among them. A host is skipped if it mostly talks to hosts already chosen: then it is their peer.
///
/// A pair may come more than once.
pub(super) fn inside(pairs: &(impl Iterator<Item = Pair> + Clone + Sync)) -> Vec<IpNet> {
    let mut hosts: Vec<Host> = (0..PARTS).into_par_iter().flat_map_iter(|part| count(pairs.clone(), part)).collect();
    let total = pairs.clone().map(|(_, packets)| packets).sum();
    let mut looked_at = FIRST;
    loop {
        let are_all = looked_at >= hosts.len();
        let first = match are_all {
            true => &mut hosts[..],
            false => hosts.select_nth_unstable_by_key(looked_at, |host| Reverse(host.rank())).0,
        };
        first.sort_unstable_by_key(|host| Reverse(host.rank()));
        match choose(first, pairs.clone(), total) {
            chosen if chosen.enough || are_all => return chosen.hosts.into_iter().map(IpNet::from).collect(),
            _ => looked_at *= 16,
        }
    }
}

/// A host, and the packets that it takes part in.
struct Host {
    address: IpAddr,
    packets: u64,
}

impl Host {
    fn rank(&self) -> (u64, bool, Reverse<IpAddr>) {
        (self.packets, is_private(self.address), Reverse(self.address))
    }
}

/// The hosts of a part.
fn count(pairs: impl Iterator<Item = Pair>, part: usize) -> impl Iterator<Item = Host> {
    let mut hosts: HashMap<(u128, bool), u64> = HashMap::new();
    for ((a, b), packets) in pairs {
        for host in [a, b].map(bits) {
            if part_of(host) == part {
                *hosts.entry(host).or_default() += packets;
            }
        }
    }
    let hosts = hosts.into_iter().map(|(host, packets)| Host { address: address(host), packets });
    hosts.filter(|host| is_host(host.address))
}

/// An address as a number, and whether it is IPv6: hashed more quickly than an address.
fn bits(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), false),
        IpAddr::V6(v6) => (v6.to_bits(), true),
    }
}

fn address((bits, is_v6): (u128, bool)) -> IpAddr {
    if is_v6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) }
}

/// By all bits: neither a network's nor a host's alone would spread all hosts.
fn part_of((bits, _): (u128, bool)) -> usize {
    let folded = (bits >> 64) as u64 ^ bits as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % PARTS
}

struct Chosen {
    hosts: BTreeSet<IpAddr>,
    /// No further host would be chosen.
    enough: bool,
}

/// Chooses among hosts, which come in order.
fn choose(hosts: &[Host], pairs: impl Iterator<Item = Pair>, total: u64) -> Chosen {
    let numbers: HashMap<_, usize> = hosts.iter().map(|host| bits(host.address)).zip(0..).collect();
    // Of each host, the others that it talks to, in so many packets.
    let mut peers = vec![Vec::new(); hosts.len()];
    for ((a, b), packets) in pairs {
        if let Some(a) = numbers.get(&bits(a))
            && let Some(b) = numbers.get(&bits(b))
        {
            peers[*a].push((*b, packets));
            peers[*b].push((*a, packets));
        }
    }
    let mut chosen = Chosen { hosts: BTreeSet::new(), enough: false };
    let mut is_chosen = vec![false; hosts.len()];
    let mut covered = 0;
    for (number, host) in hosts.iter().enumerate() {
        chosen.enough = covered as f64 >= COVERAGE * total as f64 || chosen.hosts.len() == LIMIT;
        if chosen.enough {
            break;
        }
        let with_chosen: u64 =
            peers[number].iter().filter(|(peer, _)| is_chosen[*peer]).map(|(_, packets)| packets).sum();
        if with_chosen * 2 <= host.packets {
            covered += host.packets - with_chosen;
            chosen.hosts.insert(host.address);
            is_chosen[number] = true;
        }
    }
    chosen
}

/// An address that a host can have.
fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_multicast() && !address.is_unspecified() && !broadcast
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}
