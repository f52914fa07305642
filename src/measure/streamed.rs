//! Streamed passes: all stages overlap, so what the wall clock times is the whole path, and what each stage takes of
//! it is CPU time.

use super::run::unexpected;
use super::statistics::{Estimate, Random, median, median_with_interval};
use super::{Busy, Clock, Measured, Results, Run, Stop};
use crate::engine::registry::Kind;
use crate::engine::{Reason, State, Verdict};
use crate::replay::streamed::{Consumer, Pipeline, Referee, Refereed, Served, Stages, StreamPass, stream_pass};
use crate::replay::{Steering, Workload};
use crate::scenario::Expect;
use crate::table::{FlowHash, HashKey};
use crate::trace::stream::{Decoder, Reader};
use crate::trace::{Selection, Summary, TraceError};
use crate::verify::Counts;
use std::sync::Arc;

/// CPU time of each stage in ns a packet, all its threads together. `None` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageTimes {
    /// Reading, decompressing, framing.
    pub read: Option<f64>,
    /// Decoding.
    pub decode: Option<f64>,
    /// Putting in sequence and handing to cores.
    pub steer: Option<f64>,
    /// The engine.
    pub evaluate: Option<f64>,
}

/// What is to be streamed.
pub struct StreamPlan<'a> {
    /// The engines, each with a number of cores.
    pub runs: Vec<(Kind, usize)>,
    /// Wall-clock time for passes over files; at least one pass each. A pipe gives one pass.
    pub seconds: f64,
    /// Which frames.
    pub selection: Selection,
    /// Ends the pass under way and all further ones.
    pub stop: Stop,
    /// How frames are decoded.
    pub decoder: Arc<Decoder>,
    /// Threads that decode.
    pub decoders: usize,
    /// Opens the trace again, from its beginning; asked only of what can be opened again.
    pub open: &'a dyn Fn(Busy) -> Result<Reader, TraceError>,
}

/// What came out of a plan.
pub struct Streamed {
    /// One run each, as of a preloaded trace where that makes sense.
    pub results: Results,
    /// What the files say of themselves.
    pub summary: Summary,
    /// Packets that engines evaluate.
    pub evaluated: u64,
    /// What the reference says.
    pub refereed: Refereed,
    /// The reference ran beside the engines, in the only pass that there was.
    pub referee_beside: bool,
}

/// Fewest passes that give an interval.
const MIN_PASSES: usize = 5;

/// Runs the plan. Every pass is checked: against the reference, which runs over the trace once, before the engines or,
/// where the trace can be read only once, beside them. `reader`: the trace, opened, with the stages that its reading is
/// added to.
pub fn run_streamed(
    workload: &Workload,
    expect: Option<&Expect>,
    plan: &StreamPlan,
    (reader, stages): (Reader, Stages),
    clock: &Clock,
    mut progress: impl FnMut(f64),
) -> Result<Streamed, TraceError> {
    let started = clock.raw();
    let can_repeat = reader.can_repeat();
    let mut consumers = Vec::new();
    if !can_repeat {
        consumers.extend(plan.runs.iter().filter_map(|run| consumer(workload, *run)));
    }
    let first = Timed::pass(workload, plan, reader, stages, &mut consumers, Some(Referee::new(workload)), clock)?;
    let first_ns = clock.ns(started, clock.raw());
    let refereed = first.pass.refereed.clone().unwrap_or_default();
    let right = Right { refereed: &refereed, evaluated: first.pass.evaluated, expect };
    let mut runs: Vec<Run> = Vec::new();
    if can_repeat {
        let budget_ns = (plan.seconds * 1e9) as u64;
        let mut random = Random::new(workload.secret);
        let mut order: Vec<usize> = (0..plan.runs.len()).collect();
        let mut found: Vec<Option<Run>> = plan.runs.iter().map(|_| None).collect();
        let mut passes = 0;
        loop {
            random.shuffle(&mut order);
            for number in order.iter().copied() {
                if plan.stop.is_asked() {
                    break;
                }
                let Some(mut alone) = consumer(workload, plan.runs[number]) else { continue };
                let stages = Stages::default();
                let reader = (plan.open)(stages.read.clone())?;
                let alone = std::slice::from_mut(&mut alone);
                let timed = Timed::pass(workload, plan, reader, stages, alone, None, clock)?;
                // A pass that was ended early has not seen all packets.
                if plan.stop.is_asked() {
                    break;
                }
                right.note(&mut found[number], &alone[0], &timed, 0);
                passes += 1;
                progress((clock.ns(started, clock.raw()) as f64 / budget_ns.max(1) as f64).min(1.0));
            }
            let spent_ns = clock.ns(started, clock.raw());
            // Another round only if it is likely to end in time.
            let round_ns = (spent_ns - first_ns) / passes.max(1) * order.len() as u64;
            if passes == 0 || plan.stop.is_asked() || spent_ns + round_ns > budget_ns {
                break;
            }
        }
        runs.extend(found.into_iter().flatten());
    } else {
        for (number, consumer) in consumers.iter().enumerate() {
            let mut run = None;
            right.note(&mut run, consumer, &first, number);
            runs.extend(run);
        }
    }
    for run in &mut runs {
        run.pps = estimate(&run.measured.pps, workload.secret);
    }
    let results = Results {
        runs,
        baseline: None,
        controls: Vec::new(),
        probe: None,
        decisions: Vec::new(),
        alone: Vec::new(),
        partial: plan.stop.is_asked(),
    };
    let StreamPass { summary, evaluated, .. } = first.pass;
    Ok(Streamed { results, summary, evaluated, refereed, referee_beside: !can_repeat })
}

fn consumer(workload: &Workload, (kind, cores): (Kind, usize)) -> Option<Consumer<'_>> {
    Some(Consumer { kind, cores, engine: workload.served(kind, cores)? })
}

/// The median, with an interval if there are passes enough for one.
fn estimate(samples: &[f64], seed: u64) -> Estimate {
    match samples.len() {
        0..MIN_PASSES => Estimate { value: median(samples), ci95: [f64::NAN; 2] },
        _ => median_with_interval(samples, seed),
    }
}

/// A pass and its times.
struct Timed {
    pass: StreamPass,
    stages: Stages,
    elapsed_ns: u64,
}

impl Timed {
    fn pass(
        workload: &Workload,
        plan: &StreamPlan,
        reader: Reader,
        stages: Stages,
        consumers: &mut [Consumer],
        referee: Option<Referee>,
        clock: &Clock,
    ) -> Result<Self, TraceError> {
        let hash = FlowHash::new(HashKey::from_seed(workload.scenario_key));
        let start = clock.raw();
        let pipeline = Pipeline::start(reader, &plan.decoder, hash, workload.geometry.shards, plan.decoders, &stages)?;
        let pass = stream_pass(workload, pipeline, plan.selection, &stages, consumers, referee, &plan.stop)?;
        let elapsed_ns = clock.ns(start, clock.raw());
        Ok(Timed { pass, stages, elapsed_ns })
    }

    /// Frames that the selection took.
    fn frames(&self) -> u64 {
        self.pass.evaluated + self.pass.ignored.values().sum::<u64>()
    }

    /// Of the engine with this number.
    fn stage_times(&self, engine: usize) -> StageTimes {
        let frames = self.frames().max(1) as f64;
        let packets = self.pass.lanes[engine].iter().sum::<u64>().max(1) as f64;
        let a_frame = |busy: &Busy| busy.ns().map(|ns| ns as f64 / frames);
        StageTimes {
            read: a_frame(&self.stages.read),
            decode: a_frame(&self.stages.decode),
            steer: a_frame(&self.stages.steer),
            evaluate: self.pass.evaluating[engine].ns().map(|ns| ns as f64 / packets),
        }
    }
}

/// What a pass must come to.
struct Right<'a> {
    refereed: &'a Refereed,
    evaluated: u64,
    expect: Option<&'a Expect>,
}

impl Right<'_> {
    /// Adds what a pass of an engine came to, its `number` in that pass.
    fn note(&self, run: &mut Option<Run>, consumer: &Consumer, timed: &Timed, number: usize) {
        let pass = &timed.pass;
        let served = &pass.served[number];
        let run = run.get_or_insert_with(|| self.first(consumer, pass, number));
        run.measured.pps.push(timed.frames() as f64 / (timed.elapsed_ns.max(1) as f64 / 1e9));
        run.measured.passes += 1;
        run.measured.counters = served.counters;
        run.stages.get_or_insert_default().push(timed.stage_times(number));
        let wrong = self.wrong(consumer.kind, served);
        run.measured.wrong_passes += u64::from(wrong.is_some());
        run.error = run.error.take().or(wrong);
    }

    fn first(&self, consumer: &Consumer, pass: &StreamPass, number: usize) -> Run {
        let Consumer { kind, cores, engine } = consumer;
        let counts = &pass.served[number].counts;
        let tally = counts.tally(pass.ignored.iter().map(|(why, count)| (*why, *count)));
        let untracked = counts.count(|decision| matches!(decision.state(), State::Untracked | State::None));
        let lanes = &pass.lanes[number];
        let packets: u64 = lanes.iter().sum();
        let largest = lanes.iter().max().copied().unwrap_or(0);
        Run {
            kind: *kind,
            cores: *cores,
            pinned: 0,
            tracked_share: kind.is_stateful().then(|| 1.0 - untracked as f64 / counts.total().max(1) as f64),
            error: unexpected(self.expect, *kind, &tally),
            tally,
            measured: Measured { steady: true, ..Measured::default() },
            pps: Estimate { value: f64::NAN, ci95: [f64::NAN; 2] },
            packets: packets as usize,
            steering: Steering::Symmetric,
            imbalance: (largest * lanes.len() as u64) as f64 / packets.max(1) as f64,
            flows: None,
            searched: None,
            table_bytes: engine.table_bytes(),
            huge_bytes: engine.huge_bytes(),
            probes: None,
            instructions: None,
            stages: None,
            steer_ns: None,
        }
    }

    /// What is wrong with an engine's verdicts, if anything.
    fn wrong(&self, kind: Kind, served: &Served) -> Option<String> {
        let ours = &served.counts;
        if ours.total() != self.evaluated {
            return Some(format!("{} of {} packets have a verdict", ours.total(), self.evaluated));
        }
        let right: &Counts = match kind {
            Kind::Null => {
                let right = ours.count(|d| d.verdict() == Verdict::Accept && d.reason() == Reason::Null);
                return (right != self.evaluated)
                    .then(|| format!("wrong verdicts: {} of {}", self.evaluated - right, self.evaluated));
            }
            kind if kind.is_stateful() => self.refereed.stateful.as_ref()?,
            _ => self.refereed.stateless.as_ref()?,
        };
        let (from, to) = ours.first_difference(right)?;
        Some(format!(
            "wrong verdicts: the first lies among packets {from} to {to}; `ctbench verify --limit {to}` without --stream says which"
        ))
    }
}
