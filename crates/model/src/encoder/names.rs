//! What an encoder's parameters are called in the folders of transformers.

use super::{EncoderKind, HeadConfig};

/// The prefix of everything below the head, in folders that have a head.
pub(super) fn prefix(kind: EncoderKind) -> &'static str {
    match kind {
        EncoderKind::Bert => "bert.",
        EncoderKind::Roberta => "roberta.",
        EncoderKind::DistilBert => "distilbert.",
        EncoderKind::Lstm | EncoderKind::Gru | EncoderKind::Rnn => "model.",
    }
}

/// The name of danlu's parameter `name` in a folder with a prefix before the names of the body.
pub(super) fn place(kind: EncoderKind, head: &HeadConfig, name: &str) -> String {
    if kind.cell().is_some() {
        // transformers has no such model.
        return name.to_string();
    }
    let (stem, last) = name.rsplit_once('.').unwrap_or((name, ""));
    if let Some(part) = stem.strip_prefix("model.") {
        return format!("{}{}.{last}", prefix(kind), body_place(kind, part));
    }
    head_place(kind, head, stem).map_or_else(|| name.to_string(), |place| format!("{place}.{last}"))
}

fn body_place(kind: EncoderKind, part: &str) -> String {
    let Some((layer, part)) = part.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) else {
        let part = match part {
            "embed_tokens" => "word_embeddings",
            "embed_positions" => "position_embeddings",
            "embed_types" => "token_type_embeddings",
            _ => "LayerNorm",
        };
        return format!("embeddings.{part}");
    };
    let distil = kind == EncoderKind::DistilBert;
    let place = match part {
        "self_attn.q_proj" if distil => "attention.q_lin",
        "self_attn.k_proj" if distil => "attention.k_lin",
        "self_attn.v_proj" if distil => "attention.v_lin",
        "self_attn.o_proj" if distil => "attention.out_lin",
        "post_attention_layernorm" if distil => "sa_layer_norm",
        "mlp.up_proj" if distil => "ffn.lin1",
        "mlp.down_proj" if distil => "ffn.lin2",
        "post_feedforward_layernorm" if distil => "output_layer_norm",
        "self_attn.q_proj" => "attention.self.query",
        "self_attn.k_proj" => "attention.self.key",
        "self_attn.v_proj" => "attention.self.value",
        "self_attn.o_proj" => "attention.output.dense",
        "post_attention_layernorm" => "attention.output.LayerNorm",
        "mlp.up_proj" => "intermediate.dense",
        "mlp.down_proj" => "output.dense",
        _ => "output.LayerNorm",
    };
    format!("{}.layer.{layer}.{place}", if distil { "transformer" } else { "encoder" })
}

/// Where `head`, `head.dense`, `head.norm` or `head.out_proj` stands.
fn head_place(kind: EncoderKind, head: &HeadConfig, stem: &str) -> Option<&'static str> {
    use EncoderKind::{Bert, DistilBert, Roberta};
    Some(match (head, kind, stem) {
        (HeadConfig::Pooler, Roberta, "head.dense") => "roberta.pooler.dense",
        (HeadConfig::Pooler, _, "head.dense") => "bert.pooler.dense",
        (HeadConfig::MaskedLm, Bert, "head.dense") => "cls.predictions.transform.dense",
        (HeadConfig::MaskedLm, Bert, "head.norm") => "cls.predictions.transform.LayerNorm",
        (HeadConfig::MaskedLm, Bert, "head") => "cls.predictions",
        (HeadConfig::MaskedLm, Roberta, "head.dense") => "lm_head.dense",
        (HeadConfig::MaskedLm, Roberta, "head.norm") => "lm_head.layer_norm",
        (HeadConfig::MaskedLm, Roberta, "head") => "lm_head",
        (HeadConfig::MaskedLm, DistilBert, "head.dense") => "vocab_transform",
        (HeadConfig::MaskedLm, DistilBert, "head.norm") => "vocab_layer_norm",
        (HeadConfig::MaskedLm, DistilBert, "head") => "vocab_projector",
        (HeadConfig::SequenceClassification { .. }, Bert, "head.dense") => "bert.pooler.dense",
        (HeadConfig::SequenceClassification { .. }, Roberta, "head.dense") => "classifier.dense",
        (HeadConfig::SequenceClassification { .. }, Roberta, "head.out_proj") => "classifier.out_proj",
        (HeadConfig::SequenceClassification { .. }, DistilBert, "head.dense") => "pre_classifier",
        (_, _, "head.out_proj") => "classifier",
        _ => return None,
    })
}

/// Whether a tensor that was not asked for changes nothing: buffers of older versions of transformers, a tied decoder's
/// second copy, and the pooler or the sentence pair's head that a folder of another task carries along.
pub(super) fn is_harmless(name: &str) -> bool {
    name.ends_with("embeddings.position_ids")
        || name.ends_with("embeddings.token_type_ids")
        || name.starts_with("cls.predictions.decoder.")
        || name.starts_with("cls.seq_relationship.")
        || name.starts_with("lm_head.decoder.")
        || name == "vocab_projector.weight"
        || name.ends_with("pooler.dense.weight")
        || name.ends_with("pooler.dense.bias")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_kind() {
        let sequence = HeadConfig::SequenceClassification { labels: vec![], problem: Default::default() };
        let cases = [
            (
                EncoderKind::Bert,
                &HeadConfig::Pooler,
                "model.embed_types.weight",
                "bert.embeddings.token_type_embeddings.weight",
            ),
            (EncoderKind::Bert, &HeadConfig::Pooler, "head.dense.bias", "bert.pooler.dense.bias"),
            (EncoderKind::Bert, &HeadConfig::MaskedLm, "head.bias", "cls.predictions.bias"),
            (
                EncoderKind::Bert,
                &sequence,
                "model.layers.11.self_attn.o_proj.weight",
                "bert.encoder.layer.11.attention.output.dense.weight",
            ),
            (EncoderKind::Bert, &sequence, "head.out_proj.weight", "classifier.weight"),
            (EncoderKind::Roberta, &sequence, "head.out_proj.weight", "classifier.out_proj.weight"),
            (EncoderKind::Roberta, &HeadConfig::MaskedLm, "head.norm.weight", "lm_head.layer_norm.weight"),
            (EncoderKind::DistilBert, &HeadConfig::MaskedLm, "head.bias", "vocab_projector.bias"),
            (
                EncoderKind::DistilBert,
                &sequence,
                "model.layers.0.post_feedforward_layernorm.bias",
                "distilbert.transformer.layer.0.output_layer_norm.bias",
            ),
        ];
        for (kind, head, ours, theirs) in cases {
            assert_eq!(place(kind, head, ours), theirs);
        }
    }
}
