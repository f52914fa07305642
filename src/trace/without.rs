//! A trace of which some packets never arrived.

use super::{Datagram, Trace};

impl Trace {
    /// The trace without the packets marked in `gone`, and the positions, in this trace, of those that are left.
    /// A datagram that misses a piece is never completed.
    pub fn without(&self, gone: &[bool]) -> (Trace, Vec<u32>) {
        let left: Vec<u32> = (0..self.packets.len() as u32).filter(|i| !gone[*i as usize]).collect();
        let mut moved = vec![None; self.packets.len()];
        left.iter().zip(0u32..).for_each(|(from, to)| moved[*from as usize] = Some(to));
        let mut trace = Trace {
            packets: left.iter().map(|i| self.packets[*i as usize]).collect(),
            frames: left.iter().map(|i| self.frames[*i as usize]).collect(),
            timestamps_ns: self.timestamps_ns.clone(),
            incomplete: self.incomplete.iter().filter_map(|i| moved[*i as usize]).collect(),
            ..Trace::default()
        };
        for datagram in &self.datagrams {
            let pieces: Option<Vec<u32>> = datagram.pieces.iter().map(|i| moved[*i as usize]).collect();
            match (moved[datagram.completing as usize], pieces) {
                (Some(completing), Some(pieces)) => {
                    trace.datagrams.push(Datagram { completing, pieces, packet: datagram.packet });
                }
                (completing, _) => {
                    trace.incomplete.extend(completing);
                    trace.incomplete.extend(datagram.pieces.iter().filter_map(|i| moved[*i as usize]));
                }
            }
        }
        trace.incomplete.sort_unstable();
        (trace, left)
    }
}
