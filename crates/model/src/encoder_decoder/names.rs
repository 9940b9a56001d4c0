//! What an encoder-decoder's parameters are called in the folders of transformers.

use super::EncoderDecoderConfig;

/// The name of the bias of the logits, in folders of all kinds but T5's (1, vocabulary).
pub(super) const LOGITS_BIAS: &str = "final_logits_bias";

/// The name of danlu's parameter `name` in a folder.
pub(super) fn place(config: &EncoderDecoderConfig, name: &str) -> String {
    let Some((stem, last)) = name.rsplit_once('.') else { return LOGITS_BIAS.to_string() };
    if stem == "model.embed_tokens" && config.sound().is_some() {
        return format!("model.decoder.embed_tokens.{last}");
    }
    let Some((stack, part)) = stem.strip_prefix("model.").and_then(|rest| rest.split_once('.')) else {
        return match (stem, config.architecture.is_t5()) {
            ("model.embed_tokens", true) => format!("shared.{last}"),
            ("model.embed_tokens", false) => format!("model.shared.{last}"),
            _ => name.to_string(),
        };
    };
    let layer = part.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    match (layer, config.architecture.is_t5()) {
        (None, false) => format!("model.{stack}.{}.{last}", bart_part(part)),
        (Some((layer, part)), false) => format!("model.{stack}.layers.{layer}.{}.{last}", bart_part(part)),
        (None, true) if part == "relative_bias" => {
            format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.{last}")
        }
        (None, true) => format!("{stack}.final_layer_norm.{last}"),
        (Some((layer, part)), true) => {
            let part = t5_part(part, stack == "decoder", config.activation().is_gated());
            format!("{stack}.block.{layer}.layer.{part}.{last}")
        }
    }
}

/// A part of a stack or of a layer in BART and what is named like it.
fn bart_part(part: &str) -> String {
    let part = match part {
        "embed_norm" => "layernorm_embedding",
        "norm" => "layer_norm",
        "self_attn_norm" => "self_attn_layer_norm",
        "cross_attn_norm" => "encoder_attn_layer_norm",
        "mlp_norm" => "final_layer_norm",
        "mlp.up_proj" => "fc1",
        "mlp.down_proj" => "fc2",
        other => other,
    };
    part.replace("cross_attn.", "encoder_attn.").replace(".o_proj", ".out_proj")
}

/// A part of a layer in T5, with the number of its sublayer.
fn t5_part(part: &str, decoder: bool, gated: bool) -> String {
    let mlp = if decoder { 2 } else { 1 };
    match part {
        "self_attn_norm" => "0.layer_norm".to_string(),
        "cross_attn_norm" => "1.layer_norm".to_string(),
        "mlp_norm" => format!("{mlp}.layer_norm"),
        "mlp.gate_proj" => format!("{mlp}.DenseReluDense.wi_0"),
        "mlp.up_proj" => format!("{mlp}.DenseReluDense.wi{}", if gated { "_1" } else { "" }),
        "mlp.down_proj" => format!("{mlp}.DenseReluDense.wo"),
        projection => {
            let letter = projection.trim_end_matches("_proj").rsplit('.').next().unwrap_or_default();
            let own = projection.starts_with("self_attn.");
            format!("{}.{letter}", if own { "0.SelfAttention" } else { "1.EncDecAttention" })
        }
    }
}

/// Other names under which folders have the embedding, too, or alone.
pub(crate) const COPIES: [&str; 5] = [
    "proj_out.weight",
    "decoder.embed_tokens.weight",
    "encoder.embed_tokens.weight",
    "lm_head.weight",
    "embed_tokens.weight",
];

/// Whether a tensor that was not asked for changes nothing: Marian's table of sinusoids, and a bias that T5 never used.
pub(super) fn is_harmless(config: &EncoderDecoderConfig, name: &str) -> bool {
    match config.architecture.is_t5() {
        true => name == "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
        false => {
            config.architecture.places() == super::Places::Sinusoidal && name.ends_with("coder.embed_positions.weight")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, EncoderDecoderKind};

    #[test]
    fn names_of_each_kind() {
        let bart = EncoderDecoderConfig::default();
        let t5 = EncoderDecoderConfig { architecture: EncoderDecoderKind::T5, ..bart.clone() };
        let gated = EncoderDecoderConfig { activation: Some(Activation::Geglu), ..t5.clone() };
        let cases = [
            (&bart, "model.embed_tokens.weight", "model.shared.weight"),
            (&bart, "logits_bias", "final_logits_bias"),
            (&bart, "model.encoder.embed_norm.bias", "model.encoder.layernorm_embedding.bias"),
            (&bart, "model.decoder.norm.weight", "model.decoder.layer_norm.weight"),
            (&bart, "model.encoder.layers.3.self_attn.o_proj.bias", "model.encoder.layers.3.self_attn.out_proj.bias"),
            (
                &bart,
                "model.decoder.layers.0.cross_attn_norm.bias",
                "model.decoder.layers.0.encoder_attn_layer_norm.bias",
            ),
            (&bart, "model.decoder.layers.0.cross_attn.q_proj.bias", "model.decoder.layers.0.encoder_attn.q_proj.bias"),
            (&bart, "model.decoder.layers.11.mlp.down_proj.weight", "model.decoder.layers.11.fc2.weight"),
            (&t5, "model.embed_tokens.weight", "shared.weight"),
            (&t5, "lm_head.weight", "lm_head.weight"),
            (&t5, "model.encoder.norm.weight", "encoder.final_layer_norm.weight"),
            (
                &t5,
                "model.decoder.relative_bias.weight",
                "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            ),
            (&t5, "model.encoder.layers.2.self_attn.q_proj.weight", "encoder.block.2.layer.0.SelfAttention.q.weight"),
            (
                &t5,
                "model.decoder.layers.2.cross_attn.o_proj.weight",
                "decoder.block.2.layer.1.EncDecAttention.o.weight",
            ),
            (&t5, "model.encoder.layers.2.mlp.up_proj.weight", "encoder.block.2.layer.1.DenseReluDense.wi.weight"),
            (&gated, "model.decoder.layers.2.mlp.up_proj.weight", "decoder.block.2.layer.2.DenseReluDense.wi_1.weight"),
            (&gated, "model.decoder.layers.2.mlp_norm.weight", "decoder.block.2.layer.2.layer_norm.weight"),
        ];
        for (config, ours, theirs) in cases {
            assert_eq!(place(config, ours), theirs);
        }
    }
}
