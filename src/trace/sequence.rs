//! The small sequential stage after decoding: what depends on the order of packets.

use super::Frames;
use super::fragments::{Datagram, Reassembly, Whole};
use crate::conntrack::{MAX_TIME_NS, Profile};
use crate::packet::{Exempt, Ignored, Packet, View, flags, piece, protocol};
use std::collections::HashMap;
use std::net::IpAddr;

/// Decoded frames in file order.
pub struct Decoded {
    pub(super) chunks: Vec<Vec<Result<Packet, Ignored>>>,
}

/// A trace, ready to be replayed.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The packets that engines evaluate, in trace order.
    pub packets: Vec<Packet>,
    /// The frame number of each, from 1, as Wireshark counts. Copies that are no frames of the capture
    /// are numbered after its last.
    pub frames: Vec<u32>,
    /// Frames that are not evaluated, by number, and why.
    pub ignored: Vec<(u32, Ignored)>,
    /// The capture's own time of every frame, in ns since 1970.
    pub timestamps_ns: Vec<u64>,
    /// Datagrams that came in pieces and were completed.
    pub datagrams: Vec<Datagram>,
    /// Positions in `packets` of pieces whose datagram was never completed.
    pub incomplete: Vec<u32>,
    /// What each copy is a copy of, by frame number: see [`Elephant`](super::Elephant).
    pub copies: Vec<u32>,
}

impl Trace {
    /// Puts decoded frames in sequence. Packet time becomes the running maximum of the timestamps
    /// of evaluated packets, so that it never goes back; fragments are matched; under profile `aws` what AWS never
    /// filters is set aside.
    pub fn sequence(frames: &Frames, decoded: Decoded, profile: Profile) -> Self {
        Trace::sequence_with(frames, decoded, profile, &HashMap::new())
    }

    /// The same, with more addresses that AWS never filters, as an inventory tells them.
    pub fn sequence_with(
        frames: &Frames,
        decoded: Decoded,
        profile: Profile,
        exempt: &HashMap<IpAddr, Exempt>,
    ) -> Self {
        let mut trace =
            Trace { timestamps_ns: frames.list().iter().map(|frame| frame.time_ns).collect(), ..Trace::default() };
        let mut sequencer = Sequencer::default();
        let results = decoded.chunks.into_iter().flatten();
        for ((number, frame), result) in (1u32..).zip(frames.list()).zip(results) {
            let mut packet = match result.and_then(|packet| not_exempt(packet, profile, exempt)) {
                Ok(packet) => packet,
                Err(why) => {
                    trace.ignored.push((number, why));
                    continue;
                }
            };
            packet.time_ns = sequencer.time_ns(frame.time_ns);
            let position = trace.packets.len() as u32;
            trace.packets.push(packet);
            trace.frames.push(number);
            if packet.has(flags::FRAGMENT)
                && let Some(whole) = sequencer.piece(frames.view(frame), u64::from(position), &packet)
            {
                let pieces = whole.pieces.into_iter().map(|piece| piece as u32).collect();
                trace.datagrams.push(Datagram { completing: position, pieces, packet: whole.packet });
            }
        }
        sequencer.end();
        trace.incomplete = sequencer.take_lost().into_iter().map(|piece| piece as u32).collect();
        trace.incomplete.sort_unstable();
        trace
    }
}

/// What the packets before say of a packet.
#[derive(Default)]
pub(super) struct Sequencer {
    now_ns: u64,
    reassembly: Reassembly,
}

impl Sequencer {
    /// Packet time of the next evaluated packet, whose frame has this time.
    #[inline(always)]
    pub(super) fn time_ns(&mut self, frame_ns: u64) -> u64 {
        // Of evaluated packets only: a stray frame from the future must not stop the clock.
        self.now_ns = self.now_ns.max(frame_ns.min(MAX_TIME_NS));
        self.now_ns
    }

    /// Takes a fragment in. The datagram, if this completes it.
    pub(super) fn piece(&mut self, view: View, number: u64, packet: &Packet) -> Option<Whole> {
        match piece(view.bytes, view.link_type, view.wire_len) {
            Some(piece) => self.reassembly.add(piece, number, packet),
            None => {
                self.reassembly.lose(number);
                None
            }
        }
    }

    /// Fragments that are known by now to be part of no whole datagram, in any order.
    pub(super) fn take_lost(&mut self) -> Vec<u64> {
        self.reassembly.take_lost()
    }

    /// No more packets come.
    pub(super) fn end(&mut self) {
        self.reassembly.end();
    }
}

impl Trace {
    /// How a message names one of [`Trace::packets`].
    pub fn name(&self, position: usize) -> String {
        let number = self.frames[position] as usize;
        match number.checked_sub(self.timestamps_ns.len() + 1).and_then(|copy| self.copies.get(copy)) {
            Some(of) => format!("a copy of packet {of}"),
            None => format!("packet {number}"),
        }
    }
}

/// Sets aside what neither security groups nor network ACLs filter. The resolver at the VPC's base address plus
/// two, and default routers, are known from an inventory only: a capture does not tell the VPC's address range.
pub(super) fn not_exempt(packet: Packet, profile: Profile, more: &HashMap<IpAddr, Exempt>) -> Result<Packet, Ignored> {
    if profile == Profile::Linux {
        return Ok(packet);
    }
    let dhcp = match packet.is_ipv6() {
        false => (67..=68).contains(&packet.local_port) && (67..=68).contains(&packet.remote_port),
        true => (546..=547).contains(&packet.local_port) && (546..=547).contains(&packet.remote_port),
    };
    let exempt = if packet.protocol == protocol::UDP && dhcp {
        Some(Exempt::Dhcp)
    } else {
        exempt_address(packet.remote_addr()).or_else(|| {
            let known = more.get(&packet.remote_addr()).copied();
            known.filter(|what| *what != Exempt::Dns || (packet.remote_port == 53 && has_ports(&packet)))
        })
    };
    exempt.map_or(Ok(packet), |what| Err(Ignored::Exempt(what)))
}

fn has_ports(packet: &Packet) -> bool {
    matches!(packet.protocol, protocol::TCP | protocol::UDP)
}

fn exempt_address(remote: IpAddr) -> Option<Exempt> {
    match remote {
        IpAddr::V4(v4) => match v4.octets() {
            [169, 254, 169, 253] => Some(Exempt::Dns),
            [169, 254, 169, 254] => Some(Exempt::Metadata),
            [169, 254, 169, 123] => Some(Exempt::TimeSync),
            [169, 254, 170, 2] => Some(Exempt::TaskMetadata),
            [169, 254, 169, 250 | 251] => Some(Exempt::WindowsLicence),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253] => Some(Exempt::Dns),
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Some(Exempt::Metadata),
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123] => Some(Exempt::TimeSync),
            _ => None,
        },
    }
}
