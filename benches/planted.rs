//! Would a real difference be found, and only a real one? The same engine with a known share of spinning added,
//! against itself.
//!
//!     cargo bench --bench planted
//!
//! Real runs first: each has a baseline, the control that every comparison has, and one variant for each planted
//! difference. Then many more runs, drawn from the blocks of the real ones, to give rates.

use ctbench::conntrack::{Config, Profile};
use ctbench::engine::Decision;
use ctbench::engine::registry::Kind;
use ctbench::measure::statistics::{Estimate, Random, claim, deviation, paired_ratio};
use ctbench::measure::{Budget, Clock, Expected, Host, Trials, Variant};
use ctbench::packet::Inside;
use ctbench::policy::{LoadOptions, load_security_groups};
use ctbench::replay::{Pass, Pool, Workload};
use ctbench::table::Geometry;
use ctbench::trace::{Capture, Trace};
use std::hint::spin_loop;
use std::path::Path;

/// Planted differences: share of a pass's time that is added to it.
const PLANTED: [f64; 5] = [0.0, 0.02, 0.05, 0.10, 0.20];
const REAL_RUNS: usize = 20;
const RESAMPLED_RUNS: usize = 1_000;
/// Seconds a run: some 25 blocks.
const SECONDS: f64 = 6.0;

/// A variant that spins for a share of its own time after each pass, within what counts as the pass.
struct Spinning<'a> {
    inner: Box<dyn Variant + 'a>,
    clock: &'a Clock,
    share: f64,
}

impl Variant for Spinning<'_> {
    fn pass(&mut self, stamped: bool, buffers: Vec<Vec<Decision>>) -> Pass {
        let mut pass = self.inner.pass(stamped, buffers);
        let until = (pass.elapsed_ns as f64 * self.share) as u64;
        let start = self.clock.raw();
        while self.clock.ns(start, self.clock.raw()) < until {
            spin_loop();
        }
        if self.share > 0.0 {
            pass.elapsed_ns += self.clock.ns(start, self.clock.raw());
        }
        pass
    }

    fn digest(&self, lanes: &[Vec<Decision>]) -> u64 {
        self.inner.digest(lanes)
    }

    fn gather(&self, lanes: &[Vec<Decision>]) -> Vec<Decision> {
        self.inner.gather(lanes)
    }

    fn packets(&self) -> usize {
        self.inner.packets()
    }

    fn table_bytes(&self) -> u64 {
        self.inner.table_bytes()
    }

    fn huge_bytes(&self) -> Option<u64> {
        self.inner.huge_bytes()
    }
}

/// How the runs with one planted difference were judged.
#[derive(Clone, Copy, Default)]
struct Count {
    faster: usize,
    slower: usize,
    covered: usize,
}

impl Count {
    fn note(&mut self, planted: f64, ratio: &Estimate, noise_floor: f64) {
        match claim(ratio, noise_floor) {
            "faster" => self.faster += 1,
            "slower" => self.slower += 1,
            _ => {}
        }
        let truth = 1.0 / (1.0 + planted);
        self.covered += usize::from(ratio.ci95[0] <= truth && truth <= ratio.ci95[1]);
    }
}

/// One run's samples: the baseline's, the control's, then those of each planted difference.
type Samples = Vec<Vec<f64>>;

fn judge(samples: &Samples, seed: u64, counts: &mut [Count; PLANTED.len()]) {
    let control = paired_ratio(&samples[1], &samples[0], seed);
    let noise_floor = control.ci95.into_iter().map(deviation).fold(0.0, f64::max);
    for ((count, planted), ours) in counts.iter_mut().zip(PLANTED).zip(&samples[2..]) {
        count.note(planted, &paired_ratio(ours, &samples[0], seed), noise_floor);
    }
}

fn print(title: &str, runs: usize, counts: &[Count; PLANTED.len()]) {
    println!("\n{title}: {runs} runs; in percent of them");
    println!(
        "{:>10} {:>8} {:>14} {:>8} {:>22}",
        "planted", "slower", "inconclusive", "faster", "interval covers truth"
    );
    for (planted, count) in PLANTED.iter().zip(counts) {
        let percent = |n: usize| 100.0 * n as f64 / runs as f64;
        println!(
            "{:>8.0} % {:>8.1} {:>14.1} {:>8.1} {:>22.1}",
            planted * 100.0,
            percent(count.slower),
            percent(runs - count.slower - count.faster),
            percent(count.faster),
            percent(count.covered)
        );
    }
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
    let steered = workload.steered(Kind::StatefulPerCoreLinear, 1);

    let mut real = [Count::default(); PLANTED.len()];
    let mut runs: Vec<Samples> = Vec::new();
    for run in 0..REAL_RUNS {
        let shares = [0.0, 0.0].into_iter().chain(PLANTED);
        let mut variants: Vec<Box<dyn Variant>> = shares
            .map(|share| {
                let inner =
                    workload.variant(Kind::StatefulPerCoreLinear, &steered, &pool, &clock, 32).expect("has rules");
                Box::new(Spinning { inner, clock: &clock, share }) as Box<dyn Variant>
            })
            .collect();
        let digest = {
            let pass = variants[0].pass(false, Vec::new());
            variants[0].digest(&pass.decisions)
        };
        let expected: Vec<Expected> = variants.iter().map(|_| Expected::new(digest, None)).collect();
        let budget = Budget {
            total_ns: (SECONDS * 1e9) as u64,
            sample_ns: 20_000_000,
            latency_samples: 0,
            seed: run as u64,
            precision: 0.0,
        };
        let measured = Trials::new(&clock, budget).run(&mut variants, 0, &expected, |_| ());
        let samples: Samples = measured.into_iter().map(|m| m.pps).collect();
        judge(&samples, run as u64, &mut real);
        runs.push(samples);
    }
    let blocks = runs[0][0].len();
    println!("each run {SECONDS} s, {} variants, some {blocks} blocks", PLANTED.len() + 2);
    print("real", REAL_RUNS, &real);

    let mut resampled = [Count::default(); PLANTED.len()];
    let mut random = Random::new(1);
    for seed in 0..RESAMPLED_RUNS {
        // Blocks of one run only: between runs the machine changes, within one block it does not.
        let run = &runs[random.below(runs.len())];
        let chosen: Vec<usize> = (0..run[0].len()).map(|_| random.below(run[0].len())).collect();
        let drawn: Samples = run.iter().map(|samples| chosen.iter().map(|i| samples[*i]).collect()).collect();
        judge(&drawn, seed as u64, &mut resampled);
    }
    print("drawn from their blocks", RESAMPLED_RUNS, &resampled);
}
