//! Random numbers and the distributions made of them, in integers: equal on every machine.

use serde::{Deserialize, Serialize};

/// SplitMix64 (Steele, Lea and Flood, 2014). Our own eight lines: a trace must not change with the version of
/// a library.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// 1 in fixed point with 32 fractional bits.
const ONE: u64 = 1 << 32;
/// ln 2 with 32 fractional bits.
const LN_2: u64 = 2_977_044_472;
/// Fractional bits of a logarithm: errors of a millionth are far below what a distribution shows.
const LOG_BITS: u32 = 20;

impl Random {
    /// A sequence of its own for every seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    #[inline(always)]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Evenly from 0 to `n - 1`; 0 for none. The bias is below `n / 2^32`.
    #[inline(always)]
    pub fn below(&mut self, n: u32) -> u32 {
        (((self.draw() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// True in this share of cases.
    #[inline(always)]
    pub fn chance(&mut self, share: Share) -> bool {
        share.0 > 0 && (self.draw() >> 32) < share.0
    }

    /// `-log2` of an even number from (0, 1], with 32 fractional bits: an exponential variable but for a factor.
    #[inline]
    pub fn neg_log2(&mut self) -> u64 {
        (32 << 32) - log2((self.draw() >> 32) + 1)
    }

    /// An exponential variable of this mean: the gaps of a Poisson process.
    #[inline]
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let natural = (u128::from(self.neg_log2()) * u128::from(LN_2)) >> 32;
        ((natural * u128::from(mean)) >> 32) as u64
    }

    /// Half to one and a half times `mean`.
    #[inline(always)]
    pub fn around(&mut self, mean: u32) -> u64 {
        u64::from(mean / 2) + u64::from(self.below(mean.saturating_add(1)))
    }
}

/// A bijection of 64 bits in which every bit of the result depends on every bit given.
#[inline(always)]
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// `log2` of a number from 1 on, with 32 fractional bits of which [`LOG_BITS`] are exact: by squaring.
#[inline]
pub(super) fn log2(x: u64) -> u64 {
    let whole = x.ilog2();
    // The mantissa in [1, 2), 31 fractional bits.
    let mut mantissa = if whole >= 31 { x >> (whole - 31) } else { x << (31 - whole) };
    let mut fraction = 0;
    for _ in 0..LOG_BITS {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = mantissa >> 32;
        mantissa >>= bit;
        fraction = fraction << 1 | bit;
    }
    u64::from(whole) << 32 | fraction << (32 - LOG_BITS)
}

/// 2^(1/2), 2^(1/4), ... with 31 fractional bits.
const ROOTS: [u64; LOG_BITS as usize] = {
    let mut roots = [0; LOG_BITS as usize];
    let mut root = 2u128 << 62;
    let mut i = 0;
    while i < roots.len() {
        root = (root << 62).isqrt();
        roots[i] = (root >> 31) as u64;
        i += 1;
    }
    roots
};

/// 2 to the power of `x`, a number with 32 fractional bits below 63; the result with 31 fractional bits as long as
/// they fit.
pub(super) fn exp2(x: u64) -> u128 {
    let mut power = 1u64 << 31;
    for (i, root) in ROOTS.iter().enumerate() {
        if x >> (31 - i) & 1 == 1 {
            power = (power * root) >> 31;
        }
    }
    u128::from(power) << (x >> 32).min(63)
}

/// A share of things, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(u64);

impl Share {
    /// None of them.
    pub const NONE: Share = Share(0);
    /// All of them.
    pub const ALL: Share = Share(ONE);

    /// `part` of `whole`; none of nothing.
    pub fn of(part: u64, whole: u64) -> Self {
        Share(
            (u128::from(part) * u128::from(ONE))
                .checked_div(u128::from(whole))
                .map_or(0, |share| share as u64)
                .min(ONE),
        )
    }
}

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(share: f64) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("{share} is no share: give a number from 0 to 1"));
        }
        // A product with a power of two is exact.
        Ok(Share((share * ONE as f64) as u64))
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> f64 {
        share.0 as f64 / ONE as f64
    }
}

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<f64>().map_err(|_| format!("`{text}` is no share: give a number from 0 to 1"))?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_and_powers_are_those_of_the_library() {
        for x in [1u64, 2, 3, 7, 10, 1000, 65_535, 1 << 31, (1 << 32) - 1, u64::MAX] {
            let found = log2(x) as f64 / ONE as f64;
            assert!((found - (x as f64).log2()).abs() < 2e-6, "{x}: {found}");
        }
        for x in [0.0f64, 0.25, 0.5, 1.0, 3.7, 20.9] {
            let found = exp2((x * ONE as f64) as u64) as f64 / (1u64 << 31) as f64;
            assert!((found / x.exp2() - 1.0).abs() < 4e-6, "{x}: {found}");
        }
    }

    #[test]
    fn the_sequence_never_changes() {
        let mut random = Random::new(1);
        // Steele's reference sequence for seed 1.
        assert_eq!([random.draw(), random.draw()], [0x910a_2dec_8902_5cc1, 0xbeeb_8da1_658e_ec67]);
    }

    #[test]
    fn gaps_have_their_mean_and_shares_their_share() {
        let mut random = Random::new(7);
        let mean = (0..100_000).map(|_| random.exponential(1000)).sum::<u64>() / 100_000;
        assert!((980..=1020).contains(&mean), "{mean}");
        let third = Share::of(1, 3);
        let hits = (0..30_000).filter(|_| random.chance(third)).count();
        assert!((9_700..=10_300).contains(&hits), "{hits}");
        assert!(random.chance(Share::ALL) && !random.chance(Share::NONE));
    }
}
