use super::*;
use crate::conntrack::{Notes, Status};
use crate::packet::Direction;
use crate::table::HashKey;
use proptest::prelude::*;
use std::collections::HashMap;

fn hash() -> FlowHash {
    FlowHash::new(HashKey::from_seed(1))
}

fn key(n: u64) -> FlowKey {
    FlowKey { words: [1, 0, n, 0, 6 << 32] }
}

/// Spreads flows over buckets badly on purpose: 64 places in all.
fn place(n: u64) -> Place {
    let n = n % 64;
    Place { hint: n as u32, ..Place::new(0, (n << 58) | (n * 3)) }
}

fn connection(expires_ns: u64) -> Connection {
    let notes = Notes { marks: expires_ns as u32, number: expires_ns };
    Connection { status: Status::opened_by(Direction::In), expires_ns, notes }
}

/// Windows that belong to `connection(expires_ns)`.
fn windows(expires_ns: u64) -> Windows {
    Windows::of_test(expires_ns as u32)
}

fn insert(worker: &mut Worker, place: Place, n: u64, expires_ns: u64, now_ns: u64) -> Insert {
    worker.insert(place, &key(n), &connection(expires_ns), Some(&windows(expires_ns)), now_ns)
}

fn read(worker: &mut Worker, place: Place, n: u64) -> Option<(Connection, Windows)> {
    worker.update(place, &key(n), true, |connection, windows| (Fate::Keep, (*connection, *windows)))
}

fn remove(worker: &mut Worker, place: Place, n: u64) -> bool {
    worker.update(place, &key(n), false, |_, _| (Fate::Remove, ())).is_some()
}

fn table(entries: u32) -> LockFree {
    LockFree::new(Geometry { shards: 1, entries_per_shard: entries }, OnFull::DropNew, hash())
}

#[test]
fn every_entry_can_be_used_and_found() {
    let table = table(1000);
    let mut worker = table.worker();
    let spread = |n: u64| Place::new(0, n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for n in 0..1000 {
        assert_eq!(insert(&mut worker, spread(n), n, 100 + n, 0), Insert::Done, "{n}");
    }
    assert_eq!(insert(&mut worker, spread(1000), 1000, 9, 0), Insert::Full);
    for n in 0..1000 {
        assert_eq!(read(&mut worker, spread(n), n), Some((connection(100 + n), windows(100 + n))));
    }
    assert_eq!(read(&mut worker, spread(1000), 1000), None);
    assert_eq!((worker.counters().entries, worker.counters().refused), (1000, 1));
}

#[test]
fn a_full_shard_makes_room_by_what_has_expired_and_only_then() {
    let table = table(8);
    let mut worker = table.worker();
    for n in 0..8 {
        assert_eq!(insert(&mut worker, place(n), n, 100 + n, 0), Insert::Done);
    }
    assert_eq!(insert(&mut worker, place(8), 8, 500, 99), Insert::Full);
    assert_eq!(insert(&mut worker, place(8), 8, 500, 101), Insert::Done);
    assert_eq!(worker.counters().expired, 2); // 100 and 101: a deadline is the first instant without the entry
    assert!(read(&mut worker, place(0), 0).is_none());
    assert!(read(&mut worker, place(2), 2).is_some());
}

#[test]
fn an_entry_takes_at_most_128_bytes_all_in() {
    let table = LockFree::new(Geometry::with_capacity(1 << 20, 64), OnFull::EvictUnassured, hash());
    assert!(table.bytes() <= 128 << 20, "{} bytes", table.bytes());
}

#[test]
fn an_overtaken_reader_notices() {
    let table = table(1);
    let mut worker = table.worker();
    insert(&mut worker, place(1), 1, 10, 0);
    let shard = &table.shards[0];
    let (index, word) = shard.find(&place(1), &key(1)).unwrap();
    assert!(remove(&mut worker, place(1), 1));
    insert(&mut worker, place(2), 2, 10, 0);
    // The same entry, but another flow's.
    let stale = shard.entry(index);
    assert_eq!(stale.load(word), None);
    assert!(!stale.store(word, &connection(20)));
    assert!(!shard.remove(0, place(1).hash, index, word));
    assert_eq!(read(&mut worker, place(2), 2), Some((connection(10), windows(10))));
}

#[test]
fn an_update_that_was_overtaken_runs_again_on_what_is_there() {
    let table = table(2);
    let (mut slow, mut fast) = (table.worker(), table.worker());
    insert(&mut fast, place(1), 1, 10, 0);
    let mut seen = Vec::new();
    let result = slow.update(place(1), &key(1), false, |connection, _| {
        if seen.is_empty() {
            // Beyond the deadline's fine part, so that the state word changes.
            fast.update(place(1), &key(1), false, |c, _| (Fate::Keep, c.expires_ns = 1 << 40));
        }
        seen.push(connection.expires_ns);
        connection.expires_ns += 1 << 41;
        (Fate::Keep, connection.expires_ns)
    });
    assert_eq!(seen, [10, 1 << 40]);
    assert_eq!(result, Some((1 << 40) + (1 << 41)));
}

#[test]
fn clearing_forgets_everything_and_frees_every_entry() {
    let mut table = table(100);
    for round in 0..3 {
        let mut worker = table.worker();
        for n in 0..100 {
            assert_eq!(insert(&mut worker, place(n), n, 1, 0), Insert::Done, "round {round}");
        }
        drop(worker);
        table.clear();
        assert!(read(&mut table.worker(), place(5), 5).is_none());
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
                    prop_assert_eq!(insert(&mut worker, place(n), n, expires, 0), expected);
                }
                Op::Refresh(n, expires) => {
                    let refreshed = worker.update(place(n), &key(n), true, |connection, words| {
                        *connection = self::connection(expires + 1);
                        *words = windows(expires + 1);
                        (Fate::Keep, ())
                    });
                    prop_assert_eq!(refreshed.is_some(), map.contains_key(&n));
                    map.entry(n).and_modify(|old| *old = expires + 1);
                }
                Op::Remove(n) => {
                    prop_assert_eq!(remove(&mut worker, place(n), n), map.remove(&n).is_some());
                }
                Op::Find(n) => {
                    let expected = map.get(&n).map(|expires| (connection(*expires), windows(*expires)));
                    prop_assert_eq!(read(&mut worker, place(n), n), expected);
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
    let spread = |n: u64| Place::new(0, n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let insert_all = || {
        let mut worker = table.worker();
        let mut done = 0;
        for n in 0..FLOWS {
            match insert(&mut worker, spread(n), n, 1, 0) {
                Insert::Done => done += 1,
                Insert::Exists => {
                    assert!(read(&mut worker, spread(n), n).is_some(), "{n} exists but is not found");
                }
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
                let (remove_it, later) = (random.bits().is_multiple_of(2), random.bits() >> 2);
                let removed = worker.update(place(n), &key(n), false, |connection, _| {
                    connection.expires_ns = later;
                    (if remove_it { Fate::Remove } else { Fate::Keep }, remove_it)
                });
                balance -= i64::from(removed == Some(true));
                if removed.is_none() {
                    match insert(&mut worker, place(n), n, 1, 0) {
                        Insert::Done => balance += 1,
                        Insert::Exists => {}
                        Insert::Full => panic!("16 flows do not fill 64 entries"),
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
        while remove(&mut worker, place(n), n) {
            copies += 1;
        }
        assert!(copies <= 1, "flow {n} stood in {copies} entries");
    }
    assert_eq!(table.shards[0].occupied(), 0);
}

/// The tree of deadlines on one core: after a sweep, exactly what has not expired is left, whatever was
/// inserted, moved on, cut short or removed in between; and bounded steps get there as well.
fn expiry_is_exact<M: Mode>(ops: &[(u64, u64, u8)], bounded: bool) {
    let geometry = Geometry { shards: 1, entries_per_shard: 2000 };
    let mut table = LockFree::<M>::of_shards(geometry, OnFull::DropNew, hash(), |_| true);
    let mut worker = table.owner();
    let spread = |n: u64| Place::new(0, n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut map: HashMap<u64, u64> = HashMap::new();
    let mut now = 0;
    for (n, span, what) in ops {
        let expires = now + span + 1;
        match what {
            0 => {
                now += span;
                match bounded {
                    false => worker.sweep(now),
                    // More rounds than there are buckets, eight at a time.
                    true => (0..64).for_each(|_| {
                        worker.find_expired(0, now, 8);
                        worker.prefetch_expired();
                        worker.remove_expired();
                    }),
                }
                map.retain(|_, expires| now < *expires);
                assert_eq!(worker.counters().entries, map.len() as i64);
            }
            1 => {
                worker.update(spread(*n), &key(*n), true, |_, _| (Fate::Remove, ()));
                map.remove(n);
            }
            _ => {
                let moved = worker.update(spread(*n), &key(*n), what % 2 == 0, |connection, _| {
                    connection.expires_ns = expires;
                    (Fate::Keep, ())
                });
                if moved.is_none() {
                    assert_eq!(worker.insert(spread(*n), &key(*n), &connection(expires), None, 0), Insert::Done);
                }
                map.insert(*n, expires);
            }
        }
    }
    for n in 0..300 {
        let found = worker.update(spread(n), &key(n), false, |connection, _| (Fate::Keep, connection.expires_ns));
        assert_eq!(found, map.get(&n).copied(), "{n}");
    }
}

proptest! {
    #[test]
    fn expiry_is_exact_in_every_mode(
        ops in prop::collection::vec((0u64..300, 0u64..3_000_000_000, 0u8..8), 1..600),
        bounded in any::<bool>(),
    ) {
        expiry_is_exact::<OwnerOnly>(&ops, bounded);
        expiry_is_exact::<Shared>(&ops, bounded);
        expiry_is_exact::<BucketLock>(&ops, bounded);
    }
}

/// Cores insert, bring deadlines nearer, move them on and remove what has expired, all in the same buckets: no
/// entry is forgotten, none goes before its time.
#[test]
fn cores_that_expire_forget_nothing() {
    const FLOWS: u64 = 200;
    const CORES: u64 = 4;
    // The deadline's fine part stays zero: its tolerance is not what is tested (see docs/TABLE.md).
    const STEP: u64 = 1 << 30;
    let table = table(2_000);
    let now = std::sync::atomic::AtomicU64::new(STEP);
    let spread = |n: u64| Place::new(0, n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let churn = |core: u64| {
        let (table, now) = (&table, &now);
        move || {
            let mut worker = table.worker();
            let mut random = crate::measure::statistics::Random::new(core + 1);
            for round in 0..50_000u64 {
                let n = core * FLOWS + random.bits() % FLOWS;
                let time = now.fetch_add(if round % 64 == 0 { STEP } else { 0 }, std::sync::atomic::Ordering::Relaxed);
                if round % 8 == 0 {
                    worker.remove_expired();
                    worker.find_expired(0, time, 8);
                    worker.prefetch_expired();
                }
                let expires_ns = time + (1 + random.bits() % 500) * STEP;
                let moved = worker.update(spread(n), &key(n), round % 2 == 0, |connection, _| {
                    connection.expires_ns = expires_ns;
                    (Fate::Keep, ())
                });
                if moved.is_none() {
                    assert_eq!(insert(&mut worker, spread(n), n, expires_ns, time), Insert::Done);
                }
            }
            worker.remove_expired();
        }
    };
    std::thread::scope(|scope| (0..CORES).for_each(|core| drop(scope.spawn(churn(core)))));

    let mut worker = table.worker();
    let mut deadline = |n: u64| worker.update(spread(n), &key(n), false, |c, _| (Fate::Keep, c.expires_ns));
    let before: Vec<_> = (0..CORES * FLOWS).map(&mut deadline).collect();
    assert_eq!(before.iter().flatten().count(), table.shards[0].occupied());
    let time = now.into_inner() + 100 * STEP;
    table.worker().sweep(time);
    let after: Vec<_> = (0..CORES * FLOWS).map(&mut deadline).collect();
    let still = |expires_ns: &Option<u64>| expires_ns.filter(|expires_ns| *expires_ns > time);
    assert_eq!(after, before.iter().map(still).collect::<Vec<_>>());
    assert!(after.iter().flatten().count() > 100, "some stay");
    assert_eq!(after.iter().flatten().count(), table.shards[0].occupied());
}

/// A flood on a full table: what expires one by one is found without looking through the whole shard.
#[test]
fn room_is_made_without_a_look_at_every_entry() {
    let table = table(10_000);
    let mut worker = table.worker();
    let spread = |n: u64| Place::new(0, n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for n in 0..10_000u64 {
        assert_eq!(insert(&mut worker, spread(n), n, 1_000 + n, 0), Insert::Done);
    }
    let mut due = Due::new();
    let shard = &table.shards[0];
    shard.find_due(1_000, 64, &mut due);
    assert_eq!(due.as_slice().len(), 1, "one bucket has something to give");
    // One entry expires a packet; every insert finds that one room, and only one bucket was looked into.
    for n in 10_000..20_000u64 {
        let now = n - 9_000;
        shard.find_due(now, 64, &mut due);
        assert_eq!(due.as_slice().len(), 1, "{n}");
        assert_eq!(insert(&mut worker, spread(n), n, 1_000 + n, now), Insert::Done, "{n}");
        shard.find_due(now, 64, &mut due);
        assert!(due.as_slice().is_empty(), "{n}");
    }
    assert_eq!(worker.counters().expired, 10_000);
}
