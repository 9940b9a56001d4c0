//! Outliers: documents far from the others in a statistic, by thresholds that the documents themselves give.

use std::collections::BTreeMap;
use std::path::Path;

use danlu_sql::Rules;
use serde::{Deserialize, Serialize};

use super::{OutlierHistogram, Reason};
use crate::table::read_statistics;
use crate::{DataError, Document};

/// Smaller groups have no thresholds: what is usual cannot be told from a handful.
const LEAST_GROUP: usize = 20;
/// The median absolute deviation of a normal distribution times this is its standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;

/// Documents to drop because a statistic of theirs is far from that of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierConfig {
    /// A number measured of the text: `mean_word_length(text)`.
    pub statistic: String,
    #[serde(default)]
    pub method: OutlierMethod,
    /// How many spreads from the middle (or, with `iqr`, from the quartiles) is too far. None: 1.5 for `iqr`, 3 for
    /// `zscore`, 3.5 for `mad`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    #[serde(default)]
    pub side: OutlierSide,
    /// Thresholds for each language or each source of their own; one for all documents when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<OutlierGroup>,
}

/// How far is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutlierMethod {
    /// Beyond the quartiles, in distances between them (Tukey 1977, "Exploratory Data Analysis").
    #[default]
    Iqr,
    /// From the mean, in standard deviations. A few extreme values widen it.
    Zscore,
    /// From the median, in median absolute deviations scaled to standard deviations (Iglewicz and Hoaglin 1993).
    Mad,
}

/// Which end is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutlierSide {
    #[default]
    Both,
    Low,
    High,
}

/// What thresholds are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutlierGroup {
    Language,
    Source,
}

/// The thresholds of one group, and what they are made of; in the funnel, for plots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutlierThresholds {
    pub statistic: String,
    /// The column of the table that holds the statistic.
    pub column: String,
    pub method: OutlierMethod,
    pub factor: f64,
    /// The language or source; empty for all documents.
    pub group: String,
    /// Documents that have the statistic.
    pub documents: u64,
    /// Smallest value, quartiles and largest.
    pub quantiles: [f64; 5],
    /// What distances are measured from: the median (`iqr`, `mad`) or the mean.
    pub center: f64,
    /// What they are measured in. 0 when most values are the same: there are no thresholds then.
    pub spread: f64,
    /// A smaller value is an outlier; none when the side is not asked for, or the group is small (fewer than 20).
    pub low: Option<f64>,
    /// A larger value is an outlier.
    pub high: Option<f64>,
    /// Documents below and above, less those that an earlier statistic dropped.
    pub dropped: u64,
    /// How the values lie around the thresholds. Empty in results of earlier versions.
    #[serde(default)]
    pub histogram: OutlierHistogram,
}

impl OutlierConfig {
    fn factor(&self) -> f64 {
        let usual = match self.method {
            OutlierMethod::Iqr => 1.5,
            OutlierMethod::Zscore => 3.0,
            OutlierMethod::Mad => 3.5,
        };
        self.factor.unwrap_or(usual)
    }

    pub(super) fn check(&self) -> Result<(), DataError> {
        let factor = self.factor();
        if factor.is_finite() && factor > 0.0 {
            return Ok(());
        }
        let message = format!("factor of {} must be above 0, and is {factor}", self.statistic);
        Err(DataError::BadConfig { key: "clean.outliers", message })
    }

    fn group<'a>(&self, source: &'a str, language: &'a str) -> &'a str {
        match self.by {
            None => "",
            Some(OutlierGroup::Language) => language,
            Some(OutlierGroup::Source) => source,
        }
    }
}

/// The thresholds of all configured outliers. What grows with the number of documents is 8 bytes for each of them.
pub(super) struct Outliers<'a> {
    configs: &'a [OutlierConfig],
    /// For each, by group.
    thresholds: Vec<BTreeMap<String, OutlierThresholds>>,
}

impl<'a> Outliers<'a> {
    /// Makes the thresholds from the statistics in the table `documents`.
    pub(super) fn find(documents: &Path, configs: &'a [OutlierConfig], rules: &Rules) -> Result<Self, DataError> {
        let columns = configs.iter().map(|config| column(rules, config)).collect::<Result<Vec<String>, _>>()?;
        let mut values: Vec<BTreeMap<String, Vec<f64>>> = configs.iter().map(|_| BTreeMap::new()).collect();
        read_statistics(documents, &columns, &mut |row, source, language| {
            for ((config, values), value) in configs.iter().zip(&mut values).zip(row) {
                let Some(value) = *value else { continue };
                let group = config.group(source, language);
                match values.get_mut(group) {
                    Some(values) => values.push(value),
                    None => drop(values.insert(group.to_owned(), vec![value])),
                }
            }
        })?;
        let thresholds = configs.iter().zip(columns).zip(values).map(|((config, column), groups)| {
            let of = |(group, values): (String, Vec<f64>)| (group.clone(), thresholds(config, &column, group, values));
            groups.into_iter().map(of).collect()
        });
        Ok(Self { configs, thresholds: thresholds.collect() })
    }

    /// Why a document is an outlier, by the first statistic that says so.
    pub(super) fn reason(&mut self, document: &Document) -> Option<Reason> {
        for (config, groups) in self.configs.iter().zip(&mut self.thresholds) {
            let Some(limits) = groups.get_mut(config.group(&document.source, &document.language)) else { continue };
            let Some(&value) = document.statistics.get(&limits.column) else { continue };
            let (side, limit) = match (limits.low, limits.high) {
                (Some(low), _) if value < low => ("below", low),
                (_, Some(high)) if value > high => ("above", high),
                _ => continue,
            };
            limits.dropped += 1;
            let group = if limits.group.is_empty() { String::new() } else { format!(" of {}", limits.group) };
            let detail = format!("{} = {value:.4}, {side} {limit:.4}{group}", limits.column);
            return Some(Reason::new(format!("outlier_{}", limits.column), detail));
        }
        None
    }

    pub(super) fn into_thresholds(self) -> Vec<OutlierThresholds> {
        self.thresholds.into_iter().flat_map(BTreeMap::into_values).collect()
    }
}

/// Statistics are named in the order in which they were compiled, and outliers' come with the rules.
fn column(rules: &Rules, config: &OutlierConfig) -> Result<String, DataError> {
    let column = rules.wanted(&config.statistic);
    column.map(str::to_owned).ok_or_else(|| DataError::BadConfig {
        key: "clean.outliers",
        message: format!("{} is not measured", config.statistic),
    })
}

fn thresholds(config: &OutlierConfig, column: &str, group: String, mut values: Vec<f64>) -> OutlierThresholds {
    values.sort_unstable_by(f64::total_cmp);
    let quantiles = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&values, share));
    let [_, first, median, third, _] = quantiles;
    let factor = config.factor();
    let (center, spread) = match config.method {
        OutlierMethod::Iqr => (median, third - first),
        OutlierMethod::Zscore => mean_and_deviation(&values),
        OutlierMethod::Mad => {
            let mut distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
            distances.sort_unstable_by(f64::total_cmp);
            (median, MAD_TO_SIGMA * quantile(&distances, 0.5))
        }
    };
    let (low, high) = match config.method {
        OutlierMethod::Iqr => (first - factor * spread, third + factor * spread),
        _ => (center - factor * spread, center + factor * spread),
    };
    let known = values.len() >= LEAST_GROUP && spread > 0.0;
    let low = (known && config.side != OutlierSide::High).then_some(low);
    let high = (known && config.side != OutlierSide::Low).then_some(high);
    OutlierThresholds {
        statistic: config.statistic.clone(),
        column: column.into(),
        method: config.method,
        factor,
        group,
        documents: values.len() as u64,
        quantiles,
        center,
        spread,
        histogram: OutlierHistogram::of(&values, low, high),
        low,
        high,
        dropped: 0,
    }
}

/// The quantile of sorted values, between two of them in proportion (as numpy's default, type 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let at = |index: usize| sorted.get(index).or(sorted.last()).copied().unwrap_or(0.0);
    let (below, above) = (at(place as usize), at(place as usize + 1));
    below + (above - below) * place.fract()
}

/// In the order of the values, so that the same values give the same bits.
fn mean_and_deviation(sorted: &[f64]) -> (f64, f64) {
    let count = sorted.len().max(1) as f64;
    let mean = sorted.iter().sum::<f64>() / count;
    let variance = sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: OutlierMethod, values: Vec<f64>, low: f64, high: f64) {
        let config =
            OutlierConfig { statistic: "f(text)".into(), method, factor: None, side: OutlierSide::Both, by: None };
        let found = thresholds(&config, "f", String::new(), values);
        let near = |a: Option<f64>, b: f64| a.is_some_and(|a| (a - b).abs() < 1e-9);
        assert!(near(found.low, low) && near(found.high, high), "{found:?}");
    }

    /// numpy: q1, q3 = np.quantile(range(21), [.25, .75]) = 5, 15; np.std(range(21)) = 6.0553...; the median of
    /// |x - 10| is 5.
    #[test]
    fn thresholds_of_known_values() {
        let values: Vec<f64> = (0..21).rev().map(f64::from).collect();
        check(OutlierMethod::Iqr, values.clone(), -10.0, 30.0);
        let deviation = (110.0f64 / 3.0).sqrt();
        check(OutlierMethod::Zscore, values.clone(), 10.0 - 3.0 * deviation, 10.0 + 3.0 * deviation);
        check(OutlierMethod::Mad, values, 10.0 - 3.5 * 1.4826 * 5.0, 10.0 + 3.5 * 1.4826 * 5.0);
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|share| quantile(&[1.0, 2.0, 4.0, 8.0], share)), [1.0, 1.75, 3.0, 8.0]);
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[7.0], 0.75), 7.0);
    }

    #[test]
    fn equal_values_and_small_groups_have_no_thresholds() {
        for values in [vec![1.0; 50], (0..19).map(f64::from).collect()] {
            for method in [OutlierMethod::Iqr, OutlierMethod::Zscore, OutlierMethod::Mad] {
                let config =
                    OutlierConfig { statistic: String::new(), method, factor: None, side: OutlierSide::Both, by: None };
                let found = thresholds(&config, "f", String::new(), values.clone());
                assert_eq!((found.low, found.high), (None, None), "{found:?}");
            }
        }
    }

    #[test]
    fn a_side_has_one_threshold() {
        for (side, low, high) in [(OutlierSide::Low, true, false), (OutlierSide::High, false, true)] {
            let config = OutlierConfig {
                statistic: String::new(),
                method: OutlierMethod::Iqr,
                factor: Some(1.0),
                side,
                by: None,
            };
            let found = thresholds(&config, "f", String::new(), (0..30).map(f64::from).collect());
            assert_eq!((found.low.is_some(), found.high.is_some()), (low, high));
        }
    }
}
