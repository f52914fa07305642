//! What a packet does to its connection, for every protocol.

use super::tcp::{self, Step};
use super::{Config, Side, Status, Timers, Track, Windows};
use crate::engine::State;
use crate::packet::{IcmpRole, Packet, flags, protocol};

const NS_PER_S: u64 = 1_000_000_000;

/// A UDP conversation that is still going on after this long is a stream.
const UDP_STREAM_AFTER_NS: u64 = 2 * NS_PER_S;

/// Room for what only some protocols remember. TCP: the last segment. UDP: when the conversation becomes a
/// stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notes {
    /// TCP: the last segment's class, repetitions and window.
    pub marks: u32,
    /// TCP: its sequence and acknowledgement numbers. UDP: the time, in ns.
    pub number: u64,
}

/// What is remembered of every connection, beside its flow key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Side bits, replied, assured, TCP state.
    pub status: Status,
    /// The first instant, in packet time, at which the entry no longer exists.
    pub expires_ns: u64,
    /// What the protocol needs beside this. Only TCP with window checks changes it after the first packet.
    pub notes: Notes,
}

/// What becomes of the connection. The packet's label says how rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The connection may have changed: store it.
    Store(State),
    /// The connection ends with this packet: remove it.
    Remove(State),
    /// Its time was up: remove it, then treat the packet as one without a connection.
    Expired,
    /// Its ports are used again: remove it, then treat the packet as one without a connection.
    Reopen,
}

/// The tracker of one configuration.
#[derive(Clone, Debug)]
pub struct Tracker {
    timers: Timers,
}

impl Tracker {
    /// A tracker with these settings.
    pub fn new(config: &Config) -> Self {
        Tracker { timers: Timers::new(config) }
    }

    /// True if connections of this protocol use [`Windows`], and may change their notes.
    #[inline(always)]
    pub fn checks_windows(&self, protocol_number: u8) -> bool {
        self.timers.check_window && protocol_number == protocol::TCP
    }

    /// Opens a connection with a packet that belongs to none. `None`: the packet is INVALID.
    ///
    /// The connection counts only if the packet also passes the rules. `windows` must be empty; it is
    /// filled if the protocol uses it.
    #[inline]
    pub fn open(&self, packet: &Packet, windows: &mut Windows) -> Option<Connection> {
        if packet.flags & (flags::INVALID | flags::ICMP_ERROR | flags::NO_PORTS) != 0 {
            return None;
        }
        let now = packet.time_ns;
        let mut status = Status::opened_by(packet.direction());
        let mut notes = Notes::default();
        let timeout = match packet.protocol {
            protocol::TCP => {
                let mut track = Track::new(&mut notes, windows);
                let (opened, timeout) = tcp::open(packet, &self.timers, &mut track)?;
                status = opened;
                if !self.timers.check_window {
                    status.set_last(track.last());
                    notes = Notes::default();
                }
                timeout
            }
            protocol::UDP => {
                notes.number = now.saturating_add(UDP_STREAM_AFTER_NS);
                self.timers.udp
            }
            protocol::ICMP | protocol::ICMPV6 => match packet.icmp_role() {
                IcmpRole::Request => self.timers.icmp[usize::from(packet.is_ipv6())],
                _ => return None,
            },
            protocol::GRE => self.timers.gre,
            _ => self.timers.other,
        };
        Some(Connection { status, expires_ns: now.saturating_add(timeout), notes })
    }

    /// Applies a packet to the connection of its flow.
    #[inline(always)]
    pub fn advance(&self, connection: &mut Connection, windows: &mut Windows, packet: &Packet) -> Transition {
        if packet.time_ns >= connection.expires_ns {
            return Transition::Expired;
        }
        if packet.flags & (flags::INVALID | flags::ICMP_ERROR) != 0 {
            return match packet.has(flags::INVALID) {
                true => Transition::Store(State::Invalid),
                false => Transition::Store(State::Related),
            };
        }
        let side = connection.status.side(packet.direction());
        if packet.protocol == protocol::TCP {
            return self.advance_tcp(connection, windows, side, packet);
        }
        let now = packet.time_ns;
        let timeout = match packet.protocol {
            protocol::UDP => {
                if !connection.status.replied() {
                    self.timers.udp
                } else if now > connection.notes.number {
                    connection.status.set_assured();
                    self.timers.udp_stream
                } else {
                    self.timers.udp
                }
            }
            protocol::ICMP | protocol::ICMPV6 => self.timers.icmp[usize::from(packet.is_ipv6())],
            protocol::GRE => {
                if connection.status.replied() {
                    connection.status.set_assured();
                    self.timers.gre_stream
                } else {
                    self.timers.gre
                }
            }
            _ => self.timers.other,
        };
        connection.expires_ns = now.saturating_add(timeout);
        Transition::Store(label(&mut connection.status, side))
    }

    #[inline(always)]
    fn advance_tcp(
        &self,
        connection: &mut Connection,
        windows: &mut Windows,
        side: Side,
        packet: &Packet,
    ) -> Transition {
        if self.timers.check_window {
            return self.follow_tcp(connection, windows, side, packet);
        }
        // The last segment stands in the status, so that the notes stay as they are.
        let last = Notes { marks: connection.status.last().bits(), number: 0 };
        let notes = std::mem::replace(&mut connection.notes, last);
        let transition = self.follow_tcp(connection, windows, side, packet);
        connection.status.set_last(Track::new(&mut connection.notes, windows).last());
        connection.notes = notes;
        transition
    }

    #[inline(always)]
    fn follow_tcp(
        &self,
        connection: &mut Connection,
        windows: &mut Windows,
        side: Side,
        packet: &Packet,
    ) -> Transition {
        let mut track = Track::new(&mut connection.notes, windows);
        if let Some(timeout) = tcp::step_plainly(&mut connection.status, &mut track, side, packet, &self.timers) {
            connection.expires_ns = packet.time_ns.saturating_add(timeout);
            return Transition::Store(State::Established);
        }
        // A copy, so that the connection of nearly every packet stays in registers.
        let mut copy = *connection;
        let transition = self.follow_tcp_fully(&mut copy, windows, side, packet);
        *connection = copy;
        transition
    }

    #[inline(never)]
    fn follow_tcp_fully(
        &self,
        connection: &mut Connection,
        windows: &mut Windows,
        side: Side,
        packet: &Packet,
    ) -> Transition {
        let now = packet.time_ns;
        let mut track = Track::new(&mut connection.notes, windows);
        let step = tcp::step(&mut connection.status, &mut track, side, packet, &self.timers);
        match step {
            Step::Refresh(timeout) => connection.expires_ns = now.saturating_add(timeout),
            Step::Keep => {}
            Step::Remove => return Transition::Remove(label(&mut connection.status, side)),
            Step::Reopen => return Transition::Reopen,
            Step::Invalid => return Transition::Store(State::Invalid),
            Step::InvalidShorten(timeout) => {
                let left = connection.expires_ns.saturating_sub(now);
                if left >= 120 * NS_PER_S && left > timeout {
                    connection.expires_ns = now.saturating_add(timeout);
                }
                return Transition::Store(State::Invalid);
            }
        }
        Transition::Store(label(&mut connection.status, side))
    }
}

/// The label of a packet that was attributed: ESTABLISHED once the other side has answered.
#[inline(always)]
fn label(status: &mut Status, side: Side) -> State {
    if side == Side::Reply {
        status.set_replied();
    }
    if status.replied() { State::Established } else { State::New }
}
