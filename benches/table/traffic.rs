//! What reaches a table: bursts, in the steps of the stateful engine, without its rules and state machine.

use super::flows::{Family, key, owned, shard};
use super::subject::{Span, Subject, Work};
use ctbench::conntrack::{Config, Connection, Profile, TcpWindow, Tracker, Windows};
use ctbench::engine::PACKETS_PER_EXPIRY;
use ctbench::measure::Clock;
use ctbench::measure::statistics::Random;
use ctbench::packet::{Direction, FlowKey, Packet, TcpFields, protocol};
use ctbench::replay::Pool;
use ctbench::table::{Fate, FlowHash, FlowTable, Insert, Place};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub const MAX_BURST: usize = 256;
/// Packet time between two packets of one core.
pub const GAP_NS: u64 = 1_000;
/// Longer than any measurement.
pub const FOREVER_NS: u64 = 1 << 50;

/// Which packets a core gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Steering {
    /// Those of the flows that it owns.
    Symmetric,
    /// Any.
    Asymmetric,
}

/// Which flow a packet belongs to.
#[derive(Clone, Copy)]
pub enum Pick<'a> {
    /// Every flow below the number once, in order.
    Each,
    /// Any of so many flows, all the same likely.
    Uniform(u64),
    /// Always a new one; a counter for each core.
    New(&'a [AtomicU64]),
    /// A new one so many times in a hundred, else one of so many.
    Mixed(u64, usize, &'a [AtomicU64]),
    /// One of these.
    Listed(&'a [u64]),
}

/// Numbers of new flows begin here.
pub const NEW: u64 = 1 << 40;

#[derive(Clone, Copy)]
pub struct Traffic<'a> {
    pub clock: &'a Clock,
    pub hash: FlowHash,
    pub family: Family,
    pub pick: Pick<'a>,
    pub steering: Steering,
    pub cores: usize,
    pub burst: usize,
    /// Packets a core.
    pub packets: u64,
    /// Packet time of the first packet.
    pub start_ns: u64,
    /// How long a flow lives after its last packet.
    pub lifetime_ns: u64,
    /// What a new flow's entry says.
    pub template: Connection,
    /// Notes the clock before and after every burst.
    pub stamps: bool,
    /// Bursts that each core has done: no core runs more than [`ORDER_WINDOW`] ahead of another's packet time.
    pub progress: Option<&'a [AtomicU64; 2]>,
}

/// In bursts: the default of `--order-window`.
const ORDER_WINDOW: u64 = 32;

/// What came of it.
#[derive(Clone, Default)]
pub struct Outcome {
    pub span: (u64, u64),
    pub hits: u64,
    pub refused: u64,
    pub expired: u64,
    /// Clock ticks when each burst begins and ends: what a core waits for another lies between bursts.
    pub stamps: Vec<(u64, u64)>,
}

impl Work for Traffic<'_> {
    type Output = Outcome;

    fn run<T: FlowTable>(&self, core: usize, table: &mut T) -> Outcome {
        let Traffic { clock, hash, family, burst, .. } = *self;
        let mut random = Random::new(self.start_ns ^ core as u64);
        let mut places = [Place::default(); MAX_BURST];
        let mut keys = [FlowKey::default(); MAX_BURST];
        let mut now_ns = self.start_ns;
        let mut next_new = match self.pick {
            Pick::New(next) | Pick::Mixed(_, _, next) => next[core].load(Relaxed),
            _ => 0,
        };
        let halves = self.cores == 2 && self.steering == Steering::Symmetric;
        let new = |next: &mut u64| {
            *next += 1;
            match (halves, self.cores) {
                (true, _) => NEW + owned(core, *next),
                _ => NEW + *next + ((core as u64) << 30),
            }
        };
        let old = |random: &mut Random, flows: u64| match halves {
            true => owned(core, random.below(flows as usize / 2) as u64),
            false => random.below(flows as usize) as u64,
        };
        let mut each = 0;
        let mut outcome = Outcome::default();
        if self.stamps {
            outcome.stamps.reserve_exact((self.packets / burst as u64) as usize);
        }
        let start = clock.raw();
        for done in 0..self.packets / burst as u64 {
            if let Some(progress) = self.progress {
                progress[core].store(done, Relaxed);
                while progress[1 - core].load(Relaxed) + ORDER_WINDOW < done {
                    std::hint::spin_loop();
                }
            }
            let begin = if self.stamps { clock.raw() } else { 0 };
            now_ns += GAP_NS * burst as u64;
            table.remove_expired();
            for i in 0..burst {
                let n = match self.pick {
                    Pick::Each => {
                        each += 1;
                        if halves { owned(core, each - 1) } else { each - 1 }
                    }
                    Pick::Uniform(flows) => old(&mut random, flows),
                    Pick::New(_) => new(&mut next_new),
                    Pick::Mixed(flows, percent, _) => {
                        if random.below(100) < percent {
                            new(&mut next_new)
                        } else {
                            old(&mut random, flows)
                        }
                    }
                    Pick::Listed(list) => list[random.below(list.len())],
                };
                keys[i] = key(family, n);
                places[i] = Place::new(shard(n), hash.hash(&keys[i]));
                table.prefetch(places[i]);
            }
            table.find_expired(places[0].shard, now_ns, burst.div_ceil(PACKETS_PER_EXPIRY));
            for place in &mut places[..burst] {
                table.prefetch_entry(place, false);
            }
            table.prefetch_expired();
            let expires_ns = now_ns + self.lifetime_ns;
            for (place, key) in places[..burst].iter().zip(&keys) {
                loop {
                    let alive = table.update(*place, key, false, |connection, _| {
                        if connection.expires_ns <= now_ns {
                            return (Fate::Expire, false);
                        }
                        connection.expires_ns = expires_ns;
                        (Fate::Keep, true)
                    });
                    if alive == Some(true) {
                        outcome.hits += 1;
                        break;
                    }
                    let connection = Connection { expires_ns, ..self.template };
                    match table.insert(*place, key, &connection, None, now_ns) {
                        Insert::Done => break,
                        Insert::Exists => {}
                        Insert::Full => {
                            outcome.refused += 1;
                            break;
                        }
                    }
                }
            }
            if self.stamps {
                outcome.stamps.push((begin, clock.raw()));
            }
        }
        outcome.span = (start, clock.raw());
        if let Some(progress) = self.progress {
            progress[core].store(u64::MAX / 2, Relaxed);
        }
        if let Pick::New(next) | Pick::Mixed(_, _, next) = self.pick {
            next[core].store(next_new, Relaxed);
        }
        outcome.expired = table.counters().expired;
        outcome
    }
}

impl Traffic<'_> {
    /// Runs it, and returns ns from the first core's start to the last one's end, by packets a core.
    pub fn ns(&self, subject: &mut Subject, pool: &Pool) -> f64 {
        let outcomes = subject.run(pool, self);
        self.ns_of(&outcomes)
    }

    pub fn ns_of(&self, outcomes: &[Outcome]) -> f64 {
        let spans: Vec<_> = outcomes.iter().map(|outcome| outcome.span).collect();
        Span::of(self.clock, &spans).0 / (self.packets / self.burst as u64 * self.burst as u64) as f64
    }
}

/// An entry that cannot be evicted: a TCP connection after its handshake.
pub fn assured() -> Connection {
    let packet = |direction, flags, seq, ack| {
        let fields = TcpFields { flags, seq, ack, sack_or_options: 0, window: 1000, payload_len: 0 };
        let (local, remote) = (std::net::IpAddr::from([10, 0, 1, 10]), std::net::IpAddr::from([198, 51, 100, 7]));
        Packet::new(local, remote, direction, protocol::TCP, 1_000).with_ports(443, 50_000).with_tcp(fields)
    };
    let tracker = Tracker::new(&Config { tcp_window: TcpWindow::Off, ..Config::new(Profile::Linux) });
    let mut windows = Windows::default();
    let mut connection = tracker.open(&packet(Direction::In, 0x02, 1, 0), &mut windows).expect("a SYN opens");
    tracker.advance(&mut connection, &mut windows, &packet(Direction::Out, 0x12, 1, 2));
    tracker.advance(&mut connection, &mut windows, &packet(Direction::In, 0x10, 2, 2));
    assert!(connection.status.assured());
    connection
}
