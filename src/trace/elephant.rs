//! An elephant: one flow that makes up half of all packets.
//!
//! Where steering keeps a flow on one core, an elephant is more than one core's share; where it does
//! not, all cores work on one entry.

use super::Trace;
use crate::packet::{Direction, FlowKey, Packet, flags, protocol, tcp_flags};
use std::collections::HashMap;

/// What [`Trace::with_elephant`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elephant {
    /// Frame number of the packet after which it begins.
    pub begins_at: u32,
    /// Copies added.
    pub copies: usize,
    /// The flow's share of all packets, its own and the copies.
    pub share: f64,
}

/// Why a trace gets no elephant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElephantError {
    /// Nothing to copy.
    #[error(
        "no flow of the trace gets as far as data after an answer, so none can be made an elephant: leave out --elephant"
    )]
    NoFlow,
    /// Numbers of packets have 32 bits.
    #[error("with an elephant the trace would have more than 2^32 packets: leave out --elephant")]
    TooLong,
}

impl Trace {
    /// Makes one flow half of all packets: after every packet of the trace follows one more copy of
    /// that flow's latest packet, at the same packet time. A copy is a retransmission, so it lies in its
    /// window. It begins with the flow's first established packet that carries data.
    ///
    /// `is_established` says, by position, which packets belong to a connection that has been answered
    /// and is tracked. The flow with the most of them becomes the elephant; of equals the earlier.
    ///
    /// Copies are numbered after the capture's last frame, in order; see [`Trace::copies`].
    pub fn with_elephant(&self, is_established: impl Fn(usize) -> bool) -> Result<(Trace, Elephant), ElephantError> {
        let (key, begin) = self.largest_flow(is_established).ok_or(ElephantError::NoFlow)?;
        let added = self.packets.len() - begin;
        let frames = self.timestamps_ns.len() as u64;
        if u32::try_from(frames.max(self.packets.len() as u64) + added as u64).is_err() {
            return Err(ElephantError::TooLong);
        }
        // Every packet from `begin` on, but the first, has one copy more before it.
        let moved = |position: u32| position + position.saturating_sub(begin as u32);
        let mut trace = Trace {
            packets: self.packets[..begin].to_vec(),
            frames: self.frames[..begin].to_vec(),
            ignored: self.ignored.clone(),
            timestamps_ns: self.timestamps_ns.clone(),
            datagrams: self.datagrams.clone(),
            incomplete: self.incomplete.iter().map(|position| moved(*position)).collect(),
            copies: Vec::with_capacity(added),
        };
        for datagram in &mut trace.datagrams {
            datagram.completing = moved(datagram.completing);
            datagram.pieces.iter_mut().for_each(|piece| *piece = moved(*piece));
        }
        trace.packets.reserve(2 * added);
        trace.frames.reserve(2 * added);
        let mut latest = begin;
        for (position, packet) in self.packets.iter().enumerate().skip(begin) {
            if is_of(packet, &key) {
                latest = position;
            }
            trace.packets.push(*packet);
            trace.frames.push(self.frames[position]);
            let mut copy = self.packets[latest];
            copy.time_ns = packet.time_ns;
            trace.packets.push(copy);
            trace.copies.push(self.frames[latest]);
            trace.frames.push(frames as u32 + trace.copies.len() as u32);
        }
        let own = trace.packets.iter().filter(|packet| packet.flow_key() == key).count();
        let share = own as f64 / trace.packets.len() as f64;
        Ok((trace, Elephant { begins_at: self.frames[begin], copies: added, share }))
    }

    /// The flow with the most established packets, and the position of its first that carries data.
    fn largest_flow(&self, is_established: impl Fn(usize) -> bool) -> Option<(FlowKey, usize)> {
        struct Candidate {
            packets: usize,
            first_data: Option<usize>,
        }
        let mut flows: HashMap<FlowKey, Candidate> = HashMap::new();
        for (position, packet) in self.packets.iter().enumerate() {
            let key = packet.flow_key();
            if is_of(packet, &key) && is_established(position) {
                let flow = flows.entry(key).or_insert(Candidate { packets: 0, first_data: None });
                flow.packets += 1;
                if flow.first_data.is_none() && carries_data(packet) {
                    flow.first_data = Some(position);
                }
            }
        }
        let with_data = flows.into_iter().filter_map(|(key, flow)| Some((flow.packets, flow.first_data?, key)));
        with_data
            .max_by_key(|(packets, first, _)| (*packets, std::cmp::Reverse(*first)))
            .map(|(_, first, key)| (key, first))
    }

    /// Which packets follow an answer, by the packets alone: for traces without security groups.
    pub fn answered(&self) -> Vec<bool> {
        let mut seen: HashMap<FlowKey, [bool; 2]> = HashMap::new();
        let mut answered = |packet: &Packet| {
            let directions = seen.entry(packet.flow_key()).or_default();
            let before = directions[Direction::In.index()] && directions[Direction::Out.index()];
            directions[packet.direction().index()] |= !packet.has(flags::ICMP_ERROR);
            before
        };
        self.packets.iter().map(&mut answered).collect()
    }
}

/// A packet that can be copied as one of this flow: whole, and not about it.
fn is_of(packet: &Packet, key: &FlowKey) -> bool {
    packet.flags & (flags::INVALID | flags::ICMP_ERROR | flags::FRAGMENT | flags::NEVER_TRACKED) == 0
        && packet.flow_key() == *key
}

/// TCP: payload, and neither opens nor closes. Other protocols have nothing but data.
fn carries_data(packet: &Packet) -> bool {
    use tcp_flags::{ACK, FIN, RST, SYN};
    packet.protocol != protocol::TCP
        || (packet.payload_len() > 0 && packet.tcp_flags() & (SYN | FIN | RST | ACK) == ACK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::TcpFields;
    use crate::trace::Datagram;
    use tcp_flags::{ACK, SYN};

    const S: u64 = 1_000_000_000;

    fn segment(port: u16, direction: Direction, flags: u8, seq: u32, payload_len: u16) -> Packet {
        let packet = Packet::new([10, 0, 1, 10].into(), [198, 51, 100, 7].into(), direction, protocol::TCP, 0);
        packet.with_ports(80, port).with_tcp(TcpFields { flags, seq, payload_len, ..TcpFields::default() })
    }

    fn trace(packets: Vec<Packet>) -> Trace {
        let mut trace = Trace::default();
        for (number, mut packet) in (1u32..).zip(packets) {
            packet.time_ns = u64::from(number) * S;
            trace.packets.push(packet);
            // Every second frame of the capture is not evaluated.
            trace.frames.push(2 * number);
            trace.timestamps_ns.extend([packet.time_ns, packet.time_ns]);
        }
        trace
    }

    /// Flow 2 is longer than flow 1, whose packets come in between.
    fn two_flows() -> Trace {
        use Direction::{In, Out};
        trace(vec![
            segment(2, In, SYN, 9, 0),
            segment(1, In, SYN, 1, 0),
            segment(2, Out, SYN | ACK, 50, 0),
            segment(2, In, ACK, 10, 0),
            segment(2, In, ACK, 10, 100),
            segment(1, Out, SYN | ACK, 5, 0),
            segment(2, Out, ACK, 51, 20),
            segment(1, In, ACK, 2, 10),
        ])
    }

    #[test]
    fn copies_follow_every_packet_from_the_first_data_on() {
        let before = two_flows();
        let answered = before.answered();
        let (after, elephant) = before.with_elephant(|position| answered[position]).unwrap();
        assert_eq!(elephant, Elephant { begins_at: 10, copies: 4, share: 9.0 / 12.0 });
        assert_eq!(after.packets[..5], before.packets[..5]);
        let originals: Vec<Packet> = after.packets[4..].iter().step_by(2).copied().collect();
        assert_eq!(originals, before.packets[4..]);
        let copies: Vec<Packet> = after.packets[5..].iter().step_by(2).copied().collect();
        for ((copy, of), at) in copies.iter().zip([4, 4, 6, 6]).zip(4..) {
            assert_eq!(copy.time_ns, before.packets[at].time_ns);
            let mut original = before.packets[of];
            original.time_ns = copy.time_ns;
            assert_eq!(*copy, original);
        }
        assert_eq!(after.copies, [10, 10, 14, 14]);
        assert_eq!(after.frames, [2, 4, 6, 8, 10, 17, 12, 18, 14, 19, 16, 20]);
        assert_eq!((after.name(4).as_str(), after.name(9).as_str()), ("packet 10", "a copy of packet 14"));
        assert!(after.packets.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns));
    }

    #[test]
    fn half_of_all_packets_from_the_beginning_on() {
        let mut packets = two_flows().packets;
        packets.extend((0..10_000).map(|n| segment(1000 + n, Direction::In, SYN, 1, 0)));
        let before = trace(packets);
        let answered = before.answered();
        let (after, elephant) = before.with_elephant(|position| answered[position]).unwrap();
        assert!((0.5..0.501).contains(&elephant.share), "{elephant:?}");
        assert_eq!(after.packets.len(), 2 * before.packets.len() - 4);
    }

    #[test]
    fn datagrams_in_pieces_move_with_their_pieces() {
        let mut before = two_flows();
        before.datagrams.push(Datagram { completing: 5, pieces: vec![1, 4], packet: before.packets[5] });
        before.incomplete = vec![3, 7];
        let answered = before.answered();
        let (after, _) = before.with_elephant(|position| answered[position]).unwrap();
        let datagram = &after.datagrams[0];
        for (new, old) in [(datagram.completing, 5), (datagram.pieces[0], 1), (datagram.pieces[1], 4)] {
            assert_eq!(after.packets[new as usize], before.packets[old]);
        }
        assert_eq!(after.incomplete.iter().map(|at| after.frames[*at as usize]).collect::<Vec<_>>(), [8, 16]);
    }

    #[test]
    fn a_trace_without_data_gets_none() {
        let quiet = trace(vec![segment(1, Direction::In, SYN, 1, 0), segment(1, Direction::Out, SYN | ACK, 5, 0)]);
        assert_eq!(quiet.with_elephant(|_| true).err(), Some(ElephantError::NoFlow));
        assert_eq!(Trace::default().with_elephant(|_| true).err(), Some(ElephantError::NoFlow));
        assert_eq!(two_flows().with_elephant(|_| false).err(), Some(ElephantError::NoFlow));
    }
}
