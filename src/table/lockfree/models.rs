//! Model checks of each protocol: loom runs every interleaving, and every reordering that the
//! orderings allow, within the preemption bound. Run with
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test --release --lib models`.

use super::*;
use crate::conntrack::{Notes, Status, Windows};
use crate::packet::Direction;
use crate::table::HashKey;
use deadlines::Deadlines;
use loom::sync::Arc;
use loom::thread;

const PLACE: Place = Place::new(0, 0x1001);

fn key(n: u64) -> FlowKey {
    FlowKey { words: [n, n, n, n, n] }
}

fn connection(expires_ns: u64) -> Connection {
    let notes = Notes { marks: expires_ns as u32, number: expires_ns };
    Connection { status: Status::opened_by(Direction::In), expires_ns, notes }
}

fn insert<M: SharedMode>(table: &LockFree<M>, n: u64, expires_ns: u64) -> Insert {
    table.worker().insert(PLACE, &key(n), &connection(expires_ns), None, 0)
}

/// A look-up that writes nothing.
fn read<M: SharedMode>(table: &LockFree<M>, n: u64) -> Option<Connection> {
    let (index, word) = table.shards[0].find(&PLACE, &key(n))?;
    table.shards[0].entry(index).load(word)
}

fn remove<M: SharedMode>(table: &LockFree<M>, n: u64) -> bool {
    table.worker().update(PLACE, &key(n), false, |_, _| (Fate::Remove, ())).is_some()
}

fn table(entries: u32) -> Arc<LockFree> {
    table_of(entries, OnFull::DropNew)
}

fn table_of<M: Mode>(entries: u32, on_full: OnFull) -> Arc<LockFree<M>> {
    let geometry = Geometry { shards: 1, entries_per_shard: entries };
    Arc::new(LockFree::of_shards(geometry, on_full, FlowHash::new(HashKey::from_seed(1)), |_| true))
}

/// Insert and insert: of two cores with one new flow, one wins, and both find its entry.
fn one_flow_one_entry<M: SharedMode>() {
    loom::model(|| {
        let table = table_of::<M>(2, OnFull::DropNew);
        let insert_and_find = |table: Arc<LockFree<M>>| {
            move || {
                let result = insert(&table, 1, 5);
                assert!(table.worker().update(PLACE, &key(1), false, |_, _| (Fate::Keep, ())).is_some());
                result
            }
        };
        let other = thread::spawn(insert_and_find(table.clone()));
        let here = insert_and_find(table.clone())();
        let there = other.join().unwrap();
        assert!(matches!((here, there), (Insert::Done, Insert::Exists) | (Insert::Exists, Insert::Done)));
        assert_eq!(table.shards[0].occupied(), 1);
    });
}

#[test]
fn one_flow_one_entry_shared() {
    one_flow_one_entry::<Shared>();
}

#[test]
fn one_flow_one_entry_bucket_lock() {
    one_flow_one_entry::<BucketLock>();
}

/// What a burst has noted of a flow that was not there is believed only as long as it holds: the flow may have come,
/// or come and gone, since.
#[test]
fn a_noted_absence_holds_no_longer_than_its_header() {
    for stays in [true, false] {
        loom::model(move || {
            let table = table_of::<Shared>(2, OnFull::DropNew);
            let mut place = PLACE;
            let mut worker = table.worker();
            worker.prefetch_entry(&mut place, false);
            let writer = table.clone();
            let other = thread::spawn(move || {
                let result = insert(&writer, 1, 5);
                assert!(stays || result == Insert::Exists || remove(&writer, 1));
                result
            });
            let known = worker.update(place, &key(1), false, |_, _| (Fate::Keep, ())).is_some();
            let here = known || worker.insert(place, &key(1), &connection(5), None, 0) == Insert::Done;
            let there = other.join().unwrap();
            assert!(here || there == Insert::Done);
            // Never two entries of one flow.
            assert_eq!(table.shards[0].occupied(), usize::from(read(&table, 1).is_some()));
            assert!(!stays || table.shards[0].occupied() == 1);
        });
    }
}

/// Two cores free and take entries: each entry is one core's, whichever list it comes from.
#[test]
fn a_free_entry_is_taken_once() {
    loom::model(|| {
        let table = table(2);
        let own = |flow: u64| Place::new(0, flow << 40 | flow);
        table.worker().insert(own(1), &key(1), &connection(5), None, 0);
        table.worker().insert(own(2), &key(2), &connection(5), None, 0);
        let come_and_go = |table: Arc<LockFree>, old: u64, new: u64| {
            move || {
                let mut worker = table.worker();
                assert!(worker.update(own(old), &key(old), false, |_, _| (Fate::Remove, ())).is_some());
                // The other core may just have taken the entry that this one has freed, but then has freed another.
                while worker.insert(own(new), &key(new), &connection(5), None, 0) != Insert::Done {
                    thread::yield_now();
                }
            }
        };
        let other = thread::spawn(come_and_go(table.clone(), 1, 3));
        come_and_go(table.clone(), 2, 4)();
        other.join().unwrap();
        let entry = |flow: u64| table.shards[0].find(&own(flow), &key(flow)).map(|found| found.0);
        assert!(matches!((entry(3), entry(4)), (Some(a), Some(b)) if a != b));
        assert!(entry(1).is_none() && entry(2).is_none());
    });
}

/// Insert and lookup: a reader finds nothing, or a complete entry.
#[test]
fn a_found_entry_is_complete() {
    loom::model(|| {
        let table = table(1);
        let writer = table.clone();
        let other = thread::spawn(move || insert(&writer, 1, 5));
        if let Some(found) = read(&table, 1) {
            assert_eq!(found, connection(5));
        }
        assert_eq!(other.join().unwrap(), Insert::Done);
    });
}

/// Remove and reuse against lookup: whoever looks for the old flow never gets the new one's data.
#[test]
fn a_reused_entry_is_not_the_old_flow() {
    loom::model(|| {
        let table = table(1);
        insert(&table, 1, 5);
        let writer = table.clone();
        let other = thread::spawn(move || {
            assert!(remove(&writer, 1));
            assert_eq!(insert(&writer, 2, 9), Insert::Done);
        });
        if let Some(found) = read(&table, 1) {
            assert_eq!(found, connection(5));
        }
        other.join().unwrap();
        assert!(read(&table, 1).is_none());
        assert_eq!(read(&table, 2), Some(connection(9)));
    });
}

/// Expire and expire: one core removes the entry, once.
#[test]
fn an_entry_is_removed_once() {
    loom::model(|| {
        let table = table(1);
        insert(&table, 1, 5);
        let remover = table.clone();
        let other = thread::spawn(move || remove(&remover, 1));
        let here = remove(&table, 1);
        let there = other.join().unwrap();
        assert!(here != there, "removed by both, or by none");
        assert_eq!(table.shards[0].occupied(), 0);
        assert_eq!(insert(&table, 2, 5), Insert::Done);
    });
}

/// Hit and hit: of two updates none is lost.
#[test]
fn no_update_is_lost() {
    loom::model(|| {
        let table = table(1);
        insert(&table, 1, 5);
        // Different status bits, as two packets of one flow set them.
        let set = |table: Arc<LockFree>, bit: u32| {
            move || {
                table.worker().update(PLACE, &key(1), false, |connection, _| {
                    connection.status = Status::from_bits(connection.status.bits() | bit);
                    (Fate::Keep, ())
                })
            }
        };
        let other = thread::spawn(set(table.clone(), 1 << 4));
        assert!(set(table.clone(), 1 << 5)().is_some());
        assert!(other.join().unwrap().is_some());
        assert_eq!(read(&table, 1).unwrap().status.bits() & (3 << 4), 3 << 4);
    });
}

/// Hit and removal: an update works on a live entry, or finds none.
#[test]
fn an_update_and_a_removal_exclude_each_other() {
    loom::model(|| {
        let table = table(1);
        insert(&table, 1, 5);
        let updater = table.clone();
        let other = thread::spawn(move || {
            updater.worker().update(PLACE, &key(1), false, |connection, _| {
                connection.status = Status::from_bits(connection.status.bits() | 1 << 4);
                (Fate::Keep, ())
            })
        });
        // What is removed is the entry as it is at that moment: with the update, or before it.
        let removed = table
            .worker()
            .update(PLACE, &key(1), false, |connection, _| (Fate::Remove, connection.status.bits() & 1 << 4 != 0));
        let updated = other.join().unwrap().is_some();
        assert_eq!(removed, Some(updated));
        assert!(read(&table, 1).is_none());
        assert_eq!(table.shards[0].occupied(), 0);
    });
}

/// Two packets of one TCP connection: each works on the windows that the other has left, whole.
fn windows_belong_to_one_core_at_a_time<M: SharedMode>() {
    loom::model(|| {
        let table = table_of::<M>(1, OnFull::DropNew);
        let none = Connection { notes: Notes::default(), ..connection(5) };
        table.worker().insert(PLACE, &key(1), &none, Some(&Windows::of_test(0)), 0);
        let count = |table: Arc<LockFree<M>>| {
            move || {
                table.worker().update(PLACE, &key(1), true, |connection, windows| {
                    assert_eq!(*windows, Windows::of_test(connection.notes.marks));
                    connection.notes.marks += 1;
                    *windows = Windows::of_test(connection.notes.marks);
                    (Fate::Keep, connection.notes.marks)
                })
            }
        };
        let other = thread::spawn(count(table.clone()));
        let here = count(table.clone())();
        let there = other.join().unwrap();
        assert!(matches!((here, there), (Some(1), Some(2)) | (Some(2), Some(1))), "{here:?} {there:?}");
    });
}

#[test]
fn windows_belong_to_one_core_at_a_time_shared() {
    windows_belong_to_one_core_at_a_time::<Shared>();
}

#[test]
fn windows_belong_to_one_core_at_a_time_bucket_lock() {
    windows_belong_to_one_core_at_a_time::<BucketLock>();
}

/// Removal and reuse against a packet that holds the entry: whoever waits for it never touches another flow's.
#[test]
fn an_entry_that_is_held_is_not_reused() {
    loom::model(|| {
        let table = table(1);
        table.worker().insert(PLACE, &key(1), &connection(5), Some(&Windows::of_test(1)), 0);
        let writer = table.clone();
        let other = thread::spawn(move || {
            assert!(writer.worker().update(PLACE, &key(1), true, |_, _| (Fate::Remove, ())).is_some());
            let windows = Windows::of_test(2);
            assert_eq!(writer.worker().insert(PLACE, &key(2), &connection(9), Some(&windows), 0), Insert::Done);
        });
        table.worker().update(PLACE, &key(1), true, |connection, windows| {
            assert_eq!((connection.expires_ns, *windows), (5, Windows::of_test(1)));
            connection.expires_ns = 6;
            (Fate::Keep, ())
        });
        other.join().unwrap();
        let left = table.worker().update(PLACE, &key(2), true, |c, windows| (Fate::Keep, (c.expires_ns, *windows)));
        assert_eq!(left, Some((9, Windows::of_test(2))));
    });
}

/// Expiry and insert, expiry and a nearer deadline: no entry is forgotten by the tree of deadlines.
fn a_sweep_forgets_nothing<M: SharedMode>(uses_windows: bool) {
    loom::model(move || {
        // Two buckets, so that the tree has a root above them.
        let table = table_of::<M>(10, OnFull::DropNew);
        insert(&table, 1, 5);
        let writer = table.clone();
        let other = thread::spawn(move || {
            insert(&writer, 2, 7);
            writer.worker().update(PLACE, &key(2), uses_windows, |connection, _| {
                connection.expires_ns = 6;
                (Fate::Keep, ())
            });
        });
        table.worker().sweep(5);
        other.join().unwrap();
        table.worker().sweep(6);
        assert_eq!(table.shards[0].occupied(), 0);
    });
}

#[test]
fn a_sweep_forgets_nothing_shared() {
    a_sweep_forgets_nothing::<Shared>(false);
}

#[test]
fn a_sweep_forgets_nothing_that_is_held() {
    a_sweep_forgets_nothing::<Shared>(true);
}

#[test]
fn a_sweep_forgets_nothing_bucket_lock() {
    a_sweep_forgets_nothing::<BucketLock>(true);
}

/// Expiry and insert alone: an insert that leaves its bucket's bound as it is, which is low enough, is not forgotten.
/// The sweep finds something that has expired, or only something that has moved on.
#[test]
fn a_sweep_forgets_no_insert() {
    for (moved, ahead) in [(false, false), (false, true), (true, false), (true, true)] {
        loom::model(move || {
            let table = table(10);
            insert(&table, 1, 5);
            if moved {
                table.worker().update(PLACE, &key(1), false, |connection, _| (Fate::Keep, connection.expires_ns = 9));
            }
            let writer = table.clone();
            let other = thread::spawn(move || insert(&writer, 2, 7));
            if ahead {
                thread::yield_now();
            }
            table.worker().sweep(5);
            assert_eq!(other.join().unwrap(), Insert::Done);
            assert_eq!(table.shards[0].occupied(), 1 + usize::from(moved));
            table.worker().sweep(7);
            assert_eq!(table.shards[0].occupied(), usize::from(moved));
        });
    }
}

/// Nearer deadline and sweep alone: the bucket's bound, low enough when the deadline came nearer, is not raised beyond it.
#[test]
fn a_sweep_forgets_no_nearer_deadline() {
    for (uses_windows, ahead) in [(false, false), (false, true), (true, false), (true, true)] {
        loom::model(move || {
            let table = table(10);
            insert(&table, 1, 5);
            insert(&table, 2, 9);
            let updater = table.clone();
            let other = thread::spawn(move || {
                updater.worker().update(PLACE, &key(2), uses_windows, |c, _| (Fate::Keep, c.expires_ns = 7));
            });
            if ahead {
                thread::yield_now();
            }
            table.worker().sweep(5);
            other.join().unwrap();
            assert_eq!(table.shards[0].occupied(), 1);
            table.worker().sweep(7);
            assert_eq!(table.shards[0].occupied(), 0);
        });
    }
}

/// Raise and raise: of two cores, one of which raises a bound while the other raises the one above it, from what the first
/// has just reset, none leaves a bound too high.
#[test]
fn raised_bounds_stay_low_enough() {
    loom::model(|| {
        // Three levels. Nothing expires before 9, but only the leaf says so.
        let deadlines = Arc::new(Deadlines::new(4, &mut Arena::new(0)));
        deadlines.note::<Shared>(0, 5);
        deadlines.set_leaf::<Shared>(0, 9);
        let searcher = deadlines.clone();
        let other = thread::spawn(move || searcher.find_first_due::<Shared>(5, &mut Due::new()));
        let mut due = Due::new();
        deadlines.find_first_due::<Shared>(5, &mut due);
        assert!(due.as_slice().is_empty());
        other.join().unwrap();
        deadlines.find_first_due::<Shared>(9, &mut due);
        assert_eq!(due.as_slice(), [0]);
    });
}

/// Late look and insert: a core looks into a bucket that it had found due, and that another core has emptied since. The
/// bound that it lowers by doing so is told upwards, as the insert then finds it low enough.
#[test]
fn a_late_look_forgets_no_insert() {
    loom::model(|| {
        let table = table(10);
        insert(&table, 1, 5);
        let mut due = Due::new();
        table.shards[0].find_due(5, 8, &mut due);
        assert_eq!(due.as_slice(), [0]);
        table.worker().sweep(5);
        assert!(!table.shards[0].deadlines.any_due(7));
        let writer = table.clone();
        let other = thread::spawn(move || insert(&writer, 2, 7));
        // Else loom does not try what comes of an insert that is ahead.
        thread::yield_now();
        table.shards[0].remove_due(0, &due, 5);
        assert_eq!(other.join().unwrap(), Insert::Done);
        table.worker().sweep(7);
        assert_eq!(table.shards[0].occupied(), 0);
    });
}

/// Late look, packet and insert: a core that has read a deadline sets the bound only after a packet has moved the
/// deadline on, and another core has raised the bound to that. The bound that it lowers is told upwards.
#[test]
fn a_look_that_is_overtaken_by_another_forgets_no_insert() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let table = table(10);
        insert(&table, 1, 5);
        let mut due = Due::new();
        table.shards[0].find_due(5, 8, &mut due);
        table.worker().update(PLACE, &key(1), false, |connection, _| (Fate::Keep, connection.expires_ns = 7));
        let other = table.clone();
        let other = thread::spawn(move || {
            other.worker().update(PLACE, &key(1), false, |connection, _| (Fate::Keep, connection.expires_ns = 20));
            other.worker().sweep(5);
            insert(&other, 2, 9)
        });
        thread::yield_now();
        table.shards[0].remove_due(0, &due, 5);
        assert_eq!(other.join().unwrap(), Insert::Done);
        table.worker().sweep(9);
        assert_eq!(table.shards[0].occupied(), 1);
    });
}

/// A sweep that an insert overtakes, and a raise in between: the sweep has raised the bucket's bound too high for a
/// moment, and tells the levels above what it has become.
#[test]
fn a_bound_that_was_too_high_for_a_moment_is_told_upwards() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let table = table(10);
        insert(&table, 1, 5);
        table.worker().update(PLACE, &key(1), false, |connection, _| (Fate::Keep, connection.expires_ns = 9));
        let (inserter, searcher) = (table.clone(), table.clone());
        let insert = thread::spawn(move || insert(&inserter, 2, 7));
        let search = thread::spawn(move || {
            searcher.shards[0].deadlines.find_first_due::<Shared>(5, &mut Due::new());
        });
        table.worker().sweep(5);
        assert_eq!(insert.join().unwrap(), Insert::Done);
        search.join().unwrap();
        table.worker().sweep(7);
        assert_eq!(table.shards[0].occupied(), 1);
    });
}

/// Expiry and lookup: a packet finds its connection as it was, or finds none and opens it anew.
#[test]
fn a_sweep_and_a_packet_exclude_each_other() {
    loom::model(|| {
        // Room for two: the sweep frees the entry only after it is out of the bucket.
        let table = table(2);
        insert(&table, 1, 5);
        let updater = table.clone();
        let other = thread::spawn(move || {
            let mut worker = updater.worker();
            let known = worker.update(PLACE, &key(1), true, |connection, _| {
                connection.expires_ns = 20;
                (Fate::Keep, ())
            });
            known.is_some() || insert(&updater, 1, 20) == Insert::Done
        });
        table.worker().sweep(5);
        assert!(other.join().unwrap());
        assert_eq!(read(&table, 1).map(|c| c.expires_ns), Some(20));
        table.worker().sweep(20);
        assert_eq!(table.shards[0].occupied(), 0);
    });
}

/// Hit and eviction: an unassured connection goes, or is assured first and stays.
#[test]
fn a_hit_and_an_eviction_exclude_each_other() {
    loom::model(|| {
        let table = table_of::<Shared>(1, OnFull::EvictUnassured);
        let flow = |n| Place { hash: FlowHash::new(HashKey::from_seed(1)).hash(&key(n)), ..PLACE };
        let assured = Status::from_bits(1 << 5);
        assert!(assured.assured());
        table.worker().insert(flow(1), &key(1), &connection(5), None, 0);
        let updater = table.clone();
        let other = thread::spawn(move || {
            let hit = updater.worker().update(flow(1), &key(1), true, |connection, _| {
                connection.status = assured;
                (Fate::Keep, ())
            });
            hit.is_some()
        });
        let inserted = table.worker().insert(flow(2), &key(2), &connection(5), None, 0);
        let hit = other.join().unwrap();
        let left = table.shards[0].find(&flow(1), &key(1)).is_some();
        // Refused while the packet was at work on the only entry, or because it had made it assured.
        assert_eq!(left, inserted == Insert::Full);
        assert!(hit || inserted == Insert::Done);
    });
}
