//! Judges each step by its loss and gradient norm, before the weights are changed.

use crate::exact;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Standard deviations are not taken below this part of the mean: a run that memorises a tiny
/// text has almost none, and would otherwise call every flicker a spike.
const LEAST_RELATIVE_DEVIATION: f64 = 0.02;

/// What the watchdog says of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    Healthy,
    /// The loss is NaN or infinite.
    LossNotFinite {
        loss: f64,
    },
    /// The norm of the gradient is NaN or infinite.
    GradientNotFinite {
        norm: f64,
    },
    /// The loss lies `zscore` standard deviations above the mean of the window.
    Spike {
        loss: f64,
        mean: f64,
        zscore: f64,
    },
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Healthy => write!(f, "healthy"),
            Self::LossNotFinite { loss } => write!(f, "the loss is {loss}"),
            Self::GradientNotFinite { norm } => write!(f, "the gradient's norm is {norm}"),
            Self::Spike { loss, mean, zscore } => {
                write!(f, "loss spike: {loss:.4}, {zscore:.1} standard deviations above the recent mean {mean:.4}")
            }
        }
    }
}

/// The losses of the last healthy steps. Part of the checkpoint, so that a resumed run judges
/// exactly as an uninterrupted one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watchdog {
    #[serde(with = "exact::sequence")]
    losses: VecDeque<f64>,
}

impl Watchdog {
    /// Judges a step; changes nothing.
    /// `zscore` 0 turns the spike test off; it begins with half a `window` of losses.
    pub fn judge(&self, loss: f64, gradient_norm: f64, zscore: f64, window: usize) -> Verdict {
        if !loss.is_finite() {
            return Verdict::LossNotFinite { loss };
        }
        if !gradient_norm.is_finite() {
            return Verdict::GradientNotFinite { norm: gradient_norm };
        }
        if zscore <= 0.0 || self.losses.len() < (window / 2).max(2) {
            return Verdict::Healthy;
        }
        let count = self.losses.len() as f64;
        let mean = self.losses.iter().sum::<f64>() / count;
        let variance = self.losses.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let deviation = variance.sqrt().max(LEAST_RELATIVE_DEVIATION * mean.abs());
        // A loss of exactly zero everywhere leaves nothing to measure by.
        let got = (loss - mean) / deviation.max(f64::MIN_POSITIVE);
        if got > zscore { Verdict::Spike { loss, mean, zscore: got } } else { Verdict::Healthy }
    }

    /// The loss of the last healthy step.
    pub fn last(&self) -> Option<f64> {
        self.losses.back().copied()
    }

    /// Remembers the loss of a healthy step.
    pub fn remember(&mut self, loss: f64, window: usize) {
        self.losses.push_back(loss);
        while self.losses.len() > window.max(1) {
            self.losses.pop_front();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn filled(losses: impl IntoIterator<Item = f64>) -> Watchdog {
        let mut watchdog = Watchdog::default();
        losses.into_iter().for_each(|loss| watchdog.remember(loss, 16));
        watchdog
    }

    fn noisy(n: usize) -> impl Iterator<Item = f64> {
        (0..n).map(|i| 4.0 + if i % 2 == 0 { 0.1 } else { -0.1 })
    }

    #[test]
    fn not_finite_is_seen_at_once() {
        let watchdog = Watchdog::default();
        assert!(matches!(watchdog.judge(f64::NAN, 1.0, 6.0, 16), Verdict::LossNotFinite { .. }));
        let norm = f64::INFINITY;
        assert_eq!(watchdog.judge(1.0, norm, 6.0, 16), Verdict::GradientNotFinite { norm });
        assert_eq!(watchdog.judge(1.0, 1.0, 6.0, 16), Verdict::Healthy);
    }

    #[test]
    fn a_spike_needs_half_a_window_and_the_zscore() {
        assert_eq!(filled(noisy(7)).judge(9.0, 1.0, 6.0, 16), Verdict::Healthy);
        let watchdog = filled(noisy(8));
        assert!(matches!(watchdog.judge(9.0, 1.0, 6.0, 16), Verdict::Spike { .. }));
        // sigma of the window is 0.107: five of them are no spike, seven are.
        assert_eq!(watchdog.judge(4.0 + 5.0 * 0.107, 1.0, 6.0, 16), Verdict::Healthy);
        assert!(matches!(watchdog.judge(4.0 + 7.0 * 0.107, 1.0, 6.0, 16), Verdict::Spike { .. }));
        assert_eq!(watchdog.judge(9.0, 1.0, 0.0, 16), Verdict::Healthy);
        assert_eq!(watchdog.judge(0.1, 1.0, 6.0, 16), Verdict::Healthy);
    }

    #[test]
    fn flat_losses_do_not_make_a_flicker_a_spike() {
        let watchdog = filled([2.0; 16]);
        assert_eq!(watchdog.judge(2.1, 1.0, 6.0, 16), Verdict::Healthy);
        assert!(matches!(watchdog.judge(2.3, 1.0, 6.0, 16), Verdict::Spike { .. }));
    }

    #[test]
    fn only_the_window_is_remembered_and_it_survives_json_to_the_bit() {
        let watchdog = filled((0..40).map(|i| 1.0 / f64::from(i + 3)));
        assert_eq!(watchdog.losses.len(), 16);
        let text = serde_json::to_string(&watchdog).unwrap();
        assert_eq!(serde_json::from_str::<Watchdog>(&text).unwrap(), watchdog);
    }
}
