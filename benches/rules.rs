//! Rules: compiled against tried one by one, from 1 to 10,000; ns a packet.
//!
//! `cargo bench --bench rules`. One core, IPv4, packets in random order of which four in five match some rule:
//! what comes next is not to be guessed. The cost of the loop itself is measured as another variant and subtracted.
//! Variants alternate in random order within each block; ratios are of one block, their median is shown with a
//! 95 % bootstrap interval.
//!
//! `linear` is the scalar scan: an array of 28 bytes a rule and direction, tried from the first until one matches, each
//! with three comparisons in arithmetic and one branch, which is guessed right for nearly all rules. The compiler does not
//! vectorise a loop that ends early. It is what `stateless-linear` runs.
//!
//! `probe` is a random cache line of 64 MiB that was asked for a burst ahead, `hit` a look-up in hashbrown among 100,000
//! flows: what a packet costs that is looked up instead.
//!
//! Below that, what `compiled` chooses from by the number of rules and the processor: all rules compared in vectors of each
//! kind, or the tree.
//!
//! Last, the same where each of 1,000 interfaces has rules of its own: looked up for each packet, and found before
//! the clock starts, as engines have them.

#[path = "common/rules.rs"]
mod rules;

use ctbench::measure::statistics::{Estimate, Random, median, paired_ratio};
use ctbench::measure::{Clock, Host, Probe};
use ctbench::packet::{Direction, FlowKey, Packet, protocol};
use ctbench::policy::compiled::{Compiled, Vectors};
use ctbench::policy::linear::Linear;
use ctbench::policy::path::{Attached, Ends, Paths};
use ctbench::policy::untracked::Untracked;
use ctbench::policy::{Evaluate, Inventory, LoadOptions, RuleMatch, RuleSet, Unresolved, World};
use ctbench::replay::Pool;
use ctbench::table::{FlowHash, HashKey};
use hashbrown::HashTable;
use ipnet::IpNet;
use rules::rules;
use serde_json::json;
use std::cell::RefCell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

const PACKETS: usize = 1 << 16;
const BLOCKS: usize = 30;
const INTERFACES: usize = 1_000;
const FLOWS: u32 = 100_000;
const PROBED: u64 = 64 << 20;
const BURST: usize = 32;

/// Four in five are made to match a rule; it is another question whether it is their first.
fn packets(rules: &RuleSet, random: &mut Random) -> Vec<Packet> {
    let local: IpAddr = "192.0.2.1".parse().expect("an address");
    let packet = |random: &mut Random| {
        let mut remote = random.bits() as u32;
        let (mut protocol, mut port) = (protocol::TCP, random.bits() as u16);
        if random.below(5) != 0 {
            let rule = rules.rule(random.below(rules.len()) as u32);
            if let IpNet::V4(net) = rule.remote {
                remote = net.network().to_bits() | remote & net.hostmask().to_bits();
            }
            protocol = rule.protocol.unwrap_or(protocol);
            let (low, high) = rule.ports.unwrap_or((port, port));
            port = low + random.below(usize::from(high - low) + 1) as u16;
        }
        let remote = IpAddr::V4(Ipv4Addr::from_bits(remote));
        Packet::new(local, remote, Direction::In, protocol, 0).with_ports(port, 40_000)
    };
    (0..PACKETS).map(|_| packet(random)).collect()
}

/// What a packet costs that is looked up instead: ns a random line of memory, and ns a look-up among many flows.
struct Yardsticks {
    probe: Probe,
    pool: Pool,
    hash: FlowHash,
    flows: HashTable<FlowKey>,
    wanted: Vec<FlowKey>,
}

impl Yardsticks {
    fn new(random: &mut Random) -> Self {
        let local: IpAddr = "192.0.2.1".parse().expect("an address");
        let key =
            |n: u32| Packet::new(local, IpAddr::V4(Ipv4Addr::from_bits(n)), Direction::In, protocol::TCP, 0).flow_key();
        let hash = FlowHash::new(HashKey::from_seed(9));
        let mut flows = HashTable::with_capacity(FLOWS as usize);
        for key in (0..FLOWS).map(key) {
            flows.insert_unique(hash.hash(&key), key, |key| hash.hash(key));
        }
        let wanted = (0..PACKETS).map(|_| key(random.below(FLOWS as usize) as u32)).collect();
        Yardsticks {
            probe: Probe::new(PROBED).expect("memory"),
            pool: Pool::new(1).expect("a worker"),
            hash,
            flows,
            wanted,
        }
    }

    fn probe(&mut self, clock: &Clock) -> f64 {
        self.probe.touch(clock, &self.pool, PACKETS as u64, BURST) as f64 / PACKETS as f64
    }

    fn hit(&self, clock: &Clock) -> f64 {
        let start = clock.raw();
        let sum: u64 = self
            .wanted
            .iter()
            .map(|key| u64::from(self.flows.find(self.hash.hash(key), |one| one == key).is_some()))
            .sum();
        black_box(sum);
        clock.ns(start, clock.raw()) as f64 / PACKETS as f64
    }
}

/// A filter for each interface: 20 sets of 60 rules.
fn by_interface(random: &mut Random) -> (Attached, Vec<Packet>) {
    let entry = |number: usize, random: &mut Random| {
        let block = Ipv4Addr::from_bits(random.bits() as u32 & !0xff);
        let port = random.below(50_000);
        json!({"RuleNumber": number, "Egress": false, "RuleAction": "allow", "Protocol": "6",
            "CidrBlock": format!("{block}/24"), "PortRange": {"From": port, "To": port + 10}})
    };
    let acls: Vec<_> = (0..20)
        .map(|acl| {
            let entries: Vec<_> = (1..=60).map(|number| entry(number, random)).collect();
            json!({"NetworkAclId": format!("acl-{acl}"), "Associations": [{"SubnetId": format!("subnet-{acl}")}],
                "Entries": entries})
        })
        .collect();
    let address = |n: usize| Ipv4Addr::from_bits(0x0a00_0000 | (n * 7) as u32);
    let interfaces: Vec<_> = (0..INTERFACES)
        .map(|n| {
            json!({"NetworkInterfaceId": format!("eni-{n}"), "SubnetId": format!("subnet-{}", n % 20),
                "PrivateIpAddress": address(n)})
        })
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let document = json!({"NetworkAcls": acls, "NetworkInterfaces": interfaces});
    serde_json::to_writer(file.as_file(), &document).expect("JSON");
    let inventory = Inventory::load(&[file.path().into()], Unresolved::Error).expect("an inventory");
    let attached = Attached::network_acls(&Arc::new(inventory), &LoadOptions::default()).expect("network ACLs");
    let packet = |random: &mut Random| {
        let remote = IpAddr::V4(Ipv4Addr::from_bits(random.bits() as u32 | 0x8000_0000));
        let local = address(random.below(INTERFACES)).into();
        Packet::new(local, remote, Direction::In, protocol::TCP, 0).with_ports(random.bits() as u16, 40_000)
    };
    let packets = (0..PACKETS).map(|_| packet(random)).collect();
    (attached, packets)
}

/// ns a packet, with what is known of it.
fn measure_between(clock: &Clock, rules: &impl Evaluate, packets: &[Packet], ends: &[Ends]) -> f64 {
    let start = clock.raw();
    let mut sum = 0u64;
    for (packet, ends) in packets.iter().zip(ends) {
        sum += rules.first_match_between(packet, *ends).map_or(1, |found| u64::from(found.rule) << 1);
    }
    black_box(sum);
    clock.ns(start, clock.raw()) as f64 / packets.len() as f64
}

fn measure_by_interface(clock: &Clock) {
    let mut random = Random::new(7);
    let (attached, packets) = by_interface(&mut random);
    let paths = Paths::new(&attached, 0, Compiled::numbered_from, |_| Untracked::default());
    let known: Vec<Ends> = packets.iter().map(|packet| paths.ends(packet)).collect();
    let unknown = vec![Ends::default(); packets.len()];
    let samples = sampled(
        &mut random,
        &mut [
            &mut || measure(clock, &Nothing, &packets),
            &mut || measure_between(clock, &paths, &packets, &unknown),
            &mut || measure_between(clock, &paths, &packets, &known),
        ],
    );
    let (looked_up, found) = (less(&samples[1], &samples[0]), less(&samples[2], &samples[0]));
    let ratio = paired_ratio(&looked_up, &found, 1);
    println!("\n{INTERFACES} interfaces, 20 sets of 60 rules, compiled");
    println!(
        "sets looked up for each packet {:.1} ns, found before {:.1} ns: {:.2} times ({:.2} to {:.2})",
        median(&looked_up),
        median(&found),
        ratio.value,
        ratio.ci95[0],
        ratio.ci95[1]
    );
}

/// The loop without rules.
struct Nothing;

impl Evaluate for Nothing {
    #[inline(always)]
    fn first_match(&self, packet: &Packet) -> Option<RuleMatch> {
        Some(RuleMatch { rule: u32::from(packet.outer_protocol()), allow: packet.match_port() == Some(0) })
    }
}

/// ns a packet.
fn measure(clock: &Clock, rules: &impl Evaluate, packets: &[Packet]) -> f64 {
    let start = clock.raw();
    let mut sum = 0u64;
    for packet in packets {
        sum += rules.first_match(packet).map_or(1, |found| u64::from(found.rule) << 1 | u64::from(found.allow));
    }
    black_box(sum);
    clock.ns(start, clock.raw()) as f64 / packets.len() as f64
}

/// ns a packet of each variant, in blocks, each in an order of its own.
fn sampled(random: &mut Random, variants: &mut [&mut dyn FnMut() -> f64]) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::new(); variants.len()];
    let mut order: Vec<usize> = (0..variants.len()).collect();
    for block in 0..=BLOCKS {
        random.shuffle(&mut order);
        for variant in &order {
            let ns = variants[*variant]();
            if block > 0 {
                samples[*variant].push(ns);
            }
        }
    }
    samples
}

/// Without the cost of the loop itself.
fn less(ns: &[f64], nothing: &[f64]) -> Vec<f64> {
    ns.iter().zip(nothing).map(|(ns, nothing)| (ns - nothing).max(0.1)).collect()
}

fn measure_by_number(clock: &Clock) {
    let mut yardsticks = Yardsticks::new(&mut Random::new(3));
    println!(" rules   linear ns  compiled ns   linear / compiled    by probe   by hit     compiled in   bytes a rule");
    for count in [1, 5, 20, 60, 112, 113, 250, 1_000, 10_000] {
        let mut random = Random::new(count as u64);
        let rules = rules(World::NetworkAcl, count, true, &mut random);
        let packets = packets(&rules, &mut random);
        let linear = Linear::new(&rules);
        let start = Instant::now();
        let compiled = Compiled::new(&rules);
        let compiling = start.elapsed();
        for packet in &packets {
            assert_eq!(linear.first_match(packet), compiled.first_match(packet), "{packet:?}");
        }
        // The slow one sees fewer of them.
        let some = &packets[..if count > 500 { PACKETS / 8 } else { PACKETS }];
        let yardsticks = RefCell::new(&mut yardsticks);
        let samples = sampled(
            &mut random,
            &mut [
                &mut || measure(clock, &Nothing, &packets),
                &mut || measure(clock, &linear, some),
                &mut || measure(clock, &compiled, &packets),
                &mut || yardsticks.borrow_mut().probe(clock),
                &mut || yardsticks.borrow_mut().hit(clock),
            ],
        );
        let (linear, compiled_ns) = (less(&samples[1], &samples[0]), less(&samples[2], &samples[0]));
        let ratio = paired_ratio(&linear, &compiled_ns, 1);
        println!(
            "{count:6} {:11.1} {:12.1}   {:5.2} ({:.2} to {:.2}) {:10.2} {:8.2} {compiling:>15.1?} {:14.0}",
            median(&linear),
            median(&compiled_ns),
            ratio.value,
            ratio.ci95[0],
            ratio.ci95[1],
            median(&compiled_ns) / median(&samples[3]),
            median(&compiled_ns) / median(&samples[4]),
            compiled.bytes() as f64 / count as f64,
        );
    }
}

fn measure_forms(clock: &Clock) {
    let here: Vec<Vectors> = Vectors::ALL.iter().copied().filter(|vectors| vectors.are_here()).collect();
    let widest = Vectors::of_this_processor();
    println!(
        "\nAll rules compared in vectors, and the tree, ns; chosen here: {widest:?} up to {} rules",
        widest.most_scanned()
    );
    print!(" rules");
    here.iter().for_each(|vectors| print!("{:>9}", format!("{vectors:?}")));
    println!("     tree   tree / widest         next to widest / widest");
    for count in [1, 5, 16, 32, 48, 64, 80, 96, 112, 128, 160, 250] {
        let mut random = Random::new(count as u64);
        let rules = rules(World::NetworkAcl, count, true, &mut random);
        let packets = packets(&rules, &mut random);
        let scans = here.iter().map(|vectors| Compiled::with(0, &rules, *vectors, usize::MAX));
        let forms: Vec<Compiled> = scans.chain([Compiled::with(0, &rules, widest, 0)]).collect();
        let mut variants: Vec<Box<dyn FnMut() -> f64>> = vec![Box::new(|| measure(clock, &Nothing, &packets))];
        variants
            .extend(forms.iter().map(|form| Box::new(|| measure(clock, form, &packets)) as Box<dyn FnMut() -> f64>));
        let mut variants: Vec<&mut dyn FnMut() -> f64> = variants.iter_mut().map(|v| &mut **v as _).collect();
        let samples = sampled(&mut random, &mut variants);
        let ns: Vec<Vec<f64>> = samples[1..].iter().map(|ns| less(ns, &samples[0])).collect();
        print!("{count:6}");
        ns.iter().for_each(|ns| print!("{:9.1}", median(ns)));
        let shown = |ratio: Estimate| format!("{:.2} ({:.2} to {:.2})", ratio.value, ratio.ci95[0], ratio.ci95[1]);
        print!("   {}", shown(paired_ratio(&ns[here.len()], &ns[here.len() - 1], 1)));
        match here.len() {
            1 => println!(),
            many => println!("   {}", shown(paired_ratio(&ns[many - 2], &ns[many - 1], 1))),
        }
    }
}

fn main() {
    let clock = Clock::new();
    let host = Host::read();
    println!("{}; {} cores; Linux {}; load {}", host.cpu, host.cores, host.kernel, host.load);
    measure_by_number(&clock);
    measure_forms(&clock);
    measure_by_interface(&clock);
}
