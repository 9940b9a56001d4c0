//! The learning rate as a pure function of the step.

use crate::config::{ScheduleKind, TrainConfig};

/// The learning rate of update `step` (0 is the first).
///
/// Warm-up: `lr * (step + 1) / warmup_steps`. After it, with `progress` from 0 to 1:
/// - cosine: `low + (lr - low) * (1 + cos(pi * progress)) / 2` over the rest of the steps
///   (Loshchilov & Hutter 2017, arXiv 1608.03983);
/// - wsd: constant, then `low + (lr - low) * (1 - sqrt(progress))` over the last `decay_ratio`
///   of the steps (Hägele et al. 2024, arXiv 2405.18392, whose cool-down this is);
/// - constant.
pub fn learning_rate(config: &TrainConfig, step: u64) -> f64 {
    let peak = config.learning_rate;
    if step < config.warmup_steps {
        return peak * (step + 1) as f64 / config.warmup_steps as f64;
    }
    let low = peak * config.min_lr_ratio;
    match config.schedule {
        ScheduleKind::Constant => peak,
        ScheduleKind::Cosine => {
            let progress = progress(step, config.warmup_steps, config.steps);
            low + (peak - low) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
        }
        ScheduleKind::Wsd => {
            let decay = (config.steps as f64 * config.decay_ratio).round() as u64;
            let start = config.steps.saturating_sub(decay).max(config.warmup_steps);
            if step < start {
                return peak;
            }
            low + (peak - low) * (1.0 - progress(step, start, config.steps).sqrt())
        }
    }
}

/// How far `step` is between `start` and the last update of the run, from 0 to 1.
fn progress(step: u64, start: u64, steps: u64) -> f64 {
    let whole = steps.saturating_sub(1).saturating_sub(start).max(1);
    (step.saturating_sub(start) as f64 / whole as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(schedule: ScheduleKind) -> TrainConfig {
        TrainConfig {
            steps: 111,
            warmup_steps: 10,
            learning_rate: 2.0,
            min_lr_ratio: 0.25,
            decay_ratio: 0.2,
            schedule,
            ..TrainConfig::default()
        }
    }

    fn check(schedule: ScheduleKind, points: &[(u64, f64)]) {
        for &(step, want) in points {
            let got = learning_rate(&config(schedule), step);
            assert!((got - want).abs() < 1e-12, "{schedule:?} at {step}: {got}, not {want}");
        }
    }

    #[test]
    fn fixed_points() {
        let warm = [(0, 0.2), (4, 1.0), (9, 2.0)];
        for kind in [ScheduleKind::Cosine, ScheduleKind::Wsd, ScheduleKind::Constant] {
            check(kind, &warm);
        }
        // Half way between 10 and 110 the cosine is at the mean of 2.0 and 0.5.
        check(ScheduleKind::Cosine, &[(10, 2.0), (60, 1.25), (110, 0.5)]);
        // 22 of 111 steps decay: from 89 to 110; a quarter of the way is not a whole step, so
        // the middle of sqrt is checked by its formula.
        check(ScheduleKind::Wsd, &[(10, 2.0), (88, 2.0), (89, 2.0), (110, 0.5)]);
        let third = 0.5 + 1.5 * (1.0 - (7.0f64 / 21.0).sqrt());
        check(ScheduleKind::Wsd, &[(96, third)]);
        check(ScheduleKind::Constant, &[(10, 2.0), (110, 2.0)]);
    }

    proptest! {
        #[test]
        fn always_between_zero_and_the_peak_and_never_rising_after_the_warmup(
            steps in 1u64..400, warm in 0u64..400, ratio in 0.0f64..1.0, decay in 0.0f64..1.0,
            kind in prop_oneof![Just(ScheduleKind::Cosine), Just(ScheduleKind::Wsd), Just(ScheduleKind::Constant)],
        ) {
            let warmup_steps = warm.min(steps);
            let config = TrainConfig { steps, warmup_steps, min_lr_ratio: ratio, decay_ratio: decay,
                schedule: kind, learning_rate: 0.1, ..TrainConfig::default() };
            let rates: Vec<f64> = (0..steps).map(|n| learning_rate(&config, n)).collect();
            for rate in &rates {
                prop_assert!(*rate > 0.0 || ratio == 0.0);
                prop_assert!(*rate <= 0.1 + 1e-15);
            }
            for pair in rates.get(warmup_steps as usize..).unwrap_or(&[]).windows(2) {
                prop_assert!(pair[1] <= pair[0] + 1e-15);
            }
        }
    }
}
