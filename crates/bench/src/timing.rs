//! From single times to figures.

use serde::Serialize;
use std::time::{Duration, Instant};

/// When a measurement has seen enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Exactly so many runs.
    Runs(usize),
    /// Runs until so much time is over, and at least three.
    Time(Duration),
}

impl Budget {
    const LEAST: usize = 3;

    /// Whether one more run is due after `runs` runs since `begun`.
    pub(crate) fn more(self, runs: usize, begun: Instant) -> bool {
        match self {
            Budget::Runs(wanted) => runs < wanted,
            Budget::Time(limit) => runs < Self::LEAST || begun.elapsed() < limit,
        }
    }

    /// The same count of runs, or at most so much time.
    pub(crate) fn at_most_millis(self, millis: u64) -> Self {
        match self {
            Budget::Runs(runs) => Budget::Runs(runs),
            Budget::Time(limit) => Budget::Time(limit.min(Duration::from_millis(millis))),
        }
    }

    /// Seconds of each run after `warm_up` runs that do not count.
    pub(crate) fn measure<E>(self, warm_up: usize, mut run: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
        for _ in 0..warm_up {
            run()?;
        }
        let (mut times, begun) = (Vec::new(), Instant::now());
        while self.more(times.len(), begun) {
            let start = Instant::now();
            run()?;
            times.push(start.elapsed().as_secs_f64().max(1e-9));
        }
        Ok(times)
    }
}

/// Where the values of a measurement lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub lower_quartile: f64,
    pub upper_quartile: f64,
    pub highest: f64,
    pub samples: usize,
}

impl Spread {
    /// Of values in any order. A quantile between two values is interpolated; none at all give zeros.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let place = share * sorted.len().saturating_sub(1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            match (sorted.get(below), sorted.get(above)) {
                (Some(low), Some(high)) => low + (high - low) * (place - below as f64),
                _ => 0.0,
            }
        };
        Spread {
            median: quantile(0.5),
            lowest: quantile(0.0),
            lower_quartile: quantile(0.25),
            upper_quartile: quantile(0.75),
            highest: quantile(1.0),
            samples: sorted.len(),
        }
    }

    /// Of the rates `amount / seconds`. The rate of the median time is their median where their count is odd.
    pub(crate) fn of_rates(amount: f64, seconds: &[f64]) -> Self {
        Self::of(&seconds.iter().map(|s| amount / s).collect::<Vec<_>>())
    }
}

/// None of no values.
pub(crate) fn geometric_mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (sum / values.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_known_values() {
        let spread = Spread::of(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!((spread.lowest, spread.median, spread.highest, spread.samples), (1.0, 3.0, 5.0, 5));
        assert_eq!((spread.lower_quartile, spread.upper_quartile), (2.0, 4.0));
        let even = Spread::of(&[1.0, 2.0, 10.0, 11.0]);
        assert_eq!((even.median, even.lower_quartile), (6.0, 1.75));
        assert_eq!(Spread::of(&[7.0]).upper_quartile, 7.0);
        assert_eq!(Spread::of(&[]).median, 0.0);
        assert!(geometric_mean(&[2.0, 8.0]).is_some_and(|mean| (mean - 4.0).abs() < 1e-12));
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn budgets_count_runs_and_leave_the_warm_up_out() {
        let mut runs = 0;
        let mut counted = || {
            runs += 1;
            Ok::<(), ()>(())
        };
        assert_eq!(Budget::Runs(4).measure(2, &mut counted).map(|times| times.len()), Ok(4));
        assert_eq!(Budget::Time(Duration::ZERO).measure(1, &mut counted).map(|times| times.len()), Ok(3));
        assert_eq!(runs, 6 + 4);
        assert_eq!(Budget::Runs(2).measure(0, || Err::<(), _>("broken")), Err("broken"));
    }
}
