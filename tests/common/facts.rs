//! Runs a [`Script`] through the tracker, the reference and every stateful engine.

use super::decisions;
use super::script::{Ends, Life, Line, Script, What};
use ctbench::conntrack::{Config, Connection, Tracker, Transition, Windows};
use ctbench::engine::State;
use ctbench::engine::Verdict;
use ctbench::engine::registry::ENGINES;
use ctbench::packet::{Direction, FlowKey, Inside, Packet, decode_ip};
use ctbench::policy::{Rule, RuleSet, World};
use ctbench::replay::Workload;
use ctbench::table::Geometry;
use ctbench::trace::Trace;
use std::collections::HashMap;
use std::net::IpAddr;

/// A TCP connection up to ESTABLISHED, windows of 8,192 bytes, not scaled.
pub const HANDSHAKE: &str = "
    > S  1000           = new
    < SA 5000 ack 1001  = est
    > A  1001 ack 5001  = est
";

const START_NS: u64 = 1_700_000_000_000_000_000;

/// Rules that let everything pass, and that leave nothing untracked under profile `aws`.
pub fn open_groups() -> RuleSet {
    let mut rules = RuleSet::new(World::SecurityGroups);
    for remote in ["198.51.0.0/16", "203.0.113.0/24", "2001:db8::/33"] {
        for direction in [Direction::In, Direction::Out] {
            let remote = remote.parse().unwrap();
            rules.push(direction, Rule { remote, protocol: None, ports: None, allow: true, name: "open".into() });
        }
    }
    rules
}

/// The addresses of the `n`th copy of a conversation, which an outside or an inside end begins.
fn ends(n: u8, v6: bool, begins_outside: bool) -> Ends {
    let parse = |text: String| -> IpAddr { text.parse().unwrap() };
    let inside = |host: u8| parse(if v6 { format!("2001:db8:1::{host:x}") } else { format!("10.0.1.{host}") });
    let outside = |net: u16| {
        let host = u16::from(n) + 1;
        parse(if v6 { format!("2001:db8:2:{net}::{host:x}") } else { format!("198.51.{net}.{host}") })
    };
    let protected = (inside(10), inside(11), inside(12));
    let peer = (outside(100), outside(101), outside(102));
    let (client, server) = if begins_outside { (peer, protected) } else { (protected, peer) };
    Ends { client: client.0, server: server.0, neighbours: [client.1, server.1], routers: [client.2, server.2] }
}

fn inside() -> Inside {
    Inside::new(&["10.0.1.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()])
}

/// One packet of one copy.
struct Event {
    packet: Packet,
    label: State,
    why: String,
}

fn event(ends: &Ends, from_client: bool, what: &What, flow: u16, time_ns: u64, label: State, why: String) -> Event {
    let bytes = what.bytes(ends, from_client, flow);
    let packet = decode_ip(&bytes, bytes.len(), time_ns, &inside()).unwrap_or_else(|e| panic!("{why}: {e:?}"));
    Event { packet, label, why }
}

/// An error about the line's packet: RELATED while its connection exists, INVALID when it does not,
/// and it changes nothing.
fn probe(ends: &Ends, line: &Line, time_ns: u64, label: State, why: String) -> Event {
    let (what, from_client) = match &line.what {
        What::Error { about, .. } => ((**about).clone(), !line.from_client),
        other => (other.clone(), line.from_client),
    };
    let name = if ends.client.is_ipv6() { "icmp-1" } else { "icmp-3" };
    let error =
        What::Error { name: name.into(), about: Box::new(what), router: false, astray: false, quote: usize::MAX };
    event(ends, !from_client, &error, line.flow, time_ns, label, why)
}

/// The conversation up to each line that says how long the connection lives, with a look at it one
/// nanosecond before its end and one at it; and the whole.
fn copies(script: &Script, v6: bool, begins_outside: bool) -> Vec<Event> {
    let mut events = Vec::new();
    let last = script.lines.len() - 1;
    for n in 0..=last {
        if n != last && script.lines[n].expect.life == Life::Unsaid {
            continue;
        }
        let ends = ends(n as u8, v6, begins_outside);
        let mut now = START_NS;
        for line in &script.lines[..=n] {
            now += line.step_ns;
            let why = line.text.clone();
            events.push(event(&ends, line.from_client, &line.what, line.flow, now, line.expect.label, why));
        }
        let line = &script.lines[n];
        let mut look = |time_ns, label, what: &str| {
            events.push(probe(&ends, line, time_ns, label, format!("{}\n  {what}", line.text)));
        };
        match line.expect.life {
            Life::Unsaid => {}
            Life::Gone => look(now, State::Invalid, "is gone"),
            Life::Ns(ns) => {
                look(now, State::Related, "exists");
                look(now + ns - 1, State::Related, "exists one nanosecond before its end");
                look(now + ns, State::Invalid, "has ended");
            }
        }
    }
    events.sort_by_key(|event| event.packet.time_ns);
    events
}

/// A trace of these packets, which are in order.
pub fn trace_of(packets: impl IntoIterator<Item = Packet>) -> Trace {
    let mut trace = Trace::default();
    for (number, packet) in (1u32..).zip(packets) {
        trace.packets.push(packet);
        trace.frames.push(number);
        trace.timestamps_ns.push(packet.time_ns);
    }
    trace
}

/// Checks every line of a script against every stateful engine, in both families, whichever end is
/// the protected one.
#[track_caller]
pub fn facts(script: &str) {
    println!("\nscript\n{script}\nend");
    let script = Script::parse(script);
    assert!(!script.lines.is_empty() && script.lines.len() < 250);
    for v6 in [false, true] {
        if (v6 && script.only_v4) || (!v6 && script.only_v6) {
            continue;
        }
        for begins_outside in [true, false] {
            tracker_agrees(&script, v6, begins_outside);
            let events = copies(&script, v6, begins_outside);
            let trace = trace_of(events.iter().map(|event| event.packet));
            let geometry = Geometry::with_capacity(4096, 16);
            let workload = Workload::new(trace, Some(open_groups()), None, script.config.clone(), geometry, 1, 2, 32);
            for engine in ENGINES.iter().filter(|engine| engine.kind.is_stateful()) {
                for cores in [1, 2, 3] {
                    if cores == 1 || !engine.kind.is_single_core() {
                        let found = decisions(&workload, engine.kind, cores, 32);
                        let place = format!("{}, {cores} cores, IPv6 {v6}, outside {begins_outside}", engine.name);
                        for (event, found) in events.iter().zip(&found) {
                            assert_eq!(found.state(), event.label, "{place}: {}", event.why);
                            let passes = event.label != State::Invalid;
                            assert_eq!(found.verdict() == Verdict::Accept, passes, "{place}: {}", event.why);
                        }
                    }
                }
            }
        }
    }
}

/// The tracker by itself over a plain map: it tells states that no packet shows.
struct Plain {
    tracker: Tracker,
    connections: HashMap<FlowKey, (Connection, Windows)>,
}

impl Plain {
    fn new(config: &Config) -> Self {
        Plain { tracker: Tracker::new(config), connections: HashMap::new() }
    }

    fn label(&mut self, packet: &Packet) -> State {
        let key = packet.flow_key();
        if let Some((connection, windows)) = self.connections.get_mut(&key) {
            match self.tracker.advance(connection, windows, packet) {
                Transition::Store(state) => return state,
                Transition::Remove(state) => {
                    self.connections.remove(&key);
                    return state;
                }
                Transition::Expired | Transition::Reopen => {
                    self.connections.remove(&key);
                }
            }
        }
        let mut windows = Windows::default();
        match self.tracker.open(packet, &mut windows) {
            Some(connection) => {
                self.connections.insert(key, (connection, windows));
                State::New
            }
            None => State::Invalid,
        }
    }
}

#[track_caller]
fn tracker_agrees(script: &Script, v6: bool, begins_outside: bool) {
    let ends = ends(0, v6, begins_outside);
    let mut plain = Plain::new(&script.config);
    let mut now = START_NS;
    for line in &script.lines {
        now += line.step_ns;
        let expect = &line.expect;
        if expect.label == State::Untracked {
            continue;
        }
        let why = line.text.clone();
        let packet = event(&ends, line.from_client, &line.what, line.flow, now, expect.label, why).packet;
        assert_eq!(plain.label(&packet), expect.label, "tracker: {}", line.text);
        let left = plain.connections.get(&packet.flow_key());
        if let Some(name) = &expect.tcp {
            let state = left.unwrap_or_else(|| panic!("no connection: {}", line.text)).0.status.tcp_state();
            assert_eq!(kernel_name(&format!("{state:?}")), *name, "tracker: {}", line.text);
        }
        match expect.life {
            Life::Unsaid => {}
            Life::Gone => assert!(left.is_none(), "tracker: {}", line.text),
            Life::Ns(ns) => {
                let deadline = left.unwrap_or_else(|| panic!("no connection: {}", line.text)).0.expires_ns;
                assert_eq!(deadline.saturating_sub(now), ns, "tracker, ns left: {}", line.text);
            }
        }
        if let Some(assured) = expect.assured {
            let status = left.unwrap_or_else(|| panic!("no connection: {}", line.text)).0.status;
            assert_eq!(status.assured(), assured, "tracker, assured: {}", line.text);
        }
    }
}

/// `SynSent2` to `SYN_SENT2`.
fn kernel_name(state: &str) -> String {
    let mut name = String::new();
    for letter in state.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
