//! TCP conversations of two well-behaved ends, as a tap between them sees them, and what networks and
//! attackers do to them.

use super::strategies::peer;
use ctbench::packet::{Direction, Packet, SynOptions, TcpFields, protocol, tcp_flags};
use proptest::prelude::*;
use proptest::sample::Index;
use std::net::IpAddr;
use tcp_flags::{ACK, FIN, PSH, RST, SYN};

/// A packet and its time in ns since the flow began.
pub type Timed = (u64, Packet);

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// The end that begins, and the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Client,
    Server,
}

impl Who {
    fn other(self) -> Who {
        if self == Who::Client { Who::Server } else { Who::Client }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Opening {
    ThreeWay,
    /// The ACK of the handshake is lost before the tap.
    AckLost,
    Simultaneous,
    Refused,
    Unanswered,
    /// The capture begins later.
    MidStream,
}

#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// So many bytes, as far as the window allows.
    Send(Who, u32),
    Acknowledge(Who),
    /// Two segments that arrive in the wrong order; the receiver says so.
    Hole(Who, u32),
    KeepAlive(Who),
    /// From now on, this end offers so many bytes.
    Offer(Who, u32),
    Pause(u64),
}

#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// FIN, ACK, FIN, ACK; the other end may send in between.
    Close(Who, u32),
    /// FIN, FIN/ACK, ACK.
    QuickClose(Who),
    /// Both FINs cross.
    BothClose,
    Abort(Who),
    /// The capture ends, or the hosts vanish.
    Nothing,
}

/// What each end offers in its SYN.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub first: u32,
    pub scale: Option<u8>,
    pub sack: bool,
    pub window: u32,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Life {
    pub opening: Opening,
    pub offers: [Offer; 2],
    pub actions: Vec<Action>,
    pub ending: Ending,
    /// Before the next connection between the same ports.
    pub rest_ns: u64,
}

/// All connections between two ports.
#[derive(Clone, Debug)]
pub struct Flow {
    pub local: IpAddr,
    pub peer: u8,
    pub client_port: u16,
    pub client_inside: bool,
    pub begins_ns: u64,
    pub pace_ns: u64,
    pub lives: Vec<Life>,
}

/// One end, while it talks.
struct End {
    next: u32,
    /// What it has acknowledged of the other end's data.
    acked: u32,
    /// What the other end allows it to send.
    edge: u32,
    window: u32,
    scale: u8,
    sack: bool,
}

struct Tap<'a> {
    flow: &'a Flow,
    now: u64,
    ends: [End; 2],
    seen: Vec<Timed>,
}

impl Tap<'_> {
    fn packet(&self, from: Who, tcp: TcpFields) -> Packet {
        let flow = self.flow;
        let outwards = (from == Who::Client) == flow.client_inside;
        let direction = if outwards { Direction::Out } else { Direction::In };
        let ports = if flow.client_inside { (flow.client_port, 443) } else { (80, flow.client_port) };
        Packet::new(flow.local, peer(flow.local, flow.peer), direction, protocol::TCP, 0)
            .with_ports(ports.0, ports.1)
            .with_tcp(tcp)
    }

    fn see(&mut self, from: Who, tcp: TcpFields) {
        self.now += self.flow.pace_ns;
        self.seen.push((self.now, self.packet(from, tcp)));
    }

    /// A segment at the end's sequence number; its SYN, FIN and data are sent with it.
    fn send(&mut self, from: Who, flags: u8, len: u32) {
        let tcp = self.fields(from, flags, len);
        let end = &mut self.ends[from as usize];
        let control = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        end.next = end.next.wrapping_add(len).wrapping_add(control);
        self.see(from, tcp);
    }

    fn fields(&mut self, from: Who, flags: u8, len: u32) -> TcpFields {
        let (end, other) = (from as usize, from.other() as usize);
        let window = self.ends[end].window;
        let scale = self.ends[end].scale;
        let field = (window >> scale).min(65_535) as u16;
        let ack = if flags & ACK != 0 { self.ends[end].acked } else { 0 };
        if flags & ACK != 0 {
            let edge = ack.wrapping_add(u32::from(field) << scale);
            if edge.wrapping_sub(self.ends[other].edge) as i32 > 0 {
                self.ends[other].edge = edge;
            }
        }
        TcpFields { flags, seq: self.ends[end].next, ack, sack_or_options: ack, window: field, payload_len: len as u16 }
    }

    /// A SYN or SYN/ACK, with its options; its window is never scaled.
    fn synchronise(&mut self, from: Who, flags: u8, offer: &Offer) {
        let (end, other) = (from as usize, from.other() as usize);
        self.ends[end].next = offer.first;
        if flags & ACK != 0 {
            self.ends[end].acked = self.ends[other].next;
        }
        let scale = std::mem::take(&mut self.ends[end].scale);
        let mut tcp = self.fields(from, flags, 0);
        self.ends[end].scale = scale;
        tcp.sack_or_options = SynOptions { window_scale: offer.scale, sack_permitted: offer.sack, any: true }.to_bits();
        self.ends[end].next = offer.first.wrapping_add(1);
        self.see(from, tcp);
    }

    fn acknowledge(&mut self, from: Who) {
        self.ends[from as usize].acked = self.ends[from.other() as usize].next;
        self.send(from, ACK, 0);
    }

    /// What may be sent now.
    fn room(&self, from: Who) -> u32 {
        let end = &self.ends[from as usize];
        (end.edge.wrapping_sub(end.next) as i32).max(0) as u32
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(from, len) => match len.min(self.room(from)).min(60_000) {
                0 => self.acknowledge(from),
                len => self.send(from, ACK | PSH, len),
            },
            Action::Acknowledge(from) => self.acknowledge(from),
            Action::Hole(from, len) => {
                let len = len.min(self.room(from) / 2).min(30_000);
                let first = self.fields(from, ACK, len);
                self.ends[from as usize].next = first.seq.wrapping_add(len);
                self.send(from, ACK | PSH, len);
                let mut duplicate = self.fields(from.other(), ACK, 0);
                if self.ends[0].sack && self.ends[1].sack {
                    duplicate.sack_or_options = self.ends[from as usize].next;
                }
                self.see(from.other(), duplicate);
                self.see(from, first);
                self.acknowledge(from.other());
            }
            Action::KeepAlive(from) => {
                let mut probe = self.fields(from, ACK, 0);
                probe.seq = probe.seq.wrapping_sub(1);
                self.see(from, probe);
                self.acknowledge(from.other());
            }
            Action::Offer(from, window) => {
                self.ends[from as usize].window = window;
                self.acknowledge(from);
            }
            Action::Pause(ns) => self.now += ns,
        }
    }

    fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Close(first, more) => {
                self.send(first, FIN | ACK, 0);
                self.acknowledge(first.other());
                if more > 0 {
                    self.act(Action::Send(first.other(), more));
                    self.acknowledge(first);
                }
                self.send(first.other(), FIN | ACK, 0);
                self.acknowledge(first);
            }
            Ending::QuickClose(first) => {
                self.send(first, FIN | ACK, 0);
                self.ends[first.other() as usize].acked = self.ends[first as usize].next;
                self.send(first.other(), FIN | ACK, 0);
                self.acknowledge(first);
            }
            Ending::BothClose => {
                self.send(Who::Client, FIN | ACK, 0);
                self.send(Who::Server, FIN | ACK, 0);
                self.acknowledge(Who::Client);
                self.acknowledge(Who::Server);
            }
            Ending::Abort(from) => {
                let seq = self.ends[from as usize].next;
                // Nothing is under way: the RST is exact.
                self.acknowledge(from.other());
                self.see(from, TcpFields { flags: RST, seq, ..TcpFields::default() });
            }
            Ending::Nothing => {}
        }
    }

    fn live(&mut self, life: &Life) {
        let scaled = life.offers.iter().all(|offer| offer.scale.is_some());
        self.ends = life.offers.map(|offer| End {
            next: offer.first,
            acked: 0,
            edge: offer.first,
            window: offer.window,
            scale: if scaled { offer.scale.unwrap_or(0).min(14) } else { 0 },
            sack: offer.sack,
        });
        let [client, server] = &life.offers;
        match life.opening {
            Opening::ThreeWay | Opening::AckLost => {
                self.synchronise(Who::Client, SYN, client);
                self.synchronise(Who::Server, SYN | ACK, server);
                self.ends[0].acked = self.ends[1].next;
                if !matches!(life.opening, Opening::AckLost) {
                    self.acknowledge(Who::Client);
                }
            }
            Opening::Simultaneous => {
                self.synchronise(Who::Client, SYN, client);
                self.synchronise(Who::Server, SYN, server);
                self.synchronise(Who::Client, SYN | ACK, client);
                self.synchronise(Who::Server, SYN | ACK, server);
                self.acknowledge(Who::Client);
            }
            Opening::Refused => {
                self.synchronise(Who::Client, SYN, client);
                let ack = self.ends[0].next;
                self.see(
                    Who::Server,
                    TcpFields { flags: RST | ACK, ack, sack_or_options: ack, ..TcpFields::default() },
                );
                return;
            }
            Opening::Unanswered => {
                for attempt in 0..4 {
                    self.synchronise(Who::Client, SYN, client);
                    self.now += SECOND << attempt;
                }
                return;
            }
            Opening::MidStream => {
                self.ends[0].acked = server.first;
                self.ends[1].acked = client.first;
                self.acknowledge(Who::Client);
                self.acknowledge(Who::Server);
            }
        }
        life.actions.iter().for_each(|action| self.act(*action));
        self.end(life.ending);
    }
}

impl Flow {
    /// What the tap sees if nothing goes wrong.
    pub fn packets(&self) -> Vec<Timed> {
        let idle = || End { next: 0, acked: 0, edge: 0, window: 0, scale: 0, sack: false };
        let mut tap = Tap { flow: self, now: self.begins_ns, ends: [idle(), idle()], seen: Vec::new() };
        for life in &self.lives {
            tap.live(life);
            tap.now += life.rest_ns;
        }
        tap.seen
    }
}

/// What happens to one packet of a flow.
#[derive(Clone, Copy, Debug)]
pub enum Mishap {
    Lost,
    /// Comes once more, so many ns later.
    Again(u64),
    /// Comes so many ns later.
    Late(u64),
    /// Somebody sends an RST, SYN, SYN/ACK, FIN or data that looks like its sender's, so far off in
    /// sequence number and acknowledgement.
    Forged(u8, u32, u32),
    /// An ICMP error about it.
    Error(bool),
}

/// Applies mishaps, one after the other.
pub fn disturb(mut packets: Vec<Timed>, mishaps: &[(Index, Mishap)]) -> Vec<Timed> {
    for (index, mishap) in mishaps {
        if packets.is_empty() {
            break;
        }
        let at = index.index(packets.len());
        let (time, packet) = packets[at];
        match *mishap {
            Mishap::Lost => {
                packets.remove(at);
            }
            Mishap::Again(later) => packets.push((time + later, packet)),
            Mishap::Late(later) => packets[at].0 += later,
            Mishap::Forged(flags, seq, ack) => {
                let ack = if flags & ACK != 0 { packet.ack().wrapping_add(ack) } else { 0 };
                let forged = packet.with_tcp(TcpFields {
                    flags,
                    seq: packet.seq().wrapping_add(seq),
                    ack,
                    sack_or_options: if flags & SYN != 0 { 0 } else { ack },
                    window: 1000,
                    payload_len: if flags & PSH != 0 { 10 } else { 0 },
                });
                packets.push((time + 1, forged));
            }
            Mishap::Error(router) => {
                let kind = if packet.is_ipv6() { 1 } else { 3 };
                let back = if packet.direction() == Direction::In { Direction::Out } else { Direction::In };
                let from = if router { peer(packet.local_addr(), 250) } else { packet.remote_addr() };
                packets.push((time + 1, Packet::icmp_error(packet, back, from, kind, 1, 0)));
            }
        }
        packets.sort_by_key(|(time, _)| *time);
    }
    packets
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![Just(Who::Client), Just(Who::Server)]
}

/// Initial sequence numbers: anywhere, now and then just before the wrap.
fn offer() -> impl Strategy<Value = Offer> {
    let first = prop_oneof![3 => any::<u32>(), 1 => (0u32..70_000).prop_map(|n| 0u32.wrapping_sub(n))];
    let scale = prop_oneof![2 => Just(None), 3 => (0u8..=14).prop_map(Some)];
    let window = prop_oneof![4 => 1u32..70_000, 1 => 70_000u32..2_000_000, 1 => Just(0)];
    (first, scale, any::<bool>(), window).prop_map(|(first, scale, sack, window)| Offer { first, scale, sack, window })
}

fn action(longest_pause_ns: u64) -> impl Strategy<Value = Action> {
    let len = prop_oneof![1u32..2000, 1u32..60_000];
    prop_oneof![
        8 => (who(), len.clone()).prop_map(|(who, len)| Action::Send(who, len)),
        6 => who().prop_map(Action::Acknowledge),
        2 => (who(), len).prop_map(|(who, len)| Action::Hole(who, len)),
        2 => who().prop_map(Action::KeepAlive),
        1 => (who(), prop_oneof![Just(0u32), 1u32..100_000]).prop_map(|(who, n)| Action::Offer(who, n)),
        1 => (0..=longest_pause_ns).prop_map(Action::Pause),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => (who(), prop_oneof![Just(0u32), 1u32..3000]).prop_map(|(who, more)| Ending::Close(who, more)),
        2 => who().prop_map(Ending::QuickClose),
        1 => Just(Ending::BothClose),
        2 => who().prop_map(Ending::Abort),
        1 => Just(Ending::Nothing),
    ]
}

/// Connections with pauses of at most so long, opened in one of these ways.
pub fn life(openings: &'static [Opening], longest_pause_ns: u64) -> impl Strategy<Value = Life> {
    let actions = prop::collection::vec(action(longest_pause_ns), 0..25);
    (prop::sample::select(openings), [offer(), offer()], actions, ending(), 0..=longest_pause_ns)
        .prop_map(|(opening, offers, actions, ending, rest_ns)| Life { opening, offers, actions, ending, rest_ns })
}

pub fn flow(life: impl Strategy<Value = Life>, lives: std::ops::Range<usize>) -> impl Strategy<Value = Flow> {
    let local = prop::sample::select(vec!["10.0.1.10", "2001:db8:1::10"]);
    let ends = (local, 1u8..4, 50_000u16..50_004, any::<bool>());
    let pace = prop_oneof![0..MS, 0..100 * MS];
    (ends, 0..200 * MS, pace, prop::collection::vec(life, lives)).prop_map(
        |((local, peer, client_port, client_inside), begins_ns, pace_ns, lives)| Flow {
            local: local.parse().unwrap(),
            peer,
            client_port,
            client_inside,
            begins_ns,
            pace_ns,
            lives,
        },
    )
}

pub const ALL_OPENINGS: &[Opening] = &[
    Opening::ThreeWay,
    Opening::ThreeWay,
    Opening::ThreeWay,
    Opening::AckLost,
    Opening::Simultaneous,
    Opening::Refused,
    Opening::Unanswered,
    Opening::MidStream,
];

pub fn mishaps() -> impl Strategy<Value = Vec<(Index, Mishap)>> {
    let later = prop_oneof![4 => 1..300 * MS, 1 => 1..130 * SECOND];
    let flags = prop::sample::select(vec![RST, RST | ACK, SYN, SYN | ACK, FIN | ACK, ACK | PSH, ACK]);
    let off = prop_oneof![
        3 => Just(0u32),
        3 => prop::sample::select(vec![1, u32::MAX, 1000, 0u32.wrapping_sub(1000), 66_000, 70_000, 1 << 31]),
        1 => any::<u32>(),
    ];
    let mishap = prop_oneof![
        3 => Just(Mishap::Lost),
        2 => later.clone().prop_map(Mishap::Again),
        3 => later.prop_map(Mishap::Late),
        3 => (flags, off.clone(), off).prop_map(|(flags, seq, ack)| Mishap::Forged(flags, seq, ack)),
        1 => any::<bool>().prop_map(Mishap::Error),
    ];
    prop::collection::vec((any::<Index>(), mishap), 0..12)
}

/// Merges flows by time; packet time begins at `start_ns`.
pub fn merge(flows: impl IntoIterator<Item = Vec<Timed>>, start_ns: u64) -> Vec<Packet> {
    let mut all: Vec<Timed> = flows.into_iter().flatten().collect();
    all.sort_by_key(|(time, _)| *time);
    let stamped = |(time, mut packet): Timed| {
        packet.time_ns = start_ns + time;
        packet
    };
    all.into_iter().map(stamped).collect()
}
