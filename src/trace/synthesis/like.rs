//! A recipe that resembles a capture.

use super::sizes::PacketSizes;
use super::{FlowSizes, Kind, Recipe, Share, SynthesisError, Traffic};
use crate::packet::{Direction, FlowKey, Ignored, Packet, flags, protocol, tcp_flags};
use crate::trace::Trace;
use std::collections::{BTreeMap, HashMap};

/// One flow of the capture.
#[derive(Default)]
struct Seen {
    first: Option<Packet>,
    last_ns: u64,
    /// Packets with data, from the client and from the server.
    data: [u32; 2],
    flags: u8,
    /// A FIN came from the client, from the server; data came from the other end after it.
    fin: [bool; 2],
    late: bool,
}

/// Of each kind and direction of opening.
#[derive(Default)]
struct Group {
    flows: Vec<Seen>,
    /// Frames with data by size, requests and responses.
    sizes: [BTreeMap<u16, u32>; 2],
    ports: HashMap<u16, u32>,
}

/// Quantiles that stand for a distribution of flow sizes; the largest is among them.
const QUANTILES: usize = 64;
/// Server ports that are kept: the most frequent.
const PORTS: usize = 16;
/// Frame sizes are counted in steps of so many bytes.
const SIZE_STEP: u32 = 32;

/// Fits a recipe to a trace. `wire` tells a frame's bytes on the wire by its number. Fitted are, by kind of flow and
/// by the side that opens it: flows, new flows a second, packets with data in a flow (64 quantiles), frame sizes,
/// ports, responses to a request, pauses, IPv6, flows that began before the trace, that were half closed, reset or
/// fell silent; and the share of malformed packets. Addresses are those of the profiles, not the capture's.
pub fn like(trace: &Trace, wire: impl Fn(u32) -> u32) -> Result<Recipe, SynthesisError> {
    let mut flows: HashMap<FlowKey, Seen> = HashMap::new();
    let mut order: Vec<FlowKey> = Vec::new();
    let skipped = flags::ICMP_ERROR | flags::INVALID | flags::NO_PORTS | flags::NEVER_TRACKED;
    let packets = || trace.packets.iter().zip(&trace.frames).filter(|(packet, _)| packet.flags & skipped == 0);
    let mut frames: Vec<(FlowKey, usize, u16)> = Vec::new();
    for (packet, frame) in packets() {
        let key = packet.flow_key();
        let seen = flows.entry(key).or_insert_with(|| {
            order.push(key);
            Seen::default()
        });
        let client = seen.first.get_or_insert(*packet).direction();
        let sender = usize::from(packet.direction() != client);
        seen.last_ns = packet.time_ns;
        if packet.protocol == protocol::TCP {
            seen.flags |= packet.tcp_flags();
            seen.fin[sender] |= packet.tcp_flags() & tcp_flags::FIN != 0;
        }
        if packet.protocol != protocol::TCP || packet.payload_len() > 0 {
            seen.data[sender] += 1;
            seen.late |= seen.fin[1 - sender];
            frames.push((key, sender, rounded(wire(*frame))));
        }
    }
    let mut groups: BTreeMap<(u8, bool), Group> = BTreeMap::new();
    let group_of = |seen: &Seen| {
        let first = seen.first?;
        let kind = KINDS.iter().position(|(_, fits)| fits(&first, seen))?;
        Some((kind as u8, first.direction() == Direction::Out))
    };
    let of_flow: HashMap<FlowKey, (u8, bool)> =
        flows.iter().filter_map(|(key, seen)| Some((*key, group_of(seen)?))).collect();
    for (key, sender, size) in frames {
        if let Some(group) = of_flow.get(&key) {
            *groups.entry(*group).or_default().sizes[sender].entry(size).or_default() += 1;
        }
    }
    for key in order {
        if let (Some(group), Some(seen)) = (of_flow.get(&key), flows.remove(&key)) {
            let group = groups.entry(*group).or_default();
            if let Some(first) = seen.first {
                let port = if first.direction() == Direction::Out { first.remote_port } else { first.local_port };
                *group.ports.entry(port).or_default() += 1;
            }
            group.flows.push(seen);
        }
    }
    recipe(trace, groups)
}

type Fits = fn(&Packet, &Seen) -> bool;

/// In order: the first that fits.
const KINDS: [(Kind, Fits); 5] = [
    (Kind::SynFlood, |packet, seen| {
        packet.protocol == protocol::TCP && seen.data == [0, 0] && seen.flags & tcp_flags::ACK == 0
    }),
    (Kind::Tcp, |packet, _| packet.protocol == protocol::TCP),
    (Kind::Dns, |packet, _| packet.protocol == protocol::UDP && (packet.local_port == 53 || packet.remote_port == 53)),
    (Kind::Udp, |packet, _| packet.protocol == protocol::UDP),
    (Kind::Ping, |packet, _| matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6)),
];

fn rounded(wire: u32) -> u16 {
    (wire + 4).next_multiple_of(SIZE_STEP).clamp(64, 9018) as u16
}

fn recipe(trace: &Trace, groups: BTreeMap<(u8, bool), Group>) -> Result<Recipe, SynthesisError> {
    let flows: usize = groups.values().map(|group| group.flows.len()).sum();
    let (Some(first), Some(last)) = (trace.packets.first(), trace.packets.last()) else {
        return Err(SynthesisError::Recipe("the capture has no packet that is evaluated".into()));
    };
    let duration_ns = last.time_ns - first.time_ns;
    let malformed = trace.ignored.iter().filter(|(_, why)| matches!(why, Ignored::Malformed(_))).count();
    let per_second = (flows as u128 * 1_000_000_000).checked_div(u128::from(duration_ns)).unwrap_or(flows as u128);
    let mut traffic = Vec::new();
    for ((kind, outbound), group) in groups {
        let Some(usual) = Recipe::usual(KINDS[usize::from(kind)].0) else { continue };
        let weight = (group.flows.len() as u64 * 1_000_000 / flows as u64).max(1) as u32;
        traffic.push(fitted(usual, weight, outbound, &group));
    }
    let recipe = Recipe {
        seed: 0,
        packets: Some(trace.packets.len() as u64 + malformed as u64),
        flows: None,
        flows_per_s: u32::try_from(per_second).unwrap_or(u32::MAX).max(1),
        evenly: false,
        malformed: Share::of(malformed as u64, trace.packets.len() as u64),
        snaplen: Recipe::DEFAULT_SNAPLEN,
        traffic,
    };
    recipe.check()?;
    Ok(recipe)
}

fn fitted(mut traffic: Traffic, weight: u32, outbound: bool, group: &Group) -> Traffic {
    let flows = &group.flows;
    let share =
        |is: &dyn Fn(&Seen) -> bool| Share::of(flows.iter().filter(|seen| is(seen)).count() as u64, flows.len() as u64);
    traffic.weight = weight;
    traffic.outbound = outbound;
    if outbound {
        std::mem::swap(&mut traffic.clients, &mut traffic.servers);
    }
    let mut ports: Vec<(u16, u32)> = group.ports.iter().map(|(port, n)| (*port, *n)).collect();
    ports.sort_by_key(|(port, n)| (std::cmp::Reverse(*n), *port));
    traffic.ports = ports.iter().map(|(port, _)| *port).take(PORTS).collect();
    let mut sizes: Vec<u32> = flows.iter().map(|seen| (seen.data[0] + seen.data[1]).max(1)).collect();
    sizes.sort_unstable();
    let last = sizes.len() - 1;
    traffic.flow_size = FlowSizes::List((1..=QUANTILES).map(|i| sizes[last * i / QUANTILES]).collect());
    let [requests, responses] = [0, 1].map(|sender| flows.iter().map(|seen| u64::from(seen.data[sender])).sum::<u64>());
    traffic.responses = ((responses + requests / 2) / requests.max(1)) as u32;
    for (slot, sizes) in [&mut traffic.request, &mut traffic.response].into_iter().zip(&group.sizes) {
        if !sizes.is_empty() {
            *slot = PacketSizes(sizes.iter().map(|(size, n)| (*size, (*n).min(1_000_000))).collect());
        }
    }
    // What is left of a flow's time after its last request is small against the pauses, or there are none.
    let open_ns: u64 = flows.iter().filter_map(|seen| Some(seen.last_ns - seen.first?.time_ns)).sum();
    traffic.think_ms = ((open_ns / requests.max(1)) / 1_000_000).min(86_400_000) as u32;
    traffic.rtt_us = 1_000;
    traffic.elephants = Share::NONE;
    traffic.ipv6 = share(&|seen| seen.first.is_some_and(|first| first.is_ipv6()));
    let tcp = traffic.kind == Kind::Tcp;
    let of_tcp = |is: &dyn Fn(&Seen) -> bool| if tcp { share(is) } else { Share::NONE };
    let silent = |seen: &Seen| seen.flags & (tcp_flags::FIN | tcp_flags::RST) == 0;
    traffic.mid_stream = of_tcp(&|seen| seen.flags & tcp_flags::SYN == 0);
    traffic.abandoned = of_tcp(&silent);
    traffic.half_closed = of_tcp(&|seen| seen.late);
    traffic.reset = of_tcp(&|seen| seen.flags & tcp_flags::RST != 0 && seen.fin == [false, false]);
    traffic
}
