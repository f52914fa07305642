//! Numbered flows: their keys and shards are computed, so that only the tables use the memory.

use ctbench::packet::FlowKey;

pub const SHARDS: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The key of flow `n`, laid out as that of a packet.
#[inline(always)]
pub fn key(family: Family, n: u64) -> FlowKey {
    let ports = 443 | (n >> 32 & 0xffff) << 16 | 6 << 32;
    match family {
        Family::V4 => FlowKey { words: [0, 0x0a01_000a_ffff_0000, 0, (n & 0xffff_ffff) << 32 | 0xffff_0000, ports] },
        Family::V6 => FlowKey { words: [0xb80d_0120, 0x0a00_0000, 0xfe80_b80d_0120, n, ports] },
    }
}

/// Fibonacci hashing: as even as can be for consecutive numbers.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Its shard. Of two cores, core `shard % 2` owns it.
#[inline(always)]
pub fn shard(n: u64) -> u32 {
    ((n >> 1).wrapping_mul(GOLDEN) >> 59) as u32 * 2 + ((n ^ n >> 6) & 1) as u32
}

/// The `k`-th flow of those that one of two cores owns.
#[inline(always)]
pub fn owned(core: usize, k: u64) -> u64 {
    2 * k + (core as u64 ^ (k >> 5 & 1))
}
