//! A guess of what a capture's firewall would protect.

use hashbrown::HashMap;
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::IpAddr;

/// Share of the packets that must touch an address for it to be worth protecting.
const COVERAGE: f64 = 0.95;
/// A guess names at most so many addresses.
const LIMIT: usize = 32;

/// Hosts in order of how many packets they take part in, private addresses first among equals, until 95 % of the
/// packets have an end among them. A host is skipped if it mostly talks to hosts already chosen: then it is their peer.
///
/// `pairs`: who talks to whom, in how many packets; a pair may come more than once.
pub(super) fn inside(pairs: impl Iterator<Item = ((IpAddr, IpAddr), u64)>) -> Vec<IpNet> {
    let mut numbers: HashMap<IpAddr, u32> = HashMap::new();
    let mut hosts: Vec<(IpAddr, u64)> = Vec::new();
    let mut number = |host: IpAddr, packets: u64| {
        let number = *numbers.entry(host).or_insert_with(|| {
            hosts.push((host, 0));
            hosts.len() as u32 - 1
        });
        hosts[number as usize].1 += packets;
        number
    };
    let mut pairs: Vec<(u32, u32, u64)> =
        pairs.map(|((a, b), packets)| (number(a, packets), number(b, packets), packets)).collect();
    let total: u64 = pairs.iter().map(|(_, _, packets)| packets).sum();
    // Packets of each host with hosts already chosen.
    let mut with_chosen = vec![0; hosts.len()];
    // Few are looked at: a heap need not put the rest in order.
    let rank = |(at, (host, packets)): (u32, &(IpAddr, u64))| (*packets, is_private(*host), Reverse(*host), at);
    let mut order: BinaryHeap<_> = (0..).zip(&hosts).filter(|(_, (host, _))| is_host(*host)).map(rank).collect();
    let mut chosen: BTreeSet<IpAddr> = BTreeSet::new();
    let mut covered = 0;
    while let Some((packets, _, Reverse(host), at)) = order.pop() {
        if covered as f64 >= COVERAGE * total as f64 || chosen.len() == LIMIT {
            break;
        }
        let with_others = with_chosen[at as usize];
        if with_others * 2 <= packets {
            covered += packets - with_others;
            chosen.insert(host);
            // Whose end is chosen is not looked at again: the other end knows by now.
            pairs.retain(|(a, b, packets)| {
                let has_chosen = *a == at || *b == at;
                if has_chosen {
                    with_chosen[if *a == at { *b } else { *a } as usize] += packets;
                }
                !has_chosen
            });
        }
    }
    chosen.into_iter().map(IpNet::from).collect()
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
