//! Every packet as a flow log names it.

use super::{Action, Ruling};
use crate::packet::{Direction, Packet, envelope, protocol, tcp_flags};
use crate::trace::{Frames, Trace};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

/// Which way, from the interface's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowDirection {
    /// To the protected end.
    Ingress,
    /// From it.
    Egress,
}

impl fmt::Display for FlowDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlowDirection::Ingress => "ingress",
            FlowDirection::Egress => "egress",
        })
    }
}

/// The five values by which a flow log tells flows apart; each direction is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// Who sent it, by its own IP header.
    pub source: IpAddr,
    /// Whom to.
    pub destination: IpAddr,
    /// 0 but for TCP and UDP.
    pub source_port: u16,
    /// 0 but for TCP and UDP.
    pub destination_port: u16,
    /// IANA's number.
    pub protocol: u8,
}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FiveTuple { source, destination, source_port, destination_port, protocol } = self;
        write!(f, "{source} port {source_port} to {destination} port {destination_port}, protocol {protocol}")
    }
}

/// A packet that a flow log would count.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// Position in [`Trace::packets`].
    pub position: usize,
    /// Who sends what to whom.
    pub tuple: FiveTuple,
    /// Which way.
    pub direction: FlowDirection,
    /// Bytes of the IP packet, its header included.
    pub bytes: u64,
    /// The flags that flow logs know; 0 but for TCP.
    pub tcp_flags: u8,
    /// Packet time, ns since 1970.
    pub time_ns: u64,
    /// Its verdict.
    pub action: Action,
}

/// The packets of a trace as flow logs see them, in trace order.
pub struct Observations<'a> {
    trace: &'a Trace,
    frames: &'a Frames<'a>,
    rulings: &'a [Ruling],
    /// The whole of what came in pieces, by the position of each piece.
    whole: HashMap<u32, &'a Packet>,
    next: usize,
}

impl<'a> Observations<'a> {
    /// Of a trace, its frames and the rulings on its packets.
    pub fn new(trace: &'a Trace, frames: &'a Frames<'a>, rulings: &'a [Ruling]) -> Self {
        let pieces = |datagram: &'a crate::trace::Datagram| {
            datagram.pieces.iter().chain([&datagram.completing]).map(|piece| (*piece, &datagram.packet))
        };
        Observations { trace, frames, rulings, whole: trace.datagrams.iter().flat_map(pieces).collect(), next: 0 }
    }
}

impl Iterator for Observations<'_> {
    type Item = Observation;

    fn next(&mut self) -> Option<Observation> {
        loop {
            let position = self.next;
            let (packet, ruling) = (self.trace.packets.get(position)?, self.rulings.get(position)?);
            self.next += 1;
            let number = *self.trace.frames.get(position)? as usize;
            let Some(frame) = self.frames.list().get(number.wrapping_sub(1)) else { continue };
            let view = self.frames.view(frame);
            // It was decoded before: this header is sound.
            let Ok(ip) = envelope(view.bytes, view.link_type, view.wire_len) else { continue };
            // Pieces belong to the flow of their datagram; without it, their ports are unknown.
            let flow = self.whole.get(&(position as u32)).copied().unwrap_or(packet);
            let ports = matches!(packet.outer_protocol(), protocol::TCP | protocol::UDP);
            let (local, remote) = if ports { (flow.local_port, flow.remote_port) } else { (0, 0) };
            let direction = match packet.direction() {
                Direction::In => FlowDirection::Ingress,
                Direction::Out => FlowDirection::Egress,
            };
            let (source_port, destination_port) = match direction {
                FlowDirection::Ingress => (remote, local),
                FlowDirection::Egress => (local, remote),
            };
            let protocol = packet.outer_protocol();
            return Some(Observation {
                position,
                tuple: FiveTuple {
                    source: ip.source,
                    destination: ip.destination,
                    source_port,
                    destination_port,
                    protocol,
                },
                direction,
                bytes: ip.len as u64,
                tcp_flags: if protocol == protocol::TCP { logged_flags(packet.tcp_flags()) } else { 0 },
                time_ns: packet.time_ns,
                action: ruling.action(),
            });
        }
    }
}

/// FIN, SYN and RST; ACK only beside SYN (VPC guide, field `tcp-flags`).
fn logged_flags(flags: u8) -> u8 {
    let ack = if flags & tcp_flags::SYN != 0 { flags & tcp_flags::ACK } else { 0 };
    flags & (tcp_flags::FIN | tcp_flags::SYN | tcp_flags::RST) | ack
}
