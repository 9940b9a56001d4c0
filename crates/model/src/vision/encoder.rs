//! The vision Transformer: patches, a class token, learned positions, layers that normalise what they read.

use super::{Pixels, VisionConfig, VisionLanguageConfig};
use crate::dropout::Dropout;
use crate::init::{RandomSource, Source, Start};
use crate::layers::{Attention, Builder, Embedding, FeedForward, Layer, Linear, Mlp, Norm, Pass};
use crate::{DropoutKey, ModelError};
use burn::module::{Module, Param};
use burn::prelude::*;
use danlu_ops::{AttentionOptions, JoinedHeads, Precision};

/// CLIP's encoder of pictures. Its layers are those of a decoder, without the causal mask.
#[derive(Module, Debug)]
pub struct VisionEncoder {
    /// What stands before the patches, (hidden).
    pub class_embedding: Param<Tensor<1>>,
    /// (hidden, channels * patch * patch); as a convolution whose windows do not overlap.
    pub patch_embedding: Linear,
    /// (1 + patches, hidden)
    pub embed_positions: Embedding,
    pub pre_norm: Norm,
    pub layers: Vec<Layer>,
    /// Of the class token's vector, where that stands for the picture; LLaVA reads no such.
    pub post_norm: Norm,
}

/// How a pass is run.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) config: &'a VisionConfig,
    /// The first layers, so many.
    pub(super) layers: usize,
    pub(super) precision: Precision,
    /// The number that the first layer has among the layers of the whole model, for its dropout.
    pub(super) first_site: usize,
}

impl VisionEncoder {
    /// Vectors of the class token and of each patch after some layers, (pictures, 1 + patches, hidden). The pictures were
    /// checked.
    pub(super) fn forward(
        &self,
        pictures: &[Pixels],
        run: Run<'_>,
        key: Option<DropoutKey>,
    ) -> Result<Tensor<3>, ModelError> {
        let Run { config, precision, first_site, .. } = run;
        let (batch, hidden, device) = (pictures.len(), config.hidden_size, self.class_embedding.val().device());
        let values: Vec<f32> = pictures.iter().flat_map(|picture| picture.patches(config.patch_size)).collect();
        let shape = [batch, config.patches(), config.patch_values()];
        let patches = Tensor::<3>::from_data(TensorData::new(values, shape), &device);
        let patches = self.patch_embedding.forward(patches, precision);
        let class = self.class_embedding.val().reshape([1, 1, hidden]).expand([batch, 1, hidden]);
        let x = Tensor::cat(vec![class, patches], 1) + self.embed_positions.weight.val().unsqueeze::<3>();
        let [_, time, _] = x.dims();
        let dropout = Dropout::new(key, config.dropout, batch);
        let mut x = self.pre_norm.forward(x.reshape([batch * time, hidden]));
        if let Some(dropout) = &dropout {
            x = dropout.apply(2 * first_site, x);
        }
        let pass = Pass { precision, dropout: dropout.as_ref(), imbalance: None };
        let (heads, head_dim) = (config.heads, hidden / config.heads);
        let shape = JoinedHeads { batch, time, heads, kv_heads: heads, head_dim };
        let options = AttentionOptions { precision, ..AttentionOptions::full(1.0 / (head_dim as f64).sqrt()) };
        let mut mix = |_: usize, joined: Tensor<2>| Ok(danlu_ops::self_attention(joined, None, shape, &options));
        for (index, layer) in self.layers.iter().take(run.layers).enumerate() {
            x = layer.forward(first_site + index, x, &mut mix, pass)?;
        }
        Ok(x.reshape([batch, time, hidden]))
    }
}

impl<S: Source> Builder<'_, S, VisionLanguageConfig> {
    pub(super) fn vision(&mut self) -> Result<VisionEncoder, ModelError> {
        let v = &self.config.vision;
        let (hidden, eps) = (v.hidden_size, v.norm_eps);
        let name = |part: &str| format!("vision.{part}");
        Ok(VisionEncoder {
            class_embedding: self.parameter(&name("class_embedding"), [hidden], Start::Normal(RandomSource::STD))?,
            patch_embedding: self.linear(
                &name("patch_embedding"),
                hidden,
                v.patch_values(),
                RandomSource::STD,
                false,
            )?,
            embed_positions: self.vectors(&name("embed_positions"), v.patches() + 1, hidden)?,
            pre_norm: self.layer_norm(&name("pre_norm"), hidden, eps)?,
            layers: (0..v.layers).map(|i| self.vision_layer(i)).collect::<Result<_, _>>()?,
            post_norm: self.layer_norm(&name("post_norm"), hidden, eps)?,
        })
    }

    fn vision_layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let v = &self.config.vision;
        let (hidden, ffn, std) = (v.hidden_size, v.ffn_size(), RandomSource::STD);
        let residual = std / (2.0 * v.layers as f64).sqrt();
        let at = |part: &str| format!("vision.layers.{index}.{part}");
        Ok(Layer {
            input_layernorm: self.layer_norm(&at("input_layernorm"), hidden, v.norm_eps)?,
            self_attn: Attention {
                q_proj: self.linear(&at("self_attn.q_proj"), hidden, hidden, std, true)?,
                k_proj: self.linear(&at("self_attn.k_proj"), hidden, hidden, std, true)?,
                v_proj: self.linear(&at("self_attn.v_proj"), hidden, hidden, std, true)?,
                o_proj: self.linear(&at("self_attn.o_proj"), hidden, hidden, residual, true)?,
                q_norm: None,
                k_norm: None,
            },
            post_attention_layernorm: self.layer_norm(&at("post_attention_layernorm"), hidden, v.norm_eps)?,
            mlp: Mlp::Dense(FeedForward {
                gate_proj: None,
                up_proj: self.linear(&at("mlp.up_proj"), ffn, hidden, std, true)?,
                down_proj: self.linear(&at("mlp.down_proj"), hidden, ffn, residual, true)?,
                activation: v.activation,
            }),
            pre_feedforward_layernorm: None,
            post_feedforward_layernorm: None,
        })
    }

    pub(super) fn projector(&mut self) -> Result<FeedForward, ModelError> {
        let c = self.config;
        let (text, seen, std) = (c.text.hidden_size, c.vision.hidden_size, RandomSource::STD);
        Ok(FeedForward {
            gate_proj: None,
            up_proj: self.linear("projector.up_proj", text, seen, std, c.projector_bias)?,
            down_proj: self.linear("projector.down_proj", text, text, std, c.projector_bias)?,
            activation: c.projector_activation,
        })
    }
}
