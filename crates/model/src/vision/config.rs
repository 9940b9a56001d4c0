//! The shape of a language model that sees: settings, their checks, and what follows from them by arithmetic.

use crate::config::check;
use crate::{Activation, ModelConfig, ModelError, SavedAs};
use serde::{Deserialize, Serialize};

/// Settings of a vision Transformer as CLIP has it (Radford et al. 2021, "Learning Transferable Visual Models From Natural
/// Language Supervision").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VisionConfig {
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    pub heads: usize,
    /// Inner width of the feed-forward layer; left out: `4 hidden_size`.
    pub ffn_size: Option<usize>,
    /// Pixels on each side of the square that is read.
    pub image_size: usize,
    /// Pixels on each side of a patch, a divisor of `image_size`.
    pub patch_size: usize,
    /// Without a gate.
    pub activation: Activation,
    pub norm_eps: f64,
    /// Of the embedding and of each layer's two outputs; transformers has no such key.
    pub dropout: f64,
}

impl Default for VisionConfig {
    /// As CLIP ViT-L/14 at 336 pixels, which LLaVA 1.5 sees with.
    fn default() -> Self {
        VisionConfig {
            layers: 24,
            hidden_size: 1024,
            heads: 16,
            ffn_size: None,
            image_size: 336,
            patch_size: 14,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
            dropout: 0.0,
        }
    }
}

/// Which of the vision encoder's vectors the language model reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureSelection {
    /// Those of the patches.
    #[default]
    Default,
    /// That of the class token, too, which is the first.
    Full,
}

/// Settings of a language model that sees. The vocabulary's size and the token for pictures are not among them: the tokenizer
/// decides them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VisionLanguageConfig {
    pub vision: VisionConfig,
    /// The language model: a Llama, Qwen2, Qwen3 or Mistral of transformers.
    pub text: ModelConfig,
    /// The layer of the vision encoder whose result is read: counted from 1, 0 for the first layer's input, below 0 from the
    /// end, -1 for the last.
    pub feature_layer: i64,
    pub features: FeatureSelection,
    /// Between the projector's two linear layers.
    pub projector_activation: Activation,
    pub projector_bias: bool,
}

impl Default for VisionLanguageConfig {
    fn default() -> Self {
        VisionLanguageConfig {
            vision: VisionConfig::default(),
            text: ModelConfig::default(),
            feature_layer: -2,
            features: FeatureSelection::Default,
            projector_activation: Activation::GeluErf,
            projector_bias: true,
        }
    }
}

impl VisionConfig {
    /// Inner width of the feed-forward layer, resolved.
    pub fn ffn_size(&self) -> usize {
        self.ffn_size.unwrap_or(4 * self.hidden_size)
    }

    /// Patches of a picture.
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size.max(1)).pow(2)
    }

    /// Colours of a pixel.
    pub(crate) const CHANNELS: usize = 3;

    /// Values of a patch.
    pub(crate) fn patch_values(&self) -> usize {
        Self::CHANNELS * self.patch_size.pow(2)
    }

    fn validate(&self) -> Result<(), ModelError> {
        let range = |key: &'static str, value: usize, highest: usize| {
            check((1..=highest).contains(&value), key, value, || format!("a whole number from 1 to {highest}"))
        };
        range("vision.layers", self.layers, 1 << 12)?;
        range("vision.hidden_size", self.hidden_size, 1 << 18)?;
        range("vision.heads", self.heads, 1 << 12)?;
        range("vision.ffn_size", self.ffn_size(), 1 << 20)?;
        range("vision.image_size", self.image_size, 1 << 12)?;
        range("vision.patch_size", self.patch_size, 1 << 12)?;
        check(self.hidden_size.is_multiple_of(self.heads), "vision.heads", self.heads, || {
            format!("a divisor of vision.hidden_size = {}", self.hidden_size)
        })?;
        check(self.image_size.is_multiple_of(self.patch_size), "vision.patch_size", self.patch_size, || {
            format!("a divisor of vision.image_size = {}", self.image_size)
        })?;
        check(!self.activation.is_gated(), "vision.activation", format!("{:?}", self.activation), || {
            "one without a gate".to_string()
        })?;
        check(self.norm_eps.is_finite() && self.norm_eps > 0.0, "vision.norm_eps", self.norm_eps, || {
            "a positive number".to_string()
        })?;
        check((0.0..1.0).contains(&self.dropout), "vision.dropout", self.dropout, || {
            "a probability from 0 up to, not including, 1".to_string()
        })
    }
}

impl VisionLanguageConfig {
    /// Language models whose parameters LLaVA's folders name as theirs.
    const TEXT: [SavedAs; 4] = [SavedAs::Llama, SavedAs::Qwen2, SavedAs::Qwen3, SavedAs::Mistral];

    /// Layers of the vision encoder that are run: all up to the one that is read.
    pub(crate) fn vision_layers(&self) -> usize {
        let layers = self.vision.layers as i64;
        let at = if self.feature_layer < 0 { layers + 1 + self.feature_layer } else { self.feature_layer };
        at.clamp(0, layers) as usize
    }

    /// Vectors that stand for a picture.
    pub fn places(&self) -> usize {
        self.vision.patches() + usize::from(self.features == FeatureSelection::Full)
    }

    /// A text with each `image_token` repeated as often as a picture has vectors.
    pub fn expanded(&self, ids: &[u32], image_token: u32) -> Vec<u32> {
        let places = self.places();
        let times = |id: &u32| std::iter::repeat_n(*id, if *id == image_token { places } else { 1 });
        ids.iter().flat_map(times).collect()
    }

    /// The settings with nothing left to defaults.
    pub fn resolved(&self) -> Self {
        let vision = VisionConfig { ffn_size: Some(self.vision.ffn_size()), ..self.vision.clone() };
        VisionLanguageConfig { vision, text: self.text.resolved(), ..self.clone() }
    }

    /// Checks every setting against the others.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] names the first setting that cannot be, and what would do.
    pub fn validate(&self) -> Result<(), ModelError> {
        self.vision.validate()?;
        self.text.validate()?;
        let family = self.text.saved_as();
        check(Self::TEXT.contains(&family), "text.architecture", format!("{family:?}"), || {
            "settings of a llama, qwen2, qwen3 or mistral".to_string()
        })?;
        let layers = self.vision.layers as i64;
        check((-layers - 1..=layers).contains(&self.feature_layer), "feature_layer", self.feature_layer, || {
            format!("from {} to {layers}", -layers - 1)
        })?;
        let activation = format!("{:?}", self.projector_activation);
        check(!self.projector_activation.is_gated(), "projector_activation", activation, || {
            "one without a gate".to_string()
        })?;
        check(self.places() < self.text.max_seq_len, "text.max_seq_len", self.text.max_seq_len, || {
            format!("more than the {} places of a picture", self.places())
        })
    }

    /// Floating-point operations to learn from one picture in a text of so many tokens (its places included), forward and
    /// backward: 6 for every weight that a patch or token meets, and attention's two products over all pairs of positions.
    pub fn flops(&self, vocab_size: usize, tokens: usize) -> f64 {
        let (v, patches) = (&self.vision, self.vision.patches());
        let layer = 4 * v.hidden_size * v.hidden_size + 2 * v.hidden_size * v.ffn_size();
        let text = self.text.hidden_size;
        let weights = v.patch_values() * v.hidden_size + self.vision_layers() * layer + text * (v.hidden_size + text);
        let attention = self.vision_layers() * patches * patches * v.hidden_size;
        let seen = 6.0 * (weights * patches) as f64 + 12.0 * attention as f64;
        seen + self.text.flops_per_token(vocab_size, tokens) * tokens as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Architecture, Positions};

    fn small() -> VisionLanguageConfig {
        let vision =
            VisionConfig { layers: 3, hidden_size: 16, heads: 2, image_size: 12, patch_size: 4, ..Default::default() };
        VisionLanguageConfig { vision, ..Default::default() }
    }

    #[test]
    fn each_impossible_setting_is_named() {
        small().validate().unwrap();
        let vision = |change: &dyn Fn(&mut VisionConfig)| {
            let mut config = small();
            change(&mut config.vision);
            config
        };
        let text = |text: ModelConfig| VisionLanguageConfig { text, ..small() };
        let cases = [
            (vision(&|v| v.layers = 0), "vision.layers"),
            (vision(&|v| v.heads = 3), "vision.heads"),
            (vision(&|v| v.patch_size = 5), "vision.patch_size"),
            (vision(&|v| v.patch_size = 0), "vision.patch_size"),
            (vision(&|v| v.image_size = 1 << 20), "vision.image_size"),
            (vision(&|v| v.activation = Activation::Swiglu), "vision.activation"),
            (vision(&|v| v.norm_eps = 0.0), "vision.norm_eps"),
            (vision(&|v| v.dropout = 1.0), "vision.dropout"),
            (text(ModelConfig { layers: 0, ..Default::default() }), "layers"),
            (text(ModelConfig { architecture: Architecture::Gpt2, ..Default::default() }), "text.architecture"),
            (text(ModelConfig { architecture: Architecture::Lstm, ..Default::default() }), "text.architecture"),
            (text(ModelConfig { positions: Some(Positions::Alibi), ..Default::default() }), "text.architecture"),
            (text(ModelConfig { max_seq_len: 9, ..Default::default() }), "text.max_seq_len"),
            (VisionLanguageConfig { feature_layer: 4, ..small() }, "feature_layer"),
            (VisionLanguageConfig { feature_layer: -5, ..small() }, "feature_layer"),
            (VisionLanguageConfig { projector_activation: Activation::Geglu, ..small() }, "projector_activation"),
        ];
        for (config, expected) in cases {
            match config.validate() {
                Err(ModelError::InvalidConfig { key, .. }) => assert_eq!(key, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn layers_and_places() {
        let of = |feature_layer| VisionLanguageConfig { feature_layer, ..small() }.vision_layers();
        assert_eq!([-4, -2, -1, 0, 1, 3].map(of), [0, 2, 3, 0, 1, 3]);
        assert_eq!(small().places(), 9);
        assert_eq!(VisionLanguageConfig { features: FeatureSelection::Full, ..small() }.places(), 10);
    }

    #[test]
    fn flops_of_a_worked_example() {
        let vision = VisionConfig {
            layers: 2,
            hidden_size: 4,
            heads: 2,
            ffn_size: Some(8),
            image_size: 4,
            patch_size: 2,
            ..Default::default()
        };
        let text = ModelConfig { layers: 1, hidden_size: 6, heads: 2, ..Default::default() };
        let config = VisionLanguageConfig { vision, text: text.clone(), feature_layer: -1, ..Default::default() };
        // Patches of 12 values, layers of 4 * 16 + 2 * 32 weights, a projector of 6 * 4 + 6 * 6; 4 patches.
        let seen = 6.0 * 4.0 * (48.0 + 2.0 * 128.0 + 60.0) + 12.0 * 2.0 * 16.0 * 4.0;
        assert_eq!(config.flops(10, 7), seen + 7.0 * text.flops_per_token(10, 7));
    }
}
