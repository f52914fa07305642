//! The protected addresses: they give each packet its direction.

use ipnet::IpNet;
use std::net::IpAddr;

/// A set of CIDR blocks. A packet with one end in it is evaluated; with none or both it is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    destinations: bool,
}

impl Inside {
    /// The union of the blocks. Host bits are ignored.
    pub fn new(blocks: &[IpNet]) -> Self {
        let mut inside = Inside::default();
        for block in blocks {
            match block {
                IpNet::V4(net) => inside.v4.push((net.network().to_bits(), net.netmask().to_bits())),
                IpNet::V6(net) => inside.v6.push((net.network().to_bits(), net.netmask().to_bits())),
            }
        }
        inside
    }

    /// Whatever a packet is sent to: every packet goes in. For traces that only list headers.
    pub fn destinations() -> Self {
        Inside { destinations: true, ..Inside::default() }
    }

    /// Whether a packet's source and its destination are protected.
    #[inline]
    pub fn ends(&self, source: IpAddr, destination: IpAddr) -> (bool, bool) {
        if self.destinations {
            return (false, true);
        }
        (self.contains(source), self.contains(destination))
    }

    /// True if no block was given.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// True if the address is protected.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4.iter().any(|(net, mask)| v4.to_bits() & mask == *net),
            IpAddr::V6(v6) => self.v6.iter().any(|(net, mask)| v6.to_bits() & mask == *net),
        }
    }
}
