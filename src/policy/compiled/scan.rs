//! Few rules, all compared at once.

use super::{Action, KEY_PORT_MASK, Line, Vectors, key_of};
use std::hint::select_unpredictable;

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

/// Rules for IPv4, side by side.
#[derive(Debug)]
pub(super) struct Scan {
    sixteens: Box<[Sixteen]>,
    /// Behind the last, no rule.
    actions: Box<[Action]>,
    vectors: Vectors,
}

impl Scan {
    /// `vectors` must be what this processor has.
    pub(super) fn new(lines: &[Line<u32>], vectors: Vectors) -> Self {
        assert!(vectors.are_here(), "{vectors:?}");
        let mut sixteens = vec![Sixteen::NONE; lines.len().div_ceil(LANES)];
        for (at, line) in lines.iter().enumerate() {
            sixteens[at / LANES].set(at % LANES, line);
        }
        let actions = lines.iter().map(|line| line.action).chain([Action::NONE]).collect();
        Scan { sixteens: sixteens.into_boxed_slice(), actions, vectors }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.sixteens[..]) + size_of_val(&self.actions[..])
    }

    #[inline(always)]
    pub(super) fn first(&self, address: u32, key: u32) -> Action {
        self.actions[match self.vectors {
            Vectors::Plain => self.place(address, key),
            // SAFETY: the processor has AVX2, as `new` asked.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { self.place_avx2(address, key) },
            // SAFETY: the processor has AVX-512F, as `new` asked.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => unsafe { self.place_avx512(address, key) },
        }]
    }

    /// Where the first matching rule's action is.
    fn place(&self, address: u32, key: u32) -> usize {
        self.first_place(|sixteen| sixteen.matches(address, key))
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1")]
    fn place_avx2(&self, address: u32, key: u32) -> usize {
        self.first_place(|sixteen| sixteen.matches_avx2(address, key))
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,bmi1")]
    fn place_avx512(&self, address: u32, key: u32) -> usize {
        self.first_place(|sixteen| sixteen.matches_avx512(address, key))
    }

    /// All rules are compared whatever they give, the last ones first: where a match is found is not for the processor
    /// to guess.
    #[inline(always)]
    fn first_place(&self, matches: impl Fn(&Sixteen) -> u16) -> usize {
        let mut place = self.actions.len() - 1;
        for (at, sixteen) in self.sixteens.iter().enumerate().rev() {
            let bits = matches(sixteen);
            place = select_unpredictable(bits != 0, LANES * at + bits.trailing_zeros() as usize, place);
        }
        place
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
    fn every_kind_of_vector_finds_the_same_rule() {
        let mut random = Random::new(11);
        let (mut met, mut missed) = (0, 0);
        for count in 0..=130 {
            let lines = lines(count, &mut random);
            let here = Vectors::ALL.iter().filter(|vectors| vectors.are_here());
            let scans: Vec<Scan> = here.map(|vectors| Scan::new(&lines, *vectors)).collect();
            for _ in 0..500 {
                let address = (random.below(4) as u32).rotate_right(2) | random.below(2) as u32;
                let port = [1 << 16, random.below(6) as u32 * 13_000 + random.below(3) as u32][random.below(2)];
                let protocol = [6, 17, 47][random.below(3)];
                let first = lines.iter().find(|line| line.matches(address, protocol, port));
                *(if first.is_some() { &mut met } else { &mut missed }) += 1;
                for scan in &scans {
                    let right = first.map_or(Action::NONE, |line| line.action);
                    assert_eq!(scan.first(address, key_of(protocol, port)), right, "{:?}", scan.vectors);
                }
            }
        }
        assert!(met > 10_000 && missed > 10_000, "{met} {missed}");
    }
}
