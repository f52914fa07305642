//! The setups of the engines that come with ctbench: what makes one engine a core for each pass, over tables that live on.

use super::movable::Movable;
use super::world::Form;
use super::{Setup, Workload};
use crate::engine::reference;
use crate::engine::{Allowance, Decision, Engine, Groups, Null, Stamp, Stateful, Stateless, Tag};
use crate::measure::statistics::Random;
use crate::packet::Packet;
use crate::policy::Epochs;
use crate::table::access::{OwnedTable, SharedTable};
use crate::table::{FlowHash, FlowTable};

/// What all stateful engines share.
pub(super) struct Parts<'a, R> {
    pub(super) workload: &'a Workload,
    pub(super) groups: Epochs<'a, Groups<R>>,
    pub(super) hash: FlowHash,
}

impl<'a, R: Form> Parts<'a, R> {
    fn engine<'e, T: FlowTable>(&self, table: T, allowance: Option<&'e Allowance>) -> Stateful<'e, R, T>
    where
        'a: 'e,
    {
        let w = self.workload;
        Stateful::new(self.groups.clone(), w.config.invalid, &w.tracker, self.hash, table, allowance)
    }
}

pub(super) struct NullSetup {
    pub(super) cores: usize,
}

impl Setup for NullSetup {
    type Engine<'a> = Null;
    fn engines(&mut self) -> Vec<Null> {
        (0..self.cores).map(|_| Null).collect()
    }
}

pub(super) struct StatelessSetup<'w, R> {
    pub(super) rules: Epochs<'w, Groups<R>>,
    pub(super) cores: usize,
}

impl<'w, R: Form> Setup for StatelessSetup<'w, R> {
    type Engine<'a>
        = Stateless<'w, Groups<R>>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<Stateless<'w, Groups<R>>> {
        (0..self.cores).map(|_| Stateless::new(self.rules.clone())).collect()
    }
}

pub(super) struct OwnedSetup<'w, R, T> {
    pub(super) parts: Parts<'w, R>,
    pub(super) tables: Vec<Movable<T>>,
    pub(super) make: Box<dyn Fn() -> Vec<T> + Send + 'w>,
    pub(super) allowance: Option<Allowance>,
}

impl<'w, R: Form, T: OwnedTable> Setup for OwnedSetup<'w, R, T> {
    type Engine<'a>
        = Stateful<'a, R, T::Owner<'a>>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<Self::Engine<'_>> {
        let OwnedSetup { parts, tables, allowance, .. } = self;
        allowance.iter_mut().for_each(Allowance::clear);
        tables.iter_mut().for_each(|table| table.get_mut().clear());
        tables.iter_mut().map(|table| parts.engine(table.get_mut().owner(), allowance.as_ref())).collect()
    }
    fn renew(&mut self, random: &mut Random) {
        self.tables = (self.make)().into_iter().map(Movable::new).collect();
        self.tables.iter_mut().for_each(|table| table.put_elsewhere(random));
    }
    fn table_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.get().bytes()).sum()
    }
    fn huge_bytes(&self) -> Option<u64> {
        self.tables.iter().map(|table| table.get().huge_bytes()).sum()
    }
}

pub(super) struct SharedSetup<'w, R, T> {
    pub(super) parts: Parts<'w, R>,
    pub(super) table: T,
    pub(super) make: Box<dyn Fn() -> T + Send + 'w>,
    pub(super) cores: usize,
    pub(super) allowance: Option<Allowance>,
}

impl<'w, R: Form, T: SharedTable> Setup for SharedSetup<'w, R, T> {
    type Engine<'a>
        = Stateful<'a, R, T::Worker<'a>>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<Self::Engine<'_>> {
        self.table.clear();
        self.allowance.iter_mut().for_each(Allowance::clear);
        (0..self.cores).map(|_| self.parts.engine(self.table.worker(), self.allowance.as_ref())).collect()
    }
    fn renew(&mut self, _: &mut Random) {
        self.table = (self.make)();
    }
    fn table_bytes(&self) -> u64 {
        self.table.bytes()
    }
    fn huge_bytes(&self) -> Option<u64> {
        self.table.huge_bytes()
    }
}

/// The reference engine in the harness's clothes.
pub(super) struct ReferenceSetup<'w> {
    pub(super) workload: &'w Workload,
}

pub(super) struct ReferenceEngine<'w>(reference::Stateful<'w>);

impl Engine for ReferenceEngine<'_> {
    fn burst<S: Stamp>(&mut self, packets: &[Packet], _: &[Tag], decisions: &mut [Decision], stamp: &mut S) {
        for (packet, decision) in packets.iter().zip(decisions) {
            *decision = self.0.decide(packet);
            stamp.verdict_known();
        }
    }
}

impl<'w> Setup for ReferenceSetup<'w> {
    type Engine<'a>
        = ReferenceEngine<'w>
    where
        Self: 'a;
    fn engines(&mut self) -> Vec<ReferenceEngine<'w>> {
        self.workload.reference_engine(&self.workload.config).map(ReferenceEngine).into_iter().collect()
    }
}
