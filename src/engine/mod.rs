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
use crate::table::TableCounters;

/// Most packets that are handed to an engine at once.
pub const MAX_BURST: usize = 64;

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
    /// Decides on a burst of at most [`MAX_BURST`] packets, in order. `shards[i]` is the shard of
    /// `packets[i]`, as receive-side scaling would deliver it beside the packet.
    fn burst<S: Stamp>(&mut self, packets: &[Packet], shards: &[u16], decisions: &mut [Decision], stamp: &mut S);

    /// In the next burst, nothing may be removed to make room that was still alive at this packet time.
    /// Other cores may be behind, and their packets may still belong to it.
    fn sweep_until(&mut self, _packet_time_ns: u64) {}

    /// How many entries a look-up of this packet would compare with it. `None`: it is not looked up, or the table does
    /// not tell. For accounting, beside any pass that is timed.
    fn probes(&self, _packet: &Packet, _shard: u16) -> Option<u32> {
        None
    }

    /// What its table has done, if it has one.
    fn counters(&self) -> Option<TableCounters> {
        None
    }
}
