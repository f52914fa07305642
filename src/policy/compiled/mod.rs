//! Rules compiled for speed: the same first match as `linear`, in a time that hardly grows with their number.
//!
//! Each direction and address family by itself takes one of two forms, by the number of its rules:
//! - **Few** (`scan`): all of them are compared, eight or sixteen to a vector register, without a branch, and the
//!   lowest matching one wins. How many are few depends on the registers ([`Vectors`]).
//! - **Many** (`tree`): the address selects the most specific block that holds it, and in this block's map
//!   protocol and port select the first rule.
//!
//! Neither form multiplies rules: `tree` states its worst case.

mod scan;
mod tree;
mod vectors;

use super::linear::NO_PORT;
use super::{Evaluate, RuleMatch, RuleSet};
use crate::packet::{Direction, Packet};
use ipnet::IpNet;
use scan::Scan;
use tree::{Address, Tree};
pub use vectors::Vectors;

/// An IPv6 address fills half a register: these rules are scanned one by one.
const MOST_SCANNED_V6: usize = 8;

/// A filter, compiled.
#[derive(Debug)]
pub struct Compiled {
    v4: [Form<u32, Scan>; 2],
    v6: [Form<u128, Box<[Line<u128>]>>; 2],
}

/// How the rules of one direction and family are kept.
#[derive(Debug)]
enum Form<A, S> {
    Few(S),
    Many(Tree<A>),
}

/// A rule: what it covers, as ranges. Ends are included.
#[derive(Clone, Copy, Debug)]
struct Line<A> {
    block: (A, A),
    /// `None`: all.
    protocol: Option<u8>,
    ports: (u32, u32),
    action: Action,
}

impl<A: Address> Line<A> {
    #[inline(always)]
    fn matches(&self, address: A, protocol: u8, port: u32) -> bool {
        (self.block.0 <= address && address <= self.block.1)
            && self.protocol.is_none_or(|wanted| wanted == protocol)
            && (self.ports.0 <= port && port <= self.ports.1)
    }
}

/// A rule's index and what it does, in one word: `index << 1 | allow`. The lower, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Action(u32);

impl Action {
    /// Stands for no rule: comes after all.
    const NONE: Action = Action(u32::MAX);

    fn new(rule: u32, allow: bool) -> Self {
        Action(rule << 1 | u32::from(allow))
    }

    #[inline(always)]
    fn found(self) -> Option<RuleMatch> {
        (self != Action::NONE).then_some(RuleMatch { rule: self.0 >> 1, allow: self.0 & 1 == 1 })
    }
}

/// Protocol and port in one number, so that a rule about both is one range.
#[inline(always)]
fn key_of(protocol: u8, port: u32) -> u32 {
    u32::from(protocol) << KEY_PORT_BITS | port
}

/// Ports, and [`NO_PORT`] above them.
const KEY_PORT_BITS: u32 = 17;
const KEY_PORT_MASK: u32 = (1 << KEY_PORT_BITS) - 1;
/// Above every key.
const KEY_END: u32 = 1 << (KEY_PORT_BITS + 8);

impl Compiled {
    /// Compiles the rules. They keep their order and their indices.
    pub fn new(rules: &RuleSet) -> Compiled {
        Compiled::numbered_from(0, rules)
    }

    /// The same, for rules that stand behind `first` others in a larger set.
    pub fn numbered_from(first: u32, rules: &RuleSet) -> Compiled {
        let vectors = Vectors::of_this_processor();
        Compiled::with(first, rules, vectors, vectors.most_scanned())
    }

    /// The same, for a comparison: with these vectors, which the processor must have, and with at most so many rules for
    /// IPv4 scanned.
    pub fn with(first: u32, rules: &RuleSet, vectors: Vectors, most_scanned: usize) -> Compiled {
        let lines = |direction| lines_of(first, rules, direction);
        let [(in4, in6), (out4, out6)] = [Direction::In, Direction::Out].map(lines);
        let v4 = |lines: Vec<Line<u32>>| match lines.len() {
            count if count <= most_scanned => Form::Few(Scan::new(&lines, vectors)),
            _ => Form::Many(Tree::new(&lines)),
        };
        let v6 = |lines: Vec<Line<u128>>| match lines.len() {
            0..=MOST_SCANNED_V6 => Form::Few(lines.into_boxed_slice()),
            _ => Form::Many(Tree::new(&lines)),
        };
        // In the order of `Direction::index`.
        let (mut v4, mut v6) = ([v4(in4), v4(out4)], [v6(in6), v6(out6)]);
        if Direction::In.index() == 1 {
            v4.swap(0, 1);
            v6.swap(0, 1);
        }
        Compiled { v4, v6 }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> u64 {
        let v4 = |form: &Form<u32, Scan>| match form {
            Form::Few(scan) => scan.bytes(),
            Form::Many(tree) => tree.bytes(),
        };
        let v6 = |form: &Form<u128, Box<[Line<u128>]>>| match form {
            Form::Few(lines) => size_of_val(&lines[..]),
            Form::Many(tree) => tree.bytes(),
        };
        let all: usize = self.v4.iter().map(v4).sum::<usize>() + self.v6.iter().map(v6).sum::<usize>();
        (size_of::<Compiled>() + all) as u64
    }
}

/// The rules of one direction, by family.
fn lines_of(first: u32, rules: &RuleSet, direction: Direction) -> (Vec<Line<u32>>, Vec<Line<u128>>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (index, rule) in rules.rules(direction) {
        let ports = rule.ports.map_or((0, NO_PORT), |(low, high)| (low.into(), high.into()));
        if ports.0 > ports.1 {
            continue; // An empty range matches nothing.
        }
        let (protocol, action) = (rule.protocol, Action::new(first + index, rule.allow));
        match rule.remote {
            IpNet::V4(net) => {
                let block = (net.network().to_bits(), net.broadcast().to_bits());
                v4.push(Line { block, protocol, ports, action });
            }
            IpNet::V6(net) => {
                let block = (net.network().to_bits(), net.broadcast().to_bits());
                v6.push(Line { block, protocol, ports, action });
            }
        }
    }
    (v4, v6)
}

impl Evaluate for Compiled {
    #[inline]
    fn first_match(&self, packet: &Packet) -> Option<RuleMatch> {
        let protocol = packet.outer_protocol();
        let port = packet.match_port().map_or(NO_PORT, u32::from);
        let direction = packet.direction().index();
        let action = if packet.is_ipv6() {
            let address = u128::from_be_bytes(packet.outer_remote());
            match &self.v6[direction] {
                Form::Few(lines) => {
                    lines.iter().find(|line| line.matches(address, protocol, port)).map_or(Action::NONE, |l| l.action)
                }
                Form::Many(tree) => tree.first(address, key_of(protocol, port)),
            }
        } else {
            let address = packet.outer_remote_v4();
            match &self.v4[direction] {
                Form::Few(scan) => scan.first(address, key_of(protocol, port)),
                Form::Many(tree) => tree.first(address, key_of(protocol, port)),
            }
        };
        action.found()
    }
}
