//! The layers of a decoder. All work on rows: activations are (rows, width), where rows are the tokens of a training
//! batch one after another, or the new tokens of the sequences being generated. What ties rows together, attention, is
//! passed in by the caller as a [`Mix`].

use crate::dropout::Dropout;
use crate::experts::MixtureOfExperts;
use crate::init::{RandomSource, Source, Start};
use crate::{Activation, ModelConfig, ModelError, NormKind};
use burn::module::{Module, Param};
use burn::prelude::*;
use danlu_ops::{Before, FusedLinear, Int8Weight, Precision, composed};
use std::cell::RefCell;
use std::sync::Arc;

/// A linear layer, `y = x weight^T + bias`.
#[derive(Module, Debug)]
pub struct Linear {
    /// (out, in), in the form it has.
    pub weight: Form,
    /// (out)
    pub bias: Option<Param<Tensor<1>>>,
}

/// The form of a linear layer's weight.
#[derive(Module, Debug)]
pub enum Form {
    /// f32, trainable.
    Dense(Param<Tensor<2>>),
    /// One byte per weight, for inference only.
    Int8(Int8),
}

/// An int8 weight, shared between clones of the model.
#[derive(Module, Debug)]
pub struct Int8 {
    #[module(skip)]
    pub weight: Arc<Int8Weight>,
}

impl Form {
    /// This weight in int8, one scale per output channel.
    pub(crate) fn quantized(self) -> Result<Form, ModelError> {
        let Form::Dense(weight) = &self else { return Ok(self) };
        let [out, inp] = weight.dims();
        let weight = Int8Weight::quantize(&read(weight.val())?, out, inp);
        Ok(Form::Int8(Int8 { weight: Arc::new(weight) }))
    }
}

impl Linear {
    /// * `x`: (..., in)
    /// * `precision`: of the product, where the weight is not in int8
    ///
    /// Returns (..., out).
    pub fn forward<const D: usize>(&self, x: Tensor<D>, precision: Precision) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        match &self.weight {
            Form::Dense(weight) => danlu_ops::linear(x, weight.val(), bias, precision),
            Form::Int8(form) => danlu_ops::linear_int8(x, &form.weight, bias),
        }
    }

    /// Weight and bias, if the weight is dense.
    fn dense(&self) -> Option<(Tensor<2>, Option<Tensor<1>>)> {
        match &self.weight {
            Form::Dense(weight) => Some((weight.val(), self.bias.as_ref().map(Param::val))),
            Form::Int8(_) => None,
        }
    }

    /// (out, in)
    pub fn shape(&self) -> [usize; 2] {
        match &self.weight {
            Form::Dense(weight) => weight.dims(),
            Form::Int8(form) => [form.weight.out, form.weight.inp],
        }
    }

    /// This layer with its weight in int8, one scale per output channel.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the weight cannot be read back.
    pub fn quantized(self) -> Result<Linear, ModelError> {
        Ok(Linear { weight: self.weight.quantized()?, ..self })
    }
}

/// `residual + layers(before(x))`, the results of several layers side by side: (rows, sum of out). One operation when all
/// weights are dense; then the result is kept in the format `kept`.
pub(crate) fn project(
    x: Tensor<2>,
    before: Before,
    layers: &[&Linear],
    residual: Option<Tensor<2>>,
    precision: Precision,
    kept: Precision,
) -> Tensor<2> {
    if let Some(parts) = layers.iter().map(|layer| layer.dense()).collect() {
        let parts = with_even_biases(parts);
        return danlu_ops::fused_linear(FusedLinear { x, before, parts, residual, precision, kept });
    }
    let x = before.apply(composed::widened(x));
    let y = Tensor::cat(layers.iter().map(|layer| layer.forward(x.clone(), precision)).collect(), 1);
    match residual {
        Some(residual) => residual + y,
        None => y,
    }
}

/// The same layers with a bias in each or in none.
fn with_even_biases(mut parts: Vec<(Tensor<2>, Option<Tensor<1>>)>) -> Vec<(Tensor<2>, Option<Tensor<1>>)> {
    if parts.iter().any(|(_, bias)| bias.is_some()) {
        for (weight, bias) in &mut parts {
            let [out, _] = weight.dims();
            let device = weight.device();
            bias.get_or_insert_with(|| Tensor::zeros([out], &device));
        }
    }
    parts
}

/// A matrix of vectors, one per token or per position.
#[derive(Module, Debug)]
pub struct Embedding {
    /// (count, width)
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// The vectors of `ids`, (ids, width).
    pub(crate) fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        danlu_ops::embedding(self.weight.val(), ids.unsqueeze::<2>()).squeeze_dim::<2>(0)
    }
}

/// Root-mean-square normalisation, or layer normalisation when it has a bias.
#[derive(Module, Debug)]
pub struct Norm {
    pub weight: Param<Tensor<1>>,
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub eps: f64,
    /// Whether it multiplies by 1 + weight.
    #[module(skip)]
    pub offset: bool,
}

impl Norm {
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.before().apply(x)
    }

    /// This normalisation as the beginning of a linear layer.
    pub(crate) fn before(&self) -> Before {
        let (mut weight, eps) = (self.weight.val(), self.eps);
        if self.offset {
            weight = weight.add_scalar(1.0);
        }
        match &self.bias {
            None => Before::RmsNorm { weight, eps },
            Some(bias) => Before::LayerNorm { weight, bias: bias.val(), eps },
        }
    }
}

/// The attention core: from a layer's number and the queries, keys and values of all rows side by side, before any
/// rotation, (rows, (heads + 2 kv_heads) * head_dim), to (rows, heads * head_dim). Training mixes whole sequences,
/// generation mixes new rows with a cache.
pub(crate) type Mix<'a> = &'a mut dyn FnMut(usize, Tensor<2>) -> Result<Tensor<2>, ModelError>;

/// What all layers of one pass share.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) precision: Precision,
    pub(crate) dropout: Option<&'a Dropout>,
    /// Where mixtures of experts leave how unevenly they spread the tokens; none where nobody asks.
    pub(crate) imbalance: Option<&'a RefCell<Vec<Tensor<1>>>>,
}

impl Pass<'_> {
    /// `residual + after(layers(before(x)))`, with dropout before the sum. The embedding has dropout site 0, layer i the
    /// sites 2 i + 1 and 2 i + 2.
    pub(crate) fn add(
        &self,
        site: usize,
        residual: Tensor<2>,
        x: Tensor<2>,
        before: Before,
        layer: &Linear,
        after: Option<&Norm>,
    ) -> Tensor<2> {
        if self.dropout.is_none() && after.is_none() {
            return project(x, before, &[layer], Some(residual), self.precision, Precision::F32);
        }
        self.add_to(site, residual, project(x, before, &[layer], None, self.precision, Precision::F32), after)
    }

    /// `residual + after(y)`, with dropout before the sum.
    fn add_to(&self, site: usize, residual: Tensor<2>, y: Tensor<2>, after: Option<&Norm>) -> Tensor<2> {
        let y = match after {
            Some(norm) => norm.forward(y),
            None => y,
        };
        match self.dropout {
            None => danlu_ops::add(residual, y),
            Some(dropout) => dropout.add(site, residual, y),
        }
    }
}

/// Projections into and out of the attention core.
#[derive(Module, Debug)]
pub struct Attention {
    pub q_proj: Linear,
    pub k_proj: Linear,
    pub v_proj: Linear,
    pub o_proj: Linear,
    /// Normalisation of each query head, (head_dim).
    pub q_norm: Option<Norm>,
    /// Normalisation of each key head, (head_dim).
    pub k_norm: Option<Norm>,
}

impl Attention {
    /// Queries, keys and values side by side, as [`Mix`] wants them, kept in `kept` where heads are not normalised.
    pub(crate) fn heads(&self, x: Tensor<2>, before: Before, precision: Precision, kept: Precision) -> Tensor<2> {
        let layers = [&self.q_proj, &self.k_proj, &self.v_proj];
        let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) else {
            return project(x, before, &layers, None, precision, kept);
        };
        let heads = project(x, before, &layers, None, precision, Precision::F32);
        let [rows, width] = heads.dims();
        let [query, key] = [self.q_proj.shape()[0], self.k_proj.shape()[0]];
        let normed = |first: usize, width: usize, norm: &Norm| {
            let [head_dim] = norm.weight.dims();
            let x = heads.clone().narrow(1, first, width).reshape([rows * width / head_dim, head_dim]);
            norm.forward(x).reshape([rows, width])
        };
        let values = heads.clone().narrow(1, query + key, width - query - key);
        Tensor::cat(vec![normed(0, query, q_norm), normed(query, key, k_norm), values], 1)
    }
}

/// What follows attention.
#[derive(Module, Debug)]
pub enum Mlp {
    /// One feed-forward layer for all tokens.
    Dense(FeedForward),
    /// A choice of them for each token.
    Experts(MixtureOfExperts),
}

impl Mlp {
    /// This layer with its weights in int8.
    pub(crate) fn quantized(self) -> Result<Self, ModelError> {
        Ok(match self {
            Mlp::Dense(layer) => Mlp::Dense(layer.quantized()?),
            Mlp::Experts(experts) => Mlp::Experts(experts.quantized()?),
        })
    }
}

/// The feed-forward layer.
#[derive(Module, Debug)]
pub struct FeedForward {
    pub gate_proj: Option<Linear>,
    pub up_proj: Linear,
    pub down_proj: Linear,
    #[module(skip)]
    pub activation: Activation,
}

impl FeedForward {
    /// From the input to the last layer's: what is left to do to it, and its values.
    pub(crate) fn inner(&self, x: Tensor<2>, before: Before, precision: Precision) -> (Tensor<2>, Before) {
        let activation = Before::Activation(self.activation.operation());
        let Some(gate) = &self.gate_proj else {
            return (project(x, before, &[&self.up_proj], None, precision, precision), activation);
        };
        (project(x, before, &[gate, &self.up_proj], None, precision, precision), activation)
    }

    /// The layer by itself, (rows, hidden) to (rows, hidden).
    pub(crate) fn forward(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        let (inner, before) = self.inner(x, Before::Nothing, precision);
        project(inner, before, &[&self.down_proj], None, precision, Precision::F32)
    }

    /// This layer with its weights in int8.
    pub(crate) fn quantized(self) -> Result<Self, ModelError> {
        Ok(FeedForward {
            gate_proj: self.gate_proj.map(Linear::quantized).transpose()?,
            up_proj: self.up_proj.quantized()?,
            down_proj: self.down_proj.quantized()?,
            activation: self.activation,
        })
    }
}

impl Activation {
    /// As an operation; gated ones read gate and input side by side.
    fn operation(self) -> danlu_ops::Activation {
        match self {
            Activation::Swiglu => danlu_ops::Activation::Swiglu,
            Activation::Geglu => danlu_ops::Activation::Geglu,
            Activation::Gelu => danlu_ops::Activation::GeluTanh,
            Activation::GeluErf => danlu_ops::Activation::GeluErf,
            Activation::Relu => danlu_ops::Activation::Relu,
            Activation::Silu => danlu_ops::Activation::Silu,
            Activation::QuickGelu => danlu_ops::Activation::QuickGelu,
        }
    }
}

/// One layer: attention and feed-forward, each normalised before and added to the residual stream after. The norms are
/// called as Hugging Face calls them, where `post_attention_layernorm` is that of the feed-forward layer's input, or,
/// where there are four, that of the attention's result.
#[derive(Module, Debug)]
pub struct Layer {
    pub input_layernorm: Norm,
    pub self_attn: Attention,
    pub post_attention_layernorm: Norm,
    pub mlp: Mlp,
    pub pre_feedforward_layernorm: Option<Norm>,
    pub post_feedforward_layernorm: Option<Norm>,
}

impl Layer {
    /// Layer number `index` over the residual stream.
    pub(crate) fn forward(
        &self,
        index: usize,
        x: Tensor<2>,
        mix: Mix,
        pass: Pass<'_>,
    ) -> Result<Tensor<2>, ModelError> {
        let (after_attention, before_mlp) = match &self.pre_feedforward_layernorm {
            None => (None, &self.post_attention_layernorm),
            Some(norm) => (Some(&self.post_attention_layernorm), norm),
        };
        let heads = self.self_attn.heads(x.clone(), self.input_layernorm.before(), pass.precision, pass.precision);
        let mixed = mix(index, heads)?;
        let x = pass.add(2 * index + 1, x, mixed, Before::Nothing, &self.self_attn.o_proj, after_attention);
        let after = self.post_feedforward_layernorm.as_ref();
        match &self.mlp {
            Mlp::Dense(mlp) => {
                let (inner, before) = mlp.inner(x.clone(), before_mlp.before(), pass.precision);
                Ok(pass.add(2 * index + 2, x, inner, before, &mlp.down_proj, after))
            }
            Mlp::Experts(experts) => {
                let (y, imbalance) = experts.forward(before_mlp.forward(x.clone()), pass.precision)?;
                if let Some(left) = pass.imbalance {
                    left.borrow_mut().push(imbalance);
                }
                Ok(pass.add_to(2 * index + 2, x, y, after))
            }
        }
    }
}

/// Everything below the head.
#[derive(Module, Debug)]
pub struct Decoder {
    pub embed_tokens: Embedding,
    /// Learned positions.
    pub embed_positions: Option<Embedding>,
    pub layers: Vec<Layer>,
    pub norm: Norm,
}

/// Builds layers from a source of weights, by the settings of a kind of model.
pub(crate) struct Builder<'a, S, C = ModelConfig> {
    pub(crate) config: &'a C,
    pub(crate) source: &'a mut S,
    pub(crate) device: &'a Device,
}

impl<S: Source, C> Builder<'_, S, C> {
    pub(crate) fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        start: Start,
    ) -> Result<Param<Tensor<D>>, ModelError> {
        let values = self.source.values(name, &shape, start)?;
        Ok(Param::from_data(TensorData::new(values, shape), self.device))
    }

    pub(crate) fn linear(
        &mut self,
        name: &str,
        out: usize,
        inp: usize,
        std: f64,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let weight = self.form(&format!("{name}.weight"), out, inp, std)?;
        let bias = match bias {
            true => Some(self.parameter(&format!("{name}.bias"), [out], Start::Zeros)?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    /// A matrix in the form that the source has it in.
    pub(crate) fn form(&mut self, name: &str, out: usize, inp: usize, std: f64) -> Result<Form, ModelError> {
        Ok(match self.source.int8(name, out, inp)? {
            Some(weight) => Form::Int8(Int8 { weight: Arc::new(weight) }),
            None => Form::Dense(self.parameter(name, [out, inp], Start::Normal(std))?),
        })
    }

    /// Vectors of `width` for `count` tokens or positions.
    pub(crate) fn vectors(&mut self, name: &str, count: usize, width: usize) -> Result<Embedding, ModelError> {
        let start = Start::Normal(RandomSource::STD);
        Ok(Embedding { weight: self.parameter(&format!("{name}.weight"), [count, width], start)? })
    }

    /// Layer normalisation of `width`.
    pub(crate) fn layer_norm(&mut self, name: &str, width: usize, eps: f64) -> Result<Norm, ModelError> {
        let weight = self.parameter(&format!("{name}.weight"), [width], Start::Ones)?;
        let bias = self.parameter(&format!("{name}.bias"), [width], Start::Zeros)?;
        Ok(Norm { weight, bias: Some(bias), eps, offset: false })
    }
}

impl<S: Source> Builder<'_, S> {
    pub(crate) fn embedding(&mut self, name: &str, count: usize) -> Result<Embedding, ModelError> {
        let shape = [count, self.config.embedding_size()];
        Ok(Embedding { weight: self.parameter(&format!("{name}.weight"), shape, Start::Normal(RandomSource::STD))? })
    }

    fn norm(&mut self, name: &str) -> Result<Norm, ModelError> {
        let shape = [self.config.hidden_size];
        let offset = self.config.norm_offset();
        let bias = match self.config.norm() {
            NormKind::Rms => None,
            NormKind::Layer => Some(self.parameter(&format!("{name}.bias"), shape, Start::Zeros)?),
        };
        let start = if offset { Start::Zeros } else { Start::Ones };
        let weight = self.parameter(&format!("{name}.weight"), shape, start)?;
        Ok(Norm { weight, bias, eps: self.config.norm_eps, offset })
    }

    /// A norm that only some models have.
    fn norm_if(&mut self, wanted: bool, name: &str) -> Result<Option<Norm>, ModelError> {
        wanted.then(|| self.norm(name)).transpose()
    }

    /// The root-mean-square normalisation of heads, where the model has it.
    fn head_norm(&mut self, name: &str) -> Result<Option<Norm>, ModelError> {
        let (config, offset) = (self.config, self.config.norm_offset());
        if !config.qk_norm() {
            return Ok(None);
        }
        let start = if offset { Start::Zeros } else { Start::Ones };
        let weight = self.parameter(&format!("{name}.weight"), [config.head_dim()], start)?;
        Ok(Some(Norm { weight, bias: None, eps: config.norm_eps, offset }))
    }

    /// The feed-forward layer of that name.
    fn feed_forward(&mut self, name: &str) -> Result<FeedForward, ModelError> {
        let c = self.config;
        let (hidden, ffn, bias) = (c.hidden_size, c.ffn_size(), c.bias());
        let (std, residual) = (RandomSource::STD, RandomSource::residual_std(c));
        let gate_proj = match c.activation().is_gated() {
            true => Some(self.linear(&format!("{name}.gate_proj"), ffn, hidden, std, bias)?),
            false => None,
        };
        Ok(FeedForward {
            gate_proj,
            up_proj: self.linear(&format!("{name}.up_proj"), ffn, hidden, std, bias)?,
            down_proj: self.linear(&format!("{name}.down_proj"), hidden, ffn, residual, bias)?,
            activation: c.activation(),
        })
    }

    fn mlp(&mut self, name: &str) -> Result<Mlp, ModelError> {
        let c = self.config;
        let Some(count) = c.experts() else { return self.feed_forward(name).map(Mlp::Dense) };
        Ok(Mlp::Experts(MixtureOfExperts {
            gate: self.linear(&format!("{name}.gate"), count, c.hidden_size, RandomSource::STD, false)?,
            experts: (0..count).map(|e| self.feed_forward(&format!("{name}.experts.{e}"))).collect::<Result<_, _>>()?,
            per_token: c.experts_per_token(),
            normalized: c.norm_topk_prob(),
        }))
    }

    fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let c = self.config;
        let (hidden, query, kv, bias) = (c.hidden_size, c.query_size(), c.kv_size(), c.bias());
        let (std, residual) = (RandomSource::STD, RandomSource::residual_std(c));
        let at = |part: &str| format!("model.layers.{index}.{part}");
        let qkv_bias = c.qkv_bias();
        Ok(Layer {
            input_layernorm: self.norm(&at("input_layernorm"))?,
            self_attn: Attention {
                q_proj: self.linear(&at("self_attn.q_proj"), query, hidden, std, qkv_bias)?,
                k_proj: self.linear(&at("self_attn.k_proj"), kv, hidden, std, qkv_bias)?,
                v_proj: self.linear(&at("self_attn.v_proj"), kv, hidden, std, qkv_bias)?,
                o_proj: self.linear(&at("self_attn.o_proj"), hidden, query, residual, bias)?,
                q_norm: self.head_norm(&at("self_attn.q_norm"))?,
                k_norm: self.head_norm(&at("self_attn.k_norm"))?,
            },
            post_attention_layernorm: self.norm(&at("post_attention_layernorm"))?,
            mlp: self.mlp(&at("mlp"))?,
            pre_feedforward_layernorm: self.norm_if(c.post_norms(), &at("pre_feedforward_layernorm"))?,
            post_feedforward_layernorm: self.norm_if(c.post_norms(), &at("post_feedforward_layernorm"))?,
        })
    }

    pub(crate) fn decoder(&mut self, vocab_size: usize) -> Result<Decoder, ModelError> {
        let embed_positions = match self.config.positions() {
            crate::Positions::Learned => Some(self.embedding("model.embed_positions", self.config.max_seq_len)?),
            _ => None,
        };
        Ok(Decoder {
            embed_tokens: self.embedding("model.embed_tokens", vocab_size)?,
            embed_positions,
            layers: (0..self.config.layers).map(|i| self.layer(i)).collect::<Result<_, _>>()?,
            norm: self.norm("model.norm")?,
        })
    }
}

/// A tensor's values in row-major order.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ModelError> {
    let device = |message: String| ModelError::Device { message };
    let data = tensor.try_into_data_as::<f32>().map_err(|e| device(e.to_string()))?;
    data.try_into_vec::<f32>().map_err(|e| device(format!("{e:?}")))
}
