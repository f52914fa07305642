//! Decoded batches in trace order: what depends on the packets before.

use super::batch::DecodedBatch;
use crate::packet::{Ignored, Packet, flags};
use crate::trace::sequence::Sequencer;
use crate::trace::{Selection, Summary};
use std::collections::{BTreeMap, HashSet};

/// Takes what comes out, in trace order. Numbers are those of frames, from 1.
pub trait Sink {
    /// The next packet, which is no fragment. `at`: its place among the batch's packets.
    fn packet(&mut self, number: u64, packet: &Packet, at: usize);

    /// The next packet, which is a fragment.
    fn fragment(&mut self, number: u64, packet: &Packet, at: usize);

    /// The fragment that came last completes this datagram, with these other pieces.
    fn datagram(&mut self, number: u64, packet: &Packet, pieces: Vec<u64>);

    /// These fragments, in any order, turned out to be part of no whole datagram.
    fn lost(&mut self, pieces: Vec<u64>);
}

/// The sequential stage.
pub struct Sequence {
    sequencer: Sequencer,
    selection: Selection,
    is_whole: bool,
    /// Fragments that the selection leaves out but that may complete a datagram. Not more than wait.
    left_out: HashSet<u64>,
    /// Frames that the selection took.
    taken: u64,
    /// Packets that engines evaluate.
    pub evaluated: u64,
    /// Frames that they do not, by cause.
    pub ignored: BTreeMap<Ignored, u64>,
    /// The frames gone through.
    seen: Summary,
}

impl Sequence {
    /// Takes what is selected.
    pub fn new(selection: Selection) -> Self {
        Sequence {
            sequencer: Sequencer::default(),
            selection,
            is_whole: selection == Selection::default(),
            left_out: HashSet::new(),
            taken: 0,
            evaluated: 0,
            ignored: BTreeMap::new(),
            seen: Summary::default(),
        }
    }

    /// Number, time and bytes of the frames gone through, for where the reader cannot be asked: see
    /// [`crate::trace::stream::Reader::summary`].
    pub fn seen(&self) -> &Summary {
        &self.seen
    }

    /// True once nothing further can be selected.
    pub fn is_done(&self) -> bool {
        self.selection.limit.is_some_and(|limit| self.taken >= limit)
    }

    /// Puts the next batch in sequence.
    pub fn batch(&mut self, decoded: &DecodedBatch, sink: &mut impl Sink) {
        let frames = &decoded.batch.frames;
        for frame in [frames.first(), frames.last()].into_iter().flatten() {
            let first_ns = if self.seen.packets == 0 { frame.time_ns } else { self.seen.first_ns.min(frame.time_ns) };
            (self.seen.first_ns, self.seen.last_ns) = (first_ns, self.seen.last_ns.max(frame.time_ns));
            self.seen.packets = decoded.batch.first + frames.len() as u64 - 1;
        }
        self.seen.wire_bytes += frames.iter().map(|frame| u64::from(frame.wire)).sum::<u64>();
        let mut ignored = decoded.ignored.iter().peekable();
        for (i, (packet, at)) in decoded.packets.iter().zip(&decoded.at).enumerate() {
            while let Some((before, why)) = ignored.next_if(|(before, _)| before < at) {
                self.ignore(decoded, *before, *why);
            }
            let frame = &frames[*at as usize];
            let mut packet = *packet;
            packet.time_ns = self.sequencer.time_ns(frame.time_ns);
            let taken = self.takes(decoded, *at);
            let number = decoded.batch.first + u64::from(*at);
            if packet.has(flags::FRAGMENT) {
                if taken {
                    sink.fragment(number, &packet, i);
                } else {
                    self.left_out.insert(number);
                }
                if let Some(whole) = self.sequencer.piece(decoded.view(frame), number, &packet) {
                    self.complete(number, &whole.packet, whole.pieces, sink);
                }
                self.pass_on_lost(sink);
            } else if taken {
                sink.packet(number, &packet, i);
            }
            self.evaluated += u64::from(taken);
        }
        for (at, why) in ignored {
            self.ignore(decoded, *at, *why);
        }
    }

    /// No more batches come.
    pub fn end(&mut self, sink: &mut impl Sink) {
        self.sequencer.end();
        self.pass_on_lost(sink);
    }

    /// A datagram of which a piece is left out is not whole.
    fn complete(&mut self, number: u64, packet: &Packet, pieces: Vec<u64>, sink: &mut impl Sink) {
        let mut all = pieces;
        if self.left_out.is_empty()
            || !(self.left_out.contains(&number) || all.iter().any(|p| self.left_out.contains(p)))
        {
            return sink.datagram(number, packet, all);
        }
        all.push(number);
        all.retain(|piece| !self.left_out.remove(piece));
        sink.lost(all);
    }

    fn pass_on_lost(&mut self, sink: &mut impl Sink) {
        let mut lost = self.sequencer.take_lost();
        lost.retain(|piece| !self.left_out.remove(piece));
        if !lost.is_empty() {
            sink.lost(lost);
        }
    }

    fn ignore(&mut self, decoded: &DecodedBatch, at: u32, why: Ignored) {
        if self.takes(decoded, at) {
            *self.ignored.entry(why).or_default() += 1;
        }
    }

    /// Whether this frame of a batch is selected.
    #[inline(always)]
    fn takes(&mut self, decoded: &DecodedBatch, at: u32) -> bool {
        if !decoded.is_selected(at) {
            return false;
        }
        let time_ns = decoded.batch.frames[at as usize].time_ns;
        if self.is_whole {
            return true;
        }
        let Selection { from_ns, until_ns, limit } = self.selection;
        let takes = from_ns.is_none_or(|from| from <= time_ns)
            && until_ns.is_none_or(|until| time_ns < until)
            && limit.is_none_or(|limit| self.taken < limit);
        self.taken += u64::from(takes);
        takes
    }
}
