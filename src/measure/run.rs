//! Verify, then time, and verify while timing: a whole comparison.

use super::search::{SearchError, SearchPlan, Searched};
use super::statistics::{Estimate, deviation, median, median_with_interval, paired_difference, paired_ratio};
use super::{
    Budget, Clock, Expected, Instructions, Measured, Probe, ProbeCost, StageTimes, Stamping, Stop, Trials, Variant,
};
use crate::engine::Decision;
use crate::engine::registry::Kind;
use crate::replay::{Mode, Pace, Pool, Steered, Steering, Workload};
use crate::scenario::Expect;
use crate::verify::{FlowCheck, FlowTally, Judge, Tally, first_difference, tracked_share};
use rayon::ThreadPoolBuildError;

/// One engine on one number of cores.
pub struct Run {
    /// The engine.
    pub kind: Kind,
    /// Threads.
    pub cores: usize,
    /// Threads that were pinned.
    pub pinned: usize,
    /// Verdicts, outcomes and digest.
    pub tally: Tally,
    /// Share of evaluated packets that reached the flow table.
    pub tracked_share: Option<f64>,
    /// What was measured.
    pub measured: Measured,
    /// Packets per second: median over blocks.
    pub pps: Estimate,
    /// Packets a pass.
    pub packets: usize,
    /// How packets reached cores.
    pub steering: Steering,
    /// Largest lane's share of packets times the number of cores: 1 is perfect balance.
    pub imbalance: f64,
    /// Where cores may have met the packets of one flow in another order than the trace's: how the
    /// flows of all checked passes fared.
    pub flows: Option<FlowTally>,
    /// What a search for its highest rate found.
    pub searched: Option<Searched>,
    /// Table memory.
    pub table_bytes: u64,
    /// Bytes of it in huge pages, where the table asks for them and the system tells.
    pub huge_bytes: Option<u64>,
    /// Entries that a look-up compares with its flow, on average; `None` where the table does not tell.
    pub probes: Option<f64>,
    /// Instructions a packet, or why they are not known; `None` if nothing was measured.
    pub instructions: Option<Result<f64, String>>,
    /// The stages of each streamed pass; `None` for a preloaded trace, whose engines run by themselves.
    pub stages: Option<Vec<StageTimes>>,
    /// Handing the packets to the cores, before the passes, in ns a packet. `None` where it is one of `stages`.
    pub steer_ns: Option<f64>,
    /// Wrong verdicts, if any.
    pub error: Option<String>,
}

impl Run {
    /// The stages' times in the middle of all streamed passes.
    pub fn stage_times(&self) -> Option<StageTimes> {
        let passes = self.stages.as_ref()?;
        let middle = |stage: fn(&StageTimes) -> Option<f64>| {
            let known: Vec<f64> = passes.iter().filter_map(stage).collect();
            (!known.is_empty()).then(|| median(&known))
        };
        Some(StageTimes {
            read: middle(|times| times.read),
            decode: middle(|times| times.decode),
            steer: middle(|times| times.steer),
            evaluate: middle(|times| times.evaluate),
        })
    }

    /// Nanoseconds a packet and core are not given: this is wall time over packets, all cores together.
    pub fn ns_per_packet(&self) -> f64 {
        1e9 / self.pps.value
    }

    /// The same of every block.
    pub fn ns_samples(&self) -> Vec<f64> {
        self.measured.pps.iter().map(|pps| 1e9 / pps).collect()
    }

    /// What stamping adds to a pass, in ns a packet: stamped passes against their twins. `None` if there were none.
    pub fn stamp_cost(&self) -> Option<Estimate> {
        let pairs = &self.measured.stamped_pairs;
        let column = |i: usize| pairs.iter().map(|pair| pair[i]).collect::<Vec<f64>>();
        (!pairs.is_empty()).then(|| paired_difference(&column(0), &column(1), 1))
    }

    /// Takes over what checking the passes of a measurement found.
    fn note_passes(&mut self, measured: &Measured) {
        if let Some(flows) = &mut self.flows {
            flows.merge(measured.flows.clone());
        }
        if measured.wrong_passes > 0 && self.error.is_none() {
            let unexplained = self.flows.as_ref().and_then(|flows| unexplained(self.steering, flows));
            self.error = unexplained
                .or_else(|| Some(format!("{} passes gave other verdicts than the first", measured.wrong_passes)));
        }
    }

    /// The digest of its verdicts, if the steering is one under which every pass has the same.
    pub fn digest(&self) -> Option<u64> {
        (self.steering == Steering::Symmetric).then_some(self.tally.digest)
    }
}

/// What the scenario expected of an engine's world, where it differs.
pub(super) fn unexpected(expect: Option<&Expect>, kind: Kind, tally: &Tally) -> Option<String> {
    let expect = expect?;
    let expected = match kind {
        Kind::Null => return None,
        kind if kind.is_stateful() => expect.stateful.as_ref()?,
        _ => expect.stateless.as_ref()?,
    };
    let counts = tally.counts();
    (counts != *expected).then(|| {
        format!(
            "not as the scenario expects: accept {}, drop {}, digest {} instead of {}, {}, {} (if the change is meant: `ctbench verify --bless`)",
            counts.accept, counts.drop, counts.digest, expected.accept, expected.drop, expected.digest
        )
    })
}

/// An untimed pass, and whether its verdicts are right.
pub struct Checked {
    /// Verdicts, outcomes and digest.
    pub tally: Tally,
    /// The decisions in trace order.
    pub decisions: Vec<Decision>,
    /// How the flows fared, where their order was in question.
    pub flows: Option<FlowTally>,
    /// What is wrong, if anything.
    pub error: Option<String>,
}

/// One untimed pass. `flows` where the order of a flow's packets is in question: then neither the
/// reference's verdicts nor the scenario's are expected, but some that an order explains.
pub fn check(
    workload: &Workload,
    judge: &Judge,
    expect: Option<&Expect>,
    kind: Kind,
    flows: Option<&FlowCheck>,
    variant: &mut dyn Variant,
) -> Checked {
    let pass = variant.pass(Mode::Throughput, Vec::new());
    let decisions = variant.gather(&pass.decisions);
    let tally = Tally::of(&workload.trace, &decisions);
    let flows = flows.map(|check| check.pass(&pass.decisions, pass.counters.as_ref()));
    let error = match &flows {
        Some(flows) => unexplained(workload.steering, flows),
        None => judge
            .of(kind)
            .and_then(|right| first_difference(&workload.trace, &decisions, right))
            .or_else(|| unexpected(expect, kind, &tally)),
    };
    Checked { tally, decisions, flows, error }
}

/// How a flow with wrong verdicts reads.
fn unexplained(steering: Steering, flows: &FlowTally) -> Option<String> {
    let first = flows.first_unexplained.as_deref()?;
    let window = steering.window().unwrap_or(0);
    Some(format!(
        "wrong verdicts: of {} flows in {} passes {} are explained by no order of their packets within {window}; the first: {first}",
        flows.flows, flows.passes, flows.unexplained
    ))
}

/// What is to be run.
pub struct Plan {
    /// The engines.
    pub kinds: Vec<Kind>,
    /// Numbers of cores, ascending.
    pub cores: Vec<usize>,
    /// The engine that the others are compared with; `None`: stateless-linear if it is among them, else null.
    pub baseline: Option<Kind>,
    /// Packets come at this pace (open loop); `None`: as fast as they are decided on (closed loop).
    pub pace: Option<Pace>,
    /// Search for the highest rates instead.
    pub search: Option<SearchPlan>,
    /// Wall-clock time for all trials.
    pub seconds: f64,
    /// Enough once every throughput is known to this share of itself (half of its 95 % interval); 0: use up the time.
    pub precision: f64,
    /// How latency passes are stamped; `None`: throughput alone.
    pub stamping: Option<Stamping>,
    /// Ends the run early, with what is known by then.
    pub stop: Stop,
}

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system gives no thread for each core.
    #[error("starting one worker thread a core")]
    Threads(#[from] ThreadPoolBuildError),
    /// There is nothing to search for.
    #[error("searching")]
    Search(#[from] SearchError),
}

impl Plan {
    /// The engine that the others are compared with, if it is among those that run.
    fn baseline(&self) -> Option<Kind> {
        let runs = |kind: &Kind| self.kinds.contains(kind);
        match self.baseline {
            Some(kind) => Some(kind).filter(runs),
            None => [Kind::StatelessLinear, Kind::Null].into_iter().find(runs),
        }
    }
}

/// The baseline once more, as if it were another engine (an A/A comparison): what differs here is noise.
pub struct Control {
    /// The baseline.
    pub kind: Kind,
    /// Threads.
    pub cores: usize,
    /// Throughput as a multiple of the baseline's own, from the same blocks as every other ratio.
    pub ratio: Estimate,
    /// The same of every block.
    pub samples: Vec<f64>,
}

impl Control {
    /// A difference up to this share is noise: as much as the same engine differs from itself.
    pub fn noise_floor(&self) -> f64 {
        deviation(self.ratio.value)
    }
}

/// Everything that came out of a plan.
pub struct Results {
    /// One a (number of cores, engine).
    pub runs: Vec<Run>,
    /// The engine that the others are compared with.
    pub baseline: Option<Kind>,
    /// One a number of cores.
    pub controls: Vec<Control>,
    /// What random access to as much memory as the largest table's costs on one core.
    pub probe: Option<(u64, ProbeCost)>,
    /// The decisions of the last engine checked, in trace order.
    pub decisions: Vec<Decision>,
    /// The same engines with bursts of one packet, on the fewest cores.
    pub alone: Vec<(Kind, usize, Measured)>,
    /// It was ended before all was measured.
    pub partial: bool,
}

/// Trials get this share of the time; the single-packet latencies the rest.
const TRIALS_SHARE: f64 = 0.85;

/// Packets whose latency is wanted, or of which one in so many is sampled.
const LATENCY_SAMPLES: u64 = 2_000_000;

/// Runs the plan: check all, then trials of all that passed.
///
/// `progress` is told the share that is done, between passes.
pub fn run(
    workload: &Workload,
    judge: &Judge,
    expect: Option<&Expect>,
    plan: &Plan,
    clock: &Clock,
    mut progress: impl FnMut(f64),
) -> Result<Results, RunError> {
    let pools = plan.cores.iter().map(|n| Pool::new(*n)).collect::<Result<Vec<_>, _>>()?;
    let chosen = |pool: &Pool, kind: Kind| !judge.is_single_core(kind) || pool.cores() == 1;
    let mut prepared: Vec<(Kind, &Pool, Steered)> = Vec::new();
    let mut steer_ns = Vec::new();
    for pool in &pools {
        for kind in plan.kinds.iter().copied().filter(|kind| chosen(pool, *kind)) {
            let start = clock.raw();
            let steered = workload.steered(kind, pool.cores());
            steer_ns.push(clock.ns(start, clock.raw()) as f64 / steered.packets().max(1) as f64);
            prepared.push((kind, pool, steered));
        }
    }
    let checks: Vec<Option<FlowCheck>> =
        prepared.iter().map(|(kind, _, steered)| FlowCheck::new(workload, judge, *kind, steered)).collect();
    let mut variants = Vec::new();
    let mut expected = Vec::new();
    let mut runs = Vec::new();
    let mut last_decisions = Vec::new();
    for (((kind, pool, steered), flow_check), steer_ns) in prepared.iter().zip(&checks).zip(steer_ns) {
        if plan.stop.is_asked() {
            break;
        }
        let Some(mut variant) = workload.variant(*kind, steered, pool, clock, workload.burst) else {
            continue;
        };
        let checked = check(workload, judge, expect, *kind, flow_check.as_ref(), variant.as_mut());
        let Checked { tally, decisions, flows, error } = checked;
        expected.push(Expected::new(tally.digest, flow_check.as_ref()));
        runs.push(Run {
            kind: *kind,
            cores: pool.cores(),
            pinned: pool.pinned(),
            tracked_share: kind.is_stateful().then(|| tracked_share(&decisions)),
            tally,
            steering: steered.steering,
            flows,
            measured: Measured::default(),
            pps: Estimate { value: f64::NAN, ci95: [f64::NAN; 2] },
            packets: variant.packets(),
            imbalance: steered.imbalance(),
            table_bytes: variant.table_bytes(),
            huge_bytes: variant.huge_bytes(),
            probes: None,
            instructions: None,
            stages: None,
            steer_ns: Some(steer_ns),
            searched: None,
            error,
        });
        last_decisions = decisions;
        variants.push(variant);
    }
    let baseline = plan.baseline();
    let mut results = Results {
        runs,
        baseline,
        controls: Vec::new(),
        probe: probe(&variants, &pools, clock, workload.burst),
        decisions: last_decisions,
        alone: Vec::new(),
        partial: plan.stop.is_asked(),
    };
    if workload.trace.packets.is_empty() || results.partial {
        return Ok(results);
    }
    for (run, variant) in results.runs.iter_mut().zip(&mut variants) {
        account(run, variant.as_mut());
    }

    let budget = |share: f64| Budget {
        total_ns: (plan.seconds * share * 1e9) as u64,
        latency_samples: LATENCY_SAMPLES / u64::from(plan.stamping.map_or(1, Stamping::one_in)),
        stamping: plan.stamping,
        seed: workload.secret,
        precision: plan.precision,
    };
    let trials = |share| Trials::new(clock, budget(share)).stopped_by(&plan.stop);
    if let Some(search) = &plan.search {
        let found = trials(1.0).search(&mut variants, search, &expected, progress)?;
        for (run, (measured, searched)) in results.runs.iter_mut().zip(found) {
            run.note_passes(&measured);
            run.measured = measured;
            run.searched = Some(searched);
        }
        results.partial = plan.stop.is_asked();
        return Ok(results);
    }
    if let Some(pace) = plan.pace {
        let measured = trials(1.0).paced(&mut variants, pace, &expected, progress);
        for (run, measured) in results.runs.iter_mut().zip(measured) {
            run.note_passes(&measured);
            run.measured = measured;
        }
        results.partial = plan.stop.is_asked();
        return Ok(results);
    }

    let mut controlled = Vec::new();
    for ((kind, pool, steered), flow_check) in
        prepared.iter().zip(&checks).filter(|((kind, ..), _)| Some(*kind) == baseline)
    {
        let run = results.runs.iter().position(|run| run.kind == *kind && run.cores == pool.cores());
        if let (Some(run), Some(variant)) = (run, workload.variant(*kind, steered, pool, clock, workload.burst)) {
            expected.push(Expected::new(results.runs[run].tally.digest, flow_check.as_ref()));
            controlled.push(run);
            variants.push(variant);
        }
    }
    let measured =
        trials(TRIALS_SHARE).run(&mut variants, controlled.len(), &expected, |share| progress(share * TRIALS_SHARE));
    let mut measured = measured.into_iter();
    for (run, measured) in results.runs.iter_mut().zip(measured.by_ref()) {
        run.pps = median_with_interval(&measured.pps, workload.secret);
        run.note_passes(&measured);
        run.measured = measured;
    }
    for (run, control) in controlled.into_iter().zip(measured) {
        let run = &mut results.runs[run];
        run.note_passes(&control);
        if control.pps.is_empty() {
            continue;
        }
        let ratio = paired_ratio(&control.pps, &run.measured.pps, workload.secret);
        let samples = control.pps.iter().zip(&run.measured.pps).map(|(again, once)| again / once).collect();
        results.controls.push(Control { kind: run.kind, cores: run.cores, ratio, samples });
    }

    drop(variants);
    results.partial = plan.stop.is_asked();
    if results.partial || plan.stamping.is_none() {
        return Ok(results);
    }
    let fewest = plan.cores.iter().min().copied().unwrap_or(1);
    let (mut kinds, mut variants, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for ((kind, pool, steered), flow_check) in
        prepared.iter().zip(&checks).filter(|((_, pool, _), _)| pool.cores() == fewest)
    {
        let run = results.runs.iter().find(|run| run.kind == *kind && run.cores == fewest);
        if let (Some(run), Some(variant)) = (run, workload.variant(*kind, steered, pool, clock, 1)) {
            expected.push(Expected::new(run.tally.digest, flow_check.as_ref()));
            kinds.push(*kind);
            variants.push(variant);
        }
    }
    let measured = trials(1.0 - TRIALS_SHARE).latencies(&mut variants, &expected, |share| {
        progress(TRIALS_SHARE + share * (1.0 - TRIALS_SHARE));
    });
    for (kind, measured) in kinds.into_iter().zip(measured) {
        if let Some(run) = results.runs.iter_mut().find(|run| run.kind == kind && run.cores == fewest) {
            run.note_passes(&measured);
        }
        results.alone.push((kind, fewest, measured));
    }
    results.partial = plan.stop.is_asked();
    Ok(results)
}

/// Two passes that no clock looks at: what look-ups compare, and instructions.
fn account(run: &mut Run, variant: &mut dyn Variant) {
    if run.error.is_some() {
        return;
    }
    let packets = run.packets.max(1) as f64;
    let pass = variant.pass(Mode::Probed, Vec::new());
    run.probes =
        pass.probes.filter(|[lookups, _]| *lookups > 0).map(|[lookups, probes]| probes as f64 / lookups as f64);
    // The first count says whether the machine counts at all; then there is no need for a pass.
    run.instructions = Some(match Instructions::start() {
        Err(reason) => Err(reason),
        Ok(_) => {
            let pass = variant.pass(Mode::Counted, pass.decisions);
            pass.instructions.unwrap_or_else(|| Err("no worker counted".into())).map(|sum| sum as f64 / packets)
        }
    });
}

/// The floor for the largest table, or for a small one where no engine has any. `None` if there is no memory for it.
fn probe(variants: &[Box<dyn Variant + '_>], pools: &[Pool], clock: &Clock, burst: usize) -> Option<(u64, ProbeCost)> {
    const SMALLEST: u64 = 1 << 20;
    let bytes = variants.iter().map(|variant| variant.table_bytes()).max()?.max(SMALLEST);
    let pool = pools.iter().min_by_key(|pool| pool.cores())?;
    let cost = Probe::new(bytes).ok()?.cost(clock, pool, burst);
    Some((bytes, cost))
}
