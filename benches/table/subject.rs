//! The tables that are measured, under one roof.

use super::flows::SHARDS;
use ctbench::conntrack::{Connection, OnFull, Windows};
use ctbench::measure::Clock;
use ctbench::packet::FlowKey;
use ctbench::replay::Pool;
use ctbench::table::access::{OwnedTable, SharedTable};
use ctbench::table::{
    Fate, FlowHash, FlowTable, Geometry, Insert, Place, TableCounters,
    locked::Locked,
    lockfree::{BucketLock, LockFree, OwnerOnly},
    percore::PerCore,
};
#[cfg(feature = "contenders")]
use ctbench::table::{contender::Contender, dashmap::Dash, papaya::Papaya, scc::Scc};
use hashbrown::HashMap;
use std::sync::Mutex;

/// What one core does to a table.
pub trait Work: Sync {
    type Output: Send;
    fn run<T: FlowTable>(&self, core: usize, table: &mut T) -> Self::Output;
}

/// From the first core's start to the last one's end, in ns.
#[derive(Clone, Copy)]
pub struct Span(pub f64);

impl Span {
    pub fn of(clock: &Clock, spans: &[(u64, u64)]) -> Self {
        let start = spans.iter().map(|span| span.0).min().unwrap_or(0);
        let end = spans.iter().map(|span| span.1).max().unwrap_or(0);
        Span(clock.ns(start, end) as f64)
    }
}

/// A table. Owned ones come one a core.
pub enum Subject {
    LockFree(LockFree),
    BucketLock(LockFree<BucketLock>),
    Owner(Vec<LockFree<OwnerOnly>>),
    PerCore(Vec<PerCore>),
    Plain(Vec<Plain>),
    Locked(Locked),
    #[cfg(feature = "contenders")]
    Papaya(Contender<Papaya>),
    #[cfg(feature = "contenders")]
    DashMap(Contender<Dash>),
    #[cfg(feature = "contenders")]
    Scc(Contender<Scc>),
}

/// The ready-made maps that were compiled in.
pub const READY_MADE: &[&str] = if cfg!(feature = "contenders") { &["papaya", "dashmap", "scc"] } else { &[] };

/// How a table is made.
#[derive(Clone, Copy)]
pub struct Make {
    pub entries: u64,
    pub on_full: OnFull,
    pub cores: usize,
    pub hash: FlowHash,
}

impl Make {
    /// Says so if the system did not grant huge pages for it: then it costs more, and the ratios say little.
    pub fn table(self, name: &str) -> Subject {
        let table = self.subject(name);
        let (bytes, huge_bytes) = (table.bytes(), table.huge_bytes());
        if bytes > 64 << 20 && huge_bytes < bytes / 10 * 9 {
            println!(" ! {name}, {} cores: only {} of {} MiB in huge pages", self.cores, huge_bytes >> 20, bytes >> 20);
        }
        table
    }

    fn subject(self, name: &str) -> Subject {
        // A little more in every shard: numbers are spread evenly, but not perfectly.
        let geometry = Geometry::with_capacity(self.entries + 4 * u64::from(SHARDS), SHARDS);
        let Make { on_full, cores, hash, .. } = self;
        let mine = |core: usize| move |shard: u32| shard as usize % cores == core;
        match name {
            "lockfree" => Subject::LockFree(LockFree::new(geometry, on_full, hash)),
            "bucketlock" => Subject::BucketLock(LockFree::of_shards(geometry, on_full, hash, |_| true)),
            "owner" => {
                let table = |core| LockFree::of_shards(geometry, on_full, hash, mine(core));
                Subject::Owner((0..cores).map(table).collect())
            }
            "percore" => Subject::PerCore((0..cores).map(|core| PerCore::new(geometry, on_full, mine(core))).collect()),
            "hashbrown" => {
                let room = 2 * self.entries as usize / cores;
                Subject::Plain((0..cores).map(|_| Plain(HashMap::with_capacity(room))).collect())
            }
            "locked" => Subject::Locked(Locked::new(geometry, on_full)),
            #[cfg(feature = "contenders")]
            "papaya" => Subject::Papaya(Contender::new(geometry, on_full)),
            #[cfg(feature = "contenders")]
            "dashmap" => Subject::DashMap(Contender::new(geometry, on_full)),
            #[cfg(feature = "contenders")]
            "scc" => Subject::Scc(Contender::new(geometry, on_full)),
            _ => panic!("no table {name}"),
        }
    }
}

impl Subject {
    /// Lets all cores work on it at once.
    pub fn run<W: Work>(&mut self, pool: &Pool, work: &W) -> Vec<W::Output> {
        match self {
            Subject::LockFree(table) => shared(table, pool, work),
            Subject::BucketLock(table) => shared(table, pool, work),
            Subject::Locked(table) => shared(table, pool, work),
            Subject::Owner(tables) => owned(tables, pool, work),
            Subject::PerCore(tables) => owned(tables, pool, work),
            Subject::Plain(tables) => owned(tables, pool, work),
            #[cfg(feature = "contenders")]
            Subject::Papaya(table) => shared(table, pool, work),
            #[cfg(feature = "contenders")]
            Subject::DashMap(table) => shared(table, pool, work),
            #[cfg(feature = "contenders")]
            Subject::Scc(table) => shared(table, pool, work),
        }
    }

    /// Bytes held; 0 of a kind that does not say.
    pub fn bytes(&self) -> u64 {
        match self {
            Subject::LockFree(table) => table.bytes(),
            Subject::BucketLock(table) => table.bytes(),
            Subject::Owner(tables) => tables.iter().map(LockFree::bytes).sum(),
            _ => 0,
        }
    }

    /// Bytes of them in huge pages.
    pub fn huge_bytes(&self) -> u64 {
        match self {
            Subject::LockFree(table) => table.huge_bytes().unwrap_or(0),
            Subject::BucketLock(table) => table.huge_bytes().unwrap_or(0),
            Subject::Owner(tables) => tables.iter().filter_map(LockFree::huge_bytes).sum(),
            _ => 0,
        }
    }
}

fn shared<T: SharedTable, W: Work>(table: &T, pool: &Pool, work: &W) -> Vec<W::Output> {
    pool.run(|core| work.run(core, &mut table.worker()))
}

fn owned<T: OwnedTable, W: Work>(tables: &mut [T], pool: &Pool, work: &W) -> Vec<W::Output> {
    let owners: Vec<_> = tables.iter_mut().map(|table| Mutex::new(table.owner())).collect();
    pool.run(|core| work.run(core, &mut *owners[core].lock().expect("no core panics")))
}

/// hashbrown as it comes: one map, its default hasher, no prefetching, no expiry, no bound.
pub struct Plain(HashMap<FlowKey, (Connection, Windows)>);

pub struct PlainOwner<'a>(&'a mut Plain, TableCounters);

impl OwnedTable for Plain {
    type Owner<'a> = PlainOwner<'a>;

    fn owner(&mut self) -> PlainOwner<'_> {
        PlainOwner(self, TableCounters::default())
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn bytes(&self) -> u64 {
        self.0.allocation_size() as u64
    }
}

impl FlowTable for PlainOwner<'_> {
    fn prefetch(&self, _: Place) {}

    fn prefetch_entry(&self, _: &mut Place, _: bool) {}

    #[inline]
    fn update<R>(
        &mut self,
        _: Place,
        key: &FlowKey,
        _: bool,
        mut change: impl FnMut(&mut Connection, &mut Windows) -> (Fate, R),
    ) -> Option<R> {
        let (connection, windows) = self.0.0.get_mut(key)?;
        Some(change(connection, windows).1)
    }

    fn insert(
        &mut self,
        _: Place,
        key: &FlowKey,
        connection: &Connection,
        windows: Option<&Windows>,
        _: u64,
    ) -> Insert {
        self.0.0.insert(*key, (*connection, windows.copied().unwrap_or_default()));
        Insert::Done
    }

    fn sweep(&mut self, _: u64) {}

    fn counters(&self) -> &TableCounters {
        &self.1
    }
}
