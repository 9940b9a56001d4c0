//! What a training run may be told. One struct, one place for the defaults.

use crate::TrainError;
use crate::regularize::{AverageConfig, AverageKind, NoiseConfig, ParameterGroup};
use crate::schedule::PlateauConfig;
use danlu_data::Packing;
use danlu_model::{LossOptions, Precision, Recompute};
use serde::{Deserialize, Serialize};

/// How the learning rate moves after the warm-up. The formulas are in [`crate::schedule`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine from `learning_rate` to `learning_rate * min_lr_ratio`.
    #[default]
    Cosine,
    /// Warm-up, stable, decay: constant, then the last `decay_ratio` of the steps goes down.
    Wsd,
    /// `learning_rate` to the end.
    Constant,
    /// A straight line from `learning_rate` to `learning_rate * min_lr_ratio`.
    Linear,
    /// The inverse square root of the step (Vaswani et al. 2017), `learning_rate` being its peak.
    Noam,
    /// As linear, bent by `power`.
    Polynomial,
    /// Up from `learning_rate * start_lr_ratio` and down again, both by half a cosine (Smith & Topin 2018).
    #[serde(rename = "one_cycle")]
    OneCycle,
    /// Down by a factor whenever validation brings no better loss for a while: `[train.plateau]`.
    Plateau,
}

/// Which rule updates the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    #[default]
    AdamW,
    /// Gradient descent with momentum, as PyTorch's `SGD`; weight decay is part of the gradient.
    Sgd,
    /// Lion (Chen et al. 2023). Its authors advise a learning rate 3 to 10 times below AdamW's and a weight decay as
    /// many times above, and for language models `beta1 = 0.95`, `beta2 = 0.98`.
    Lion,
    /// Adam (Kingma & Ba 2015), as PyTorch's: weight decay is part of the gradient (L2), and so goes through the moments.
    Adam,
    /// Adafactor (Shazeer & Stern 2018), as PyTorch's: the second moment of a matrix is a row and a column. With
    /// `relative_step` the learning rate is a part of each weight matrix's own size.
    Adafactor,
    /// Muon (Jordan et al. 2024) on the matrices inside the layers, AdamW on everything else. Its steps are as large as
    /// AdamW's usually are, so one learning rate serves both.
    Muon,
}

/// The settings of one training run. A *step* is one update of the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Updates of the weights in the whole run.
    pub steps: u64,
    /// Sequences in one micro-batch (what is in memory at once).
    pub batch_size: usize,
    /// Micro-batches in one step; loss and gradient are those of the `accumulate`-fold batch.
    pub accumulate: usize,
    /// Tokens in one sequence.
    pub seq_len: usize,
    /// How sequences are cut from documents: `stream`, windows over all documents as one running text; `documents`, the
    /// same windows, in which attention and positions begin anew with each document; `best_fit`, whole documents put
    /// together so that little room is left, attention within each.
    pub packing: Packing,
    /// What the inputs of matrix products are rounded to: `f32`, or `bf16`, which is faster where the processor has
    /// bf16 arithmetic and keeps activations between products in half the memory. Weights, their gradients, the
    /// optimiser, the residual stream and all sums are f32 in both.
    #[serde(with = "precision_name")]
    pub precision: Precision,
    /// What the backward pass computes again instead of keeping: `none`, or `block`, every layer, for a longer context or
    /// a larger batch in the same memory at about a third more time. The weights are the same to the bit.
    pub recompute: Recompute,
    /// Recurrent models: steps through which gradients flow back (truncated back-propagation). The state is carried through
    /// the whole sequence of `seq_len` tokens all the same, and activations are kept for `bptt` steps at a time. Left out:
    /// all steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bptt: Option<usize>,
    /// The highest learning rate, reached at the end of the warm-up.
    pub learning_rate: f64,
    /// The last learning rate, as a part of the highest (cosine, wsd, linear, polynomial, one_cycle; plateau's lowest).
    pub min_lr_ratio: f64,
    pub schedule: ScheduleKind,
    /// Steps in which the learning rate rises linearly from near zero.
    pub warmup_steps: u64,
    /// The part of all steps, at the end, in which wsd goes down.
    pub decay_ratio: f64,
    /// The exponent of polynomial.
    #[serde(skip_serializing_if = "is_power")]
    pub power: f64,
    /// The first learning rate of one_cycle, as a part of the highest.
    #[serde(skip_serializing_if = "is_start_ratio")]
    pub start_lr_ratio: f64,
    /// When and how far plateau goes down.
    #[serde(skip_serializing_if = "is_default")]
    pub plateau: PlateauConfig,
    /// The rule that updates the weights: `adamw`, `adam`, `sgd`, `lion`, `adafactor` or `muon`.
    pub optimizer: OptimizerKind,
    /// Weight decay, decoupled except in sgd and adam; norms and biases are spared.
    pub weight_decay: f64,
    /// AdamW, adam, lion.
    pub beta1: f64,
    /// AdamW, adam, lion.
    pub beta2: f64,
    /// AdamW, adam.
    pub eps: f64,
    /// Whether adafactor's steps are a part of each parameter's root mean square and at most `1 / sqrt(step)`.
    #[serde(skip_serializing_if = "is_true")]
    pub relative_step: bool,
    /// Decay of the momentum of sgd and muon.
    pub momentum: f64,
    /// Whether sgd and muon look ahead by one more momentum step (Nesterov).
    pub nesterov: bool,
    /// Coefficient of the sum of absolute weights (lasso): its subgradient is part of the gradient of what decays.
    #[serde(skip_serializing_if = "is_default")]
    pub l1: f64,
    /// Coefficient of half the sum of squared weights: part of the gradient of what decays, beside `weight_decay`.
    #[serde(skip_serializing_if = "is_default")]
    pub l2: f64,
    /// Noise on the gradient, after clipping.
    #[serde(skip_serializing_if = "is_default")]
    pub gradient_noise: NoiseConfig,
    /// The average of the weights over steps, which is validated and published in their place.
    #[serde(skip_serializing_if = "is_default")]
    pub average: AverageConfig,
    /// Settings of single parameters, by their names; the first that matches counts.
    #[serde(skip_serializing_if = "is_default")]
    pub groups: Vec<ParameterGroup>,
    /// Share of each target that goes to all tokens alike (Szegedy et al. 2016); validation leaves it out.
    pub label_smoothing: f64,
    /// Coefficient of the squared logarithm of the softmax's denominator, which keeps logits from drifting (PaLM's is
    /// 1e-4); validation leaves it out.
    pub z_loss: f64,
    /// Upper bound of the gradient's norm over all parameters; 0 = no bound.
    pub grad_clip: f64,
    /// Steps between validations; 0 = never.
    pub valid_every: u64,
    /// Micro-batches in one validation, at most (fewer where the split is smaller).
    pub valid_batches: u64,
    /// Validations without a better loss before the run stops early; 0 = never.
    pub patience: u32,
    /// Steps between checkpoints; 0 = only at the end and when interrupted.
    pub checkpoint_every: u64,
    /// Checkpoints kept; older ones are deleted.
    pub keep_checkpoints: usize,
    /// Steps between rows in the metrics.
    pub log_every: u64,
    /// A step whose loss lies this many standard deviations above the mean of the last
    /// `spike_window` losses is a spike; 0 = never.
    pub spike_zscore: f64,
    /// Losses the watchdog remembers; it judges spikes once it has half of them.
    pub spike_window: usize,
    /// Failed steps (non-finite or spike) without a healthy checkpoint between them, before the
    /// run gives up.
    pub max_failures: u32,
    /// Stop after this much training time (all sessions together). The step at which that
    /// happens depends on the machine: such a run cannot be repeated to the bit.
    pub time_limit_seconds: Option<f64>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 16,
            accumulate: 1,
            seq_len: 256,
            packing: Packing::Stream,
            precision: Precision::F32,
            recompute: Recompute::None,
            bptt: None,
            learning_rate: 1e-3,
            min_lr_ratio: 0.1,
            schedule: ScheduleKind::Cosine,
            warmup_steps: 100,
            decay_ratio: 0.2,
            power: POWER,
            start_lr_ratio: START_RATIO,
            plateau: PlateauConfig::default(),
            optimizer: OptimizerKind::AdamW,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            relative_step: true,
            momentum: 0.95,
            nesterov: true,
            l1: 0.0,
            l2: 0.0,
            gradient_noise: NoiseConfig::default(),
            average: AverageConfig::default(),
            groups: Vec::new(),
            label_smoothing: 0.0,
            z_loss: 0.0,
            grad_clip: 1.0,
            valid_every: 100,
            valid_batches: 8,
            patience: 0,
            checkpoint_every: 100,
            keep_checkpoints: 2,
            log_every: 1,
            spike_zscore: 6.0,
            spike_window: 64,
            max_failures: 5,
            time_limit_seconds: None,
        }
    }
}

impl TrainConfig {
    /// What the training loss has beside plain cross-entropy.
    pub fn loss(&self) -> LossOptions {
        LossOptions { label_smoothing: self.label_smoothing, z_loss: self.z_loss }
    }

    /// Tokens in one step: `batch_size * accumulate * seq_len`.
    pub fn tokens_per_step(&self) -> u64 {
        self.batch_size as u64 * self.accumulate as u64 * self.seq_len as u64
    }

    /// Names the first value that cannot be trained with.
    pub fn check(&self) -> Result<(), TrainError> {
        let bad = |key: &str, value: String, need: &str| {
            Err(TrainError::Config { key: key.to_owned(), value, need: need.to_owned() })
        };
        let positive = [
            ("steps", self.steps),
            ("batch_size", self.batch_size as u64),
            ("accumulate", self.accumulate as u64),
            ("seq_len", self.seq_len as u64),
            ("bptt", self.bptt.unwrap_or(1) as u64),
            ("keep_checkpoints", self.keep_checkpoints as u64),
            ("log_every", self.log_every),
            ("max_failures", u64::from(self.max_failures)),
        ];
        for (key, value) in positive {
            if value == 0 {
                return bad(key, value.to_string(), "at least 1");
            }
        }
        let ranges = [
            ("learning_rate", self.learning_rate, 0.0, f64::MAX),
            ("power", self.power, 0.0, f64::MAX),
            ("start_lr_ratio", self.start_lr_ratio, 0.0, 1.0),
            ("plateau.factor", self.plateau.factor, 0.0, 1.0 - f64::EPSILON),
            ("plateau.threshold", self.plateau.threshold, 0.0, 1.0),
            ("l1", self.l1, 0.0, f64::MAX),
            ("l2", self.l2, 0.0, f64::MAX),
            ("gradient_noise.scale", self.gradient_noise.scale, 0.0, f64::MAX),
            ("gradient_noise.decay", self.gradient_noise.decay, 0.0, f64::MAX),
            ("average.decay", self.average.decay, 0.0, 1.0 - f64::EPSILON),
            ("average.start", self.average.start, 0.0, 1.0),
            ("min_lr_ratio", self.min_lr_ratio, 0.0, 1.0),
            ("decay_ratio", self.decay_ratio, 0.0, 1.0),
            ("weight_decay", self.weight_decay, 0.0, f64::MAX),
            ("beta1", self.beta1, 0.0, 1.0 - f64::EPSILON),
            ("beta2", self.beta2, 0.0, 1.0 - f64::EPSILON),
            ("eps", self.eps, f64::MIN_POSITIVE, f64::MAX),
            ("momentum", self.momentum, 0.0, 1.0 - f64::EPSILON),
            ("label_smoothing", self.label_smoothing, 0.0, 1.0),
            ("z_loss", self.z_loss, 0.0, f64::MAX),
            ("grad_clip", self.grad_clip, 0.0, f64::MAX),
            ("spike_zscore", self.spike_zscore, 0.0, f64::MAX),
            ("time_limit_seconds", self.time_limit_seconds.unwrap_or(1.0), 0.0, f64::MAX),
        ];
        for (key, value, low, high) in ranges {
            // The negated form also refuses NaN.
            if !(low..=high).contains(&value) {
                return bad(key, value.to_string(), &range_text(low, high));
            }
        }
        self.check_groups()?;
        if self.average.kind != AverageKind::None && self.average.every == 0 {
            return bad("average.every", "0".to_owned(), "at least 1");
        }
        if self.schedule == ScheduleKind::Plateau && self.valid_every == 0 {
            return bad("schedule", "plateau".to_owned(), "another one where valid_every = 0");
        }
        if self.warmup_steps > self.steps {
            return bad("warmup_steps", self.warmup_steps.to_string(), "at most `steps`");
        }
        if self.valid_every > 0 && self.valid_batches == 0 {
            return bad("valid_batches", "0".to_owned(), "at least 1 (or valid_every = 0)");
        }
        if self.patience > 0 && self.valid_every == 0 {
            return bad("patience", self.patience.to_string(), "0 where valid_every = 0");
        }
        Ok(())
    }
}

impl TrainConfig {
    fn check_groups(&self) -> Result<(), TrainError> {
        for group in &self.groups {
            let key = |name: &str| format!("groups.{name} of `{}`", group.pattern);
            let ranges = [
                ("learning_rate_scale", group.learning_rate_scale),
                ("weight_decay", group.weight_decay.unwrap_or(0.0)),
            ];
            for (name, value) in ranges {
                if !(0.0..=f64::MAX).contains(&value) {
                    let need = range_text(0.0, f64::MAX);
                    return Err(TrainError::Config { key: key(name), value: value.to_string(), need });
                }
            }
        }
        Ok(())
    }
}

const POWER: f64 = 2.0;
const START_RATIO: f64 = 0.04;

// Settings younger than the first checkpoints are written only where they differ from their defaults, which leaves the
// hashes of runs without them as they were.

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_power(value: &f64) -> bool {
    *value == POWER
}

fn is_start_ratio(value: &f64) -> bool {
    *value == START_RATIO
}

/// A precision as its name.
mod precision_name {
    use danlu_model::Precision;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(precision: &Precision, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(precision.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Precision, D::Error> {
        let name = String::deserialize(deserializer)?;
        Precision::named(&name).ok_or_else(|| {
            let known = Precision::NAMES.map(|(name, _)| format!("`{name}`")).join(" or ");
            D::Error::custom(format!("unknown precision `{name}`, expected {known}"))
        })
    }
}

fn range_text(low: f64, high: f64) -> String {
    if high == f64::MAX && low == 0.0 {
        "0 or more, and finite".to_owned()
    } else if high == f64::MAX {
        "more than 0, and finite".to_owned()
    } else if high < 1.0 {
        "from 0 to less than 1".to_owned()
    } else {
        format!("from {low} to {high}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn defaults_can_be_trained_with() {
        TrainConfig::default().check().unwrap();
    }

    #[test]
    fn bad_values_are_named() {
        let check = |edit: fn(&mut TrainConfig), key: &str| {
            let mut config = TrainConfig::default();
            edit(&mut config);
            let text = config.check().unwrap_err().to_string();
            assert!(text.contains(key), "{text} does not name {key}");
        };
        check(|c| c.steps = 0, "steps");
        check(|c| c.learning_rate = f64::NAN, "learning_rate");
        check(|c| c.learning_rate = -1.0, "learning_rate");
        check(|c| c.beta2 = 1.0, "beta2");
        check(|c| c.min_lr_ratio = 1.5, "min_lr_ratio");
        check(|c| c.eps = 0.0, "eps");
        check(|c| c.warmup_steps = 1001, "warmup_steps");
        check(|c| c.valid_batches = 0, "valid_batches");
        check(|c| c.plateau.factor = 1.0, "plateau.factor");
        check(
            |c| c.average = AverageConfig { kind: AverageKind::Ema, every: 0, ..Default::default() },
            "average.every",
        );
        check(
            |c| c.groups = vec![ParameterGroup { learning_rate_scale: -1.0, ..Default::default() }],
            "learning_rate_scale",
        );
        check(
            |c| {
                c.valid_every = 0;
                c.schedule = ScheduleKind::Plateau;
            },
            "schedule",
        );
        check(
            |c| {
                c.valid_every = 0;
                c.patience = 3;
            },
            "patience",
        );
    }

    #[test]
    fn precision_recompute_and_optimizer_are_words() {
        let read = |text: &str| serde_json::from_str::<TrainConfig>(text);
        let config = read(r#"{"precision": "bf16", "recompute": "block"}"#).unwrap();
        assert_eq!((config.precision, config.recompute), (Precision::Bf16, Recompute::Block));
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(read(&again).unwrap(), config);
        let config = read(r#"{"optimizer": "muon", "label_smoothing": 0.1, "z_loss": 1e-4}"#).unwrap();
        assert_eq!(config.optimizer, OptimizerKind::Muon);
        assert_eq!(config.loss(), LossOptions { label_smoothing: 0.1, z_loss: 1e-4 });
        let error = read(r#"{"optimizer": "adamax"}"#).unwrap_err().to_string();
        assert!(error.contains("`adamw`, `sgd`, `lion`, `adam`, `adafactor`, `muon`"), "{error}");
        let error = read(r#"{"precision": "fp16"}"#).unwrap_err().to_string();
        assert!(error.contains("unknown precision `fp16`, expected `f32` or `bf16`"), "{error}");
        assert!(read(r#"{"recompute": "all"}"#).unwrap_err().to_string().contains("`none`"));
    }

    /// Checkpoints hold a hash of the settings as JSON: keys that came later must not be in it unless they are used.
    #[test]
    fn later_settings_at_their_defaults_are_not_written() {
        let written = serde_json::to_value(TrainConfig::default()).unwrap();
        for key in
            ["power", "start_lr_ratio", "plateau", "relative_step", "l1", "l2", "gradient_noise", "average", "groups"]
        {
            assert!(written.get(key).is_none(), "{key}");
        }
        assert_eq!(written.as_object().unwrap().len(), 32, "as many as the first checkpoints had");
        let text = r#"{"power": 1.5, "start_lr_ratio": 0.1, "plateau": {"factor": 0.3}, "relative_step": false, "l1": 1e-5, "l2": 1e-4,
            "gradient_noise": {"scale": 0.3}, "average": {"kind": "swa", "start": 0.75}, "schedule": "one_cycle",
            "groups": [{"match": "embed_tokens*", "learning_rate_scale": 0.1, "weight_decay": 0.0, "frozen": true}]}"#;
        let config: TrainConfig = serde_json::from_str(text).unwrap();
        let again: TrainConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert_eq!((config.plateau.patience, config.gradient_noise.decay), (2, 0.55));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let got = serde_json::from_str::<TrainConfig>(r#"{"stepz": 3}"#);
        assert!(got.unwrap_err().to_string().contains("stepz"));
    }
}
