//! Reports: one file a format.

pub mod csv;
pub mod derive_text;
pub mod diff;
pub mod differences;
pub mod explain_rows;
pub mod explain_text;
pub mod format;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod json;
mod lenient;
pub mod markdown;
pub mod merge;
mod notes;
pub mod openmetrics;
pub mod page;
pub mod picture;
pub mod plain;
pub mod rank;
pub mod result;
mod result_file;
pub mod search_csv;
mod search_json;
mod search_text;
pub mod streamed_text;
pub mod sweep;
pub mod swept;
pub mod text;
pub mod verdicts;
pub(crate) mod words;

use crate::engine::registry::Kind;
use crate::measure::statistics::{Estimate, claim, paired_difference, paired_ratio};
use crate::measure::{ClockFloor, Host, Results, Run, Stamping, Unfit};
use crate::replay::{Pace, Steering, Workload};
use crate::trace::Elephant;
use crate::verify::Change;
use std::time::SystemTime;

/// The command that is running, as somebody else would type it: the program's name, not where it lies.
pub fn command_line() -> String {
    let mut words: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    if let Some(program) = words.first_mut()
        && let Some(name) = std::path::Path::new(program.as_str()).file_name()
    {
        *program = name.to_string_lossy().into_owned();
    }
    words.join(" ")
}

/// What was replayed.
#[derive(Clone, Debug)]
pub struct About {
    /// The scenario's title, or the capture's file name.
    pub title: String,
    /// Where the trace came from.
    pub trace: String,
    /// SHA-256 of the capture file, where a format asks for it.
    pub trace_sha256: Option<String>,
    /// Packets in the capture, and copies of an elephant's.
    pub packets: u64,
    /// The flow that was made half of all packets, if any.
    pub elephant: Option<Elephant>,
    /// The share of the flows that was replayed, if not all were.
    pub share: Option<result::Share>,
    /// How packets reach cores.
    pub steering: Steering,
    /// Packets that engines evaluate.
    pub evaluated: usize,
    /// Flows; `None` where nobody counted them, as in a streamed trace.
    pub flows: Option<usize>,
    /// From the first packet to the last, in seconds of packet time.
    pub duration_s: f64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// The protected addresses.
    pub inside: String,
    /// Rules of the security groups and of the network ACL.
    pub rules: [Option<usize>; 2],
    /// Reading and decoding, in ns a packet.
    pub read_ns: f64,
    /// Decoding, in ns a packet.
    pub decode_ns: f64,
    /// Putting in sequence, in ns a packet.
    pub sequence_ns: f64,
    /// Things that the user should know.
    pub warnings: Vec<String>,
}

/// A finished comparison with all that a reader needs to judge it.
pub struct Report<'a> {
    /// The command line.
    pub command: String,
    /// When measuring began.
    pub started: SystemTime,
    /// The machine.
    pub host: Host,
    /// What was replayed.
    pub about: About,
    /// What the clock costs.
    pub clock_floor: ClockFloor,
    /// Its steps a second; `None`: it is the OS clock.
    pub clock_ticks: Option<f64>,
    /// What it made of the run's time, as a multiple of what the OS clock did.
    pub clock_ratio: Option<f64>,
    /// Packets that only the stateful, and only the stateless world accepts.
    pub differences: Option<(usize, usize)>,
    /// On which flows, and why; where the worlds differ, and one set of rules holds for all addresses.
    pub reasons: Option<differences::Differences>,
    /// Packets dropped because the instance's allowance was used up.
    pub allowance_exceeded: usize,
    /// What rule changes in mid-replay did.
    pub changes: Vec<Change>,
    /// The pace of an open loop.
    pub pace: Option<Pace>,
    /// How latency passes were stamped, if there were any.
    pub stamping: Option<Stamping>,
    /// Reasons to doubt the figures.
    pub doubts: Vec<Unfit>,
    /// The figures.
    pub results: &'a Results,
    /// Settings and rules.
    pub workload: &'a Workload,
}

/// One engine against the baseline, on the same number of cores.
#[derive(Clone)]
pub struct Comparison<'a> {
    /// The engine.
    pub run: &'a Run,
    /// The baseline.
    pub baseline: &'a Run,
    /// Throughput of the engine as a multiple of the baseline's.
    pub ratio: Estimate,
    /// ns a packet more (or less) than the baseline.
    pub extra_ns: Estimate,
    /// Whether the interval says so.
    pub verdict: &'static str,
}

/// Above this share of packets with different verdicts the two worlds are different filters: 0.1 %.
const COMPARABLE_SHARE: f64 = 0.001;

impl<'a> Report<'a> {
    /// The baseline on so many cores.
    fn baseline_run(&self, cores: usize) -> Option<&'a Run> {
        let baseline = self.results.baseline?;
        self.results.runs.iter().find(|run| run.kind == baseline && run.cores == cores && run.error.is_none())
    }

    /// How much the baseline differs from itself on so many cores.
    fn noise_floor(&self, cores: usize) -> f64 {
        let control = self.results.controls.iter().find(|control| control.cores == cores);
        control.map_or(0.0, |control| control.noise_floor())
    }

    /// Every engine with right verdicts against the baseline.
    pub fn comparisons(&self) -> Vec<Comparison<'a>> {
        let seed = self.workload.secret;
        let right = self.results.runs.iter().filter(|run| run.error.is_none() && !run.measured.pps.is_empty());
        right
            .filter_map(|run| {
                let baseline = self.baseline_run(run.cores)?;
                if std::ptr::eq(run, baseline) {
                    return None;
                }
                let ratio = paired_ratio(&run.measured.pps, &baseline.measured.pps, seed);
                let verdict = claim(&ratio, self.noise_floor(run.cores));
                let extra_ns = paired_difference(&run.ns_samples(), &baseline.ns_samples(), seed);
                Some(Comparison { run, baseline, ratio, extra_ns, verdict })
            })
            .collect()
    }

    /// Share of evaluated packets on which the two worlds differ.
    pub fn difference_share(&self) -> Option<f64> {
        let (stateful_only, stateless_only) = self.differences?;
        Some((stateful_only + stateless_only) as f64 / self.about.evaluated.max(1) as f64)
    }

    /// True if the two worlds mean the same on this trace, so that a cost can be given.
    pub fn worlds_agree(&self) -> bool {
        self.difference_share().is_some_and(|share| share <= COMPARABLE_SHARE)
    }

    /// Runs whose cores met flows in so different an order that their verdicts are another filter's.
    pub fn strayed(&self) -> impl Iterator<Item = &'a Run> {
        self.results.runs.iter().filter(|run| run.error.is_none() && strays(run))
    }

    /// What remembering costs: the fastest right stateful engine (but the reference) against the
    /// right stateless one, for every number of cores on which it means the same.
    pub fn cost(&self) -> Vec<Comparison<'a>> {
        let seed = self.workload.secret;
        let runs = &self.results.runs;
        let mut cores: Vec<usize> = runs.iter().map(|run| run.cores).collect();
        cores.sort_unstable();
        cores.dedup();
        let right = |run: &&Run| run.error.is_none() && !run.measured.pps.is_empty();
        cores
            .into_iter()
            .filter_map(|cores| {
                let here = || runs.iter().filter(move |run| run.cores == cores).filter(right);
                // Best against best.
                let by_throughput = |a: &&Run, b: &&Run| a.pps.value.total_cmp(&b.pps.value);
                let baseline = here().filter(|run| run.kind.is_stateless()).max_by(by_throughput)?;
                let stateful =
                    here().filter(|run| run.kind.is_stateful() && run.kind != Kind::Reference && !strays(run));
                let run = stateful.max_by(by_throughput)?;
                let ratio = paired_ratio(&run.measured.pps, &baseline.measured.pps, seed);
                let extra_ns = paired_difference(&run.ns_samples(), &baseline.ns_samples(), seed);
                let verdict = match extra_ns.ci95 {
                    [low, _] if low > 0.0 => "costs",
                    [_, high] if high < 0.0 => "saves",
                    _ => "makes no measurable difference",
                };
                Some(Comparison { run, baseline, ratio, extra_ns, verdict })
            })
            .collect()
    }
}

/// True if more packets than for comparable worlds were not decided as in trace order.
fn strays(run: &Run) -> bool {
    run.flows.as_ref().is_some_and(|flows| flows.otherwise_share() > COMPARABLE_SHARE)
}
