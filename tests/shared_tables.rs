//! Tables that cores share: several threads insert, update and remove the same few flows, and no entry
//! is lost or there twice.

use ctbench::conntrack::{Connection, Notes, OnFull, Status, Windows};
use ctbench::measure::statistics::Random;
use ctbench::packet::{Direction, FlowKey};
use ctbench::table::access::SharedTable;
use ctbench::table::locked::Locked;
use ctbench::table::lockfree::{BucketLock, LockFree};
use ctbench::table::{Fate, FlowHash, FlowTable, Geometry, HashKey, Insert, Place, TableCounters};
use std::sync::atomic::{AtomicU64, Ordering::*};

const THREADS: u64 = 4;
const ROUNDS: u64 = 60_000;
const FLOWS: u64 = 12;
const GEOMETRY: Geometry = Geometry { shards: 2, entries_per_shard: FLOWS as u32 };

fn hash() -> FlowHash {
    FlowHash::new(HashKey::from_seed(1))
}

fn key(flow: u64) -> FlowKey {
    FlowKey { words: [flow, 1, 2, 3, 4] }
}

fn place(flow: u64) -> Place {
    Place::new((flow % 2) as u32, hash().hash(&key(flow)))
}

fn connection(expires_ns: u64) -> Connection {
    Connection { status: Status::opened_by(Direction::In), expires_ns, notes: Notes::default() }
}

/// Every other flow is of a protocol that uses windows.
fn uses_windows(flow: u64) -> bool {
    flow.is_multiple_of(4) || flow % 4 == 3
}

/// How far an update moves a deadline. Without windows, a plain store may set its low 30 bits (docs/TABLE.md):
/// only what is above them adds up when cores share a flow.
fn step_ns(flow: u64) -> u64 {
    if uses_windows(flow) { 1 } else { 1 << 30 }
}

/// What the threads know of a flow, in sum: deadlines start at 1, and each update adds a step.
#[derive(Default)]
struct Flow {
    inserts: AtomicU64,
    removals: AtomicU64,
    updates: AtomicU64,
    /// Updates that removed entries had seen.
    removed_updates: AtomicU64,
}

fn work(table: &mut impl FlowTable, flows: &[Flow], seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..ROUNDS {
        let n = random.below(FLOWS as usize);
        let (flow, place, key) = (&flows[n], place(n as u64), key(n as u64));
        let (windows, step_ns) = (uses_windows(n as u64), step_ns(n as u64));
        match random.below(4) {
            0 => {
                let words = Windows::default();
                let result = table.insert(place, &key, &connection(1), windows.then_some(&words), 0);
                assert_ne!(result, Insert::Full, "there is room for every flow");
                flow.inserts.fetch_add(u64::from(result == Insert::Done), Relaxed);
            }
            1 => {
                if let Some(seen) = table.update(place, &key, windows, |c, _| (Fate::Remove, c.expires_ns)) {
                    flow.removals.fetch_add(1, Relaxed);
                    flow.removed_updates.fetch_add((seen - 1) / step_ns, Relaxed);
                }
            }
            _ => {
                let updated = table.update(place, &key, windows, |c, _| {
                    c.expires_ns += step_ns;
                    (Fate::Keep, ())
                });
                flow.updates.fetch_add(u64::from(updated.is_some()), Relaxed);
            }
        }
    }
}

/// Every flow's entries and updates add up, and the table holds what it says.
fn stress<T: SharedTable>(table: T) {
    let flows: Vec<Flow> = (0..FLOWS).map(|_| Flow::default()).collect();
    let mut counters = TableCounters::default();
    std::thread::scope(|scope| {
        let work = |seed| {
            let mut worker = table.worker();
            work(&mut worker, &flows, seed);
            *worker.counters()
        };
        let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(move || work(seed))).collect();
        threads.into_iter().for_each(|thread| counters.merge(&thread.join().expect("no thread panics")));
    });
    let mut worker = table.worker();
    let mut held = 0;
    for (n, flow) in (0..).zip(&flows) {
        let removed = worker.update(place(n), &key(n), uses_windows(n), |c, _| (Fate::Remove, c.expires_ns));
        let again = worker.update(place(n), &key(n), false, |_, _| (Fate::Remove, ()));
        assert_eq!(again, None, "flow {n} had two entries");
        let [inserts, removals, updates, removed_updates] =
            [&flow.inserts, &flow.removals, &flow.updates, &flow.removed_updates].map(|n| n.load(Relaxed));
        assert!(removals > 0 && updates > 0, "flow {n} was hardly used");
        assert_eq!(inserts - removals, u64::from(removed.is_some()), "flow {n}: entries lost or doubled");
        assert_eq!(
            removed_updates + removed.map_or(0, |seen| (seen - 1) / step_ns(n)),
            updates,
            "flow {n}: updates lost"
        );
        held += i64::from(removed.is_some());
    }
    assert_eq!(counters.entries, held);
    // Room was given back in full: every shard takes as many entries as it has, and no more.
    for n in 0..2 * u64::from(GEOMETRY.entries_per_shard) {
        assert_eq!(worker.insert(place(n), &key(n), &connection(9), None, 0), Insert::Done, "entry {n}");
    }
    assert_eq!(worker.insert(place(99), &key(99), &connection(9), None, 8), Insert::Full);
    assert_eq!(worker.insert(place(99), &key(99), &connection(20), None, 9), Insert::Done, "the others have expired");
}

#[test]
fn lockfree() {
    stress(LockFree::new(GEOMETRY, OnFull::DropNew, hash()));
}

#[test]
fn bucketlock() {
    stress(LockFree::<BucketLock>::of_shards(GEOMETRY, OnFull::DropNew, hash(), |_| true));
}

#[test]
fn locked() {
    stress(Locked::new(GEOMETRY, OnFull::DropNew));
}

#[cfg(feature = "contenders")]
mod contenders {
    use super::*;
    use ctbench::table::contender::{Contender, Map};

    fn of<M: Map>() -> Contender<M> {
        Contender::new(GEOMETRY, OnFull::DropNew)
    }

    #[test]
    fn papaya() {
        stress(of::<ctbench::table::papaya::Papaya>());
    }

    #[test]
    fn dashmap() {
        stress(of::<ctbench::table::dashmap::Dash>());
    }

    #[test]
    fn scc() {
        stress(of::<ctbench::table::scc::Scc>());
    }
}
