//! The state machine: what it costs a packet over a bare hit in the same table.
//!
//! `cargo bench --bench conntrack`. One core, one lock-free table, in two of its modes; established TCP
//! connections that exchange data and acknowledgements; bursts of 32, prefetched. The bare hit finds the entry
//! and moves its deadline. That of a TCP entry also makes itself alone with the entry's windows, as the table
//! does for every tracker that checks windows: what a tracker adds to it is the state machine's cost.
//! Variants alternate within each block; only differences within a block count.

use ctbench::conntrack::{Config, OnFull, Profile, TcpWindow, Tracker, Transition, Windows};
use ctbench::engine::State;
use ctbench::measure::Clock;
use ctbench::measure::statistics::{Estimate, Random, median, paired_difference};
use ctbench::packet::{Direction, Packet, TcpFields, protocol};
use ctbench::table::lockfree::{LockFree, OwnerOnly};
use ctbench::table::{Fate, FlowHash, FlowTable, Geometry, HashKey, Insert, Place};
use std::hint::black_box;

/// Few enough for the cache: the difference is the state machine's alone, not the memory's.
const FLOWS: u32 = 2_000;
const EXCHANGES: u32 = 50;
const BLOCKS: usize = 60;
const SHARDS: u32 = 16;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

fn packet(flow: u32, direction: Direction, flags: u8, seq: u32, ack: u32, payload_len: u16, time_ns: u64) -> Packet {
    let local = "10.0.1.10".parse().expect("an address");
    let remote = std::net::IpAddr::from([198, 51, (flow >> 8) as u8, flow as u8]);
    let fields = TcpFields { flags, seq, ack, sack_or_options: ack, window: 60_000, payload_len };
    let fields = if flags & SYN != 0 { TcpFields { sack_or_options: 0, ..fields } } else { fields };
    Packet::new(local, remote, direction, protocol::TCP, time_ns).with_ports(443, 50_000).with_tcp(fields)
}

/// The handshakes, and what the connections then exchange, in random order of flows.
fn conversations() -> (Vec<Packet>, Vec<Packet>) {
    use Direction::{In, Out};
    let mut time_ns = 1_000_000_000;
    let mut handshakes = Vec::new();
    for flow in 0..FLOWS {
        time_ns += 1_000;
        handshakes.push(packet(flow, In, SYN, 99, 0, 0, time_ns));
        handshakes.push(packet(flow, Out, SYN | ACK, 499, 100, 0, time_ns));
        handshakes.push(packet(flow, In, ACK, 100, 500, 0, time_ns));
    }
    let mut turns: Vec<u32> = (0..EXCHANGES).flat_map(|_| 0..FLOWS).collect();
    Random::new(7).shuffle(&mut turns);
    let mut sent = vec![0u32; FLOWS as usize];
    let mut packets = Vec::new();
    for flow in turns {
        // A request of 300 bytes, its answer of 1,200, and the acknowledgement.
        let n = sent[flow as usize];
        sent[flow as usize] += 1;
        let (seq, ack) = (100 + 300 * n, 500 + 1200 * n);
        time_ns += 1_000;
        packets.push(packet(flow, In, ACK | PSH, seq, ack, 300, time_ns));
        packets.push(packet(flow, Out, ACK | PSH, ack, seq + 300, 1200, time_ns + 300));
        packets.push(packet(flow, In, ACK, seq + 300, ack + 1200, 0, time_ns + 600));
    }
    (handshakes, packets)
}

/// Every packet through the table, in bursts; `hit` is done to each entry.
#[inline(always)]
fn replay<T: FlowTable>(
    table: &mut T,
    packets: &[Packet],
    hash: &FlowHash,
    shard_hash: &FlowHash,
    detail: bool,
    hit: impl Fn(&mut ctbench::conntrack::Connection, &mut Windows, &Packet) -> State,
) -> u64 {
    let mut places = [Place::default(); 32];
    let mut established = 0;
    for burst in packets.chunks(32) {
        for (place, packet) in places.iter_mut().zip(burst) {
            let key = packet.flow_key();
            *place = Place::new(shard_hash.shard(&key, SHARDS), hash.hash(&key));
            table.prefetch(*place);
        }
        for place in &mut places[..burst.len()] {
            table.prefetch_entry(place, detail);
        }
        for (place, packet) in places.iter().zip(burst) {
            let key = packet.flow_key();
            let state =
                table.update(*place, &key, detail, |connection, words| (Fate::Keep, hit(connection, words, packet)));
            established += u64::from(state == Some(State::Established));
        }
    }
    established
}

/// ns a packet of one variant: 0 is the bare hit, 1 the bare hit that may touch the windows, and
/// n + 2 the n-th tracker.
fn measure<T: FlowTable>(clock: &Clock, worker: &mut T, input: &Input, variant: usize) -> f64 {
    let Input { handshakes, packets, hash, shard_hash, trackers } = input;
    let tracker = &trackers[variant.max(2) - 2];
    let windows = variant == 1 || (variant > 1 && tracker.checks_windows(protocol::TCP));
    for packet in handshakes {
        let key = packet.flow_key();
        let place = Place::new(shard_hash.shard(&key, SHARDS), hash.hash(&key));
        let known = worker
            .update(place, &key, windows, |connection, words| (Fate::Keep, tracker.advance(connection, words, packet)));
        if known.is_none() {
            let mut words = Windows::default();
            let connection = tracker.open(packet, &mut words).expect("a SYN opens");
            let words = windows.then_some(&words);
            assert_eq!(worker.insert(place, &key, &connection, words, packet.time_ns), Insert::Done);
        }
    }
    let start = clock.raw();
    let established = if variant < 2 {
        replay(worker, packets, hash, shard_hash, windows, |connection, _, packet| {
            connection.expires_ns = packet.time_ns + 300_000_000_000;
            State::Established
        })
    } else {
        replay(worker, packets, hash, shard_hash, windows, |connection, words, packet| {
            match tracker.advance(connection, words, packet) {
                Transition::Store(state) => state,
                _ => State::Invalid,
            }
        })
    };
    let elapsed = clock.ns(start, clock.raw());
    assert_eq!(black_box(established), packets.len() as u64, "every packet belongs to its connection");
    elapsed as f64 / packets.len() as f64
}

struct Input {
    handshakes: Vec<Packet>,
    packets: Vec<Packet>,
    hash: FlowHash,
    shard_hash: FlowHash,
    trackers: [Tracker; 3],
}

fn main() {
    let clock = Clock::new();
    let (handshakes, packets) = conversations();
    let (hash, shard_hash) = (FlowHash::new(HashKey::from_seed(1)), FlowHash::new(HashKey::from_seed(2)));
    let geometry = Geometry::with_capacity(u64::from(2 * FLOWS), SHARDS);
    let windows = [TcpWindow::Off, TcpWindow::Liberal, TcpWindow::Strict];
    let trackers = windows.map(|tcp_window| Tracker::new(&Config { tcp_window, ..Config::new(Profile::Linux) }));
    let input = Input { handshakes, packets, hash, shard_hash, trackers };
    let mut shared = LockFree::new(geometry, OnFull::DropNew, hash);
    let mut owned = LockFree::<OwnerOnly>::of_shards(geometry, OnFull::DropNew, hash, |_| true);

    // By table and variant.
    let mut ns: [[Vec<f64>; 5]; 2] = Default::default();
    let mut random = Random::new(3);
    for _ in 0..BLOCKS {
        let mut order: Vec<(usize, usize)> = (0..10).map(|n| (n % 2, n / 2)).collect();
        random.shuffle(&mut order);
        for (table, variant) in order {
            ns[table][variant].push(if table == 0 {
                shared.clear();
                measure(&clock, &mut shared.worker(), &input, variant)
            } else {
                owned.clear();
                measure(&clock, &mut owned.owner(), &input, variant)
            });
        }
    }

    let show = |e: Estimate| format!("{:+.1} ns ({:+.1} to {:+.1})", e.value, e.ci95[0], e.ci95[1]);
    println!("{} packets of {FLOWS} established connections; median of {BLOCKS} blocks", input.packets.len());
    for (table, ns) in ["lockfree, shared", "lockfree, owner-only"].iter().zip(&ns) {
        println!("\n{table}");
        println!("  bare hit                        {:>6.1} ns a packet", median(&ns[0]));
        for (name, base, wanted, samples) in [
            ("bare hit of a TCP entry", 0, None, &ns[1]),
            ("state machine, windows off", 0, None, &ns[2]),
            ("state machine, liberal", 1, Some(10), &ns[3]),
            ("state machine, strict", 1, Some(15), &ns[4]),
        ] {
            let extra = paired_difference(samples, &ns[base], 1);
            let wanted = wanted.map_or(String::new(), |wanted| format!("  (wanted: at most +{wanted} ns)"));
            println!("  {name:31} {:>6.1} ns a packet, {}{wanted}", median(samples), show(extra));
        }
    }
}
