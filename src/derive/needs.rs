//! Which answers a trace holds: what a filter without memory must let pass for its conversations.

use super::is_v6;
use crate::engine::{Decision, State, Verdict};
use crate::packet::{Direction, FlowKey, Packet, flags, protocol};
use crate::policy::RuleSet;
use std::collections::{BTreeSet, HashMap};

/// Answers and errors that passed because their connection was tracked.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Destination ports of answers: direction, protocol, IPv6.
    ports: BTreeSet<(usize, u8, bool, u16)>,
    /// Types of ICMP answers: direction, IPv6, type.
    icmp_answers: BTreeSet<(usize, bool, u8)>,
    /// Types of ICMP errors.
    icmp_errors: BTreeSet<(usize, bool, u8)>,
    /// Other protocols: direction, IPv6, number.
    others: BTreeSet<(usize, bool, u8)>,
    /// Which way each flow's requests go.
    opened: HashMap<FlowKey, Direction>,
}

/// The first port that clients take by themselves: those below are given to services (RFC 6335, section 6).
const FIRST_EPHEMERAL: u16 = 1024;

impl Needs {
    /// What the packets need that the stateful reference accepted.
    pub fn of(packets: &[Packet], decisions: &[Decision]) -> Needs {
        let mut needs = Needs::default();
        packets.iter().zip(decisions).for_each(|(packet, decision)| needs.see(packet, *decision));
        needs
    }

    /// The next packet of the trace.
    pub(super) fn see(&mut self, packet: &Packet, decision: Decision) {
        if decision.verdict() != Verdict::Accept {
            return;
        }
        let direction = packet.direction();
        match decision.state() {
            State::New if !packet.has(flags::ICMP_ERROR) => {
                // Until the answer comes, requests are new, each of them.
                self.opened.insert(packet.flow_key(), direction);
            }
            State::Related => {
                self.icmp_errors.insert((direction.index(), packet.is_ipv6(), packet.tcp_flags_or_icmp_type));
            }
            State::Established if self.opened.get(&packet.flow_key()) != Some(&direction) => self.add(packet),
            _ => {}
        }
    }

    fn add(&mut self, packet: &Packet) {
        let (direction, ipv6) = (packet.direction().index(), packet.is_ipv6());
        match (packet.outer_protocol(), packet.match_port()) {
            (number @ (protocol::TCP | protocol::UDP), Some(port)) => {
                self.ports.insert((direction, number, ipv6, port));
            }
            // No rule for ports covers a fragment without them.
            (protocol::TCP | protocol::UDP, None) => {}
            (protocol::ICMP | protocol::ICMPV6, _) => {
                self.icmp_answers.insert((direction, ipv6, packet.tcp_flags_or_icmp_type));
            }
            (number, _) => {
                self.others.insert((direction, ipv6, number));
            }
        }
    }

    /// The fewest ranges that hold all ports: one above 1023, and those below as they are.
    pub fn port_ranges(&self, direction: Direction, number: u8, ipv6: bool) -> Vec<(u16, u16)> {
        let of = |port| (direction.index(), number, ipv6, port);
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (_, _, _, port) in self.ports.range(of(0)..=of(u16::MAX)) {
            match ranges.last_mut() {
                Some((low, high)) if *high + 1 == *port || *low >= FIRST_EPHEMERAL => *high = *port,
                _ => ranges.push((*port, *port)),
            }
        }
        ranges
    }

    pub(super) fn has_icmp_answer(&self, direction: Direction, ipv6: bool, icmp_type: u8) -> bool {
        self.icmp_answers.contains(&(direction.index(), ipv6, icmp_type))
    }

    pub(super) fn icmp_errors(&self, direction: Direction, ipv6: bool) -> impl Iterator<Item = u8> {
        let of = |icmp_type| (direction.index(), ipv6, icmp_type);
        self.icmp_errors.range(of(0)..=of(u8::MAX)).map(|(_, _, icmp_type)| *icmp_type)
    }

    pub(super) fn other_protocols(&self, direction: Direction, ipv6: bool) -> impl Iterator<Item = u8> {
        let of = |number| (direction.index(), ipv6, number);
        self.others.range(of(0)..=of(u8::MAX)).map(|(_, _, number)| *number)
    }

    /// Rules whose answers the trace does not show, so that [`super::Ephemeral::FromTrace`] opens no
    /// ports for them: their names, with the protocols.
    pub fn unseen(&self, groups: &RuleSet) -> Vec<String> {
        let mut all = Vec::new();
        for direction in [Direction::In, Direction::Out] {
            let back = super::opposite(direction);
            for (_, rule) in groups.rules(direction) {
                for (number, name) in [(protocol::TCP, "TCP"), (protocol::UDP, "UDP")] {
                    let is = rule.protocol.is_none_or(|wanted| wanted == number);
                    if is && self.port_ranges(back, number, is_v6(&rule.remote)).is_empty() {
                        all.push(format!("{} {} ({name})", rule.name, rule.remote));
                    }
                }
            }
        }
        all
    }
}
