//! What is counted of a capture, whatever turns out to be protected.
//!
//! One pass, on all cores. Who is inside may only be known after it: until then a flow's lower address is taken for the
//! protected one, and flows are sorted out at the end. What does not belong to one flow by itself (fragments, ICMP
//! errors, cut packets) is kept until then.

use super::activity::{Activity, BURST};
use super::info::{SIZES, size_class};
use super::scan::Batch;
use super::sequence::Sequencer;
use super::{Capture, Summary, TraceError, guess};
use crate::conntrack::MAX_TIME_NS;
use crate::packet::{Ignored, Inside, Packet, View, decode, decode_into, ends, flags};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Counts of one thread, or of all.
pub(super) struct Census {
    activity: Activity,
    /// Packets with their numbers, of which the first `waiting` are not yet in `activity`.
    burst: Box<[(Packet, u64); BURST]>,
    waiting: usize,
    kept: Vec<Kept>,
    /// Frames that are not evaluated, whatever is protected.
    ignored: BTreeMap<Ignored, u64>,
    /// By class of size.
    pub(super) sizes: [u64; SIZES.len()],
}

/// A frame that is looked at once more.
struct Kept {
    number: u64,
    time_ns: u64,
    link_type: u32,
    wire_len: usize,
    bytes: Box<[u8]>,
}

/// What is counted when it is known what is protected.
pub(super) struct Found {
    /// Flows of the evaluated packets.
    pub(super) activity: Activity,
    pub(super) packets: Counts,
    pub(super) fragments: u64,
    pub(super) datagrams: usize,
}

/// Packets, evaluated and not.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) evaluated: u64,
    pub(super) ignored: BTreeMap<Ignored, u64>,
    /// Evaluated packets by protocol.
    pub(super) protocols: BTreeMap<u8, u64>,
    pub(super) ipv6: u64,
}

impl Counts {
    fn evaluate(&mut self, protocol: u8, is_ipv6: bool, packets: u64) {
        self.evaluated += packets;
        *self.protocols.entry(protocol).or_default() += packets;
        self.ipv6 += if is_ipv6 { packets } else { 0 };
    }

    fn ignore(&mut self, why: Ignored, packets: u64) {
        *self.ignored.entry(why).or_default() += packets;
    }

    fn and(mut self, other: Counts) -> Self {
        self.evaluated += other.evaluated;
        self.ipv6 += other.ipv6;
        other.ignored.into_iter().for_each(|(why, n)| self.ignore(why, n));
        other.protocols.into_iter().for_each(|(protocol, n)| *self.protocols.entry(protocol).or_default() += n);
        self
    }
}

impl Census {
    pub(super) fn of(capture: &Capture) -> Result<(Census, Summary), TraceError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let blocks = ["0.0.0.0/0", "::/0"].map(|block| block.parse::<IpNet>());
        let everything = Inside::new(&blocks.into_iter().flatten().collect::<Vec<_>>()).with_pairs();
        let seed = RandomState::new().build_hasher().finish();
        let (counts, summary) =
            capture.scan(threads, || Census::new(seed), |census, batch| census.add(batch, &everything))?;
        let mut all = Census::new(seed);
        for census in counts {
            all.activity.merge(census.activity);
            all.kept.extend(census.kept);
            census.ignored.into_iter().for_each(|(why, n)| *all.ignored.entry(why).or_default() += n);
            all.sizes.iter_mut().zip(census.sizes).for_each(|(all, n)| *all += n);
        }
        all.kept.sort_unstable_by_key(|kept| kept.number);
        Ok((all, summary))
    }

    fn new(seed: u64) -> Self {
        Census {
            activity: Activity::new(seed),
            burst: Box::new([(Packet::ZERO, 0); BURST]),
            waiting: 0,
            kept: Vec::new(),
            ignored: BTreeMap::new(),
            sizes: [0; SIZES.len()],
        }
    }

    fn add(&mut self, batch: &Batch, everything: &Inside) {
        for (number, frame) in (batch.first..).zip(batch.frames) {
            self.sizes[size_class(frame.wire)] += 1;
            let view = batch.view(frame);
            let time_ns = frame.time_ns.min(MAX_TIME_NS);
            let (packet, its_number) = &mut self.burst[self.waiting];
            match decode_into(packet, view.bytes, view.link_type, view.wire_len, time_ns, everything) {
                Ok(()) if packet.flags & (flags::ICMP_ERROR | flags::FRAGMENT) == 0 => {
                    *its_number = number;
                    self.waiting += 1;
                    if self.waiting == BURST {
                        self.add_waiting();
                    }
                }
                result => self.add_rare(number, time_ns, view, result.err()),
            }
        }
        self.add_waiting();
    }

    fn add_waiting(&mut self) {
        self.activity.add_ordered(&self.burst[..self.waiting]);
        self.waiting = 0;
    }

    #[cold]
    fn add_rare(&mut self, number: u64, time_ns: u64, view: View, why: Option<Ignored>) {
        let View { bytes, link_type, wire_len } = view;
        match why {
            Some(why) if ends(bytes, link_type, wire_len).is_err() => *self.ignored.entry(why).or_default() += 1,
            _ => self.kept.push(Kept { number, time_ns, link_type, wire_len, bytes: bytes.into() }),
        }
    }

    /// What may be protected.
    pub(super) fn guess(&self) -> Vec<IpNet> {
        let of_kept = |kept: &Kept| Some((ends(&kept.bytes, kept.link_type, kept.wire_len).ok()?, 1));
        let kept: Vec<_> = self.kept.iter().filter_map(of_kept).collect();
        let flows = self.activity.packets().map(|(key, packets)| (key.ends(), packets));
        guess::inside(&flows.chain(kept.iter().copied()))
    }

    /// Sorts out what is evaluated if this is protected.
    pub(super) fn evaluate(mut self, inside: &Inside) -> Found {
        let counts = self.activity.keep(|counts: &mut Counts, key, packets| {
            let (one, other) = key.ends();
            match inside.ends(one, other) {
                (true, true) => counts.ignore(Ignored::BothInside, packets),
                (false, false) => counts.ignore(Ignored::NeitherInside, packets),
                _ => {
                    counts.evaluate(key.protocol(), key.is_ipv6(), packets);
                    return true;
                }
            }
            false
        });
        let ignored = Counts { ignored: self.ignored, ..Counts::default() };
        let packets = counts.into_iter().fold(ignored, Counts::and);
        let mut found = Found { activity: self.activity, packets, fragments: 0, datagrams: 0 };
        found.add_kept(&self.kept, inside);
        found
    }
}

impl Found {
    fn add_kept(&mut self, kept: &[Kept], inside: &Inside) {
        let mut sequencer = Sequencer::default();
        for Kept { number, time_ns, link_type, wire_len, bytes } in kept {
            let mut packet = match decode(bytes, *link_type, *wire_len, *time_ns, inside) {
                Ok(packet) => packet,
                Err(why) => {
                    self.packets.ignore(why, 1);
                    continue;
                }
            };
            self.packets.evaluate(packet.outer_protocol(), packet.is_ipv6(), 1);
            self.activity.add(&packet, *number);
            if packet.has(flags::FRAGMENT) {
                self.fragments += 1;
                packet.time_ns = sequencer.time_ns(*time_ns);
                let view = View { bytes, link_type: *link_type, wire_len: *wire_len };
                let whole = sequencer.piece(view, *number, &packet);
                self.datagrams += usize::from(whole.is_some());
            }
        }
    }
}
