//! What a flow sends next, and how long after.

use super::Random;
use super::frame::{Ends, Pcap, Segment};
use super::hosts::Hosts;
use super::recipe::{Kind, Traffic};
use super::sizes::Draw;
use crate::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN};
use std::io::{self, Write};

/// A kind of traffic, prepared.
pub(super) struct Class {
    traffic: Traffic,
    /// IPv4, IPv6.
    clients: [Hosts; 2],
    servers: [Hosts; 2],
    /// Flows begun, by family.
    begun: [u64; 2],
    sizes: Draw,
    request: Draw,
    response: Draw,
    mss: u16,
}

/// A flow that is under way.
#[derive(Clone, Default)]
pub(super) struct Flow {
    /// As the client sends.
    ends: Ends,
    class: u16,
    next: Step,
    closing: Closing,
    /// Packets with data to come.
    left: u32,
    /// Of them, response packets before the next request.
    burst: u32,
    /// Response segments without acknowledgement.
    unacknowledged: u8,
    /// Next sequence number of client and server.
    seq: [u32; 2],
    /// Round trip, ns.
    rtt: u32,
    /// Echo and DNS: number of the request.
    number: u16,
}

#[derive(Clone, Copy, Default)]
enum Step {
    #[default]
    Syn,
    SynAck,
    HandshakeAck,
    Refusal,
    Request,
    Response,
    ClientAck,
    ClientFin,
    /// Half closed: the server acknowledges the FIN and goes on.
    AckFin,
    Late,
    LateAck,
    ServerFin,
    LastAck,
}

#[derive(Clone, Copy, Default)]
enum Closing {
    #[default]
    Both,
    Half,
    Reset,
    Never,
}

/// Between two packets that one host sends in a row: about what a gigabit link takes for a full frame.
const IN_A_ROW_NS: u32 = 10_000;
/// How long the near host takes to answer.
const TURN_NS: u32 = 60_000;
/// Data segments that a server sends after the client has closed its half.
const LATE_SEGMENTS: u32 = 3;
const MS: u64 = 1_000_000;

impl Class {
    pub(super) fn new(traffic: &Traffic) -> Self {
        let hosts = |blocks: &[_]| [Hosts::new(blocks, false), Hosts::new(blocks, true)];
        let largest = traffic.request.largest().max(traffic.response.largest());
        Class {
            clients: hosts(&traffic.clients),
            servers: hosts(&traffic.servers),
            begun: [0; 2],
            sizes: Draw::flows(&traffic.flow_size),
            request: Draw::packets(&traffic.request),
            response: Draw::packets(&traffic.response),
            // Ethernet with check sequence, IPv4, TCP: what the largest frame carries.
            mss: largest.saturating_sub(18 + 40).max(1460),
            traffic: traffic.clone(),
        }
    }

    /// About how many packets a flow has.
    pub(super) fn packets_a_flow(&self) -> u64 {
        match self.traffic.kind {
            Kind::SynFlood | Kind::PortScan => 1,
            Kind::Tcp => self.sizes.mean() * 3 / 2 + 6,
            _ => self.sizes.mean(),
        }
    }

    /// The next flow.
    pub(super) fn begin(&mut self, class: u16, random: &mut Random) -> Flow {
        let traffic = &self.traffic;
        let v6 = random.chance(traffic.ipv6);
        let family = usize::from(v6);
        let n = self.begun[family];
        self.begun[family] += 1;
        let (client, from_port) = self.clients[family].client(n);
        let servers = &self.servers[family];
        let server = servers.address(random.draw() >> 32);
        let to_port = match (traffic.kind, traffic.ports.as_slice()) {
            (Kind::Ping, _) => 0,
            // A scanner goes through a host's ports, and then to the next host: 251 steps over well-known and
            // other ports alike.
            (_, []) => (n * 251 % 65_535 + 1) as u16,
            (_, [port]) => *port,
            (_, ports) => ports[random.below(ports.len() as u32) as usize],
        };
        let server = if matches!(traffic.kind, Kind::PortScan) { servers.address(n / 65_535) } else { server };
        let closing = match () {
            _ if random.chance(traffic.abandoned) => Closing::Never,
            _ if random.chance(traffic.half_closed) => Closing::Half,
            _ if random.chance(traffic.reset) => Closing::Reset,
            _ => Closing::Both,
        };
        let left = if random.chance(traffic.elephants) { traffic.elephant_packets } else { self.sizes.draw(random) };
        let opened = traffic.kind != Kind::Tcp || random.chance(traffic.mid_stream);
        let next = match traffic.kind {
            Kind::SynFlood | Kind::PortScan => Step::Syn,
            _ if opened => Step::Request,
            _ => Step::Syn,
        };
        let seq = random.draw();
        Flow {
            ends: Ends { from: client, to: server, from_port, to_port, v6, out: traffic.outbound },
            class,
            next,
            closing,
            left,
            burst: 0,
            unacknowledged: 0,
            seq: [seq as u32, (seq >> 32) as u32],
            rtt: random.around(traffic.rtt_us.saturating_mul(1000).min(2_000_000_000)) as u32,
            number: 0,
        }
    }
}

impl Flow {
    /// Number of the flow's [`Class`].
    pub(super) fn class(&self) -> usize {
        usize::from(self.class)
    }

    /// Writes the flow's next packet. Returns the time to the one after it, or `None` if that was the last.
    pub(super) fn step<W: Write>(
        &mut self,
        class: &Class,
        now: u64,
        random: &mut Random,
        out: &mut Pcap<W>,
    ) -> io::Result<Option<u64>> {
        match class.traffic.kind {
            Kind::Tcp | Kind::SynFlood | Kind::PortScan => self.step_tcp(class, now, random, out),
            Kind::Udp | Kind::Dns | Kind::Ping => self.step_message(class, now, random, out),
        }
    }

    /// Time until the client, or the server, answers the other.
    fn turn(&self, client: bool, random: &mut Random) -> u64 {
        if client == self.ends.out { random.around(TURN_NS) } else { u64::from(self.rtt) + random.around(TURN_NS) }
    }

    fn think(&self, class: &Class, random: &mut Random) -> u64 {
        match class.traffic.think_ms {
            0 => random.around(TURN_NS),
            ms => random.exponential(u64::from(ms) * MS),
        }
    }

    fn segment<W: Write>(
        &mut self,
        class: &Class,
        now: u64,
        client: bool,
        flags: u8,
        payload: usize,
        out: &mut Pcap<W>,
    ) -> io::Result<()> {
        let sender = usize::from(!client);
        let ack = if flags & ACK != 0 { self.seq[1 - sender] } else { 0 };
        let segment = Segment { seq: self.seq[sender], ack, flags, mss: class.mss };
        let control = u32::from(flags & (SYN | FIN) != 0);
        self.seq[sender] = self.seq[sender].wrapping_add(payload as u32 + control);
        if client {
            out.tcp(now, &self.ends, &segment, payload)
        } else {
            out.tcp(now, &self.ends.reversed(), &segment, payload)
        }
    }

    fn step_tcp<W: Write>(
        &mut self,
        class: &Class,
        now: u64,
        random: &mut Random,
        out: &mut Pcap<W>,
    ) -> io::Result<Option<u64>> {
        let headers = if self.ends.v6 { 74 } else { 54 };
        let (next, gap) = match self.next {
            Step::Syn => {
                self.segment(class, now, true, SYN, 0, out)?;
                match class.traffic.kind {
                    Kind::Tcp => (Step::SynAck, self.turn(false, random)),
                    _ if random.chance(class.traffic.refused) => (Step::Refusal, self.turn(false, random)),
                    _ => return Ok(None),
                }
            }
            Step::Refusal => {
                self.seq[1] = 0;
                self.segment(class, now, false, RST | ACK, 0, out)?;
                return Ok(None);
            }
            Step::SynAck => {
                self.segment(class, now, false, SYN | ACK, 0, out)?;
                (Step::HandshakeAck, self.turn(true, random))
            }
            Step::HandshakeAck => {
                self.segment(class, now, true, ACK, 0, out)?;
                (Step::Request, random.around(TURN_NS))
            }
            Step::Request => {
                let payload = (class.request.draw(random) as usize).saturating_sub(headers).max(1);
                self.segment(class, now, true, PSH | ACK, payload, out)?;
                self.left -= 1;
                self.burst = class.traffic.responses.min(self.left);
                if self.burst > 0 {
                    (Step::Response, self.turn(false, random))
                } else {
                    let Some(next) = self.after_exchange(class, random) else { return Ok(None) };
                    next
                }
            }
            Step::Response => {
                let payload = (class.response.draw(random) as usize).saturating_sub(headers).max(1);
                self.burst -= 1;
                self.left -= 1;
                let flags = if self.burst == 0 { PSH | ACK } else { ACK };
                self.segment(class, now, false, flags, payload, out)?;
                self.unacknowledged += 1;
                // RFC 9293, section 3.8.6.3: an ACK for at least every second full segment.
                if self.burst == 0 || self.unacknowledged == 2 {
                    (Step::ClientAck, self.turn(true, random))
                } else {
                    (Step::Response, random.around(IN_A_ROW_NS))
                }
            }
            Step::ClientAck => {
                self.segment(class, now, true, ACK, 0, out)?;
                self.unacknowledged = 0;
                if self.burst > 0 {
                    (Step::Response, self.turn(false, random))
                } else {
                    let Some(next) = self.after_exchange(class, random) else { return Ok(None) };
                    next
                }
            }
            Step::ClientFin => match self.closing {
                Closing::Reset => {
                    self.segment(class, now, true, RST | ACK, 0, out)?;
                    return Ok(None);
                }
                Closing::Half => {
                    self.segment(class, now, true, FIN | ACK, 0, out)?;
                    self.burst = LATE_SEGMENTS;
                    (Step::AckFin, self.turn(false, random))
                }
                Closing::Both | Closing::Never => {
                    self.segment(class, now, true, FIN | ACK, 0, out)?;
                    (Step::ServerFin, self.turn(false, random))
                }
            },
            Step::AckFin => {
                self.segment(class, now, false, ACK, 0, out)?;
                (Step::Late, self.think(class, random))
            }
            Step::Late => {
                let payload = (class.response.draw(random) as usize).saturating_sub(headers).max(1);
                self.segment(class, now, false, PSH | ACK, payload, out)?;
                self.burst -= 1;
                (Step::LateAck, self.turn(true, random))
            }
            Step::LateAck => {
                self.segment(class, now, true, ACK, 0, out)?;
                let next = if self.burst > 0 { Step::Late } else { Step::ServerFin };
                (next, self.turn(false, random))
            }
            Step::ServerFin => {
                self.segment(class, now, false, FIN | ACK, 0, out)?;
                (Step::LastAck, self.turn(true, random))
            }
            Step::LastAck => {
                self.segment(class, now, true, ACK, 0, out)?;
                return Ok(None);
            }
        };
        self.next = next;
        Ok(Some(gap))
    }

    /// The next request, or the end; `None` where a flow falls silent instead.
    fn after_exchange(&self, class: &Class, random: &mut Random) -> Option<(Step, u64)> {
        match (self.left, self.closing) {
            (0, Closing::Never) => None,
            (0, _) => Some((Step::ClientFin, self.turn(true, random))),
            _ => Some((Step::Request, self.think(class, random))),
        }
    }

    /// UDP, DNS and echo: messages to and fro.
    fn step_message<W: Write>(
        &mut self,
        class: &Class,
        now: u64,
        random: &mut Random,
        out: &mut Pcap<W>,
    ) -> io::Result<Option<u64>> {
        let asks = matches!(self.next, Step::Request);
        let ends = if asks { self.ends } else { self.ends.reversed() };
        let size = if asks { &class.request } else { &class.response };
        let headers = if self.ends.v6 { 62 } else { 42 };
        let payload = (size.draw(random) as usize).saturating_sub(headers);
        match class.traffic.kind {
            Kind::Dns => {
                let (message, len) = dns(self.seq[0] as u16 ^ self.number, self.seq[1] ^ u32::from(self.number), !asks);
                out.udp(now, &ends, &message[..len], 0)?;
            }
            Kind::Ping => out.echo(now, &ends, !asks, self.number, payload)?,
            _ => out.udp(now, &ends, &[], payload)?,
        }
        self.left -= 1;
        if asks {
            let responses = if class.traffic.kind == Kind::Udp { class.traffic.responses } else { 1 };
            self.burst = responses.min(self.left);
        } else {
            self.burst -= 1;
        }
        if self.left == 0 {
            return Ok(None);
        }
        let gap = match (asks, self.burst) {
            (_, 0) => {
                self.next = Step::Request;
                self.number = self.number.wrapping_add(1);
                self.think(class, random)
            }
            (true, _) => {
                self.next = Step::Response;
                self.turn(false, random)
            }
            (false, _) => random.around(IN_A_ROW_NS),
        };
        Ok(Some(gap))
    }
}

impl Ends {
    /// The other way.
    #[inline(always)]
    fn reversed(&self) -> Ends {
        Ends {
            from: self.to,
            to: self.from,
            from_port: self.to_port,
            to_port: self.from_port,
            v6: self.v6,
            out: !self.out,
        }
    }
}

/// A DNS query for a name's address, or its answer (RFC 1035, section 4). Returns the bytes and how many count.
fn dns(id: u16, name: u32, answer: bool) -> ([u8; 64], usize) {
    const QUESTION: &[u8] = b"\x08########\x07example\x03com\0\0\x01\0\x01";
    const ANSWER: [u8; 12] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4];
    let mut message = [0; 64];
    message[..2].copy_from_slice(&id.to_be_bytes());
    message[2..8].copy_from_slice(&if answer { [0x81, 0x80, 0, 1, 0, 1] } else { [1, 0, 0, 1, 0, 0] });
    let end = 12 + QUESTION.len();
    message[12..end].copy_from_slice(QUESTION);
    for (i, digit) in message[13..21].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(name >> (28 - 4 * i) & 15) as usize];
    }
    if !answer {
        return (message, end);
    }
    message[end..end + 12].copy_from_slice(&ANSWER);
    let [_, _, a, b] = name.to_be_bytes();
    message[end + 12..end + 16].copy_from_slice(&[192, 0, 2, a ^ b]);
    (message, end + 16)
}
