//! The trace over and over: the same flows again, or fresh ones in every round.

use super::Trace;
use crate::conntrack::MAX_TIME_NS;
use crate::packet::{Direction, FlowKey, Packet, flags, protocol};
use std::collections::{HashMap, HashSet};

/// What [`Trace::repeated`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// Rounds in all.
    pub rounds: u32,
    /// Flows that are the same in every round although fresh ones were asked for: of protocols without ports, or with
    /// every port taken.
    pub not_fresh: usize,
}

/// Why a trace cannot be repeated so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoundsError {
    /// Numbers of packets have 32 bits.
    #[error("{0} rounds would have more than 2^32 packets: lower --loop")]
    TooLong(u32),
    /// Packet time ends.
    #[error("{0} rounds would go on beyond the latest packet time: lower --loop")]
    TooLate(u32),
}

/// Ports that a fresh flow may get: none that a service would be known by.
const FIRST_PORT: u32 = 1024;
const PORTS: u32 = 65_536 - FIRST_PORT;
/// Coprime to the number of ports, so that steps meet every one.
const STEP: u32 = 7_919;

impl Trace {
    /// Repeats the evaluated packets. Time goes on: a round begins one mean gap after the last packet of the one
    /// before. With `fresh`, the port of the end that opened a flow is another in every round, such that no flow of
    /// any round has been there before; addresses and the server's port stay, as rules look at them.
    ///
    /// Packets of later rounds are copies, numbered after the capture's last frame; see [`Trace::copies`].
    pub fn repeated(&mut self, rounds: u32, fresh: bool) -> Result<Rounds, RoundsError> {
        let mut done = Rounds { rounds, ..Rounds::default() };
        let (Some(first), Some(last)) = (self.packets.first(), self.packets.last()) else { return Ok(done) };
        let count = self.packets.len();
        let copies = count as u64 * u64::from(rounds.saturating_sub(1));
        let frames = self.timestamps_ns.len() as u64;
        if rounds > 1 && u32::try_from(frames + self.copies.len() as u64 + copies).is_err() {
            return Err(RoundsError::TooLong(rounds));
        }
        let span = last.time_ns - first.time_ns;
        let period = span + (span / count as u64).max(1);
        let ends = period.checked_mul(u64::from(rounds)).and_then(|all| all.checked_add(first.time_ns));
        if ends.is_none_or(|ends| ends > MAX_TIME_NS) {
            return Err(RoundsError::TooLate(rounds));
        }
        let mut ports = if fresh { Some(FreshPorts::of(&self.packets)) } else { None };
        let (datagrams, incomplete) = (self.datagrams.clone(), self.incomplete.clone());
        for round in 1..rounds {
            let shift = period * u64::from(round);
            let offset = count as u32 * round;
            if let Some(ports) = &mut ports {
                ports.next_round(&mut done.not_fresh);
            }
            let renewed = |mut packet: Packet| {
                packet.time_ns += shift;
                if let Some(ports) = &ports {
                    ports.give(&mut packet);
                }
                packet
            };
            for position in 0..count {
                let packet = renewed(self.packets[position]);
                self.packets.push(packet);
                self.copies.push(self.frames[position]);
                self.frames.push(frames as u32 + self.copies.len() as u32);
            }
            self.incomplete.extend(incomplete.iter().map(|position| position + offset));
            self.datagrams.extend(datagrams.iter().map(|datagram| {
                let mut datagram = datagram.clone();
                datagram.completing += offset;
                datagram.pieces.iter_mut().for_each(|piece| *piece += offset);
                datagram.packet = renewed(datagram.packet);
                datagram
            }));
        }
        Ok(done)
    }
}

/// Tries for a free port: where even so many are taken, nearly all are.
const TRIES: u32 = 256;

/// Which port each flow's opener has in this round.
struct FreshPorts {
    /// The first packet of each flow that has ports.
    flows: Vec<Packet>,
    of: HashMap<FlowKey, u16>,
    taken: HashSet<FlowKey>,
    without_ports: usize,
    /// Which end opened each flow.
    openers: HashMap<FlowKey, Direction>,
}

impl FreshPorts {
    fn of(packets: &[Packet]) -> Self {
        let mut taken = HashSet::new();
        let firsts = packets.iter().filter(|packet| taken.insert(packet.flow_key()));
        let (flows, others): (Vec<Packet>, Vec<Packet>) = firsts.copied().partition(has_ports);
        let openers = flows.iter().map(|packet| (packet.flow_key(), opener(packet))).collect();
        FreshPorts { flows, of: HashMap::new(), taken, without_ports: others.len(), openers }
    }

    fn next_round(&mut self, not_fresh: &mut usize) {
        *not_fresh = self.without_ports;
        for packet in &self.flows {
            let key = packet.flow_key();
            let Some(opener) = self.openers.get(&key) else { continue };
            let mut candidate = *packet;
            let mut port = self.of.get(&key).copied().unwrap_or_else(|| *port_of(&mut candidate, *opener));
            let found = (0..TRIES).any(|_| {
                port = (FIRST_PORT + (u32::from(port).saturating_sub(FIRST_PORT) + STEP) % PORTS) as u16;
                *port_of(&mut candidate, *opener) = port;
                self.taken.insert(candidate.flow_key())
            });
            if found {
                self.of.insert(key, port);
            } else {
                *not_fresh += 1;
            }
        }
    }

    fn give(&self, packet: &mut Packet) {
        let key = packet.flow_key();
        if let (Some(port), Some(opener)) = (self.of.get(&key), self.openers.get(&key)) {
            *port_of(packet, *opener) = *port;
        }
    }
}

fn has_ports(packet: &Packet) -> bool {
    packet.flags & (flags::NO_PORTS | flags::NEVER_TRACKED) == 0
        && matches!(packet.protocol, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6)
}

/// The end that opened a flow, by its first packet: the sender, unless only its port is a service's.
fn opener(first: &Packet) -> Direction {
    let is_service = |port: u16| u32::from(port) < FIRST_PORT;
    match (is_service(first.local_port), is_service(first.remote_port)) {
        (true, false) => Direction::In,
        (false, true) => Direction::Out,
        _ => first.direction(),
    }
}

/// The port of the end that opened; for ICMP the identifier.
fn port_of(packet: &mut Packet, opener: Direction) -> &mut u16 {
    let is_icmp = matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6);
    if is_icmp || opener == Direction::Out { &mut packet.local_port } else { &mut packet.remote_port }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        let mut trace = Trace::default();
        for (n, (protocol, direction, port)) in (0u8..).zip([
            (protocol::TCP, Direction::In, 40_000),
            (protocol::TCP, Direction::Out, 40_000),
            // The port that the first flow would get.
            (protocol::TCP, Direction::In, 47_919),
            (protocol::GRE, Direction::In, 0),
        ]) {
            let packet =
                Packet::new([10, 0, 0, 1].into(), [192, 0, 2, 1].into(), direction, protocol, u64::from(n) * 10);
            let ports = if protocol == protocol::GRE { (0, 0) } else { (443, port) };
            trace.packets.push(packet.with_ports(ports.0, ports.1));
            trace.frames.push(u32::from(n) + 1);
            trace.timestamps_ns.push(u64::from(n) * 10);
        }
        trace
    }

    #[test]
    fn every_round_has_flows_of_its_own_and_later_times() {
        let mut fresh = trace();
        let done = fresh.repeated(3, true).unwrap();
        assert_eq!(done, Rounds { rounds: 3, not_fresh: 1 });
        let flows: HashSet<FlowKey> = fresh.packets.iter().map(|packet| packet.flow_key()).collect();
        assert_eq!(flows.len(), 3 * 2 + 1);
        assert!(fresh.packets.iter().all(|packet| packet.protocol != protocol::TCP || packet.local_port == 443));
        let times: Vec<u64> = fresh.packets.iter().map(|packet| packet.time_ns).collect();
        assert_eq!(times, [0, 10, 20, 30, 37, 47, 57, 67, 74, 84, 94, 104]);
        assert_eq!(fresh.frames, (1..=12).collect::<Vec<u32>>());
        assert_eq!((fresh.name(3).as_str(), fresh.name(4).as_str()), ("packet 4", "a copy of packet 1"));
    }

    #[test]
    fn the_same_flows_again_are_the_same() {
        let mut same = trace();
        same.repeated(2, false).unwrap();
        let flows: HashSet<FlowKey> = same.packets.iter().map(|packet| packet.flow_key()).collect();
        assert_eq!((same.packets.len(), flows.len()), (8, 3));
        assert_eq!(trace().repeated(u32::MAX, false), Err(RoundsError::TooLong(u32::MAX)));
    }
}
