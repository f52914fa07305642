//! THE loop.

use super::order::{Progress, Turns};
use super::paced::{Pace, Paced, due_times, replay_lane_paced};
use super::{Lane, Pool, Steered};
use crate::engine::{Decision, Engine, NoStamps, Stamp, Tag};
use crate::measure::statistics::Random;
use crate::measure::{Clock, Instructions, Noise, Recorder, Recording, Slots, Stamping, Watch};
use crate::packet::Packet;
use crate::table::TableCounters;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Makes the engines of a pass. The tables behind them live on between passes.
pub trait Setup: Send {
    /// One core's engine.
    type Engine<'a>: Engine + Send
    where
        Self: 'a;

    /// One engine a core, with empty tables. Not timed.
    fn engines(&mut self) -> Vec<Self::Engine<'_>>;

    /// Makes the tables anew, in other memory than before. Not timed. Does nothing unless a setup says otherwise: its
    /// engines then stay where they are, but for what lies in the setup itself, which was moved.
    fn renew(&mut self, _random: &mut Random) {}

    /// Bytes of table memory.
    fn table_bytes(&self) -> u64 {
        0
    }

    /// Bytes of it in huge pages, where the table asks for them and the system tells.
    fn huge_bytes(&self) -> Option<u64> {
        None
    }
}

/// What is replayed, and how.
pub struct Job<'a> {
    /// The trace. As many lanes as the pool has threads.
    pub steered: &'a Steered,
    /// One thread a lane.
    pub pool: &'a Pool,
    /// Packets handed to the engine at once.
    pub burst: usize,
    /// The clock.
    pub clock: &'a Clock,
}

/// How a pass is driven, and what is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Closed loop, no stamps.
    Throughput,
    /// Closed loop, latencies recorded.
    Stamped(
        /// Which verdicts are stamped.
        Stamping,
    ),
    /// Closed loop, untimed: how many entries each look-up compares.
    Probed,
    /// Closed loop, untimed: the instructions of the workers' loops.
    Counted,
    /// Open loop. Packets of one flow must meet one core, as under symmetric steering.
    Paced(
        /// When packets are due.
        Pace,
    ),
}

/// What one pass came to.
pub struct Pass {
    /// From the moment at which the first core starts until the last has finished, in ns.
    pub elapsed_ns: u64,
    /// Every lane's decisions, in lane order.
    pub decisions: Vec<Vec<Decision>>,
    /// The tables' counters, summed over cores.
    pub counters: Option<TableCounters>,
    /// Latency of every packet, if asked for.
    pub latencies: Option<Recording>,
    /// What an open loop came to.
    pub paced: Option<Paced>,
    /// Look-ups whose probes the table told, and their probes; of [`Mode::Probed`].
    pub probes: Option<[u64; 2]>,
    /// Instructions of all workers' loops, or why there is no count; of [`Mode::Counted`].
    pub instructions: Option<Result<u64, String>>,
    /// What the system took from the workers.
    pub noise: Noise,
}

/// What a worker brings back.
struct Finished {
    start: u64,
    end: u64,
    decisions: Vec<Decision>,
    counters: Option<TableCounters>,
    latencies: Option<Recording>,
    paced: Option<Paced>,
    probes: Option<[u64; 2]>,
    instructions: Option<Result<u64, String>>,
    noise: Noise,
}

/// Replays the trace once.
///
/// `buffers` are decision buffers of an earlier pass, to be filled anew. Packets that an open loop loses have the default
/// decision.
pub fn pass<S: Setup>(job: &Job, setup: &mut S, mode: Mode, mut buffers: Vec<Vec<Decision>>) -> Pass {
    let lanes = &job.steered.lanes;
    buffers.resize_with(lanes.len(), Vec::new);
    for (buffer, lane) in buffers.iter_mut().zip(lanes) {
        if matches!(mode, Mode::Paced(_)) {
            buffer.clear();
        }
        buffer.resize(lane.packets.len(), Decision::default());
    }
    let first_ns = lanes.iter().filter_map(|lane| lane.packets.first()).map(|packet| packet.time_ns).min().unwrap_or(0);
    let inputs: Vec<_> = setup.engines().into_iter().zip(buffers).map(|input| Mutex::new(Some(input))).collect();
    let waiting = AtomicUsize::new(lanes.len());
    // One core alone is always in order.
    let window = job.steered.steering.window().filter(|_| lanes.len() > 1);
    let progress = window.map(|window| Progress::new(lanes, window));
    let finished = job.pool.run(|core| {
        let input = inputs[core].lock().ok().and_then(|mut input| input.take());
        let lane = &lanes[core];
        input.map(|(mut engine, mut decisions)| {
            let slots = || Slots::new(job.steered.span, lane.packets.len(), |place| lane.packets[place].time_ns);
            let mut recorder = match mode {
                // Each pass draws its samples anew.
                Mode::Stamped(stamping) => Some(Recorder::new(job.clock, stamping, slots(), job.clock.raw())),
                _ => None,
            };
            let due = match mode {
                Mode::Paced(pace) => Some((due_times(lane, first_ns, pace.rate), pace.queue)),
                _ => None,
            };
            let mut paced = None;
            let turns = progress.as_ref().map(|progress| progress.turns(core, lane, job.burst));
            let mut instructions = (mode == Mode::Counted).then(Instructions::start);
            let mut probes = (mode == Mode::Probed).then_some([0; 2]);
            let mut watch = Watch::start(job.clock);
            start_together(&waiting);
            let start = job.clock.raw();
            match (&mut recorder, turns) {
                _ if let Some((due, queue)) = &due => {
                    let served =
                        replay_lane_paced(&mut engine, lane, &mut decisions, job.burst, job.clock, due, *queue);
                    paced = Some(served);
                }
                (None, None) if let Some(probes) = &mut probes => {
                    replay_lane_probed(&mut engine, lane, &mut decisions, probes);
                }
                (None, None) => replay_lane(&mut engine, lane, &mut decisions, job.burst),
                (None, Some(turns)) => replay_lane_in_turns(&mut engine, lane, &mut decisions, turns),
                (Some(recorder), None) => replay_lane_stamped(&mut engine, lane, &mut decisions, job.burst, recorder),
                (Some(recorder), Some(turns)) => {
                    replay_lane_in_turns_stamped(&mut engine, lane, &mut decisions, turns, recorder);
                }
            }
            let end = job.clock.raw();
            let instructions = instructions.as_mut().map(|started| match started {
                Ok(instructions) => instructions.count(),
                Err(reason) => Err(reason.clone()),
            });
            let noise = watch.window(job.clock);
            let latencies = recorder.map(Recorder::finish);
            let paced = paced.zip(due).map(|(served, (due, _))| served.measure(&due, job.burst, slots()));
            Finished {
                start,
                end,
                decisions,
                counters: engine.counters(),
                latencies,
                paced,
                probes,
                instructions,
                noise,
            }
        })
    });
    let finished: Vec<Finished> = finished.into_iter().flatten().collect();
    drop(inputs);
    let start = finished.iter().map(|f| f.start).min().unwrap_or(0);
    let end = finished.iter().map(|f| f.end).max().unwrap_or(0);
    let mut pass = Pass {
        elapsed_ns: job.clock.ns(start, end),
        decisions: Vec::new(),
        counters: None,
        latencies: None,
        paced: None,
        probes: None,
        instructions: None,
        noise: Noise::default(),
    };
    for worker in finished {
        pass.decisions.push(worker.decisions);
        if let Some(counters) = worker.counters {
            pass.counters.get_or_insert_default().merge(&counters);
        }
        if let Some(latencies) = worker.latencies {
            pass.latencies.get_or_insert_default().merge(&latencies);
        }
        if let Some(paced) = worker.paced {
            pass.paced.get_or_insert_default().merge(&paced);
        }
        if let Some([lookups, probes]) = worker.probes {
            let sum = pass.probes.get_or_insert_default();
            *sum = [sum[0] + lookups, sum[1] + probes];
        }
        pass.instructions = match (pass.instructions, worker.instructions) {
            (Some(Ok(sum)), Some(Ok(more))) => Some(Ok(sum + more)),
            (Some(Err(reason)), _) | (_, Some(Err(reason))) => Some(Err(reason)),
            (one, other) => one.or(other),
        };
        pass.noise.merge(&worker.noise);
    }
    pass
}

/// No core starts before all are ready. Spins, since waking a sleeper takes longer than a pass of a
/// small trace; yields in between for the case of more workers than cores.
fn start_together(waiting: &AtomicUsize) {
    waiting.fetch_sub(1, Ordering::AcqRel);
    let mut spins = 0u32;
    while waiting.load(Ordering::Acquire) != 0 {
        std::hint::spin_loop();
        spins += 1;
        if spins.is_multiple_of(4096) {
            std::thread::yield_now();
        }
    }
}

/// The throughput loop: bursts to the engine, decisions to memory, nothing else.
fn replay_lane<E: Engine>(engine: &mut E, lane: &Lane, decisions: &mut [Decision], burst: usize) {
    let packets = lane.packets.chunks(burst);
    let tags = lane.tags.chunks(burst);
    for ((packets, tags), decisions) in packets.zip(tags).zip(decisions.chunks_mut(burst)) {
        engine.burst(packets, tags, decisions, &mut NoStamps);
    }
}

/// The same packet by packet, each look-up's probes counted first. Untimed.
fn replay_lane_probed<E: Engine>(engine: &mut E, lane: &Lane, decisions: &mut [Decision], probes: &mut [u64; 2]) {
    let packets = lane.packets.chunks(1);
    let tags = lane.tags.chunks(1);
    for ((packets, tags), decisions) in packets.zip(tags).zip(decisions.chunks_mut(1)) {
        if let Some(more) = engine.probes(&packets[0], tags[0]) {
            *probes = [probes[0] + 1, probes[1] + u64::from(more)];
        }
        engine.burst(packets, tags, decisions, &mut NoStamps);
    }
}

/// The latency loop: the same, with a stamp when a burst is handed over and one for each verdict, or fewer.
/// Histograms are filled between bursts.
fn replay_lane_stamped<E: Engine>(
    engine: &mut E,
    lane: &Lane,
    decisions: &mut [Decision],
    burst: usize,
    recorder: &mut Recorder,
) {
    let packets = lane.packets.chunks(burst);
    let tags = lane.tags.chunks(burst);
    for ((packets, tags), decisions) in packets.zip(tags).zip(decisions.chunks_mut(burst)) {
        recorder.hand_over_next(packets.len());
        burst_stamped(engine, packets, tags, decisions, recorder);
    }
}

/// One burst, and its latencies.
#[inline(always)]
fn burst_stamped<E: Engine>(
    engine: &mut E,
    packets: &[Packet],
    tags: &[Tag],
    decisions: &mut [Decision],
    recorder: &mut Recorder,
) {
    match recorder.stamping() {
        Stamping::Burst => engine.burst(packets, tags, decisions, &mut NoStamps),
        Stamping::Sampled(_) | Stamping::Every => engine.burst(packets, tags, decisions, recorder),
    }
    recorder.record(packets.len());
}

/// The throughput loop where packets of one flow meet several cores: a burst begins when the order
/// window lets it.
fn replay_lane_in_turns<E: Engine>(engine: &mut E, lane: &Lane, decisions: &mut [Decision], mut turns: Turns) {
    while let Some((burst, slowest_ns)) = turns.next() {
        engine.sweep_until(slowest_ns);
        let (packets, tags) = (&lane.packets[burst.clone()], &lane.tags[burst.clone()]);
        engine.burst(packets, tags, &mut decisions[burst], &mut NoStamps);
    }
}

/// The latency loop of the same. Waiting for slower cores comes before the hand-over.
fn replay_lane_in_turns_stamped<E: Engine>(
    engine: &mut E,
    lane: &Lane,
    decisions: &mut [Decision],
    mut turns: Turns,
    recorder: &mut Recorder,
) {
    while let Some((burst, slowest_ns)) = turns.next() {
        engine.sweep_until(slowest_ns);
        recorder.hand_over(burst.len());
        let (packets, tags) = (&lane.packets[burst.clone()], &lane.tags[burst.clone()]);
        burst_stamped(engine, packets, tags, &mut decisions[burst], recorder);
    }
}

impl Stamp for Recorder<'_> {
    #[inline(always)]
    fn verdict_known(&mut self) {
        self.stamp();
    }
}
