//! The layers of a decoder. All work on rows: activations are (rows, width), where rows are the tokens of a training
//! batch one after another, or the new tokens of the sequences being generated. What ties rows together, attention, is
//! passed in by the caller as a [`Mix`].

use crate::dropout::Dropout;
use crate::init::{RandomSource, Source, Start};
use crate::{Activation, ModelConfig, ModelError, NormKind};
use burn::module::{Module, Param};
use burn::prelude::*;
use danlu_ops::{Before, FusedLinear, Int8Weight, Precision, composed};
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
        let Form::Dense(weight) = &self.weight else { return Ok(self) };
        let [out, inp] = weight.dims();
        let weight = Int8Weight::quantize(&read(weight.val())?, out, inp);
        Ok(Linear { weight: Form::Int8(Int8 { weight: Arc::new(weight) }), ..self })
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
        return danlu_ops::fused_linear(FusedLinear { x, before, parts, residual, precision, kept });
    }
    let x = before.apply(composed::widened(x));
    let y = Tensor::cat(layers.iter().map(|layer| layer.forward(x.clone(), precision)).collect(), 1);
    match residual {
        Some(residual) => residual + y,
        None => y,
    }
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
}

impl Norm {
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.before().apply(x)
    }

    /// This normalisation as the beginning of a linear layer.
    fn before(&self) -> Before {
        let (weight, eps) = (self.weight.val(), self.eps);
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
}

impl Pass<'_> {
    /// `residual + layers(before(x))`, with dropout before the sum. The embedding has dropout site 0, layer i the sites
    /// 2 i + 1 and 2 i + 2.
    pub(crate) fn add(
        &self,
        site: usize,
        residual: Tensor<2>,
        x: Tensor<2>,
        before: Before,
        layer: &Linear,
    ) -> Tensor<2> {
        match self.dropout {
            None => project(x, before, &[layer], Some(residual), self.precision, Precision::F32),
            Some(dropout) => {
                dropout.add(site, residual, project(x, before, &[layer], None, self.precision, Precision::F32))
            }
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
}

/// The feed-forward layer; without a gate for GELU.
#[derive(Module, Debug)]
pub struct FeedForward {
    pub gate_proj: Option<Linear>,
    pub up_proj: Linear,
    pub down_proj: Linear,
    #[module(skip)]
    pub activation: Activation,
}

impl FeedForward {
    /// From the residual stream to the last layer's input: what is left to do to it, and its values.
    fn inner(&self, x: Tensor<2>, norm: &Norm, precision: Precision) -> (Tensor<2>, Before) {
        let Some(gate) = &self.gate_proj else {
            let activation = match self.activation {
                Activation::GeluErf => danlu_ops::Activation::GeluErf,
                _ => danlu_ops::Activation::GeluTanh,
            };
            let up = project(x, norm.before(), &[&self.up_proj], None, precision, precision);
            return (up, Before::Activation(activation));
        };
        let joined = project(x, norm.before(), &[gate, &self.up_proj], None, precision, precision);
        (joined, Before::Activation(danlu_ops::Activation::Swiglu))
    }
}

/// One layer: attention and feed-forward, each normalised before and added to the residual stream after.
#[derive(Module, Debug)]
pub struct Layer {
    pub input_layernorm: Norm,
    pub self_attn: Attention,
    pub post_attention_layernorm: Norm,
    pub mlp: FeedForward,
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
        let Attention { q_proj, k_proj, v_proj, o_proj } = &self.self_attn;
        let (norm, precision) = (self.input_layernorm.before(), pass.precision);
        let heads = project(x.clone(), norm, &[q_proj, k_proj, v_proj], None, precision, precision);
        let mixed = mix(index, heads)?;
        let x = pass.add(2 * index + 1, x, mixed, Before::Nothing, o_proj);
        let (inner, before) = self.mlp.inner(x.clone(), &self.post_attention_layernorm, pass.precision);
        Ok(pass.add(2 * index + 2, x, inner, before, &self.mlp.down_proj))
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
        let weight_name = format!("{name}.weight");
        let weight = match self.source.int8(&weight_name, out, inp)? {
            Some(weight) => Form::Int8(Int8 { weight: Arc::new(weight) }),
            None => Form::Dense(self.parameter(&weight_name, [out, inp], Start::Normal(std))?),
        };
        let bias = match bias {
            true => Some(self.parameter(&format!("{name}.bias"), [out], Start::Zeros)?),
            false => None,
        };
        Ok(Linear { weight, bias })
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
        Ok(Norm { weight, bias: Some(bias), eps })
    }
}

impl<S: Source> Builder<'_, S> {
    fn embedding(&mut self, name: &str, count: usize) -> Result<Embedding, ModelError> {
        let shape = [count, self.config.hidden_size];
        Ok(Embedding { weight: self.parameter(&format!("{name}.weight"), shape, Start::Normal(RandomSource::STD))? })
    }

    fn norm(&mut self, name: &str) -> Result<Norm, ModelError> {
        let shape = [self.config.hidden_size];
        let bias = match self.config.norm() {
            NormKind::Rms => None,
            NormKind::Layer => Some(self.parameter(&format!("{name}.bias"), shape, Start::Zeros)?),
        };
        let weight = self.parameter(&format!("{name}.weight"), shape, Start::Ones)?;
        Ok(Norm { weight, bias, eps: self.config.norm_eps })
    }

    fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let c = self.config;
        let (hidden, query, kv, ffn, bias) = (c.hidden_size, c.query_size(), c.kv_size(), c.ffn_size(), c.bias());
        let (std, residual) = (RandomSource::STD, RandomSource::residual_std(c));
        let at = |part: &str| format!("model.layers.{index}.{part}");
        let gate_proj = match c.activation() {
            Activation::Swiglu => Some(self.linear(&at("mlp.gate_proj"), ffn, hidden, std, bias)?),
            Activation::Gelu | Activation::GeluErf => None,
        };
        Ok(Layer {
            input_layernorm: self.norm(&at("input_layernorm"))?,
            self_attn: Attention {
                q_proj: self.linear(&at("self_attn.q_proj"), query, hidden, std, bias)?,
                k_proj: self.linear(&at("self_attn.k_proj"), kv, hidden, std, bias)?,
                v_proj: self.linear(&at("self_attn.v_proj"), kv, hidden, std, bias)?,
                o_proj: self.linear(&at("self_attn.o_proj"), hidden, query, residual, bias)?,
            },
            post_attention_layernorm: self.norm(&at("post_attention_layernorm"))?,
            mlp: FeedForward {
                gate_proj,
                up_proj: self.linear(&at("mlp.up_proj"), ffn, hidden, std, bias)?,
                down_proj: self.linear(&at("mlp.down_proj"), hidden, ffn, residual, bias)?,
                activation: c.activation(),
            },
        })
    }

    pub(crate) fn decoder(&mut self, vocab_size: usize) -> Result<Decoder, ModelError> {
        let embed_positions = match self.config.positions() {
            crate::Positions::Learned => Some(self.embedding("model.embed_positions", self.config.max_seq_len)?),
            crate::Positions::Rope | crate::Positions::Sinusoidal => None,
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
