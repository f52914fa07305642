//! Rules and a flow table make an engine; an engine turns packets into decisions.
//!
//! Engines are generic over their rules and their table and are monomorphised: in the packet loop
//! there is no dynamic dispatch, no allocation, no lock and no formatting.

mod allowance;
mod decision;
mod null;
pub mod reference;
pub mod registry;
mod stateful;
mod stateless;

pub use allowance::Allowance;
pub use decision::{Decision, Reason, State, Verdict};
pub use null::Null;
pub use stateful::{Burst, Groups, PACKETS_PER_EXPIRY, Stateful};
pub use stateless::Stateless;

use crate::packet::Packet;
use crate::policy::path::Ends;
use crate::table::TableCounters;

/// Most packets that are handed to an engine at once.
pub const MAX_BURST: usize = 64;

/// What is known of a packet before an engine sees it, as a network card delivers it beside the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The shard of its flow, as receive-side scaling would have it.
    pub shard: u16,
    /// The rule sets at its ends, as the port of a virtual switch would have them.
    pub ends: Ends,
}

impl From<u16> for Tag {
    /// A shard alone: where rules differ by interface, they are then looked up.
    fn from(shard: u16) -> Tag {
        Tag { shard, ends: Ends::default() }
    }
}

/// Called by an engine at the moment when a packet's verdict is known.
pub trait Stamp {
    /// One more packet of the burst is done.
    fn verdict_known(&mut self);
}

/// For throughput passes: no stamps.
pub struct NoStamps;

impl Stamp for NoStamps {
    #[inline(always)]
    fn verdict_known(&mut self) {}
}

/// What a worker runs.
pub trait Engine {
    /// Decides on a burst of at most [`MAX_BURST`] packets, in order. `tags[i]` belongs to `packets[i]`.
    fn burst<S: Stamp>(&mut self, packets: &[Packet], tags: &[Tag], decisions: &mut [Decision], stamp: &mut S);

    /// In the next burst, nothing may be removed to make room that was still alive at this packet time.
    /// Other cores may be behind, and their packets may still belong to it.
    fn sweep_until(&mut self, _packet_time_ns: u64) {}

    /// How many entries a look-up of this packet would compare with it. `None`: it is not looked up, or the table does
    /// not tell. For accounting, beside any pass that is timed.
    fn probes(&self, _packet: &Packet, _tag: Tag) -> Option<u32> {
        None
    }

    /// What its table has done, if it has one.
    fn counters(&self) -> Option<TableCounters> {
        None
    }
}
