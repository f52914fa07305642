//! How many connections the trace needs at once, and what it would come to under other timers.

use super::Workload;
use crate::conntrack::Config;
use crate::engine::Decision;
use crate::engine::registry::Kind;
use serde::Serialize;

/// The most connections that were tracked at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peak {
    /// Connections, each counted from its first packet until its timer ran out.
    pub entries: usize,
    /// When that many were reached first, in ns since 1970.
    pub at_ns: u64,
}

impl Workload {
    /// The peak under these settings, by the reference. `None` without security groups.
    pub fn peak(&self, config: &Config) -> Option<Peak> {
        let mut engine = self.reference_engine(config)?;
        let mut peak = Peak::default();
        for packet in &self.steered(Kind::Reference, 1).lanes[0].packets {
            engine.decide(packet);
            // What has expired is counted until somebody looks, so only a new maximum is worth a look.
            if engine.entries() > peak.entries {
                let entries = engine.live_entries(packet.time_ns);
                if entries > peak.entries {
                    peak = Peak { entries, at_ns: packet.time_ns };
                }
            }
        }
        Some(peak)
    }

    /// What the stateful reference would say under these settings, in trace order.
    pub fn reference_under(&self, config: &Config) -> Option<Vec<Decision>> {
        let steered = self.steered(Kind::Reference, 1);
        let mut engine = self.reference_engine(config)?;
        let decisions = steered.lanes[0].packets.iter().map(|packet| engine.decide(packet)).collect();
        Some(steered.gather(&self.trace, &[decisions]))
    }
}
