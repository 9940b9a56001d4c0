//! From values to places: domains, scales and the choice of ticks.

use crate::number;

/// Magnitudes beyond this are cut, so that differences of values stay finite.
const HUGE: f64 = 1e300;

/// A linear map from values (or their logarithms to base 10) to coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// The values at both ends; logarithms when `log`. Always finite and increasing.
    pub low: f64,
    pub high: f64,
    pub log: bool,
}

impl Scale {
    /// A linear scale over `values`, widened by `padding` of their span at both ends. Values that are not finite do not
    /// count; none when nothing is left.
    pub fn linear(values: impl Iterator<Item = f64>, padding: f64) -> Option<Self> {
        let (low, high) = extent(values)?;
        Some(Self::padded(low, high, padding, false))
    }

    /// A logarithmic scale; values that are not positive do not count.
    pub fn logarithmic(values: impl Iterator<Item = f64>, padding: f64) -> Option<Self> {
        let (low, high) = extent(values.filter(|&value| value > 0.0).map(f64::log10))?;
        Some(Self::padded(low, high, padding, true))
    }

    /// As [`Scale::linear`], and beginning at zero.
    pub fn from_zero(values: impl Iterator<Item = f64>, padding: f64) -> Option<Self> {
        let (low, high) = extent(values.chain([0.0]))?;
        let padded = Self::padded(low, high, padding, false);
        Some(Self { low: if low == 0.0 { 0.0 } else { padded.low }, ..padded })
    }

    fn padded(low: f64, high: f64, padding: f64, log: bool) -> Self {
        // A span too small against the values has no room for distinct ticks.
        let least = 1e-9 * low.abs().max(high.abs());
        if high - low > least {
            let room = (high - low) * padding;
            return Self { low: low - room, high: high + room, log };
        }
        let room = if low == 0.0 && high == 0.0 { 0.5 } else { 0.05 * low.abs().max(high.abs()) };
        Self { low: low - room, high: high + room, log }
    }

    /// Where `value` lies between `start` and `end`; none when it has no place.
    pub fn at(&self, value: f64, start: f64, end: f64) -> Option<f64> {
        let value = if self.log { value.log10() } else { value.clamp(-HUGE, HUGE) };
        if !value.is_finite() {
            return None;
        }
        Some(start + (value - self.low) / (self.high - self.low) * (end - start))
    }

    /// About `target` ticks as (value, label).
    pub fn ticks(&self, target: usize) -> Vec<(f64, String)> {
        if self.log {
            log_ticks(self.low, self.high, target)
        } else {
            let values = nice_ticks(self.low, self.high, target);
            let labels = labels(&values);
            values.into_iter().zip(labels).collect()
        }
    }
}

fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).map(|value| value.clamp(-HUGE, HUGE)).fold(None, |extent, value| {
        let (low, high) = extent.unwrap_or((value, value));
        Some((f64::min(low, value), f64::max(high, value)))
    })
}

/// Multiples of 1, 2 or 5 times a power of ten in `[low, high]`: about `target` of them, evenly spaced.
pub(super) fn nice_ticks(low: f64, high: f64, target: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 1e-12 * low.abs().max(high.abs()) {
        return Vec::new();
    }
    let step = nice_step(span / target.max(1) as f64);
    // The tolerance keeps a tick at an end that rounding has moved a little outside.
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    let count = (last - first + 1.0).max(0.0) as usize;
    // Adding zero turns -0 into 0.
    (0..count).map(|i| ((first + i as f64) * step).clamp(low, high) + 0.0).collect()
}

/// The least of 1, 2, 5 times a power of ten that is not below `step`, within rounding.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = step / power;
    let nice = [1.0, 2.0, 5.0].into_iter().find(|&nice| digit <= nice * (1.0 + 1e-9)).unwrap_or(10.0);
    nice * power
}

/// Ticks of a logarithmic axis between `10^low` and `10^high`: powers of ten; where that is too few, also 2 and 5 times or
/// all multiples of them; over less than that, evenly spaced values.
fn log_ticks(low: f64, high: f64, target: usize) -> Vec<(f64, String)> {
    let candidates = |digits: &[f64]| -> Vec<f64> {
        (low.floor() as i32..=high.ceil() as i32)
            .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
            .filter(|value| value.is_finite() && *value > 0.0 && (low..=high).contains(&value.log10()))
            .collect()
    };
    for digits in [&[1.0][..], &[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0]] {
        let values = candidates(digits);
        if values.len() >= 3 {
            let every = values.len().div_ceil(2 * target.max(1));
            return values.into_iter().step_by(every).map(|value| (value, log_label(value))).collect();
        }
    }
    let values = nice_ticks(10f64.powf(low), 10f64.powf(high), target);
    let labels = labels(&values);
    values.into_iter().zip(labels).filter(|(value, _)| *value > 0.0).collect()
}

fn log_label(value: f64) -> String {
    if (1e-4..1e4).contains(&value) {
        let text = number::significant(value, 1);
        if value >= 1.0 { format!("{}", value.round()) } else { text }
    } else if !(1e-4..1e15).contains(&value) {
        format!("{value:.0e}")
    } else {
        number::compact(value)
    }
}

/// Labels for evenly spaced ticks, all with as many decimals as their distance needs.
fn labels(values: &[f64]) -> Vec<String> {
    let step = match values {
        [first, second, ..] => second - first,
        [only] => only.abs() / 10.0,
        [] => return Vec::new(),
    };
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if largest >= 1e15 || (largest > 0.0 && largest < 1e-4) {
        return values
            .iter()
            .map(|value| if *value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") })
            .collect();
    }
    let (unit, suffix) = match largest {
        l if l >= 1e12 => (1e12, "T"),
        l if l >= 1e9 => (1e9, "B"),
        l if l >= 1e6 => (1e6, "M"),
        _ => (1.0, ""),
    };
    let decimals = (-(step / unit).log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
    values
        .iter()
        .map(|value| match value {
            0.0 => "0".to_owned(),
            value if decimals == 0 && suffix.is_empty() => with_groups(*value),
            value => format!("{:.decimals$}{suffix}", value / unit),
        })
        .collect()
}

fn with_groups(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{}", number::grouped(value.abs().round() as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_as_one_would_draw_them() {
        let texts = |low: f64, high: f64| {
            let scale = Scale { low, high, log: false };
            scale.ticks(5).into_iter().map(|tick| tick.1).collect::<Vec<_>>()
        };
        assert_eq!(texts(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(0.0, 2400.0), ["0", "500", "1,000", "1,500", "2,000"]);
        assert_eq!(texts(2.0, 3.5), ["2.0", "2.5", "3.0", "3.5"]);
        assert_eq!(texts(0.0, 3e6), ["0", "1M", "2M", "3M"]);
        assert_eq!(texts(0.0, 2.5e6), ["0", "0.5M", "1.0M", "1.5M", "2.0M", "2.5M"]);
        assert_eq!(texts(-10.0, 10.0), ["−10", "−5", "0", "5", "10"]);
        assert_eq!(texts(0.0, 0.0006), ["0", "0.0002", "0.0004", "0.0006"]);
    }

    #[test]
    fn ticks_of_logarithms() {
        let texts = |low: f64, high: f64| {
            let scale = Scale { low: low.log10(), high: high.log10(), log: true };
            scale.ticks(5).into_iter().map(|tick| tick.1).collect::<Vec<_>>()
        };
        assert_eq!(texts(0.5, 2000.0), ["1", "10", "100", "1000"]);
        assert_eq!(texts(1.5, 30.0), ["2", "5", "10", "20"]);
        assert_eq!(texts(2.5, 8.4), ["3", "4", "6", "8"]);
        assert_eq!(texts(2.0, 2.5), ["2.0", "2.1", "2.2", "2.3", "2.4", "2.5"]);
        assert_eq!(texts(1e-5, 1e-3).first().unwrap(), "1e-5");
    }

    proptest! {
        #[test]
        fn nice_ticks_are_inside_even_and_about_as_many(
            start in -1e6f64..1e6, exponent in -5i32..12, factor in 1.0f64..10.0, target in 2usize..12,
        ) {
            let span = factor * 10f64.powi(exponent);
            let (low, high) = (start, start + span);
            prop_assume!(span > 1e-9 * start.abs());
            let ticks = nice_ticks(low, high, target);
            // A step is at most 2.5 times the wished one, and never smaller than it.
            prop_assert!(ticks.len() <= target + 1, "{} ticks", ticks.len());
            prop_assert!(ticks.len() + 1 >= target * 2 / 5, "{} ticks", ticks.len());
            for pair in ticks.windows(2) {
                prop_assert!(pair[0] < pair[1]);
            }
            for tick in &ticks {
                prop_assert!((low..=high).contains(tick));
            }
            let labels = labels(&ticks);
            for pair in labels.windows(2) {
                prop_assert_ne!(&pair[0], &pair[1]);
            }
        }

        #[test]
        fn any_numbers_give_a_sound_scale(values in prop::collection::vec(any::<f64>(), 0..8), log in any::<bool>()) {
            let scale = if log {
                Scale::logarithmic(values.iter().copied(), 0.05)
            } else {
                Scale::linear(values.iter().copied(), 0.05)
            };
            let usable = |value: &f64| value.is_finite() && (!log || *value > 0.0);
            prop_assert_eq!(scale.is_some(), values.iter().any(usable));
            if let Some(scale) = scale {
                prop_assert!(scale.low < scale.high && scale.low.is_finite() && scale.high.is_finite());
                prop_assert!(scale.ticks(6).len() < 100);
                for value in values.iter().filter(|value| usable(value)) {
                    let at = scale.at(*value, 0.0, 100.0).unwrap();
                    prop_assert!((-0.01..=100.01).contains(&at), "{value} at {at}");
                }
            }
        }
    }

    #[test]
    fn degenerate_domains() {
        assert!(nice_ticks(1.0, 1.0, 5).is_empty());
        assert!(nice_ticks(f64::NAN, 1.0, 5).is_empty());
        assert!(nice_ticks(0.0, f64::INFINITY, 5).is_empty());
        let one = Scale::linear([7.0].into_iter(), 0.05).unwrap();
        assert!(one.low < 7.0 && 7.0 < one.high);
        assert_eq!(one.at(7.0, 0.0, 10.0), Some(5.0));
        assert_eq!(one.at(f64::NAN, 0.0, 10.0), None);
        assert_eq!(Scale::from_zero([3.0].into_iter(), 0.1).unwrap().low, 0.0);
    }
}
