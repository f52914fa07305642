//! Symmetric steering: whole shards to cores, so that both directions of a flow, and the ICMP
//! errors about it, meet one core, in trace order, on any number of cores.

use crate::engine::{Decision, Reason, State, Verdict};
use crate::packet::Packet;
use crate::table::FlowHash;
use crate::trace::Trace;

/// Which packets an engine sees of a trace with fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Every piece by itself: stateless engines.
    Pieces,
    /// Whole datagrams, when their last piece has come: stateful engines.
    Datagrams,
}

/// The packets of one core, in trace order.
#[derive(Default)]
pub struct Lane {
    /// The records, contiguous, as a receive queue would hold them.
    pub packets: Vec<Packet>,
    /// The shard of each.
    pub shards: Vec<u16>,
    /// Where each stands in [`Trace::packets`].
    pub positions: Vec<u32>,
}

/// A trace, handed out to cores.
pub struct Steered {
    /// One lane a core.
    pub lanes: Vec<Lane>,
    stream: Stream,
    evaluated: usize,
}

impl Steered {
    /// Packets that engines will see.
    pub fn packets(&self) -> usize {
        self.lanes.iter().map(|lane| lane.packets.len()).sum()
    }

    /// The largest lane's share of the packets, times the number of lanes: 1 is perfect balance.
    pub fn imbalance(&self) -> f64 {
        let largest = self.lanes.iter().map(|lane| lane.packets.len()).max().unwrap_or(0);
        (largest * self.lanes.len()) as f64 / self.packets().max(1) as f64
    }

    /// Puts the lanes' decisions in trace order: one for each of [`Trace::packets`]. Fragments get
    /// their datagram's.
    pub fn gather(&self, trace: &Trace, lanes: &[Vec<Decision>]) -> Vec<Decision> {
        let incomplete = Decision::new(Verdict::Drop, State::None, Reason::FragmentIncomplete);
        let mut all = vec![incomplete; self.evaluated];
        for (lane, decisions) in self.lanes.iter().zip(lanes) {
            for (position, decision) in lane.positions.iter().zip(decisions) {
                all[*position as usize] = *decision;
            }
        }
        if self.stream == Stream::Datagrams {
            for datagram in &trace.datagrams {
                for piece in &datagram.pieces {
                    all[*piece as usize] = all[datagram.completing as usize];
                }
            }
        }
        all
    }
}

/// Steers a trace to so many cores. `hash` is keyed by the scenario and chooses shards.
pub fn steer(trace: &Trace, stream: Stream, cores: usize, hash: &FlowHash, shards: u32) -> Steered {
    let mut lanes: Vec<Lane> = (0..cores).map(|_| Lane::default()).collect();
    let mut push = |position: usize, packet: Packet| {
        let shard = hash.shard(&packet.flow_key(), shards);
        let lane = &mut lanes[shard as usize % cores];
        lane.packets.push(packet);
        lane.shards.push(shard as u16);
        lane.positions.push(position as u32);
    };
    if stream == Stream::Pieces || (trace.datagrams.is_empty() && trace.incomplete.is_empty()) {
        trace.packets.iter().enumerate().for_each(|(position, packet)| push(position, *packet));
    } else {
        let mut held = vec![false; trace.packets.len()];
        let mut whole = vec![None; trace.packets.len()];
        for datagram in &trace.datagrams {
            datagram.pieces.iter().for_each(|piece| held[*piece as usize] = true);
            whole[datagram.completing as usize] = Some(datagram.packet);
        }
        trace.incomplete.iter().for_each(|piece| held[*piece as usize] = true);
        for (position, packet) in trace.packets.iter().enumerate() {
            if let Some(datagram) = whole[position] {
                push(position, datagram);
            } else if !held[position] {
                push(position, *packet);
            }
        }
    }
    Steered { lanes, stream, evaluated: trace.packets.len() }
}
