//! The two stacks of layers. As in a decoder-only model all works on rows, (rows, width), and what ties rows together,
//! attention, is passed in: a [`Core`].

use super::{EncoderDecoderConfig, config::Places};
use crate::ModelError;
use crate::dropout::Dropout;
use crate::init::{Source, Start};
use crate::layers::{Attention, Builder, Embedding, FeedForward, Linear, Norm, Pass, project};
use burn::module::Module;
use burn::prelude::*;
use danlu_ops::{Before, Precision, composed};

/// Places at the start of a learned table that no token has.
pub(super) const POSITION_OFFSET: usize = 2;
/// Dropout sites of one layer: attention's weights and result, those of attention to the source, the feed-forward
/// layer's activation and result.
const SITES: usize = 6;

/// The encoder, or the decoder.
#[derive(Module, Debug)]
pub struct Stack {
    /// Learned positions.
    pub embed_positions: Option<Embedding>,
    /// Relative positions, (buckets, heads), for all layers.
    pub relative_bias: Option<Embedding>,
    pub embed_norm: Option<Norm>,
    pub layers: Vec<StackLayer>,
    /// Of the last layer's result, where layers normalise what they read.
    pub norm: Option<Norm>,
}

/// One layer: attention, in the decoder attention to the source, and feed-forward, each with its normalisation.
#[derive(Module, Debug)]
pub struct StackLayer {
    pub self_attn: Attention,
    pub self_attn_norm: Norm,
    pub cross_attn: Option<Attention>,
    pub cross_attn_norm: Option<Norm>,
    pub mlp: FeedForward,
    pub mlp_norm: Norm,
}

/// What ties rows together: whole sequences in training, new rows with a cache in generation.
pub(super) trait Core {
    /// From the queries, keys and values of all rows side by side, (rows, 3 * heads * head_dim), to (rows, heads *
    /// head_dim). `layer` is the layer's number, `site` that of the dropout of the weights.
    fn to_itself(&mut self, layer: usize, site: usize, heads: Tensor<2>) -> Result<Tensor<2>, ModelError>;

    /// The same from queries alone, (rows, heads * head_dim), to the source.
    fn to_source(
        &mut self,
        layer: usize,
        site: usize,
        attention: &Attention,
        queries: Tensor<2>,
    ) -> Result<Tensor<2>, ModelError>;
}

/// What all layers of one pass share.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub(super) pass: Pass<'a>,
    /// What queries, keys and values of self-attention are kept in.
    pub(super) kept: Precision,
    /// Whether layers normalise what they read, or else what they add to.
    pub(super) pre_norm: bool,
    /// The dropout site of the embedding; the layers' follow.
    pub(super) first_site: usize,
    pub(super) activation_dropout: Option<&'a Dropout>,
}

impl How<'_> {
    /// Dropout sites of a stack of so many layers, embedding and end included.
    pub(super) fn sites(layers: usize) -> usize {
        SITES * layers + 2
    }

    fn before(&self, norm: &Norm) -> Before {
        if self.pre_norm { norm.before() } else { Before::Nothing }
    }

    fn after(&self, norm: &Norm, x: Tensor<2>) -> Tensor<2> {
        if self.pre_norm { x } else { norm.forward(x) }
    }
}

impl StackLayer {
    /// Layer number `index` over the residual stream.
    pub(super) fn forward(
        &self,
        index: usize,
        x: Tensor<2>,
        core: &mut dyn Core,
        how: How<'_>,
    ) -> Result<Tensor<2>, ModelError> {
        let (pass, precision) = (how.pass, how.pass.precision);
        let site = |place: usize| how.first_site + 1 + SITES * index + place;
        let heads = self.self_attn.heads(x.clone(), how.before(&self.self_attn_norm), precision, how.kept);
        let mixed = core.to_itself(index, site(0), heads)?;
        let x = pass.add(site(1), x, mixed, Before::Nothing, &self.self_attn.o_proj, None);
        let mut x = how.after(&self.self_attn_norm, x);
        if let (Some(attention), Some(norm)) = (&self.cross_attn, &self.cross_attn_norm) {
            let queries = project(x.clone(), how.before(norm), &[&attention.q_proj], None, precision, Precision::F32);
            let mixed = core.to_source(index, site(2), attention, queries)?;
            x = how.after(norm, pass.add(site(3), x, mixed, Before::Nothing, &attention.o_proj, None));
        }
        let (inner, activation) = self.mlp.inner(x.clone(), how.before(&self.mlp_norm), precision);
        let (inner, before) = match how.activation_dropout {
            None => (inner, activation),
            Some(dropout) => (dropout.apply(site(4), activation.apply(composed::widened(inner))), Before::Nothing),
        };
        let x = pass.add(site(5), x, inner, before, &self.mlp.down_proj, None);
        Ok(how.after(&self.mlp_norm, x))
    }
}

/// How matrices start: in T5 as in the authors' code, where q takes the place of the scale on the scores; else by the mean
/// of both widths (Glorot and Bengio 2010), the embedding so that its scaled rows have unit variance.
struct Starts {
    t5: bool,
    hidden: f64,
    head_dim: f64,
}

impl Starts {
    fn new(config: &EncoderDecoderConfig) -> Self {
        let (hidden, head_dim) = (config.hidden_size as f64, config.head_dim() as f64);
        Starts { t5: config.architecture.is_t5(), hidden, head_dim }
    }

    fn matrix(&self, out: usize, inp: usize) -> f64 {
        let width = if self.t5 { inp as f64 } else { (out + inp) as f64 / 2.0 };
        1.0 / width.sqrt()
    }

    fn queries(&self, out: usize, inp: usize) -> f64 {
        self.matrix(out, inp) / if self.t5 { self.head_dim.sqrt() } else { 1.0 }
    }

    fn vectors(&self) -> f64 {
        1.0 / self.hidden.sqrt()
    }
}

impl<S: Source> Builder<'_, S, EncoderDecoderConfig> {
    /// The embedding of tokens.
    pub(super) fn tokens(&mut self, name: &str, vocab_size: usize) -> Result<Embedding, ModelError> {
        let starts = Starts::new(self.config);
        let std = if starts.t5 { 1.0 } else { starts.vectors() };
        self.table(name, [vocab_size, self.config.hidden_size], std)
    }

    /// A head of its own.
    pub(super) fn own_head(&mut self, name: &str, vocab_size: usize) -> Result<Linear, ModelError> {
        let std = Starts::new(self.config).vectors();
        self.linear(name, vocab_size, self.config.hidden_size, std, false)
    }

    pub(super) fn stack(&mut self, name: &str, layers: usize, decoder: bool) -> Result<Stack, ModelError> {
        let c = self.config;
        let (kind, std) = (c.architecture, Starts::new(c).vectors());
        let at = |part: &str| format!("{name}.{part}");
        Ok(Stack {
            embed_positions: match kind.places() {
                Places::Learned => {
                    let shape = [c.max_seq_len + POSITION_OFFSET, c.hidden_size];
                    Some(self.table(&at("embed_positions"), shape, std)?)
                }
                _ => None,
            },
            relative_bias: match kind.places() {
                Places::Relative => Some(self.table(&at("relative_bias"), [c.relative_buckets, c.heads], std)?),
                _ => None,
            },
            embed_norm: match kind.embed_norm() {
                true => Some(self.stack_norm(&at("embed_norm"))?),
                false => None,
            },
            layers: (0..layers)
                .map(|i| self.stack_layer(&at(&format!("layers.{i}")), decoder))
                .collect::<Result<_, _>>()?,
            norm: match kind.pre_norm() {
                true => Some(self.stack_norm(&at("norm"))?),
                false => None,
            },
        })
    }

    fn stack_layer(&mut self, name: &str, decoder: bool) -> Result<StackLayer, ModelError> {
        let at = |part: &str| format!("{name}.{part}");
        Ok(StackLayer {
            self_attn: self.projections(&at("self_attn"))?,
            self_attn_norm: self.stack_norm(&at("self_attn_norm"))?,
            cross_attn: match decoder {
                true => Some(self.projections(&at("cross_attn"))?),
                false => None,
            },
            cross_attn_norm: match decoder {
                true => Some(self.stack_norm(&at("cross_attn_norm"))?),
                false => None,
            },
            mlp: self.inner_layer(&at("mlp"))?,
            mlp_norm: self.stack_norm(&at("mlp_norm"))?,
        })
    }

    fn projections(&mut self, name: &str) -> Result<Attention, ModelError> {
        let (hidden, width) = (self.config.hidden_size, self.config.heads_size());
        let queries = Starts::new(self.config).queries(width, hidden);
        Ok(Attention {
            q_proj: self.matrix(&format!("{name}.q_proj"), width, hidden, Some(queries))?,
            k_proj: self.matrix(&format!("{name}.k_proj"), width, hidden, None)?,
            v_proj: self.matrix(&format!("{name}.v_proj"), width, hidden, None)?,
            o_proj: self.matrix(&format!("{name}.o_proj"), hidden, width, None)?,
            q_norm: None,
            k_norm: None,
        })
    }

    fn inner_layer(&mut self, name: &str) -> Result<FeedForward, ModelError> {
        let (hidden, ffn, activation) = (self.config.hidden_size, self.config.ffn_size(), self.config.activation());
        Ok(FeedForward {
            gate_proj: match activation.is_gated() {
                true => Some(self.matrix(&format!("{name}.gate_proj"), ffn, hidden, None)?),
                false => None,
            },
            up_proj: self.matrix(&format!("{name}.up_proj"), ffn, hidden, None)?,
            down_proj: self.matrix(&format!("{name}.down_proj"), hidden, ffn, None)?,
            activation,
        })
    }

    fn matrix(&mut self, name: &str, out: usize, inp: usize, std: Option<f64>) -> Result<Linear, ModelError> {
        let std = std.unwrap_or_else(|| Starts::new(self.config).matrix(out, inp));
        self.linear(name, out, inp, std, !self.config.architecture.is_t5())
    }

    fn table(&mut self, name: &str, shape: [usize; 2], std: f64) -> Result<Embedding, ModelError> {
        Ok(Embedding { weight: self.parameter(&format!("{name}.weight"), shape, Start::Normal(std))? })
    }

    fn stack_norm(&mut self, name: &str) -> Result<Norm, ModelError> {
        let (width, eps) = (self.config.hidden_size, self.config.norm_eps());
        if !self.config.architecture.is_t5() {
            return self.layer_norm(name, width, eps);
        }
        let weight = self.parameter(&format!("{name}.weight"), [width], Start::Ones)?;
        Ok(Norm { weight, bias: None, eps, offset: false })
    }
}
