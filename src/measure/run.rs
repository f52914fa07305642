//! Verify, then time, and verify while timing: a whole comparison.

use super::statistics::{Estimate, median_with_interval};
use super::{Budget, Clock, Measured, Trials, Variant};
use crate::engine::Decision;
use crate::engine::registry::Kind;
use crate::replay::{Pool, Steered, Workload};
use crate::scenario::Expect;
use crate::trace::Trace;
use crate::verify::{Judge, Tally, first_difference, tracked_share};
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
    /// Largest lane's share of packets times the number of cores: 1 is perfect balance.
    pub imbalance: f64,
    /// Table memory.
    pub table_bytes: u64,
    /// Wrong verdicts, if any.
    pub error: Option<String>,
}

impl Run {
    /// Nanoseconds a packet and core are not given: this is wall time over packets, all cores together.
    pub fn ns_per_packet(&self) -> f64 {
        1e9 / self.pps.value
    }

    /// The same of every block.
    pub fn ns_samples(&self) -> Vec<f64> {
        self.measured.pps.iter().map(|pps| 1e9 / pps).collect()
    }
}

/// What the scenario expected of an engine's world, where it differs.
fn unexpected(expect: Option<&Expect>, kind: Kind, tally: &Tally) -> Option<String> {
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

/// One untimed pass: the run's verdicts, and whether they are right.
pub fn check(
    trace: &Trace,
    judge: &Judge,
    expect: Option<&Expect>,
    kind: Kind,
    variant: &mut dyn Variant,
) -> (Tally, Vec<Decision>, Option<String>) {
    let pass = variant.pass(false, Vec::new());
    let decisions = variant.gather(&pass.decisions);
    let tally = Tally::of(trace, &decisions);
    let error = judge
        .of(kind)
        .and_then(|right| first_difference(trace, &decisions, right))
        .or_else(|| unexpected(expect, kind, &tally));
    (tally, decisions, error)
}

/// What is to be run.
pub struct Plan {
    /// The engines.
    pub kinds: Vec<Kind>,
    /// Numbers of cores, ascending.
    pub cores: Vec<usize>,
    /// Wall-clock time for all trials.
    pub seconds: f64,
}

/// Everything that came out of a plan.
pub struct Results {
    /// One a (number of cores, engine).
    pub runs: Vec<Run>,
    /// The decisions of the last engine checked, in trace order.
    pub decisions: Vec<Decision>,
    /// The same engines with bursts of one packet, on the fewest cores.
    pub alone: Vec<(Kind, usize, Measured)>,
}

/// Trials get this share of the time; the single-packet latencies the rest.
const TRIALS_SHARE: f64 = 0.85;

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
) -> Result<Results, ThreadPoolBuildError> {
    let pools = plan.cores.iter().map(|n| Pool::new(*n)).collect::<Result<Vec<_>, _>>()?;
    let chosen = |pool: &Pool, kind: Kind| !judge.is_single_core(kind) || pool.cores() == 1;
    let mut prepared: Vec<(Kind, &Pool, Steered)> = Vec::new();
    for pool in &pools {
        for kind in plan.kinds.iter().copied().filter(|kind| chosen(pool, *kind)) {
            prepared.push((kind, pool, workload.steered(kind, pool.cores())));
        }
    }
    let mut variants = Vec::new();
    let mut runs = Vec::new();
    let mut last_decisions = Vec::new();
    for (kind, pool, steered) in &prepared {
        let Some(mut variant) = workload.variant(*kind, steered, pool, clock, workload.burst) else {
            continue;
        };
        let (tally, decisions, error) = check(&workload.trace, judge, expect, *kind, variant.as_mut());
        runs.push(Run {
            kind: *kind,
            cores: pool.cores(),
            pinned: pool.pinned(),
            tracked_share: kind.is_stateful().then(|| tracked_share(&decisions)),
            tally,
            measured: Measured::default(),
            pps: Estimate { value: f64::NAN, ci95: [f64::NAN; 2] },
            packets: variant.packets(),
            imbalance: steered.imbalance(),
            table_bytes: variant.table_bytes(),
            error,
        });
        last_decisions = decisions;
        variants.push(variant);
    }
    let mut alone = Vec::new();
    if workload.trace.packets.is_empty() {
        return Ok(Results { runs, decisions: last_decisions, alone });
    }

    let digests: Vec<u64> = runs.iter().map(|run| run.tally.digest).collect();
    let budget = |share: f64| Budget {
        total_ns: (plan.seconds * share * 1e9) as u64,
        sample_ns: 20_000_000,
        latency_samples: 2_000_000,
        seed: workload.secret,
    };
    let trials = Trials::new(clock, budget(TRIALS_SHARE));
    let measured = trials.run(&mut variants, &digests, |share| progress(share * TRIALS_SHARE));
    for (run, measured) in runs.iter_mut().zip(measured) {
        run.pps = median_with_interval(&measured.pps, workload.secret);
        if measured.wrong_digests > 0 && run.error.is_none() {
            run.error = Some(format!(
                "{} of {} passes gave other verdicts than the first",
                measured.wrong_digests, measured.passes
            ));
        }
        run.measured = measured;
    }

    drop(variants);
    let fewest = plan.cores.iter().min().copied().unwrap_or(1);
    let (mut kinds, mut variants, mut digests) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, pool, steered) in prepared.iter().filter(|(_, pool, _)| pool.cores() == fewest) {
        if let Some(variant) = workload.variant(*kind, steered, pool, clock, 1) {
            digests.extend(runs.iter().find(|r| r.kind == *kind && r.cores == fewest).map(|r| r.tally.digest));
            kinds.push(*kind);
            variants.push(variant);
        }
    }
    let trials = Trials::new(clock, budget(1.0 - TRIALS_SHARE));
    let measured = trials.latencies(&mut variants, &digests, |share| {
        progress(TRIALS_SHARE + share * (1.0 - TRIALS_SHARE));
    });
    alone.extend(kinds.into_iter().zip(measured).map(|(kind, measured)| (kind, fewest, measured)));
    Ok(Results { runs, decisions: last_decisions, alone })
}
