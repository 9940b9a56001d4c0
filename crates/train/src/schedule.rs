//! The learning rate as a pure function of the step, and under `plateau` of the validations before it.

use crate::config::{ScheduleKind, TrainConfig};
use crate::exact;
use serde::{Deserialize, Serialize};

/// The learning rate of update `step` (0 is the first).
///
/// Warm-up: `lr * (step + 1) / warmup_steps`. After it, with `progress` from 0 to 1:
/// - cosine: `low + (lr - low) * (1 + cos(pi * progress)) / 2` over the rest of the steps
///   (Loshchilov & Hutter 2017, arXiv 1608.03983);
/// - wsd: constant, then `low + (lr - low) * (1 - sqrt(progress))` over the last `decay_ratio`
///   of the steps (Hägele et al. 2024, arXiv 2405.18392, whose cool-down this is);
/// - constant;
/// - linear: `low + (lr - low) * (1 - progress)`;
/// - polynomial: `low + (lr - low) * (1 - progress)^power`;
/// - noam: `lr * sqrt(warmup_steps / (step + 1))` (Vaswani et al. 2017, arXiv 1706.03762, whose `dim^-0.5 *
///   warmup_steps^-0.5` is the peak `lr`);
/// - plateau: constant here, times [`Plateau::factor`].
///
/// One-cycle (Smith & Topin 2018, arXiv 1708.07120, as PyTorch's `OneCycleLR`) has a warm-up of its own: half a cosine
/// from `lr * start_lr_ratio` at the first update to `lr` at the last of `warmup_steps`, then half a cosine to `low`.
pub fn learning_rate(config: &TrainConfig, step: u64) -> f64 {
    let peak = config.learning_rate;
    if config.schedule == ScheduleKind::OneCycle {
        return one_cycle(config, step);
    }
    if step < config.warmup_steps {
        return peak * (step + 1) as f64 / config.warmup_steps as f64;
    }
    let low = peak * config.min_lr_ratio;
    match config.schedule {
        ScheduleKind::Constant | ScheduleKind::Plateau | ScheduleKind::OneCycle => peak,
        ScheduleKind::Linear | ScheduleKind::Polynomial => {
            let rest = 1.0 - progress(step, config.warmup_steps, config.steps);
            let power = if config.schedule == ScheduleKind::Linear { 1.0 } else { config.power };
            low + (peak - low) * rest.powf(power)
        }
        ScheduleKind::Noam => peak * (config.warmup_steps.max(1) as f64 / (step + 1) as f64).sqrt(),
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

fn one_cycle(config: &TrainConfig, step: u64) -> f64 {
    let peak = config.learning_rate;
    let top = config.warmup_steps.saturating_sub(1);
    let between =
        |from: f64, to: f64, progress: f64| to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
    match step < top {
        true => between(peak * config.start_lr_ratio, peak, step as f64 / top as f64),
        false => between(peak, peak * config.min_lr_ratio, progress(step, top, config.steps)),
    }
}

/// `[train.plateau]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlateauConfig {
    /// What the learning rate is multiplied by, below 1; never below `learning_rate * min_lr_ratio`.
    pub factor: f64,
    /// Validations without a better loss that are put up with; one more, and the rate goes down.
    pub patience: u32,
    /// A loss is better where it is below the best by this part of it.
    pub threshold: f64,
}

impl Default for PlateauConfig {
    fn default() -> Self {
        Self { factor: 0.5, patience: 2, threshold: 1e-4 }
    }
}

/// What the schedule `plateau` remembers, by the rules of PyTorch's `ReduceLROnPlateau`; part of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plateau {
    /// What the learning rate is multiplied by now; 1 under other schedules.
    #[serde(with = "exact")]
    pub factor: f64,
    #[serde(with = "exact")]
    best: f64,
    /// Validations since then, or since the rate went down.
    waited: u32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 1.0, best: f64::INFINITY, waited: 0 }
    }
}

impl Plateau {
    /// Whether nothing has happened.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// Takes the loss of a validation; whether the learning rate goes down.
    pub fn observe(&mut self, loss: f64, config: &TrainConfig) -> bool {
        if config.schedule != ScheduleKind::Plateau {
            return false;
        }
        let PlateauConfig { factor, patience, threshold } = config.plateau;
        // A NaN is never better.
        if loss < self.best * (1.0 - threshold) {
            (self.best, self.waited) = (loss, 0);
        } else {
            self.waited += 1;
        }
        let down = self.waited > patience;
        if down {
            self.waited = 0;
            self.factor = (self.factor * factor).max(config.min_lr_ratio);
        }
        down
    }
}

/// How far `step` is between `start` and the last update of the run, from 0 to 1.
fn progress(step: u64, start: u64, steps: u64) -> f64 {
    let whole = steps.saturating_sub(1).saturating_sub(start).max(1);
    (step.saturating_sub(start) as f64 / whole as f64).min(1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        check(ScheduleKind::Linear, &[(10, 2.0), (60, 1.25), (110, 0.5)]);
        check(ScheduleKind::Polynomial, &[(10, 2.0), (60, 0.5 + 1.5 * 0.25), (110, 0.5)]);
        // Ten of forty: half the peak.
        check(ScheduleKind::Noam, &[(0, 0.2), (9, 2.0), (39, 1.0)]);
        check(ScheduleKind::OneCycle, &[(0, 0.08), (9, 2.0), (110, 0.5)]);
    }

    /// PyTorch's schedulers (`scripts/golden_optimizers.py`).
    #[test]
    fn rates_are_pytorchs() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../tests/golden/schedules.json")).unwrap();
        let numbers = |key: &str| -> Vec<f64> {
            file[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
        };
        let base = TrainConfig { steps: 21, warmup_steps: 0, learning_rate: 2.0, ..TrainConfig::default() };
        let cases = [
            ("one_cycle", ScheduleKind::OneCycle, 5, 0.01),
            ("polynomial", ScheduleKind::Polynomial, 0, 0.0),
            ("linear", ScheduleKind::Linear, 0, 0.25),
        ];
        for (key, schedule, warmup_steps, min_lr_ratio) in cases {
            let config = TrainConfig { schedule, warmup_steps, min_lr_ratio, ..base.clone() };
            let want = numbers(key);
            assert_eq!(want.len(), 21);
            for (step, want) in want.iter().enumerate() {
                let got = learning_rate(&config, step as u64);
                assert!((got - want).abs() < 1e-12, "{key} at {step}: {got}, not {want}");
            }
        }
        let plateau = PlateauConfig { factor: 0.3, ..PlateauConfig::default() };
        let config = TrainConfig { schedule: ScheduleKind::Plateau, min_lr_ratio: 0.01, plateau, ..base };
        let mut state = Plateau::default();
        for (loss, want) in numbers("plateau_losses").iter().zip(numbers("plateau")) {
            let got = 2.0 * state.factor;
            assert!((got - want).abs() < 1e-12, "before {loss}: {got}, not {want}");
            state.observe(*loss, &config);
            // As a checkpoint holds it.
            state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        }
        assert!(!state.observe(9.0, &TrainConfig::default()));
    }

    proptest! {
        #[test]
        fn always_between_zero_and_the_peak_and_never_rising_after_the_warmup(
            steps in 1u64..400, warm in 0u64..400, ratio in 0.0f64..1.0, decay in 0.0f64..1.0,
            kind in prop_oneof![
                Just(ScheduleKind::Cosine), Just(ScheduleKind::Wsd), Just(ScheduleKind::Constant), Just(ScheduleKind::Linear),
                Just(ScheduleKind::Polynomial), Just(ScheduleKind::Noam), Just(ScheduleKind::OneCycle),
            ],
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
