//! `dashmap`: hashbrown maps behind read-write locks (crate `dashmap`).

use super::contender::{BuildPassThrough, Hashed, Map, Value};
use ::dashmap::DashMap;
use ::dashmap::mapref::entry::Entry;

/// A shard's map.
pub type Dash = DashMap<Hashed, Value, BuildPassThrough>;

impl Map for Dash {
    fn with_capacity(entries: usize) -> Self {
        DashMap::with_capacity_and_hasher(entries, BuildPassThrough::default())
    }

    #[inline]
    fn visit(&self, flow: &Hashed, mut visit: impl FnMut(&mut Value) -> bool) -> bool {
        // Like `get_mut`, but can also remove under the same lock.
        self.remove_if_mut(flow, |_, value| visit(value)).is_some()
    }

    fn insert(&self, flow: &Hashed, value: &Value) -> bool {
        match self.entry(*flow) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(*value);
                true
            }
        }
    }

    fn remove_each(&self, mut remove: impl FnMut(&Value) -> bool) {
        self.retain(|_, value| !remove(value));
    }

    fn clear(&mut self) {
        DashMap::clear(self);
    }

    fn bytes(&self) -> u64 {
        // hashbrown fills seven eighths of its slots, and keeps a control byte beside each.
        (self.capacity() * 8 / 7 * (size_of::<(Hashed, Value)>() + 1)) as u64
    }
}
