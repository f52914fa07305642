//! Model checks of each protocol: loom runs every interleaving, and every reordering that the
//! orderings allow, within the preemption bound. Run with
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test --release --lib models`.

use super::*;
use crate::conntrack::{Notes, Status};
use crate::packet::Direction;
use crate::table::HashKey;
use loom::sync::Arc;
use loom::thread;

const PLACE: Place = Place { shard: 0, hash: 0x1001, hint: 0 };

fn key(n: u64) -> FlowKey {
    FlowKey { words: [n, n, n, n, n] }
}

fn connection(expires_ns: u64) -> Connection {
    let notes = Notes { marks: expires_ns as u32, number: expires_ns };
    Connection { status: Status::opened_by(Direction::In), expires_ns, notes }
}

fn insert(table: &LockFree, n: u64, expires_ns: u64) -> Insert {
    table.worker().insert(PLACE, &key(n), &connection(expires_ns), None, 0)
}

/// A look-up that writes nothing.
fn read(table: &LockFree, n: u64) -> Option<Connection> {
    let (index, generation) = table.shards[0].find(PLACE.hash, &key(n), 0)?;
    table.shards[0].entry(index).load(generation)
}

fn remove(table: &LockFree, n: u64) -> bool {
    table.worker().update(PLACE, &key(n), false, |_, _| (Fate::Remove, ())).is_some()
}

fn table(entries: u32) -> Arc<LockFree> {
    Arc::new(LockFree::new(
        Geometry { shards: 1, entries_per_shard: entries },
        OnFull::DropNew,
        FlowHash::new(HashKey::from_seed(1)),
    ))
}

/// Insert and insert: of two cores with one new flow, one wins, and both find its entry.
#[test]
fn one_flow_one_entry() {
    loom::model(|| {
        let table = table(2);
        let insert_and_find = |table: Arc<LockFree>| {
            move || {
                let result = insert(&table, 1, 5);
                assert!(read(&table, 1).is_some());
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
