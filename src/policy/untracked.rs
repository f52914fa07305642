//! AWS's untracked flows (EC2 user guide, "Security group connection tracking").
//!
//! A TCP or UDP flow is not tracked if a rule permits it from or to everyone (0.0.0.0/0, or ::/0 for
//! IPv6) and the other direction permits everyone on all ports. The guide decides by flow and
//! address family, not by group. Where a rule for everyone and a narrower one permit the same flow,
//! the union permits everyone, so it counts as untracked (an assumption: the guide is silent).

use super::RuleSet;
use crate::packet::{Direction, Packet, flags, protocol};
use ipnet::IpNet;

/// Ports of one protocol and direction that everyone is permitted, one bit each.
type Ports = Box<[u64; 1024]>;

/// Which flows a set of security groups leaves untracked: for each family and protocol, by the
/// service port on either end.
pub struct Untracked {
    /// `[family][protocol]`: flows that came in, by local port; flows that went out, by remote port.
    /// Absent: none.
    by_port: [[[Option<Ports>; 2]; 2]; 2],
    auto_tracked: Vec<IpNet>,
    any: bool,
}

impl Untracked {
    /// Works out which ports are open to everyone. `auto_tracked`: peers whose flows AWS tracks
    /// whatever the rules.
    pub fn new(rules: &RuleSet, auto_tracked: &[IpNet]) -> Self {
        let by_port = [false, true].map(|ipv6| {
            [protocol::TCP, protocol::UDP].map(|number| {
                let open = [Direction::In, Direction::Out].map(|d| open_to_everyone(rules, d, ipv6, number));
                let all = |ports: &Ports| ports.iter().all(|word| *word == u64::MAX);
                let [inbound, outbound] = open;
                let (inbound_all, outbound_all) = (all(&inbound), all(&outbound));
                let some = |ports: Ports| ports.iter().any(|word| *word != 0).then_some(ports);
                [outbound_all.then(|| some(inbound)).flatten(), inbound_all.then(|| some(outbound)).flatten()]
            })
        });
        let any = by_port.iter().flatten().flatten().any(Option::is_some);
        Untracked { by_port, auto_tracked: auto_tracked.to_vec(), any }
    }

    /// True if packets of this flow are for the rules alone. The same for both directions of a flow.
    #[inline(always)]
    pub fn is_untracked(&self, packet: &Packet) -> bool {
        self.any && self.look_up(packet)
    }

    fn look_up(&self, packet: &Packet) -> bool {
        let number = match packet.protocol {
            protocol::TCP => 0,
            protocol::UDP => 1,
            _ => return false,
        };
        // ICMP errors are ICMP, which is always tracked.
        if packet.flags & (flags::ICMP_ERROR | flags::NO_PORTS) != 0 {
            return false;
        }
        let [inbound, outbound] = &self.by_port[usize::from(packet.is_ipv6())][number];
        let holds = |ports: &Option<Ports>, port: u16| {
            ports.as_ref().is_some_and(|ports| ports[usize::from(port >> 6)] >> (port & 63) & 1 != 0)
        };
        (holds(inbound, packet.local_port) || holds(outbound, packet.remote_port))
            && !self.auto_tracked.iter().any(|block| block.contains(&packet.remote_addr()))
    }
}

/// The ports of one protocol that rules open to all addresses of a family.
fn open_to_everyone(rules: &RuleSet, direction: Direction, ipv6: bool, number: u8) -> Ports {
    let mut ports = Box::new([0u64; 1024]);
    for (_, rule) in rules.rules(direction) {
        let everyone = rule.allow && rule.remote.prefix_len() == 0 && rule.remote.addr().is_ipv6() == ipv6;
        if everyone && rule.protocol.is_none_or(|p| p == number) {
            let (low, high) = rule.ports.unwrap_or((0, u16::MAX));
            (low..=high).for_each(|port| ports[usize::from(port >> 6)] |= 1 << (port & 63));
        }
    }
    ports
}
