//! Steering: which core gets which packet. Where a flow lies in the table is the same under all of
//! them: its shard is a property of the flow.

use crate::engine::registry::Kind;
use crate::engine::{Decision, Reason, State, Verdict};
use crate::measure::Span;
use crate::packet::{Direction, FlowKey, Packet};
use crate::table::FlowHash;
use crate::trace::Trace;

/// How packets are handed to cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steering {
    /// Whole shards to cores, as symmetric receive-side scaling does: both directions of a flow, and
    /// the ICMP errors about it, meet one core, in trace order, on any number of cores.
    #[default]
    Symmetric,
    /// As ordinary receive-side scaling does: by a hash of source and destination *as sent*, so that a
    /// flow's two directions may meet different cores. An ICMP error counts as a packet of the flow
    /// that it quotes, in the error's own direction.
    Asymmetric {
        /// No core runs further ahead of the slowest than so many packets of the trace.
        window: u32,
    },
    /// Packets round robin, whatever flow they belong to: the worst case for a shared table.
    Spray {
        /// As above.
        window: u32,
    },
}

impl Steering {
    /// The default order window, in packets of the trace: 16 bursts of 32 on each of two cores.
    pub const DEFAULT_WINDOW: u32 = 1024;

    /// The word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Steering::Symmetric => "symmetric",
            Steering::Asymmetric { .. } => "asymmetric",
            Steering::Spray { .. } => "spray",
        }
    }

    /// How far apart in the trace two packets may be that are decided in the wrong order. `None`:
    /// packets of one flow are always decided in trace order.
    pub fn window(self) -> Option<u32> {
        match self {
            Steering::Symmetric => None,
            Steering::Asymmetric { window } | Steering::Spray { window } => Some(window),
        }
    }
}

/// Which packets an engine sees of a trace with fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Every piece by itself: stateless engines.
    Pieces,
    /// Whole datagrams, when their last piece has come: stateful engines.
    Datagrams,
}

impl Stream {
    /// What engines of this kind see.
    pub fn of(kind: Kind) -> Self {
        if kind.is_stateful() { Stream::Datagrams } else { Stream::Pieces }
    }
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
    /// How they were handed out.
    pub steering: Steering,
    /// The trace's time, which latencies are shown over.
    pub span: Span,
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

/// Steers a trace to so many cores. `hash` is keyed by the scenario; it chooses shards and, where the
/// steering hashes, cores.
pub fn steer(trace: &Trace, stream: Stream, steering: Steering, cores: usize, hash: &FlowHash, shards: u32) -> Steered {
    let mut lanes: Vec<Lane> = (0..cores).map(|_| Lane::default()).collect();
    let mut turn = 0;
    let mut push = |position: usize, packet: Packet| {
        let shard = hash.shard(&packet.flow_key(), shards);
        let core = match steering {
            Steering::Symmetric => shard as usize % cores,
            Steering::Asymmetric { .. } => hash.shard(&as_sent(&packet), cores as u32) as usize,
            Steering::Spray { .. } => turn % cores,
        };
        turn += 1;
        let lane = &mut lanes[core];
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
    Steered { lanes, steering, span: Span::of(trace), stream, evaluated: trace.packets.len() }
}

/// The flow key with its ends in the order source, destination: what ordinary receive-side scaling
/// hashes. (An end inside is `local` in the flow key, whichever of the two sends.)
fn as_sent(packet: &Packet) -> FlowKey {
    let key = packet.flow_key();
    match packet.direction() {
        Direction::Out => key,
        Direction::In => {
            let [local_high, local_low, remote_high, remote_low, rest] = key.words;
            let ports = (rest & 0xffff) << 16 | rest >> 16 & 0xffff;
            FlowKey { words: [remote_high, remote_low, local_high, local_low, rest & !0xffff_ffff | ports] }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::protocol;
    use crate::table::HashKey;
    use std::collections::{HashMap, HashSet};
    use std::net::IpAddr;

    const WINDOW: u32 = 64;
    const ALL: [Steering; 3] =
        [Steering::Symmetric, Steering::Asymmetric { window: WINDOW }, Steering::Spray { window: WINDOW }];

    /// 200 flows, 10 packets each, alternating in direction; every fifth packet an ICMP error.
    fn trace() -> Trace {
        let (local, remote): (IpAddr, IpAddr) = ([10, 0, 1, 10].into(), [198, 51, 100, 7].into());
        let mut trace = Trace::default();
        for n in 0..2000u16 {
            let direction = if n / 200 % 2 == 0 { Direction::In } else { Direction::Out };
            let packet =
                Packet::new(local, remote, direction, protocol::UDP, u64::from(n)).with_ports(53, 40_000 + n % 200);
            let error = Packet::icmp_error(packet, direction, remote, 3, 1, u64::from(n));
            trace.packets.push(if n % 5 == 4 { error } else { packet });
            trace.frames.push(u32::from(n) + 1);
            trace.timestamps_ns.push(u64::from(n));
        }
        trace
    }

    fn steered(trace: &Trace, steering: Steering, cores: usize) -> Steered {
        steer(trace, Stream::Datagrams, steering, cores, &FlowHash::new(HashKey::from_seed(7)), 64)
    }

    /// The core of every packet.
    fn cores(trace: &Trace, steered: &Steered) -> Vec<usize> {
        let mut cores = vec![usize::MAX; trace.packets.len()];
        for (core, lane) in steered.lanes.iter().enumerate() {
            assert!(lane.positions.windows(2).all(|pair| pair[0] < pair[1]), "a lane is in trace order");
            for (position, packet) in lane.positions.iter().zip(&lane.packets) {
                assert_eq!(cores[*position as usize], usize::MAX, "handed out twice");
                assert_eq!(trace.packets[*position as usize], *packet);
                cores[*position as usize] = core;
            }
        }
        assert!(cores.iter().all(|core| *core != usize::MAX), "handed out, every one");
        cores
    }

    #[test]
    fn every_packet_goes_to_one_core_and_its_shard_does_not_depend_on_it() {
        let trace = trace();
        let shards = |steered: &Steered| -> HashMap<u32, u16> {
            let each = steered.lanes.iter().flat_map(|lane| lane.positions.iter().zip(&lane.shards));
            each.map(|(position, shard)| (*position, *shard)).collect()
        };
        let right = shards(&steered(&trace, Steering::Symmetric, 1));
        for steering in ALL {
            for count in 1..=5 {
                let steered = steered(&trace, steering, count);
                cores(&trace, &steered);
                assert_eq!(shards(&steered), right, "{steering:?}");
            }
        }
    }

    #[test]
    fn symmetric_keeps_flows_and_asymmetric_keeps_directions_on_one_core() {
        let trace = trace();
        for (steering, both) in [(ALL[0], true), (ALL[1], false)] {
            let found = cores(&trace, &steered(&trace, steering, 3));
            let mut flows: HashMap<FlowKey, HashSet<usize>> = HashMap::new();
            let mut directions: HashMap<(FlowKey, usize), HashSet<usize>> = HashMap::new();
            for (packet, core) in trace.packets.iter().zip(found) {
                flows.entry(packet.flow_key()).or_default().insert(core);
                directions.entry((packet.flow_key(), packet.direction().index())).or_default().insert(core);
            }
            assert!(directions.values().all(|cores| cores.len() == 1), "{steering:?}");
            let split = flows.values().filter(|cores| cores.len() > 1).count();
            // Of 200 flows two thirds are expected to be split among three cores.
            assert!(if both { split == 0 } else { (100..170).contains(&split) }, "{steering:?}: {split}");
        }
    }

    #[test]
    fn spray_takes_turns() {
        let trace = trace();
        let steered = steered(&trace, ALL[2], 3);
        assert!(cores(&trace, &steered).iter().enumerate().all(|(n, core)| *core == n % 3));
        assert!((steered.imbalance() - 667.0 * 3.0 / 2000.0).abs() < 1e-9);
    }
}
