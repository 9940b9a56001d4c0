//! What the parameters of a language model that sees are called in the folders of transformers.

/// The names that folders give danlu's parameter `name`, beginning with the one that is written: that of the folders of
/// LLaVA 1.5; then that of version 5 of transformers, and that of its modules.
pub(super) fn places(name: &str) -> Vec<String> {
    let (part, rest) = name.split_once('.').unwrap_or((name, ""));
    match part {
        "vision" => {
            let rest = vision_part(rest);
            ["vision_tower.vision_model", "vision_tower", "model.vision_tower"]
                .map(|tower| format!("{tower}.{rest}"))
                .into()
        }
        "projector" => {
            let rest = rest.replace("up_proj", "linear_1").replace("down_proj", "linear_2");
            ["", "model."].map(|before| format!("{before}multi_modal_projector.{rest}")).into()
        }
        _ => {
            let bare =
                rest.strip_prefix("model.").map_or(rest.to_string(), |rest| format!("model.language_model.{rest}"));
            vec![format!("language_model.{rest}"), bare]
        }
    }
}

/// A part of the vision encoder.
fn vision_part(part: &str) -> String {
    let Some((layer, part)) = part.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) else {
        return match part {
            "class_embedding" | "patch_embedding.weight" => format!("embeddings.{part}"),
            "embed_positions.weight" => "embeddings.position_embedding.weight".to_string(),
            // As CLIP's authors spelled it.
            other => other.replace("pre_norm", "pre_layrnorm").replace("post_norm", "post_layernorm"),
        };
    };
    let part = part
        .replace("input_layernorm", "layer_norm1")
        .replace("post_attention_layernorm", "layer_norm2")
        .replace("o_proj", "out_proj")
        .replace("up_proj", "fc1")
        .replace("down_proj", "fc2");
    format!("encoder.layers.{layer}.{part}")
}

/// Whether a tensor that was not asked for changes nothing: buffers of older folders, and a tied head's second copy.
pub(super) fn is_harmless(name: &str, tied: bool) -> bool {
    name.ends_with(".embeddings.position_ids")
        || name.ends_with(".rotary_emb.inv_freq")
        || (tied && matches!(name, "language_model.lm_head.weight" | "lm_head.weight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_part() {
        let cases = [
            ("vision.class_embedding", "vision_tower.vision_model.embeddings.class_embedding"),
            ("vision.patch_embedding.weight", "vision_tower.vision_model.embeddings.patch_embedding.weight"),
            ("vision.embed_positions.weight", "vision_tower.vision_model.embeddings.position_embedding.weight"),
            ("vision.pre_norm.bias", "vision_tower.vision_model.pre_layrnorm.bias"),
            ("vision.post_norm.weight", "vision_tower.vision_model.post_layernorm.weight"),
            ("vision.layers.3.input_layernorm.bias", "vision_tower.vision_model.encoder.layers.3.layer_norm1.bias"),
            (
                "vision.layers.11.post_attention_layernorm.weight",
                "vision_tower.vision_model.encoder.layers.11.layer_norm2.weight",
            ),
            (
                "vision.layers.0.self_attn.q_proj.bias",
                "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.bias",
            ),
            (
                "vision.layers.0.self_attn.o_proj.weight",
                "vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.weight",
            ),
            ("vision.layers.0.mlp.up_proj.weight", "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"),
            ("projector.up_proj.bias", "multi_modal_projector.linear_1.bias"),
            ("projector.down_proj.weight", "multi_modal_projector.linear_2.weight"),
            ("language.model.layers.0.mlp.up_proj.weight", "language_model.model.layers.0.mlp.up_proj.weight"),
            ("language.lm_head.weight", "language_model.lm_head.weight"),
        ];
        for (ours, theirs) in cases {
            assert_eq!(places(ours)[0], theirs);
        }
        assert_eq!(places("language.lm_head.weight")[1], "lm_head.weight");
        assert_eq!(places("language.model.norm.weight")[1], "model.language_model.norm.weight");
    }
}
