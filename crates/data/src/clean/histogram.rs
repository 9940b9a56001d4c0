use serde::{Deserialize, Serialize};

/// Bars between the two limits.
const WITHIN: i64 = 24;
/// Bars beyond a limit, at most: a quarter of the distance between both on either side.
const BEYOND: i64 = 6;

/// How the values of a group lie around their thresholds, in bars of one width with the thresholds at their borders. What
/// lies further out than the bars reach is counted in the outermost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutlierHistogram {
    /// Where the first bar begins and the last ends.
    pub from: f64,
    pub to: f64,
    pub counts: Vec<u64>,
    /// Values below the lower threshold, and above the upper one.
    pub below: u64,
    pub above: u64,
}

impl OutlierHistogram {
    /// Of sorted values. The end of the values stands for a threshold that there is not.
    pub(super) fn of(sorted: &[f64], low: Option<f64>, high: Option<f64>) -> Self {
        let (Some(&least), Some(&greatest)) = (sorted.first(), sorted.last()) else { return Self::default() };
        let below = low.map_or(0, |low| sorted.partition_point(|&value| value < low)) as u64;
        let above = high.map_or(0, |high| sorted.len() - sorted.partition_point(|&value| value <= high)) as u64;
        let (low, high) = (low.unwrap_or(least), high.unwrap_or(greatest));
        let width = (high - low) / WITHIN as f64;
        if !(width.is_finite() && width > 0.0) {
            return Self { from: least - 0.5, to: greatest + 0.5, counts: vec![sorted.len() as u64], below, above };
        }
        let bar = |value: f64| {
            // The sides of a threshold are as the rule has it, whatever rounding does to the quotient.
            let bar = ((value - low) / width).floor() as i64;
            if value < low {
                bar.clamp(-BEYOND, -1)
            } else if value > high {
                bar.clamp(WITHIN, WITHIN + BEYOND - 1)
            } else {
                bar.clamp(0, WITHIN - 1)
            }
        };
        let (first, last) = (bar(least), bar(greatest));
        let mut counts = vec![0; (last - first + 1) as usize];
        sorted.iter().for_each(|&value| counts[(bar(value) - first) as usize] += 1);
        let edge = |bar: i64| low + width * bar as f64;
        Self { from: edge(first), to: edge(last + 1), counts, below, above }
    }

    /// The bars: where each begins and ends, and how many values it holds.
    pub fn bars(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        let width = (self.to - self.from) / self.counts.len().max(1) as f64;
        let edge = move |bar: usize| self.from + width * bar as f64;
        self.counts.iter().enumerate().map(move |(bar, &count)| (edge(bar), edge(bar + 1), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Limits 0 and 24 make bars of width 1; -9 and 99 lie further out than bars reach, and a limit itself is within.
    #[test]
    fn bars_by_hand() {
        let found = OutlierHistogram::of(&[-9.0, -1.0, 0.0, 0.5, 24.0, 24.5, 99.0], Some(0.0), Some(24.0));
        assert_eq!((found.from, found.to, found.counts.len()), (-6.0, 30.0, 36));
        let filled: Vec<(f64, u64)> = found.bars().filter(|bar| bar.2 > 0).map(|bar| (bar.0, bar.2)).collect();
        assert_eq!(filled, [(-6.0, 1), (-1.0, 1), (0.0, 2), (23.0, 1), (24.0, 1), (29.0, 1)]);
        assert_eq!((found.below, found.above), (2, 2));
    }

    #[test]
    fn one_limit_or_none_and_equal_values() {
        let high = OutlierHistogram::of(&[0.0, 6.0, 12.0, 13.0], None, Some(12.0));
        assert_eq!((high.from, high.to, high.counts.len(), high.above), (0.0, 13.5, 27, 1));
        let none = OutlierHistogram::of(&[0.0, 6.0, 12.0], None, None);
        assert_eq!((none.from, none.to, none.counts.len()), (0.0, 12.0, 24));
        let equal = OutlierHistogram::of(&[3.0; 4], None, None);
        assert_eq!((equal.from, equal.to, equal.counts.as_slice()), (2.5, 3.5, &[4][..]));
        assert!(OutlierHistogram::of(&[], None, None).counts.is_empty());
    }

    proptest! {
        #[test]
        fn every_value_is_in_one_bar_on_its_side(mut values in prop::collection::vec(-50.0f64..50.0, 1..60), low in -40.0f64..0.0, high in 0.1f64..40.0) {
            values.sort_unstable_by(f64::total_cmp);
            let found = OutlierHistogram::of(&values, Some(low), Some(high));
            let count = |wanted: &dyn Fn(f64) -> bool| {
                found.bars().filter(|bar| wanted((bar.0 + bar.1) / 2.0)).map(|bar| bar.2).sum::<u64>()
            };
            prop_assert_eq!(found.counts.iter().sum::<u64>(), values.len() as u64);
            prop_assert_eq!(found.below, values.iter().filter(|&&value| value < low).count() as u64);
            prop_assert_eq!(found.above, values.iter().filter(|&&value| value > high).count() as u64);
            prop_assert_eq!(count(&|middle| middle < low), found.below);
            prop_assert_eq!(count(&|middle| middle > high), found.above);
        }
    }
}
