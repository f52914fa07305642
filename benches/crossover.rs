//! The crossover map: at how many rules, flows and new flows a look into a flow table is cheaper than trying the rules.
//!
//! `cargo bench --bench crossover [-- rules=1,60 flows=1000 churn=0,10 rounds=9 table=percore]`, some minutes.
//!
//! One core, IPv4 TCP, bursts of 32. Every packet is of an established connection, all of them the same likely, or,
//! in so many of a hundred (`churn`), opens a new one. The rules of both worlds are the same; each connection is of a
//! random one of them, so that the first match may be anywhere. The stateful engine is the whole one: hash, table,
//! tracker with window checks, expiry, and rules for what is new. New connections stay unanswered and time out after
//! as many packets as there are flows. All variants run in each round, in random order; a cell is the median over rounds
//! of stateful by stateless, the `null` engine's time subtracted from both: below 1, remembering is cheaper.

#[path = "common/rules.rs"]
mod rules;

use ctbench::conntrack::{Config, OnFull, Profile, Tracker};
use ctbench::engine::{Decision, Engine, Groups, NoStamps, Null, State, Stateful, Stateless, Tag, Verdict};
use ctbench::measure::statistics::{Random, median};
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
/// Longer than Linux waits for the answer to a SYN.
const UNANSWERED_NS: u64 = 130_000_000_000;

/// What is measured.
struct Plan {
    rules: Vec<usize>,
    flows: Vec<usize>,
    churn: Vec<usize>,
    rounds: usize,
    per_core: bool,
}

impl Plan {
    fn from_args() -> Plan {
        let mut plan = Plan {
            rules: vec![1, 5, 20, 60, 250, 1_000, 10_000],
            flows: vec![1_000, 100_000, 1_000_000],
            churn: vec![0, 1, 10, 50],
            rounds: 7,
            per_core: false,
        };
        for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
            let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
            let numbers = || -> Vec<usize> { value.split(',').map(|n| n.parse().expect("numbers")).collect() };
            match name {
                "rules" => plan.rules = numbers(),
                "flows" => plan.flows = numbers(),
                "churn" => plan.churn = numbers(),
                "rounds" => plan.rounds = numbers()[0].max(1),
                "table" => plan.per_core = value == "percore",
                _ => panic!("{argument}: rules=, flows=, churn= with numbers, rounds=N, table=lockfree or percore"),
            }
        }
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

/// Medians, in ns a packet without the loop, and medians of ratios.
struct Cell {
    /// Evaluation by linear and compiled rules.
    stateless: [f64; 2],
    /// The table, with linear and compiled rules.
    stateful: [f64; 2],
    /// Stateful by stateless, of a round.
    ratio: [f64; 2],
}

struct Bench {
    clock: Clock,
    tracker: Tracker,
    config: Config,
    hash: FlowHash,
    rounds: usize,
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
    ) -> Cell {
        let few = (TRIES / rules).clamp(FEWEST_PACKETS, PACKETS);
        let mut samples = [const { Vec::new() }; 5];
        let mut order = [0, 1, 2, 3, 4];
        let mut decisions = Vec::new();
        for round in 0..=self.rounds {
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
        let ratio =
            |ours: &[f64], theirs: &[f64]| median(&ours.iter().zip(theirs).map(|(a, b)| a / b).collect::<Vec<_>>());
        Cell {
            ratio: [ratio(&table_linear, &linear), ratio(&table_compiled, &compiled)],
            stateless: [median(&linear), median(&compiled)],
            stateful: [median(&table_linear), median(&table_compiled)],
        }
    }

    fn map<T: Table>(&self, plan: &Plan) {
        for &flows in &plan.flows {
            let mut won = vec![[None; 2]; plan.churn.len()];
            println!("\n{flows} flows: stateful by stateless, linear and compiled; below 1 the table is cheaper");
            let churns: String =
                plan.churn.iter().map(|churn| format!("   {:>15}", format!("{churn} % new"))).collect();
            println!(" rules{churns}   rules alone, ns    by probe, by hit    compiled in   bytes");
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
                let touches: Vec<f64> = (0..self.rounds)
                    .map(|_| probe.touch(&self.clock, &pool, PACKETS as u64, BURST) as f64 / PACKETS as f64)
                    .collect();
                let mut line = format!("{count:6}");
                let mut hit = None;
                let mut alone = [0.0; 2];
                for (&churn, won) in plan.churn.iter().zip(&mut won) {
                    let cell = self.cell((&linear, &compiled), &mut table, &mut connections, churn, count);
                    line += &format!("   {:7.2} {:7.2}", cell.ratio[0], cell.ratio[1]);
                    if hit.is_none() {
                        (hit, alone) = (Some(cell.stateful[1]), cell.stateless);
                    }
                    for (won, ratio) in won.iter_mut().zip(cell.ratio) {
                        if ratio < 1.0 {
                            won.get_or_insert(count);
                        } else {
                            *won = None;
                        }
                    }
                }
                let touch = median(&touches);
                println!(
                    "{line}   {:8.1} {:6.1}    {:8.2} {:6.2}   {compiling:>12.1?}   {bytes}",
                    alone[0],
                    alone[1],
                    alone[1] / touch,
                    alone[1] / hit.unwrap_or(f64::NAN),
                );
            }
            for (churn, won) in plan.churn.iter().zip(&won) {
                let say =
                    |won: Option<usize>| won.map_or("never here".into(), |count| format!("from {count} rules on"));
                println!(
                    "  {churn:3} % new: the table wins over linear {}, over compiled {}",
                    say(won[0]),
                    say(won[1])
                );
            }
        }
    }
}

fn main() {
    let plan = Plan::from_args();
    let host = Host::read();
    println!("{}; {} cores; Linux {}; load {}", host.cpu, host.cores, host.kernel, host.load);
    println!(
        "`rules alone`: linear, compiled; `by probe, by hit`: compiled, by a random cache line of a table that large,"
    );
    println!("and by the stateful engine's packet in the first column of the map");
    let config = Config::new(Profile::Linux);
    let bench = Bench {
        clock: Clock::new(),
        tracker: Tracker::new(&config),
        config,
        hash: FlowHash::new(HashKey::from_seed(2)),
        rounds: plan.rounds,
    };
    if plan.per_core { bench.map::<PerCore>(&plan) } else { bench.map::<LockFree>(&plan) }
}
