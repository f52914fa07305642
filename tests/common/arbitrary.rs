//! Any bytes to settings and packets, and those through every stateful engine: the body of the fuzz
//! target `engines` and of `tests/past_crashers.rs`.
//!
//! Bytes choose from what is interesting more often than they spell it out: sequence numbers lie near
//! what their connection has come to, times near timeouts.

use super::frames::ip;
use ctbench::conntrack::{Config, Invalid, OnFull, Profile, TcpWindow, Tracker};
use ctbench::engine::reference;
use ctbench::engine::{Decision, Engine, Groups, NoStamps, Reason, Stateful, Tag};
use ctbench::packet::{
    Direction, FlowKey, Inside, Packet, SynOptions, TcpFields, decode, decode_ip, flags, protocol, tcp_flags,
};
use ctbench::policy::linear::Linear;
use ctbench::policy::untracked::Untracked;
use ctbench::policy::{Epoch, Epochs, Rule, RuleSet, World};
use ctbench::table::lockfree::LockFree;
use ctbench::table::percore::{Owned, PerCore};
use ctbench::table::{FlowHash, FlowTable, Geometry, HashKey, TableCounters};
use std::net::IpAddr;

/// Packets of one case, at most.
const MAX_PACKETS: usize = 1000;
const SECOND: u64 = 1_000_000_000;

/// Numbers from a byte string; zero when it has ended.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn half(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn word(&mut self) -> u32 {
        u32::from(self.half()) << 16 | u32::from(self.half())
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn choice<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }
}

fn inside() -> Inside {
    Inside::new(&["10.0.0.0/8".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()])
}

/// Both ends of flow `n`: protected, outside.
fn ends(n: u8) -> (IpAddr, IpAddr) {
    let host = u16::from(n >> 1 & 7) + 1;
    match n & 1 {
        0 => (IpAddr::from([10, 0, 0, 1]), IpAddr::from([198, 51, 100, host as u8])),
        _ => {
            let address = |net, host| IpAddr::from([0x2001, 0xdb8, net, 0, 0, 0, 0, host]);
            (address(1, 1), address(2, host))
        }
    }
}

/// What a flow's ends have come to: what a fitting segment would say.
#[derive(Clone, Copy, Default)]
struct Talk {
    next: [u32; 2],
}

const OFFSETS: [u32; 16] = [
    0,
    0,
    0,
    0,
    0,
    1,
    u32::MAX,
    100,
    0u32.wrapping_sub(100),
    1460,
    8192,
    66_000,
    0u32.wrapping_sub(66_001),
    1 << 31,
    (1 << 31) + 1,
    0u32.wrapping_sub(1 << 20),
];

fn direction(bit: u8) -> Direction {
    if bit & 1 == 0 { Direction::In } else { Direction::Out }
}

fn tcp(bytes: &mut Bytes, talks: &mut [Talk; 256]) -> Packet {
    use tcp_flags::{ACK, FIN, PSH, RST, SYN};
    const KINDS: [u8; 12] =
        [SYN, SYN | ACK, ACK, ACK, ACK | PSH, ACK | PSH, FIN | ACK, FIN | ACK, RST, RST | ACK, FIN | PSH | ACK, 0];
    const LENGTHS: [u16; 8] = [0, 0, 0, 1, 100, 1460, 8192, 60_000];
    const WINDOWS: [u16; 8] = [0, 1, 100, 1000, 8192, 32_768, 65_535, 65_535];
    let n = bytes.byte() & 15;
    let (sent, extra) = (bytes.byte(), bytes.byte());
    let side = usize::from(sent & 1);
    let kind = KINDS[usize::from(sent >> 1) % KINDS.len()];
    let flags = if extra & 0xf0 == 0xf0 { bytes.byte() } else { kind };
    let near = bytes.byte();
    let talk = &mut talks[usize::from(n)];
    let mut seq = talk.next[side].wrapping_add(OFFSETS[usize::from(near & 15)]);
    let mut ack = talk.next[1 - side].wrapping_add(OFFSETS[usize::from(near >> 4)]);
    if extra & 15 == 15 {
        (seq, ack) = (bytes.word(), bytes.word());
    }
    let len = if kind == ACK | PSH || kind & FIN != 0 { LENGTHS[usize::from(extra & 7)] } else { 0 };
    let window = bytes.choice(&WINDOWS);
    let sack_or_options = if flags & SYN != 0 {
        let options = bytes.byte();
        let window_scale = (options & 1 != 0).then_some(options >> 4);
        SynOptions { window_scale, sack_permitted: options & 2 != 0, any: options & 7 != 0 }.to_bits()
    } else if extra & 0x60 == 0x60 {
        ack.wrapping_add(u32::from(bytes.half()))
    } else {
        ack
    };
    if extra & 0x80 == 0 {
        let control = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        talk.next[side] = seq.wrapping_add(u32::from(len)).wrapping_add(control);
    }
    let (local, remote) = ends(n);
    let fields = TcpFields { flags, seq, ack, sack_or_options, window, payload_len: len };
    Packet::new(local, remote, direction(sent), protocol::TCP, 0).with_ports(80, 50_000).with_tcp(fields)
}

fn other(bytes: &mut Bytes) -> Packet {
    let (n, how) = (bytes.byte(), bytes.byte());
    let (local, remote) = ends(n);
    let way = direction(how);
    let icmp = if local.is_ipv6() { protocol::ICMPV6 } else { protocol::ICMP };
    match how >> 1 & 3 {
        0 => Packet::new(local, remote, way, protocol::UDP, 0).with_ports(53, 50_000 + u16::from(how >> 6)),
        1 => Packet::new(local, remote, way, bytes.choice(&[protocol::GRE, 50, 132, 0]), 0),
        2 => {
            let kinds = [8u8, 0, 13, 14, 17, 18, 128, 129, 139, 140, 9, 135, 200];
            let packet = Packet::new(local, remote, way, icmp, 0).with_icmp(bytes.choice(&kinds), how >> 7, 1);
            match packet.icmp_role() {
                ctbench::packet::IcmpRole::Error => Packet::icmp_error(packet, way, remote, 3, 0, 0),
                _ => packet,
            }
        }
        _ => {
            let number = bytes.choice(&[protocol::TCP, protocol::UDP]);
            let (local_port, remote_port) = if number == protocol::TCP { (80, 50_000) } else { (53, 50_000) };
            let quoted = Packet::new(local, remote, way, number, 0).with_ports(local_port, remote_port);
            let router = ends(n ^ 2).1;
            let kind = if local.is_ipv6() { 1 } else { 3 };
            let error = Packet::icmp_error(quoted, way, router, kind, how >> 7, 0);
            if how & 0x40 != 0 { error.with_flags(flags::INVALID) } else { error }
        }
    }
}

/// A whole frame, or what stands behind an IP header. `None`: not to be evaluated.
fn frame(bytes: &mut Bytes) -> Option<Packet> {
    let (how, len) = (bytes.byte(), usize::from(bytes.byte()));
    let taken = bytes.take(len);
    let packet = match how & 3 {
        0 => decode(taken, 1, taken.len() + usize::from(how >> 2), 0, &inside()),
        1 => decode(taken, bytes.choice(&[0, 12, 101, 113, 276]), taken.len(), 0, &inside()),
        _ => {
            let (local, remote) = ends(how >> 3);
            let numbers = [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::ICMPV6];
            let (source, destination) = if how & 4 == 0 { (remote, local) } else { (local, remote) };
            let built = ip(source, destination, bytes.choice(&numbers), taken);
            decode_ip(&built, built.len(), 0, &inside())
        }
    };
    packet.ok()
}

/// Packets in order of time.
fn packets(bytes: &mut Bytes) -> Vec<Packet> {
    const STEPS: [u64; 16] = [
        0,
        1,
        1,
        1000,
        1_000_000,
        1_000_000,
        SECOND,
        2 * SECOND,
        10 * SECOND,
        30 * SECOND - 1,
        30 * SECOND,
        60 * SECOND,
        120 * SECOND,
        300 * SECOND,
        600 * SECOND,
        432_000 * SECOND,
    ];
    let mut talks = [Talk { next: [1000, 5000] }; 256];
    let mut now = 1_700_000_000 * SECOND;
    let mut packets = Vec::new();
    while !bytes.0.is_empty() && packets.len() < MAX_PACKETS {
        let what = bytes.byte();
        now += STEPS[usize::from(what >> 4)];
        let packet = match what & 7 {
            0..=4 => Some(tcp(bytes, &mut talks)),
            5 => Some(other(bytes)),
            _ => frame(bytes),
        };
        if let Some(mut packet) = packet {
            packet.time_ns = now;
            packets.push(packet);
        }
    }
    packets
}

fn config(bits: u8) -> Config {
    let mut config = Config::new(if bits & 1 == 0 { Profile::Linux } else { Profile::Aws });
    config.tcp_window = match bits >> 1 & 3 {
        0 | 1 => TcpWindow::Strict,
        2 => TcpWindow::Liberal,
        _ => TcpWindow::Off,
    };
    config.loose = bits & 8 == 0;
    config.ignore_invalid_rst = bits & 16 != 0;
    config.invalid = if bits & 32 == 0 { Invalid::Drop } else { Invalid::Rules };
    config.on_full = if bits & 64 == 0 { OnFull::EvictUnassured } else { OnFull::DropNew };
    config
}

fn rules(bits: u8) -> RuleSet {
    let mut rules = RuleSet::new(World::SecurityGroups);
    let all = [
        (Direction::In, "0.0.0.0/0", None, None),
        (Direction::In, "::/0", None, None),
        (Direction::Out, "198.51.100.0/24", None, None),
        (Direction::Out, "2001:db8:2::/64", None, None),
        (Direction::In, "0.0.0.0/0", Some(protocol::TCP), Some((80, 80))),
        (Direction::In, "2001:db8:2::/126", Some(protocol::UDP), Some((53, 53))),
        (Direction::Out, "0.0.0.0/0", None, None),
        (Direction::In, "198.51.100.0/30", Some(protocol::ICMP), Some((8 << 8, 8 << 8 | 255))),
    ];
    for (n, (direction, remote, number, ports)) in all.into_iter().enumerate() {
        if bits >> n & 1 == 0 {
            let remote = remote.parse().unwrap();
            rules.push(direction, Rule { remote, protocol: number, ports, allow: true, name: String::new() });
        }
    }
    rules
}

/// Places flows inside their shards.
fn table_hash() -> FlowHash {
    FlowHash::new(HashKey::from_seed(2))
}

/// What all engines of one case share.
struct Case<'a> {
    packets: &'a [Packet],
    tags: &'a [Tag],
    groups: Epochs<'a, Groups<Linear>>,
    invalid: Invalid,
    tracker: &'a Tracker,
    burst: usize,
}

impl Case<'_> {
    /// The decisions of workers that own every nth shard, burst by burst in turn, and what they counted.
    fn run<T: FlowTable>(&self, tables: Vec<T>) -> (Vec<Decision>, TableCounters) {
        let workers = tables.len();
        let hash = table_hash();
        let mut engines: Vec<_> = tables
            .into_iter()
            .map(|table| Stateful::new(self.groups.clone(), self.invalid, self.tracker, hash, table, None))
            .collect();
        let mut lanes = vec![(Vec::new(), Vec::new(), Vec::new()); workers];
        for (position, (packet, tag)) in self.packets.iter().zip(self.tags).enumerate() {
            let lane = &mut lanes[usize::from(tag.shard) % workers];
            lane.0.push(*packet);
            lane.1.push(*tag);
            lane.2.push(position);
        }
        let mut decisions = vec![Decision::default(); self.packets.len()];
        let longest = lanes.iter().map(|lane| lane.0.len()).max().unwrap_or(0);
        for begin in (0..longest).step_by(self.burst) {
            for (engine, (packets, tags, positions)) in engines.iter_mut().zip(&lanes) {
                let end = packets.len().min(begin + self.burst);
                if begin >= end {
                    continue;
                }
                let mut found = vec![Decision::default(); end - begin];
                engine.burst(&packets[begin..end], &tags[begin..end], &mut found, &mut NoStamps);
                for (position, decision) in positions[begin..end].iter().zip(found) {
                    decisions[*position] = decision;
                }
            }
        }
        let mut counters = TableCounters::default();
        engines.iter().filter_map(|engine| engine.counters()).for_each(|counted| counters.merge(&counted));
        (decisions, counters)
    }
}

/// Every engine must say what the reference says, and hold no more entries than it may.
pub fn check(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let config = config(bytes.byte());
    let written = rules(bytes.byte());
    let size = bytes.byte();
    // In a quarter of all cases the tables are small enough to fill up.
    let small = size & 3 == 3;
    let entries = if small { 4 } else { MAX_PACKETS as u32 };
    let geometry = Geometry { shards: 4, entries_per_shard: entries };
    let packets = packets(&mut bytes);

    let hash = FlowHash::new(HashKey::from_seed(1));
    let shard_of = move |key: &FlowKey| hash.shard(key, geometry.shards);
    let tags: Vec<Tag> = packets.iter().map(|packet| Tag::from(shard_of(&packet.flow_key()) as u16)).collect();
    let untracked = match config.profile {
        Profile::Aws => Untracked::new(&written),
        Profile::Linux => Untracked::default(),
    };
    let exempt = untracked.clone();
    let rules = reference::Rules {
        from_ns: 0,
        rules: &written,
        first: 0,
        is_untracked: Box::new(move |packet| exempt.is_untracked(packet)),
        interfaces: None,
    };
    let table = reference::Table { entries_per_shard: entries as usize, shard_of: Box::new(shard_of) };
    let mut judge = reference::Stateful::new(vec![rules], &config, table);
    let right: Vec<Decision> = packets.iter().map(|packet| judge.decide(packet)).collect();
    assert!(judge.entries() <= geometry.capacity() as usize);

    let epochs = [Epoch { from_ns: 0, rules: Groups { rules: Linear::new(&written), untracked } }];
    let case = Case {
        packets: &packets,
        tags: &tags,
        groups: Epochs::new(&epochs).unwrap(),
        invalid: config.invalid,
        tracker: &Tracker::new(&config),
        burst: usize::from(size >> 2) + 1,
    };
    for workers in [1, 2] {
        let mut owned: Vec<PerCore> = (0..workers)
            .map(|worker| PerCore::new(geometry, config.on_full, move |shard| shard as usize % workers == worker))
            .collect();
        let percore = case.run(owned.iter_mut().map(Owned).collect());
        let shared = LockFree::new(geometry, config.on_full, table_hash());
        let lockfree = case.run((0..workers).map(|_| shared.worker()).collect());
        for (name, (found, counters)) in [("percore", percore), ("lockfree", lockfree)] {
            let name = format!("{name}, {workers} workers");
            same(&name, &found, &right, &packets);
            let capacity = geometry.capacity();
            assert!((0..=capacity as i64).contains(&counters.entries), "{name}: {counters:?}");
            assert!(counters.peak_entries <= capacity, "{name}: {counters:?}");
            assert!(counters.entries as u64 <= counters.inserts, "{name}: {counters:?}");
            let refused = found.iter().filter(|decision| decision.reason() == Reason::TableFull).count();
            assert_eq!(counters.refused, refused as u64, "{name}");
            assert!(small || refused == 0, "{name}: {counters:?}");
        }
    }
}

fn same(name: &str, found: &[Decision], right: &[Decision], packets: &[Packet]) {
    assert_eq!(found.len(), right.len(), "{name}");
    if let Some(i) = found.iter().zip(right).position(|(a, b)| a != b) {
        let key = packets[i].flow_key();
        let before: Vec<&Packet> = packets[..=i].iter().filter(|packet| packet.flow_key() == key).collect();
        panic!("{name}: packet {i}: {:?}, not {:?}: {before:#?}", found[i], right[i]);
    }
}
