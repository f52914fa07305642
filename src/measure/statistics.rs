//! Statistics of repeated, interleaved samples.
//!
//! Intervals are percentile bootstraps (Efron and Tibshirani, "An Introduction to the Bootstrap",
//! 1993): they assume no distribution, which times on a shared machine do not have.

/// Resamples of a bootstrap: beyond each bound of a 95 % interval lie 100 of them.
const RESAMPLES: usize = 4_000;

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
    median_of(&mut samples.to_vec())
}

/// The mean of the middle half; NaN of nothing.
pub fn midmean(samples: &[f64]) -> f64 {
    midmean_of(&mut samples.to_vec())
}

/// The same. Where noise is even, its interval is nearly as narrow as the mean's, and a seventh narrower than the median's;
/// what only a few samples met moves it as little as the median.
fn midmean_of(samples: &mut [f64]) -> f64 {
    let n = samples.len();
    let cut = n.div_ceil(4).min(n.saturating_sub(1) / 2);
    if cut > 0 {
        let (_, _, rest) = samples.select_nth_unstable_by(cut - 1, f64::total_cmp);
        let middle = n - 2 * cut;
        rest.select_nth_unstable_by(middle - 1, f64::total_cmp);
        return rest[..middle].iter().sum::<f64>() / middle as f64;
    }
    samples.iter().sum::<f64>() / n as f64
}

/// The median, of samples whose order may change.
fn median_of(samples: &mut [f64]) -> f64 {
    let n = samples.len();
    if n == 0 {
        return f64::NAN;
    }
    let (below, &mut upper, _) = samples.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + upper) / 2.0
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
    Estimate { value: median(samples), ci95: bootstrap(samples, seed, median_of) }
}

/// The midmean with a bootstrap interval.
fn midmean_with_interval(samples: &[f64], seed: u64) -> Estimate {
    Estimate { value: midmean_of(&mut samples.to_vec()), ci95: bootstrap(samples, seed, midmean_of) }
}

/// The ratio of paired samples, `ours[i] / theirs[i]`: the midmean of its logarithms (the mean of the middle half) with a
/// bootstrap interval over pairs, so that a ratio and its inverse are judged alike. Pairs were measured next to each other, so what
/// slows the machine for a while cancels.
pub fn paired_ratio(ours: &[f64], theirs: &[f64], seed: u64) -> Estimate {
    let logarithms: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| (a / b).ln()).collect();
    let Estimate { value, ci95 } = midmean_with_interval(&logarithms, seed);
    Estimate { value: value.exp(), ci95: ci95.map(f64::exp) }
}

/// The ratio of the medians of samples that were *not* measured next to each other, with a bootstrap interval that
/// resamples each side by itself. What slowed the machine between the two does not cancel.
pub fn unpaired_ratio(ours: &[f64], theirs: &[f64], seed: u64) -> Estimate {
    let value = median(ours) / median(theirs);
    if ours.is_empty() || theirs.is_empty() {
        return Estimate { value, ci95: [f64::NAN; 2] };
    }
    let mut random = Random::new(seed);
    let mut resampled = |samples: &[f64]| {
        let mut resample: Vec<f64> = samples.iter().map(|_| samples[random.below(samples.len())]).collect();
        median_of(&mut resample)
    };
    let ratios = (0..RESAMPLES).map(|_| resampled(ours) / resampled(theirs)).collect();
    Estimate { value, ci95: middle_95(ratios) }
}

/// The geometric mean of several paired ratios, each given as the logarithms of its pairs: the mean of their
/// midmeans. The bootstrap resamples within each, so the interval speaks of these cases and of no others.
pub fn geometric_mean(cases: &[Vec<f64>], seed: u64) -> Estimate {
    let mean = |midmeans: &mut dyn Iterator<Item = f64>| (midmeans.sum::<f64>() / cases.len() as f64).exp();
    let value = mean(&mut cases.iter().map(|case| midmean(case)));
    if cases.is_empty() || cases.iter().any(Vec::is_empty) {
        return Estimate { value: f64::NAN, ci95: [f64::NAN; 2] };
    }
    let mut random = Random::new(seed);
    let means = (0..RESAMPLES).map(|_| {
        mean(&mut cases.iter().map(|case| {
            let mut resample: Vec<f64> = case.iter().map(|_| case[random.below(case.len())]).collect();
            midmean_of(&mut resample)
        }))
    });
    Estimate { value, ci95: middle_95(means.collect()) }
}

/// How far a ratio of two things that are the same lies from 1: the larger of it and its inverse, less 1.
pub fn deviation(ratio: f64) -> f64 {
    ratio.max(1.0 / ratio) - 1.0
}

/// The difference of paired samples, `ours[i] - theirs[i]`, likewise.
pub fn paired_difference(ours: &[f64], theirs: &[f64], seed: u64) -> Estimate {
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    midmean_with_interval(&differences, seed)
}

/// A throughput that differs by less is not called faster or slower: 2 %.
const MINIMUM_EFFECT: f64 = 0.02;

/// What may be claimed of a throughput ratio: nothing unless the whole interval lies beyond the minimum effect,
/// and the ratio beyond what the baseline differs from itself.
pub fn claim(ratio: &Estimate, noise_floor: f64) -> &'static str {
    match ratio.ci95 {
        _ if deviation(ratio.value) <= noise_floor => "inconclusive",
        [low, _] if low > 1.0 + MINIMUM_EFFECT => "faster",
        [_, high] if high < 1.0 - MINIMUM_EFFECT => "slower",
        _ => "inconclusive",
    }
}

/// The median of samples that came in several groups, each of its own conditions (a process, say), with a bootstrap
/// interval that resamples groups and then within them: how groups differ is in the interval. One group is resampled
/// as [`median_with_interval`] does.
pub fn grouped_median(groups: &[Vec<f64>], seed: u64) -> Estimate {
    grouped(groups, seed, median_of)
}

/// The same of pairs, [`paired_ratio`]'s logarithms or [`paired_difference`]'s differences: their midmean.
pub fn grouped_midmean(groups: &[Vec<f64>], seed: u64) -> Estimate {
    grouped(groups, seed, midmean_of)
}

fn grouped(groups: &[Vec<f64>], seed: u64, statistic: fn(&mut [f64]) -> f64) -> Estimate {
    let groups: Vec<&Vec<f64>> = groups.iter().filter(|group| !group.is_empty()).collect();
    let all: Vec<f64> = groups.iter().flat_map(|group| group.iter().copied()).collect();
    if groups.len() < 2 {
        return Estimate { value: statistic(&mut all.clone()), ci95: bootstrap(&all, seed, statistic) };
    }
    let mut random = Random::new(seed);
    let mut resample = Vec::with_capacity(2 * all.len());
    let values = (0..RESAMPLES).map(|_| {
        resample.clear();
        for _ in 0..groups.len() {
            let group = groups[random.below(groups.len())];
            resample.extend(group.iter().map(|_| group[random.below(group.len())]));
        }
        statistic(&mut resample)
    });
    Estimate { value: statistic(&mut all.clone()), ci95: middle_95(values.collect()) }
}

fn bootstrap(samples: &[f64], seed: u64, statistic: impl Fn(&mut [f64]) -> f64) -> [f64; 2] {
    if samples.is_empty() {
        return [f64::NAN; 2];
    }
    let mut random = Random::new(seed);
    let mut resample = vec![0.0; samples.len()];
    let values = (0..RESAMPLES).map(|_| {
        resample.iter_mut().for_each(|value| *value = samples[random.below(samples.len())]);
        statistic(&mut resample)
    });
    middle_95(values.collect())
}

/// The bounds between which the middle 95 % of a bootstrap's values lie.
fn middle_95(mut values: Vec<f64>) -> [f64; 2] {
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
    fn midmeans() {
        assert!(midmean(&[]).is_nan());
        assert_eq!(midmean(&[3.0]), 3.0);
        assert_eq!(midmean(&[4.0, 1.0]), 2.5);
        assert_eq!(midmean(&[100.0, 1.0, 3.0]), 3.0);
        assert_eq!(midmean(&[4.0, 1.0, 2.0, -70.0]), 1.5);
        assert_eq!(midmean(&[9.0, 5.0, 1.0, 2.0, 90.0]), 5.0);
        assert_eq!(midmean(&[8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0]), 4.5);
        let mut random = Random::new(5);
        for n in 1..60 {
            let samples: Vec<f64> = (0..n).map(|_| random.below(1000) as f64).collect();
            let mut sorted = samples.clone();
            sorted.sort_by(f64::total_cmp);
            let cut = (n as usize).div_ceil(4).min((n as usize - 1) / 2);
            let middle = &sorted[cut..n as usize - cut];
            assert!((midmean(&samples) - middle.iter().sum::<f64>() / middle.len() as f64).abs() < 1e-9);
        }
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

    /// Blocks of one process agree with each other, processes do not: only the grouped interval knows.
    #[test]
    fn what_differs_between_groups_is_in_the_interval() {
        let mut random = Random::new(3);
        let (mut plain, mut grouped) = (0, 0);
        for seed in 0..40 {
            let mut normal = || (0..12).map(|_| random.bits() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
            let groups: Vec<Vec<f64>> =
                (0..10).map(|_| normal() * 0.05).map(|shift| (0..10).map(|_| 1.0 + shift).collect()).collect();
            let groups: Vec<Vec<f64>> =
                groups.iter().map(|group| group.iter().map(|value| value + 0.005 * normal()).collect()).collect();
            let covers = |estimate: Estimate| usize::from(estimate.ci95[0] <= 1.0 && 1.0 <= estimate.ci95[1]);
            plain += covers(median_with_interval(&groups.concat(), seed));
            grouped += covers(grouped_median(&groups, seed));
        }
        assert!(grouped >= 32 && plain <= 25, "{grouped} and {plain} of 40");
        assert_eq!(grouped_median(&[vec![1.0, 2.0, 3.0]], 1), median_with_interval(&[1.0, 2.0, 3.0], 1));
        assert!(grouped_median(&[], 1).value.is_nan());
    }

    #[test]
    fn unpaired_ratios_keep_what_drift_adds() {
        let (now, then) = ([2.0, 2.2, 1.8, 2.1, 1.9], [1.0, 1.1, 0.9, 1.05, 0.95]);
        let ratio = unpaired_ratio(&now, &then, 1);
        assert_eq!(ratio.value, 2.0);
        assert!(ratio.ci95[0] < 2.0 && ratio.ci95[1] > 2.0, "{ratio:?}");
        assert!(unpaired_ratio(&[], &then, 1).value.is_nan());
    }

    #[test]
    fn geometric_means_weigh_every_case_alike() {
        let mean = geometric_mean(&[vec![2f64.ln(); 3], vec![8f64.ln(); 30]], 1);
        assert!((mean.value - 4.0).abs() < 1e-12, "{mean:?}");
        assert!(geometric_mean(&[], 1).value.is_nan());
        assert!(geometric_mean(&[vec![]], 1).value.is_nan());
    }

    #[test]
    fn a_ratio_and_its_inverse_are_judged_alike() {
        let (a, b) = ([3.0, 5.0, 4.0, 9.0, 2.0, 7.0], [1.0, 4.0, 5.0, 3.0, 2.5, 6.0]);
        let (there, back) = (paired_ratio(&a, &b, 5), paired_ratio(&b, &a, 5));
        assert!((there.value * back.value - 1.0).abs() < 1e-12);
        assert!((there.ci95[0] * back.ci95[1] - 1.0).abs() < 1e-9);
        assert!((deviation(1.25) - deviation(0.8)).abs() < 1e-12);
        assert_eq!(deviation(1.0), 0.0);
    }

    #[test]
    fn nothing_is_claimed_within_the_noise() {
        let ratio = |value, low, high| Estimate { value, ci95: [low, high] };
        assert_eq!(claim(&ratio(1.10, 1.05, 1.15), 0.01), "faster");
        assert_eq!(claim(&ratio(0.90, 0.85, 0.95), 0.01), "slower");
        assert_eq!(claim(&ratio(1.10, 1.01, 1.20), 0.01), "inconclusive", "may be less than 2 %");
        assert_eq!(claim(&ratio(1.10, 1.05, 1.15), 0.12), "inconclusive", "the baseline differs as much from itself");
        assert_eq!(claim(&ratio(0.90, 0.85, 0.95), 0.12), "inconclusive", "1 / 0.9 is 1.11");
        assert_eq!(claim(&ratio(f64::NAN, f64::NAN, f64::NAN), 0.0), "inconclusive");
    }

    /// Samples of one engine on a machine that drifts, with noise of some 3 % and now and then a stall.
    fn samples(random: &mut Random, drift: &[f64], times: f64) -> Vec<f64> {
        let mut uniform = || random.bits() as f64 / u64::MAX as f64;
        drift
            .iter()
            .map(|drift| {
                // The sum of uniform numbers is as good as normal.
                let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
                let stall = if uniform() < 0.05 { 0.7 } else { 1.0 };
                drift * times * (1.0 + 0.03 * normal) * stall
            })
            .collect()
    }

    /// The method on planted differences: the same engine is hardly ever called different, a tenth nearly always.
    #[test]
    fn planted_differences_are_found_and_others_are_not() {
        let mut random = Random::new(11);
        let drift: Vec<f64> = (0..25).map(|i| 1e7 * (1.0 + f64::from(i) * 0.02)).collect();
        let mut claims = |times: f64| {
            let judged = (0..100).map(|seed| {
                let baseline = samples(&mut random, &drift, 1.0);
                let control = paired_ratio(&samples(&mut random, &drift, 1.0), &baseline, seed);
                let floor = deviation(control.value);
                claim(&paired_ratio(&samples(&mut random, &drift, times), &baseline, seed), floor)
            });
            judged.filter(|claim| *claim != "inconclusive").count()
        };
        assert!(claims(1.0) <= 5);
        assert!(claims(0.9) >= 90);
        assert!(claims(1.0 / 0.9) >= 90);
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
