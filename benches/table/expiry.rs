//! Many flows that end at once.

use super::*;

pub fn expiry(bench: &Bench) {
    println!("\nMass expiry: 1M flows end in one instant, while 100,000 others are hit; one core, table for 2M");
    let mut before = Vec::new();
    let mut during = Vec::new();
    let mut worst = Vec::new();
    let mut spans = Vec::new();
    for _ in 0..bench.blocks_of(9) {
        let mut table = bench.make(2 * MILLION, OnFull::DropNew, 1).table("lockfree");
        let live = 100_000;
        bench.fill(&mut table, Family::V4, live, 1);
        let window = 3_200;
        let measure = |table: &mut Subject, start_ns: u64| {
            let traffic = Traffic { start_ns, ..bench.traffic(Pick::Uniform(live), window) };
            let outcomes = table.run(bench.pool(1), &traffic);
            (traffic.ns_of(&outcomes), outcomes[0].expired)
        };
        let start_ns = bench.now_ns.load(Relaxed) + 1_000_000_000;
        let counters = [AtomicU64::new(0)];
        let end_ns = start_ns + 1_000_000_000;
        // All of them in one burst of packet time, so all with one deadline.
        let fill = Traffic { burst: 1, ..bench.traffic(Pick::New(&counters), MILLION) };
        table.run(bench.pool(1), &OneDeadline { traffic: fill, now_ns: start_ns, end_ns });
        let quiet: Vec<f64> = (0..200).map(|n| measure(&mut table, start_ns + n * window * GAP_NS).0).collect();
        let mut dip = Vec::new();
        let mut ended = 0;
        for n in 0.. {
            let (ns, expired) = measure(&mut table, end_ns + n * window * GAP_NS);
            ended += expired;
            dip.push(ns);
            if ended == MILLION {
                break;
            }
            assert!(n < 100_000, "{ended} of a million flows have expired");
        }
        before.push(median(&quiet));
        during.push(dip.iter().sum::<f64>() / dip.len() as f64);
        let mut sorted = dip.clone();
        sorted.sort_by(f64::total_cmp);
        worst.push(sorted[sorted.len() * 99 / 100]);
        spans.push(dip.len() as f64 * window as f64);
    }
    line("before", &format!("{:.1} ns", median(&before)), "");
    line("while they go, mean", &format!("{:.1} ns", median(&during)), "");
    line("while they go, slowest of a hundred windows of 3,200", &format!("{:.1} ns", median(&worst)), "");
    line("packets until all are gone", &format!("{:.0}", median(&spans)), "");
    line("throughput while they go / before", &interval(paired_ratio(&before, &during, 1)), "");
}

/// Inserts new flows with one deadline for all.
struct OneDeadline<'a> {
    traffic: Traffic<'a>,
    now_ns: u64,
    end_ns: u64,
}

impl subject::Work for OneDeadline<'_> {
    type Output = ();

    fn run<T: ctbench::table::FlowTable>(&self, _: usize, table: &mut T) {
        for n in 0..self.traffic.packets {
            let number = traffic::NEW + n;
            let key = key(Family::V4, number);
            let place = ctbench::table::Place::new(flows::shard(number), self.traffic.hash.hash(&key));
            let connection = Connection { expires_ns: self.end_ns, ..self.traffic.template };
            let result = table.insert(place, &key, &connection, None, self.now_ns);
            assert_eq!(result, ctbench::table::Insert::Done);
        }
    }
}
