//! Evaluation: every engine on the bundled scenario, beside what the machine can do.
//!
//! `cargo bench --bench engines`. The yardsticks are measured in the same minute: a bare hashbrown
//! look-up among a million flows, and a prefetched read-modify-write of random cache lines on one
//! core and on two. Blocks are interleaved; only ratios mean something.

use ctbench::conntrack::Config;
use ctbench::engine::registry::ENGINES;
use ctbench::measure::statistics::{Random, median};
use ctbench::measure::{Budget, Clock, Expected, Trials, Variant};
use ctbench::packet::{Direction, FlowKey, Inside, Packet, TcpFields, protocol};
use ctbench::policy::{LoadOptions, Rule, RuleSet, World, load_network_acl, load_security_groups};
use ctbench::replay::{Mode, Pool, Workload};
use ctbench::scenario::Scenario;
use ctbench::table::{FlowHash, Geometry, HashKey};
use ctbench::trace::{Capture, Trace};
use hashbrown::{HashSet, HashTable};
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const FLOWS: usize = 1_000_000;
const ROUNDS: u64 = 7;
const ROUND_NS: u64 = 4_000_000_000;

/// The bundled scenario.
fn bundled() -> Result<Workload, Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/web");
    let (scenario, path) = Scenario::read(&folder)?;
    let config = scenario.config(&path)?;
    let options = LoadOptions { groups: scenario.groups.clone(), ..LoadOptions::default() };
    let file = |name: &Option<std::path::PathBuf>| folder.join(name.clone().unwrap_or_default());
    let groups = load_security_groups(&file(&scenario.security_groups), &options)?.rules;
    let acl = load_network_acl(&file(&scenario.network_acls), &options)?.rules;
    let capture = Capture::open(&folder.join(&scenario.trace))?;
    let frames = capture.frames()?;
    let trace = Trace::sequence(&frames, frames.decode(&Inside::new(&scenario.inside)), config.profile);
    let geometry = Geometry::with_capacity(65_536, Geometry::DEFAULT_SHARDS);
    Ok(Workload::new(trace, Some(groups), Some(acl), config, geometry, 1, 2, 32))
}

/// Established connections of a million flows, in random order: the table is all that there is.
fn million_flows() -> Workload {
    let mut random = Random::new(5);
    let mut trace = Trace::default();
    let local = "10.0.1.10".parse().expect("an address");
    for n in 0..2 * FLOWS as u32 {
        let flow = if n < FLOWS as u32 { n } else { random.below(FLOWS) as u32 };
        let [_, a, b, c] = flow.to_be_bytes();
        let remote = std::net::IpAddr::from([198, a, b, c]);
        let fields = TcpFields { flags: 0x10, seq: 1, ack: 1, sack_or_options: 1, window: 1000, payload_len: 0 };
        let packet = Packet::new(local, remote, Direction::In, protocol::TCP, 1_000_000_000 + u64::from(n));
        trace.packets.push(packet.with_ports(443, 50_000).with_tcp(fields));
        trace.frames.push(n + 1);
    }
    let mut rules = RuleSet::new(World::SecurityGroups);
    let everyone = "0.0.0.0/0".parse().expect("a block");
    rules.push(
        Direction::In,
        Rule { remote: everyone, protocol: None, ports: None, allow: true, name: "rule:all#1".into() },
    );
    let geometry = Geometry::with_capacity(2 * FLOWS as u64, Geometry::DEFAULT_SHARDS);
    let config = Config::new(ctbench::conntrack::Profile::Linux);
    Workload::new(trace, Some(rules), None, config, geometry, 1, 2, 32)
}

/// A hashbrown table of a million flows, and keys in random order to look up, one after the other.
struct Lookups {
    hash: FlowHash,
    table: HashTable<(FlowKey, u64)>,
    keys: Vec<FlowKey>,
}

impl Lookups {
    fn new(workload: &Workload) -> Self {
        let hash = FlowHash::new(HashKey::from_seed(9));
        let keys: Vec<_> = workload.trace.packets.iter().map(Packet::flow_key).collect();
        let mut table = HashTable::with_capacity(FLOWS);
        for key in &keys[..FLOWS] {
            table.insert_unique(hash.hash(key), (*key, 0u64), |(key, _)| hash.hash(key));
        }
        Lookups { hash, table, keys: keys[FLOWS..].to_vec() }
    }

    /// Look-ups a second.
    fn per_second(&self, clock: &Clock) -> f64 {
        let rounds = (0..3).map(|_| {
            let start = clock.raw();
            for key in &self.keys {
                black_box(self.table.find(self.hash.hash(key), |(other, _)| other == key));
            }
            self.keys.len() as f64 / clock.ns(start, clock.raw()) as f64 * 1e9
        });
        median(&rounds.collect::<Vec<_>>())
    }
}

#[repr(align(64))]
struct Line(AtomicU64);

/// Random lines touched a second by so many cores together, in prefetched bursts of 32; each core has
/// an equal share of the lines.
fn probe(clock: &Clock, pool: &Pool, lines: &[Line]) -> f64 {
    const TOUCHES: usize = 2_000_000;
    let cores = pool.cores();
    let share = lines.len() / cores;
    let spans = pool.run(|core| {
        let own = &lines[core * share..(core + 1) * share];
        let mut random = Random::new(core as u64);
        let start = clock.raw();
        let mut burst = [0; 32];
        for _ in 0..TOUCHES / 32 {
            for at in &mut burst {
                *at = random.below(share);
                prefetch(&own[*at]);
            }
            for at in burst {
                own[at].0.store(own[at].0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
        }
        (start, clock.raw())
    });
    let start = spans.iter().map(|span| span.0).min().unwrap_or(0);
    let end = spans.iter().map(|span| span.1).max().unwrap_or(0);
    (TOUCHES * cores) as f64 / clock.ns(start, end) as f64 * 1e9
}

fn prefetch(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on the caches.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(line).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// What one round measured: the machine's yardsticks, and each variant's throughput beside them.
struct Round {
    lookups: f64,
    probe: [f64; 2],
    pps: Vec<f64>,
}

/// Yardsticks and engines by turns, so that a slow minute of the machine slows both.
fn measure(
    workload: &Workload,
    clock: &Clock,
    pools: &[Pool; 2],
    lookups: &Lookups,
) -> (Vec<(&'static str, usize)>, Vec<Round>) {
    let engines = ENGINES.iter().filter(|engine| workload.can_run(engine.kind));
    let mut prepared = Vec::new();
    for engine in engines {
        for pool in pools.iter().filter(|pool| pool.cores() == 1 || !engine.kind.is_single_core()) {
            prepared.push((engine, pool, workload.steered(engine.kind, pool.cores())));
        }
    }
    let mut variants: Vec<Box<dyn Variant + '_>> = Vec::new();
    let mut names = Vec::new();
    for (engine, pool, steered) in &prepared {
        if let Some(variant) = workload.variant(engine.kind, steered, pool, clock, workload.burst) {
            variants.push(variant);
            names.push((engine.name, pool.cores()));
        }
    }
    let expected: Vec<Expected> = variants
        .iter_mut()
        .map(|variant| {
            let pass = variant.pass(Mode::Throughput, Vec::new());
            Expected::Digest(variant.digest(&pass.decisions))
        })
        .collect();
    // As much memory as the trace's flows take in the lock-free table: a bucket and an entry of two lines.
    let flows: HashSet<FlowKey> = workload.trace.packets.iter().map(Packet::flow_key).collect();
    let lines: Vec<Line> = (0..flows.len() * 3).map(|_| Line(AtomicU64::new(0))).collect();
    let rounds = (0..ROUNDS).map(|round| {
        let budget = Budget { total_ns: ROUND_NS, latency_samples: 0, stamping: None, seed: round, precision: 0.0 };
        let measured = Trials::new(clock, budget).run(&mut variants, 0, &expected, |_| ());
        assert!(measured.iter().all(|m| m.wrong_passes == 0), "verdicts changed between passes");
        let probes: Vec<[f64; 2]> =
            (0..5).map(|_| [probe(clock, &pools[0], &lines), probe(clock, &pools[1], &lines)]).collect();
        Round {
            lookups: lookups.per_second(clock),
            probe: [0, 1].map(|i| median(&probes.iter().map(|p| p[i]).collect::<Vec<_>>())),
            pps: measured.iter().map(|m| median(&m.pps)).collect(),
        }
    });
    let rounds = rounds.collect();
    (names, rounds)
}

/// Median over rounds, lowest and highest.
fn show(rounds: &[Round], value: impl Fn(&Round) -> f64) -> String {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2} to {:.2})", median(&values), values[0], values[values.len() - 1])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Clock::new();
    let pools = [Pool::new(1)?, Pool::new(2)?];
    let million = million_flows();
    let bundled = bundled()?;
    let lookups = Lookups::new(&million);

    for (name, workload) in [("bundled scenario traces/web", &bundled), ("1M flows, half of the packets new", &million)]
    {
        let (names, rounds) = measure(workload, &clock, &pools, &lookups);
        println!("{name}: {} packets; median (lowest to highest) of {ROUNDS} rounds", workload.trace.packets.len());
        println!("  bare hashbrown look-ups, 1M flows, in M/s: {}", show(&rounds, |round| round.lookups / 1e6));
        println!(
            "  lines that two cores touch, to those of one: {}",
            show(&rounds, |round| round.probe[1] / round.probe[0])
        );
        println!(
            "  {:25} {:>6} {:>24} {:>22} {:>22} {:>22}",
            "engine", "cores", "Mpps", "x look-ups", "x one core", "x probe's scaling"
        );
        for (at, (engine, cores)) in names.iter().enumerate() {
            print!("  {engine:25} {cores:>6}");
            print!(" {:>24}", show(&rounds, |round| round.pps[at] / 1e6));
            print!(" {:>22}", show(&rounds, |round| round.pps[at] / round.lookups));
            if let (2, Some(one)) = (*cores, names.iter().position(|other| *other == (*engine, 1))) {
                print!(" {:>22}", show(&rounds, |round| round.pps[at] / round.pps[one]));
                let probe = |round: &Round| round.probe[1] / round.probe[0];
                print!(" {:>22}", show(&rounds, |round| round.pps[at] / round.pps[one] / probe(round)));
            }
            println!();
        }
        println!();
    }
    Ok(())
}
