//! From one sequence of packets to lanes, one a core, for engines of several kinds at once.

use super::referee::Turn;
use crate::engine::{Decision, Reason, State, Verdict};
use crate::packet::Packet;
use crate::replay::Stream;
use crate::table::FlowHash;
use crate::trace::stream::Sink;
use crate::verify::Counts;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Packets of a lane that are handed over at once, rounded to whole bursts.
const HANDED_OVER: usize = 4096;

/// Some packets of one core, in trace order.
#[derive(Default)]
pub struct LaneBatch {
    /// The records.
    pub packets: Vec<Packet>,
    /// The shard of each.
    pub shards: Vec<u16>,
    /// The number of each one's frame; of a datagram, that of the fragment that completed it.
    pub numbers: Vec<u64>,
    /// For the datagrams among the packets, by position: the numbers of their other fragments.
    pub fragments: Vec<(usize, Vec<u64>)>,
}

impl LaneBatch {
    fn with_capacity(packets: usize) -> Self {
        LaneBatch {
            packets: Vec::with_capacity(packets),
            shards: Vec::with_capacity(packets),
            numbers: Vec::with_capacity(packets),
            fragments: Vec::new(),
        }
    }
}

/// Whoever takes a lane's batches, in order.
pub type LaneSender = SyncSender<Arc<LaneBatch>>;

/// The lanes of engines that see the same packets on the same number of cores.
pub struct Lanes {
    stream: Stream,
    filling: Vec<LaneBatch>,
    takers: Vec<Vec<LaneSender>>,
    /// Packets handed over, by lane.
    packets: Vec<u64>,
    /// A whole number of bursts, so that bursts are those of a preloaded replay.
    size: usize,
}

impl Lanes {
    pub fn new(stream: Stream, cores: usize, burst: usize) -> Self {
        let size = HANDED_OVER.next_multiple_of(burst);
        Lanes {
            stream,
            filling: (0..cores).map(|_| LaneBatch::with_capacity(size)).collect(),
            takers: (0..cores).map(|_| Vec::new()).collect(),
            packets: vec![0; cores],
            size,
        }
    }

    /// One more engine takes these lanes.
    pub fn add(&mut self, takers: impl IntoIterator<Item = LaneSender>) {
        self.takers.iter_mut().zip(takers).for_each(|(lane, taker)| lane.push(taker));
    }

    pub fn is(&self, stream: Stream, cores: usize) -> bool {
        self.stream == stream && self.filling.len() == cores
    }

    pub fn stream(&self) -> Stream {
        self.stream
    }

    #[inline(always)]
    fn push(&mut self, number: u64, packet: &Packet, shard: u16) -> usize {
        let lane = usize::from(shard) % self.filling.len();
        let batch = &mut self.filling[lane];
        batch.packets.push(*packet);
        batch.shards.push(shard);
        batch.numbers.push(number);
        lane
    }

    #[inline(always)]
    fn hand_over_if_full(&mut self, lane: usize) {
        if self.filling[lane].packets.len() == self.size {
            self.hand_over(lane);
        }
    }

    fn hand_over(&mut self, lane: usize) {
        let batch = std::mem::replace(&mut self.filling[lane], LaneBatch::with_capacity(self.size));
        self.packets[lane] += batch.packets.len() as u64;
        let batch = Arc::new(batch);
        // An engine that is gone has panicked, and says so when it is joined.
        self.takers[lane].iter().for_each(|taker| drop(taker.send(batch.clone())));
    }

    /// Hands over what is left. Packets by lane.
    pub fn end(mut self) -> Vec<u64> {
        for lane in 0..self.filling.len() {
            if !self.filling[lane].packets.is_empty() {
                self.hand_over(lane);
            }
        }
        self.packets
    }
}

/// Deals the packets out.
pub struct Distributor {
    pub lanes: Vec<Lanes>,
    /// For the referee, if there is one.
    pub turn: Option<Turn>,
    /// Shards of the batch's packets.
    pub shards: Vec<u16>,
    pub hash: FlowHash,
    pub all_shards: u32,
    /// The fragments that no stateful engine ever sees.
    pub lost: Counts,
}

impl Sink for Distributor {
    #[inline(always)]
    fn packet(&mut self, number: u64, packet: &Packet, at: usize) {
        let shard = self.shards[at];
        for lanes in &mut self.lanes {
            let lane = lanes.push(number, packet, shard);
            lanes.hand_over_if_full(lane);
        }
        if let Some(turn) = &mut self.turn {
            turn.packet(number, packet);
        }
    }

    fn fragment(&mut self, number: u64, packet: &Packet, at: usize) {
        let shard = self.shards[at];
        for lanes in self.lanes.iter_mut().filter(|lanes| lanes.stream == Stream::Pieces) {
            let lane = lanes.push(number, packet, shard);
            lanes.hand_over_if_full(lane);
        }
        if let Some(turn) = &mut self.turn {
            turn.packet(number, packet);
        }
    }

    fn datagram(&mut self, number: u64, packet: &Packet, fragments: Vec<u64>) {
        let shard = self.hash.shard(&packet.flow_key(), self.all_shards) as u16;
        for lanes in self.lanes.iter_mut().filter(|lanes| lanes.stream == Stream::Datagrams) {
            let lane = lanes.push(number, packet, shard);
            let batch = &mut lanes.filling[lane];
            batch.fragments.push((batch.packets.len() - 1, fragments.clone()));
            lanes.hand_over_if_full(lane);
        }
        if let Some(turn) = &mut self.turn {
            turn.datagram(packet, fragments);
        }
    }

    fn lost(&mut self, fragments: Vec<u64>) {
        let incomplete = Decision::new(Verdict::Drop, State::None, Reason::FragmentIncomplete);
        fragments.iter().for_each(|number| self.lost.add(*number, incomplete));
        if let Some(turn) = &mut self.turn {
            turn.lost.extend(fragments);
        }
    }
}
