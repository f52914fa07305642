//! The protected addresses: they give each packet its direction.

use super::{Direction, Ignored};
use ipnet::IpNet;
use std::net::IpAddr;

/// A set of CIDR blocks. A packet with one end in it is evaluated; with none or, unless asked for, both it is
/// ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// First and last address of each, disjoint and in ascending order.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    pairs: bool,
    destinations: bool,
}

/// Up to so many blocks are tried one by one.
const FEW: usize = 8;

impl Inside {
    /// The union of the blocks. Host bits are ignored.
    pub fn new(blocks: &[IpNet]) -> Self {
        let mut inside = Inside::default();
        for block in blocks {
            match block {
                IpNet::V4(net) => inside.v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => inside.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        merge(&mut inside.v4);
        merge(&mut inside.v6);
        inside
    }

    /// Packets between two protected addresses are evaluated as well, with the lower one as the local end.
    pub fn with_pairs(mut self) -> Self {
        self.pairs = true;
        self
    }

    /// True if packets between two protected addresses are evaluated.
    #[inline]
    pub fn has_pairs(&self) -> bool {
        self.pairs
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

    /// Which way a packet goes, or why it is not evaluated. Its ends come as numbers of an address family that
    /// [`Inside::ends_v4`] or [`Inside::ends_v6`] looked up.
    #[inline(always)]
    pub(super) fn direction<A: Ord>(
        &self,
        ends: (bool, bool),
        source: A,
        destination: A,
    ) -> Result<Direction, Ignored> {
        let is_out = match ends {
            (source_is, destination_is) if source_is != destination_is => source_is,
            (false, _) => return Err(Ignored::NeitherInside),
            (true, _) if !self.pairs => return Err(Ignored::BothInside),
            // Whoever sends: both directions of a flow need the same local end.
            (true, _) => source <= destination,
        };
        Ok(if is_out { Direction::Out } else { Direction::In })
    }

    /// As [`Inside::ends`], of IPv4 addresses as numbers.
    #[inline(always)]
    pub(super) fn ends_v4(&self, source: u32, destination: u32) -> (bool, bool) {
        if self.destinations {
            return (false, true);
        }
        (holds(&self.v4, source), holds(&self.v4, destination))
    }

    /// As [`Inside::ends`], of IPv6 addresses as numbers.
    #[inline(always)]
    pub(super) fn ends_v6(&self, source: u128, destination: u128) -> (bool, bool) {
        if self.destinations {
            return (false, true);
        }
        (holds(&self.v6, source), holds(&self.v6, destination))
    }

    /// True if no block was given.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// True if the address is protected.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => holds(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => holds(&self.v6, v6.to_bits()),
        }
    }
}

/// Blocks either contain each other or have nothing in common.
fn merge<A: Ord + Copy>(blocks: &mut Vec<(A, A)>) {
    blocks.sort_unstable();
    blocks.dedup_by(|next, kept| {
        let inside = next.0 <= kept.1;
        if inside {
            kept.1 = kept.1.max(next.1);
        }
        inside
    });
}

#[inline(always)]
fn holds<A: Ord + Copy>(blocks: &[(A, A)], address: A) -> bool {
    // Both are looked at, without a branch: one may as well be true as the other.
    if let [(first, last)] = blocks {
        return (*first <= address) & (address <= *last);
    }
    if blocks.len() <= FEW {
        return blocks.iter().any(|(first, last)| *first <= address && address <= *last);
    }
    let after = blocks.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|at| address <= blocks[at].1)
}
