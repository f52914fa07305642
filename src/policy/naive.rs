//! The plainest evaluation of rules: the judge of all others.

use super::{Rule, RuleMatch, RuleSet};
use crate::packet::{Packet, address};

impl Rule {
    /// True if the rule covers the packet, whose direction must be the rule's.
    pub fn matches(&self, packet: &Packet) -> bool {
        let remote = address(packet.outer_remote(), packet.is_ipv6());
        let protocol = packet.outer_protocol();
        // A block of one family contains no address of the other.
        self.remote.contains(&remote)
            && self.protocol.is_none_or(|wanted| protocol == wanted)
            && self.ports.is_none_or(|(low, high)| packet.match_port().is_some_and(|port| low <= port && port <= high))
    }
}

impl RuleSet {
    /// The first rule of the packet's direction that matches it. Slow and obvious.
    pub fn first_match_naive(&self, packet: &Packet) -> Option<RuleMatch> {
        self.rules(packet.direction())
            .find(|(_, rule)| rule.matches(packet))
            .map(|(index, rule)| RuleMatch { rule: index, allow: rule.allow })
    }
}
