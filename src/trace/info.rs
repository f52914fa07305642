//! What is in a capture, for `ctbench info`.

use super::activity::Moment;
use super::census::Census;
use super::{Capture, TraceError};
use crate::packet::{Inside, protocol};
use ipnet::IpNet;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

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
    /// What else the user should know, a sentence each.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl Info {
    /// Describes a capture. With no `inside`, a guess is made.
    pub fn of(capture: &Capture, path: &str, inside: &[IpNet]) -> Result<Self, TraceError> {
        let (census, summary) = Census::of(capture)?;
        let guessed = inside.is_empty();
        let inside = if guessed { census.guess() } else { inside.to_vec() };
        let sizes = SIZES.iter().zip(census.sizes).map(|((_, name), count)| ((*name).to_owned(), count)).collect();
        let found = census.evaluate(&Inside::new(&inside));
        let cuts = summary.cuts.iter().map(|cut| match summary.cuts.as_slice() {
            [_] => format!("at byte {}: {}", cut.offset, cut.reason),
            _ => format!("{} at byte {}: {}", cut.path.display(), cut.offset, cut.reason),
        });
        let cuts: Vec<String> = cuts.collect();
        let skipped = summary.skipped.iter().map(|path| format!("{} is no capture, and is left out", path.display()));
        let named = |counts: &BTreeMap<u8, u64>| counts.iter().map(|(n, count)| (protocol_name(*n), *count)).collect();
        let flows = found.activity.describe();
        Ok(Info {
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
            sizes,
            inside: inside.iter().map(ToString::to_string).collect(),
            inside_guessed: guessed,
            evaluated: found.packets.evaluated,
            not_evaluated: found.packets.ignored.iter().map(|(why, n)| (why.reason().to_owned(), *n)).collect(),
            flows: flows.flows,
            largest_flow_share: flows.largest as f64 / found.packets.evaluated.max(1) as f64,
            one_sided_flows: flows.one_sided,
            midstream_flows: flows.midstream,
            peak_concurrent_flows: flows.peak_concurrent,
            new_flows_per_s: flows.new_per_s,
            peak_new_flows_per_s: flows.peak_new_per_s,
            flows_over_time: flows.over_time,
            protocols: named(&found.packets.protocols),
            ipv6: found.packets.ipv6,
            fragments: found.fragments,
            datagrams: found.datagrams,
            warnings: skipped.chain(summary.changes.iter().cloned()).collect(),
        })
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

/// Upper bounds of the size classes: RFC 2819's, as switches count them.
pub(super) const SIZES: [(u32, &str); 7] = [
    (64, "up to 64"),
    (127, "65-127"),
    (255, "128-255"),
    (511, "256-511"),
    (1023, "512-1023"),
    (1518, "1024-1518"),
    (u32::MAX, "1519 and more"),
];

/// The class that a frame of so many bytes is counted in.
#[inline(always)]
pub(super) fn size_class(wire: u32) -> usize {
    SIZES[..SIZES.len() - 1].iter().map(|(most, _)| usize::from(wire > *most)).sum()
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

fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "TCP".into(),
        protocol::UDP => "UDP".into(),
        protocol::ICMP => "ICMP".into(),
        protocol::ICMPV6 => "ICMPv6".into(),
        protocol::GRE => "GRE".into(),
        other => format!("IP {other}"),
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
