//! The reference engine: the judge of all others.
//!
//! One thread, a standard map, rules tried one by one on their written form, and a state machine of
//! its own. It shares no code with the fast path's tracker, tables or rule evaluation, and is written
//! for plainness: where the two disagree, one of them is wrong, and a real kernel says which.

mod tcp;

use super::{Decision, Reason, State, Verdict};
use crate::conntrack::{Config, Invalid};
use crate::packet::{Direction, FlowKey, IcmpRole, Packet, flags, protocol};
use crate::policy::RuleSet;
use std::collections::HashMap;

/// Says which packets the profile does not track.
pub type UntrackedRule<'a> = Box<dyn Fn(&Packet) -> bool + Send + Sync + 'a>;

const SECOND: u64 = 1_000_000_000;

/// The first rule of the packet's direction that matches, by the rules' written form.
fn first_match(rules: &RuleSet, packet: &Packet) -> Option<(u32, bool)> {
    let remote = crate::packet::address(packet.outer_remote(), packet.is_ipv6());
    for (index, rule) in rules.rules(packet.direction()) {
        if !rule.remote.contains(&remote) {
            continue;
        }
        if let Some(number) = rule.protocol
            && number != packet.outer_protocol()
        {
            continue;
        }
        if let Some((low, high)) = rule.ports {
            match packet.match_port() {
                Some(port) if low <= port && port <= high => {}
                _ => continue,
            }
        }
        return Some((index, rule.allow));
    }
    None
}

fn by_rules(rules: &RuleSet, packet: &Packet, state: State) -> Decision {
    match first_match(rules, packet) {
        Some((rule, true)) => Decision::by_rule(Verdict::Accept, state, rule),
        Some((rule, false)) => Decision::by_rule(Verdict::Drop, state, rule),
        None => Decision::new(Verdict::Drop, state, Reason::NoRule),
    }
}

/// Network ACL.
pub struct Stateless<'a> {
    rules: &'a RuleSet,
}

impl<'a> Stateless<'a> {
    /// Filters by these rules.
    pub fn new(rules: &'a RuleSet) -> Self {
        Stateless { rules }
    }

    /// The decision on one packet.
    pub fn decide(&self, packet: &Packet) -> Decision {
        by_rules(self.rules, packet, State::None)
    }
}

/// One connection.
struct Entry {
    /// Direction of its first packet.
    original: Direction,
    /// A packet in the other direction was accepted.
    replied: bool,
    /// The first instant at which the entry no longer exists.
    deadline: u64,
    /// Time of the first packet.
    began: u64,
    /// TCP only.
    tcp: Option<tcp::Connection>,
}

/// What the tracker says of a packet.
enum Label {
    New,
    Established,
    Related,
    Invalid,
}

/// Security groups with connection tracking.
pub struct Stateful<'a> {
    rules: &'a RuleSet,
    config: Config,
    untracked: Option<UntrackedRule<'a>>,
    entries: HashMap<FlowKey, Entry>,
}

impl<'a> Stateful<'a> {
    /// Filters by these rules; the table never fills.
    pub fn new(rules: &'a RuleSet, config: &Config, untracked: Option<UntrackedRule<'a>>) -> Self {
        Stateful { rules, config: config.clone(), untracked, entries: HashMap::new() }
    }

    /// Connections held, expired ones that nobody asked for since included.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// The decision on the next packet of the trace.
    pub fn decide(&mut self, packet: &Packet) -> Decision {
        if packet.has(flags::NEVER_TRACKED) || self.untracked.as_ref().is_some_and(|rule| rule(packet)) {
            return by_rules(self.rules, packet, State::Untracked);
        }
        let key = packet.flow_key();
        if self.entries.get(&key).is_some_and(|entry| packet.time_ns >= entry.deadline) {
            self.entries.remove(&key);
        }
        match self.track(packet, key) {
            Label::Established => Decision::new(Verdict::Accept, State::Established, Reason::Tracked),
            Label::Related => Decision::new(Verdict::Accept, State::Related, Reason::Tracked),
            Label::Invalid if self.config.invalid == Invalid::Drop => {
                Decision::new(Verdict::Drop, State::Invalid, Reason::Invalid)
            }
            Label::Invalid => by_rules(self.rules, packet, State::Invalid),
            Label::New => {
                let decision = by_rules(self.rules, packet, State::New);
                if decision.verdict() == Verdict::Accept && !self.entries.contains_key(&key) {
                    self.create(packet, key);
                }
                decision
            }
        }
    }

    /// Moves the packet's connection, if it has one.
    fn track(&mut self, packet: &Packet, key: FlowKey) -> Label {
        if packet.has(flags::INVALID) {
            return Label::Invalid;
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return if self.can_open(packet) { Label::New } else { Label::Invalid };
        };
        if packet.has(flags::ICMP_ERROR) {
            return Label::Related;
        }
        let now = packet.time_ns;
        let from_original = packet.direction() == entry.original;
        let timeouts = &self.config.timeouts;
        match packet.protocol {
            protocol::TCP => {
                let Some(connection) = entry.tcp.as_mut() else { return Label::Invalid };
                let seen = tcp::Seen { replied: entry.replied, from_original };
                match connection.segment(packet, seen, &self.config) {
                    tcp::Answer::Accepted { timeout: Some(seconds) } => entry.deadline = after(now, seconds),
                    tcp::Answer::Accepted { timeout: None } => {}
                    tcp::Answer::Over => {
                        // An RST that answers an unanswered packet: the label is as ever, the entry is gone.
                        self.entries.remove(&key);
                        return if from_original { Label::New } else { Label::Established };
                    }
                    tcp::Answer::StartsAnew => {
                        self.entries.remove(&key);
                        return if self.can_open(packet) { Label::New } else { Label::Invalid };
                    }
                    tcp::Answer::Invalid { shorten_to: Some(seconds) } => {
                        let left = entry.deadline - now;
                        if left >= 120 * SECOND && left > seconds.saturating_mul(SECOND) {
                            entry.deadline = after(now, seconds);
                        }
                        return Label::Invalid;
                    }
                    tcp::Answer::Invalid { shorten_to: None } => return Label::Invalid,
                }
            }
            protocol::UDP => {
                let stream = entry.replied && now > entry.began.saturating_add(2 * SECOND);
                entry.deadline = after(now, if stream { timeouts.udp_stream } else { timeouts.udp });
            }
            protocol::GRE => {
                entry.deadline = after(now, if entry.replied { timeouts.gre_stream } else { timeouts.gre });
            }
            protocol::ICMP | protocol::ICMPV6 => {
                entry.deadline = after(now, if packet.is_ipv6() { timeouts.icmpv6 } else { timeouts.icmp });
            }
            _ => entry.deadline = after(now, timeouts.other),
        }
        if !from_original {
            entry.replied = true;
        }
        if entry.replied { Label::Established } else { Label::New }
    }

    /// True if this packet can be the first of a connection.
    fn can_open(&self, packet: &Packet) -> bool {
        if packet.has(flags::ICMP_ERROR) || packet.has(flags::NO_PORTS) {
            return false;
        }
        match packet.protocol {
            protocol::TCP => tcp::Connection::can_open(packet, &self.config),
            protocol::ICMP | protocol::ICMPV6 => packet.icmp_role() == IcmpRole::Request,
            _ => true,
        }
    }

    fn create(&mut self, packet: &Packet, key: FlowKey) {
        // A packet that was let through although its connection has just ended makes no new one.
        if !self.can_open(packet) {
            return;
        }
        let timeouts = &self.config.timeouts;
        let now = packet.time_ns;
        let mut tcp = None;
        let seconds = match packet.protocol {
            protocol::TCP => {
                let (connection, seconds) = tcp::Connection::open(packet, &self.config);
                tcp = Some(connection);
                seconds
            }
            protocol::UDP => timeouts.udp,
            protocol::GRE => timeouts.gre,
            protocol::ICMP | protocol::ICMPV6 => {
                if packet.is_ipv6() {
                    timeouts.icmpv6
                } else {
                    timeouts.icmp
                }
            }
            _ => timeouts.other,
        };
        let entry =
            Entry { original: packet.direction(), replied: false, deadline: after(now, seconds), began: now, tcp };
        self.entries.insert(key, entry);
    }
}

fn after(now: u64, seconds: u64) -> u64 {
    now.saturating_add(seconds.saturating_mul(SECOND))
}
