//! Few rules, all compared at once.

use super::{Action, KEY_PORT_MASK, Line, key_of};

/// Rules side by side: one vector register holds one field of all eight.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug)]
struct Eight {
    net: [u32; 8],
    /// Zero bits: not compared.
    mask: [u32; 8],
    /// What of the key is compared: all of it, or the port alone.
    key_mask: [u32; 8],
    low: [u32; 8],
    /// Highest key minus `low`.
    span: [u32; 8],
}

impl Eight {
    /// Matches nothing: a key without bits is not the highest of numbers.
    const NONE: Eight = Eight { net: [0; 8], mask: [0; 8], key_mask: [0; 8], low: [u32::MAX; 8], span: [0; 8] };

    fn set(&mut self, at: usize, line: &Line<u32>) {
        let (first, last) = line.block;
        (self.net[at], self.mask[at]) = (first, !(first ^ last));
        let (low, high) = line.ports;
        let protocol = line.protocol.unwrap_or(0);
        self.key_mask[at] = if line.protocol.is_some() { u32::MAX } else { KEY_PORT_MASK };
        self.low[at] = key_of(protocol, low);
        self.span[at] = high - low;
    }

    /// One bit a rule that matches.
    #[inline(always)]
    fn matches(&self, address: u32, key: u32) -> u32 {
        (0..8).fold(0, |bits, at| {
            let address_fits = (address ^ self.net[at]) & self.mask[at] == 0;
            let key_fits = (key & self.key_mask[at]).wrapping_sub(self.low[at]) <= self.span[at];
            bits | u32::from(address_fits & key_fits) << at
        })
    }

    /// The same with AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    #[inline]
    fn matches_avx2(&self, address: u32, key: u32) -> u32 {
        use std::arch::x86_64::*;
        // SAFETY: 32 bytes, aligned by the type.
        let load = |field: &[u32; 8]| unsafe { _mm256_load_si256(field.as_ptr().cast()) };
        let (address, key) = (_mm256_set1_epi32(address as i32), _mm256_set1_epi32(key as i32));
        let differing = _mm256_and_si256(_mm256_xor_si256(address, load(&self.net)), load(&self.mask));
        let address_fits = _mm256_cmpeq_epi32(differing, _mm256_setzero_si256());
        let above = _mm256_sub_epi32(_mm256_and_si256(key, load(&self.key_mask)), load(&self.low));
        // There is no unsigned comparison; but "at most" is "the minimum of both".
        let key_fits = _mm256_cmpeq_epi32(_mm256_min_epu32(above, load(&self.span)), above);
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_and_si256(address_fits, key_fits))) as u32
    }
}

/// At most 64 rules for IPv4.
#[derive(Debug)]
pub(super) struct Scan {
    eights: Box<[Eight]>,
    actions: Box<[Action]>,
    #[cfg(target_arch = "x86_64")]
    has_avx2: bool,
}

impl Scan {
    pub(super) fn new(lines: &[Line<u32>]) -> Self {
        assert!(lines.len() <= 64, "one bit a rule");
        let mut eights = vec![Eight::NONE; lines.len().div_ceil(8)];
        for (at, line) in lines.iter().enumerate() {
            eights[at / 8].set(at % 8, line);
        }
        Scan {
            eights: eights.into_boxed_slice(),
            actions: lines.iter().map(|line| line.action).collect(),
            #[cfg(target_arch = "x86_64")]
            has_avx2: is_x86_feature_detected!("avx2"),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.eights[..]) + size_of_val(&self.actions[..])
    }

    #[inline(always)]
    pub(super) fn first(&self, address: u32, key: u32) -> Action {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2.
        let bits = if self.has_avx2 { unsafe { self.matches_avx2(address, key) } } else { self.matches(address, key) };
        #[cfg(not(target_arch = "x86_64"))]
        let bits = self.matches(address, key);
        // No rule: 64, which is beyond all.
        self.actions.get(bits.trailing_zeros() as usize).copied().unwrap_or(Action::NONE)
    }

    /// All of them whatever they give: where a match is found is not for the processor to guess.
    fn matches(&self, address: u32, key: u32) -> u64 {
        let bits = |(at, eight): (usize, &Eight)| u64::from(eight.matches(address, key)) << (8 * at);
        self.eights.iter().enumerate().map(bits).fold(0, |all, bits| all | bits)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn matches_avx2(&self, address: u32, key: u32) -> u64 {
        let mut all = 0;
        for (at, eight) in self.eights.iter().enumerate() {
            all |= u64::from(eight.matches_avx2(address, key)) << (8 * at);
        }
        all
    }
}
