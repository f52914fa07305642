//! The reference beside the engines: in one thread, in trace order, over whatever rules there are.

use crate::engine::reference;
use crate::engine::{Decision, Verdict};
use crate::packet::{Packet, flags};
use crate::replay::Workload;
use crate::verify::Counts;
use std::collections::HashMap;

/// What the referee gets at once.
#[derive(Default)]
pub struct Turn {
    numbers: Vec<u64>,
    packets: Vec<Packet>,
    /// Datagrams, by the position of the fragment that completed them, with their other fragments.
    datagrams: Vec<(usize, Packet, Vec<u64>)>,
    pub lost: Vec<u64>,
}

impl Turn {
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.lost.is_empty()
    }

    #[inline(always)]
    pub fn packet(&mut self, number: u64, packet: &Packet) {
        self.numbers.push(number);
        self.packets.push(*packet);
    }

    pub fn datagram(&mut self, packet: &Packet, fragments: Vec<u64>) {
        self.datagrams.push((self.packets.len() - 1, *packet, fragments));
    }
}

/// What the referee found.
#[derive(Clone, Debug, Default)]
pub struct Refereed {
    /// By the security groups, but for fragments of no whole datagram.
    pub stateful: Option<Counts>,
    /// By the network ACL.
    pub stateless: Option<Counts>,
    /// Packets that only the security groups, and only the network ACL accepts. `None` if one world has no rules.
    pub differences: Option<(u64, u64)>,
}

/// Runs the reference.
pub struct Referee<'w> {
    stateful: Option<(reference::Stateful<'w>, Counts)>,
    stateless: Option<(reference::Stateless<'w>, Counts)>,
    /// What the network ACL said of fragments of which the security groups have not said anything yet.
    waiting: HashMap<u64, Verdict>,
    differences: (u64, u64),
}

impl<'w> Referee<'w> {
    /// Over these rules.
    pub fn new(workload: &'w Workload) -> Self {
        let stateless = workload.acl.as_ref().map(|acl| reference::Stateless::new(acl.reference()));
        Referee {
            stateful: workload.reference_engine(&workload.config).map(|engine| (engine, Counts::default())),
            stateless: stateless.map(|engine| (engine, Counts::default())),
            waiting: HashMap::new(),
            differences: (0, 0),
        }
    }

    /// Judges the next packets.
    pub(super) fn judge(&mut self, turn: &Turn) {
        let mut datagrams = turn.datagrams.iter().peekable();
        for (i, (packet, number)) in turn.packets.iter().zip(&turn.numbers).enumerate() {
            let stateless = self.stateless.as_mut().map(|(engine, counts)| {
                let decision = engine.decide(packet);
                counts.add(*number, decision);
                decision.verdict()
            });
            if !packet.has(flags::FRAGMENT) {
                let stateful = self.stateful(packet, &[*number]);
                self.compare(stateful, stateless);
                continue;
            }
            if let Some(verdict) = stateless {
                self.waiting.insert(*number, verdict);
            }
            while let Some((_, packet, others)) = datagrams.next_if(|(at, ..)| *at == i) {
                let fragments = [others, &[*number][..]].concat();
                let stateful = self.stateful(packet, &fragments);
                for number in fragments {
                    let stateless = self.waiting.remove(&number);
                    self.compare(stateful, stateless);
                }
            }
        }
        for number in &turn.lost {
            let stateless = self.waiting.remove(number);
            self.compare(Some(Verdict::Drop), stateless);
        }
    }

    fn stateful(&mut self, packet: &Packet, numbers: &[u64]) -> Option<Verdict> {
        let (engine, counts) = self.stateful.as_mut()?;
        let decision: Decision = engine.decide(packet);
        numbers.iter().for_each(|number| counts.add(*number, decision));
        Some(decision.verdict())
    }

    #[inline(always)]
    fn compare(&mut self, stateful: Option<Verdict>, stateless: Option<Verdict>) {
        match (stateful, stateless) {
            (Some(Verdict::Accept), Some(Verdict::Drop)) => self.differences.0 += 1,
            (Some(Verdict::Drop), Some(Verdict::Accept)) => self.differences.1 += 1,
            _ => {}
        }
    }

    pub(super) fn finish(self) -> Refereed {
        let both = self.stateful.is_some() && self.stateless.is_some();
        Refereed {
            stateful: self.stateful.map(|(_, counts)| counts),
            stateless: self.stateless.map(|(_, counts)| counts),
            differences: both.then_some(self.differences),
        }
    }
}
