//! Rotary angles stretched for sequences longer than those first trained on, with the keys of transformers.

use crate::ModelError;
use crate::config::check;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// How frequencies are stretched. Lengths left out are the model's `max_seq_len`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// All frequencies divided by `factor`: positions interpolated (Chen et al. 2023, "Position Interpolation").
    Linear { factor: f64 },
    /// A larger base for sequences beyond the original length ("NTK-aware" scaling, the form of transformers). It is
    /// taken for a sequence of `max_seq_len`, so that a cached key never has to be turned again; without an original
    /// length below `max_seq_len` it changes nothing.
    Dynamic {
        factor: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original_max_position_embeddings: Option<usize>,
    },
    /// Frequencies that turn seldom within the original length divided by `factor`, those that turn often kept, a ramp
    /// between them, and scores sharpened (Peng et al. 2023, "YaRN").
    Yarn(Yarn),
    /// As YaRN with a ramp over wavelengths, and without sharpening (Llama 3.1).
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original_max_position_embeddings: Option<usize>,
    },
}

/// See [`RopeScaling::Yarn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yarn {
    pub factor: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_max_position_embeddings: Option<usize>,
    /// Factor on cosines and sines; left out: from `factor`, `mscale` and `mscale_all_dim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_factor: Option<f64>,
    /// Turns within the original length from which on a frequency is kept; left out: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_fast: Option<f64>,
    /// Turns within the original length up to which a frequency is divided; left out: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_slow: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mscale: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mscale_all_dim: Option<f64>,
    /// Whether the ramp's ends are rounded to whole frequencies; left out: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
}

impl RopeScaling {
    /// The names of all kinds, for messages.
    pub(crate) const KINDS: &str =
        "rope_type \"default\", \"linear\", \"dynamic\", \"yarn\" or \"llama3\", with its own keys";

    pub(crate) fn validate(&self) -> Result<(), ModelError> {
        let fits = match self {
            RopeScaling::Linear { factor } => *factor >= 1.0,
            RopeScaling::Dynamic { factor, original_max_position_embeddings } => {
                *factor >= 1.0 && *original_max_position_embeddings != Some(0)
            }
            RopeScaling::Yarn(yarn) => yarn.fits(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                *factor >= 1.0
                    && *low_freq_factor > 0.0
                    && high_freq_factor > low_freq_factor
                    && high_freq_factor.is_finite()
                    && *original_max_position_embeddings != Some(0)
            }
        };
        check(fits && self.factor().is_finite(), "rope_scaling", format!("{self:?}"), || {
            "a factor of at least 1, positive lengths, and the slow end of a ramp below the fast one".to_string()
        })
    }

    /// This scaling with the lengths that it leaves out.
    pub(crate) fn of_length(mut self, length: usize) -> Self {
        match &mut self {
            RopeScaling::Linear { .. } => {}
            RopeScaling::Yarn(Yarn { original_max_position_embeddings, .. })
            | RopeScaling::Dynamic { original_max_position_embeddings, .. }
            | RopeScaling::Llama3 { original_max_position_embeddings, .. } => {
                original_max_position_embeddings.get_or_insert(length);
            }
        }
        self
    }

    fn factor(&self) -> f64 {
        match self {
            RopeScaling::Linear { factor }
            | RopeScaling::Dynamic { factor, .. }
            | RopeScaling::Llama3 { factor, .. } => *factor,
            RopeScaling::Yarn(yarn) => yarn.factor,
        }
    }

    /// Frequencies for heads of `width` and a base of `theta`, in a model of `max_seq_len`.
    pub(crate) fn frequencies(&self, width: usize, theta: f64, max_seq_len: usize) -> Vec<f64> {
        let plain = plain(width, theta);
        match self {
            RopeScaling::Linear { factor } => plain.iter().map(|w| w / factor).collect(),
            RopeScaling::Dynamic { factor, original_max_position_embeddings } => {
                let original = original_max_position_embeddings.unwrap_or(max_seq_len);
                if original >= max_seq_len || width <= 2 {
                    return plain;
                }
                let stretch = factor * max_seq_len as f64 / original as f64 - (factor - 1.0);
                self::plain(width, theta * stretch.powf(width as f64 / (width as f64 - 2.0)))
            }
            RopeScaling::Yarn(yarn) => yarn.frequencies(&plain, theta, max_seq_len),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let original = original_max_position_embeddings.unwrap_or(max_seq_len) as f64;
                let stretched = |w: &f64| {
                    let turns = original * w / TAU;
                    let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - kept) * w / factor + kept * w
                };
                plain.iter().map(stretched).collect()
            }
        }
    }

    /// Factor on cosines and sines.
    pub(crate) fn attention_factor(&self) -> f64 {
        match self {
            RopeScaling::Yarn(yarn) => yarn.attention_factor(),
            _ => 1.0,
        }
    }
}

impl Yarn {
    /// By `factor`, with all else as in the paper.
    pub fn by(factor: f64) -> Self {
        Yarn {
            factor,
            original_max_position_embeddings: None,
            attention_factor: None,
            beta_fast: None,
            beta_slow: None,
            mscale: None,
            mscale_all_dim: None,
            truncate: None,
        }
    }

    fn fits(&self) -> bool {
        let (fast, slow) = self.betas();
        let positive = |x: Option<f64>| x.is_none_or(|x| x.is_finite() && x > 0.0);
        self.factor >= 1.0
            && slow > 0.0
            && fast >= slow
            && fast.is_finite()
            && positive(self.attention_factor)
            && [self.mscale, self.mscale_all_dim].iter().all(|x| x.is_none_or(|x| x.is_finite() && x >= 0.0))
            && self.original_max_position_embeddings != Some(0)
    }

    fn betas(&self) -> (f64, f64) {
        (self.beta_fast.unwrap_or(32.0), self.beta_slow.unwrap_or(1.0))
    }

    fn attention_factor(&self) -> f64 {
        let sharpness = |scale: f64| if self.factor <= 1.0 { 1.0 } else { 0.1 * scale * self.factor.ln() + 1.0 };
        let given = |x: Option<f64>| x.filter(|x| *x != 0.0);
        self.attention_factor.unwrap_or_else(|| match (given(self.mscale), given(self.mscale_all_dim)) {
            (Some(one), Some(all)) => sharpness(one) / sharpness(all),
            _ => sharpness(1.0),
        })
    }

    fn frequencies(&self, plain: &[f64], theta: f64, max_seq_len: usize) -> Vec<f64> {
        let width = 2.0 * plain.len() as f64;
        let original = self.original_max_position_embeddings.unwrap_or(max_seq_len) as f64;
        // The place of the frequency that turns so often within the original length.
        let place = |turns: f64| width * (original / (turns * TAU)).ln() / (2.0 * theta.ln());
        let (fast, slow) = self.betas();
        let (mut low, mut high) = (place(fast), place(slow));
        if self.truncate.unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(width - 1.0));
        if low == high {
            high += 0.001;
        }
        let stretched = |(i, w): (usize, &f64)| {
            let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            w / self.factor * divided + w * (1.0 - divided)
        };
        plain.iter().enumerate().map(stretched).collect()
    }
}

/// `theta^(-2 i / width)`
pub(crate) fn plain(width: usize, theta: f64) -> Vec<f64> {
    (0..width.div_ceil(2)).map(|i| theta.powf(-2.0 * i as f64 / width as f64)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_transformers_and_unknown_ones_are_refused() {
        let read = |json: &str| serde_json::from_str::<RopeScaling>(json);
        assert_eq!(read(r#"{"rope_type": "linear", "factor": 2}"#).unwrap(), RopeScaling::Linear { factor: 2.0 });
        let yarn = read(r#"{"rope_type": "yarn", "factor": 4.0, "beta_fast": 16}"#).unwrap();
        assert_eq!(serde_json::to_string(&yarn).unwrap(), r#"{"rope_type":"yarn","factor":4.0,"beta_fast":16.0}"#);
        for bad in [
            r#"{"rope_type": "linear"}"#,
            r#"{"rope_type": "linear", "factor": 2, "partial_rotary_factor": 0.5}"#,
            r#"{"rope_type": "yarn", "factor": 2, "partial_rotary_factor": 0.5}"#,
            r#"{"rope_type": "longrope", "factor": 2}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        let yarn = |beta_fast, factor| RopeScaling::Yarn(Yarn { beta_fast: Some(beta_fast), ..Yarn::by(factor) });
        assert!(yarn(2.0, 2.0).validate().is_ok());
        let original_max_position_embeddings = Some(0);
        for bad in [
            yarn(0.5, 2.0),
            yarn(f64::NAN, 2.0),
            yarn(2.0, f64::INFINITY),
            RopeScaling::Linear { factor: 0.5 },
            RopeScaling::Linear { factor: f64::NAN },
            RopeScaling::Dynamic { factor: 2.0, original_max_position_embeddings },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn stretched_base_of_ntk_by_hand() {
        let scaling = RopeScaling::Dynamic { factor: 2.0, original_max_position_embeddings: Some(100) };
        // 2 * 400 / 100 - 1 = 7; 10000 * 7^(4 / 2)
        assert_eq!(scaling.frequencies(4, 1e4, 400), plain(4, 1e4 * 49.0));
        assert_eq!(scaling.frequencies(4, 1e4, 100), plain(4, 1e4));
    }
}
