//! `scc`: buckets of 32 entries, each with a lock (crate `scc`).

use super::contender::{BuildPassThrough, Hashed, Map, Value};
use ::scc::HashMap;

/// A shard's map.
pub type Scc = HashMap<Hashed, Value, BuildPassThrough>;

impl Map for Scc {
    fn with_capacity(entries: usize) -> Self {
        HashMap::with_capacity_and_hasher(entries, BuildPassThrough::default())
    }

    #[inline]
    fn visit(&self, flow: &Hashed, visit: impl FnMut(&mut Value) -> bool) -> bool {
        self.remove_if_sync(flow, visit).is_some()
    }

    fn insert(&self, flow: &Hashed, value: &Value) -> bool {
        self.insert_sync(*flow, *value).is_ok()
    }

    fn remove_each(&self, mut remove: impl FnMut(&Value) -> bool) {
        self.retain_sync(|_, value| !remove(value));
    }

    fn clear(&mut self) {
        self.clear_sync();
    }

    fn bytes(&self) -> u64 {
        // An entry, a byte of its hash, and its share of a 64-byte header for 32 entries.
        (self.capacity() * (size_of::<(Hashed, Value)>() + 1 + 64 / 32)) as u64
    }
}
