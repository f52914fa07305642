//! Would a real difference be found, and only a real one? The same engine with a known share of spinning added,
//! against itself.
//!
//!     cargo bench --bench planted
//!
//! First what repeating a trace does to an engine: why no variant has two passes in a row. Then real runs: each has a
//! baseline, the control that every comparison has, and one variant for each planted difference. Then many more runs, of
//! more and more blocks, drawn from the blocks of the real ones, to give rates.

use ctbench::conntrack::{Config, Profile, Tracker};
use ctbench::engine::registry::Kind;
use ctbench::engine::{Decision, Engine, Groups, Stamp, Stateful, Tag};
use ctbench::measure::statistics::{Estimate, Random, claim, deviation, median, paired_ratio};
use ctbench::measure::{Budget, Clock, Expected, Host, Trials, Variant};
use ctbench::packet::{Inside, Packet};
use ctbench::policy::linear::Linear;
use ctbench::policy::{Epochs, LoadOptions, load_security_groups};
use ctbench::replay::{Mode, Pool, Setup, Steered, Workload};
use ctbench::table::percore::{Owned, PerCore};
use ctbench::table::{FlowHash, Geometry, HashKey};
use ctbench::trace::{Capture, Trace};
use std::path::Path;

/// Planted differences: share of a pass's time that is added to it.
const PLANTED: [f64; 5] = [0.0, 0.02, 0.05, 0.10, 0.20];
const REAL_RUNS: usize = 20;
const RESAMPLED_RUNS: usize = 1_000;
/// Seconds a run: as `compare` takes unless told otherwise.
const SECONDS: f64 = 10.0;
/// Passes in a row, and how often.
const IN_A_ROW: usize = 8;
const ROWS: usize = 100;

/// An engine that spins once it has seen its last packet, for a share of the time that all took. Not after each
/// burst: that would also end the overlap of one burst's memory accesses with the next one's, and cost more than it
/// says.
struct Spinning<'a, E> {
    inner: E,
    clock: &'a Clock,
    share: f64,
    left: usize,
    started: Option<u64>,
}

impl<E: Engine> Engine for Spinning<'_, E> {
    fn burst<S: Stamp>(&mut self, packets: &[Packet], tags: &[Tag], decisions: &mut [Decision], stamp: &mut S) {
        let started = *self.started.get_or_insert_with(|| self.clock.raw());
        self.inner.burst(packets, tags, decisions, stamp);
        self.left -= packets.len();
        if self.left == 0 && self.share > 0.0 {
            let until = (self.clock.ns(started, self.clock.raw()) as f64 * (1.0 + self.share)) as u64;
            // No `pause` instruction in here: many of them make a hypervisor take the core away.
            while self.clock.ns(started, self.clock.raw()) < until {}
        }
    }
}

/// `stateful-percore-linear` on one core, and spinning.
struct SpinningSetup<'w> {
    workload: &'w Workload,
    tracker: &'w Tracker,
    groups: Epochs<'w, Groups<Linear>>,
    table: PerCore,
    clock: &'w Clock,
    share: f64,
    packets: usize,
}

impl<'w> SpinningSetup<'w> {
    fn new(workload: &'w Workload, tracker: &'w Tracker, clock: &'w Clock, share: f64, packets: usize) -> Self {
        let groups = workload.groups.as_ref().and_then(|world| Epochs::new(world.linear())).expect("has rules");
        let table = PerCore::new(workload.geometry, workload.config.on_full, |_| true);
        SpinningSetup { workload, tracker, groups, table, clock, share, packets }
    }
}

impl<'w> Setup for SpinningSetup<'w> {
    type Engine<'a>
        = Spinning<'a, Stateful<'a, Linear, Owned<'a>>>
    where
        Self: 'a;

    fn engines(&mut self) -> Vec<Self::Engine<'_>> {
        self.table.clear();
        let SpinningSetup { workload, tracker, groups, table, clock, share, packets } = self;
        let hash = FlowHash::new(HashKey::inside_shards(workload.secret));
        let inner = Stateful::new(groups.clone(), workload.config.invalid, tracker, hash, Owned(table), None);
        vec![Spinning { inner, clock, share: *share, left: *packets, started: None }]
    }

    fn renew(&mut self, _: &mut Random) {
        self.table = PerCore::new(self.workload.geometry, self.workload.config.on_full, |_| true);
    }
}

/// How the runs with one planted difference were judged.
#[derive(Clone, Copy, Default)]
struct Count {
    faster: usize,
    slower: usize,
    covered: usize,
    ratio: f64,
}

impl Count {
    fn note(&mut self, planted: f64, ratio: &Estimate, noise_floor: f64) {
        match claim(ratio, noise_floor) {
            "faster" => self.faster += 1,
            "slower" => self.slower += 1,
            _ => {}
        }
        self.ratio += ratio.value;
        let truth = 1.0 / (1.0 + planted);
        self.covered += usize::from(ratio.ci95[0] <= truth && truth <= ratio.ci95[1]);
    }
}

/// One run's samples: the baseline's, the control's, then those of each planted difference.
type Samples = Vec<Vec<f64>>;

fn judge(samples: &Samples, seed: u64, counts: &mut [Count; PLANTED.len()]) {
    let control = paired_ratio(&samples[1], &samples[0], seed);
    let noise_floor = deviation(control.value);
    for ((count, planted), ours) in counts.iter_mut().zip(PLANTED).zip(&samples[2..]) {
        count.note(planted, &paired_ratio(ours, &samples[0], seed), noise_floor);
    }
}

fn print(title: &str, runs: usize, counts: &[Count; PLANTED.len()]) {
    println!("\n{title}: {runs} runs; in percent of them");
    println!(
        "{:>10} {:>8} {:>14} {:>8} {:>22} {:>11} {:>7}",
        "planted", "slower", "inconclusive", "faster", "interval covers truth", "mean ratio", "truth"
    );
    for (planted, count) in PLANTED.iter().zip(counts) {
        let percent = |n: usize| 100.0 * n as f64 / runs as f64;
        println!(
            "{:>8.0} % {:>8.1} {:>14.1} {:>8.1} {:>22.1} {:>11.3} {:>7.3}",
            planted * 100.0,
            percent(count.slower),
            percent(runs - count.slower - count.faster),
            percent(count.faster),
            percent(count.covered),
            count.ratio / runs as f64,
            1.0 / (1.0 + planted)
        );
    }
}

/// How the time of a pass falls while one engine replays the trace again and again, after another engine has.
fn print_passes_in_a_row(workload: &Workload, tracker: &Tracker, clock: &Clock, steered: &Steered, pool: &Pool) {
    let mut variants = [(); 2].map(|()| {
        let setup = SpinningSetup::new(workload, tracker, clock, 0.0, steered.packets());
        workload.variant_of(setup, steered, pool, clock, 32)
    });
    let mut times = vec![Vec::new(); IN_A_ROW];
    for row in 0..ROWS {
        for times in &mut times {
            times.push(variants[row % 2].pass(Mode::Throughput, Vec::new()).elapsed_ns as f64 / 1e6);
        }
    }
    let medians: Vec<String> = times.iter().map(|times| format!("{:.2}", median(times))).collect();
    println!("\n{} packets {IN_A_ROW} times in a row, ms a pass: {}", steered.packets(), medians.join(" "));
}

fn main() {
    let host = Host::read();
    println!("{}; {} cores; Linux {}; load {}", host.cpu, host.cores, host.kernel, host.load);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/web");
    let inside = ["10.0.1.0/24", "2001:db8:1::/64"].map(|block| block.parse().expect("a block"));
    let capture = Capture::open(&folder.join("trace.pcap")).expect("the bundled trace");
    let frames = capture.frames().expect("the bundled trace");
    let trace = Trace::sequence(&frames, frames.decode(&Inside::new(&inside)), Profile::Linux);
    let groups = load_security_groups(&folder.join("security-groups.json"), &LoadOptions::default());
    let groups = groups.expect("the bundled rules").rules;
    let geometry = Geometry { shards: 64, entries_per_shard: 1024 };
    let workload = Workload::new(trace, Some(groups), None, Config::new(Profile::Linux), geometry, 0, 1, 32);
    let (clock, pool) = (Clock::new(), Pool::new(1).expect("a thread"));
    let tracker = Tracker::new(&workload.config);
    let steered = workload.steered(Kind::StatefulPerCoreLinear, 1);

    print_passes_in_a_row(&workload, &tracker, &clock, &steered, &pool);

    let mut real = [Count::default(); PLANTED.len()];
    let mut runs: Vec<Samples> = Vec::new();
    for run in 0..REAL_RUNS {
        // Where a table lies in memory is a difference too: drawn anew for each run.
        let shares: Vec<f64> = [0.0, 0.0].into_iter().chain(PLANTED).collect();
        let mut order: Vec<usize> = (0..shares.len()).collect();
        Random::new(run as u64).shuffle(&mut order);
        let mut variants: Vec<Box<dyn Variant>> = order
            .iter()
            .map(|i| {
                let setup = SpinningSetup::new(&workload, &tracker, &clock, shares[*i], steered.packets());
                workload.variant_of(setup, &steered, &pool, &clock, 32)
            })
            .collect();
        let digest = {
            let pass = variants[0].pass(Mode::Throughput, Vec::new());
            variants[0].digest(&pass.decisions)
        };
        let expected: Vec<Expected> = variants.iter().map(|_| Expected::new(digest, None)).collect();
        let budget = Budget {
            total_ns: (SECONDS * 1e9) as u64,
            latency_samples: 0,
            stamping: None,
            seed: run as u64,
            precision: 0.0,
        };
        let measured = Trials::new(&clock, budget).run(&mut variants, 0, &expected, |_| ());
        let mut samples: Samples = vec![Vec::new(); order.len()];
        for (i, measured) in order.into_iter().zip(measured) {
            samples[i] = measured.pps;
        }
        judge(&samples, run as u64, &mut real);
        runs.push(samples);
    }
    let blocks = runs[0][0].len();
    print(&format!("real, of {SECONDS} s, some {blocks} blocks"), REAL_RUNS, &real);

    // A difference that is known exactly: the samples of the variant without one, made slower by calculation.
    let blocks: Vec<[f64; 3]> =
        runs.iter().flat_map(|run| (0..run[0].len()).map(|i| [run[0][i], run[1][i], run[2][i]])).collect();
    let mut random = Random::new(1);
    for size in [25, 50, 100, 200] {
        let mut resampled = [Count::default(); PLANTED.len()];
        for seed in 0..RESAMPLED_RUNS {
            let drawn: Vec<[f64; 3]> = (0..size).map(|_| blocks[random.below(blocks.len())]).collect();
            let column = |i: usize, times: f64| drawn.iter().map(|block| block[i] * times).collect::<Vec<f64>>();
            let planted = PLANTED.iter().map(|share| column(2, 1.0 / (1.0 + share)));
            let samples: Samples = [column(0, 1.0), column(1, 1.0)].into_iter().chain(planted).collect();
            judge(&samples, seed as u64, &mut resampled);
        }
        print(&format!("drawn from all {} blocks, {size} a run", blocks.len()), RESAMPLED_RUNS, &resampled);
    }
}
