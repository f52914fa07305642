//! The trace through the kernel, packet by packet.

use super::connections::Connections;
use super::inject::Injected;
use super::log::{Log, Report};
use super::namespace::Tun;
use super::tuple::Tuple;
use super::{Job, LinuxError, error::failed, namespace, rules, settings};
use crate::engine::{State, Verdict};
use crate::packet::{Direction, Packet, flags, ip_packet, piece, protocol};
use crate::policy::World;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// What the kernel said of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Verdict and state.
    Said(Verdict, State),
    /// A piece of a datagram that was never whole, so that the rules never saw it.
    NeverCompleted,
    /// Nothing that could be compared.
    Incomparable(Incomparable),
}

/// Why a packet cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incomparable {
    /// The kernel dropped it before its rules saw it.
    NotReceived(&'static str),
    /// The rules let it through, but the kernel did not send it on, so that it remembers nothing.
    NotRouted(&'static str),
    /// It belongs to a connection whose first packet the kernel did not send on.
    OfUnrouted,
    /// The kernel did not take it from the device at all.
    NotTaken,
    /// The capture cut off what connection tracking reads.
    Cut,
    /// Whether the connection had ended hinges on the kernel's clock of whole seconds.
    Clock,
    /// The kernel knows more of this protocol than ctbench does.
    NotFollowed(&'static str),
    /// Pieces that came further apart than they are waited for: the kernel waits on its own clock.
    ReassemblyClock,
}

/// Pieces of one datagram that the kernel holds back.
#[derive(Default)]
struct Pieces {
    positions: Vec<usize>,
    began_ns: u64,
}

/// Pieces wait so long for the rest, in ns: the kernel's ipfrag_time and ip6frag_time.
const WAIT_NS: [u64; 2] = [30_000_000_000, 60_000_000_000];

struct Replay<'a, 'j> {
    job: &'a Job<'j>,
    devices: [Tun; 2],
    log: Log,
    /// `None` for stateless rules: the kernel then tracks nothing.
    connections: Option<Connections>,
    unrouted: HashSet<Tuple>,
    pieces: HashMap<(IpAddr, IpAddr, u8, u32), Pieces>,
    seen: Vec<Seen>,
    buffer: Vec<u8>,
}

/// Runs in a thread that is about to enter its own namespace. One answer for each of the trace's packets.
pub(super) fn replay(job: &Job) -> Result<Vec<Seen>, LinuxError> {
    namespace::enter()?;
    let devices = namespace::devices()?;
    namespace::load_rules(&rules::ruleset(job.rules, job.config.invalid))?;
    let tracked = job.rules.world() == World::SecurityGroups;
    if tracked {
        settings::apply(job.config)?;
    }
    namespace::connect()?;
    let connections = if tracked { Some(Connections::new(job.config)?) } else { None };
    let mut replay = Replay {
        job,
        devices,
        log: Log::open()?,
        connections,
        unrouted: HashSet::new(),
        pieces: HashMap::new(),
        seen: Vec::with_capacity(job.trace.packets.len()),
        buffer: vec![0; 66_000],
    };
    // A datagram is looked up by its whole, when the piece that completes it comes.
    let wholes: HashMap<u32, &Packet> = job.trace.datagrams.iter().map(|d| (d.completing, &d.packet)).collect();
    for (position, packet) in job.trace.packets.iter().enumerate() {
        let whole = wholes.get(&(position as u32)).copied().unwrap_or(packet);
        let seen = replay.packet(position, packet, whole)?;
        replay.seen.push(seen);
    }
    Ok(replay.seen)
}

impl Replay<'_, '_> {
    fn packet(&mut self, position: usize, packet: &Packet, whole: &Packet) -> Result<Seen, LinuxError> {
        let number = self.job.trace.frames[position];
        let frames = self.job.frames;
        let frame = frames.list().get(number as usize - 1).ok_or(LinuxError::OutOfStep(number))?;
        let view = frames.view(frame);
        let ip = ip_packet(view.bytes, view.link_type).unwrap_or(&[]);
        let on_the_wire = view.wire_len.saturating_sub(view.bytes.len() - ip.len());
        let Some(injected) = Injected::new(ip, on_the_wire) else {
            return Ok(Seen::Incomparable(Incomparable::NotTaken));
        };
        let tuple = Tuple::of(whole, injected.transport());
        let is_piece = packet.has(flags::FRAGMENT);
        let looked_up = !whole.has(flags::NO_PORTS);
        let mut doubtful = false;
        if let Some(connections) = self.connections.as_mut().filter(|_| looked_up) {
            doubtful = connections.before(&tuple, whole)?;
        }

        let (from, to) = match packet.direction() {
            Direction::In => (0, 1),
            Direction::Out => (1, 0),
        };
        if self.log.next()?.is_some() {
            return Err(LinuxError::OutOfStep(number));
        }
        if self.devices[from].send(&injected.bytes).is_err() {
            return Ok(Seen::Incomparable(Incomparable::NotTaken));
        }
        let said = self.log.next()?;
        let reading = "reading from a TUN device";
        let forwarded = self.devices[to].drain(&mut self.buffer).map_err(failed(reading))? > 0;
        self.devices[from].drain(&mut self.buffer).map_err(failed(reading))?;

        let key =
            if is_piece { piece(view.bytes, view.link_type, view.wire_len).map(|piece| piece.datagram) } else { None };
        let Some(Report { verdict, state, is_piece: saw_piece }) = said else {
            let odd = odd_address(ip);
            return Ok(match key {
                Some(key) if self.connections.is_some() && odd.is_none() => {
                    let pieces = self.pieces.entry(key).or_default();
                    if pieces.positions.is_empty() {
                        pieces.began_ns = packet.time_ns;
                    }
                    pieces.positions.push(position);
                    Seen::NeverCompleted
                }
                _ => Seen::Incomparable(Incomparable::NotReceived(odd.unwrap_or("another reason"))),
            });
        };
        let accepted = verdict == Verdict::Accept;
        let mut seen = Seen::Said(verdict, state);
        if let Some(connections) = self.connections.as_mut().filter(|_| looked_up) {
            if matches!(state, State::New | State::Established | State::Invalid) {
                connections.after(&tuple, whole, accepted && forwarded && state != State::Invalid)?;
            }
            if connections.holds(&tuple) {
                self.unrouted.remove(&tuple);
            } else if state == State::New && accepted && !forwarded {
                self.unrouted.insert(tuple);
                seen = Seen::Incomparable(Incomparable::NotRouted(odd_address(ip).unwrap_or("another reason")));
            } else if self.unrouted.contains(&tuple) {
                seen = Seen::Incomparable(Incomparable::OfUnrouted);
            }
        }
        if doubtful {
            seen = Seen::Incomparable(Incomparable::Clock);
        } else if injected.lacks_headers(packet) && !packet.has(flags::NO_PORTS) {
            seen = Seen::Incomparable(Incomparable::Cut);
        }
        if let Some(what) = not_followed(whole, injected.transport()) {
            seen = Seen::Incomparable(Incomparable::NotFollowed(what));
        }
        // A piece that the kernel refuses comes through alone; the others wait on in vain.
        if let Some(pieces) = key.filter(|_| !saw_piece).and_then(|key| self.pieces.remove(&key)) {
            let wait = WAIT_NS[usize::from(packet.is_ipv6())];
            if packet.time_ns >= pieces.began_ns.saturating_add(wait) {
                seen = Seen::Incomparable(Incomparable::ReassemblyClock);
            }
            pieces.positions.into_iter().for_each(|position| self.seen[position] = seen.clone());
        }
        Ok(seen)
    }
}

/// Of what the kernel knows more than addresses and protocol number, but ctbench does not.
fn not_followed(packet: &Packet, transport: &[u8]) -> Option<&'static str> {
    const SCTP: u8 = 132;
    match (packet.protocol, transport) {
        (SCTP, _) if !packet.has(flags::NO_PORTS) => Some("SCTP's ports and states"),
        // Version 1 (RFC 2637).
        (protocol::GRE, [_, version, ..]) if version & 7 == 1 => Some("GRE's call identifiers (PPTP)"),
        _ => None,
    }
}

/// What is special about the addresses of a packet that the kernel does not route. Only a name for
/// what the kernel has shown: it is the kernel that decides.
fn odd_address(ip: &[u8]) -> Option<&'static str> {
    let octets = |at: usize, len: usize| ip.get(at..at + len);
    let kind = |address: IpAddr| match address {
        IpAddr::V4(v4) if v4.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("a broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an address of 0.0.0.0/8"),
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => Some("a reserved address"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("a loopback address"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("a multicast address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("an unspecified address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        _ => None,
    };
    let ends: [IpAddr; 2] = if ip.first()? >> 4 == 4 {
        let v4 = |at| Some(IpAddr::from(<[u8; 4]>::try_from(octets(at, 4)?).ok()?));
        [v4(12)?, v4(16)?]
    } else {
        let v6 = |at| Some(IpAddr::from(<[u8; 16]>::try_from(octets(at, 16)?).ok()?));
        [v6(8)?, v6(24)?]
    };
    ends.into_iter().find_map(kind)
}

impl Incomparable {
    /// In words.
    pub fn reason(&self) -> String {
        match self {
            Incomparable::NotReceived(why) => format!("dropped by the kernel before any rule: {why}"),
            Incomparable::NotRouted(why) => format!("accepted, but not routed by the kernel: {why}"),
            Incomparable::OfUnrouted => "of a connection whose first packet the kernel did not route".into(),
            Incomparable::NotTaken => "not taken by the kernel's device".into(),
            Incomparable::Cut => "headers cut off by the capture".into(),
            Incomparable::Clock => "within the resolution of the judge's clock".into(),
            Incomparable::NotFollowed(what) => format!("{what}, which the kernel follows and ctbench does not"),
            Incomparable::ReassemblyClock => "pieces too far apart: the kernel waits for them on its own clock".into(),
        }
    }
}
