//! The crossover map: at how many rules, flows and new flows a look into a flow table is cheaper than trying the rules.
//!
//! `cargo bench --bench crossover [-- rules=1,60 flows=1000 churn=0,10 seconds=300 table=percore]`, some five minutes.
//! docs/CROSSOVER.md says how to read it.
//!
//! One core, IPv4 TCP, bursts of 32. Every packet is of an established connection, all of them the same likely, or,
//! in so many of a hundred (`churn`), opens a new one. The rules of both worlds are the same; each connection is of a
//! random one of them, so that the first match may be anywhere. The stateful engine is the whole one: hash, table,
//! tracker with window checks, expiry, and rules for what is new. New connections stay unanswered and time out after
//! as many packets as there are flows. All variants run in each round, in random order; a cell is the median over rounds
//! of stateful by stateless, the `null` engine's time subtracted from both, with a 95 % bootstrap interval: below 1,
//! remembering is cheaper.

#[path = "common/rules.rs"]
mod rules;

use ctbench::conntrack::{Config, OnFull, Profile, Tracker};
use ctbench::engine::{Decision, Engine, Groups, NoStamps, Null, State, Stateful, Stateless, Tag, Verdict};
use ctbench::measure::statistics::{Estimate, Random, median, paired_ratio};
use ctbench::measure::{Clock, Host, Probe};
use ctbench::packet::{Direction, Packet, TcpFields, protocol};
use ctbench::policy::compiled::Compiled;
use ctbench::policy::linear::Linear;
use ctbench::policy::untracked::Untracked;
use ctbench::policy::{Epoch, Epochs, Evaluate, RuleSet, World};
use ctbench::replay::Pool;
use ctbench::table::access::{OwnedTable, SharedTable};
use ctbench::table::{FlowHash, FlowTable, Geometry, HashKey, lockfree::LockFree, percore::PerCore};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

const BURST: usize = 32;
const SHARDS: u32 = 64;
/// Packets of a pass; fewer where every packet tries thousands of rules.
const PACKETS: usize = 1 << 17;
const FEWEST_PACKETS: usize = 1 << 12;
/// Rules that `linear` may try in a pass.
const TRIES: usize = 20_000_000;
/// Rounds of a cell, whatever the time.
const FEWEST_ROUNDS: usize = 5;
const MOST_ROUNDS: usize = 25;
/// The two ways to evaluate rules.
const FORMS: [&str; 2] = ["linear", "compiled"];
/// Longer than Linux waits for the answer to a SYN.
const UNANSWERED_NS: u64 = 130_000_000_000;

/// What is measured.
struct Plan {
    rules: Vec<usize>,
    flows: Vec<usize>,
    churn: Vec<usize>,
    /// For all of it, unless the fewest rounds take longer.
    seconds: f64,
    per_core: bool,
}

impl Plan {
    fn from_args() -> Plan {
        let mut plan = Plan {
            rules: vec![1, 5, 20, 60, 250, 1_000, 10_000],
            flows: vec![1_000, 100_000, 1_000_000],
            churn: vec![0, 1, 10, 50],
            seconds: 300.0,
            per_core: false,
        };
        for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
            let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
            let numbers = || -> Vec<usize> { value.split(',').map(|n| n.parse().expect("numbers")).collect() };
            match name {
                "rules" => plan.rules = numbers(),
                "flows" => plan.flows = numbers(),
                "churn" => plan.churn = numbers(),
                "seconds" => plan.seconds = numbers()[0] as f64,
                "table" => plan.per_core = value == "percore",
                _ => panic!("{argument}: rules=, flows=, churn= with numbers, seconds=N, table=lockfree or percore"),
            }
        }
        plan.rules.sort_unstable();
        plan
    }
}

/// A table that engines work on in turn.
trait Table {
    type Worker<'a>: FlowTable
    where
        Self: 'a;
    fn new(entries: u64, hash: FlowHash) -> Self;
    fn worker(&mut self) -> Self::Worker<'_>;
    fn bytes(&self) -> u64;
}

impl Table for LockFree {
    type Worker<'a> = <LockFree as SharedTable>::Worker<'a>;
    fn new(entries: u64, hash: FlowHash) -> Self {
        LockFree::new(Geometry::with_capacity(entries, SHARDS), OnFull::DropNew, hash)
    }
    fn worker(&mut self) -> Self::Worker<'_> {
        SharedTable::worker(self)
    }
    fn bytes(&self) -> u64 {
        SharedTable::bytes(self)
    }
}

impl Table for PerCore {
    type Worker<'a> = <PerCore as OwnedTable>::Owner<'a>;
    fn new(entries: u64, _: FlowHash) -> Self {
        PerCore::new(Geometry::with_capacity(entries, SHARDS), OnFull::DropNew, |_| true)
    }
    fn worker(&mut self) -> Self::Worker<'_> {
        self.owner()
    }
    fn bytes(&self) -> u64 {
        OwnedTable::bytes(self)
    }
}

/// Rules in a form that engines take.
type Form<R> = [Epoch<Groups<R>>; 1];

fn form<R>(rules: R) -> Form<R> {
    [Epoch { from_ns: 0, rules: Groups { rules, untracked: Untracked::default() } }]
}

/// Packets of numbered connections.
struct Connections<'a> {
    /// Blocks and ports of the TCP rules.
    targets: Vec<(u32, u32, u16)>,
    shard_hash: FlowHash,
    flows: usize,
    next_new: u64,
    segments: u64,
    now_ns: u64,
    random: &'a mut Random,
}

impl<'a> Connections<'a> {
    fn new(rules: &RuleSet, flows: usize, random: &'a mut Random) -> Self {
        let tcp = rules.rules(Direction::In).filter(|(_, rule)| rule.protocol == Some(protocol::TCP));
        let target = |net: IpNet, port| match net {
            IpNet::V4(net) => (net.network().to_bits(), net.hostmask().to_bits(), port),
            IpNet::V6(_) => panic!("the rules are for IPv4"),
        };
        let targets = tcp.map(|(_, rule)| target(rule.remote, rule.ports.expect("TCP rules have ports").0)).collect();
        let shard_hash = FlowHash::new(HashKey::from_seed(1));
        Connections { targets, shard_hash, flows, next_new: flows as u64, segments: 0, now_ns: 1 << 40, random }
    }

    /// A segment of connection `n`.
    fn segment(&mut self, n: u64, direction: Direction, flags: u8, seq: u32, ack: u32) -> (Packet, Tag) {
        let mixed = Random::new(n).bits();
        let (net, hosts, port) = self.targets[(mixed >> 32) as usize % self.targets.len()];
        let remote = IpAddr::V4(Ipv4Addr::from_bits(net | mixed as u32 & hosts));
        // Port and local address tell all numbers apart.
        let local = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | (n >> 16) as u32 & 0x00ff_ffff));
        // The window differs from one segment to the next: the same again is a retransmission, and three shorten the
        // connection's life.
        self.segments += 1;
        let window = 60_000 + (self.segments % 4_001) as u16;
        let tcp = TcpFields { flags, seq, ack, sack_or_options: 0, window, payload_len: 0 };
        self.now_ns += UNANSWERED_NS / self.flows as u64;
        let packet = Packet::new(local, remote, direction, protocol::TCP, self.now_ns).with_ports(port, n as u16);
        let packet = packet.with_tcp(tcp);
        (packet, Tag::from(self.shard_hash.shard(&packet.flow_key(), SHARDS) as u16))
    }

    /// Handshakes of the connections from one number to another.
    fn handshakes(&mut self, numbers: std::ops::Range<u64>) -> (Vec<Packet>, Vec<Tag>) {
        let mut all = (Vec::new(), Vec::new());
        for n in numbers {
            for (direction, flags, seq, ack) in
                [(Direction::In, 0x02, 100, 0), (Direction::Out, 0x12, 500, 101), (Direction::In, 0x10, 101, 501)]
            {
                let (packet, shard) = self.segment(n, direction, flags, seq, ack);
                all.0.push(packet);
                all.1.push(shard);
            }
        }
        all
    }

    /// A pass: old connections, and `churn` new ones of a hundred packets.
    fn pass(&mut self, packets: usize, churn: usize) -> (Vec<Packet>, Vec<Tag>) {
        let next = |this: &mut Self| {
            if this.random.below(100) < churn {
                this.next_new += 1;
                let n = this.next_new;
                return this.segment(n, Direction::In, 0x02, 100, 0);
            }
            let n = this.random.below(this.flows) as u64;
            this.segment(n, Direction::In, 0x10, 101, 501)
        };
        (0..packets).map(|_| next(self)).unzip()
    }
}

/// Runs an engine over a pass. ns a packet, and packets that it accepted.
fn run(
    clock: &Clock,
    engine: &mut impl Engine,
    (packets, tags): &(Vec<Packet>, Vec<Tag>),
    decisions: &mut Vec<Decision>,
) -> f64 {
    decisions.resize(packets.len(), Decision::default());
    let start = clock.raw();
    let bursts = packets.chunks(BURST).zip(tags.chunks(BURST)).zip(decisions.chunks_mut(BURST));
    for ((packets, tags), decisions) in bursts {
        engine.burst(packets, tags, decisions, &mut NoStamps);
    }
    let end = clock.raw();
    std::hint::black_box(&decisions);
    clock.ns(start, end) as f64 / packets.len() as f64
}

/// What a cell comes to, for linear and for compiled rules.
struct Cell {
    /// The rules alone, ns a packet without the loop.
    stateless: [f64; 2],
    /// With the table.
    stateful: [f64; 2],
    /// Stateful by stateless.
    ratio: [Estimate; 2],
}

struct Bench {
    clock: Clock,
    tracker: Tracker,
    config: Config,
    hash: FlowHash,
}

impl Bench {
    fn stateful<R: Evaluate, T: Table>(
        &self,
        rules: &Form<R>,
        table: &mut T,
        pass: &(Vec<Packet>, Vec<Tag>),
        decisions: &mut Vec<Decision>,
    ) -> f64 {
        let epochs = Epochs::new(rules).expect("one epoch");
        let mut engine = Stateful::new(epochs, self.config.invalid, &self.tracker, self.hash, table.worker(), None);
        run(&self.clock, &mut engine, pass, decisions)
    }

    fn cell<T: Table>(
        &self,
        forms: (&Form<Linear>, &Form<Compiled>),
        table: &mut T,
        connections: &mut Connections,
        churn: usize,
        rules: usize,
        seconds: f64,
    ) -> Cell {
        let began = Instant::now();
        let few = (TRIES / rules).clamp(FEWEST_PACKETS, PACKETS);
        let mut samples = [const { Vec::new() }; 5];
        let mut order = [0, 1, 2, 3, 4];
        let mut decisions = Vec::new();
        for round in 0..=MOST_ROUNDS {
            if round > FEWEST_ROUNDS && began.elapsed().as_secs_f64() > seconds {
                break;
            }
            connections.random.shuffle(&mut order);
            for variant in order {
                let count = if matches!(variant, 1 | 3) { few } else { PACKETS };
                let now_ns = connections.now_ns;
                let pass = connections.pass(count, churn);
                if variant < 3 {
                    // The table sees none of it.
                    connections.now_ns = now_ns;
                }
                let ns = match variant {
                    0 => run(&self.clock, &mut Null, &pass, &mut decisions),
                    1 => {
                        let epochs = Epochs::new(forms.0).expect("one epoch");
                        run(&self.clock, &mut Stateless::new(epochs), &pass, &mut decisions)
                    }
                    2 => {
                        let epochs = Epochs::new(forms.1).expect("one epoch");
                        run(&self.clock, &mut Stateless::new(epochs), &pass, &mut decisions)
                    }
                    3 => self.stateful(forms.0, table, &pass, &mut decisions),
                    _ => self.stateful(forms.1, table, &pass, &mut decisions),
                };
                assert!(decisions.iter().all(|d| d.verdict() == Verdict::Accept), "every packet has its rule");
                if variant > 2 {
                    let new = |packet: &Packet| packet.tcp_flags() == 0x02;
                    let right = |(d, p): (&Decision, &Packet)| (d.state() == State::New) == new(p);
                    assert!(decisions.iter().zip(&pass.0).all(right), "old connections are known, new ones are not");
                }
                // The first round warms up.
                if round > 0 {
                    samples[variant].push(ns);
                }
            }
        }
        let less = |variant: usize| -> Vec<f64> {
            samples[variant].iter().zip(&samples[0]).map(|(ns, null)| (ns - null).max(0.1)).collect()
        };
        let [linear, compiled, table_linear, table_compiled] = [1, 2, 3, 4].map(less);
        Cell {
            ratio: [paired_ratio(&table_linear, &linear, 1), paired_ratio(&table_compiled, &compiled, 1)],
            stateless: [median(&linear), median(&compiled)],
            stateful: [median(&table_linear), median(&table_compiled)],
        }
    }

    /// Measures all cells of one number of flows, and prints them. The crossings, by form and churn.
    fn flows<T: Table>(&self, plan: &Plan, flows: usize, end: Instant, mut cells_left: usize) -> [Vec<Crossing>; 2] {
        let mut ratios: [Vec<Vec<Estimate>>; 2] = Default::default();
        let mut costs = Vec::new();
        for &count in &plan.rules {
            let mut random = Random::new(count as u64);
            // Never without a TCP rule.
            let rules = loop {
                let rules = rules::rules(World::SecurityGroups, count, false, &mut random);
                if rules.rules(Direction::In).any(|(_, rule)| rule.protocol == Some(protocol::TCP)) {
                    break rules;
                }
            };
            let linear = form(Linear::new(&rules));
            let start = Instant::now();
            let compiled = Compiled::new(&rules);
            let compiling = start.elapsed();
            let bytes = compiled.bytes();
            let compiled = form(compiled);
            // Unanswered connections live as long as it takes to see each flow once, and a while until swept.
            let mut table = T::new((flows as u64 * 4).max(1 << 16), self.hash);
            let mut connections = Connections::new(&rules, flows, &mut random);
            let mut decisions = Vec::new();
            for from in (0..flows as u64).step_by(PACKETS) {
                let some = connections.handshakes(from..(from + PACKETS as u64).min(flows as u64));
                self.stateful(&compiled, &mut table, &some, &mut decisions);
            }
            let mut probe = Probe::new(table.bytes()).expect("memory for the probe");
            let pool = Pool::new(1).expect("a worker");
            let touches: Vec<f64> = (0..FEWEST_ROUNDS)
                .map(|_| probe.touch(&self.clock, &pool, PACKETS as u64, BURST) as f64 / PACKETS as f64)
                .collect();
            let (touch, mut row): (f64, [Vec<Estimate>; 2]) = (median(&touches), Default::default());
            for (n, &churn) in plan.churn.iter().enumerate() {
                let seconds = end.saturating_duration_since(Instant::now()).as_secs_f64() / cells_left.max(1) as f64;
                let cell = self.cell((&linear, &compiled), &mut table, &mut connections, churn, count, seconds);
                cells_left = cells_left.saturating_sub(1);
                row.iter_mut().zip(cell.ratio).for_each(|(row, ratio)| row.push(ratio));
                if n == 0 {
                    let (hit, [linear, compiled]) = (cell.stateful[1], cell.stateless);
                    costs.push(format!(
                        "{count:6} {linear:11.1} {compiled:11.1} {hit:11.1} {touch:11.1} {:11.2} {:11.2} {compiling:>13.1?} {bytes:>12}",
                        compiled / touch,
                        compiled / hit
                    ));
                }
            }
            ratios.iter_mut().zip(row).for_each(|(all, row)| all.push(row));
        }
        println!("\n{} flows\n", thousands(flows));
        for (form, ratios) in FORMS.iter().zip(&ratios) {
            println!("stateful by stateless, {form} rules");
            let churns: String = plan.churn.iter().map(|churn| format!("{:>28}", format!("{churn} % new"))).collect();
            println!(" rules{churns}");
            for (count, row) in plan.rules.iter().zip(ratios) {
                println!("{count:6}{}", row.iter().map(cell_text).collect::<String>());
            }
        }
        let first = plan.churn[0];
        println!("ns a packet without the loop, at {first} % new; compiled rules by probe and by table");
        println!(
            " rules      linear    compiled       table       probe    by probe    by table   compiled in        bytes"
        );
        costs.iter().for_each(|line| println!("{line}"));
        ratios.map(|rows| {
            let of = |churn: usize| Crossing::of(&plan.rules, &rows.iter().map(|row| row[churn]).collect::<Vec<_>>());
            (0..plan.churn.len()).map(of).collect()
        })
    }

    fn map<T: Table>(&self, plan: &Plan) {
        let end = Instant::now() + std::time::Duration::from_secs_f64(plan.seconds);
        let cells = plan.rules.len() * plan.churn.len();
        let crossings: Vec<[Vec<Crossing>; 2]> = (plan.flows.iter().enumerate())
            .map(|(n, flows)| self.flows::<T>(plan, *flows, end, cells * (plan.flows.len() - n)))
            .collect();
        println!("\nFrom how many rules on the table is cheaper (between the counts that were measured)\n");
        for (form, name) in FORMS.iter().enumerate() {
            println!("{name} rules");
            let churns: String = plan.churn.iter().map(|churn| format!("{:>28}", format!("{churn} % new"))).collect();
            println!("    flows{churns}");
            for (flows, crossings) in plan.flows.iter().zip(&crossings) {
                let cells: String = crossings[form].iter().map(|crossing| format!("{:>28}", crossing.text())).collect();
                println!("{:>9}{cells}", thousands(*flows));
            }
        }
        println!();
        for (form, name) in FORMS.iter().enumerate() {
            let all: Vec<&Crossing> = crossings.iter().flat_map(|crossings| &crossings[form]).collect();
            println!("{}", sentence(name, &all, plan));
        }
    }
}

/// A ratio with its interval, and who is cheaper.
fn cell_text(ratio: &Estimate) -> String {
    let [low, high] = ratio.ci95;
    let who = match (high < 1.0, low > 1.0) {
        (true, _) => "table",
        (_, true) => "rules",
        _ => "  -  ",
    };
    format!("{:>28}", format!("{:.2} ({low:.2}-{high:.2}) {who}", ratio.value))
}

/// Where a row of ratios, by ascending numbers of rules, falls below 1 for good.
struct Crossing {
    /// The most rules at which the table was not cheaper, and the fewest from which on it was, at every count.
    between: (Option<usize>, Option<usize>),
    /// In between, where the logarithms of ratios and counts cross.
    at: Option<f64>,
    /// The interval of a neighbour holds 1: the crossing may as well lie beyond it.
    doubtful: bool,
}

impl Crossing {
    fn of(rules: &[usize], ratios: &[Estimate]) -> Crossing {
        let first = ratios.iter().rposition(|ratio| ratio.value >= 1.0).map_or(0, |last| last + 1);
        let holds_1 = |at: usize| ratios.get(at).is_some_and(|ratio| ratio.ci95[0] <= 1.0 && 1.0 <= ratio.ci95[1]);
        let before = first.checked_sub(1);
        let at = before.zip(rules.get(first)).map(|(before, &to)| {
            let (from, to) = ((rules[before] as f64).ln(), (to as f64).ln());
            let (above, below) = (ratios[before].value.ln(), ratios[first].value.ln());
            (from + (to - from) * above / (above - below)).exp()
        });
        let between = (before.map(|before| rules[before]), rules.get(first).copied());
        Crossing { between, at, doubtful: holds_1(first) || before.is_some_and(holds_1) }
    }

    fn text(&self) -> String {
        let doubt = if self.doubtful { "?" } else { "" };
        match (self.between, self.at) {
            ((_, None), _) => format!("never{doubt}"),
            ((None, Some(_)), _) => format!("always{doubt}"),
            ((Some(from), Some(to)), at) => format!("{:.0} ({from}-{to}){doubt}", at.unwrap_or(to as f64)),
        }
    }
}

/// Where the crossing lies, over all flows and churns.
fn sentence(form: &str, crossings: &[&Crossing], plan: &Plan) -> String {
    let (fewest, most) = (plan.rules.first().copied().unwrap_or(0), plan.rules.last().copied().unwrap_or(0));
    let found: Vec<f64> =
        crossings.iter().filter(|c| c.between.1.is_some()).map(|c| c.at.unwrap_or(fewest as f64)).collect();
    let never = crossings.len() - found.len();
    let low = found.iter().copied().fold(f64::INFINITY, f64::min);
    let high = found.iter().copied().fold(0.0, f64::max);
    let (flows, churn) = (plan.flows.iter().max(), plan.churn.iter().max());
    let from = if high / low < 1.05 { format!("{low:.0}") } else { format!("{low:.0} to {high:.0}") };
    let doubtful = crossings.iter().filter(|crossing| crossing.doubtful).count();
    let doubt = if doubtful > 0 {
        format!("; {doubtful} of {} crossings are doubtful", crossings.len())
    } else {
        String::new()
    };
    let until = format!("up to {} flows and {} % new", thousands(*flows.unwrap_or(&0)), churn.unwrap_or(&0));
    match (found.is_empty(), never) {
        (true, _) => format!(
            "Against {form} rules, of which there were up to {}, the table never wins ({until}{doubt}).",
            thousands(most)
        ),
        (false, 0) => format!("Against {form} rules the table wins from {from} rules on ({until}{doubt})."),
        (false, never) => format!(
            "Against {form} rules the table wins from {from} rules on in {} of {} cases, and not with {} rules in the others ({until}{doubt}).",
            found.len(),
            found.len() + never,
            thousands(most)
        ),
    }
}

/// A number with commas.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

fn main() {
    let plan = Plan::from_args();
    let host = Host::read();
    println!("{}; {} cores; Linux {}; load {}", host.cpu, host.cores, host.kernel, host.load);
    println!("table: {}; budget {:.0} s", if plan.per_core { "percore" } else { "lockfree" }, plan.seconds);
    let config = Config::new(Profile::Linux);
    let bench = Bench {
        clock: Clock::new(),
        tracker: Tracker::new(&config),
        config,
        hash: FlowHash::new(HashKey::from_seed(2)),
    };
    if plan.per_core { bench.map::<PerCore>(&plan) } else { bench.map::<LockFree>(&plan) }
}
