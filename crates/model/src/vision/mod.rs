//! Language models that see: a vision Transformer, a projector, and a language model that reads the pictures' vectors among
//! its tokens' (Liu et al. 2023, "Visual Instruction Tuning"; LLaVA).
//!
//! Begin reading at [`VisionLanguageConfig`], then [`VisionLanguage`]; `encoder.rs` has the vision Transformer, `input.rs`
//! what is read, `step.rs` generation, `preprocess.rs` and `resample.rs` how a picture becomes [`Pixels`], `names.rs` what
//! the parameters are called in folders, `folder.rs` how those are read and written.

mod config;
mod encoder;
mod folder;
mod input;
mod names;
mod preprocess;
mod resample;
mod step;

pub use config::{FeatureSelection, VisionConfig, VisionLanguageConfig};
pub use encoder::VisionEncoder;
pub(crate) use folder::KNOWN;
pub use folder::describe_vision_language;
pub use input::{Pixels, VisionInput};
pub use preprocess::{ImageProcessor, ImageSize};

use crate::encoder::EncoderInput;
use crate::encoder_decoder::input::check_labels;
use crate::init::{Prefixed, RandomSource, Source};
use crate::labels::labelled;
use crate::layers::{Builder, FeedForward};
use crate::parameters::{parameters_of, values_of, with_values};
use crate::{CausalLm, DropoutKey, LossOptions, ModelError, ParameterInfo, SequenceOptions, SpecialTokens, Vectors};
use burn::module::Module;
use burn::prelude::*;
use danlu_ops::Precision;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A language model that reads pictures among its tokens.
///
/// Cloning is cheap: clones share their weights. Created on an autodiff device it is trainable; `model.valid()` is the
/// snapshot to evaluate and generate with.
#[derive(Module, Debug)]
pub struct VisionLanguage {
    pub vision: VisionEncoder,
    /// From the vision encoder's width to the language model's.
    pub projector: FeedForward,
    pub language: CausalLm,
    #[module(skip)]
    pub(crate) shared: Arc<Shared>,
}

/// What all clones and snapshots of a model have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    config: VisionLanguageConfig,
    image_token: u32,
    processor: ImageProcessor,
}

impl VisionLanguage {
    /// A model with random weights: normal with standard deviation 0.02, the projections into the residual streams smaller by
    /// sqrt(2 layers), biases 0 and norms 1. The same for one seed on every device.
    ///
    /// * `image_token`: what stands in a text where a picture is
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`].
    pub fn new(
        config: &VisionLanguageConfig,
        vocab_size: usize,
        image_token: u32,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let processor = ImageProcessor::clip(config.vision.image_size);
        let words = Words { vocab_size, image_token, special: SpecialTokens::default() };
        Self::build(config, words, processor, &mut RandomSource { seed }, device)
    }

    pub(crate) fn build<S: Source>(
        config: &VisionLanguageConfig,
        words: Words,
        processor: ImageProcessor,
        source: &mut S,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let Words { vocab_size, image_token, special } = words;
        crate::config::check((image_token as usize) < vocab_size, "image_token", image_token, || {
            format!("a token of the vocabulary of {vocab_size}")
        })?;
        let mut builder = Builder { config, source: &mut *source, device };
        let (vision, projector) = (builder.vision()?, builder.projector()?);
        let mut source = Prefixed { prefix: "language.", source };
        let language = CausalLm::build(&config.text, vocab_size, special, &mut source, device)?;
        let shared = Shared { config: config.resolved(), image_token, processor };
        Ok(VisionLanguage { vision, projector, language, shared: Arc::new(shared) })
    }

    /// The settings, nothing left to defaults.
    pub fn config(&self) -> &VisionLanguageConfig {
        &self.shared.config
    }

    /// What makes [`Pixels`] of pictures for this model.
    pub fn processor(&self) -> &ImageProcessor {
        &self.shared.processor
    }

    /// What stands in a text where a picture is: one such token for each of its vectors; see [`VisionLanguage::expanded`].
    pub fn image_token(&self) -> u32 {
        self.shared.image_token
    }

    /// Tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        self.language.vocab_size()
    }

    /// Begin and end tokens, where the model's folder named them.
    pub fn special_tokens(&self) -> &SpecialTokens {
        self.language.special_tokens()
    }

    /// Where the weights lie.
    pub fn device(&self) -> Device {
        self.language.device()
    }

    /// This model with another precision of its products, in training and evaluation. Generation step by step stays
    /// f32, as do its saved weights.
    pub fn with_precision(self, precision: Precision) -> Self {
        VisionLanguage { language: self.language.with_precision(precision), ..self }
    }

    /// This model with another loss, in [`VisionLanguage::loss_sum`] and its gradients.
    pub fn with_loss(self, loss: LossOptions) -> Self {
        VisionLanguage { language: self.language.with_loss(loss), ..self }
    }

    /// Parameters.
    pub fn num_params(&self) -> usize {
        Module::num_params(self)
    }

    /// See [`crate::CausalLm::parameters`].
    pub fn parameters(&self) -> Vec<ParameterInfo> {
        parameters_of(self)
    }

    /// See [`crate::CausalLm::named_parameters`].
    ///
    /// # Errors
    /// [`ModelError::Device`].
    pub fn named_parameters(&self) -> Result<BTreeMap<String, TensorData>, ModelError> {
        values_of(self)
    }

    /// See [`crate::CausalLm::load_named`].
    ///
    /// # Errors
    /// As there.
    pub fn load_named(self, values: BTreeMap<String, TensorData>) -> Result<Self, ModelError> {
        with_values(self, values)
    }

    /// A text with each token for a picture repeated as often as the picture has vectors.
    pub fn expanded(&self, ids: &[u32]) -> Vec<u32> {
        self.config().expanded(ids, self.image_token())
    }

    /// What the language model reads of pictures.
    ///
    /// Returns (pictures, [`VisionLanguageConfig::places`], hidden of the language model).
    ///
    /// # Errors
    /// [`ModelError::WrongInput`] for no pictures, and pixels of another size than the model's.
    pub fn features(&self, pictures: &[Pixels], dropout: Option<DropoutKey>) -> Result<Tensor<3>, ModelError> {
        input::check_pictures(pictures, &self.config().vision)?;
        let rows = self.seen(pictures, dropout)?;
        Ok(rows.reshape([pictures.len(), self.config().places(), self.config().text.hidden_size]))
    }

    /// [`VisionLanguage::features`] of checked pictures, (pictures * places, hidden).
    fn seen(&self, pictures: &[Pixels], dropout: Option<DropoutKey>) -> Result<Tensor<2>, ModelError> {
        let (config, precision) = (self.config(), self.language.precision);
        // After the sites of the language model.
        let first_site = config.text.layers + 1;
        let run = encoder::Run { config: &config.vision, layers: config.vision_layers(), precision, first_site };
        let features = self.vision.forward(pictures, run, dropout)?;
        let [pictures, places, width] = features.dims();
        let first = places - config.places();
        let features = features.narrow(1, first, places - first);
        Ok(self.projector.forward(features.reshape([pictures * (places - first), width]), precision))
    }

    /// Logits after each token for the token that follows; what is beyond a sequence's end means nothing.
    ///
    /// Returns (sequences, longest, vocabulary).
    ///
    /// # Errors
    /// [`ModelError::NoTokens`], [`ModelError::ContextFull`], [`ModelError::TokenOutOfRange`]; [`ModelError::WrongInput`]
    /// if the texts have not as many places as the pictures have vectors.
    pub fn logits(&self, input: &VisionInput, dropout: Option<DropoutKey>) -> Result<Tensor<3>, ModelError> {
        let hidden = self.hidden(input, dropout)?;
        Ok(self.language.head(hidden))
    }

    /// Sum over labels of their cross-entropy, in nats, as [`VisionLanguage::with_loss`] has it. It is the sum, so that
    /// micro-batches add up.
    ///
    /// * `labels`: what is to follow each token, -100 where nothing is to be learnt
    ///
    /// Returns one value.
    ///
    /// # Errors
    /// As [`VisionLanguage::logits`].
    pub fn loss_sum(
        &self,
        input: &VisionInput,
        labels: &[Vec<i32>],
        dropout: Option<DropoutKey>,
    ) -> Result<Tensor<1>, ModelError> {
        check_labels(&input.ids, labels, self.vocab_size())?;
        let hidden = self.hidden(input, dropout)?;
        let [batch, longest, width] = hidden.dims();
        let (x, labels) = labelled(hidden.reshape([batch * longest, width]), longest, labels);
        Ok(self.language.head_loss(x, labels))
    }

    /// What the head reads, (sequences, longest, hidden). Sequences are filled up at their ends, which no token looks at.
    fn hidden(&self, input: &VisionInput, dropout: Option<DropoutKey>) -> Result<Tensor<3>, ModelError> {
        input.check(self)?;
        let (sequences, time) = (input.ids.len(), input.longest());
        let vectors = match input.pictures.is_empty() {
            true => None,
            false => {
                let places = input.places(self.image_token(), time);
                Some(Vectors { rows: self.seen(&input.pictures, dropout)?, places })
            }
        };
        let ids = EncoderInput::padded(&input.ids, time, &self.device().inner()).reshape([sequences, time]);
        Ok(self.language.hidden(ids, SequenceOptions { dropout, vectors, ..SequenceOptions::default() }))
    }
}

/// What a model's folder says of its words.
pub(crate) struct Words {
    pub(crate) vocab_size: usize,
    pub(crate) image_token: u32,
    pub(crate) special: SpecialTokens,
}
