//! AWS's untracked connections: flows that a security group passes by its rules alone.
//!
//! EC2 user guide, "Security group connection tracking", "Untracked connections": a TCP or UDP flow
//! is not tracked if a rule permits it for all traffic (0.0.0.0/0 or ::/0) and a rule of the other
//! direction permits all response traffic (0.0.0.0/0 or ::/0) for all ports (0-65535), unless the
//! connection is tracked automatically. IPv4 and IPv6 are decided apart.
//!
//! What AWS leaves open, and what is assumed here:
//! - A flow that a narrow rule permits as well as one for all traffic is untracked: groups are a union.
//! - "All traffic" is prefix length 0; `0.0.0.0/1` with `128.0.0.0/1` is not. "All ports" is one
//!   rule; two that share the ports out are not.
//! - A fragment without ports is untracked only where every port is, as it is matched by rules for
//!   all ports only.

use super::linear::NO_PORT;
use super::{Rule, RuleSet, World};
use crate::packet::{Direction, Inside, Packet, flags, protocol};
use ipnet::IpNet;

/// Which flows are untracked, by one test that gives the same answer for both directions of a flow.
#[derive(Clone, Debug, Default)]
pub struct Untracked {
    /// By address family and protocol: TCP over IPv4, TCP over IPv6, UDP over IPv4, UDP over IPv6.
    flows: [Ports; 4],
    any: bool,
    auto_tracked: Inside,
}

/// The ports by which a flow of one family and protocol is untracked.
#[derive(Clone, Debug, Default)]
struct Ports {
    local: Ranges,
    remote: Ranges,
}

impl Untracked {
    /// The rule applied to security groups. Under a network ACL nothing is tracked, nor untracked.
    pub fn new(rules: &RuleSet) -> Untracked {
        let mut untracked = Untracked::default();
        if rules.world != World::SecurityGroups {
            return untracked;
        }
        for (flows, (protocol, ipv6)) in untracked.flows.iter_mut().zip([
            (protocol::TCP, false),
            (protocol::TCP, true),
            (protocol::UDP, false),
            (protocol::UDP, true),
        ]) {
            let open = |direction| open_ports(rules, direction, protocol, ipv6);
            let (ingress, egress) = (open(Direction::In), open(Direction::Out));
            // Ingress is matched by the local port, egress by the remote one.
            flows.local = if egress.iter().any(is_all) { Ranges::new(&ingress) } else { Ranges::default() };
            flows.remote = if ingress.iter().any(is_all) { Ranges::new(&egress) } else { Ranges::default() };
        }
        untracked.any = untracked.flows.iter().any(|flows| !flows.local.is_empty() || !flows.remote.is_empty());
        untracked
    }

    /// Tracks all flows with these peers, whatever the rules: paths that AWS tracks automatically,
    /// as through NAT gateways, Network Load Balancers and AWS PrivateLink.
    pub fn with_auto_tracked(mut self, peers: &[IpNet]) -> Untracked {
        self.auto_tracked = Inside::new(peers);
        self
    }

    /// True if no flow can be untracked.
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// True if the packet's flow is untracked. Only for TCP and UDP: ICMP is always tracked, errors
    /// included, and so are other protocols.
    #[inline]
    pub fn is_untracked(&self, packet: &Packet) -> bool {
        self.any && self.is_untracked_by_rules(packet)
    }

    #[inline]
    fn is_untracked_by_rules(&self, packet: &Packet) -> bool {
        let first = match packet.protocol {
            protocol::TCP => 0,
            protocol::UDP => 2,
            _ => return false,
        };
        if packet.has(flags::ICMP_ERROR) {
            return false;
        }
        let ports = &self.flows[first + usize::from(packet.is_ipv6())];
        let no_port = packet.has(flags::NO_PORTS);
        let port = |port: u16| if no_port { NO_PORT } else { port.into() };
        (ports.local.contains(port(packet.local_port)) || ports.remote.contains(port(packet.remote_port)))
            && (self.auto_tracked.is_empty() || !self.auto_tracked.contains(packet.remote_addr()))
    }
}

/// The port ranges that one direction permits for all traffic.
fn open_ports(rules: &RuleSet, direction: Direction, protocol: u8, ipv6: bool) -> Vec<(u32, u32)> {
    let is_open = |rule: &Rule| {
        rule.allow
            && rule.remote.prefix_len() == 0
            && matches!(rule.remote, IpNet::V6(_)) == ipv6
            && rule.protocol.is_none_or(|wanted| wanted == protocol)
    };
    let open = rules.rules(direction).filter(|(_, rule)| is_open(rule));
    open.map(|(_, rule)| rule.ports.map_or((0, NO_PORT), |(low, high)| (low.into(), high.into()))).collect()
}

/// True for a range of all ports.
fn is_all(&(low, high): &(u32, u32)) -> bool {
    low == 0 && high >= u32::from(u16::MAX)
}

/// Disjoint ranges of ports in ascending order, both ends included; [`NO_PORT`] counts as a port.
///
/// Rarely more than three, so they share a cache line, which a bitmap of 8 KiB would not.
#[derive(Clone, Debug, Default)]
struct Ranges(Box<[(u32, u32)]>);

impl Ranges {
    fn new(ranges: &[(u32, u32)]) -> Ranges {
        let mut sorted: Vec<_> = ranges.iter().copied().filter(|(low, high)| low <= high).collect();
        sorted.sort_unstable();
        // Ranges that merely touch are merged too, but none reaches NO_PORT unless it was for all ports.
        sorted.dedup_by(|next, kept| {
            let joined = next.0 <= kept.1 + 1;
            if joined {
                kept.1 = kept.1.max(next.1);
            }
            joined
        });
        Ranges(sorted.into_boxed_slice())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline(always)]
    fn contains(&self, port: u32) -> bool {
        let i = self.0.partition_point(|(_, high)| *high < port);
        self.0.get(i).is_some_and(|(low, _)| *low <= port)
    }
}
