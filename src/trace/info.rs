//! What is in a capture, for `ctbench info`.

use super::activity::{Activity, Moment};
use super::{Frames, Trace};
use crate::conntrack::Profile;
use crate::packet::{Inside, Packet, ends, flags, protocol};
use hashbrown::HashMap;
use ipnet::IpNet;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

/// A capture described. Counts are of packets unless they say otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// The file.
    pub path: String,
    /// Its format.
    pub format: String,
    /// Frames.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Bytes captured.
    pub captured_bytes: u64,
    /// From the earliest to the latest packet, in seconds.
    pub duration_s: f64,
    /// Time of the earliest packet, ns since 1970.
    pub first_ns: u64,
    /// Declared capture length; 0 for none.
    pub snaplen: u32,
    /// Frames of which less was captured than was on the wire.
    pub snaplen_cut: u64,
    /// Frames that are earlier than the one before.
    pub timestamps_backwards: u64,
    /// By link type.
    pub link_types: BTreeMap<String, u64>,
    /// Where files are cut off, if they are.
    pub cut: Option<String>,
    /// pcapng blocks that could not be read.
    pub bad_blocks: u64,
    /// Frames by their length on the wire, in bytes.
    pub sizes: Vec<(String, u64)>,
    /// The protected addresses: given, or guessed.
    pub inside: Vec<String>,
    /// True if `inside` is a guess.
    pub inside_guessed: bool,
    /// Packets that engines would evaluate.
    pub evaluated: u64,
    /// Packets that they would not, by cause.
    pub not_evaluated: BTreeMap<String, u64>,
    /// Flows among the evaluated packets.
    pub flows: usize,
    /// Share of the evaluated packets that the largest flow has.
    pub largest_flow_share: f64,
    /// Flows with packets in one direction only.
    pub one_sided_flows: usize,
    /// TCP flows whose first packet is not a SYN: they began before the capture.
    pub midstream_flows: usize,
    /// Most flows at once. A flow lives from its first to its last packet.
    pub peak_concurrent_flows: u64,
    /// New flows a second: over the whole capture.
    pub new_flows_per_s: f64,
    /// New flows in the second with the most.
    pub peak_new_flows_per_s: u64,
    /// Flows over time, at moments of equal length.
    pub flows_over_time: Vec<Moment>,
    /// Evaluated packets by protocol.
    pub protocols: BTreeMap<String, u64>,
    /// Evaluated packets of IPv6.
    pub ipv6: u64,
    /// Pieces of fragmented datagrams.
    pub fragments: u64,
    /// Datagrams completed from pieces.
    pub datagrams: usize,
}

/// Share of the packets that must touch an address for it to be worth protecting.
const GUESS_COVERAGE: f64 = 0.95;
/// A guess names at most so many addresses.
const GUESS_LIMIT: usize = 32;

impl Info {
    /// Describes a capture. With no `inside`, a guess is made.
    pub fn of(frames: &Frames, path: &str, inside: &[IpNet]) -> Self {
        let summary = frames.summary();
        let guessed = inside.is_empty();
        let inside = if guessed { guess(frames) } else { inside.to_vec() };
        let trace = Trace::sequence(frames, frames.decode(&Inside::new(&inside)), Profile::Linux);
        let mut activity = Activity::default();
        let (mut protocols, mut ipv6, mut fragments) = (BTreeMap::new(), 0, 0);
        for packet in &trace.packets {
            activity.add(packet);
            match protocols.get_mut(protocol_name(packet).as_ref()) {
                Some(count) => *count += 1,
                None => drop(protocols.insert(protocol_name(packet).into_owned(), 1)),
            }
            ipv6 += u64::from(packet.is_ipv6());
            fragments += u64::from(packet.has(flags::FRAGMENT));
        }
        let mut not_evaluated = BTreeMap::new();
        for (_, why) in &trace.ignored {
            *not_evaluated.entry(why.reason().to_owned()).or_default() += 1;
        }
        let cuts = summary.cuts.iter().map(|cut| match summary.cuts.as_slice() {
            [_] => format!("at byte {}: {}", cut.offset, cut.reason),
            _ => format!("{} at byte {}: {}", cut.path.display(), cut.offset, cut.reason),
        });
        let cuts: Vec<String> = cuts.collect();
        let flows = activity.describe();
        Info {
            path: path.to_owned(),
            format: summary.format.clone(),
            packets: summary.packets,
            bytes: summary.wire_bytes,
            captured_bytes: summary.captured_bytes,
            duration_s: summary.duration_s(),
            first_ns: summary.first_ns,
            snaplen: summary.snaplen,
            snaplen_cut: summary.snaplen_cut,
            timestamps_backwards: summary.backwards,
            link_types: summary.link_types.iter().map(|(link, n)| (link_name(*link), *n)).collect(),
            cut: (!cuts.is_empty()).then(|| cuts.join("; ")),
            bad_blocks: summary.bad_blocks,
            sizes: sizes(frames),
            inside: inside.iter().map(ToString::to_string).collect(),
            inside_guessed: guessed,
            evaluated: trace.packets.len() as u64,
            not_evaluated,
            flows: flows.flows,
            largest_flow_share: flows.largest as f64 / trace.packets.len().max(1) as f64,
            one_sided_flows: flows.one_sided,
            midstream_flows: flows.midstream,
            peak_concurrent_flows: flows.peak_concurrent,
            new_flows_per_s: flows.new_per_s,
            peak_new_flows_per_s: flows.peak_new_per_s,
            flows_over_time: flows.over_time,
            protocols,
            ipv6,
            fragments,
            datagrams: trace.datagrams.len(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<18} {value}");
        };
        let list = |counts: &BTreeMap<String, u64>| {
            let mut counts: Vec<_> = counts.iter().collect();
            counts.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), (*name).clone()));
            counts.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
        };
        line("file", self.path.clone());
        line("format", self.format.clone());
        line("packets", self.packets.to_string());
        line("bytes", format!("{} on the wire, {} captured", self.bytes, self.captured_bytes));
        line("duration", format!("{:.6} s", self.duration_s));
        line("link types", list(&self.link_types));
        let sizes = self.sizes.iter().filter(|(_, n)| *n > 0).map(|(size, n)| format!("{size}: {n}"));
        line("sizes in bytes", sizes.collect::<Vec<_>>().join(", "));
        let limit = if self.snaplen == 0 { "none declared".to_owned() } else { format!("{} bytes", self.snaplen) };
        line("capture length", format!("{limit}; {} packets cut by it", self.snaplen_cut));
        if self.timestamps_backwards > 0 {
            line("timestamps", format!("{} go backwards", self.timestamps_backwards));
        }
        if let Some(cut) = &self.cut {
            line("cut off", cut.clone());
        }
        if self.bad_blocks > 0 {
            line("bad blocks", format!("{} were skipped", self.bad_blocks));
        }
        let how = if self.inside_guessed { " (a guess; say better with --inside)" } else { "" };
        let inside = if self.inside.is_empty() { "nothing".to_owned() } else { self.inside.join(",") };
        line("inside", format!("{inside}{how}"));
        line("evaluated", format!("{} packets, {} of them IPv6", self.evaluated, self.ipv6));
        if !self.not_evaluated.is_empty() {
            line("not evaluated", list(&self.not_evaluated));
        }
        line(
            "flows",
            format!(
                "{}, {} one-sided, {} begun before the capture; the largest has {:.1} % of the packets",
                self.flows,
                self.one_sided_flows,
                self.midstream_flows,
                self.largest_flow_share * 100.0
            ),
        );
        line(
            "flows at once",
            format!(
                "at most {}{}",
                self.peak_concurrent_flows,
                sparkline(&self.flows_over_time, |moment| moment.flows)
            ),
        );
        line(
            "new flows",
            format!(
                "{:.1} a second, at most {} in one{}",
                self.new_flows_per_s,
                self.peak_new_flows_per_s,
                sparkline(&self.flows_over_time, |moment| moment.new_flows)
            ),
        );
        line("protocols", list(&self.protocols));
        if self.fragments > 0 {
            line("fragments", format!("{} pieces, {} datagrams completed", self.fragments, self.datagrams));
        }
        text
    }
}

/// Guesses what the capture's firewall would protect: hosts in order of how many packets they take
/// part in, private addresses first among equals, until 95 % of the packets have an end among them.
/// A host is skipped if it mostly talks to hosts already chosen: then it is their peer.
fn guess(frames: &Frames) -> Vec<IpNet> {
    let mut pairs: HashMap<(IpAddr, IpAddr), u64> = HashMap::new();
    for frame in frames.list() {
        let view = frames.view(frame);
        if let Ok(ends) = ends(view.bytes, view.link_type, view.wire_len) {
            *pairs.entry(ends).or_default() += 1;
        }
    }
    let total: u64 = pairs.values().sum();
    let mut weight: HashMap<IpAddr, u64> = HashMap::new();
    for ((source, destination), packets) in &pairs {
        *weight.entry(*source).or_default() += packets;
        *weight.entry(*destination).or_default() += packets;
    }
    let mut hosts: Vec<(IpAddr, u64)> = weight.into_iter().filter(|(host, _)| is_host(*host)).collect();
    hosts.sort_by_key(|(host, packets)| (std::cmp::Reverse(*packets), !is_private(*host), *host));
    let mut chosen: BTreeSet<IpAddr> = BTreeSet::new();
    let mut covered = 0;
    // Packets of each host with hosts already chosen.
    let mut with_chosen: HashMap<IpAddr, u64> = HashMap::new();
    for (host, packets) in hosts {
        if covered as f64 >= GUESS_COVERAGE * total as f64 || chosen.len() == GUESS_LIMIT {
            break;
        }
        let with_others = with_chosen.get(&host).copied().unwrap_or(0);
        if with_others * 2 <= packets {
            covered += packets - with_others;
            chosen.insert(host);
            for ((a, b), n) in &pairs {
                if *a == host || *b == host {
                    *with_chosen.entry(if *a == host { *b } else { *a }).or_default() += n;
                }
            }
        }
    }
    chosen.into_iter().map(IpNet::from).collect()
}

/// An address that a host can have.
fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_multicast() && !address.is_unspecified() && !broadcast
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Upper bounds of the size classes: RFC 2819's, as switches count them.
const SIZES: [(u32, &str); 7] = [
    (64, "up to 64"),
    (127, "65-127"),
    (255, "128-255"),
    (511, "256-511"),
    (1023, "512-1023"),
    (1518, "1024-1518"),
    (u32::MAX, "1519 and more"),
];

fn sizes(frames: &Frames) -> Vec<(String, u64)> {
    let mut counts = [0; SIZES.len()];
    for frame in frames.list() {
        counts[SIZES.iter().position(|(most, _)| frame.wire <= *most).unwrap_or(SIZES.len() - 1)] += 1;
    }
    SIZES.iter().zip(counts).map(|((_, name), count)| ((*name).to_owned(), count)).collect()
}

/// A row of bars, one a moment; nothing if there are too few to show a course.
fn sparkline(moments: &[Moment], value: fn(&Moment) -> u64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = moments.iter().map(value).max().unwrap_or(0);
    if moments.len() < 2 || most == 0 {
        return String::new();
    }
    let bar = |moment: &Moment| BARS[(value(moment) * (BARS.len() as u64 - 1)).div_ceil(most) as usize];
    format!("  {}", moments.iter().map(bar).collect::<String>())
}

fn protocol_name(packet: &Packet) -> Cow<'static, str> {
    match packet.outer_protocol() {
        protocol::TCP => "TCP".into(),
        protocol::UDP => "UDP".into(),
        protocol::ICMP => "ICMP".into(),
        protocol::ICMPV6 => "ICMPv6".into(),
        protocol::GRE => "GRE".into(),
        other => format!("IP {other}").into(),
    }
}

fn link_name(link: u16) -> String {
    match link {
        0 => "BSD null".into(),
        1 => "Ethernet".into(),
        9 | 50 => "PPP".into(),
        51 => "PPPoE".into(),
        12 | 14 | 101 => "raw IP".into(),
        108 => "BSD loopback".into(),
        113 => "Linux cooked v1".into(),
        228 => "raw IPv4".into(),
        229 => "raw IPv6".into(),
        276 => "Linux cooked v2".into(),
        other => format!("link type {other} (not supported)"),
    }
}
