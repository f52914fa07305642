//! Could this be? The verdicts of one flow's packets, handled by several cores at once, against all
//! orders in which the cores may have met.
//!
//! Every core decides its own packets in trace order. Between cores, a packet may be decided before an
//! earlier one only if the two lie at most a window of trace packets apart (see `replay/order.rs`).
//! The verdicts are *explained* if some such order, played through the tracker and the rules packet by
//! packet, gives exactly them.
//!
//! The search is depth first over (packets that each core has decided, connection) and remembers what
//! led nowhere. Its effort is bounded: beyond the limit the flow is undecided.
//!
//! # Steps
//! A packet is decided at one moment, with one exception that the engine has as well: one that finds
//! its connection expired, or wants to open it anew, first removes it, and then begins again; other
//! cores may get in between.
//!
//! # Deadlines
//! A table may keep deadlines in parts that two cores write at once: a deadline may then be off by up
//! to 2^30 ns. So within [`DEADLINE_TOLERANCE_NS`] of its deadline a connection may count as expired or
//! as alive. This holds only for flows that several cores handle.

use crate::conntrack::{Connection, Tracker, Transition, Windows};
use crate::engine::{Decision, State, Verdict};
use crate::packet::{Packet, flags};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A little more than 2^30 ns, by which a deadline in the lock-free table may be off.
pub const DEADLINE_TOLERANCE_NS: u64 = 1_080_000_000;

/// A way through more packets than this is not looked for, so that memory is bounded: some 300 bytes each.
const LONGEST_WAY: usize = 1 << 20;

/// A packet of the flow, and what was decided of it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// Its index in the trace.
    pub index: u32,
    /// What the engine decided.
    pub decision: Decision,
    /// What the rules say of it, without tracking.
    pub by_rules: Verdict,
    /// False if its flow is exempt from tracking.
    pub tracked: bool,
}

/// What the search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// Some order gives these decisions.
    Found,
    /// No order does: at least one decision is wrong.
    Impossible,
    /// The limit was reached first.
    Undecided,
}

/// What holds for all flows of a run.
#[derive(Clone, Copy, Debug)]
pub struct Reordering<'a> {
    /// The state machine.
    pub tracker: &'a Tracker,
    /// True if INVALID packets are dropped, false if the rules decide.
    pub drops_invalid: bool,
    /// The order window, in packets of the trace.
    pub window: u32,
    /// No connection expires sooner after its last packet.
    pub shortest_timeout_ns: u64,
    /// An INVALID packet may cut a longer deadline to so many ns from now (the timeout of unacknowledged
    /// data), but never to less.
    pub shortest_cut_ns: u64,
    /// At most so many positions of the search are looked at, beside a few for each packet.
    pub limit: usize,
}

/// What the table holds of the flow.
type Entry = Option<(Connection, Windows)>;

/// A step that fits the decisions: past this core's next packet, if any, and to this entry.
type Move = (Option<usize>, Entry);

/// Which core's packet is tried first.
#[derive(Clone, Copy, PartialEq)]
enum Prefer {
    /// The one that spoils least: after which the fewest other cores' packets no longer fit.
    LeastHarm,
    /// The one whose packet is first in the trace.
    Earliest,
    /// The one that decided the packet before, so that a core gets as far ahead as the decisions allow.
    SameCore,
    /// The one whose packet is last in the trace.
    Latest,
}

/// Cores drift apart in many ways. Each is tried for a share of the limit, with what the others have
/// ruled out.
const ATTEMPTS: [(Prefer, usize); 6] = [
    (Prefer::LeastHarm, 16),
    (Prefer::Earliest, 16),
    (Prefer::SameCore, 16),
    (Prefer::Latest, 16),
    (Prefer::LeastHarm, 2),
    (Prefer::Earliest, 1),
];

/// A position of the search that may still lead somewhere.
struct Node {
    entry: Entry,
    /// The core whose packet led here, if one was decided.
    by: Option<usize>,
    /// What was not tried yet, best last.
    moves: Vec<Move>,
}

/// Packets decided of each core, and an entry.
type DeadEnd = (Box<[u32]>, Entry);

/// The search for one flow.
struct Search<'a> {
    rules: &'a Reordering<'a>,
    cores: &'a [&'a [Seen<'a>]],
    tolerance_ns: u64,
    /// A deadline after this cannot matter any more: the last packet's time, and the tolerance.
    /// `None` if one might be shortened to before it.
    end_ns: Option<u64>,
    /// True if the flow is so short that nothing of it can expire.
    is_short: bool,
    /// From where no order goes on, by fingerprint.
    dead_ends: HashMap<u64, Vec<DeadEnd>>,
    looked_at: usize,
}

impl Reordering<'_> {
    /// Looks for an order that gives the decisions. `cores`: what each core saw of the flow, in its order.
    /// Also says how many positions were looked at.
    pub fn explain(&self, cores: &[Vec<Seen>]) -> (Explanation, usize) {
        let cores: Vec<&[Seen]> = cores.iter().map(Vec::as_slice).filter(|core| !core.is_empty()).collect();
        let packets: usize = cores.iter().map(|core| core.len()).sum();
        if packets == 0 {
            return (Explanation::Found, 0);
        }
        let tolerance_ns = if cores.len() > 1 { DEADLINE_TOLERANCE_NS } else { 0 };
        let times = || cores.iter().flat_map(|core| core.iter()).map(|seen| seen.packet.time_ns);
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let end_ns = last.saturating_add(tolerance_ns);
        let is_short = end_ns - first < self.shortest_timeout_ns;
        let end_ns = (end_ns - first < self.shortest_cut_ns).then_some(end_ns);
        let mut search = Search {
            rules: self,
            cores: &cores,
            tolerance_ns,
            end_ns,
            is_short,
            dead_ends: HashMap::new(),
            looked_at: 0,
        };
        for (prefer, share) in ATTEMPTS {
            let way = packets.min(LONGEST_WAY);
            let until = search.looked_at + self.limit.saturating_sub(search.looked_at) / share + way;
            match search.attempt(prefer, until) {
                Explanation::Undecided => {}
                decided => return (decided, search.looked_at),
            }
        }
        (Explanation::Undecided, search.looked_at)
    }
}

impl Search<'_> {
    /// Depth first, from the start, until so many positions were looked at.
    fn attempt(&mut self, prefer: Prefer, until: usize) -> Explanation {
        let mut next = vec![0u32; self.cores.len()];
        let mut path = vec![Node { entry: None, by: None, moves: self.moves(&next, &None, None, prefer) }];
        while let Some(node) = path.last_mut() {
            let Some((core, entry)) = node.moves.pop() else {
                let Some(Node { entry, by, .. }) = path.pop() else { break };
                self.dead_ends.entry(fingerprint(&next, &entry)).or_default().push((next.clone().into(), entry));
                by.into_iter().for_each(|core| next[core] -= 1);
                continue;
            };
            let before = node.by;
            core.into_iter().for_each(|core| next[core] += 1);
            if next.iter().zip(self.cores).all(|(n, core)| *n as usize == core.len()) {
                return Explanation::Found;
            }
            if self.is_dead_end(&next, &entry) {
                core.into_iter().for_each(|core| next[core] -= 1);
                continue;
            }
            if self.looked_at >= until {
                return Explanation::Undecided;
            }
            self.looked_at += 1;
            let moves = self.moves(&next, &entry, core.or(before), prefer);
            path.push(Node { entry, by: core, moves });
        }
        Explanation::Impossible
    }

    fn is_dead_end(&self, next: &[u32], entry: &Entry) -> bool {
        let known = self.dead_ends.get(&fingerprint(next, entry));
        known.is_some_and(|known| known.iter().any(|(other, old)| **other == *next && old == entry))
    }

    /// All steps that fit, the preferred last. `before`: the core that decided the packet before.
    fn moves(&self, next: &[u32], entry: &Entry, before: Option<usize>, prefer: Prefer) -> Vec<Move> {
        let upcoming = next.iter().zip(self.cores).enumerate();
        let mut waiting: Vec<(usize, &Seen)> =
            upcoming.filter_map(|(i, (n, core))| Some((i, core.get(*n as usize)?))).collect();
        let Some(first) = waiting.iter().map(|(_, seen)| seen.index).min() else { return Vec::new() };
        waiting.retain(|(_, seen)| seen.index - first <= self.rules.window);
        // Who changes nothing, now or later, and fits now, may as well come now.
        if let Some((core, _)) = waiting.iter().find(|(_, seen)| self.may_come_at_once(seen, entry)) {
            return vec![(Some(*core), *entry)];
        }
        let mut moves: Vec<((usize, bool, u32), Move)> = Vec::new();
        for (core, seen) in &waiting {
            let earlier = u32::MAX - seen.index;
            self.steps(seen, entry, |decided, after| {
                let preference = match prefer {
                    Prefer::LeastHarm => (usize::MAX - self.harm(&waiting, *core, entry, &after), false, earlier),
                    Prefer::Earliest => (0, false, earlier),
                    Prefer::SameCore => (0, Some(*core) == before, earlier),
                    Prefer::Latest => (0, false, seen.index),
                };
                moves.push((preference, (decided.then_some(*core), after)));
            });
        }
        moves.sort_by_key(|(preference, _)| *preference);
        moves.into_iter().map(|(_, step)| step).collect()
    }

    /// How many other cores' packets fit now, but not after a core's step.
    fn harm(&self, waiting: &[(usize, &Seen)], core: usize, entry: &Entry, after: &Entry) -> usize {
        let fits = |seen: &Seen, entry: &Entry| {
            let mut any = false;
            self.steps(seen, entry, |_, _| any = true);
            any
        };
        waiting.iter().filter(|(other, seen)| *other != core && fits(seen, entry) && !fits(seen, after)).count()
    }

    fn steps(&self, seen: &Seen, entry: &Entry, mut step: impl FnMut(bool, Entry)) {
        self.rules.steps(seen, entry, self.tolerance_ns, |decided, after| {
            step(decided, after.map(|after| without_deadline(after, self.end_ns)));
        });
    }

    /// True for a packet that never changes an entry and is what was decided of it. (Where something can
    /// expire, it may: such a packet removes what has expired.)
    fn may_come_at_once(&self, seen: &Seen, entry: &Entry) -> bool {
        if !seen.tracked {
            return self.rules.is(seen, State::Untracked);
        }
        let changes_nothing = self.is_short && seen.packet.flags & (flags::INVALID | flags::ICMP_ERROR) != 0;
        let state = if entry.is_none() || seen.packet.has(flags::INVALID) { State::Invalid } else { State::Related };
        changes_nothing && self.rules.is(seen, state)
    }
}

/// Nearly unique: what shares it is compared in full.
fn fingerprint(next: &[u32], entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    next.hash(&mut hasher);
    entry.map(|(connection, windows)| (connection.expires_ns, connection.notes, windows)).hash(&mut hasher);
    hasher.finish()
}

/// Makes entries equal that differ in nothing but a deadline after the flow's end.
fn without_deadline((mut connection, windows): (Connection, Windows), end_ns: Option<u64>) -> (Connection, Windows) {
    if end_ns.is_some_and(|end_ns| connection.expires_ns > end_ns) {
        connection.expires_ns = u64::MAX;
    }
    (connection, windows)
}

impl Reordering<'_> {
    /// What one core's next packet may do now, if that fits what was decided of it: whether the packet
    /// is then decided, and the entry after.
    fn steps(&self, seen: &Seen, entry: &Entry, tolerance_ns: u64, mut step: impl FnMut(bool, Entry)) {
        let packet = seen.packet;
        if !seen.tracked {
            if self.is(seen, State::Untracked) {
                step(true, *entry);
            }
            return;
        }
        let Some((old, windows)) = *entry else {
            let mut windows = Windows::default();
            match self.tracker.open(packet, &mut windows) {
                None if self.is(seen, State::Invalid) => step(true, None),
                Some(connection) if self.is(seen, State::New) => {
                    step(true, (seen.by_rules == Verdict::Accept).then_some((connection, windows)));
                }
                _ => {}
            }
            return;
        };
        let now = packet.time_ns;
        if now.saturating_add(tolerance_ns) >= old.expires_ns {
            step(false, None);
        }
        if now < old.expires_ns.saturating_add(tolerance_ns) {
            let (mut connection, mut windows) = (old, windows);
            // Alive, though by the exact deadline it may not be.
            let lent = now >= old.expires_ns;
            if lent {
                connection.expires_ns = now + 1;
            }
            let transition = self.tracker.advance(&mut connection, &mut windows, packet);
            if lent && connection.expires_ns == now + 1 {
                connection.expires_ns = old.expires_ns;
            }
            match transition {
                Transition::Store(state) if self.is(seen, state) => step(true, Some((connection, windows))),
                Transition::Remove(state) if self.is(seen, state) => step(true, None),
                Transition::Store(_) | Transition::Remove(_) => {}
                Transition::Reopen | Transition::Expired => step(false, None),
            }
        }
    }

    /// True if this label leads to what was decided. Reasons do not count: verdict and state do.
    fn is(&self, seen: &Seen, state: State) -> bool {
        let verdict = match state {
            State::Established | State::Related => Verdict::Accept,
            State::Invalid if self.drops_invalid => Verdict::Drop,
            _ => seen.by_rules,
        };
        seen.decision.state() == state && seen.decision.verdict() == verdict
    }
}

#[cfg(test)]
mod tests;
