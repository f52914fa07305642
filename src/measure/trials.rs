//! Interleaved trials: every variant in every block, in an order that is drawn anew each time.
//!
//! What slows the machine for a while then slows all variants alike, and samples of one block can be
//! compared in pairs. No variant replays the trace twice in a row: a processor that meets a short trace again and again
//! learns its branches (`benches/planted` shows how fast), so the time of a pass would depend on how many came before it.

use super::statistics::{Random, deviation, median, median_with_interval};
use super::{Clock, Noise, Recording, Stamping, Stop};
use crate::engine::Decision;
use crate::replay::{Mode, Pace, Paced, Pass};
use crate::table::TableCounters;
use crate::verify::{FlowCheck, FlowTally};

/// Something that can be replayed again and again.
pub trait Variant {
    /// One pass.
    fn pass(&mut self, mode: Mode, buffers: Vec<Vec<Decision>>) -> Pass;

    /// Puts the tables elsewhere in memory, and all that leads to them, if it can.
    fn renew(&mut self, _random: &mut Random) {}

    /// The digest of a pass's decisions.
    fn digest(&self, lanes: &[Vec<Decision>]) -> u64;

    /// A pass's decisions in trace order.
    fn gather(&self, lanes: &[Vec<Decision>]) -> Vec<Decision>;

    /// Packets a pass.
    fn packets(&self) -> usize;

    /// Bytes of table memory.
    fn table_bytes(&self) -> u64;

    /// Bytes of it in huge pages, where the table asks for them and the system tells.
    fn huge_bytes(&self) -> Option<u64>;
}

/// What every pass of a variant is held to.
pub enum Expected<'a> {
    /// This digest.
    Digest(u64),
    /// Verdicts that some order of each flow's packets explains.
    Explained(&'a FlowCheck<'a>),
}

impl<'a> Expected<'a> {
    /// The digest of the first pass, unless the order of a flow's packets is in question.
    pub fn new(digest: u64, flows: Option<&'a FlowCheck<'a>>) -> Self {
        flows.map_or(Expected::Digest(digest), Expected::Explained)
    }
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Wall-clock time for all of it, in ns. At least three blocks are run whatever they take.
    pub total_ns: u64,
    /// Latency values wanted from each variant.
    pub latency_samples: u64,
    /// How latency passes are stamped. `None`: there are none.
    pub stamping: Option<Stamping>,
    /// Seed of the order.
    pub seed: u64,
    /// Enough once every throughput is known to this share of itself, half of its 95 % interval. 0: use up the time.
    pub precision: f64,
}

/// What was measured of one variant.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Packets per second, one value a block.
    pub pps: Vec<f64>,
    /// Passes that went into them.
    pub passes: u64,
    /// Passes before the first sample.
    pub warm_up_passes: u64,
    /// The last of them took about as long as the one before it.
    pub steady: bool,
    /// What the system took from the workers while throughput was sampled.
    pub noise: Noise,
    /// Latency in the stamped passes.
    pub latencies: Recording,
    /// What stamping costs: ns a packet of a stamped pass, and of one without stamps right before or after it.
    pub stamped_pairs: Vec<[f64; 2]>,
    /// What open loops came to.
    pub paced: Paced,
    /// Table counters of the last pass.
    pub counters: Option<TableCounters>,
    /// Passes whose verdicts were not the expected ones.
    pub wrong_passes: u64,
    /// Where no digest is expected: how the flows of all passes fared.
    pub flows: FlowTally,
}

/// The trials of a run.
pub struct Trials<'a> {
    clock: &'a Clock,
    budget: Budget,
    started: u64,
    stop: Stop,
}

/// Fewest blocks that give an interval at all.
const MIN_BLOCKS: usize = 5;

/// Draws another order, in which whoever was last is not first.
fn draw_order(random: &mut Random, order: &mut [usize]) {
    let Some(others) = order.len().checked_sub(1).filter(|others| *others > 0) else { return };
    random.shuffle(&mut order[..others]);
    let place = 1 + random.below(others);
    order[place..].rotate_right(1);
}

/// Most blocks: they get more rounds instead. An interval needs no more, and its bootstrap takes its time.
const MAX_BLOCKS: u64 = 300;

/// Tables move only if the time lasts for so many moves; then they do for each block.
const MIN_MOVES: u64 = 20;

/// Fewest blocks on which a run is called precise enough: an interval of five is too often too narrow.
const MIN_PRECISE_BLOCKS: usize = 15;

/// Passes are steady when one takes at most this share more or less than the one before it.
const STEADY: f64 = 0.05;

/// A stamped pass has a twin without stamps so often: enough to know what stamping costs.
const STAMPED_PAIRS: usize = 25;

/// Warming up ends after so many passes, steady or not.
const MAX_WARM_UP: u64 = 12;

impl<'a> Trials<'a> {
    /// The budget runs from now.
    pub fn new(clock: &'a Clock, budget: Budget) -> Self {
        Trials { clock, budget, started: clock.raw(), stop: Stop::default() }
    }

    /// Ends early, between two passes, if asked to.
    pub fn stopped_by(self, stop: &Stop) -> Self {
        Trials { stop: stop.clone(), ..self }
    }

    pub(super) fn spent_ns(&self) -> u64 {
        self.clock.ns(self.started, self.clock.raw())
    }

    /// Share of the budget's time that has passed, at most 1.
    pub(super) fn spent_share(&self) -> f64 {
        (self.spent_ns() as f64 / self.budget.total_ns.max(1) as f64).min(1.0)
    }

    /// Whether it should end between two passes.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }

    /// Seed of the order.
    pub(super) fn seed(&self) -> u64 {
        self.budget.seed
    }

    /// Warms all variants up, then runs throughput blocks for three quarters of the budget, latency blocks for the
    /// rest; the latter of all but the last `controls` variants. `expected[i]` is what every pass of variant `i` is
    /// held to. `progress` is told the share of the budget that is spent, between samples.
    pub fn run(
        &self,
        variants: &mut [Box<dyn Variant + '_>],
        controls: usize,
        expected: &[Expected],
        mut progress: impl FnMut(f64),
    ) -> Vec<Measured> {
        let mut measured = vec![Measured::default(); variants.len()];
        let mut random = Random::new(self.budget.seed);
        let mut order: Vec<usize> = (0..variants.len()).collect();
        let mut buffers: Vec<Vec<Vec<Decision>>> = vec![Vec::new(); variants.len()];
        let total = self.budget.total_ns.max(1);
        let throughput_until = total / 4 * 3;

        let warm_up_ns = total / (8 * variants.len().max(1) as u64);
        for (i, variant) in variants.iter_mut().enumerate() {
            self.warm_up(variant.as_mut(), &mut buffers[i], &expected[i], &mut measured[i], warm_up_ns);
        }
        let shortest_ns = throughput_until / MAX_BLOCKS;
        // Where a table lies in memory makes the same engine faster or slower by some percent, for as long as it lies there: so
        // tables move before each block, and the interval over blocks covers that. Half of the time may go into moving; where the
        // tables are so large that this would leave too few blocks, they stay. Moved once, to know.
        let within_ns = throughput_until.saturating_sub(self.spent_ns()) / (2 * MIN_MOVES);
        let moves = self.move_tables(&order, variants, &mut buffers, expected, &mut measured, within_ns, &mut random);
        let mut passes: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
        let mut blocks = 0;
        while !self.stop.is_asked()
            && (blocks < MIN_BLOCKS || (self.spent_ns() < throughput_until && !self.is_precise(&measured)))
        {
            let started_ns = self.spent_ns();
            if moves {
                draw_order(&mut random, &mut order);
                self.move_tables(&order, variants, &mut buffers, expected, &mut measured, u64::MAX, &mut random);
            }
            let moved_ns = self.spent_ns() - started_ns;
            let mut rounds = 0;
            // At least as long as moving took.
            'rounds: while rounds == 0 || self.spent_ns() - started_ns < shortest_ns.max(2 * moved_ns) {
                draw_order(&mut random, &mut order);
                for &i in &order {
                    if self.stop.is_asked() {
                        break 'rounds;
                    }
                    let pass = variants[i].pass(Mode::Throughput, std::mem::take(&mut buffers[i]));
                    passes[i].push(pass.elapsed_ns.max(1) as f64);
                    measured[i].noise.merge(&pass.noise);
                    measured[i].passes += 1;
                    self.check(variants[i].as_mut(), pass, &mut buffers[i], &expected[i], &mut measured[i]);
                    progress((self.spent_ns() as f64 / total as f64).min(1.0));
                }
                rounds += 1;
            }
            if rounds == 0 {
                break;
            }
            for ((measured, variant), passes) in measured.iter_mut().zip(&*variants).zip(&mut passes) {
                // Samples are compared within blocks, so only rounds that all variants had count. Each pass is the whole
                // trace: what only some of them met came from outside; how much that was is noted as `noise`.
                passes.truncate(rounds as usize);
                measured.pps.push(variant.packets() as f64 / (median(passes) / 1e9));
                passes.clear();
            }
            blocks += 1;
        }
        let timed = variants.len() - controls;
        self.latency_blocks(&mut variants[..timed], expected, &mut measured, &mut random, &mut buffers, progress);
        measured
    }

    /// Moves all tables, in this order, each followed by a pass that no figure knows of, since its memory is new. False: that
    /// took longer than this, and it stopped there.
    #[allow(clippy::too_many_arguments)] // What a run is made of.
    fn move_tables(
        &self,
        order: &[usize],
        variants: &mut [Box<dyn Variant + '_>],
        buffers: &mut [Vec<Vec<Decision>>],
        expected: &[Expected],
        measured: &mut [Measured],
        within_ns: u64,
        random: &mut Random,
    ) -> bool {
        let started = self.clock.raw();
        for &i in order {
            variants[i].renew(random);
            let pass = variants[i].pass(Mode::Throughput, Vec::new());
            self.check(variants[i].as_mut(), pass, &mut buffers[i], &expected[i], &mut measured[i]);
            if self.clock.ns(started, self.clock.raw()) > within_ns || self.stop.is_asked() {
                return false;
            }
        }
        true
    }

    /// Passes until two in a row take as long, within their number and time.
    fn warm_up(
        &self,
        variant: &mut dyn Variant,
        buffers: &mut Vec<Vec<Decision>>,
        expected: &Expected,
        measured: &mut Measured,
        within_ns: u64,
    ) {
        let started = self.clock.raw();
        let mut before = f64::NAN;
        while measured.warm_up_passes < MAX_WARM_UP {
            let pass = variant.pass(Mode::Throughput, std::mem::take(buffers));
            let ns = pass.elapsed_ns.max(1) as f64;
            measured.warm_up_passes += 1;
            self.check(variant, pass, buffers, expected, measured);
            measured.steady = deviation(ns / before) <= STEADY;
            if measured.steady || self.clock.ns(started, self.clock.raw()) >= within_ns || self.stop.is_asked() {
                return;
            }
            before = ns;
        }
    }

    /// True if the interval of every variant is as narrow as was asked for.
    fn is_precise(&self, measured: &[Measured]) -> bool {
        let blocks = measured.first().map_or(0, |m| m.pps.len());
        // Looked at now and then: a bootstrap takes its time, and a run that stops at the first lucky moment
        // is surer than it should be.
        let every = (blocks / 10).max(5);
        if self.budget.precision <= 0.0 || blocks < MIN_PRECISE_BLOCKS || !blocks.is_multiple_of(every) {
            return false;
        }
        measured.iter().all(|m| {
            let estimate = median_with_interval(&m.pps, self.budget.seed);
            (estimate.ci95[1] - estimate.ci95[0]) / 2.0 <= self.budget.precision * estimate.value
        })
    }

    /// Latency blocks only.
    pub fn latencies(
        &self,
        variants: &mut [Box<dyn Variant + '_>],
        expected: &[Expected],
        progress: impl FnMut(f64),
    ) -> Vec<Measured> {
        let mut measured = vec![Measured::default(); variants.len()];
        let mut buffers = vec![Vec::new(); variants.len()];
        let mut random = Random::new(self.budget.seed);
        self.latency_blocks(variants, expected, &mut measured, &mut random, &mut buffers, progress);
        measured
    }

    /// Open loops: at least one pass of each variant, more as long as the time lasts, in an order that is drawn anew each
    /// time.
    pub fn paced(
        &self,
        variants: &mut [Box<dyn Variant + '_>],
        pace: Pace,
        expected: &[Expected],
        mut progress: impl FnMut(f64),
    ) -> Vec<Measured> {
        let mut measured = vec![Measured::default(); variants.len()];
        let mut buffers = vec![Vec::new(); variants.len()];
        let mut random = Random::new(self.budget.seed);
        let mut order: Vec<usize> = (0..variants.len()).collect();
        let total = self.budget.total_ns.max(1);
        while measured.iter().any(|m| m.passes == 0) || self.spent_ns() < total {
            random.shuffle(&mut order);
            for &i in &order {
                if self.stop.is_asked() {
                    return measured;
                }
                self.paced_pass(variants[i].as_mut(), pace, &expected[i], &mut buffers[i], &mut measured[i]);
                progress((self.spent_ns() as f64 / total as f64).min(1.0));
            }
        }
        measured
    }

    /// One pass of an open loop.
    pub(super) fn paced_pass(
        &self,
        variant: &mut dyn Variant,
        pace: Pace,
        expected: &Expected,
        buffers: &mut Vec<Vec<Decision>>,
        measured: &mut Measured,
    ) {
        let mut pass = variant.pass(Mode::Paced(pace), std::mem::take(buffers));
        let paced = pass.paced.take().unwrap_or_default();
        measured.passes += 1;
        measured.noise.merge(&pass.noise);
        measured.paced.merge(&paced);
        match paced.lost {
            0 => self.check(variant, pass, buffers, expected, measured),
            // Verdicts after a loss are those of another trace.
            _ => (measured.counters, *buffers) = (pass.counters, pass.decisions),
        }
    }

    /// At least one pass of each variant; more until there are enough samples, or the time is up.
    fn latency_blocks(
        &self,
        variants: &mut [Box<dyn Variant + '_>],
        expected: &[Expected],
        measured: &mut [Measured],
        random: &mut Random,
        buffers: &mut [Vec<Vec<Decision>>],
        mut progress: impl FnMut(f64),
    ) {
        let Some(stamping) = self.budget.stamping else { return };
        let total = self.budget.total_ns.max(1);
        let mut order: Vec<usize> = (0..variants.len()).collect();
        loop {
            random.shuffle(&mut order);
            let mut wanting = false;
            for &i in &order {
                if self.stop.is_asked() {
                    return;
                }
                if measured[i].latencies.raw.histogram().len() >= self.budget.latency_samples {
                    continue;
                }
                wanting = true;
                let twin = (measured[i].stamped_pairs.len() < STAMPED_PAIRS).then(|| random.below(2) == 0);
                let variant = variants[i].as_mut();
                self.latency_pass(variant, stamping, twin, &mut buffers[i], &expected[i], &mut measured[i]);
                progress((self.spent_ns() as f64 / total as f64).min(1.0));
            }
            if !wanting || self.spent_ns() >= total {
                return;
            }
        }
    }

    /// A stamped pass; `twin` asks for one without stamps beside it: true, before it.
    fn latency_pass(
        &self,
        variant: &mut dyn Variant,
        stamping: Stamping,
        twin: Option<bool>,
        buffers: &mut Vec<Vec<Decision>>,
        expected: &Expected,
        measured: &mut Measured,
    ) {
        let modes = match twin {
            None => [Some(Mode::Stamped(stamping)), None],
            Some(true) => [Some(Mode::Throughput), Some(Mode::Stamped(stamping))],
            Some(false) => [Some(Mode::Stamped(stamping)), Some(Mode::Throughput)],
        };
        let mut pair = [0.0; 2];
        for mode in modes.into_iter().flatten() {
            let mut pass = variant.pass(mode, std::mem::take(buffers));
            pair[usize::from(mode == Mode::Throughput)] = pass.elapsed_ns as f64 / variant.packets().max(1) as f64;
            if let Some(latencies) = pass.latencies.take() {
                measured.latencies.merge(&latencies);
            }
            self.check(variant, pass, buffers, expected, measured);
        }
        if twin.is_some() {
            measured.stamped_pairs.push(pair);
        }
    }

    /// Every pass is checked, outside its timed region.
    pub(super) fn check(
        &self,
        variant: &mut dyn Variant,
        pass: Pass,
        buffers: &mut Vec<Vec<Decision>>,
        expected: &Expected,
        measured: &mut Measured,
    ) {
        let right = match expected {
            Expected::Digest(digest) => variant.digest(&pass.decisions) == *digest,
            Expected::Explained(check) => {
                let flows = check.pass(&pass.decisions, pass.counters.as_ref());
                let right = flows.unexplained == 0;
                measured.flows.merge(flows);
                right
            }
        };
        measured.wrong_passes += u64::from(!right);
        measured.counters = pass.counters;
        *buffers = pass.decisions;
    }
}
