//! Rules tried one by one, in order.

use super::{Evaluate, RuleMatch, RuleSet};
use crate::packet::{Direction, Packet};
use ipnet::IpNet;

/// A rule in the form in which it is scanned. `A` is the address type: `u32` or `u128`.
#[derive(Clone, Copy)]
struct Scanned<A> {
    network: A,
    mask: A,
    /// First and last port, or 0 and 65,535.
    low: u16,
    high: u16,
    protocol: u8,
    /// The protocol does not matter.
    any_protocol: bool,
    /// The port does not matter, and need not be known.
    any_port: bool,
    allow: bool,
    index: u32,
}

/// A rule set for scanning: one list a direction and address family.
#[derive(Clone, Default)]
pub struct Linear {
    v4: [Vec<Scanned<u32>>; 2],
    v6: [Vec<Scanned<u128>>; 2],
}

impl Linear {
    /// Sorts the rules by direction and family; their order is kept.
    pub fn new(rules: &RuleSet) -> Self {
        let mut linear = Linear::default();
        for direction in [Direction::In, Direction::Out] {
            for (index, rule) in rules.rules(direction) {
                let (low, high) = rule.ports.unwrap_or((0, u16::MAX));
                let blank = Scanned {
                    network: (),
                    mask: (),
                    low,
                    high,
                    protocol: rule.protocol.unwrap_or(0),
                    any_protocol: rule.protocol.is_none(),
                    any_port: rule.ports.is_none(),
                    allow: rule.allow,
                    index,
                };
                match rule.remote {
                    IpNet::V4(net) => {
                        linear.v4[direction.index()].push(blank.with(net.network().to_bits(), net.netmask().to_bits()));
                    }
                    IpNet::V6(net) => {
                        linear.v6[direction.index()].push(blank.with(net.network().to_bits(), net.netmask().to_bits()));
                    }
                }
            }
        }
        linear
    }
}

impl Scanned<()> {
    fn with<A>(self, network: A, mask: A) -> Scanned<A> {
        let Scanned { low, high, protocol, any_protocol, any_port, allow, index, .. } = self;
        Scanned { network, mask, low, high, protocol, any_protocol, any_port, allow, index }
    }
}

impl Evaluate for Linear {
    #[inline]
    fn first_match(&self, packet: &Packet) -> Option<RuleMatch> {
        let direction = packet.direction().index();
        let remote = packet.outer_remote();
        if packet.is_ipv6() {
            scan(&self.v6[direction], u128::from_be_bytes(remote), packet)
        } else {
            let [a, b, c, d, ..] = remote;
            scan(&self.v4[direction], u32::from_be_bytes([a, b, c, d]), packet)
        }
    }
}

#[inline(always)]
fn scan<A: Copy + PartialEq + std::ops::BitAnd<Output = A>>(
    rules: &[Scanned<A>],
    remote: A,
    packet: &Packet,
) -> Option<RuleMatch> {
    let protocol = packet.outer_protocol();
    let port = packet.match_port();
    let (known, port) = (port.is_some(), port.unwrap_or(0));
    rules
        .iter()
        .find(|rule| {
            // `&` and `|` on purpose: one unpredictable branch a rule instead of four.
            (rule.any_protocol | (rule.protocol == protocol))
                & (rule.any_port | (known & (rule.low <= port) & (port <= rule.high)))
                & (remote & rule.mask == rule.network)
        })
        .map(|rule| RuleMatch { rule: rule.index, allow: rule.allow })
}
