use super::*;
use crate::conntrack::{Detail, Status};
use crate::packet::Direction;
use proptest::prelude::*;
use std::collections::HashMap;

fn key(n: u64) -> FlowKey {
    FlowKey { words: [1, 0, n, 0, 6 << 32] }
}

/// Spreads flows over buckets badly on purpose: 64 places in all.
fn place(n: u64) -> Place {
    Place { shard: 0, hash: n % 64 * 0x1003 }
}

fn connection(expires_ns: u64) -> Connection {
    Connection { status: Status::opened_by(Direction::In), expires_ns, detail: Detail([expires_ns; 7]) }
}

fn table(entries: u32) -> LockFree {
    LockFree::new(Geometry { shards: 1, entries_per_shard: entries })
}

#[test]
fn every_entry_can_be_used_and_found() {
    let table = table(1000);
    let mut worker = table.worker();
    let spread = |n: u64| Place { shard: 0, hash: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
    for n in 0..1000 {
        assert_eq!(worker.insert(spread(n), &key(n), &connection(100 + n), true, 0), Insert::Done, "{n}");
    }
    assert_eq!(worker.insert(spread(1000), &key(1000), &connection(9), true, 0), Insert::Full);
    for n in 0..1000 {
        let slot = worker.find(spread(n), &key(n)).expect("inserted");
        assert_eq!(worker.load(slot, true), Some(connection(100 + n)));
    }
    assert_eq!(worker.find(spread(1000), &key(1000)), None);
    assert_eq!((worker.counters().entries, worker.counters().refused), (1000, 1));
}

#[test]
fn a_full_shard_makes_room_by_what_has_expired_and_only_then() {
    let table = table(8);
    let mut worker = table.worker();
    for n in 0..8 {
        assert_eq!(worker.insert(place(n), &key(n), &connection(100 + n), false, 0), Insert::Done);
    }
    assert_eq!(worker.insert(place(8), &key(8), &connection(500), false, 99), Insert::Full);
    assert_eq!(worker.insert(place(8), &key(8), &connection(500), false, 101), Insert::Done);
    assert_eq!(worker.counters().expired, 2); // 100 and 101: a deadline is the first instant without the entry
    assert!(worker.find(place(0), &key(0)).is_none());
    assert!(worker.find(place(2), &key(2)).is_some());
}

#[test]
fn an_overtaken_slot_is_noticed() {
    let table = table(1);
    let mut worker = table.worker();
    worker.insert(place(1), &key(1), &connection(10), true, 0);
    let stale = worker.find(place(1), &key(1)).unwrap();
    assert!(worker.remove(place(1), stale, &connection(10)));
    worker.insert(place(2), &key(2), &connection(10), true, 0);
    assert_eq!(worker.load(stale, true), None);
    assert!(!worker.store(stale, &connection(10), &connection(20), true));
    assert!(!worker.remove(place(1), stale, &connection(10)));
    let slot = worker.find(place(2), &key(2)).unwrap();
    assert_eq!(worker.load(slot, true), Some(connection(10)));
}

#[test]
fn clearing_forgets_everything_and_frees_every_entry() {
    let mut table = table(100);
    for round in 0..3 {
        let mut worker = table.worker();
        for n in 0..100 {
            assert_eq!(worker.insert(place(n), &key(n), &connection(1), false, 0), Insert::Done, "round {round}");
        }
        table.clear();
        assert!(table.worker().find(place(5), &key(5)).is_none());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64),
    Refresh(u64, u64),
    Remove(u64),
    Find(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..40u64;
    prop_oneof![
        3 => (n.clone(), 0..1000u64).prop_map(|(n, e)| Op::Insert(n, e)),
        1 => (n.clone(), 0..1000u64).prop_map(|(n, e)| Op::Refresh(n, e)),
        2 => n.clone().prop_map(Op::Remove),
        2 => n.prop_map(Op::Find),
    ]
}

proptest! {
    /// The table against a standard map; now = 0, so nothing expires.
    #[test]
    fn agrees_with_a_map(ops in prop::collection::vec(op(), 1..400)) {
        let table = table(24);
        let mut worker = table.worker();
        let mut map: HashMap<u64, u64> = HashMap::new();
        for op in ops {
            match op {
                Op::Insert(n, expires) => {
                    let expires = expires + 1;
                    let expected = match (map.contains_key(&n), map.len()) {
                        (true, 24) => Insert::Full, // Allocation comes before the search.
                        (true, _) => Insert::Exists,
                        (false, 24) => Insert::Full,
                        (false, _) => { map.insert(n, expires); Insert::Done }
                    };
                    prop_assert_eq!(worker.insert(place(n), &key(n), &connection(expires), true, 0), expected);
                }
                Op::Refresh(n, expires) => {
                    if let Some(old) = map.get_mut(&n) {
                        let slot = worker.find(place(n), &key(n)).expect("in the map");
                        let loaded = worker.load(slot, true).expect("live");
                        prop_assert!(worker.store(slot, &loaded, &connection(expires + 1), true));
                        *old = expires + 1;
                    }
                }
                Op::Remove(n) => {
                    let slot = worker.find(place(n), &key(n));
                    prop_assert_eq!(slot.is_some(), map.contains_key(&n));
                    if let Some(slot) = slot {
                        let old = worker.load(slot, false).expect("live");
                        prop_assert!(worker.remove(place(n), slot, &old));
                        map.remove(&n);
                    }
                }
                Op::Find(n) => {
                    let found = worker.find(place(n), &key(n)).and_then(|slot| worker.load(slot, true));
                    prop_assert_eq!(found, map.get(&n).map(|expires| connection(*expires)));
                }
            }
            prop_assert_eq!(table.shards[0].occupied(), map.len());
        }
    }
}

/// Two cores insert the same flows at the same time: each flow ends up in one entry.
#[test]
fn two_cores_that_insert_the_same_flows_agree() {
    const FLOWS: u64 = 20_000;
    let table = table(FLOWS as u32 + 64);
    let spread = |n: u64| Place { shard: 0, hash: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
    let insert_all = || {
        let mut worker = table.worker();
        let mut done = 0;
        for n in 0..FLOWS {
            match worker.insert(spread(n), &key(n), &connection(1), true, 0) {
                Insert::Done => done += 1,
                Insert::Exists => assert!(worker.find(spread(n), &key(n)).is_some(), "{n} exists but is not found"),
                Insert::Full => panic!("{n} refused"),
            }
        }
        done
    };
    let done: u64 = std::thread::scope(|scope| {
        let threads = [scope.spawn(insert_all), scope.spawn(insert_all)];
        threads.map(|t| t.join().unwrap()).iter().sum()
    });
    assert_eq!(done, FLOWS);
    assert_eq!(table.shards[0].occupied() as u64, FLOWS);
}

/// Cores insert, update and remove few flows at random: no entry is lost, none appears twice.
#[test]
fn churn_on_few_flows_loses_and_doubles_nothing() {
    const FLOWS: u64 = 16;
    let table = table(64);
    let churn = |seed: u64| {
        let table = &table;
        move || {
            let mut worker = table.worker();
            let mut random = crate::measure::statistics::Random::new(seed);
            let mut balance = 0i64;
            for _ in 0..100_000 {
                let n = random.bits() % FLOWS;
                match worker.find(place(n), &key(n)) {
                    None => match worker.insert(place(n), &key(n), &connection(1), false, 0) {
                        Insert::Done => balance += 1,
                        Insert::Exists => {}
                        Insert::Full => panic!("16 flows do not fill 64 entries"),
                    },
                    Some(slot) => {
                        let Some(old) = worker.load(slot, false) else { continue };
                        if random.bits().is_multiple_of(2) {
                            balance -= i64::from(worker.remove(place(n), slot, &old));
                        } else {
                            let mut new = old;
                            new.expires_ns = random.bits();
                            worker.store(slot, &old, &new, false);
                        }
                    }
                }
            }
            balance
        }
    };
    let balance: i64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4).map(|seed| scope.spawn(churn(seed))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(balance, table.shards[0].occupied() as i64);
    let mut worker = table.worker();
    for n in 0..FLOWS {
        let mut copies = 0;
        while let Some(slot) = worker.find(place(n), &key(n)) {
            let old = worker.load(slot, false).unwrap();
            assert!(worker.remove(place(n), slot, &old));
            copies += 1;
        }
        assert!(copies <= 1, "flow {n} stood in {copies} entries");
    }
    assert_eq!(table.shards[0].occupied(), 0);
}
