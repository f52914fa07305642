//! Engines at the end of their lanes.

use super::lanes::LaneBatch;
use crate::engine::registry::Kind;
use crate::engine::{Decision, Engine, NoStamps, Tag};
use crate::measure::Busy;
use crate::own::Build;
use crate::replay::variants::{Use, Workload};
use crate::replay::{Setup, World};
use crate::table::TableCounters;
use crate::verify::Counts;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

/// An engine that takes packets as they come.
pub trait Serve: Send {
    /// Decides on all packets of the lanes, one thread a lane, with empty tables. What the bursts take is added to
    /// `busy`.
    fn serve(&mut self, lanes: Vec<Receiver<Arc<LaneBatch>>>, ahead: Ahead, busy: &Busy) -> Served;

    /// Bytes of table memory.
    fn table_bytes(&self) -> u64;

    /// Bytes of it in huge pages, where the table asks for them and the system tells.
    fn huge_bytes(&self) -> Option<u64>;
}

/// What is done for each packet ahead of its burst, as a network card and a switch do it.
#[derive(Clone, Copy)]
pub struct Ahead<'a> {
    /// Rules that differ by interface, if they do: which of them a packet meets is found.
    pub world: Option<&'a World>,
    /// The time that this takes is added here.
    pub busy: &'a Busy,
}

impl Ahead<'_> {
    /// A batch's tags, with all that is known; `found` is memory for them.
    fn tags<'t>(&self, batch: &'t LaneBatch, found: &'t mut Vec<Tag>) -> &'t [Tag] {
        let Some(world) = self.world else { return &batch.tags };
        self.busy.time(|| {
            found.clone_from(&batch.tags);
            world.find_ends(&batch.packets, found);
        });
        found
    }
}

/// What it came to.
#[derive(Default)]
pub struct Served {
    /// The decisions; all fragments of a datagram have the datagram's.
    pub counts: Counts,
    /// The tables' counters, summed over cores.
    pub counters: Option<TableCounters>,
}

struct Streamed<S> {
    setup: S,
    burst: usize,
}

/// Makes a setup an engine that takes packets as they come.
struct Streams {
    burst: usize,
}

impl<'a> Use<'a> for Streams {
    type Made = Box<dyn Serve + 'a>;

    fn setup<S: Setup + 'a>(self, setup: S) -> Box<dyn Serve + 'a> {
        Box::new(Streamed { setup, burst: self.burst })
    }

    fn own(self, workload: &'a Workload, cores: usize, build: Build) -> Box<dyn Serve + 'a> {
        (build.serve)(workload, cores, self.burst)
    }
}

/// An engine that is not in the registry, to take packets as they come, in bursts of so many.
pub(crate) fn served_of<'a, S: Setup + 'a>(setup: S, burst: usize) -> Box<dyn Serve + 'a> {
    Streams { burst }.setup(setup)
}

impl Workload {
    /// Builds an engine for packets that come over so many lanes, steered symmetrically. `None` if its rules were not
    /// given.
    pub fn served(&self, kind: Kind, cores: usize) -> Option<Box<dyn Serve + '_>> {
        self.assemble(kind, cores, Streams { burst: self.burst })
    }
}

impl<S: Setup> Serve for Streamed<S> {
    fn serve(&mut self, lanes: Vec<Receiver<Arc<LaneBatch>>>, ahead: Ahead, busy: &Busy) -> Served {
        let burst = self.burst;
        let engines = self.setup.engines();
        let served = thread::scope(|scope| {
            let workers: Vec<_> = engines
                .into_iter()
                .zip(lanes)
                .map(|(engine, lane)| scope.spawn(move || serve_lane(engine, &lane, burst, ahead, busy)))
                .collect();
            workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let served: Vec<Served> = served;
        let mut all = Served::default();
        for lane in served {
            all.counts.merge(&lane.counts);
            if let Some(counters) = lane.counters {
                all.counters.get_or_insert_default().merge(&counters);
            }
        }
        all
    }

    fn table_bytes(&self) -> u64 {
        self.setup.table_bytes()
    }

    fn huge_bytes(&self) -> Option<u64> {
        self.setup.huge_bytes()
    }
}

fn serve_lane<E: Engine>(
    mut engine: E,
    lane: &Receiver<Arc<LaneBatch>>,
    burst: usize,
    ahead: Ahead,
    busy: &Busy,
) -> Served {
    let mut decisions: Vec<Decision> = Vec::new();
    let mut found = Vec::new();
    let mut counts = Counts::default();
    for batch in lane {
        decisions.resize(batch.packets.len(), Decision::default());
        let tags = ahead.tags(&batch, &mut found);
        busy.time(|| {
            let (packets, tags) = (batch.packets.chunks(burst), tags.chunks(burst));
            for ((packets, tags), decisions) in packets.zip(tags).zip(decisions.chunks_mut(burst)) {
                engine.burst(packets, tags, decisions, &mut NoStamps);
            }
        });
        batch.numbers.iter().zip(&decisions).for_each(|(number, decision)| counts.add(*number, *decision));
        for (at, fragments) in &batch.fragments {
            fragments.iter().for_each(|number| counts.add(*number, decisions[*at]));
        }
    }
    Served { counts, counters: engine.counters() }
}
