//! Addresses and ports of new flows.

use super::random::mix;
use ipnet::IpNet;
use std::net::IpAddr;

/// The hosts of one family in some blocks, numbered.
pub(super) struct Hosts {
    blocks: Vec<(u128, u64)>,
    count: u64,
    v6: bool,
}

/// More of a block are not used: enough for every port of a million clients.
const MAX_HOSTS: u64 = 1 << 22;
/// Where ephemeral ports begin, and how many there are: Linux' `ip_local_port_range`.
const EPHEMERAL: (u64, u64) = (32_768, 28_232);

impl Hosts {
    pub(super) fn new(blocks: &[IpNet], v6: bool) -> Self {
        let of_family = blocks.iter().filter(|block| matches!(block, IpNet::V6(_)) == v6);
        let blocks: Vec<(u128, u64)> = of_family
            .map(|block| {
                let base = match block.network() {
                    IpAddr::V4(v4) => u128::from(v4.to_bits()),
                    IpAddr::V6(v6) => v6.to_bits(),
                };
                let bits = u32::from(block.max_prefix_len() - block.prefix_len());
                // Neither the network's own address nor the broadcast address is a host's.
                match bits {
                    0 => (base, 1),
                    1 => (base, 2),
                    2..64 => (base + 1, ((1u64 << bits) - 2).min(MAX_HOSTS)),
                    _ => (base + 1, MAX_HOSTS),
                }
            })
            .collect();
        let count = blocks.iter().map(|(_, count)| count).sum();
        Hosts { blocks, count, v6 }
    }

    #[cfg(test)]
    fn count(&self) -> u64 {
        self.count
    }

    /// A host by number, modulo their count.
    #[inline]
    pub(super) fn address(&self, number: u64) -> [u8; 16] {
        let mut number = number % self.count.max(1);
        for (first, count) in &self.blocks {
            if number < *count {
                let value = first + u128::from(number);
                // IPv4 stands in the first four bytes.
                return if self.v6 { value.to_be_bytes() } else { (value << 96).to_be_bytes() };
            }
            number -= count;
        }
        [0; 16]
    }

    /// Client and port of the `n`-th flow: no pair twice before each client has used each of its ports. Clients
    /// come in turn, in an order without pattern to a hash; ports of a client rise in steps, as where several
    /// programs draw from one range.
    #[inline]
    pub(super) fn client(&self, n: u64) -> ([u8; 16], u16) {
        let count = self.count.max(1);
        let (round, turn) = (n / count, n % count);
        // Odd and above the square root: coprime to most counts; else the turn itself.
        let step = 0x9e37_79b1 % count;
        let number = if gcd(step, count) == 1 { turn * step % count } else { turn };
        let port = (round % EPHEMERAL.1 * 9_973 + mix(number) % EPHEMERAL.1) % EPHEMERAL.1;
        (self.address(number), (EPHEMERAL.0 + port) as u16)
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_client_uses_a_port_twice_in_its_range() {
        for blocks in ["198.18.0.0/24", "198.18.0.9/32", "2001:db8::/125"] {
            let block: IpNet = blocks.parse().unwrap();
            let hosts = Hosts::new(&[block], matches!(block, IpNet::V6(_)));
            let flows = (hosts.count() * EPHEMERAL.1).min(200_000);
            let pairs: HashSet<_> = (0..flows).map(|n| hosts.client(n)).collect();
            assert_eq!(pairs.len() as u64, flows, "{blocks}");
        }
    }

    #[test]
    fn hosts_lie_in_their_blocks() {
        let blocks: Vec<IpNet> = ["10.0.0.0/30", "192.0.2.7/32"].map(|b| b.parse().unwrap()).to_vec();
        let hosts = Hosts::new(&blocks, false);
        let found: Vec<_> = (0..4).map(|n| hosts.address(n)[..4].to_vec()).collect();
        assert_eq!(found, [[10, 0, 0, 1], [10, 0, 0, 2], [192, 0, 2, 7], [10, 0, 0, 1]]);
        assert_eq!(Hosts::new(&blocks, true).count(), 0);
    }
}
