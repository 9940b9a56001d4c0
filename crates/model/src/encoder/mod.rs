//! Encoders: BERT and what is built like it, and recurrent layers that read from both ends, with the heads that they are
//! used with.
//!
//! Begin reading at [`EncoderConfig`], then [`Encoder`]; `transformer.rs` and `bidirectional.rs` have the layers, `heads.rs` and
//! `ctc.rs` the heads and their losses, `names.rs` what the
//! parameters are called in folders, `folder.rs` how those are read and written, `sentence.rs` embeddings.

mod bidirectional;
mod config;
mod ctc;
mod folder;
mod heads;
mod input;
mod names;
mod sentence;
mod transformer;

pub use config::{EncoderConfig, EncoderKind, HeadConfig, Problem};
pub(crate) use folder::KNOWN;
pub use folder::describe_encoder;
pub use heads::{Head, HeadLoss, MaskedLm, Pooler, SequenceClassifier, TokenClassifier};
pub use input::{EncoderInput, EncoderTargets};
pub use sentence::{Pooling, SentenceConfig};

use crate::dropout::Dropout;
use crate::init::{RandomSource, Source};
use crate::labels::{biased_cross_entropy, labelled};
use crate::layers::{Builder, Embedding, Linear};
use crate::parameters::{parameters_of, values_of, with_values};
use crate::{Activation, DropoutKey, ModelError, ParameterInfo, SpecialTokens};
use bidirectional::{BidirectionalPass, BidirectionalStack};
use burn::module::Module;
use burn::prelude::*;
use danlu_ops::{CrossEntropy, IGNORED, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;
use transformer::{EncoderPass, EncoderTransformer};

/// An encoder-only Transformer with its head (Devlin et al. 2019, "BERT").
///
/// Cloning is cheap: clones share their weights. Created on an autodiff device it is trainable; `model.valid()` is the
/// snapshot to evaluate with.
#[derive(Module, Debug)]
pub struct Encoder {
    pub model: EncoderBody,
    pub head: Option<Head>,
    #[module(skip)]
    pub(crate) shared: Arc<Shared>,
    #[module(skip)]
    pub(crate) precision: Precision,
    #[module(skip)]
    loss: Arc<HeadLoss>,
}

/// Everything below the head. Parameters of both have names that begin with `model.embed_tokens` and `model.layers.0`.
#[derive(Module, Debug)]
pub enum EncoderBody {
    Transformer(EncoderTransformer),
    Bidirectional(BidirectionalStack),
}

impl EncoderBody {
    /// Of each token a vector.
    pub fn embed_tokens(&self) -> &Embedding {
        match self {
            EncoderBody::Transformer(body) => &body.embed_tokens,
            EncoderBody::Bidirectional(stack) => &stack.embed_tokens,
        }
    }
}

/// What all clones and snapshots of a model have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: EncoderConfig,
    pub(crate) vocab_size: usize,
    pub(crate) special: SpecialTokens,
}

impl Encoder {
    /// A model with random weights: normal with standard deviation 0.02, biases 0 and norms 1. The same for one seed on
    /// every device.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`].
    pub fn new(config: &EncoderConfig, vocab_size: usize, seed: u64, device: &Device) -> Result<Self, ModelError> {
        Self::build(config, vocab_size, SpecialTokens::default(), &mut RandomSource { seed }, device)
    }

    pub(crate) fn build<S: Source>(
        config: &EncoderConfig,
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
        let model = match config.architecture.cell() {
            None => EncoderBody::Transformer(builder.transformer(vocab_size)?),
            Some(cell) => EncoderBody::Bidirectional(builder.bidirectional(cell, vocab_size)?),
        };
        let head = builder.head(vocab_size)?;
        let shared = Arc::new(Shared { config: config.clone(), vocab_size, special });
        Ok(Encoder { model, head, shared, precision: Precision::F32, loss: Arc::default() })
    }

    pub fn config(&self) -> &EncoderConfig {
        &self.shared.config
    }

    /// Tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        self.shared.vocab_size
    }

    /// Padding token and what else the model's folder named.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.shared.special
    }

    /// Where the weights lie.
    pub fn device(&self) -> Device {
        self.model.embed_tokens().weight.val().device()
    }

    /// This model with another precision of its products.
    pub fn with_precision(self, precision: Precision) -> Self {
        Encoder { precision, ..self }
    }

    /// This model with another loss, in [`Encoder::loss_sum`] and its gradients.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] if there is not one positive weight for each label, or the smoothing is no share.
    pub fn with_loss(self, loss: HeadLoss) -> Result<Self, ModelError> {
        let labels = self.config().head.labels().len();
        if let Some(weights) = &loss.class_weights {
            let fits = weights.len() == labels && weights.iter().all(|w| w.is_finite() && *w > 0.0);
            crate::config::check(fits, "class_weights", format!("{weights:?}"), || {
                format!("{labels} positive numbers, one for each label")
            })?;
        }
        let smoothing = loss.label_smoothing;
        crate::config::check((0.0..=1.0).contains(&smoothing), "label_smoothing", smoothing, || {
            "a share from 0 to 1".to_string()
        })?;
        Ok(Encoder { loss: Arc::new(loss), ..self })
    }

    /// Parameters.
    pub fn num_params(&self) -> usize {
        Module::num_params(self)
    }

    /// See [`EncoderConfig::flops_per_token`].
    pub fn flops_per_token(&self, seq_len: usize) -> f64 {
        self.config().flops_per_token(seq_len)
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

    /// Activations after the last layer; those of padding mean nothing.
    ///
    /// Returns (sequences, longest, hidden).
    ///
    /// # Errors
    /// [`ModelError::NoTokens`], [`ModelError::ContextFull`], [`ModelError::TokenOutOfRange`],
    /// [`ModelError::WrongInput`].
    pub fn hidden(&self, input: &EncoderInput, dropout: Option<DropoutKey>) -> Result<Tensor<3>, ModelError> {
        input.check(self.config(), self.vocab_size())?;
        let x = match &self.model {
            EncoderBody::Transformer(body) => {
                let pass = EncoderPass::new(self, input, dropout);
                let layers = body.layers.iter().enumerate();
                layers.fold(pass.embed(self, body, input), |x, (index, layer)| pass.layer(self, index, layer, x))
            }
            EncoderBody::Bidirectional(stack) => {
                let pass = BidirectionalPass::new(self, input, dropout);
                let layers = stack.layers.iter().enumerate();
                layers.fold(pass.embed(stack, input), |x, (index, layer)| pass.layer(index, layer, x))
            }
        };
        Ok(x.reshape([input.sequences(), input.longest(), self.config().hidden_size]))
    }

    /// What the head says: of a pooler (sequences, hidden); of a masked language model (sequences * longest,
    /// vocabulary); of a sequence classifier (sequences, labels); of a token classifier (sequences * longest, labels); of a
    /// CTC head (sequences * longest, labels + 1), the first being the blank.
    ///
    /// # Errors
    /// As [`Encoder::hidden`]; [`ModelError::InvalidConfig`] if the model has no head.
    pub fn logits(&self, input: &EncoderInput, dropout: Option<DropoutKey>) -> Result<Tensor<2>, ModelError> {
        let head = self.head.as_ref().ok_or_else(|| self.no_head("a head"))?;
        let hidden = self.hidden(input, dropout)?;
        let drop = HeadDropout::new(self, input, dropout);
        Ok(match head {
            Head::Pooler(pooler) => self.pooled(&pooler.dense, input, hidden, &drop),
            Head::MaskedLm(head) => {
                let x = self.transformed(head, rows(hidden));
                danlu_ops::linear(x, self.model.embed_tokens().weight.val(), Some(head.bias.val()), self.precision)
            }
            Head::Sequence(head) => {
                let pooled = self.pooled(&head.dense, input, hidden, &drop);
                head.out_proj.forward(drop.apply(1, pooled), self.precision)
            }
            Head::Tokens(head) | Head::Ctc(head) => head.out_proj.forward(drop.apply(1, rows(hidden)), self.precision),
        })
    }

    /// Sum of the losses of all targets, as [`Encoder::with_loss`] has them; [`EncoderTargets::counted`] is what to divide
    /// it by. It is the sum, so that micro-batches add up.
    ///
    /// The loss of a masked language model is the cross-entropy of the tokens with a target, in nats; only their rows
    /// reach the vocabulary.
    ///
    /// Returns one value.
    ///
    /// # Errors
    /// As [`Encoder::logits`]; [`ModelError::WrongInput`] if the targets are not those of the head.
    pub fn loss_sum(
        &self,
        input: &EncoderInput,
        targets: &EncoderTargets,
        dropout: Option<DropoutKey>,
    ) -> Result<Tensor<1>, ModelError> {
        let config = &self.config().head;
        targets.check(input, config, self.vocab_size())?;
        match (&self.head, targets, config) {
            (Some(Head::MaskedLm(head)), EncoderTargets::Tokens(targets), _) => {
                Ok(self.masked_loss(head, self.hidden(input, dropout)?, targets))
            }
            (Some(Head::Tokens(_)), EncoderTargets::Tokens(targets), _) => {
                let longest = input.longest();
                let padded = targets
                    .iter()
                    .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(IGNORED, longest - row.len())));
                let targets: Vec<i32> = padded.collect();
                Ok(heads::class_loss(self.logits(input, dropout)?, &targets, &self.loss))
            }
            (Some(Head::Ctc(_)), EncoderTargets::Labels(labels), _) => {
                Ok(ctc::ctc_loss(self.logits(input, dropout)?, input.lengths(), labels))
            }
            (Some(_), targets, HeadConfig::SequenceClassification { problem, .. }) => {
                Ok(heads::sequence_loss(self.logits(input, dropout)?, targets, *problem, &self.loss))
            }
            _ => Err(self.no_head("a head that learns")),
        }
    }

    fn masked_loss(&self, head: &MaskedLm, hidden: Tensor<3>, targets: &[Vec<i32>]) -> Tensor<1> {
        let longest = hidden.dims()[1];
        let (x, labels) = labelled(rows(hidden), longest, targets);
        let options = CrossEntropy {
            label_smoothing: self.loss.label_smoothing,
            precision: self.precision,
            ..CrossEntropy::default()
        };
        let (x, weight) = (self.transformed(head, x), self.model.embed_tokens().weight.val());
        biased_cross_entropy(x, weight, head.bias.val(), labels, &options)
    }

    /// A masked language model's rows before the vocabulary.
    fn transformed(&self, head: &MaskedLm, x: Tensor<2>) -> Tensor<2> {
        let activation = match self.config().architecture {
            EncoderKind::Roberta => danlu_ops::Activation::GeluErf,
            _ => self.activation(),
        };
        let x = danlu_ops::activate(activation, head.dense.forward(x, self.precision));
        head.norm.forward(x)
    }

    /// What stands for the whole sequence, through a classifier's first layer: the first token's row, or what recurrent
    /// layers have read at their ends.
    fn pooled(&self, dense: &Linear, input: &EncoderInput, hidden: Tensor<3>, dropout: &HeadDropout) -> Tensor<2> {
        let [batch, _, width] = hidden.dims();
        let first: Tensor<2> = match &self.model {
            EncoderBody::Transformer(_) => hidden.narrow(1, 0, 1).reshape([batch, width]),
            EncoderBody::Bidirectional(_) => BidirectionalPass::new(self, input, None).ends(&hidden),
        };
        match self.config().architecture {
            EncoderKind::Bert | EncoderKind::Lstm | EncoderKind::Gru | EncoderKind::Rnn => {
                dense.forward(first, self.precision).tanh()
            }
            // RoBERTa's classifier drops before its first layer, too; its pooler does not.
            EncoderKind::Roberta if self.config().head != HeadConfig::Pooler => {
                dense.forward(dropout.apply(0, first), self.precision).tanh()
            }
            EncoderKind::Roberta => dense.forward(first, self.precision).tanh(),
            EncoderKind::DistilBert => burn::tensor::activation::relu(dense.forward(first, self.precision)),
        }
    }

    fn activation(&self) -> danlu_ops::Activation {
        match self.config().activation {
            Activation::GeluErf => danlu_ops::Activation::GeluErf,
            _ => danlu_ops::Activation::GeluTanh,
        }
    }

    fn no_head(&self, expected: &str) -> ModelError {
        let found = self.config().head.name().to_string();
        ModelError::InvalidConfig { key: "head", found, expected: expected.to_string() }
    }
}

/// (sequences, longest, hidden) as rows.
fn rows(hidden: Tensor<3>) -> Tensor<2> {
    let [batch, time, width] = hidden.dims();
    hidden.reshape([batch * time, width])
}

/// Dropout around a classifier, at sites after those of the layers.
struct HeadDropout {
    dropout: Option<Dropout>,
    first_site: usize,
}

impl HeadDropout {
    fn new(model: &Encoder, input: &EncoderInput, key: Option<DropoutKey>) -> Self {
        let config = model.config();
        let dropout = Dropout::new(key, config.classifier_dropout(), input.sequences());
        HeadDropout { dropout, first_site: 3 * config.layers + 1 }
    }

    fn apply(&self, site: usize, x: Tensor<2>) -> Tensor<2> {
        match &self.dropout {
            None => x,
            Some(dropout) => dropout.apply(self.first_site + site, x),
        }
    }
}

impl<S: Source> Builder<'_, S, EncoderConfig> {
    fn head(&mut self, vocab_size: usize) -> Result<Option<Head>, ModelError> {
        let (hidden, eps) = (self.config.hidden_size, self.config.norm_eps);
        let labels = self.config.head.labels().len();
        Ok(Some(match &self.config.head {
            HeadConfig::None => return Ok(None),
            HeadConfig::Pooler => Head::Pooler(Pooler { dense: self.biased("head.dense", hidden, hidden)? }),
            HeadConfig::MaskedLm => Head::MaskedLm(MaskedLm {
                dense: self.biased("head.dense", hidden, hidden)?,
                norm: self.layer_norm("head.norm", hidden, eps)?,
                bias: self.parameter("head.bias", [vocab_size], crate::init::Start::Zeros)?,
            }),
            HeadConfig::SequenceClassification { .. } => Head::Sequence(SequenceClassifier {
                dense: self.biased("head.dense", hidden, hidden)?,
                out_proj: self.biased("head.out_proj", labels, hidden)?,
            }),
            HeadConfig::TokenClassification { .. } => {
                Head::Tokens(TokenClassifier { out_proj: self.biased("head.out_proj", labels, hidden)? })
            }
            HeadConfig::Ctc { .. } => {
                Head::Ctc(TokenClassifier { out_proj: self.biased("head.out_proj", labels + 1, hidden)? })
            }
        }))
    }

    fn biased(&mut self, name: &str, out: usize, inp: usize) -> Result<Linear, ModelError> {
        self.linear(name, out, inp, RandomSource::STD, true)
    }
}
