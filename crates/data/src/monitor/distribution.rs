//! How the values of one statistic are spread: a sketch of bounded size that can be merged and compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Quantiles are right to this share of their value.
const ACCURACY: f64 = 0.01;
/// Smaller magnitudes count as zero.
const LEAST: f64 = 1e-9;
/// Larger magnitudes count as this.
const GREATEST: f64 = 1e15;

/// A distribution of finite numbers as a histogram whose bins grow by 2%: the sketch of Masson, Rim and Lee ("DDSketch",
/// 2019). All distributions have the same bins, so that two of them can be merged and compared without loss. At most
/// 5,600 bins can be filled; a statistic of text fills a few hundred.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    pub count: u64,
    pub min: f64,
    pub max: f64,
    sum: f64,
    sum_of_squares: f64,
    /// Bin -> how many values. Bin 0 holds zero; bin ±k magnitudes up to `LEAST * GAMMA^k`.
    #[serde(with = "pairs")]
    bins: BTreeMap<i32, u64>,
}

/// The ratio of a bin's ends.
fn gamma() -> f64 {
    (1.0 + ACCURACY) / (1.0 - ACCURACY)
}

fn bin_of(value: f64) -> i32 {
    let magnitude = value.abs().min(GREATEST);
    if magnitude <= LEAST {
        return 0;
    }
    let index = ((magnitude / LEAST).ln() / gamma().ln()).ceil().max(1.0) as i32;
    if value < 0.0 { -index } else { index }
}

/// The value that stands for a bin, within `ACCURACY` of all its values.
fn value_of(bin: i32) -> f64 {
    if bin == 0 {
        return 0.0;
    }
    let upper = LEAST * gamma().powi(bin.abs());
    let middle = 2.0 * upper / (1.0 + gamma());
    if bin < 0 { -middle } else { middle }
}

impl Distribution {
    /// Adds a value; NaN and infinities are not numbers that can be spread, and are left out.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
        *self.bins.entry(bin_of(value)).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = if self.count == 0 { other.max } else { self.max.max(other.max) };
        self.count += other.count;
        self.sum += other.sum;
        self.sum_of_squares += other.sum_of_squares;
        for (&bin, &count) in &other.bins {
            *self.bins.entry(bin).or_default() += count;
        }
    }

    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// NaN when there is no value.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Of the values as a population.
    pub fn standard_deviation(&self) -> f64 {
        let mean = self.mean();
        (self.sum_of_squares / self.count as f64 - mean * mean).max(0.0).sqrt()
    }

    /// How many values are zero.
    pub fn zeros(&self) -> u64 {
        self.bins.get(&0).copied().unwrap_or(0)
    }

    /// The value below which a share `q` of the values lies, to 1% of the value; NaN when there is none.
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = (q.clamp(0.0, 1.0) * self.count.saturating_sub(1) as f64).round() as u64;
        let mut passed = 0;
        for (&bin, &count) in &self.bins {
            passed += count;
            if passed > rank {
                return value_of(bin).clamp(self.min, self.max);
            }
        }
        f64::NAN
    }

    /// The share of values outside of `low..=high`, judged by their bins.
    pub fn share_outside(&self, low: f64, high: f64) -> f64 {
        let value = |bin: i32| value_of(bin).clamp(self.min, self.max);
        let outside = |bin: i32| value(bin) < low || value(bin) > high;
        let count: u64 = self.bins.iter().filter(|&(&bin, _)| outside(bin)).map(|(_, count)| count).sum();
        count as f64 / self.count.max(1) as f64
    }

    /// The median distance from the median (MAD), to about 2% of the larger of both.
    pub fn median_deviation(&self) -> f64 {
        let median = self.quantile(0.5);
        let mut deviations = Self::default();
        for (&bin, &count) in &self.bins {
            let value = (value_of(bin).clamp(self.min, self.max) - median).abs();
            deviations.min = if deviations.count == 0 { value } else { deviations.min.min(value) };
            deviations.max = deviations.max.max(value);
            deviations.count += count;
            *deviations.bins.entry(bin_of(value)).or_default() += count;
        }
        deviations.quantile(0.5)
    }

    /// Filled bins from the least value up: (lower end, upper end, values).
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.bins.iter().map(|(&bin, &count)| {
            let end = |k: i32| LEAST * gamma().powi(k);
            match bin {
                0 => (0.0, 0.0, count),
                1.. => (end(bin - 1), end(bin), count),
                _ => (-end(-bin), -end(-bin - 1), count),
            }
        })
    }

    /// The population stability index of `other` against this one, over up to ten bins of equal shares of this one:
    /// the sum of (q - p) ln(q / p). Empty bins count as a share of 0.0001. Also the number of bins.
    pub fn psi(&self, other: &Self) -> (f64, usize) {
        let edges = self.decile_edges();
        let (p, q) = (self.shares(&edges), other.shares(&edges));
        (psi(&p, &q), p.len())
    }

    /// The two-sample Kolmogorov-Smirnov statistic: the largest distance between the two cumulative distributions, at
    /// the ends of bins. Values that share a bin cannot be told apart.
    pub fn ks(&self, other: &Self) -> f64 {
        if self.count == 0 || other.count == 0 {
            return f64::NAN;
        }
        let mut all: Vec<i32> = self.bins.keys().chain(other.bins.keys()).copied().collect();
        all.sort_unstable();
        all.dedup();
        let (mut a, mut b, mut largest) = (0, 0, 0.0f64);
        for bin in all {
            a += self.bins.get(&bin).copied().unwrap_or(0);
            b += other.bins.get(&bin).copied().unwrap_or(0);
            largest = largest.max((a as f64 / self.count as f64 - b as f64 / other.count as f64).abs());
        }
        largest
    }

    /// Bins after which another tenth of the values has passed. A bin that holds several tenths gives one edge.
    fn decile_edges(&self) -> Vec<i32> {
        let (mut edges, mut passed, mut tenths) = (Vec::new(), 0u64, 1u64);
        for (&bin, &count) in &self.bins {
            passed += count;
            if passed * 10 >= self.count * tenths {
                tenths = passed * 10 / self.count.max(1) + 1;
                edges.push(bin);
            }
        }
        edges.pop(); // what lies above the last edge, in the other distribution, belongs to the last share
        edges
    }

    /// How many values lie in each of the ranges that `edges` (inclusive upper ends) cut.
    fn shares(&self, edges: &[i32]) -> Vec<u64> {
        let mut counts = vec![0; edges.len() + 1];
        for (&bin, &count) in &self.bins {
            counts[edges.partition_point(|&edge| edge < bin)] += count;
        }
        counts
    }
}

/// The population stability index between two counts of the same categories; a share below 0.0001 counts as 0.0001.
pub(super) fn psi(p: &[u64], q: &[u64]) -> f64 {
    const LEAST_SHARE: f64 = 1e-4;
    let (all_p, all_q) = (p.iter().sum::<u64>() as f64, q.iter().sum::<u64>() as f64);
    if all_p == 0.0 || all_q == 0.0 {
        return f64::NAN;
    }
    let term = |(&p, &q): (&u64, &u64)| {
        let (p, q) = ((p as f64 / all_p).max(LEAST_SHARE), (q as f64 / all_q).max(LEAST_SHARE));
        (q - p) * (q / p).ln()
    };
    p.iter().zip(q).map(term).sum()
}

/// Bins as `[[bin, count], ...]`: JSON's object keys would be strings.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bins: &BTreeMap<i32, u64>, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(bins)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<i32, u64>, D::Error> {
        Ok(Vec::<(i32, u64)>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Distribution {
        let mut distribution = Distribution::default();
        values.iter().for_each(|&value| distribution.add(value));
        distribution
    }

    proptest! {
        #[test]
        fn quantiles_are_right_to_one_percent(mut values in prop::collection::vec(-1e6f64..1e6, 1..200), q in 0.0f64..=1.0) {
            let sketch = of(&values);
            values.sort_by(f64::total_cmp);
            let exact = values[(q * (values.len() - 1) as f64).round() as usize];
            prop_assert!((sketch.quantile(q) - exact).abs() <= exact.abs() * 0.0101 + 1e-9, "{} {exact}", sketch.quantile(q));
        }

        #[test]
        fn merging_is_adding(a in prop::collection::vec(-9i32..9, 0..40), b in prop::collection::vec(-9i32..9, 0..40)) {
            let numbers = |v: &[i32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let mut merged = of(&numbers(&a));
            merged.merge(&of(&numbers(&b)));
            prop_assert_eq!(merged, of(&numbers(&[a, b].concat())));
        }

        #[test]
        fn ks_is_that_of_the_values(a in prop::collection::vec(0i32..9, 1..40), b in prop::collection::vec(0i32..9, 1..40)) {
            // Powers of two never share a bin, so the sketch must agree with the definition.
            let numbers = |v: &[i32]| v.iter().map(|&x| 2f64.powi(x)).collect::<Vec<_>>();
            let below = |v: &[i32], x: i32| v.iter().filter(|&&y| y <= x).count() as f64 / v.len() as f64;
            let expect = (0..9).map(|x| (below(&a, x) - below(&b, x)).abs()).fold(0.0, f64::max);
            prop_assert!((of(&numbers(&a)).ks(&of(&numbers(&b))) - expect).abs() < 1e-12);
        }
    }

    #[test]
    fn moments_and_extremes() {
        let four = of(&[2.0, 4.0, 4.0, 6.0, f64::NAN, f64::INFINITY]);
        assert_eq!((four.count, four.min, four.max, four.mean()), (4, 2.0, 6.0, 4.0));
        assert!((four.standard_deviation() - 2f64.sqrt()).abs() < 1e-12);
        assert!((four.median_deviation() - 0.0).abs() < 1e-9 || (four.median_deviation() - 2.0).abs() < 0.1);
        assert!(Distribution::default().mean().is_nan() && Distribution::default().quantile(0.5).is_nan());
        assert_eq!(of(&[0.0, 0.0, 5.0]).zeros(), 2);
    }

    #[test]
    fn psi_by_hand() {
        // Half and half against 3 : 1. (0.75 - 0.5) ln 1.5 + (0.25 - 0.5) ln 0.5 = 0.101366 + 0.173287.
        assert!((psi(&[1, 1], &[3, 1]) - 0.274_653_072_167_027).abs() < 1e-12);
        assert_eq!(psi(&[5, 5], &[50, 50]), 0.0);
        // An empty category counts as 0.0001: (1 - 0.5) ln 2 + (0.0001 - 0.5) ln 0.0002.
        let expect = 0.5 * 2f64.ln() + (1e-4 - 0.5) * 2e-4f64.ln();
        assert!((psi(&[1, 1], &[1, 0]) - expect).abs() < 1e-12);
        let (value, bins) = of(&[1.0, 1.0, 2.0, 2.0]).psi(&of(&[1.0, 2.0, 2.0, 2.0]));
        assert!(bins == 2 && (value - (0.25 * 1.5f64.ln() - 0.25 * 0.5f64.ln())).abs() < 1e-12, "{value} {bins}");
    }

    #[test]
    fn json_gives_it_back() {
        let distribution = of(&[-3.5, 0.0, 0.125, 1e9]);
        let json = serde_json::to_string(&distribution).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Distribution>(&json).ok(), Some(distribution), "{json}");
    }
}
