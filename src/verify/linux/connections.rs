//! The kernel's connections, aged on packet time.
//!
//! The kernel's timers run on its own clock, while a trace of an hour is replayed in a second. So a
//! connection's timer is set far away after every packet, and what it had been set to says when the
//! connection ends in packet time: exactly, since idle times are whole seconds. Before the next
//! packet the connection is removed if that moment has come; else, where the kernel looks at what
//! is left (a FIN or RST out of window cuts long timers), the timer is set to what is left.

use super::netlink::{Message, Socket, attributes, word};
use super::tuple::Tuple;
use super::{LinuxError, error::failed, namespace};
use crate::conntrack::{Config, Timeouts};
use crate::packet::{Packet, protocol};
use std::collections::HashMap;
use std::io;

const SECOND: u64 = 1_000_000_000;

/// Where timers are put out of the way, in seconds: below 2^31 jiffies of a millisecond.
const PARKED: u64 = 2_000_000;
/// Idle times must be below, so that one that was put away is not taken for one that was set.
pub(super) const LONGEST: u64 = 1_000_000;

/// A UDP conversation that is still going on after this long is a stream.
const UDP_STREAM_AFTER: u64 = 2 * SECOND;

// linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h.
const NEW: u8 = 0;
const GET: u8 = 1;
const DELETE: u8 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_STATUS: u16 = 3;
const CTA_TIMEOUT: u16 = 7;
const SEEN_REPLY: u32 = 1 << 1;

struct Entry {
    /// The first instant at which it no longer exists lies between these two, both included. They
    /// are one and the same unless the kernel's whole seconds can be read in two ways.
    ends: (u64, u64),
    began: u64,
    replied: bool,
    /// A packet came between the two ends: what the kernel holds from then on is not sure.
    doubtful: bool,
    /// What the kernel's timer was last set to, in seconds.
    timer: u64,
}

/// The connections that the kernel holds, and when they end.
pub(super) struct Connections {
    socket: Socket,
    entries: HashMap<Tuple, Entry>,
    idle: Timeouts,
    /// All idle times, in seconds.
    idle_times: Vec<u64>,
    most: usize,
}

impl Connections {
    /// None yet.
    pub(super) fn new(config: &Config) -> Result<Self, LinuxError> {
        let socket = Socket::open().map_err(failed("opening a netlink socket"))?;
        let most = namespace::get("net.netfilter.nf_conntrack_max").unwrap_or(65_536);
        let t = config.timeouts.clone();
        #[rustfmt::skip]
        let idle_times = vec![
            t.tcp_syn_sent, t.tcp_syn_sent2, t.tcp_syn_recv, t.tcp_established, t.tcp_fin_wait, t.tcp_close_wait,
            t.tcp_last_ack, t.tcp_time_wait, t.tcp_close, t.tcp_max_retrans, t.tcp_unacknowledged,
            t.udp, t.udp_stream, t.icmp, t.icmpv6, t.gre, t.gre_stream, t.other,
        ];
        Ok(Connections { socket, entries: HashMap::new(), idle: t, idle_times, most })
    }

    /// Before a packet of this connection. True: whether the kernel would still hold it is not sure.
    pub(super) fn before(&mut self, tuple: &Tuple, packet: &Packet) -> Result<bool, LinuxError> {
        let now = packet.time_ns;
        let Some(entry) = self.entries.get_mut(tuple) else { return Ok(false) };
        if now >= entry.ends.1 {
            self.entries.remove(tuple);
            self.delete(tuple)?;
            return Ok(false);
        }
        entry.doubtful |= now >= entry.ends.0;
        let doubtful = entry.doubtful;
        let left = (entry.ends.1 - now).div_ceil(SECOND);
        let looked_at = self.idle.tcp_unacknowledged.max(CUT_FROM) + 2;
        if packet.protocol == protocol::TCP && left <= looked_at {
            let timer = distinct(left, &self.idle_times);
            entry.timer = timer;
            if !self.set_timer(tuple, timer)? {
                self.entries.remove(tuple);
                return Ok(false);
            }
        }
        Ok(doubtful)
    }

    /// After a packet of this connection. `kept`: it went through, so a new one is remembered.
    pub(super) fn after(&mut self, tuple: &Tuple, packet: &Packet, kept: bool) -> Result<(), LinuxError> {
        let known = self.entries.get(tuple);
        if known.is_none() && !kept {
            return Ok(());
        }
        let Some((replied, left)) = self.look_up(tuple)? else {
            self.entries.remove(tuple);
            return Ok(());
        };
        let now = packet.time_ns;
        let known = self.entries.get(tuple);
        let was_replied = known.is_some_and(|entry| entry.replied);
        let began = known.map_or(now, |entry| entry.began);
        let timer = known.map(|entry| entry.timer);
        let untouched =
            timer.is_some_and(|timer| left == timer || left + 1 == timer || (timer == PARKED && left > LONGEST));
        let mut ends = if untouched { known.map(|entry| entry.ends) } else { None };
        let mut may_end = |at: u64| ends = Some(ends.map_or((at, at), |(low, high)| (low.min(at), high.max(at))));
        if packet.protocol == protocol::UDP && !untouched {
            // The kernel's test for a stream looks at its own clock: done again on packet time.
            let stream = was_replied && now > began.saturating_add(UDP_STREAM_AFTER);
            may_end(after(now, if stream { self.idle.udp_stream } else { self.idle.udp }));
        } else {
            // What is left is rounded down, if but a moment has passed.
            self.idle_times.iter().filter(|t| **t == left || **t == left + 1).for_each(|t| may_end(after(now, *t)));
        }
        // An idle time that is not one of ours: SCTP has its own.
        let ends = ends.unwrap_or((after(now, left), after(now, left + 1)));
        let doubtful = known.is_some_and(|entry| entry.doubtful);
        let is_parked = timer == Some(PARKED) && left > LONGEST;
        if !is_parked && !self.set_timer(tuple, PARKED)? {
            self.entries.remove(tuple);
            return Ok(());
        }
        self.entries.insert(*tuple, Entry { ends, began, replied, doubtful, timer: PARKED });
        self.make_room(now)
    }

    /// True if the kernel holds this connection.
    pub(super) fn holds(&self, tuple: &Tuple) -> bool {
        self.entries.contains_key(tuple)
    }

    /// Removes what has ended in packet time, once the kernel's table is nearly full.
    fn make_room(&mut self, now: u64) -> Result<(), LinuxError> {
        let limit = self.most / 10 * 9;
        if self.entries.len() < limit {
            return Ok(());
        }
        let ended: Vec<Tuple> = self.entries.iter().filter(|(_, e)| now >= e.ends.1).map(|(tuple, _)| *tuple).collect();
        if ended.len() < limit / 100 + 1 {
            return Err(LinuxError::TableFull(self.most));
        }
        for tuple in &ended {
            self.entries.remove(tuple);
            self.delete(tuple)?;
        }
        Ok(())
    }

    /// Whether a reply was seen, and the seconds left. `None`: the kernel holds no such connection.
    fn look_up(&mut self, tuple: &Tuple) -> Result<Option<(bool, u64)>, LinuxError> {
        let found = match self.socket.ask(request(GET, tuple)) {
            Ok(found) => found,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed("asking the kernel for a connection")(error)),
        };
        let value = |wanted| attributes(found).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| word(value));
        let status = value(CTA_STATUS).unwrap_or(0);
        Ok(value(CTA_TIMEOUT).map(|left| (status & SEEN_REPLY != 0, u64::from(left))))
    }

    /// False: the kernel holds no such connection any more.
    fn set_timer(&mut self, tuple: &Tuple, seconds: u64) -> Result<bool, LinuxError> {
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let order = request(NEW, tuple).with(CTA_TIMEOUT, &seconds.to_be_bytes());
        found(self.socket.order(order)).map_err(failed("setting a connection's timer"))
    }

    fn delete(&mut self, tuple: &Tuple) -> Result<(), LinuxError> {
        found(self.socket.order(request(DELETE, tuple))).map(|_| ()).map_err(failed("removing a connection"))
    }
}

/// Whether the connection was there; other errors stay.
fn found(answer: io::Result<()>) -> io::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A FIN or RST out of window cuts timers that have at least this many seconds left.
const CUT_FROM: u64 = 120;

/// A timer near `left` that cannot be taken for an idle time, even a second later, and that does not
/// run out while we look; on the same side of [`CUT_FROM`].
fn distinct(left: u64, idle_times: &[u64]) -> u64 {
    let free = |seconds: &u64| !idle_times.iter().any(|t| t.abs_diff(*seconds) <= 1);
    if left >= CUT_FROM {
        return (left..left + 64).find(free).unwrap_or(left);
    }
    let left = left.max(5);
    (left..CUT_FROM - 1).chain((5..left).rev()).find(free).unwrap_or(left)
}

fn after(now: u64, seconds: u64) -> u64 {
    now.saturating_add(seconds.saturating_mul(SECOND))
}

fn request(message: u8, tuple: &Tuple) -> Message {
    let subsystem = libc::NFNL_SUBSYS_CTNETLINK as u8;
    Message::new(subsystem, message, tuple.family(), 0)
        .with(CTA_TUPLE_ORIG | super::netlink::NESTED, &tuple.attribute())
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_told_from_idle_times() {
        let idle = [120, 60, 300, 10, 30, 432_000];
        assert_eq!(distinct(1, &idle), 5);
        assert_eq!(distinct(9, &idle), 12);
        assert_eq!(distinct(45, &idle), 45);
        assert_eq!(distinct(118, &idle), 118);
        assert_eq!(distinct(119, &idle), 118);
        assert_eq!(distinct(120, &idle), 122);
        assert_eq!(distinct(300, &idle), 302);
    }
}
