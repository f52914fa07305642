//! The slowest bursts.

use super::machine::stolen;
use super::*;

pub fn tail(bench: &Bench) {
    println!("\nTail: service time of a burst of {BURST}, 200,000 lasting flows, one packet in ten a new one; µs");
    let names: Vec<&str> = ["lockfree", "bucketlock", "owner", "locked"].iter().chain(READY_MADE).copied().collect();
    let kinds = [
        ("1 core", 1, Steering::Symmetric),
        ("2 symmetric", 2, Steering::Symmetric),
        ("2 asymmetric", 2, Steering::Asymmetric),
    ];
    let counters: Vec<[AtomicU64; 2]> =
        (0..names.len() * kinds.len()).map(|_| [const { AtomicU64::new(0) }; 2]).collect();
    let (dropped, kept) = (AtomicU64::new(0), AtomicU64::new(0));
    let medians: RefCell<Samples> = Samples::new().into();
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for (n, name) in names.iter().enumerate() {
        for (k, (label, cores, steering)) in kinds.into_iter().enumerate() {
            if steering == Steering::Asymmetric && *name == "owner" {
                continue;
            }
            let next = &counters[n * kinds.len() + k];
            let mut table = bench.make(MILLION, OnFull::DropNew, cores).table(name);
            let mut start_ns = FOREVER_NS;
            let lifetime_ns = 2 * MILLION / cores as u64 * GAP_NS;
            let mut run = move |packets: u64, stamps: bool| {
                let traffic = bench.traffic(Pick::Mixed(200_000, 10, next), packets);
                let progress = [const { AtomicU64::new(0) }; 2];
                let progress = (steering == Steering::Asymmetric).then_some(&progress);
                let traffic = Traffic { cores, steering, lifetime_ns, stamps, start_ns, progress, ..traffic };
                start_ns += packets * GAP_NS;
                table.run(bench.pool(cores), &traffic)
            };
            run(4 * MILLION / cores as u64, false);
            let name = format!("{name}, {label}");
            let (dropped, kept, medians) = (&dropped, &kept, &medians);
            variants.push((
                name.clone(),
                Box::new(move || {
                    // Windows without stolen time only; after some tries, what there is.
                    let mut outcomes: Vec<Outcome> = Vec::new();
                    for _ in 0..5 {
                        let before = stolen();
                        outcomes = run(1_600_000, true);
                        if stolen() == before {
                            kept.fetch_add(1, Relaxed);
                            break;
                        }
                        dropped.fetch_add(1, Relaxed);
                    }
                    let mut us: Vec<f64> = outcomes
                        .iter()
                        .flat_map(|o| o.stamps.iter().map(|(begin, end)| bench.clock.ns(*begin, *end) as f64 / 1e3))
                        .collect();
                    us.sort_by(f64::total_cmp);
                    let percentile = |p: f64| us[(us.len() as f64 * p) as usize];
                    medians.borrow_mut().entry(name.clone()).or_default().push(percentile(0.5));
                    percentile(0.999)
                }),
            ));
        }
    }
    let samples = bench.blocks(25, &mut variants);
    bench.say_handover();
    drop(variants);
    println!(" {} windows, {} with stolen time left out", kept.into_inner(), dropped.into_inner());
    for (name, samples) in &samples {
        let p50 = median(&medians.borrow()[name]);
        line(&format!("{name}: p50, p99.9"), &format!("{p50:.2}, {:.2} µs", median(samples)), "");
    }
    for name in &names {
        for (label, _, steering) in &kinds[1..] {
            if *steering == Steering::Asymmetric && *name == "owner" {
                continue;
            }
            let wanted = if *name == "lockfree" { "at most 1.3" } else { "" };
            line(
                &format!("{name}: p99.9, {label} / 1 core"),
                &ratio(&samples, &format!("{name}, {label}"), &format!("{name}, 1 core")),
                wanted,
            );
        }
    }
}
