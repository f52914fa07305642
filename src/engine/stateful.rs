//! Stateful filtering: what belongs to a known connection passes, the rest is for the rules.
//!
//! A packet takes one of these ways, most travelled first:
//! 1. **Hit**: its flow has an entry. The tracker moves the entry's state; once the other side has
//!    answered, the packet passes without a look at the rules.
//! 2. **New**: no entry, or one that is still unanswered. The rules decide, and if they accept a
//!    packet without entry, it gets one.
//! 3. **Untracked**: exempt by the profile. Rules alone decide.
//! 4. **INVALID**: no entry is made or refreshed.
//!
//! As in Linux, tracking comes before the rules: a packet of a known connection has moved its state
//! even if the rules then drop it.

use super::{Allowance, Decision, Engine, MAX_BURST, Reason, Stamp, State, Tag, Verdict};
use crate::conntrack::{Invalid, Tracker, Transition, Windows};
use crate::packet::{FlowKey, Packet, flags};
use crate::policy::path::Ends;
use crate::policy::untracked::Untracked;
use crate::policy::{Epochs, Evaluate, RuleMatch};
use crate::table::{Fate, FlowHash, FlowTable, Insert, Place, TableCounters};

/// Security groups: their rules, and the flows that they leave untracked.
#[derive(Clone, Debug)]
pub struct Groups<R> {
    /// The rules.
    pub rules: R,
    /// Flows that the profile does not track.
    pub untracked: Untracked,
}

impl<R: Evaluate> Evaluate for Groups<R> {
    #[inline(always)]
    fn first_match(&self, packet: &Packet) -> Option<RuleMatch> {
        self.rules.first_match(packet)
    }

    #[inline(always)]
    fn is_untracked(&self, packet: &Packet) -> bool {
        self.untracked.is_untracked(packet) || self.rules.is_untracked(packet)
    }

    #[inline(always)]
    fn first_match_between(&self, packet: &Packet, ends: Ends) -> Option<RuleMatch> {
        self.rules.first_match_between(packet, ends)
    }

    #[inline(always)]
    fn is_untracked_between(&self, packet: &Packet, ends: Ends) -> bool {
        self.untracked.is_untracked(packet) || self.rules.is_untracked_between(packet, ends)
    }
}

/// Security groups with their connection tracking.
pub struct Stateful<'a, R, T> {
    groups: Epochs<'a, Groups<R>>,
    /// The same, for the stages before the decision, which are a burst ahead.
    groups_ahead: Epochs<'a, Groups<R>>,
    invalid: Invalid,
    tracker: &'a Tracker,
    hash: FlowHash,
    table: T,
    allowance: Option<&'a Allowance>,
    /// Entries of `table` that the allowance knows of.
    accounted: i64,
    /// The lowest packet time of all cores: a sweep removes only what has expired by then.
    sweep_until_ns: u64,
    /// Packets that were tracked, and of them those that found no connection alive.
    lookups: u64,
    misses: u64,
    burst: Burst,
}

/// For so many packets, a burst looks into one place where something may have expired. A look that waits finds more
/// at once: where every packet opens a flow and ends another, one look a packet mostly finds a single entry among the
/// four or five living ones of its bucket, one for four packets finds four. What has expired lies in the table for
/// longer, though: half as many entries again as live (`benches/table`, churn and expiry).
pub const PACKETS_PER_EXPIRY: usize = 4;

/// What is computed of a burst's packets before the first is decided.
pub struct Burst {
    keys: [FlowKey; MAX_BURST],
    places: [Place; MAX_BURST],
    tracked: [bool; MAX_BURST],
}

impl Default for Burst {
    fn default() -> Self {
        Burst {
            keys: [FlowKey::default(); MAX_BURST],
            places: [Place::default(); MAX_BURST],
            tracked: [false; MAX_BURST],
        }
    }
}

impl<'a, R: Evaluate, T: FlowTable> Stateful<'a, R, T> {
    /// `hash` places flows inside their shards.
    pub fn new(
        groups: Epochs<'a, Groups<R>>,
        invalid: Invalid,
        tracker: &'a Tracker,
        hash: FlowHash,
        table: T,
        allowance: Option<&'a Allowance>,
    ) -> Self {
        let groups_ahead = groups.clone();
        Stateful {
            groups,
            groups_ahead,
            invalid,
            tracker,
            hash,
            table,
            allowance,
            accounted: 0,
            sweep_until_ns: u64::MAX,
            lookups: 0,
            misses: 0,
            burst: Burst::default(),
        }
    }

    /// The table, to clear it between passes.
    pub fn table_mut(&mut self) -> &mut T {
        &mut self.table
    }

    #[inline(always)]
    fn is_tracked(&mut self, packet: &Packet, ends: Ends) -> bool {
        !packet.has(flags::NEVER_TRACKED) && !self.groups_ahead.at(packet.time_ns).is_untracked_between(packet, ends)
    }

    /// The decision for a packet of a tracked flow.
    #[inline(always)]
    fn decide(&mut self, packet: &Packet, ends: Ends, place: Place, key: &FlowKey) -> Decision {
        let uses_windows = self.tracker.checks_windows(packet.protocol);
        let tracker = self.tracker;
        // Another round only if the packet ended an old connection, or if another core opened the
        // same one in between.
        loop {
            let transition = self.table.update(place, key, uses_windows, |connection, windows| {
                let transition = tracker.advance(connection, windows, packet);
                let fate = match transition {
                    Transition::Store(_) => Fate::Keep,
                    Transition::Remove(_) | Transition::Reopen => Fate::Remove,
                    Transition::Expired => Fate::Expire,
                };
                (fate, transition)
            });
            match transition {
                Some(Transition::Store(state) | Transition::Remove(state)) => return self.verdict(packet, ends, state),
                Some(Transition::Reopen | Transition::Expired) => continue,
                None => {}
            }
            if let Some(decision) = self.open(packet, ends, place, key, uses_windows) {
                self.misses += 1;
                return decision;
            }
        }
    }

    /// No connection: opens one if the tracker and the rules agree. `None`: another core did.
    #[inline]
    fn open(
        &mut self,
        packet: &Packet,
        ends: Ends,
        place: Place,
        key: &FlowKey,
        uses_windows: bool,
    ) -> Option<Decision> {
        let mut windows = Windows::default();
        let Some(connection) = self.tracker.open(packet, &mut windows) else {
            return Some(self.verdict(packet, ends, State::Invalid));
        };
        let decision = self.verdict(packet, ends, State::New);
        if decision.verdict() == Verdict::Drop {
            return Some(decision);
        }
        if self.allowance.is_some() && !self.is_allowed(packet.time_ns) {
            return Some(Decision::new(Verdict::Drop, State::New, Reason::AllowanceExceeded));
        }
        let windows = uses_windows.then_some(&windows);
        let sweep_ns = packet.time_ns.min(self.sweep_until_ns);
        match self.table.insert(place, key, &connection, windows, sweep_ns) {
            Insert::Done => Some(decision),
            Insert::Exists => None,
            Insert::Full => Some(Decision::new(Verdict::Drop, State::New, Reason::TableFull)),
        }
    }

    /// True if the instance's allowance has room for another connection, once what has expired is gone.
    #[cold]
    fn is_allowed(&mut self, now_ns: u64) -> bool {
        self.account();
        let is_used_up = |allowance: Option<&Allowance>| allowance.is_some_and(Allowance::is_used_up);
        if is_used_up(self.allowance) {
            self.table.sweep(now_ns.min(self.sweep_until_ns));
            self.account();
        }
        !is_used_up(self.allowance)
    }

    /// Tells the allowance how many connections this worker's table has won or lost.
    fn account(&mut self) {
        if let Some(allowance) = self.allowance {
            let entries = self.table.counters().entries;
            allowance.add(entries - self.accounted);
            self.accounted = entries;
        }
    }

    /// What a packet with this label gets.
    #[inline(always)]
    fn verdict(&mut self, packet: &Packet, ends: Ends, state: State) -> Decision {
        match state {
            State::Established | State::Related => Decision::new(Verdict::Accept, state, Reason::Tracked),
            State::Invalid if self.invalid == Invalid::Drop => {
                Decision::new(Verdict::Drop, State::Invalid, Reason::Invalid)
            }
            _ => match self.groups.at(packet.time_ns).first_match_between(packet, ends) {
                Some(found) if found.allow => Decision::by_rule(Verdict::Accept, state, found.rule),
                Some(found) => Decision::by_rule(Verdict::Drop, state, found.rule),
                None => Decision::new(Verdict::Drop, state, Reason::NoRule),
            },
        }
    }
}

impl<R: Evaluate, T: FlowTable> Engine for Stateful<'_, R, T> {
    #[inline]
    fn burst<S: Stamp>(&mut self, packets: &[Packet], tags: &[Tag], decisions: &mut [Decision], stamp: &mut S) {
        // Three steps, so that the memory accesses of the whole burst overlap: first the buckets,
        // then the entries, then the decisions.
        let count = packets.len().min(tags.len()).min(decisions.len()).min(MAX_BURST);
        // What the last burst has found.
        self.table.remove_expired();
        let mut lookups = 0;
        for i in 0..count {
            let tracked = self.is_tracked(&packets[i], tags[i].ends);
            self.burst.tracked[i] = tracked;
            if tracked {
                lookups += 1;
                let key = packets[i].flow_key();
                let place = Place::new(u32::from(tags[i].shard), self.hash.hash(&key));
                self.table.prefetch(place);
                self.burst.keys[i] = key;
                self.burst.places[i] = place;
            }
        }
        // Bounded: a place of the first packet's shard for so many packets. In time, every shard comes first.
        if let (Some(packet), Some(tag)) = (packets.first(), tags.first()) {
            let until_ns = packet.time_ns.min(self.sweep_until_ns);
            self.table.find_expired(u32::from(tag.shard), until_ns, count.div_ceil(PACKETS_PER_EXPIRY));
        }
        for (i, packet) in packets[..count].iter().enumerate() {
            if self.burst.tracked[i] {
                let uses_windows = self.tracker.checks_windows(packet.protocol);
                self.table.prefetch_entry(&mut self.burst.places[i], uses_windows);
            }
        }
        self.table.prefetch_expired();
        for i in 0..count {
            decisions[i] = if self.burst.tracked[i] {
                let (place, key) = (self.burst.places[i], self.burst.keys[i]);
                self.decide(&packets[i], tags[i].ends, place, &key)
            } else {
                self.verdict(&packets[i], tags[i].ends, State::Untracked)
            };
            stamp.verdict_known();
        }
        self.lookups += lookups;
        // Other workers need not know sooner.
        self.account();
    }

    fn sweep_until(&mut self, packet_time_ns: u64) {
        self.sweep_until_ns = packet_time_ns;
    }

    fn probes(&self, packet: &Packet, tag: Tag) -> Option<u32> {
        let rules = self.groups_ahead.clone().at(packet.time_ns);
        let is_tracked = !packet.has(flags::NEVER_TRACKED) && !rules.is_untracked_between(packet, tag.ends);
        let key = packet.flow_key();
        let place = Place::new(u32::from(tag.shard), self.hash.hash(&key));
        is_tracked.then(|| self.table.probes(place, &key)).flatten()
    }

    fn counters(&self) -> Option<TableCounters> {
        let (lookups, hits) = (self.lookups, self.lookups - self.misses);
        Some(TableCounters { lookups, hits, ..*self.table.counters() })
    }
}
