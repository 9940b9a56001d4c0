//! What keeps training from fitting too well, beside dropout and weight decay: settings of single parameters, noise on
//! gradients, averages of weights.

use crate::TrainError;
use crate::config::TrainConfig;
use crate::tensors::{ParameterSpec, Parameters, leaf};
use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// `[[train.groups]]`: settings of the parameters whose names match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// A name in the Hugging Face layout, or its end from any dot on: `embed_tokens*` is `model.embed_tokens.weight`.
    /// `*` stands for any characters, dots among them, and `?` for one.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What the learning rate is multiplied by.
    #[serde(default = "one")]
    pub learning_rate_scale: f64,
    /// In the place of `train.weight_decay`, of all these parameters, norms and biases among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether they stay as they are: no gradient, no state, no update.
    #[serde(default)]
    pub frozen: bool,
}

fn one() -> f64 {
    1.0
}

impl Default for ParameterGroup {
    /// All parameters, nothing changed.
    fn default() -> Self {
        Self { pattern: "*".to_owned(), learning_rate_scale: one(), weight_decay: None, frozen: false }
    }
}

impl ParameterGroup {
    /// Whether a parameter is of the group.
    pub fn matches(&self, name: &str) -> bool {
        let ends = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        std::iter::once(name).chain(ends).any(|end| glob(self.pattern.as_bytes(), end.as_bytes()))
    }

    /// The first group of a parameter.
    pub fn of<'a>(config: &'a TrainConfig, name: &str) -> Option<&'a Self> {
        config.groups.iter().find(|group| group.matches(name))
    }
}

/// Whether `text` is what `pattern` says; linear in the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // The last star, and what it has taken in so far.
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match back {
                None => return false,
                Some((star, taken)) => {
                    (p, t) = (star + 1, taken + 1);
                    back = Some((star, taken + 1));
                }
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Names a group that matches no parameter, or settings under which nothing would be trained.
pub fn check_groups(config: &TrainConfig, parameters: &Parameters) -> Result<(), TrainError> {
    let names = || parameters.values().map(|spec| spec.name.as_str());
    for group in &config.groups {
        if !names().any(|name| group.matches(name)) {
            let examples = names().min().unwrap_or("none");
            return Err(TrainError::Config {
                key: "groups.match".to_owned(),
                value: format!("`{}`", group.pattern),
                need: format!("a pattern that matches a parameter of the model, such as `{examples}`"),
            });
        }
    }
    if !parameters.is_empty() && names().all(|name| is_frozen(config, name)) {
        let (value, need) = ("true for every parameter".to_owned(), "false for some, or nothing is trained".to_owned());
        return Err(TrainError::Config { key: "groups.frozen".to_owned(), value, need });
    }
    Ok(())
}

fn is_frozen(config: &TrainConfig, name: &str) -> bool {
    ParameterGroup::of(config, name).is_some_and(|group| group.frozen)
}

/// Takes frozen parameters off the tape: they get no gradient and do not count in its norm.
pub fn freeze<M: Module>(module: M, parameters: &Parameters, config: &TrainConfig) -> M {
    struct Freeze<'a>(&'a Parameters, &'a TrainConfig);
    impl ModuleMapper for Freeze<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !self.0.get(&param.id).is_some_and(|spec| is_frozen(self.1, &spec.name)) {
                return param;
            }
            let (id, value, mapper) = param.consume();
            Param::from_mapped_value(id, leaf(value, false), mapper)
        }
    }
    if config.groups.iter().any(|group| group.frozen) { module.map(&mut Freeze(parameters, config)) } else { module }
}

/// What the settings mean for one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    pub frozen: bool,
    pub learning_rate_scale: f64,
    pub weight_decay: f64,
    pub l1: f64,
    pub l2: f64,
}

impl Settings {
    pub fn of(spec: &ParameterSpec, config: &TrainConfig) -> Self {
        let group = ParameterGroup::of(config, &spec.name);
        let decayed = |value: f64| if spec.decay { value } else { 0.0 };
        Self {
            frozen: group.is_some_and(|group| group.frozen),
            learning_rate_scale: group.map_or(1.0, |group| group.learning_rate_scale),
            weight_decay: group.and_then(|group| group.weight_decay).unwrap_or(decayed(config.weight_decay)),
            l1: decayed(config.l1),
            l2: decayed(config.l2),
        }
    }
}

/// `[train.gradient_noise]`: a normal number on each element of the gradient, after clipping (Neelakantan et al. 2015,
/// "Adding Gradient Noise Improves Learning for Very Deep Networks").
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseConfig {
    /// The paper's eta, of the mean gradient of a token: 0.01, 0.3 or 1 there; 0 = no noise.
    pub scale: f64,
    /// The paper's gamma.
    pub decay: f64,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        Self { scale: 0.0, decay: 0.55 }
    }
}

impl NoiseConfig {
    /// Standard deviation at update `step` (1 is the first): the variance is `scale / step^decay`.
    pub fn deviation(&self, step: u64) -> f64 {
        (self.scale / (step as f64).powf(self.decay)).sqrt()
    }

    /// Decides the noise of one parameter at one update: nothing is remembered, so a resumed run draws the same.
    pub(crate) fn key(seed: u64, step: u64, name: &str) -> u64 {
        // FNV-1a of the name, then SplitMix64's mixing.
        let hash =
            name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        [seed, step, hash].iter().fold(0, |key: u64, part| {
            let mut z = (key ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }
}

/// How weights are averaged over steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AverageKind {
    #[default]
    None,
    /// Exponential moving average (Polyak & Juditsky 1992): `a = d a + (1 - d) w` with
    /// `d = min(decay, (1 + n) / (10 + n))` at the n-th average, so that the first weights are soon forgotten.
    Ema,
    /// Stochastic weight averaging (Izmailov et al. 2018): the plain mean of all weights taken.
    Swa,
}

/// `[train.average]`: the average is in checkpoints, is validated, and is what is published.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AverageConfig {
    /// `none`, `ema` or `swa`.
    pub kind: AverageKind,
    /// Of ema.
    pub decay: f64,
    /// The part of all steps after which averaging begins: SWA's authors take 0.75.
    pub start: f64,
    /// Steps between the weights taken.
    pub every: u64,
}

impl Default for AverageConfig {
    fn default() -> Self {
        Self { kind: AverageKind::None, decay: 0.999, start: 0.0, every: 1 }
    }
}

impl AverageConfig {
    /// The share of the weights after update `step` (1 is the first) in the average; none where they are not taken. The
    /// first ones taken have all of it.
    pub fn share(&self, step: u64, steps: u64) -> Option<f64> {
        let first = ((self.start * steps as f64).round() as u64).clamp(1, steps.max(1));
        let since = step.checked_sub(first)?;
        if self.kind == AverageKind::None || !since.is_multiple_of(self.every.max(1)) {
            return None;
        }
        let taken = (since / self.every.max(1)) as f64;
        Some(match self.kind {
            _ if taken == 0.0 => 1.0,
            AverageKind::Ema => 1.0 - self.decay.min((1.0 + taken) / (10.0 + taken)),
            _ => 1.0 / (taken + 1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_their_ends() {
        let matches = |pattern: &str, name: &str| {
            ParameterGroup { pattern: pattern.to_owned(), ..ParameterGroup::default() }.matches(name)
        };
        let q = "model.layers.10.self_attn.q_proj.weight";
        for pattern in
            ["*", q, "q_proj.weight", "*q_proj*", "layers.1?.*", "model.layers.*.q_proj.weight", "*.weight", "weight"]
        {
            assert!(matches(pattern, q), "{pattern}");
        }
        for pattern in ["", "q_proj", "proj.weight", "layers.?.*", "k_proj*", "model", "*.bias", "weights", "?"] {
            assert!(!matches(pattern, q), "{pattern}");
        }
        assert!(matches("embed_tokens*", "model.embed_tokens.weight"));
        // A pattern that would take ages by trying every way.
        assert!(!matches(&"*a".repeat(40), &"b".repeat(4000)));
    }

    #[test]
    fn averages_are_those_of_their_formulas() {
        let shares = |config: AverageConfig, steps: u64| -> Vec<f64> {
            (1..=steps).filter_map(|step| config.share(step, steps)).collect()
        };
        let mean = |config: AverageConfig| {
            shares(config, 8).iter().zip(1u32..).fold(0.0, |a, (share, w)| a + share * (f64::from(w * w) - a))
        };
        let swa = AverageConfig { kind: AverageKind::Swa, ..AverageConfig::default() };
        let squares: u32 = (1..=8).map(|w| w * w).sum();
        assert!((mean(swa) - f64::from(squares) / 8.0).abs() < 1e-12);
        let late = AverageConfig { start: 0.75, every: 2, ..swa };
        let taken: Vec<u64> = (1..=16).filter(|step| late.share(*step, 16).is_some()).collect();
        assert_eq!(taken, [12, 14, 16]);
        let ema = shares(AverageConfig { kind: AverageKind::Ema, decay: 0.5, ..swa }, 12);
        assert_eq!(ema[0], 1.0);
        // (1 + n) / (10 + n) reaches one half at n = 8.
        assert!((ema[1] - (1.0 - 2.0 / 11.0)).abs() < 1e-12 && ema[8..].iter().all(|share| *share == 0.5), "{ema:?}");
        assert!(shares(AverageConfig::default(), 12).is_empty());
    }

    #[test]
    fn noise_fades_and_has_its_own_key_everywhere() {
        let noise = NoiseConfig { scale: 0.3, ..NoiseConfig::default() };
        assert!((noise.deviation(1) - 0.3f64.sqrt()).abs() < 1e-12);
        assert!((noise.deviation(100).powi(2) - 0.3 / 100f64.powf(0.55)).abs() < 1e-12);
        let keys =
            [(1, 1, "a"), (2, 1, "a"), (1, 2, "a"), (1, 1, "b")].map(|(s, n, name)| NoiseConfig::key(s, n, name));
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key));
        }
    }
}
