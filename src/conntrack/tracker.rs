//! What a packet does to its connection, for every protocol.

use super::tcp::{self, Step};
use super::{Config, Side, Status, Timers, Track};
use crate::engine::State;
use crate::packet::{IcmpRole, Packet, flags, protocol};

const NS_PER_S: u64 = 1_000_000_000;

/// A UDP conversation that is still going on after this long is a stream.
const UDP_STREAM_AFTER_NS: u64 = 2 * NS_PER_S;

/// What is remembered of every connection, beside its flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Side bits, replied, assured, TCP state.
    pub status: Status,
    /// The first instant, in packet time, at which the entry no longer exists.
    pub expires_ns: u64,
}

/// What only some protocols remember: TCP window data ([`Track`]), or when a UDP conversation
/// becomes a stream (first two words).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Detail(pub [u32; Detail::WORDS]);

impl Detail {
    /// Its length in words.
    pub const WORDS: usize = 14;

    fn set_stream_after(&mut self, time_ns: u64) {
        (self.0[0], self.0[1]) = (time_ns as u32, (time_ns >> 32) as u32);
    }

    #[inline(always)]
    fn stream_after(&self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 32
    }
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

    /// True if TCP connections remember window data in their [`Detail`].
    #[inline(always)]
    pub fn checks_windows(&self) -> bool {
        self.timers.check_window
    }

    /// True if connections of this protocol use their [`Detail`].
    #[inline(always)]
    pub fn uses_detail(&self, protocol_number: u8) -> bool {
        match protocol_number {
            protocol::TCP => self.timers.check_window,
            protocol::UDP => true,
            _ => false,
        }
    }

    /// Opens a connection with a packet that belongs to none. `None`: the packet is INVALID.
    ///
    /// The connection counts only if the packet also passes the rules.
    #[inline]
    pub fn open(&self, packet: &Packet, detail: &mut Detail) -> Option<Connection> {
        if packet.flags & (flags::INVALID | flags::ICMP_ERROR | flags::NO_PORTS) != 0 {
            return None;
        }
        let now = packet.time_ns;
        let mut status = Status::opened_by(packet.direction());
        let timeout = match packet.protocol {
            protocol::TCP => {
                let (opened, track, timeout) = tcp::open(packet, &self.timers, self.timers.loose)?;
                status = opened;
                match self.timers.check_window {
                    true => *Track::of(detail) = track,
                    false => status.set_last(track.last()),
                }
                timeout
            }
            protocol::UDP => {
                detail.set_stream_after(now.saturating_add(UDP_STREAM_AFTER_NS));
                self.timers.udp
            }
            protocol::ICMP | protocol::ICMPV6 => match packet.icmp_role() {
                IcmpRole::Request => self.timers.icmp[usize::from(packet.is_ipv6())],
                _ => return None,
            },
            protocol::GRE => self.timers.gre,
            _ => self.timers.other,
        };
        Some(Connection { status, expires_ns: now.saturating_add(timeout) })
    }

    /// Applies a packet to the connection of its flow.
    #[inline]
    pub fn advance(&self, connection: &mut Connection, detail: &mut Detail, packet: &Packet) -> Transition {
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
        let now = packet.time_ns;
        let timeout = match packet.protocol {
            protocol::TCP => return self.advance_tcp(connection, detail, side, packet),
            protocol::UDP => {
                if !connection.status.replied() {
                    self.timers.udp
                } else if now > detail.stream_after() {
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

    #[inline]
    fn advance_tcp(&self, connection: &mut Connection, detail: &mut Detail, side: Side, packet: &Packet) -> Transition {
        let now = packet.time_ns;
        let status = &mut connection.status;
        let step = if self.timers.check_window {
            tcp::step(status, Track::of(detail), side, packet, &self.timers)
        } else {
            let mut track = Track::of_flags_only(status.last());
            let step = tcp::step(status, &mut track, side, packet, &self.timers);
            status.set_last(track.last());
            step
        };
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
