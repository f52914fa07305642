//! The reference engine: the judge of all others.
//!
//! One thread, a standard map, rules tried one by one on their written form, and a state machine of
//! its own. It shares no code with the fast path's tracker, tables or rule evaluation, and is written
//! for plainness: where the two disagree, one of them is wrong, and a real kernel says which.

mod path;
mod tcp;

use super::{Decision, Reason, State, Verdict};
use crate::conntrack::{Config, Invalid, MAX_EVICTION_CANDIDATES, OnFull};
use crate::packet::{Direction, FlowKey, IcmpRole, Packet, flags, protocol};
use crate::policy::RuleSet;
use crate::policy::path::Attached;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// Rules that hold from some instant on, until the next ones.
pub struct Rules<'a> {
    /// First packet time at which they hold.
    pub from_ns: u64,
    /// The rules, as written.
    pub rules: &'a RuleSet,
    /// Number of the first of them, where several sets are numbered through.
    pub first: u32,
    /// Says which packets the profile does not track.
    pub is_untracked: Box<dyn Fn(&Packet) -> bool + Send + Sync + 'a>,
    /// Where rules differ by interface: then `rules` holds, from `first` on, one that stands for no step
    /// and then those of each set.
    pub interfaces: Option<&'a Attached>,
}

/// How much room there is for connections.
pub struct Table {
    /// Connections in each shard.
    pub entries_per_shard: usize,
    /// The shard of a flow.
    pub shard_of: Box<dyn Fn(&FlowKey) -> u32 + Send + Sync>,
}

/// The last of the rules that hold by this time.
fn in_force<'r, 'a>(rules: &'r [Rules<'a>], time_ns: u64) -> &'r Rules<'a> {
    let later = rules.iter().position(|rules| rules.from_ns > time_ns).unwrap_or(rules.len());
    &rules[later.saturating_sub(1)]
}

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

fn by_rules(rules: &Rules, packet: &Packet, state: State) -> Decision {
    let found = match rules.interfaces {
        Some(attached) => path::first_match(attached, packet),
        None => first_match(rules.rules, packet),
    };
    match found {
        Some((rule, true)) => Decision::by_rule(Verdict::Accept, state, rules.first + rule),
        Some((rule, false)) => Decision::by_rule(Verdict::Drop, state, rules.first + rule),
        None => Decision::new(Verdict::Drop, state, Reason::NoRule),
    }
}

/// Network ACL.
pub struct Stateless<'a> {
    rules: Vec<Rules<'a>>,
}

impl<'a> Stateless<'a> {
    /// Filters by these rules, at least one set, in the order of time.
    pub fn new(rules: Vec<Rules<'a>>) -> Self {
        Stateless { rules }
    }

    /// The decision on one packet.
    pub fn decide(&mut self, packet: &Packet) -> Decision {
        by_rules(in_force(&self.rules, packet.time_ns), packet, State::None)
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
    /// May not be evicted.
    assured: bool,
    /// Its number among the connections that this engine has opened.
    number: u64,
    /// The earliest deadline of it that its shard's heap knows; never later than `deadline`.
    queued: u64,
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
    rules: Vec<Rules<'a>>,
    config: Config,
    table: Table,
    entries: HashMap<FlowKey, Entry>,
    shards: HashMap<u32, Shard>,
    opened: u64,
}

/// So many deadlines of closed connections are kept at least before they are looked for.
const MOST_CLOSED: usize = 1024;

/// What is kept of a shard beside its entries.
#[derive(Default)]
struct Shard {
    entries: usize,
    /// Who may have expired, earliest first: deadline then, number, flow. One whose deadline has moved
    /// on since is put back when its turn comes.
    deadlines: BinaryHeap<Reverse<(u64, u64, FlowKey)>>,
    /// The latest connections in order of arrival, as many as there is room for.
    arrivals: VecDeque<(FlowKey, u64)>,
}

impl<'a> Stateful<'a> {
    /// Filters by these rules, at least one set, in the order of time.
    pub fn new(rules: Vec<Rules<'a>>, config: &Config, table: Table) -> Self {
        Stateful { rules, config: config.clone(), table, entries: HashMap::new(), shards: HashMap::new(), opened: 0 }
    }

    /// Connections held, expired ones that nobody asked for since included.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Connections that exist at this packet time. Removes the others, which changes no decision.
    pub fn live_entries(&mut self, now: u64) -> usize {
        let shards: Vec<u32> = self.shards.keys().copied().collect();
        shards.into_iter().for_each(|shard| self.remove_expired(now, shard));
        self.entries.len()
    }

    /// The decision on the next packet of the trace.
    pub fn decide(&mut self, packet: &Packet) -> Decision {
        let now = packet.time_ns;
        if packet.has(flags::NEVER_TRACKED) || (in_force(&self.rules, now).is_untracked)(packet) {
            return by_rules(in_force(&self.rules, now), packet, State::Untracked);
        }
        let key = packet.flow_key();
        if self.entries.get(&key).is_some_and(|entry| now >= entry.deadline) {
            self.remove(&key);
        }
        let label = self.track(packet, key);
        self.queue(&key);
        match label {
            Label::Established => Decision::new(Verdict::Accept, State::Established, Reason::Tracked),
            Label::Related => Decision::new(Verdict::Accept, State::Related, Reason::Tracked),
            Label::Invalid if self.config.invalid == Invalid::Drop => {
                Decision::new(Verdict::Drop, State::Invalid, Reason::Invalid)
            }
            Label::Invalid => by_rules(in_force(&self.rules, now), packet, State::Invalid),
            Label::New => {
                let decision = by_rules(in_force(&self.rules, now), packet, State::New);
                // A packet that was let through although its connection has just ended makes no new one.
                let opens = !self.entries.contains_key(&key) && self.can_open(packet);
                if decision.verdict() == Verdict::Drop || !opens {
                    return decision;
                }
                if let Some(why) = self.no_room(&key, now) {
                    return Decision::new(Verdict::Drop, State::New, why);
                }
                self.create(packet, key);
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
                        self.remove(&key);
                        return if from_original { Label::New } else { Label::Established };
                    }
                    tcp::Answer::StartsAnew => {
                        self.remove(&key);
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
                entry.assured |= stream;
                entry.deadline = after(now, if stream { timeouts.udp_stream } else { timeouts.udp });
            }
            protocol::GRE => {
                entry.assured |= entry.replied;
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
        entry.assured |= entry.tcp.as_ref().is_some_and(tcp::Connection::is_assured);
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

    fn remove(&mut self, key: &FlowKey) {
        if self.entries.remove(key).is_some() {
            self.shards.entry((self.table.shard_of)(key)).or_default().entries -= 1;
        }
    }

    /// Why there is no room for another connection of this flow; makes room if that is allowed.
    fn no_room(&mut self, key: &FlowKey, now: u64) -> Option<Reason> {
        let limit = self.config.allowance;
        if limit > 0 && self.entries.len() as u64 >= limit {
            let shards: Vec<u32> = self.shards.keys().copied().collect();
            shards.into_iter().for_each(|shard| self.remove_expired(now, shard));
            if self.entries.len() as u64 >= limit {
                return Some(Reason::AllowanceExceeded);
            }
        }
        let shard = (self.table.shard_of)(key);
        let is_full = |engine: &Self| {
            engine.shards.get(&shard).is_some_and(|shard| shard.entries >= engine.table.entries_per_shard)
        };
        if is_full(self) {
            self.remove_expired(now, shard);
        }
        if is_full(self) && self.config.on_full == OnFull::EvictUnassured {
            self.evict(shard);
        }
        is_full(self).then_some(Reason::TableFull)
    }

    /// Removes what has expired in one shard.
    fn remove_expired(&mut self, now: u64, shard: u32) {
        let Some(shard) = self.shards.get_mut(&shard) else { return };
        while let Some(Reverse((deadline, number, key))) = shard.deadlines.peek().copied()
            && deadline <= now
        {
            shard.deadlines.pop();
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.number == number) else { continue };
            if entry.deadline <= now {
                self.entries.remove(&key);
                shard.entries -= 1;
            } else {
                entry.queued = entry.deadline;
                shard.deadlines.push(Reverse((entry.deadline, number, key)));
            }
        }
    }

    /// Sees to it that the shard's heap knows a deadline that came nearer.
    fn queue(&mut self, key: &FlowKey) {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.deadline < entry.queued) {
            entry.queued = entry.deadline;
            let shard = self.shards.entry((self.table.shard_of)(key)).or_default();
            shard.deadlines.push(Reverse((entry.deadline, entry.number, *key)));
            // What is long closed may stand there for days of packet time.
            if shard.deadlines.len() > 2 * shard.entries + MOST_CLOSED {
                shard.deadlines.retain(|Reverse((deadline, number, key))| {
                    let entry = self.entries.get(key);
                    entry.is_some_and(|entry| entry.number == *number && entry.queued == *deadline)
                });
            }
        }
    }

    /// Removes the first unassured connection, of the shard's in order of arrival, among a few.
    fn evict(&mut self, shard: u32) {
        for _ in 0..MAX_EVICTION_CANDIDATES {
            let Some((key, number)) = self.shards.entry(shard).or_default().arrivals.pop_front() else { return };
            if self.entries.get(&key).is_some_and(|entry| entry.number == number && !entry.assured) {
                self.remove(&key);
                return;
            }
        }
    }

    fn create(&mut self, packet: &Packet, key: FlowKey) {
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
        self.opened += 1;
        let entry = Entry {
            original: packet.direction(),
            replied: false,
            deadline: after(now, seconds),
            began: now,
            tcp,
            assured: false,
            number: self.opened,
            queued: u64::MAX,
        };
        self.entries.insert(key, entry);
        self.queue(&key);
        let shard = self.shards.entry((self.table.shard_of)(&key)).or_default();
        shard.entries += 1;
        shard.arrivals.push_back((key, self.opened));
        if shard.arrivals.len() > self.table.entries_per_shard {
            shard.arrivals.pop_front();
        }
    }
}

fn after(now: u64, seconds: u64) -> u64 {
    now.saturating_add(seconds.saturating_mul(SECOND))
}
