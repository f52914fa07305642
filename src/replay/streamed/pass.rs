//! Once through a trace, with any number of engines at once.

use super::lanes::{Distributor, LaneBatch, Lanes};
use super::pipeline::{Pipeline, Ready, Stages};
use super::referee::{Referee, Refereed, Turn};
use super::serve::{Ahead, Serve, Served};
use crate::engine::registry::Kind;
use crate::measure::{Busy, Stop};
use crate::packet::Ignored;
use crate::replay::{Stream, Workload};
use crate::table::{FlowHash, HashKey};
use crate::trace::stream::Sequence;
use crate::trace::{Selection, Summary, TraceError};
use crate::verify::Counts;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Batches that wait for each engine's core, and for the referee.
const WAITING: usize = 4;

/// An engine that takes part in a pass.
pub struct Consumer<'a> {
    /// The engine.
    pub kind: Kind,
    /// Its cores.
    pub cores: usize,
    /// It, with its tables.
    pub engine: Box<dyn Serve + 'a>,
}

/// What a pass came to.
pub struct StreamPass {
    /// What the files say of themselves.
    pub summary: Summary,
    /// Packets that engines evaluate.
    pub evaluated: u64,
    /// Frames that they do not, by cause.
    pub ignored: BTreeMap<Ignored, u64>,
    /// One an engine, in their order. Fragments of no whole datagram are counted for stateful ones.
    pub served: Vec<Served>,
    /// CPU time of each engine's bursts.
    pub evaluating: Vec<Busy>,
    /// Packets by lane, one an engine.
    pub lanes: Vec<Vec<u64>>,
    /// What the reference says.
    pub refereed: Option<Refereed>,
}

/// Takes a trace through the engines and, if there is one, the referee; up to where `stop` is asked.
pub fn stream_pass(
    workload: &Workload,
    mut pipeline: Pipeline,
    selection: Selection,
    stages: &Stages,
    consumers: &mut [Consumer],
    referee: Option<Referee>,
    stop: &Stop,
) -> Result<StreamPass, TraceError> {
    let mut distributor = Distributor {
        lanes: Vec::new(),
        turn: referee.is_some().then(Turn::default),
        shards: Vec::new(),
        hash: FlowHash::new(HashKey::from_seed(workload.scenario_key)),
        all_shards: workload.geometry.shards,
        lost: Counts::default(),
    };
    let mut sequence = Sequence::new(selection);
    let streams: Vec<Stream> = consumers.iter().map(|consumer| Stream::of(consumer.kind)).collect();
    let cores: Vec<usize> = consumers.iter().map(|consumer| consumer.cores).collect();
    let evaluating: Vec<Busy> = consumers.iter().map(|_| Busy::default()).collect();
    let (served, refereed, lanes) = thread::scope(|scope| {
        let mut engines = Vec::new();
        for ((consumer, stream), busy) in consumers.iter_mut().zip(&streams).zip(&evaluating) {
            let (takers, receivers): (Vec<_>, Vec<_>) =
                (0..consumer.cores).map(|_| sync_channel::<Arc<LaneBatch>>(WAITING)).unzip();
            let known = distributor.lanes.iter().position(|lanes| lanes.is(*stream, consumer.cores));
            let lanes = known.unwrap_or_else(|| {
                distributor.lanes.push(Lanes::new(*stream, consumer.cores, workload.burst));
                distributor.lanes.len() - 1
            });
            distributor.lanes[lanes].add(takers);
            let world = workload.world(consumer.kind).filter(|world| world.has_paths());
            let ahead = Ahead { world, busy: &stages.steer };
            engines.push(scope.spawn(move || consumer.engine.serve(receivers, ahead, busy)));
        }
        let (to_referee, turns) = sync_channel::<Turn>(WAITING);
        let referee = referee.map(|mut referee| {
            scope.spawn(move || {
                turns.iter().for_each(|turn| referee.judge(&turn));
                referee.finish()
            })
        });
        stages.steer.time(|| {
            while !sequence.is_done()
                && !stop.is_asked()
                && let Some(Ready { decoded, shards }) = pipeline.next()
            {
                distributor.shards = shards;
                sequence.batch(&decoded, &mut distributor);
                hand_over(&mut distributor.turn, &to_referee);
            }
            sequence.end(&mut distributor);
            hand_over(&mut distributor.turn, &to_referee);
        });
        drop(to_referee);
        let lanes: Vec<(Stream, Vec<u64>)> =
            std::mem::take(&mut distributor.lanes).into_iter().map(|lanes| (lanes.stream(), lanes.end())).collect();
        let served: Vec<Served> = engines.into_iter().map(joined).collect();
        (served, referee.map(joined), lanes)
    });
    let mut served = served;
    let lost = distributor.lost;
    for (served, _) in served.iter_mut().zip(&streams).filter(|(_, stream)| **stream == Stream::Datagrams) {
        served.counts.merge(&lost);
    }
    let refereed = refereed.map(|mut refereed| {
        refereed.stateful.iter_mut().for_each(|counts| counts.merge(&lost));
        refereed
    });
    let of = |stream: &Stream, cores: &usize| {
        let found = lanes.iter().find(|(of, lanes)| of == stream && lanes.len() == *cores);
        found.map_or_else(Vec::new, |(_, lanes)| lanes.clone())
    };
    let was_all = !sequence.is_done() && !stop.is_asked();
    Ok(StreamPass {
        lanes: streams.iter().zip(&cores).map(|(stream, cores)| of(stream, cores)).collect(),
        summary: pipeline.end(was_all)?.unwrap_or_else(|| sequence.seen().clone()),
        evaluated: sequence.evaluated,
        ignored: sequence.ignored,
        served,
        evaluating,
        refereed,
    })
}

fn hand_over(turn: &mut Option<Turn>, referee: &std::sync::mpsc::SyncSender<Turn>) {
    if let Some(full) = turn.as_mut().filter(|turn| !turn.is_empty()) {
        // A referee that is gone has panicked, and says so when it is joined.
        drop(referee.send(std::mem::take(full)));
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
