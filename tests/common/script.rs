//! Conversations written down, one packet a line:
//!
//! ```text
//! set tcp_established=350                              settings come first
//!     > S  1000 win 65535 wscale 7   = new SYN_SENT 120
//! +1  < SA 5000 ack 1001             = est SYN_RECV 60
//!     > PA 1001+100 ack 5001         = est ESTABLISHED 300
//! ```
//!
//! Seconds since the line before; `>` from the end that begins, `<` from the other; flags; sequence
//! number and payload length; fields. Behind `=`: how the packet is labelled, the state of its
//! connection and the seconds that are left until that is forgotten; `gone` if there is none.

use super::frames::{Segment, flag_bits, icmp, icmp_error, icmp_number, ip, udp};
use ctbench::conntrack::{Config, Profile, TcpWindow, Timeouts};
use ctbench::engine::State;
use ctbench::packet::protocol;
use std::net::IpAddr;

pub struct Script {
    pub config: Config,
    pub lines: Vec<Line>,
    /// Says something of one family only.
    pub only_v4: bool,
    pub only_v6: bool,
}

pub struct Line {
    pub text: String,
    /// Time since the line before.
    pub step_ns: u64,
    pub from_client: bool,
    pub what: What,
    /// Tells flows of one script apart: added to the client's port.
    pub flow: u16,
    pub expect: Expect,
}

#[derive(Clone, Debug)]
pub enum What {
    Tcp(Segment),
    Udp,
    /// By the names of `ICMP_MESSAGES`, or by number.
    Icmp(String, u8, u16),
    Other(u8),
    /// An error about a packet that the addressee sent, from the peer or from a router.
    Error {
        name: String,
        about: Box<What>,
        router: bool,
        /// Not addressed to the sender of the quoted packet.
        astray: bool,
        /// So many bytes of the quoted packet.
        quote: usize,
    },
}

#[derive(Clone, Debug)]
pub struct Expect {
    pub label: State,
    /// TCP state by the kernel's name.
    pub tcp: Option<String>,
    pub life: Life,
    pub assured: Option<bool>,
}

/// What is left of the connection after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Unsaid,
    Gone,
    Ns(u64),
}

type TypeAndCode = (u8, u8);

/// Name, type and code for IPv4, for IPv6.
const ICMP_MESSAGES: &[(&str, TypeAndCode, TypeAndCode)] = &[
    ("echo", (8, 0), (128, 0)),
    ("echo-reply", (0, 0), (129, 0)),
    ("timestamp", (13, 0), (255, 0)),
    ("timestamp-reply", (14, 0), (255, 0)),
    ("info", (15, 0), (139, 0)),
    ("info-reply", (16, 0), (140, 0)),
    ("mask", (17, 0), (255, 0)),
    ("mask-reply", (18, 0), (255, 0)),
    ("router-advertisement", (9, 0), (134, 0)),
    ("neighbour-solicitation", (255, 0), (135, 0)),
    ("unreachable", (3, 3), (1, 4)),
    ("too-big", (3, 4), (2, 0)),
    ("quench", (4, 0), (127, 0)),
    ("redirect", (5, 1), (100, 0)),
    ("time-exceeded", (11, 0), (3, 0)),
    ("parameter-problem", (12, 0), (4, 0)),
];

fn icmp_type(name: &str, v6: bool) -> TypeAndCode {
    if let Some(number) = name.strip_prefix("icmp-") {
        return (number.parse().expect("an ICMP type"), 0);
    }
    let known = ICMP_MESSAGES.iter().find(|message| message.0 == name);
    let (_, four, six) = known.unwrap_or_else(|| panic!("no ICMP message {name}"));
    if v6 { *six } else { *four }
}

/// Both ends of a conversation, and others on their side of the boundary.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub client: IpAddr,
    pub server: IpAddr,
    /// A router on the client's side, and one on the server's.
    pub routers: [IpAddr; 2],
    /// A host on the client's side, and one on the server's.
    pub neighbours: [IpAddr; 2],
}

pub const CLIENT_PORT: u16 = 40_000;

impl What {
    /// The packet on the wire.
    pub fn bytes(&self, ends: &Ends, from_client: bool, flow: u16) -> Vec<u8> {
        let (source, destination) = if from_client { (ends.client, ends.server) } else { (ends.server, ends.client) };
        let server_port = if matches!(self, What::Udp) { 53 } else { 80 };
        let client_port = CLIENT_PORT + flow;
        let (from, to) = if from_client { (client_port, server_port) } else { (server_port, client_port) };
        let v6 = ends.client.is_ipv6();
        match self {
            What::Tcp(segment) => ip(source, destination, protocol::TCP, &segment.bytes(from, to)),
            What::Udp => ip(source, destination, protocol::UDP, &udp(from, to, 20)),
            What::Icmp(name, code, id) => {
                let (kind, _) = icmp_type(name, v6);
                ip(source, destination, icmp_number(source), &icmp(kind, *code, *id))
            }
            What::Other(number) => ip(source, destination, *number, &[0; 24]),
            What::Error { name, about, router, astray, quote } => {
                let (kind, code) = icmp_type(name, v6);
                let quoted = about.bytes(ends, !from_client, flow);
                let quoted = &quoted[..quoted.len().min(*quote)];
                let source = if *router { ends.routers[usize::from(!from_client)] } else { source };
                let destination = if *astray { ends.neighbours[usize::from(from_client)] } else { destination };
                ip(source, destination, icmp_number(source), &icmp_error(kind, code, quoted))
            }
        }
    }
}

pub fn number(word: &str) -> u32 {
    let wide: i64 = word.parse().unwrap_or_else(|_| panic!("not a number: {word}"));
    wide as u32
}

/// Seconds with up to nine digits behind the point, in ns.
pub fn nanoseconds(word: &str) -> u64 {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    assert!(fraction.len() <= 9, "{word}");
    let whole: u64 = whole.parse().unwrap_or_else(|_| panic!("not seconds: {word}"));
    whole * 1_000_000_000 + format!("{fraction:0<9}").parse::<u64>().unwrap()
}

impl Script {
    pub fn parse(text: &str) -> Script {
        let mut config = Config::new(Profile::Linux);
        let (mut lines, mut only_v4, mut only_v6) = (Vec::new(), false, false);
        for text in text.lines() {
            let text = text.split('#').next().unwrap_or_default().trim();
            let words: Vec<&str> = text.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                ["set", settings @ ..] => settings.iter().for_each(|setting| set(&mut config, setting)),
                ["ipv4"] => only_v4 = true,
                ["ipv6"] => only_v6 = true,
                words => lines.push(line(text, words)),
            }
        }
        Script { config, lines, only_v4, only_v6 }
    }
}

fn set(config: &mut Config, setting: &str) {
    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
    match (name, value) {
        ("profile", "aws") => *config = Config::new(Profile::Aws),
        ("loose", value) => config.loose = value == "1",
        ("be_liberal", value) => {
            config.tcp_window = if value == "1" { TcpWindow::Liberal } else { TcpWindow::Strict };
        }
        ("window", "off") => config.tcp_window = TcpWindow::Off,
        ("ignore_invalid_rst", value) => config.ignore_invalid_rst = value == "1",
        (timeout, seconds) => {
            let mut all = serde_json::to_value(&config.timeouts).unwrap();
            all[timeout] = seconds.parse::<u64>().expect("seconds").into();
            config.timeouts = serde_json::from_value::<Timeouts>(all).unwrap();
        }
    }
}

fn line(text: &str, words: &[&str]) -> Line {
    let mut words = words;
    let mut step_ns = 0;
    if let Some(seconds) = words[0].strip_prefix('+') {
        step_ns = nanoseconds(seconds);
        words = &words[1..];
    }
    let at = words.iter().position(|word| *word == "=").unwrap_or_else(|| panic!("no expectation: {text}"));
    let (packet, expect) = (&words[1..at], &words[at + 1..]);
    let from_client = match words[0] {
        ">" => true,
        "<" => false,
        other => panic!("neither > nor <: {other} in {text}"),
    };
    let mut packet = packet.to_vec();
    let mut flow = 0;
    if let Some(at) = packet.iter().position(|word| *word == "flow") {
        flow = number(packet[at + 1]) as u16;
        packet.drain(at..at + 2);
    }
    Line { text: text.into(), step_ns, from_client, what: what(&packet), flow, expect: expectation(expect) }
}

fn what(words: &[&str]) -> What {
    match words {
        ["udp"] => What::Udp,
        ["proto", number] => What::Other(number.parse().expect("a protocol number")),
        [name, rest @ ..] if name.chars().next().is_some_and(char::is_lowercase) => {
            let about = rest.iter().position(|word| *word == "about");
            match about {
                Some(at) => {
                    let marks = &rest[..at];
                    let cut = marks.iter().position(|word| *word == "cut");
                    What::Error {
                        name: name.to_string(),
                        about: Box::new(what(&rest[at + 1..])),
                        router: marks.contains(&"router"),
                        astray: marks.contains(&"astray"),
                        quote: cut.map_or(64, |at| number(marks[at + 1]) as usize),
                    }
                }
                None => {
                    let (code, id) = match rest {
                        [] => (icmp_type(name, false).1, 1),
                        [id] => (0, number(id) as u16),
                        [id, "code", code] => (number(code) as u8, number(id) as u16),
                        other => panic!("{name} {other:?}"),
                    };
                    What::Icmp(name.to_string(), code, id)
                }
            }
        }
        words => What::Tcp(segment(words)),
    }
}

fn segment(words: &[&str]) -> Segment {
    let (seq, len) = words[1].split_once('+').unwrap_or((words[1], "0"));
    let mut segment = Segment {
        flags: flag_bits(words[0]),
        seq: number(seq),
        len: len.parse().expect("a payload length"),
        window: 8192,
        ..Segment::default()
    };
    let mut words = words[2..].iter();
    let value = |words: &mut std::slice::Iter<&str>| number(words.next().expect("a value"));
    while let Some(word) = words.next() {
        match *word {
            "ack" => segment.ack = value(&mut words),
            "win" => segment.window = value(&mut words) as u16,
            "offset" => segment.offset = Some(value(&mut words) as u8),
            "mss" => segment.options.extend([2, 4, 5, 180]),
            "sackok" => segment.options.extend([1, 1, 4, 2]),
            "wscale" => segment.options.extend([1, 3, 3, value(&mut words) as u8]),
            "sack" => {
                let (left, right) = (value(&mut words), value(&mut words));
                segment.options.extend([1, 1, 5, 10]);
                segment.options.extend(left.to_be_bytes());
                segment.options.extend(right.to_be_bytes());
            }
            other => panic!("no field {other}"),
        }
    }
    segment
}

fn expectation(words: &[&str]) -> Expect {
    let label = match words.first() {
        Some(&"new") => State::New,
        Some(&"est") => State::Established,
        Some(&"rel") => State::Related,
        Some(&"inv") => State::Invalid,
        Some(&"untracked") => State::Untracked,
        other => panic!("no label {other:?}"),
    };
    let mut expect = Expect { label, tcp: None, life: Life::Unsaid, assured: None };
    for word in &words[1..] {
        match *word {
            "gone" => expect.life = Life::Gone,
            "assured" => expect.assured = Some(true),
            "unassured" => expect.assured = Some(false),
            word if word.starts_with(|c: char| c.is_ascii_digit()) => expect.life = Life::Ns(nanoseconds(word)),
            word => expect.tcp = Some(word.into()),
        }
    }
    expect
}
