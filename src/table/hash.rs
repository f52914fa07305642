//! Keyed hashing of flow keys.
//!
//! The hash is NH (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC", CRYPTO 1999) over the five
//! words of a flow key, with a secret of six words: for two different keys chosen without the
//! secret, the 128-bit sums collide with a probability of at most 2^-64. A finaliser spreads the sum over
//! the bits that tables use. Three multiplications; no byte-wise work.

use crate::packet::FlowKey;

/// The secret of a hash function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u64; 6]);

impl HashKey {
    /// Expands a 64-bit seed (SplitMix64, Steele, Lea and Flood, OOPSLA 2014).
    pub fn from_seed(seed: u64) -> Self {
        let mut state = seed;
        HashKey(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            finalise(state)
        }))
    }

    /// The secret that places flows inside shards. The hash must be another one than that which chooses shards, also
    /// where both have the same seed: the flows of a shard have nearly the same leading bits of the latter.
    pub fn inside_shards(seed: u64) -> Self {
        HashKey::from_seed(finalise(!seed))
    }
}

/// SplitMix64's output function: every input bit reaches every output bit.
#[inline(always)]
fn finalise(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A keyed hash function over flow keys.
#[derive(Clone, Copy)]
pub struct FlowHash(HashKey);

impl FlowHash {
    /// With this secret.
    pub fn new(key: HashKey) -> Self {
        FlowHash(key)
    }

    /// 64 bits that look random to whoever does not know the secret.
    #[inline(always)]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        let w = &key.words;
        let k = &self.0.0;
        let product = |a: usize, b: u64| -> u128 { u128::from(w[a].wrapping_add(k[a])) * u128::from(b) };
        let sum = product(0, w[1].wrapping_add(k[1]))
            .wrapping_add(product(2, w[3].wrapping_add(k[3])))
            .wrapping_add(product(4, k[5]));
        finalise((sum >> 64) as u64 ^ sum as u64)
    }

    /// The shard, of so many, that a flow belongs to.
    #[inline(always)]
    pub fn shard(&self, key: &FlowKey, shards: u32) -> u32 {
        ((u128::from(self.hash(key)) * u128::from(shards)) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> FlowKey {
        FlowKey { words: [n & 0xff, 0, 0x0a00_0001, 0, n >> 8 | 6 << 32] }
    }

    #[test]
    fn sequential_flows_spread_evenly_over_shards() {
        let hash = FlowHash::new(HashKey::from_seed(1));
        let mut counts = [0u32; 64];
        let flows = 64 * 1000;
        for n in 0..flows {
            counts[hash.shard(&key(n), 64) as usize] += 1;
        }
        // 1,000 expected a shard; six standard deviations are 190.
        assert!(counts.iter().all(|c| (810..=1190).contains(c)), "{counts:?}");
    }

    /// One hash for both would put a shard's flows into a sixty-fourth of its buckets.
    #[test]
    fn a_shards_flows_spread_over_its_buckets_whatever_the_seeds() {
        let shards = FlowHash::new(HashKey::from_seed(1));
        let places = FlowHash::new(HashKey::inside_shards(1));
        let in_first = (0..64_000).map(key).filter(|key| shards.shard(key, 64) == 0);
        let mut counts = [0u32; 64];
        in_first.for_each(|key| counts[places.shard(&key, 64) as usize] += 1);
        // 16 expected a bucket; the least and most of 64 Poisson counts lie well within 1 and 45.
        assert!(counts.iter().all(|count| (1..=45).contains(count)), "{counts:?}");
    }

    #[test]
    fn every_word_and_the_secret_count() {
        let a = FlowHash::new(HashKey::from_seed(1));
        let b = FlowHash::new(HashKey::from_seed(2));
        let base = key(77);
        assert_ne!(a.hash(&base), b.hash(&base));
        for word in 0..5 {
            let mut other = base;
            other.words[word] ^= 1;
            assert_ne!(a.hash(&base), a.hash(&other), "word {word}");
        }
    }
}
