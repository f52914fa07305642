//! How workers get at a table: all at the same one, or each at its own.

use super::FlowTable;
#[cfg(feature = "contenders")]
use super::contender::{Contender, ContenderWorker, Map};
use super::locked::{Locked, LockedWorker};
use super::lockfree::{LockFree, Mode, SharedMode, Worker};
use super::percore::{Owned, PerCore};

/// A table that all workers share.
pub trait SharedTable: Send + Sync {
    /// A worker's handle.
    type Worker<'a>: FlowTable
    where
        Self: 'a;

    /// One worker's way in.
    fn worker(&self) -> Self::Worker<'_>;

    /// Forgets every connection.
    fn clear(&mut self);

    /// Bytes of memory held; of the ready-made maps an estimate.
    fn bytes(&self) -> u64;

    /// Bytes of it in huge pages; `None` if unknown: of all tables but ours, the allocator decides.
    fn huge_bytes(&self) -> Option<u64> {
        None
    }
}

/// A table that one worker owns.
pub trait OwnedTable: Send {
    /// The worker's handle.
    type Owner<'a>: FlowTable
    where
        Self: 'a;

    /// The only way in, as long as it lives.
    fn owner(&mut self) -> Self::Owner<'_>;

    /// Forgets every connection.
    fn clear(&mut self);

    /// Bytes of memory held.
    fn bytes(&self) -> u64;

    /// Bytes of it in huge pages; `None` if unknown: of all tables but ours, the allocator decides.
    fn huge_bytes(&self) -> Option<u64> {
        None
    }
}

macro_rules! shared {
    ([$($generics:tt)*] $table:ty, $worker:ty $(, $huge_bytes:item)?) => {
        impl<$($generics)*> SharedTable for $table {
            type Worker<'a> = $worker where Self: 'a;

            fn worker(&self) -> Self::Worker<'_> {
                <$table>::worker(self)
            }

            fn clear(&mut self) {
                <$table>::clear(self);
            }

            fn bytes(&self) -> u64 {
                <$table>::bytes(self)
            }

            $($huge_bytes)?
        }
    };
}

shared!(
    [M: SharedMode] LockFree<M>,
    Worker<'a, M>,
    fn huge_bytes(&self) -> Option<u64> {
        LockFree::huge_bytes(self)
    }
);
shared!([] Locked, LockedWorker<'a>);
#[cfg(feature = "contenders")]
shared!([M: Map] Contender<M>, ContenderWorker<'a, M>);

impl OwnedTable for PerCore {
    type Owner<'a> = Owned<'a>;

    fn owner(&mut self) -> Owned<'_> {
        Owned(self)
    }

    fn clear(&mut self) {
        PerCore::clear(self);
    }

    fn bytes(&self) -> u64 {
        PerCore::bytes(self)
    }
}

impl<M: Mode> OwnedTable for LockFree<M> {
    type Owner<'a>
        = Worker<'a, M>
    where
        Self: 'a;

    fn owner(&mut self) -> Worker<'_, M> {
        LockFree::owner(self)
    }

    fn clear(&mut self) {
        LockFree::clear(self);
    }

    fn bytes(&self) -> u64 {
        LockFree::bytes(self)
    }

    fn huge_bytes(&self) -> Option<u64> {
        LockFree::huge_bytes(self)
    }
}
