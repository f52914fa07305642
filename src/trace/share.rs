//! A share of a trace's flows, so that several machines or runs can split it.

use super::Trace;
use crate::packet::Packet;

impl Trace {
    /// Keeps the flows that `is_kept`, as they are: order, times and numbers do not change, so the shares' digests add up
    /// to the whole's. The pieces of a datagram go where the datagram goes. What is not evaluated is kept if
    /// `keeps_ignored`, which is to be true for one of the shares.
    ///
    /// For traces without copies: an elephant is made of the share, not shared out.
    pub fn keep(&mut self, is_kept: impl Fn(&Packet) -> bool, keeps_ignored: bool) {
        let mut kept: Vec<bool> = self.packets.iter().map(&is_kept).collect();
        for datagram in &self.datagrams {
            let whole = is_kept(&datagram.packet);
            kept[datagram.completing as usize] = whole;
            datagram.pieces.iter().for_each(|piece| kept[*piece as usize] = whole);
        }
        let mut places = Vec::with_capacity(kept.len());
        let mut next = 0u32;
        for kept in &kept {
            places.push(next);
            next += u32::from(*kept);
        }
        let moved = |position: u32| places[position as usize];
        self.datagrams.retain_mut(|datagram| {
            let stays = kept[datagram.completing as usize];
            datagram.completing = moved(datagram.completing);
            datagram.pieces.iter_mut().for_each(|piece| *piece = moved(*piece));
            stays
        });
        self.incomplete.retain(|position| kept[*position as usize]);
        self.incomplete.iter_mut().for_each(|position| *position = moved(*position));
        let mut is_kept = kept.iter();
        self.packets.retain(|_| is_kept.next() == Some(&true));
        let mut is_kept = kept.iter();
        self.frames.retain(|_| is_kept.next() == Some(&true));
        if !keeps_ignored {
            self.ignored.clear();
        }
    }
}
