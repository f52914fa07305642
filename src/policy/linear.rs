//! Rules tried one after the other: what iptables and AWS's own description of network ACLs do.

use super::{Evaluate, RuleMatch, RuleSet};
use crate::packet::{Direction, Packet};
use ipnet::IpNet;
use std::ops::{BitAnd, BitXor};

/// Stands for "no port": above every port, and inside the range of a rule for all ports only.
pub(super) const NO_PORT: u32 = 1 << 16;

/// First match in order, over one array per direction and address family.
#[derive(Clone, Debug)]
pub struct Linear {
    v4: [Box<[Line<u32>]>; 2],
    v6: [Box<[Line<u128>]>; 2],
}

/// A rule for addresses of type `A`. Each of its three conditions is arithmetic without a branch, so
/// that a rule costs one branch, nearly always predicted: "no match".
#[derive(Clone, Copy, Debug)]
struct Line<A> {
    net: A,
    mask: A,
    protocol: u8,
    /// 0xff, or 0 for all protocols.
    protocol_mask: u8,
    low: u32,
    /// Highest port minus `low`.
    span: u32,
    action: RuleMatch,
}

impl<A: Copy + Default + PartialEq + BitAnd<Output = A> + BitXor<Output = A>> Line<A> {
    #[inline(always)]
    fn matches(&self, address: A, protocol: u8, port: u32) -> bool {
        ((address ^ self.net) & self.mask == A::default())
            & ((protocol ^ self.protocol) & self.protocol_mask == 0)
            & (port.wrapping_sub(self.low) <= self.span)
    }
}

impl Linear {
    /// Compacts the rules. They keep their order and their indices.
    pub fn new(rules: &RuleSet) -> Linear {
        Linear::numbered_from(0, rules)
    }

    /// The same, for rules that stand behind `first` others in a larger set.
    pub fn numbered_from(first: u32, rules: &RuleSet) -> Linear {
        let mut v4 = [Vec::new(), Vec::new()];
        let mut v6 = [Vec::new(), Vec::new()];
        for direction in [Direction::In, Direction::Out] {
            for (index, rule) in rules.rules(direction) {
                let (low, high) = rule.ports.map_or((0, NO_PORT), |(low, high)| (low.into(), high.into()));
                if low > high {
                    continue; // An empty range matches nothing; its span would wrap around to everything.
                }
                let (protocol, protocol_mask) = rule.protocol.map_or((0, 0), |protocol| (protocol, 0xff));
                let action = RuleMatch { rule: first + index, allow: rule.allow };
                let span = high - low;
                match rule.remote {
                    IpNet::V4(block) => {
                        let (net, mask) = (block.network().to_bits(), block.netmask().to_bits());
                        v4[direction.index()].push(Line { net, mask, protocol, protocol_mask, low, span, action });
                    }
                    IpNet::V6(block) => {
                        let (net, mask) = (block.network().to_bits(), block.netmask().to_bits());
                        v6[direction.index()].push(Line { net, mask, protocol, protocol_mask, low, span, action });
                    }
                }
            }
        }
        Linear { v4: v4.map(Vec::into_boxed_slice), v6: v6.map(Vec::into_boxed_slice) }
    }
}

impl Evaluate for Linear {
    #[inline]
    fn first_match(&self, packet: &Packet) -> Option<RuleMatch> {
        let protocol = packet.outer_protocol();
        let port = packet.match_port().map_or(NO_PORT, u32::from);
        let direction = packet.direction().index();
        if packet.is_ipv6() {
            first(&self.v6[direction], u128::from_be_bytes(packet.outer_remote()), protocol, port)
        } else {
            first(&self.v4[direction], packet.outer_remote_v4(), protocol, port)
        }
    }
}

#[inline(always)]
fn first<A>(lines: &[Line<A>], address: A, protocol: u8, port: u32) -> Option<RuleMatch>
where
    A: Copy + Default + PartialEq + BitAnd<Output = A> + BitXor<Output = A>,
{
    lines.iter().find(|line| line.matches(address, protocol, port)).map(|line| line.action)
}
