//! What stands in a result file: what `compare --json` and `replay --json` wrote, today or by another release.
//!
//! Fields that this release does not know are passed over, fields that it knows and the file lacks are empty: within a
//! schema version fields are only ever added. Numbers that were not a number are `null` in JSON and NaN here.

use super::differences::Differences;
pub(super) use super::lenient::printable;
use super::lenient::{closed, counted, interval, nan, nans, number, numbers, symmetric};
pub use super::lenient::{plain, text_of};
pub use super::result_file::{ResultError, ResultFile};
use super::swept::Sweep;
use base64::Engine as _;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer as HistogramReader;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read;

/// A histogram that unpacks to more is no latency histogram: 16 MiB.
const MAX_HISTOGRAM_BYTES: u64 = 16 << 20;

/// A result. See `results/schema.json` for units.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ResultDocument {
    /// The program that measured.
    #[serde(default)]
    pub ctbench: Program,
    /// The command line.
    #[serde(default, deserialize_with = "printable")]
    pub command: String,
    /// It was cut short: not all is there.
    #[serde(default)]
    pub partial: bool,
    /// Seconds since 1970, UTC.
    #[serde(default)]
    pub started: u64,
    /// The machine, field by field.
    #[serde(default)]
    pub host: Map<String, Value>,
    /// What was replayed.
    pub scenario: Scenario,
    /// Options and tracking, field by field.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// The clock, field by field.
    #[serde(default)]
    pub clock: Map<String, Value>,
    /// The machine's floor.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// What the user should know of the input.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Reasons to doubt the figures.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// How far the two worlds differ.
    #[serde(default)]
    pub worlds: Option<Worlds>,
    /// On which flows they differ, and why.
    #[serde(default)]
    pub differences: Option<Differences>,
    /// The points of a sweep.
    #[serde(default)]
    pub sweep: Option<Sweep>,
    /// One engine on so many cores each.
    pub runs: Vec<Run>,
    /// With bursts of one packet.
    #[serde(default)]
    pub single_packet_latency: Vec<Alone>,
    /// The baseline against itself.
    #[serde(default)]
    pub controls: Vec<Control>,
    /// Engines against the baseline.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
}

/// The program that measured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Program {
    /// Release.
    pub version: String,
    /// Commit, if it is known.
    pub commit: Option<String>,
}

/// What was replayed.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Scenario {
    /// Title.
    #[serde(deserialize_with = "printable")]
    pub name: String,
    /// Where the trace came from.
    #[serde(default, deserialize_with = "printable")]
    pub trace: String,
    /// SHA-256 of the capture.
    #[serde(default)]
    pub trace_sha256: Option<String>,
    /// Packets in the capture.
    #[serde(default)]
    pub packets: u64,
    /// Packets that engines evaluate.
    #[serde(default)]
    pub evaluated: u64,
    /// Flows; 0 where nobody counted them.
    #[serde(default, deserialize_with = "counted")]
    pub flows: u64,
    /// Packet time from first to last.
    #[serde(default = "nan", deserialize_with = "number")]
    pub duration_s: f64,
    /// Protected addresses.
    #[serde(default, deserialize_with = "printable")]
    pub inside: String,
    /// Numbers of rules, by world.
    #[serde(default)]
    pub rules: BTreeMap<String, Option<u64>>,
    /// Which share of the flows was replayed; none: all.
    #[serde(default)]
    pub shard: Option<Share>,
}

/// One of several shares of a trace's flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Share {
    /// From 1.
    pub index: u64,
    /// How many make the whole.
    pub of: u64,
}

/// The machine's floor: random cache lines in as much memory as the largest table has.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Probe {
    /// Asked for ahead of use, ns a line.
    #[serde(default = "nan", deserialize_with = "number")]
    pub line_ns: f64,
    /// Waited for, ns a line.
    #[serde(default = "nan", deserialize_with = "number")]
    pub dependent_ns: f64,
}

/// On how many packets the two worlds differ.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Worlds {
    /// Packets that only the security groups accept.
    pub stateful_only_accepts: u64,
    /// Packets that only the network ACL accepts.
    pub stateless_only_accepts: u64,
    /// True if a cost of remembering may be given.
    pub comparable: bool,
}

/// One engine on so many cores.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Run {
    /// Name.
    #[serde(deserialize_with = "printable")]
    pub engine: String,
    /// Whose rules it follows: `security groups`, `network ACL` or none.
    #[serde(default)]
    pub follows: Option<String>,
    /// Cores.
    pub cores: u64,
    /// Steering.
    #[serde(default = "symmetric", deserialize_with = "printable")]
    pub steering: String,
    /// closed, paced or search.
    #[serde(default = "closed", deserialize_with = "printable")]
    pub load: String,
    /// Where the load is paced.
    #[serde(default)]
    pub offered_pps: Option<f64>,
    /// The open loop, field by field; none of a closed one.
    #[serde(default)]
    pub paced: Option<Map<String, Value>>,
    /// Packets read.
    #[serde(default)]
    pub packets: u64,
    /// How they ended.
    #[serde(default)]
    pub verdicts: Verdicts,
    /// And why.
    #[serde(default)]
    pub outcomes: BTreeMap<String, u64>,
    /// Packets lost.
    #[serde(default)]
    pub lost: u64,
    /// Digest of verdicts and states.
    #[serde(default)]
    pub digest: Option<String>,
    /// The busiest core's share times the cores.
    #[serde(default = "nan", deserialize_with = "number")]
    pub imbalance: f64,
    /// Packets a second.
    #[serde(default)]
    pub throughput: Option<Throughput>,
    /// Latency.
    #[serde(default)]
    pub latency_ns: Option<Latency>,
    /// The search for the highest rates: goals and trials, field by field.
    #[serde(default)]
    pub search: Option<Map<String, Value>>,
    /// ns a packet, by stage.
    #[serde(default)]
    pub stages_ns_per_packet: BTreeMap<String, Option<f64>>,
    /// How flows fared whose packets several cores handled at once, field by field.
    #[serde(default)]
    pub flows: Option<Map<String, Value>>,
    /// The flow table.
    #[serde(default)]
    pub table: Option<Map<String, Value>>,
    /// Why there are no figures.
    #[serde(default)]
    pub error: Option<String>,
}

/// How packets ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Verdicts {
    /// Accepted.
    pub accept: u64,
    /// Dropped.
    pub drop: u64,
    /// Not evaluated.
    pub ignored: u64,
}

/// Packets a second.
#[derive(Clone, Debug, Deserialize)]
pub struct Throughput {
    /// Median.
    #[serde(default = "nan", deserialize_with = "number")]
    pub pps: f64,
    /// Its 95 % interval.
    #[serde(default = "nans", deserialize_with = "interval")]
    pub ci95: [f64; 2],
    /// One a block.
    #[serde(default, deserialize_with = "numbers")]
    pub samples_pps: Vec<f64>,
    /// Passes in all.
    #[serde(default)]
    pub passes: u64,
}

/// Percentiles in ns.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs)] // Their names say it.
pub struct Latency {
    #[serde(default)]
    pub recorder: String,
    #[serde(default)]
    pub count: u64,
    #[serde(default)]
    pub beyond_one_minute: u64,
    #[serde(default)]
    pub min: Option<u64>,
    #[serde(default)]
    pub p50: Option<u64>,
    #[serde(default)]
    pub p90: Option<u64>,
    #[serde(default)]
    pub p99: Option<u64>,
    #[serde(default)]
    pub p99_9: Option<u64>,
    #[serde(default)]
    pub p99_99: Option<u64>,
    #[serde(default)]
    pub max: Option<u64>,
    #[serde(default)]
    pub mean: Option<f64>,
    /// HdrHistogram V2, compressed, base64.
    #[serde(default)]
    pub histogram: Option<String>,
    /// Share of the time in windows that the system disturbed.
    #[serde(default)]
    pub marked_share: Option<f64>,
    /// Without those windows.
    #[serde(default)]
    pub clean: Option<Box<Latency>>,
    /// Over the trace's time.
    #[serde(default)]
    pub intervals: Vec<Interval>,
}

/// Latencies of the packets of one stretch of the trace's time.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs)] // Their names say it.
pub struct Interval {
    /// In s of packet time after the trace's first packet.
    #[serde(default = "nan", deserialize_with = "number")]
    pub start_s: f64,
    #[serde(default = "nan", deserialize_with = "number")]
    pub end_s: f64,
    #[serde(default)]
    pub count: u64,
    #[serde(default)]
    pub p50: Option<u64>,
    #[serde(default)]
    pub p99: Option<u64>,
    #[serde(default)]
    pub p99_9: Option<u64>,
    #[serde(default)]
    pub max: Option<u64>,
    /// HdrHistogram V2, compressed, base64.
    #[serde(default)]
    pub histogram: Option<String>,
}

impl Interval {
    /// The whole distribution; `None` if the file has none.
    pub fn decoded(&self) -> Option<Result<Histogram<u64>, String>> {
        self.histogram.as_deref().map(decode)
    }
}

/// With bursts of one packet.
#[derive(Clone, Debug, Deserialize)]
pub struct Alone {
    /// Engine.
    #[serde(deserialize_with = "printable")]
    pub engine: String,
    /// Cores.
    pub cores: u64,
    /// Latency.
    pub latency_ns: Latency,
}

/// The baseline against itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Control {
    /// Cores.
    pub cores: u64,
    /// No difference up to this share is claimed.
    #[serde(default)]
    pub noise_floor: Option<f64>,
}

/// An engine against the baseline.
#[derive(Clone, Debug, Deserialize)]
pub struct Comparison {
    /// Engine.
    #[serde(deserialize_with = "printable")]
    pub engine: String,
    /// Baseline.
    #[serde(deserialize_with = "printable")]
    pub baseline: String,
    /// Cores.
    pub cores: u64,
    /// Throughput as a multiple of the baseline's.
    #[serde(default = "nan", deserialize_with = "number")]
    pub ratio: f64,
    /// Its 95 % interval.
    #[serde(default = "nans", deserialize_with = "interval")]
    pub ci95: [f64; 2],
    /// ns a packet more than the baseline.
    #[serde(default = "nan", deserialize_with = "number")]
    pub extra_ns: f64,
    /// Its 95 % interval.
    #[serde(default = "nans", deserialize_with = "interval")]
    pub extra_ns_ci95: [f64; 2],
    /// faster, slower or inconclusive.
    #[serde(default, deserialize_with = "printable")]
    pub verdict: String,
}

/// The percentiles that reports show, with their names.
pub const QUANTILES: [(&str, f64, Quantile); 5] = [
    ("p50", 0.5, |l| l.p50),
    ("p90", 0.9, |l| l.p90),
    ("p99", 0.99, |l| l.p99),
    ("p99.9", 0.999, |l| l.p99_9),
    ("p99.99", 0.9999, |l| l.p99_99),
];

/// One of a latency's percentiles, in ns.
pub type Quantile = fn(&Latency) -> Option<u64>;

impl ResultDocument {
    /// When measuring began, as RFC 3339.
    pub fn date(&self) -> String {
        // The last second of the year 9999: later ones cannot be written so.
        const LAST: u64 = 253_402_300_799;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.started.min(LAST));
        humantime::format_rfc3339_seconds(time).to_string()
    }

    /// A field of the host as text.
    pub fn host(&self, field: &str) -> String {
        self.host.get(field).map_or_else(|| "unknown".to_owned(), text_of)
    }

    /// Whether the two results come from machines that look the same.
    pub fn same_host(&self, other: &ResultDocument) -> bool {
        ["cpu", "cores", "platform"].iter().all(|field| self.host.get(*field) == other.host.get(*field))
    }

    /// Whether both replayed the same packets, as far as the files tell.
    pub fn same_trace(&self, other: &ResultDocument) -> bool {
        let (a, b) = (&self.scenario, &other.scenario);
        let same_file = match (&a.trace_sha256, &b.trace_sha256) {
            (Some(a), Some(b)) => a == b,
            _ => a.name == b.name,
        };
        same_file && a.packets == b.packets && a.inside == b.inside
    }

    /// How much the baseline differs from itself on so many cores.
    pub fn noise_floor(&self, cores: u64) -> f64 {
        let controls = self.controls.iter().filter(|control| control.cores == cores);
        controls.filter_map(|control| control.noise_floor).fold(0.0, f64::max)
    }
}

impl Run {
    /// Figures that may be shown: of a run whose verdicts were right and that was timed.
    pub fn measured(&self) -> Option<&Throughput> {
        self.throughput.as_ref().filter(|throughput| self.error.is_none() && throughput.pps > 0.0)
    }

    /// Wall time a packet.
    pub fn ns_per_packet(&self) -> Option<f64> {
        self.measured().map(|throughput| 1e9 / throughput.pps)
    }

    /// Whether the engine remembers connections; by its name where the file does not tell.
    pub fn is_stateful(&self) -> bool {
        if let Some(world) = &self.follows {
            return world == "security groups";
        }
        self.engine.starts_with("stateful") || self.engine == "reference"
    }

    /// What a row stands for beside its engine: `2 cores, symmetric`.
    pub fn place(&self) -> String {
        let cores = if self.cores == 1 { "1 core".to_owned() } else { format!("{} cores", self.cores) };
        match self.load.as_str() {
            "closed" => format!("{cores}, {}", self.steering),
            load => format!("{cores}, {}, {load}", self.steering),
        }
    }
}

impl Latency {
    /// The whole distribution; `None` if the file has none.
    pub fn decoded(&self) -> Option<Result<Histogram<u64>, String>> {
        self.histogram.as_deref().map(decode)
    }
}

/// HdrHistogram V2, compressed or not. What it unpacks to is bounded.
fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| format!("not base64: {e}"))?;
    let bytes = match bytes.first_chunk::<4>() {
        Some([0x1c, 0x84, 0x93, 0x14]) => {
            let mut unpacked = Vec::new();
            let packed = bytes.get(8..).unwrap_or_default();
            let mut reader = ZlibDecoder::new(packed).take(MAX_HISTOGRAM_BYTES);
            reader.read_to_end(&mut unpacked).map_err(|e| format!("cannot be unpacked: {e}"))?;
            unpacked
        }
        _ => bytes,
    };
    // The reader makes room for as much as the header says, so that must be what is there.
    let says = bytes.get(4..8).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    if says.is_none_or(|length| bytes.len() as u64 != u64::from(length) + 40) {
        return Err("no HdrHistogram V2, or cut short".into());
    }
    HistogramReader::new().deserialize(&mut bytes.as_slice()).map_err(|e| format!("no HdrHistogram V2: {e}"))
}
