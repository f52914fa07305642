//! Could this be? The verdicts of one flow's packets, handled by several cores at once, against all
//! orders in which the cores may have met.
//!
//! Every core decides its own packets in trace order. Between cores, a packet may be decided before an
//! earlier one only if the two lie at most a window of trace packets apart (see `replay/order.rs`).
//! The verdicts are *explained* if some such order, played through the tracker and the rules packet by
//! packet, gives exactly them.
//!
//! The search is depth first over (packets that each core has decided, connection), trace order first,
//! and remembers what led nowhere. Its effort is bounded: beyond the limit the flow is undecided.
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

use crate::conntrack::{Connection, Detail, Tracker, Transition};
use crate::engine::{Decision, State, Verdict};
use crate::packet::Packet;
use std::collections::HashMap;

/// A little more than 2^30 ns, by which a deadline in the lock-free table may be off.
pub const DEADLINE_TOLERANCE_NS: u64 = 1_080_000_000;

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
    /// At most so many positions of the search are looked at, beside one for each packet.
    pub limit: usize,
}

/// What the table holds of the flow.
type Entry = Option<(Connection, Detail)>;

/// A step that fits the decisions: to this entry, and past this core's next packet, if any.
type Move = (Option<usize>, Entry);

/// A position of the search that may still lead somewhere.
struct Node {
    entry: Entry,
    /// The core whose packet led here.
    by: Option<usize>,
    /// What was not tried yet, best last.
    moves: Vec<Move>,
}

impl Reordering<'_> {
    /// Looks for an order that gives the decisions. `cores`: what each core saw of the flow, in its order.
    /// Also says how many positions were looked at.
    pub fn explain(&self, cores: &[Vec<Seen>]) -> (Explanation, usize) {
        let cores: Vec<&[Seen]> = cores.iter().map(Vec::as_slice).filter(|core| !core.is_empty()).collect();
        let tolerance_ns = if cores.len() > 1 { DEADLINE_TOLERANCE_NS } else { 0 };
        let packets: usize = cores.iter().map(|core| core.len()).sum();
        let limit = self.limit.saturating_add(packets);
        let mut looked_at = 0;
        let mut next = vec![0u32; cores.len()];
        let mut dead_ends: HashMap<Box<[u32]>, Vec<Entry>> = HashMap::new();
        let mut path = vec![Node { entry: None, by: None, moves: self.moves(&cores, &next, &None, tolerance_ns) }];
        while let Some(node) = path.last_mut() {
            let Some((core, entry)) = node.moves.pop() else {
                let Some(Node { entry, by, .. }) = path.pop() else { break };
                dead_ends.entry(next.clone().into()).or_default().push(entry);
                if let Some(core) = by {
                    next[core] -= 1;
                }
                continue;
            };
            if let Some(core) = core {
                next[core] += 1;
            }
            if next.iter().zip(&cores).all(|(n, core)| *n as usize == core.len()) {
                return (Explanation::Found, looked_at);
            }
            let led_nowhere = dead_ends.get(next.as_slice()).is_some_and(|entries| entries.contains(&entry));
            if led_nowhere {
                if let Some(core) = core {
                    next[core] -= 1;
                }
                continue;
            }
            if looked_at == limit {
                return (Explanation::Undecided, looked_at);
            }
            looked_at += 1;
            let moves = self.moves(&cores, &next, &entry, tolerance_ns);
            path.push(Node { entry, by: core, moves });
        }
        (if packets == 0 { Explanation::Found } else { Explanation::Impossible }, looked_at)
    }

    /// All steps that fit, trace order last.
    fn moves(&self, cores: &[&[Seen]], next: &[u32], entry: &Entry, tolerance_ns: u64) -> Vec<Move> {
        let mut waiting: Vec<(usize, &Seen)> =
            next.iter().zip(cores).enumerate().filter_map(|(i, (n, core))| Some((i, core.get(*n as usize)?))).collect();
        let Some(first) = waiting.iter().map(|(_, seen)| seen.index).min() else { return Vec::new() };
        waiting.retain(|(_, seen)| seen.index - first <= self.window);
        waiting.sort_unstable_by_key(|(_, seen)| std::cmp::Reverse(seen.index));
        let mut moves = Vec::new();
        for (core, seen) in waiting {
            self.steps(seen, entry, tolerance_ns, |decided, entry| moves.push((decided.then_some(core), entry)));
        }
        moves
    }

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
        let Some((old, detail)) = *entry else {
            let mut detail = Detail::default();
            match self.tracker.open(packet, &mut detail) {
                None if self.is(seen, State::Invalid) => step(true, None),
                Some(connection) if self.is(seen, State::New) => {
                    step(true, (seen.by_rules == Verdict::Accept).then_some((connection, detail)));
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
            let (mut connection, mut detail) = (old, detail);
            // Alive, though by the exact deadline it may not be.
            let lent = now >= old.expires_ns;
            if lent {
                connection.expires_ns = now + 1;
            }
            let transition = self.tracker.advance(&mut connection, &mut detail, packet);
            if lent && connection.expires_ns == now + 1 {
                connection.expires_ns = old.expires_ns;
            }
            match transition {
                Transition::Store(state) if self.is(seen, state) => step(true, Some((connection, detail))),
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
