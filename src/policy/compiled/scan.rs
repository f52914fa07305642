//! Few rules, all compared at once.

use super::{Action, KEY_PORT_MASK, Line, key_of};

/// Rules compared together.
const LANES: usize = 16;

/// Rules side by side: one field of all of them fills a vector register of 512 bits, or two of 256.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Sixteen {
    net: [u32; LANES],
    /// Zero bits: not compared.
    mask: [u32; LANES],
    /// What of the key is compared: all of it, or the port alone.
    key_mask: [u32; LANES],
    low: [u32; LANES],
    /// Highest key minus `low`.
    span: [u32; LANES],
}

impl Sixteen {
    /// Matches nothing: a key without bits is not the highest of numbers.
    const NONE: Sixteen =
        Sixteen { net: [0; LANES], mask: [0; LANES], key_mask: [0; LANES], low: [u32::MAX; LANES], span: [0; LANES] };

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
    fn matches(&self, address: u32, key: u32) -> u16 {
        (0..LANES).fold(0, |bits, at| {
            let address_fits = (address ^ self.net[at]) & self.mask[at] == 0;
            let key_fits = (key & self.key_mask[at]).wrapping_sub(self.low[at]) <= self.span[at];
            bits | u16::from(address_fits & key_fits) << at
        })
    }

    /// The same with AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    #[inline]
    fn matches_avx2(&self, address: u32, key: u32) -> u16 {
        use std::arch::x86_64::*;
        let (address, key) = (_mm256_set1_epi32(address as i32), _mm256_set1_epi32(key as i32));
        let half = |at: usize| {
            // SAFETY: eight numbers from 0 or from 8 on, and 32 bytes at a multiple of 32 by the type.
            let load = |field: &[u32; LANES]| unsafe { _mm256_load_si256(field.as_ptr().add(at).cast()) };
            let differing = _mm256_and_si256(_mm256_xor_si256(address, load(&self.net)), load(&self.mask));
            let address_fits = _mm256_cmpeq_epi32(differing, _mm256_setzero_si256());
            let above = _mm256_sub_epi32(_mm256_and_si256(key, load(&self.key_mask)), load(&self.low));
            // There is no unsigned comparison; but "at most" is "the minimum of both".
            let key_fits = _mm256_cmpeq_epi32(_mm256_min_epu32(above, load(&self.span)), above);
            _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_and_si256(address_fits, key_fits))) as u16
        };
        half(0) | half(8) << 8
    }

    /// The same with AVX-512: half the instructions, and masks instead of vectors as the results of comparisons.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn matches_avx512(&self, address: u32, key: u32) -> u16 {
        use std::arch::x86_64::*;
        // SAFETY: 64 bytes, aligned by the type.
        let load = |field: &[u32; LANES]| unsafe { _mm512_load_si512(field.as_ptr().cast()) };
        let (address, key) = (_mm512_set1_epi32(address as i32), _mm512_set1_epi32(key as i32));
        let address_fits = _mm512_testn_epi32_mask(_mm512_xor_si512(address, load(&self.net)), load(&self.mask));
        let above = _mm512_sub_epi32(_mm512_and_si512(key, load(&self.key_mask)), load(&self.low));
        _mm512_mask_cmple_epu32_mask(address_fits, above, load(&self.span))
    }
}

/// The widest vectors that the processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vectors {
    /// Whatever the compiler makes of it.
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Vectors {
    fn of_this_processor() -> Vectors {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            return Vectors::Avx512;
        } else if is_x86_feature_detected!("avx2") {
            return Vectors::Avx2;
        }
        Vectors::Plain
    }
}

/// At most 64 rules for IPv4.
#[derive(Debug)]
pub(super) struct Scan {
    sixteens: Box<[Sixteen]>,
    actions: Box<[Action]>,
    vectors: Vectors,
}

impl Scan {
    pub(super) fn new(lines: &[Line<u32>]) -> Self {
        assert!(lines.len() <= 64, "one bit a rule");
        let mut sixteens = vec![Sixteen::NONE; lines.len().div_ceil(LANES)];
        for (at, line) in lines.iter().enumerate() {
            sixteens[at / LANES].set(at % LANES, line);
        }
        Scan {
            sixteens: sixteens.into_boxed_slice(),
            actions: lines.iter().map(|line| line.action).collect(),
            vectors: Vectors::of_this_processor(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.sixteens[..]) + size_of_val(&self.actions[..])
    }

    #[inline(always)]
    pub(super) fn first(&self, address: u32, key: u32) -> Action {
        let bits = match self.vectors {
            Vectors::Plain => self.matches(address, key),
            // SAFETY: the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { self.matches_avx2(address, key) },
            // SAFETY: the processor has AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => unsafe { self.matches_avx512(address, key) },
        };
        // No rule: 64, which is beyond all.
        self.actions.get(bits.trailing_zeros() as usize).copied().unwrap_or(Action::NONE)
    }

    /// All of them whatever they give: where a match is found is not for the processor to guess.
    fn matches(&self, address: u32, key: u32) -> u64 {
        let bits = |(at, some): (usize, &Sixteen)| u64::from(some.matches(address, key)) << (LANES * at);
        self.sixteens.iter().enumerate().map(bits).fold(0, |all, bits| all | bits)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn matches_avx2(&self, address: u32, key: u32) -> u64 {
        let mut all = 0;
        for (at, some) in self.sixteens.iter().enumerate() {
            all |= u64::from(some.matches_avx2(address, key)) << (LANES * at);
        }
        all
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn matches_avx512(&self, address: u32, key: u32) -> u64 {
        let mut all = 0;
        for (at, some) in self.sixteens.iter().enumerate() {
            all |= u64::from(some.matches_avx512(address, key)) << (LANES * at);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::statistics::Random;

    /// Rules by lot, of few addresses and ports, so that packets meet them.
    fn lines(count: usize, random: &mut Random) -> Vec<Line<u32>> {
        let line = |n: usize, random: &mut Random| {
            let host_bits = random.below(33) as u32;
            let hosts = u32::MAX.checked_shr(32 - host_bits).unwrap_or(0);
            let first = (random.below(4) as u32).rotate_right(2) & !hosts;
            let low = random.below(6) as u32 * 13_000;
            Line {
                block: (first, first | hosts),
                protocol: [None, Some(6), Some(17)][random.below(3)],
                ports: [(0, 1 << 16), (low, low), (low, low + 20)][random.below(3)],
                action: Action::new(n as u32, true),
            }
        };
        (0..count).map(|n| line(n, random)).collect()
    }

    #[test]
    fn every_kind_of_vector_gives_the_same_bits() {
        let mut random = Random::new(11);
        let mut met = 0;
        for count in 0..=64 {
            let scan = Scan::new(&lines(count, &mut random));
            for _ in 0..500 {
                let address = (random.below(4) as u32).rotate_right(2) | random.below(2) as u32;
                let port = [1 << 16, random.below(6) as u32 * 13_000 + random.below(3) as u32][random.below(2)];
                let key = key_of([6, 17, 47][random.below(3)], port);
                let right = scan.matches(address, key);
                met += right.count_ones();
                assert!(right.checked_shr(count as u32).unwrap_or(0) == 0, "only rules that are there");
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: just asked.
                    assert_eq!(unsafe { scan.matches_avx2(address, key) }, right);
                }
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: just asked.
                    assert_eq!(unsafe { scan.matches_avx512(address, key) }, right);
                }
            }
        }
        assert!(met > 10_000, "{met}");
    }
}
