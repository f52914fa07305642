//! The flow tables, without rules and state machine: ns a packet beside what the machine's memory can do.
//!
//! `cargo bench --bench table --features contenders [-- [--short] SECTION…]`, some minutes; with `--short` a quarter of
//! the blocks, so wider intervals. Sections: hits, occupancy, burst, cores, churn, flood, keys, expiry, tail. Variants
//! alternate in random order within each block, so that a slow minute of the machine slows all; ratios are of one
//! block, their median is shown with a 95 % bootstrap interval.

mod expiry;
mod flood;
mod flows;
mod machine;
mod subject;
mod tail;
mod traffic;

use ctbench::conntrack::{Connection, Notes, OnFull, Status};
use ctbench::measure::statistics::{Estimate, Random, median, paired_ratio};
use ctbench::measure::{Clock, Host, Probe};
use ctbench::packet::Direction;
use ctbench::replay::Pool;
use ctbench::table::{FlowHash, HashKey};
use flows::{Family, key};
use machine::handover_ns;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use subject::{Make, READY_MADE, Subject};
use traffic::{FOREVER_NS, GAP_NS, Outcome, Pick, Steering, Traffic, assured};

const BURST: usize = 32;
const MILLION: u64 = 1_000_000;

/// The machine, and packet time, which only goes forward.
struct Bench {
    clock: Clock,
    pools: [Pool; 2],
    hash: FlowHash,
    now_ns: AtomicU64,
    /// A quarter of the blocks.
    short: bool,
    /// How long a cache line took from core to core in each of the last section's blocks, in ns.
    handovers_ns: RefCell<Vec<f64>>,
}

/// A name, and what measures it once.
type Variant<'a> = (String, Box<dyn FnMut() -> f64 + 'a>);
/// A name, and what measures and prints it.
type Section = (&'static str, fn(&Bench));
/// Samples by name, one a block.
type Samples = BTreeMap<String, Vec<f64>>;

impl Bench {
    fn make(&self, entries: u64, on_full: OnFull, cores: usize) -> Make {
        Make { entries, on_full, cores, hash: self.hash }
    }

    fn pool(&self, cores: usize) -> &Pool {
        &self.pools[cores - 1]
    }

    /// Hits on so many flows by one core, unless said otherwise.
    fn traffic<'a>(&'a self, pick: Pick<'a>, packets: u64) -> Traffic<'a> {
        Traffic {
            clock: &self.clock,
            hash: self.hash,
            family: Family::V4,
            pick,
            steering: Steering::Symmetric,
            cores: 1,
            burst: BURST,
            packets,
            start_ns: self.now_ns.fetch_add(packets * GAP_NS, Relaxed),
            lifetime_ns: FOREVER_NS,
            template: assured(),
            stamps: false,
            progress: None,
        }
    }

    /// Inserts the flows from 0 on.
    fn fill(&self, subject: &mut Subject, family: Family, flows: u64, cores: usize) {
        let fill = self.traffic(Pick::Each, flows / cores as u64);
        let outcomes = subject.run(self.pool(cores), &Traffic { family, cores, burst: 1, ..fill });
        assert!(outcomes.iter().all(|outcome| outcome.refused == 0 && outcome.hits == 0), "all of them are new");
    }

    fn blocks_of(&self, blocks: u64) -> u64 {
        if self.short { blocks.div_ceil(4) } else { blocks }
    }

    /// All variants once a block, in random order.
    fn blocks(&self, blocks: u64, variants: &mut [Variant<'_>]) -> Samples {
        let mut samples = Samples::new();
        let mut random = Random::new(11);
        let mut order: Vec<usize> = (0..variants.len()).collect();
        self.handovers_ns.borrow_mut().clear();
        // The first block warms up.
        for block in 0..=self.blocks_of(blocks) {
            if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
                self.handovers_ns.borrow_mut().push(handover_ns(&self.clock, self.pool(2)));
            }
            random.shuffle(&mut order);
            for &at in &order {
                let (name, run) = &mut variants[at];
                let sample = run();
                if block > 0 {
                    samples.entry(name.clone()).or_default().push(sample);
                }
            }
        }
        samples
    }

    /// Says how far from each other the two cores were in the last section.
    fn say_handover(&self) {
        let mut ns = self.handovers_ns.borrow().clone();
        ns.sort_by(f64::total_cmp);
        if let [least, .., most] = ns[..] {
            let text = format!("{:.0} ns ({least:.0} to {most:.0})", median(&ns));
            line("a cache line from one core to the other meanwhile", &text, "");
        }
    }
}

fn interval(e: Estimate) -> String {
    format!("{:.2} ({:.2} to {:.2})", e.value, e.ci95[0], e.ci95[1])
}

fn ratio(samples: &Samples, ours: &str, theirs: &str) -> String {
    interval(paired_ratio(&samples[ours], &samples[theirs], 1))
}

fn line(what: &str, value: &str, wanted: &str) {
    let wanted = if wanted.is_empty() { String::new() } else { format!("   wanted: {wanted}") };
    println!("  {what:58} {value:>22}{wanted}");
}

fn each(samples: &Samples) {
    for (name, samples) in samples {
        line(name, &format!("{:.1} ns", median(samples)), "");
    }
}

fn hits(bench: &Bench) {
    println!("\nHits, one core, table half full, bursts of {BURST}, uniform flows; ns a packet");
    for (flows, packets, blocks) in [(10_000, 400_000, 25), (MILLION, 600_000, 25), (10 * MILLION, 600_000, 15)] {
        let make = bench.make(2 * flows, OnFull::DropNew, 1);
        let names: &[&str] = match flows {
            10_000 | MILLION => &["lockfree", "lockfree", "owner", "percore", "hashbrown"],
            _ => &["lockfree", "lockfree", "owner"],
        };
        let mut variants: Vec<Variant<'_>> = Vec::new();
        let (mut bytes, mut huge) = (0, 0);
        for (n, name) in names.iter().enumerate() {
            let family = if n == 1 { Family::V6 } else { Family::V4 };
            let mut table = make.table(name);
            bench.fill(&mut table, family, flows, 1);
            (bytes, huge) = (bytes.max(table.bytes()), huge.max(table.huge_bytes()));
            let name = if n == 1 { "lockfree, IPv6".into() } else { (*name).to_owned() };
            variants.push((
                name,
                Box::new(move || {
                    let traffic = Traffic { family, ..bench.traffic(Pick::Uniform(flows), packets) };
                    let outcomes = table.run(bench.pool(1), &traffic);
                    assert_eq!(outcomes[0].hits, packets, "every packet hits");
                    traffic.ns_of(&outcomes)
                }),
            ));
        }
        let mut probe = Probe::new(bytes).expect("memory for the probe");
        variants.push((
            "probe".into(),
            Box::new(move || probe.touch(&bench.clock, bench.pool(1), packets, BURST) as f64 / packets as f64),
        ));
        let samples = bench.blocks(blocks, &mut variants);
        println!(" {flows} flows; table of {} MiB, {} MiB of it in huge pages", bytes >> 20, huge >> 20);
        each(&samples);
        let in_memory = flows >= MILLION;
        line("lockfree / probe, IPv4", &ratio(&samples, "lockfree", "probe"), if in_memory { "at most 3" } else { "" });
        line(
            "lockfree / probe, IPv6",
            &ratio(&samples, "lockfree, IPv6", "probe"),
            if in_memory { "at most 4" } else { "" },
        );
        line("lockfree / owner", &ratio(&samples, "lockfree", "owner"), if in_memory { "at most 1.15" } else { "" });
        if samples.contains_key("percore") {
            let wanted = if flows == 10_000 { "at most 2" } else { "" };
            line("lockfree / percore", &ratio(&samples, "lockfree", "percore"), wanted);
            let wanted = if flows == MILLION { "at least 1.5" } else { "" };
            line("hashbrown, its own hasher / lockfree", &ratio(&samples, "hashbrown", "lockfree"), wanted);
        }
    }
}

fn occupancy(bench: &Bench) {
    let capacity = 2 * MILLION;
    println!(
        "\nOccupancy: hits, one core, table for {capacity} entries; ns a packet, by the probe's of the same block"
    );
    for percent in [10, 25, 50, 75, 80, 85, 90, 95] {
        let flows = capacity * percent / 100;
        let mut table = bench.make(capacity, OnFull::DropNew, 1).table("lockfree");
        bench.fill(&mut table, Family::V4, flows, 1);
        let bytes = table.bytes();
        let mut probe = Probe::new(bytes).expect("memory for the probe");
        let packets = 600_000;
        let samples = bench.blocks(
            12,
            &mut [
                (
                    "lockfree".into(),
                    Box::new(|| bench.traffic(Pick::Uniform(flows), packets).ns(&mut table, bench.pool(1))),
                ),
                (
                    "probe".into(),
                    Box::new(|| probe.touch(&bench.clock, bench.pool(1), packets, BURST) as f64 / packets as f64),
                ),
            ],
        );
        let wanted = if percent == 80 { "at most 160 bytes" } else { "" };
        let value = format!("{:5.1} ns, {}", median(&samples["lockfree"]), ratio(&samples, "lockfree", "probe"));
        line(&format!("{percent} % full: {} bytes a flow", bytes / flows), &value, wanted);
    }
}

fn burst(bench: &Bench) {
    println!("\nBurst size: hits, one core, 1M flows, table half full");
    let mut table = bench.make(2 * MILLION, OnFull::DropNew, 1).table("lockfree");
    bench.fill(&mut table, Family::V4, MILLION, 1);
    let table = std::cell::RefCell::new(table);
    let sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256];
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for size in sizes {
        let table = &table;
        variants.push((
            format!("{size:3}"),
            Box::new(move || {
                let traffic = Traffic { burst: size, ..bench.traffic(Pick::Uniform(MILLION), 512_000) };
                traffic.ns(&mut table.borrow_mut(), bench.pool(1))
            }),
        ));
    }
    let samples = bench.blocks(15, &mut variants);
    for (size, samples_of) in &samples {
        let value = format!("{:5.1} ns, {}", median(samples_of), ratio(&samples, size, " 32"));
        line(&format!("{size} packets: ns, and by that of 32"), &value, "");
    }
}

fn cores(bench: &Bench) {
    println!("\nCores: hits on 1M flows, tables half full; Mpps in all");
    let ours = ["lockfree", "bucketlock", "owner", "percore", "locked"];
    let names: Vec<&str> = ours.iter().chain(READY_MADE).copied().collect();
    let packets = 600_000;
    let mut variants: Vec<Variant<'_>> = Vec::new();
    let mut bytes = 0;
    for name in &names {
        for (label, cores, steering) in [
            ("1 core", 1, Steering::Symmetric),
            ("2 symmetric", 2, Steering::Symmetric),
            ("2 asymmetric", 2, Steering::Asymmetric),
        ] {
            if steering == Steering::Asymmetric && ["owner", "percore"].contains(name) {
                continue;
            }
            let mut table = bench.make(2 * MILLION, OnFull::DropNew, cores).table(name);
            bench.fill(&mut table, Family::V4, MILLION, cores);
            bytes = bytes.max(table.bytes());
            variants.push((
                format!("{name}, {label}"),
                Box::new(move || {
                    let traffic = Traffic { cores, steering, ..bench.traffic(Pick::Uniform(MILLION), packets) };
                    cores as f64 / traffic.ns(&mut table, bench.pool(cores)) * 1e3
                }),
            ));
        }
    }
    for cores in [1, 2] {
        let mut probe = Probe::new(bytes).expect("memory for the probe");
        variants.push((
            format!("probe, {}", if cores == 1 { "1 core" } else { "2 symmetric" }),
            Box::new(move || {
                let ns = probe.touch(&bench.clock, bench.pool(cores), packets, BURST) as f64 / packets as f64;
                cores as f64 / ns * 1e3
            }),
        ));
    }
    let mut samples = bench.blocks(20, &mut variants);
    bench.say_handover();
    for (name, samples) in &samples {
        line(name, &format!("{:.1} Mpps", median(samples)), "");
    }
    let quotient = |samples: &Samples, a: &str, b: &str| -> Vec<f64> {
        samples[a].iter().zip(&samples[b]).map(|(a, b)| a / b).collect()
    };
    for name in names.iter().chain(&["probe"]) {
        let (one, two) = (format!("{name}, 1 core"), format!("{name}, 2 symmetric"));
        let scaling = quotient(&samples, &two, &one);
        samples.insert(format!("{name}, scaling"), scaling);
    }
    for name in &names {
        let wanted = if *name == "lockfree" { "at least 0.95" } else { "" };
        line(
            &format!("{name}: 2 symmetric / 1 core, by the probe's"),
            &ratio(&samples, &format!("{name}, scaling"), "probe, scaling"),
            wanted,
        );
    }
    for name in names.iter().filter(|name| !["owner", "percore"].contains(name)) {
        let wanted = if *name == "lockfree" { "at least 1.5" } else { "" };
        line(
            &format!("{name}: 2 asymmetric / 1 core"),
            &ratio(&samples, &format!("{name}, 2 asymmetric"), &format!("{name}, 1 core")),
            wanted,
        );
    }
    for steering in ["2 symmetric", "2 asymmetric"] {
        for name in ["bucketlock", "locked"].iter().chain(READY_MADE) {
            let wanted = if READY_MADE.contains(name) { "at least 2" } else { "" };
            line(
                &format!("lockfree / {name}, {steering}"),
                &ratio(&samples, &format!("lockfree, {steering}"), &format!("{name}, {steering}")),
                wanted,
            );
        }
    }
}

fn churn(bench: &Bench) {
    println!("\nChurn: every packet a new flow, that many expire; 1M entries in a table for 2M; ns a packet and core");
    let packets = 400_000;
    let fresh = || [AtomicU64::new(0), AtomicU64::new(0)];
    let names: Vec<&str> =
        ["lockfree", "owner", "percore", "bucketlock", "locked"].iter().chain(READY_MADE).copied().collect();
    let kinds = [
        ("1 core", 1, Steering::Symmetric),
        ("2 symmetric", 2, Steering::Symmetric),
        ("2 asymmetric", 2, Steering::Asymmetric),
    ];
    let counters: Vec<[AtomicU64; 2]> = (0..names.len() * kinds.len()).map(|_| fresh()).collect();
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for (n, name) in names.iter().enumerate() {
        for (k, (label, cores, steering)) in kinds.into_iter().enumerate() {
            if steering == Steering::Asymmetric && ["owner", "percore"].contains(name) {
                continue;
            }
            let next = &counters[n * kinds.len() + k];
            let mut table = bench.make(2 * MILLION, OnFull::DropNew, cores).table(name);
            let lifetime_ns = MILLION / cores as u64 * GAP_NS;
            // A packet time of its own, without gaps: what lives is what came within a lifetime.
            let mut start_ns = FOREVER_NS;
            let mut run = move |packets: u64| {
                let traffic = Traffic { cores, steering, lifetime_ns, ..bench.traffic(Pick::New(next), packets) };
                // Cores that share flows have one packet time, as in a replay.
                let progress = [const { AtomicU64::new(0) }; 2];
                let progress = (steering == Steering::Asymmetric).then_some(&progress);
                let traffic = Traffic { start_ns, progress, ..traffic };
                start_ns += packets * GAP_NS;
                let outcomes = table.run(bench.pool(cores), &traffic);
                assert!(outcomes.iter().all(|outcome| outcome.refused == 0), "what has expired makes room");
                traffic.ns_of(&outcomes)
            };
            run(3 * MILLION / cores as u64);
            variants.push((format!("{name}, {label}"), Box::new(move || run(packets))));
        }
    }
    let mut hits = bench.make(2 * MILLION, OnFull::DropNew, 1).table("lockfree");
    bench.fill(&mut hits, Family::V4, MILLION, 1);
    let bytes = hits.bytes();
    variants.push((
        "lockfree, hits".into(),
        Box::new(move || bench.traffic(Pick::Uniform(MILLION), packets).ns(&mut hits, bench.pool(1))),
    ));
    for cores in [1, 2] {
        let mut probe = Probe::new(bytes).expect("memory for the probe");
        variants.push((
            format!("probe, {}", if cores == 1 { "1 core" } else { "2 symmetric" }),
            Box::new(move || probe.touch(&bench.clock, bench.pool(cores), packets, BURST) as f64 / packets as f64),
        ));
    }
    let samples = bench.blocks(20, &mut variants);
    bench.say_handover();
    each(&samples);
    line("lockfree: new flow / hit", &ratio(&samples, "lockfree, 1 core", "lockfree, hits"), "at most 2.5");
    line("probe: 2 cores / 1 core", &ratio(&samples, "probe, 2 symmetric", "probe, 1 core"), "");
    for name in &names {
        for (label, _, steering) in &kinds[1..] {
            if *steering == Steering::Asymmetric && ["owner", "percore"].contains(name) {
                continue;
            }
            let wanted = if *name == "lockfree" { "at most 1.2" } else { "" };
            line(
                &format!("{name}: {label} / 1 core"),
                &ratio(&samples, &format!("{name}, {label}"), &format!("{name}, 1 core")),
                wanted,
            );
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let bench = Bench {
        clock: Clock::new(),
        pools: [Pool::new(1)?, Pool::new(2)?],
        hash: FlowHash::new(HashKey::from_seed(1)),
        now_ns: AtomicU64::new(1_000_000_000),
        handovers_ns: RefCell::default(),
        short: arguments.iter().any(|argument| argument == "--short"),
    };
    let host = Host::read();
    println!(
        "{}; {} cores{}; Linux {}; transparent huge pages: {}; load {} at the start; ctbench {}",
        host.cpu,
        host.cores,
        if host.virtual_machine { ", virtual" } else { "" },
        host.kernel,
        host.huge_pages,
        host.load,
        env!("CARGO_PKG_VERSION")
    );
    let sections: [Section; 9] = [
        ("hits", hits),
        ("occupancy", occupancy),
        ("burst", burst),
        ("cores", cores),
        ("churn", churn),
        ("flood", flood::flood),
        ("keys", flood::keys),
        ("expiry", expiry::expiry),
        ("tail", tail::tail),
    ];
    let named: Vec<String> = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = named.iter().find(|name| sections.iter().all(|section| section.0 != **name)) {
        let known: Vec<&str> = sections.iter().map(|section| section.0).collect();
        return Err(format!("no section {unknown}; there are: {}", known.join(", ")).into());
    }
    for (name, run) in sections {
        if named.is_empty() || named.iter().any(|n| n == name) {
            run(&bench);
        }
    }
    Ok(())
}
