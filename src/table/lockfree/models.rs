//! Model checks of each protocol: loom runs every interleaving, and every reordering that the
//! orderings allow, within the preemption bound. Run with
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test --release --lib models`.

use super::*;
use crate::conntrack::{Detail, Status};
use crate::packet::Direction;
use loom::sync::Arc;
use loom::thread;

const PLACE: Place = Place { shard: 0, hash: 0x1001 };

fn key(n: u64) -> FlowKey {
    FlowKey { words: [n, n, n, n, n] }
}

fn connection(expires_ns: u64) -> Connection {
    Connection { status: Status::opened_by(Direction::In), expires_ns, detail: Detail::default() }
}

fn table(entries: u32) -> Arc<LockFree> {
    Arc::new(LockFree::new(Geometry { shards: 1, entries_per_shard: entries }))
}

/// Insert and insert: of two cores with one new flow, one wins, and both find its entry.
#[test]
fn one_flow_one_entry() {
    loom::model(|| {
        let table = table(2);
        let insert = |table: Arc<LockFree>| {
            move || {
                let mut worker = table.worker();
                let result = worker.insert(PLACE, &key(1), &connection(5), false, 0);
                assert!(worker.find(PLACE, &key(1)).is_some());
                result
            }
        };
        let other = thread::spawn(insert(table.clone()));
        let here = insert(table.clone())();
        let there = other.join().unwrap();
        assert!(matches!((here, there), (Insert::Done, Insert::Exists) | (Insert::Exists, Insert::Done)));
        assert_eq!(table.shards[0].occupied(), 1);
    });
}

/// Insert and lookup: a reader finds nothing, or a complete entry.
#[test]
fn a_found_entry_is_complete() {
    loom::model(|| {
        let table = table(1);
        let writer = table.clone();
        let other = thread::spawn(move || writer.worker().insert(PLACE, &key(1), &connection(5), false, 0));
        let reader = table.worker();
        if let Some(slot) = reader.find(PLACE, &key(1)) {
            assert_eq!(reader.load(slot, false), Some(connection(5)));
        }
        assert_eq!(other.join().unwrap(), Insert::Done);
    });
}

/// Remove and reuse against lookup: whoever looks for the old flow never gets the new one's data.
#[test]
fn a_reused_entry_is_not_the_old_flow() {
    loom::model(|| {
        let table = table(1);
        table.worker().insert(PLACE, &key(1), &connection(5), false, 0);
        let writer = table.clone();
        let other = thread::spawn(move || {
            let mut worker = writer.worker();
            let slot = worker.find(PLACE, &key(1)).unwrap();
            assert!(worker.remove(PLACE, slot, &connection(5)));
            assert_eq!(worker.insert(PLACE, &key(2), &connection(9), false, 0), Insert::Done);
        });
        let reader = table.worker();
        if let Some(connection_read) = reader.find(PLACE, &key(1)).and_then(|slot| reader.load(slot, false)) {
            assert_eq!(connection_read, connection(5));
        }
        other.join().unwrap();
        assert!(reader.find(PLACE, &key(1)).is_none());
        assert!(reader.find(PLACE, &key(2)).is_some());
    });
}

/// Expire and expire: one core removes the entry, once.
#[test]
fn an_entry_is_removed_once() {
    loom::model(|| {
        let table = table(1);
        table.worker().insert(PLACE, &key(1), &connection(5), false, 0);
        let remove = |table: Arc<LockFree>| {
            move || {
                let mut worker = table.worker();
                let slot = worker.find(PLACE, &key(1));
                slot.is_some_and(|slot| worker.remove(PLACE, slot, &connection(5)))
            }
        };
        let other = thread::spawn(remove(table.clone()));
        let here = remove(table.clone())();
        let there = other.join().unwrap();
        assert!(here != there, "removed by both, or by none");
        assert_eq!(table.shards[0].occupied(), 0);
        assert_eq!(table.worker().insert(PLACE, &key(2), &connection(5), false, 0), Insert::Done);
    });
}

/// Hit and removal: an update of a removed entry fails, and an update that succeeded was on a live one.
#[test]
fn an_update_and_a_removal_do_not_both_succeed_on_one_state() {
    loom::model(|| {
        let table = table(1);
        table.worker().insert(PLACE, &key(1), &connection(5), false, 0);
        let mut answered = connection(8);
        answered.status = Status::from_bits(answered.status.bits() | 1 << 4);
        let updater = table.clone();
        let other = thread::spawn(move || {
            let mut worker = updater.worker();
            let slot = worker.find(PLACE, &key(1));
            slot.is_some_and(|slot| worker.store(slot, &connection(5), &answered, false))
        });
        let mut worker = table.worker();
        let slot = worker.find(PLACE, &key(1)).unwrap();
        let removed = worker.remove(PLACE, slot, &connection(5));
        let updated = other.join().unwrap();
        assert!(removed != updated);
        assert_eq!(table.worker().find(PLACE, &key(1)).is_some(), updated);
    });
}
