//! Statistics of repeated, interleaved samples.
//!
//! Intervals are percentile bootstraps (Efron and Tibshirani, "An Introduction to the Bootstrap",
//! 1993): they assume no distribution, which times on a shared machine do not have.

/// Resamples of a bootstrap.
const RESAMPLES: usize = 10_000;

/// A small seeded generator (SplitMix64), so that intervals repeat exactly.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The median; NaN of nothing.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// A value with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Lower and upper bound.
    pub ci95: [f64; 2],
}

/// The median with a bootstrap interval.
pub fn median_with_interval(samples: &[f64], seed: u64) -> Estimate {
    Estimate { value: median(samples), ci95: bootstrap(samples, seed, median) }
}

/// The ratio of paired samples, `ours[i] / theirs[i]`: the median with a bootstrap interval over
/// pairs. Pairs were measured next to each other, so what slows the machine for a while cancels.
pub fn paired_ratio(ours: &[f64], theirs: &[f64], seed: u64) -> Estimate {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    median_with_interval(&ratios, seed)
}

/// The difference of paired samples, `ours[i] - theirs[i]`, likewise.
pub fn paired_difference(ours: &[f64], theirs: &[f64], seed: u64) -> Estimate {
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    median_with_interval(&differences, seed)
}

fn bootstrap(samples: &[f64], seed: u64, statistic: impl Fn(&[f64]) -> f64) -> [f64; 2] {
    if samples.is_empty() {
        return [f64::NAN; 2];
    }
    let mut random = Random::new(seed);
    let mut resample = vec![0.0; samples.len()];
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            resample.iter_mut().for_each(|value| *value = samples[random.below(samples.len())]);
            statistic(&resample)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    [values[RESAMPLES / 40], values[RESAMPLES - 1 - RESAMPLES / 40]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let mut random = Random::new(7);
        let uniform = |random: &mut Random| random.bits() as f64 / u64::MAX as f64;
        let trials = 100;
        let covered = (0..trials)
            .filter(|trial| {
                let samples: Vec<f64> = (0..25).map(|_| uniform(&mut random)).collect();
                let [low, high] = median_with_interval(&samples, *trial).ci95;
                low <= 0.5 && 0.5 <= high
            })
            .count();
        assert!(covered >= 88, "{covered} of {trials}");
    }

    #[test]
    fn drift_cancels_in_paired_ratios() {
        let drift: Vec<f64> = (0..30).map(|i| 1.0 + f64::from(i) * 0.1).collect();
        let slower: Vec<f64> = drift.iter().map(|d| d * 1.25).collect();
        let ratio = paired_ratio(&slower, &drift, 1);
        assert!((ratio.value - 1.25).abs() < 1e-9);
        assert!(ratio.ci95[1] - ratio.ci95[0] < 1e-9);
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
