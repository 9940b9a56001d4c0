//! Encoder-decoders: the original Transformer and Marian, BART and mBART, T5 and mT5, Whisper.
//!
//! Begin reading at [`EncoderDecoderConfig`], then [`EncoderDecoder`]; `layers.rs` has the two stacks, `pass.rs` runs them
//! over whole sequences, `step.rs` token by token, `places.rs` has positions, `names.rs` what the parameters are called in
//! folders, `folder.rs` how those are read and written.

mod config;
mod folder;
pub(crate) mod input;
mod layers;
mod names;
mod pass;
mod places;
mod step;

pub use config::{EncoderDecoderConfig, EncoderDecoderKind};
pub(crate) use folder::KNOWN;
pub use folder::describe_encoder_decoder;
pub use input::{Seq2SeqInput, SpeechInput};
pub use layers::{Convolution, Stack, StackLayer};
pub(crate) use names::COPIES;
pub(crate) use places::sound_table;

use crate::init::{RandomSource, Source, Start};
use crate::labels::{biased_cross_entropy, labelled};
use crate::layers::{Builder, Embedding, Form, Linear};
use crate::parameters::{parameters_of, values_of, with_values};
use crate::{DropoutKey, LogMel, LossOptions, ModelError, ParameterInfo, SpecialTokens};
use burn::module::{Module, Param};
use burn::prelude::*;
use config::Places;
use danlu_ops::{CrossEntropy, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A Transformer that reads a source and writes a target (Vaswani et al. 2017).
///
/// Cloning is cheap: clones share their weights. Created on an autodiff device it is trainable; `model.valid()` is the
/// snapshot to evaluate and generate with.
#[derive(Module, Debug)]
pub struct EncoderDecoder {
    pub model: EncoderDecoderBody,
    /// The output head; `None` when it is the embedding matrix.
    pub lm_head: Option<Linear>,
    /// (vocabulary)
    pub logits_bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) shared: Arc<Shared>,
    #[module(skip)]
    pub(crate) precision: Precision,
    #[module(skip)]
    loss: LossOptions,
}

/// The name of Whisper's table of places of sound, in danlu and in folders.
const SOUND_TABLE: &str = "model.encoder.embed_positions.weight";

/// Everything below the head.
#[derive(Module, Debug)]
pub struct EncoderDecoderBody {
    /// Of both sides.
    pub embed_tokens: Embedding,
    pub encoder: Stack,
    pub decoder: Stack,
}

/// What all clones and snapshots of a model have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: EncoderDecoderConfig,
    pub(crate) vocab_size: usize,
    pub(crate) special: SpecialTokens,
    /// Vectors added to sound, (places, hidden), where sound is read. They are never trained.
    pub(crate) sound_table: Option<Vec<f32>>,
}

impl EncoderDecoder {
    /// A model with random weights: of T5 and mT5 as its authors have them, else normal with variance `2 / (in + out)`, those
    /// of the embedding `1 / hidden_size`; biases 0 and norms 1. The same for one seed on every device.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`].
    pub fn new(
        config: &EncoderDecoderConfig,
        vocab_size: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::build(config, vocab_size, SpecialTokens::default(), &mut RandomSource { seed }, device)
    }

    pub(crate) fn build<S: Source>(
        config: &EncoderDecoderConfig,
        vocab_size: usize,
        special: SpecialTokens,
        source: &mut S,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        crate::config::check((1..=1 << 24).contains(&vocab_size), "vocab_size", vocab_size, || {
            "a whole number from 1 to 16777216".to_string()
        })?;
        let mut builder = Builder { config, source, device };
        let model = EncoderDecoderBody {
            embed_tokens: builder.tokens("model.embed_tokens", vocab_size)?,
            encoder: builder.stack("model.encoder", config.encoder_layers, false)?,
            decoder: builder.stack("model.decoder", config.decoder_layers, true)?,
        };
        let lm_head = match config.tied() {
            true => None,
            false => Some(builder.own_head("lm_head", vocab_size)?),
        };
        let logits_bias = match config.logits_bias {
            true => Some(builder.parameter("logits_bias", [vocab_size], Start::Zeros)?),
            false => None,
        };
        let sound_table = match config.sound() {
            None => None,
            Some((_, places)) => Some(source.values(SOUND_TABLE, &[places, config.hidden_size], Start::Sinusoids)?),
        };
        let shared = Arc::new(Shared { config: config.resolved(), vocab_size, special, sound_table });
        let (precision, loss) = (Precision::F32, LossOptions::default());
        Ok(EncoderDecoder { model, lm_head, logits_bias, shared, precision, loss })
    }

    /// The settings, nothing left to defaults.
    pub fn config(&self) -> &EncoderDecoderConfig {
        &self.shared.config
    }

    /// Tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        self.shared.vocab_size
    }

    /// Start, end and padding tokens, where the model's folder named them.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.shared.special
    }

    /// Where the weights lie.
    pub fn device(&self) -> Device {
        self.model.embed_tokens.weight.val().device()
    }

    /// This model with another precision of its products, in training and evaluation. Generation step by step stays
    /// f32, as do its saved weights.
    pub fn with_precision(self, precision: Precision) -> Self {
        EncoderDecoder { precision, ..self }
    }

    /// This model with another loss, in [`EncoderDecoder::loss_sum`] and its gradients.
    pub fn with_loss(self, loss: LossOptions) -> Self {
        EncoderDecoder { loss, ..self }
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

    /// What the encoder makes of the sources; what is beyond a source's end means nothing.
    ///
    /// Returns (sequences, longest, hidden).
    ///
    /// # Errors
    /// [`ModelError::NoTokens`], [`ModelError::ContextFull`], [`ModelError::TokenOutOfRange`].
    pub fn encode(&self, sources: &[Vec<u32>], dropout: Option<DropoutKey>) -> Result<Tensor<3>, ModelError> {
        self.reads_text()?;
        input::check_sequences(sources, self.config().max_seq_len, self.vocab_size())?;
        let encoded = self.encoded(sources, dropout)?;
        Ok(encoded.rows.reshape([encoded.batch, encoded.time, self.config().hidden_size]))
    }

    /// What the encoder makes of sounds.
    ///
    /// Returns (sounds, places, hidden).
    ///
    /// # Errors
    /// [`ModelError::WrongInput`] for sounds of other bands or lengths than the model's, and if it reads texts.
    pub fn encode_speech(&self, sounds: &[LogMel], dropout: Option<DropoutKey>) -> Result<Tensor<3>, ModelError> {
        input::check_sounds(sounds, self.config())?;
        let encoded = self.heard(sounds, dropout)?;
        Ok(encoded.rows.reshape([encoded.batch, encoded.time, self.config().hidden_size]))
    }

    /// [`EncoderDecoder::logits`] of a model that reads sound.
    ///
    /// # Errors
    /// As there, and as [`EncoderDecoder::encode_speech`].
    pub fn speech_logits(&self, input: &SpeechInput, dropout: Option<DropoutKey>) -> Result<Tensor<3>, ModelError> {
        let logits = self.head(self.speech_rows(input, dropout)?);
        let ([rows, width], pairs) = (logits.dims(), input.sounds.len());
        Ok(logits.reshape([pairs, rows / pairs, width]))
    }

    /// [`EncoderDecoder::loss_sum`] of a model that reads sound.
    ///
    /// # Errors
    /// As there, and as [`EncoderDecoder::encode_speech`].
    pub fn speech_loss_sum(
        &self,
        input: &SpeechInput,
        labels: &[Vec<i32>],
        dropout: Option<DropoutKey>,
    ) -> Result<Tensor<1>, ModelError> {
        input::check_labels(&input.decoder_input_ids, labels, self.vocab_size())?;
        Ok(self.labelled_loss(self.speech_rows(input, dropout)?, labels))
    }

    fn speech_rows(&self, input: &SpeechInput, dropout: Option<DropoutKey>) -> Result<Tensor<2>, ModelError> {
        input.check(self.config(), self.vocab_size())?;
        let source = self.heard(&input.sounds, dropout)?;
        self.decoded(&input.decoder_input_ids, &source, dropout)
    }

    /// Refuses texts where sound is read.
    fn reads_text(&self) -> Result<(), ModelError> {
        match self.config().sound() {
            None => Ok(()),
            Some(_) => {
                let (found, expected) = ("texts".to_string(), "sounds, as Whisper reads them".to_string());
                Err(ModelError::WrongInput { what: "sources", found, expected })
            }
        }
    }

    /// Logits after each token that the decoder reads, for the token that follows; what is beyond a target's end means
    /// nothing.
    ///
    /// Returns (pairs, longest, vocabulary).
    ///
    /// # Errors
    /// [`ModelError::NoTokens`], [`ModelError::ContextFull`], [`ModelError::TokenOutOfRange`],
    /// [`ModelError::WrongInput`].
    pub fn logits(&self, input: &Seq2SeqInput, dropout: Option<DropoutKey>) -> Result<Tensor<3>, ModelError> {
        let logits = self.head(self.hidden_rows(input, dropout)?);
        let [rows, width] = logits.dims();
        Ok(logits.reshape([input.pairs(), rows / input.pairs(), width]))
    }

    /// Sum over labels of their cross-entropy, in nats, as [`EncoderDecoder::with_loss`] has it. It is the sum, so that
    /// micro-batches add up.
    ///
    /// * `labels`: what is to follow each token that the decoder reads, -100 where nothing is to be learnt; see
    ///   [`Seq2SeqInput::teacher_forcing`]
    ///
    /// Returns one value.
    ///
    /// # Errors
    /// As [`EncoderDecoder::logits`].
    pub fn loss_sum(
        &self,
        input: &Seq2SeqInput,
        labels: &[Vec<i32>],
        dropout: Option<DropoutKey>,
    ) -> Result<Tensor<1>, ModelError> {
        input::check_labels(&input.decoder_input_ids, labels, self.vocab_size())?;
        Ok(self.labelled_loss(self.hidden_rows(input, dropout)?, labels))
    }

    /// The loss of what the head reads, (pairs * longest, hidden).
    fn labelled_loss(&self, hidden: Tensor<2>, labels: &[Vec<i32>]) -> Tensor<1> {
        let longest = hidden.dims()[0] / labels.len().max(1);
        let (x, labels) = labelled(hidden, longest, labels);
        self.cross_entropy(x, labels)
    }

    fn cross_entropy(&self, x: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
        let LossOptions { label_smoothing, z_loss } = self.loss;
        let options = CrossEntropy { label_smoothing, z_loss, precision: self.precision, ..CrossEntropy::default() };
        let (x, weight) = (self.scaled(x), self.head_weight());
        match &self.logits_bias {
            None => danlu_ops::linear_cross_entropy(x, weight, labels, &options),
            Some(bias) => biased_cross_entropy(x, weight, bias.val(), labels, &options),
        }
    }

    /// What the head reads, (pairs * longest, hidden).
    fn hidden_rows(&self, input: &Seq2SeqInput, dropout: Option<DropoutKey>) -> Result<Tensor<2>, ModelError> {
        self.reads_text()?;
        input.check(self.config(), self.vocab_size())?;
        let source = self.encoded(&input.input_ids, dropout)?;
        self.decoded(&input.decoder_input_ids, &source, dropout)
    }

    /// The head over what it reads, (rows, hidden).
    pub(crate) fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        let bias = self.logits_bias.as_ref().map(Param::val);
        danlu_ops::linear(self.scaled(hidden), self.head_weight(), bias, self.precision)
    }

    fn scaled(&self, hidden: Tensor<2>) -> Tensor<2> {
        match self.config().head_scale() {
            None => hidden,
            Some(scale) => hidden.mul_scalar(scale),
        }
    }

    fn head_weight(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(Linear { weight: Form::Dense(weight), .. }) => weight.val(),
            _ => self.model.embed_tokens.weight.val(),
        }
    }

    /// Vectors of tokens at their positions, (tokens, hidden).
    pub(crate) fn embed(&self, stack: &Stack, ids: Tensor<1, Int>, positions: &[usize]) -> Tensor<2> {
        let config = self.config();
        let mut x = self.model.embed_tokens.rows(ids);
        let device = x.device();
        if config.scale_embedding() {
            x = x.mul_scalar((config.hidden_size as f64).sqrt());
        }
        if config.architecture.places() == Places::Sinusoidal {
            x = x + places::sinusoids(positions, config.hidden_size, &device);
        }
        if let Some(learned) = &stack.embed_positions {
            let offset = config.architecture.position_offset();
            let at: Vec<i32> = positions.iter().map(|p| (p + offset) as i32).collect();
            x = x + learned.rows(Tensor::from_data(TensorData::new(at, [positions.len()]), &device));
        }
        match &stack.embed_norm {
            None => x,
            Some(norm) => norm.forward(x),
        }
    }

    /// What a stack hands on of its last layer's result.
    pub(crate) fn normed(&self, stack: &Stack, x: Tensor<2>) -> Tensor<2> {
        match &stack.norm {
            None => x,
            Some(norm) => norm.forward(x),
        }
    }
}
