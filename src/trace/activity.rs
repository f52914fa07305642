//! Flows over time: how many there are at once, and how many begin.

use crate::packet::{FlowKey, Packet, flags, protocol, tcp_flags};
use crate::table::{FlowHash, HashKey, prefetch_line};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rayon::prelude::*;
use serde::Serialize;

/// Moments that the capture's time is divided into.
const MOMENTS: usize = 60;
const SECOND_NS: u64 = 1_000_000_000;
/// Packets whose flows are asked for at once.
pub(super) const BURST: usize = 32;

/// A part of the capture's time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// When it begins, in seconds after the first packet.
    pub at_s: f64,
    /// Flows that live in it.
    pub flows: u64,
    /// Flows that begin in it.
    pub new_flows: u64,
}

/// What is known of a flow.
struct Flow {
    packets: u64,
    first_ns: u64,
    last_ns: u64,
    /// The number of its first packet.
    first: u64,
    /// That one belongs to a TCP connection that began earlier.
    midstream: bool,
    /// One bit a direction.
    directions: u8,
}

/// The flows of a trace, packet by packet, in any order.
pub(super) struct Activity {
    hash: FlowHash,
    /// By hash, so that after the last packet all cores can work on them.
    parts: [Part; PARTS],
}

const PARTS: usize = 16;

/// Some of the flows.
///
/// They stand in order of appearance, so that those under way lie close together, where the caches keep them.
struct Part {
    flows: Vec<(FlowKey, Flow)>,
    index: HashTable<Place>,
    /// The last flow with each value of a hash's lower bits: looked at before the index.
    recent: Box<[u32; RECENT]>,
}

/// Of these, the flows under way are a small part in most traces; 128 KiB in all.
const RECENT: usize = 32768 / PARTS;

/// Where a flow stands.
struct Place {
    flow: u32,
    /// Bits of its hash, so that the index grows without looking at flows.
    hash: u32,
}

impl Place {
    fn hash(&self) -> u64 {
        spread(self.hash)
    }
}

/// The index takes a bucket from the lower bits of a hash and a tag from the upper ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// Flows described.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Flows {
    pub flows: usize,
    /// Packets of the largest.
    pub largest: u64,
    pub one_sided: usize,
    pub midstream: usize,
    pub peak_concurrent: u64,
    pub new_per_s: f64,
    pub peak_new_per_s: u64,
    pub over_time: Vec<Moment>,
}

impl Activity {
    /// With a secret for the hash function.
    pub(super) fn new(seed: u64) -> Self {
        Activity { hash: FlowHash::new(HashKey::from_seed(seed)), parts: std::array::from_fn(|_| Part::new()) }
    }

    /// Adds packets with their numbers. The lower address of each is taken for the protected one: see
    /// [`Activity::add`].
    pub(super) fn add_ordered(&mut self, packets: &[(Packet, u64)]) {
        // Asking for all before using any: waits for memory overlap.
        let mut hashes = [0; BURST];
        for burst in packets.chunks(BURST) {
            for ((packet, _), hash) in burst.iter().zip(&mut hashes) {
                *hash = self.hash.hash(&packet.flow_key());
                self.parts[part_of(*hash)].prefetch(*hash);
            }
            for ((packet, number), hash) in burst.iter().zip(hashes) {
                let seen = Flow::seen(packet, packet.direction().index(), *number);
                self.parts[part_of(hash)].add(packet.flow_key(), hash, seen);
            }
        }
    }

    /// Adds the packet with this number, from whichever side it is seen.
    pub(super) fn add(&mut self, packet: &Packet, number: u64) {
        let (mut key, mut direction) = (packet.flow_key(), packet.direction().index());
        if packet.local_addr() > packet.remote_addr() {
            (key, direction) = (key.flipped(), 1 - direction);
        }
        let hash = self.hash.hash(&key);
        self.parts[part_of(hash)].add(key, hash, Flow::seen(packet, direction, number));
    }

    /// Adds what another, of the same seed, has counted.
    pub(super) fn merge(&mut self, other: Activity) {
        let Activity { hash, parts } = self;
        parts.par_iter_mut().zip(other.parts).for_each(|(mine, other)| mine.merge(other, hash));
    }

    /// Every flow's key, by the lower address, and its packets.
    pub(super) fn packets(&self) -> impl Iterator<Item = (&FlowKey, u64)> + Clone + Sync {
        self.parts.iter().flat_map(|part| &part.flows).map(|(key, flow)| (key, flow.packets))
    }

    /// Forgets the packets of some flows; on several cores, each with counts of its own.
    pub(super) fn keep<C: Default + Send>(&mut self, keeps: impl Fn(&mut C, &FlowKey, u64) -> bool + Sync) -> Vec<C> {
        let count = |part: &mut Part| {
            let mut counts = C::default();
            for (key, flow) in &mut part.flows {
                if !keeps(&mut counts, key, flow.packets) {
                    *flow = Flow::NONE;
                }
            }
            counts
        };
        self.parts.par_iter_mut().map(count).collect()
    }

    pub(super) fn describe(&self) -> Flows {
        let parts: Vec<Described> = self.parts.par_iter().map(Part::describe).collect();
        // Stable sorting, since it finds that the parts are sorted.
        let all = |times: fn(&Described) -> &[u64]| {
            let mut all: Vec<u64> = parts.iter().flat_map(times).copied().collect();
            all.sort();
            all
        };
        let (mut starts, mut ends) = rayon::join(|| all(|part| &part.starts), || all(|part| &part.ends));
        let (Some(first_ns), Some(last_ns)) = (starts.first().copied(), ends.last().copied()) else {
            return Flows::default();
        };
        starts.iter_mut().chain(&mut ends).for_each(|time_ns| *time_ns -= first_ns);
        let span_ns = last_ns - first_ns;
        Flows {
            flows: starts.len(),
            largest: parts.iter().map(|part| part.largest).max().unwrap_or(0),
            one_sided: parts.iter().map(|part| part.one_sided).sum(),
            midstream: parts.iter().map(|part| part.midstream).sum(),
            peak_concurrent: peak(&starts, &ends),
            new_per_s: starts.len() as f64 / (span_ns as f64 / SECOND_NS as f64).max(1.0),
            peak_new_per_s: most_in_a_second(&starts),
            over_time: moments(&starts, &ends, span_ns),
        }
    }
}

/// What is said of a part's flows; their times sorted.
#[derive(Default)]
struct Described {
    starts: Vec<u64>,
    ends: Vec<u64>,
    largest: u64,
    one_sided: usize,
    midstream: usize,
}

/// The part that a flow is in: by bits of its hash that neither choose a recent place nor go into the index.
#[inline(always)]
fn part_of(hash: u64) -> usize {
    hash as usize >> 24 & (PARTS - 1)
}

impl Part {
    fn new() -> Self {
        Part { flows: Vec::new(), index: HashTable::new(), recent: Box::new([0; RECENT]) }
    }

    /// Asks for the flow that this hash had last.
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        let flow = self.flows.as_ptr().wrapping_add(self.recent[hash as usize % RECENT] as usize);
        prefetch_line(flow);
        // It may begin in one line and end in the next.
        prefetch_line(flow.cast::<u8>().wrapping_add(size_of::<(FlowKey, Flow)>() - 1));
    }

    #[inline(always)]
    fn add(&mut self, key: FlowKey, hash: u64, seen: Flow) {
        let recent = &mut self.recent[hash as usize % RECENT];
        if let Some((known, flow)) = self.flows.get_mut(*recent as usize)
            && *known == key
        {
            return flow.and(&seen);
        }
        let bits = (hash >> 32) as u32;
        let flows = &mut self.flows;
        let entry = self.index.entry(
            spread(bits),
            |place| place.hash == bits && flows[place.flow as usize].0 == key,
            Place::hash,
        );
        *recent = match entry {
            Entry::Occupied(place) => {
                let at = place.get().flow;
                flows[at as usize].1.and(&seen);
                at
            }
            Entry::Vacant(place) => {
                let at = flows.len() as u32;
                place.insert(Place { flow: at, hash: bits });
                flows.push((key, seen));
                at
            }
        };
    }

    fn describe(&self) -> Described {
        let mut described = Described::default();
        for (_, flow) in self.flows.iter().filter(|(_, flow)| flow.packets > 0) {
            described.starts.push(flow.first_ns);
            described.ends.push(flow.last_ns);
            described.largest = described.largest.max(flow.packets);
            described.one_sided += usize::from(flow.directions != 3);
            described.midstream += usize::from(flow.midstream);
        }
        described.starts.sort_unstable();
        described.ends.sort_unstable();
        described
    }

    fn merge(&mut self, other: Part, hash: &FlowHash) {
        let (other, mine) = match other.flows.len() > self.flows.len() {
            true => (std::mem::replace(self, other), self),
            false => (other, self),
        };
        other.flows.into_iter().for_each(|(key, flow)| mine.add(key, hash.hash(&key), flow));
    }
}

impl Flow {
    /// No packet: whatever is added to it is all there is.
    const NONE: Flow =
        Flow { packets: 0, first_ns: u64::MAX, last_ns: 0, first: u64::MAX, midstream: false, directions: 0 };

    /// A flow of one packet.
    #[inline(always)]
    fn seen(packet: &Packet, direction: usize, number: u64) -> Self {
        Flow {
            packets: 1,
            first_ns: packet.time_ns,
            last_ns: packet.time_ns,
            first: number,
            midstream: packet.protocol == protocol::TCP
                && packet.flags & (flags::ICMP_ERROR | flags::NO_PORTS) == 0
                && packet.tcp_flags() & tcp_flags::SYN == 0,
            directions: 1 << direction,
        }
    }

    /// Adds more of its packets.
    #[inline(always)]
    fn and(&mut self, more: &Flow) {
        self.packets += more.packets;
        self.first_ns = self.first_ns.min(more.first_ns);
        self.last_ns = self.last_ns.max(more.last_ns);
        self.directions |= more.directions;
        if more.first < self.first {
            (self.first, self.midstream) = (more.first, more.midstream);
        }
    }
}

/// Most flows that live at once. At the same time one begins before another ends.
fn peak(starts: &[u64], ends: &[u64]) -> u64 {
    let mut ended = 0;
    let mut most = 0;
    for (begun, start) in (1u64..).zip(starts) {
        while ends[ended] < *start {
            ended += 1;
        }
        most = most.max(begun - ended as u64);
    }
    most
}

/// Of the seconds counted from the first packet.
fn most_in_a_second(starts: &[u64]) -> u64 {
    starts.chunk_by(|a, b| a / SECOND_NS == b / SECOND_NS).map(|second| second.len() as u64).max().unwrap_or(0)
}

fn moments(starts: &[u64], ends: &[u64], span_ns: u64) -> Vec<Moment> {
    if span_ns == 0 {
        return vec![Moment { at_s: 0.0, flows: starts.len() as u64, new_flows: starts.len() as u64 }];
    }
    // The last packet lies in the last moment.
    let length = span_ns / MOMENTS as u64 + 1;
    let before = |times: &[u64], ns: u64| times.partition_point(|time| *time < ns) as u64;
    (0..span_ns / length + 1)
        .map(|moment| {
            let (begin, end) = (moment * length, (moment + 1).saturating_mul(length));
            // Where the end does not fit, nothing comes after it.
            let begun = if end == u64::MAX { starts.len() as u64 } else { before(starts, end) };
            Moment {
                at_s: begin as f64 / SECOND_NS as f64,
                flows: begun - before(ends, begin),
                new_flows: begun - before(starts, begin),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Direction, TcpFields};

    fn packet(port: u16, at_s: u64, direction: Direction, flags: u8) -> Packet {
        let ends = ([10, 0, 1, 10].into(), [198, 51, 100, 7].into());
        let mut packet = Packet::new(ends.0, ends.1, direction, protocol::TCP, 0).with_ports(80, port);
        packet = packet.with_tcp(TcpFields { flags, ..TcpFields::default() });
        packet.time_ns = 1_000 * SECOND_NS + at_s * SECOND_NS;
        packet
    }

    #[test]
    fn flows_are_counted_over_time() {
        use Direction::{In, Out};
        use tcp_flags::{ACK, SYN};
        let mut activity = Activity::new(1);
        // Flow 1 lives from 0 to 100 s, flow 2 from 10 to 20, flow 3 from 20 to 20, flow 4 at 60.
        for (number, (port, at_s, direction, flags)) in (1..).zip([
            (1, 0, In, SYN),
            (2, 10, In, SYN),
            (2, 20, Out, SYN | ACK),
            (3, 20, In, ACK),
            (4, 60, Out, ACK),
            (1, 100, Out, ACK),
        ]) {
            activity.add(&packet(port, at_s, direction, flags), number);
        }
        let flows = activity.describe();
        assert_eq!((flows.flows, flows.largest, flows.one_sided, flows.midstream), (4, 2, 2, 2));
        assert_eq!((flows.peak_concurrent, flows.peak_new_per_s), (3, 1));
        assert!((flows.new_per_s - 0.04).abs() < 1e-9);
        assert_eq!(flows.over_time.len(), MOMENTS);
        assert_eq!(flows.over_time.iter().map(|moment| moment.new_flows).sum::<u64>(), 4);
        assert_eq!(flows.over_time.iter().map(|moment| moment.flows).max(), Some(3));
        assert_eq!(flows.over_time.last().map(|moment| (moment.flows, moment.new_flows)), Some((1, 0)));
    }

    #[test]
    fn halves_counted_apart_add_up() {
        use Direction::{In, Out};
        use tcp_flags::{ACK, SYN};
        let all = [(1, 0, In, SYN), (1, 1, Out, SYN | ACK), (2, 2, In, ACK), (2, 3, In, SYN), (3, 4, Out, ACK)];
        let count = |wanted: &dyn Fn(u64) -> bool| {
            let mut activity = Activity::new(1);
            for (number, (port, at_s, direction, flags)) in (1..).zip(all).filter(|(number, _)| wanted(*number)) {
                activity.add(&packet(port, at_s, direction, flags), number);
            }
            activity
        };
        let whole = count(&|_| true).describe();
        let mut later = count(&|number| number % 2 == 0);
        later.merge(count(&|number| number % 2 == 1));
        assert_eq!(later.describe(), whole);
        assert_eq!((whole.flows, whole.midstream, whole.one_sided), (3, 2, 2));
    }

    #[test]
    fn times_at_the_ends_of_their_range_do_no_harm() {
        for span_ns in [0, 1, 59, 60, 61, u64::MAX] {
            let found = moments(&[0, span_ns / 2, span_ns], &[span_ns / 2, span_ns, span_ns], span_ns);
            assert!(
                found.len() <= MOMENTS && found.iter().map(|moment| moment.new_flows).sum::<u64>() == 3,
                "{span_ns}"
            );
        }
        assert_eq!(Activity::new(1).describe().flows, 0);
    }
}
