//! Full tables, and keys that somebody has chosen.

use super::*;

pub fn flood(bench: &Bench) {
    println!("\nFlood: hits on the connections of a full table for 1M, and half of the packets new flows; ns a packet");
    for (policy, on_full, established) in
        [("drop-new", OnFull::DropNew, MILLION), ("evict-unassured", OnFull::EvictUnassured, MILLION * 9 / 10)]
    {
        let next = [AtomicU64::new(0)];
        let mut table = bench.make(MILLION, on_full, 1).table("lockfree");
        bench.fill(&mut table, Family::V4, established, 1);
        let template = Connection { status: Status::opened_by(Direction::In), expires_ns: 0, notes: Notes::default() };
        let run = |table: &mut Subject, percent| {
            let pick = Pick::Mixed(established, percent, &next);
            let traffic = Traffic { template, ..bench.traffic(pick, 500_000) };
            let outcomes = table.run(bench.pool(1), &traffic);
            (traffic.ns_of(&outcomes), outcomes[0].clone())
        };
        // Until it is full.
        for _ in 0..3 {
            run(&mut table, 50);
        }
        let table = RefCell::new(table);
        let refused = AtomicU64::new(0);
        let samples = bench.blocks(
            20,
            &mut [
                ("without".into(), Box::new(|| run(&mut table.borrow_mut(), 0).0)),
                (
                    "with".into(),
                    Box::new(|| {
                        let (ns, outcome) = run(&mut table.borrow_mut(), 50);
                        refused.fetch_add(outcome.refused, Relaxed);
                        ns
                    }),
                ),
            ],
        );
        if on_full == OnFull::DropNew {
            // Nearly half of the packets are of new flows.
            let flood = (bench.blocks_of(20) + 1) * 250_000;
            assert!(refused.load(Relaxed) > flood * 9 / 10, "the table was not full");
        }
        println!(" {policy}; {} flows refused", refused.load(Relaxed));
        each(&samples);
        line("with / without", &ratio(&samples, "with", "without"), "at most 1.5");
    }
}

pub fn keys(bench: &Bench) {
    println!(
        "\nKeys chosen offline: 100,000 flows in a table for 200,000; the attacker knows the function, not the secret"
    );
    const FLOWS: usize = 100_000;
    let guess = FlowHash::new(HashKey::from_seed(0xbad));
    // All in 1/1024 of the buckets of every shard, under the attacker's guess.
    let chosen: Vec<u64> = (0..).filter(|n| guess.hash(&key(Family::V4, *n)) >> 54 == 0).take(FLOWS).collect();
    let random: Vec<u64> = {
        let mut random = Random::new(3);
        (0..FLOWS).map(|_| random.bits() >> 20).collect()
    };
    let ports: Vec<u64> = (0..FLOWS as u64).map(|n| (n & 0xffff) << 32 | n >> 16).collect();
    let secret = bench.hash;
    let mut variants: Vec<Variant<'_>> = Vec::new();
    let mut refusals = Vec::new();
    for (name, list, hash) in [
        ("random", &random, secret),
        ("chosen", &chosen, secret),
        ("consecutive ports", &ports, secret),
        ("chosen, with the secret known", &chosen, guess),
    ] {
        let make = Make { hash, ..bench.make(2 * FLOWS as u64, OnFull::DropNew, 1) };
        let mut table = make.table("lockfree");
        let run = move |table: &mut Subject| {
            let traffic = Traffic { hash, ..bench.traffic(Pick::Listed(list), 400_000) };
            let outcomes = table.run(bench.pool(1), &traffic);
            (traffic.ns_of(&outcomes), outcomes[0].refused)
        };
        for _ in 0..5 {
            run(&mut table);
        }
        refusals.push((name, run(&mut table).1));
        variants.push((name.into(), Box::new(move || run(&mut table).0)));
    }
    let samples = bench.blocks(20, &mut variants);
    for (name, refused) in refusals {
        line(&format!("{name}: packets refused of 400,000"), &refused.to_string(), "");
        line(&format!("{name}: ns, by random ones'"), &ratio(&samples, name, "random"), "");
    }
}
