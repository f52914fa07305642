//! Stateless filtering: every packet, in both directions, needs a rule.

use super::{Decision, Engine, Reason, Stamp, State, Tag, Verdict};
use crate::packet::Packet;
use crate::policy::path::Ends;
use crate::policy::{Epochs, Evaluate};

/// A network ACL.
pub struct Stateless<'a, R> {
    rules: Epochs<'a, R>,
}

impl<'a, R: Evaluate> Stateless<'a, R> {
    /// Filters by these rules.
    pub fn new(rules: Epochs<'a, R>) -> Self {
        Stateless { rules }
    }

    #[inline(always)]
    fn decide(&mut self, packet: &Packet, ends: Ends) -> Decision {
        match self.rules.at(packet.time_ns).first_match_between(packet, ends) {
            Some(found) => {
                let verdict = if found.allow { Verdict::Accept } else { Verdict::Drop };
                Decision::by_rule(verdict, State::None, found.rule)
            }
            None => Decision::new(Verdict::Drop, State::None, Reason::NoRule),
        }
    }
}

impl<R: Evaluate> Engine for Stateless<'_, R> {
    #[inline]
    fn burst<S: Stamp>(&mut self, packets: &[Packet], tags: &[Tag], decisions: &mut [Decision], stamp: &mut S) {
        for ((packet, tag), decision) in packets.iter().zip(tags).zip(decisions) {
            *decision = self.decide(packet, tag.ends);
            stamp.verdict_known();
        }
    }
}
