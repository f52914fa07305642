//! `papaya`: lock-free reads, entries reclaimed by epochs (crate `papaya`).
//!
//! Its values do not change once inserted: a mutex inside each makes updates atomic.

use super::contender::{BuildPassThrough, Hashed, Map, Value};
use ::papaya::{Guard, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value, until it is removed. It may be reachable for a moment longer.
pub struct Slot(Mutex<Option<Value>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shard's map.
pub struct Papaya {
    map: HashMap<Hashed, Slot, BuildPassThrough>,
    room: usize,
}

impl Papaya {
    /// Takes this very slot out of the map, if nobody else has.
    fn unlink(&self, flow: &Hashed, slot: &Slot, guard: &impl Guard) {
        let _ = self.map.remove_if(flow, |_, other| std::ptr::eq(other, slot), guard);
    }
}

impl Map for Papaya {
    fn with_capacity(entries: usize) -> Self {
        let map = HashMap::with_capacity_and_hasher(entries, BuildPassThrough::default());
        Papaya { map, room: entries }
    }

    #[inline]
    fn visit(&self, flow: &Hashed, mut visit: impl FnMut(&mut Value) -> bool) -> bool {
        let guard = self.map.guard();
        while let Some(slot) = self.map.get(flow, &guard) {
            let mut value = slot.lock();
            if let Some(alive) = value.as_mut() {
                let remove = visit(alive);
                if remove {
                    *value = None;
                    drop(value);
                    self.unlink(flow, slot, &guard);
                }
                return remove;
            }
            // Another core has removed it and is about to unlink it.
            drop(value);
            self.unlink(flow, slot, &guard);
        }
        false
    }

    fn insert(&self, flow: &Hashed, value: &Value) -> bool {
        let guard = self.map.guard();
        self.map.try_insert(*flow, Slot(Mutex::new(Some(*value))), &guard).is_ok()
    }

    fn remove_each(&self, mut remove: impl FnMut(&Value) -> bool) {
        let guard = self.map.guard();
        for (flow, slot) in self.map.iter(&guard) {
            let mut value = slot.lock();
            if value.as_ref().is_some_and(&mut remove) {
                *value = None;
                drop(value);
                self.unlink(flow, slot, &guard);
            }
        }
    }

    fn clear(&mut self) {
        self.map.clear(&self.map.guard());
    }

    fn bytes(&self) -> u64 {
        // A pointer and a byte a slot; entries are allocated one by one, with 16 bytes of the allocator's.
        let slots = (self.room * 8 / 6).next_power_of_two();
        (slots * 9 + self.map.len() * (size_of::<(Hashed, Slot)>() + 16)) as u64
    }
}
