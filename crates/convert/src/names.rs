//! What tensors are called on both sides, and how they lie there.

use crate::settings::Shape;

/// The families whose tensors are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Gpt2,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
}

/// A family, its `general.architecture` in GGUF, and the `model_type` and class of its config.json.
const FAMILIES: [(Family, &str, &str, &str); 7] = [
    (Family::Llama, "llama", "llama", "LlamaForCausalLM"),
    (Family::Gpt2, "gpt2", "gpt2", "GPT2LMHeadModel"),
    (Family::Qwen2, "qwen2", "qwen2", "Qwen2ForCausalLM"),
    (Family::Qwen3, "qwen3", "qwen3", "Qwen3ForCausalLM"),
    (Family::Gemma, "gemma", "gemma", "GemmaForCausalLM"),
    (Family::Gemma2, "gemma2", "gemma2", "Gemma2ForCausalLM"),
    (Family::Gemma3, "gemma3", "gemma3_text", "Gemma3ForCausalLM"),
];

impl Family {
    pub(crate) const KNOWN: &str = "llama, gpt2, qwen2, qwen3, gemma, gemma2 and gemma3";

    /// By `general.architecture` of GGUF.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        FAMILIES.iter().find(|(_, gguf, ..)| *gguf == name).map(|(family, ..)| *family)
    }

    /// By `model_type` of config.json.
    pub(crate) fn from_model_type(name: &str) -> Option<Self> {
        FAMILIES.iter().find(|(_, _, model_type, _)| *model_type == name).map(|(family, ..)| *family)
    }

    fn row(self) -> (&'static str, &'static str, &'static str) {
        let row = FAMILIES.iter().find(|(family, ..)| *family == self);
        row.map_or(("", "", ""), |(_, gguf, model_type, class)| (gguf, model_type, class))
    }

    pub(crate) fn name(self) -> &'static str {
        self.row().0
    }

    pub(crate) fn model_type(self) -> &'static str {
        self.row().1
    }

    pub(crate) fn class(self) -> &'static str {
        self.row().2
    }

    pub(crate) fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }
}

/// How a matrix lies in GGUF, given how it lies in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Same,
    /// GPT-2's Conv1D has (in, out) in the folder, GGUF (out, in).
    Transposed,
    /// Rows of queries or keys: the folder has, of each head, the first halves of the rotated pairs and then the second;
    /// GGUF has pair by pair.
    Pairs(Heads),
    /// A norm that multiplies by 1 + weight: GGUF has the sum.
    PlusOne,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heads {
    Query,
    Key,
}

/// A tensor's name in the folder and in GGUF; in the names of a layer `{}` is its number.
struct Row(&'static str, &'static str, Layout);

use Layout::{Pairs, PlusOne, Same, Transposed};

const LLAMA: &[Row] = &[
    Row("model.embed_tokens.weight", "token_embd.weight", Same),
    Row("model.norm.weight", "output_norm.weight", Same),
    Row("lm_head.weight", "output.weight", Same),
    Row("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", Same),
    Row("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Pairs(Heads::Query)),
    Row("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Pairs(Heads::Key)),
    Row("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", Same),
    Row("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", Same),
    Row("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Pairs(Heads::Query)),
    Row("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Pairs(Heads::Key)),
    Row("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", Same),
    Row("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", Same),
    Row("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", Same),
    Row("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", Same),
    Row("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", Same),
    Row("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", Same),
    Row("model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", Same),
    Row("model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", Same),
    Row("model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", Same),
];

/// Qwen's and Gemma's heads turn halves in GGUF too.
const QWEN: &[Row] = &[
    Row("model.embed_tokens.weight", "token_embd.weight", Same),
    Row("model.norm.weight", "output_norm.weight", Same),
    Row("lm_head.weight", "output.weight", Same),
    Row("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", Same),
    Row("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Same),
    Row("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Same),
    Row("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", Same),
    Row("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", Same),
    Row("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Same),
    Row("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Same),
    Row("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", Same),
    Row("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", Same),
    Row("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", Same),
    Row("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", Same),
    Row("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", Same),
    Row("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", Same),
    Row("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", Same),
];

const GEMMA: &[Row] = &[
    Row("model.embed_tokens.weight", "token_embd.weight", Same),
    Row("model.norm.weight", "output_norm.weight", PlusOne),
    Row("lm_head.weight", "output.weight", Same),
    Row("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", PlusOne),
    Row("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Same),
    Row("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Same),
    Row("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", Same),
    Row("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", Same),
    Row("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", PlusOne),
    Row("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", Same),
    Row("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", Same),
    Row("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", Same),
];

/// Gemma 2 and 3 have four norms in a layer.
const LATE_GEMMA: &[Row] = &[
    Row("model.embed_tokens.weight", "token_embd.weight", Same),
    Row("model.norm.weight", "output_norm.weight", PlusOne),
    Row("lm_head.weight", "output.weight", Same),
    Row("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", PlusOne),
    Row("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Same),
    Row("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Same),
    Row("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", Same),
    Row("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", Same),
    Row("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", PlusOne),
    Row("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", PlusOne),
    Row("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", PlusOne),
    Row("model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", PlusOne),
    Row("model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", PlusOne),
    Row("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", Same),
    Row("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", Same),
    Row("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", Same),
];

const GPT2: &[Row] = &[
    Row("transformer.wte.weight", "token_embd.weight", Same),
    Row("transformer.wpe.weight", "position_embd.weight", Same),
    Row("transformer.ln_f.weight", "output_norm.weight", Same),
    Row("transformer.ln_f.bias", "output_norm.bias", Same),
    Row("lm_head.weight", "output.weight", Same),
    Row("transformer.h.{}.ln_1.weight", "blk.{}.attn_norm.weight", Same),
    Row("transformer.h.{}.ln_1.bias", "blk.{}.attn_norm.bias", Same),
    Row("transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight", Transposed),
    Row("transformer.h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias", Same),
    Row("transformer.h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight", Transposed),
    Row("transformer.h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias", Same),
    Row("transformer.h.{}.ln_2.weight", "blk.{}.ffn_norm.weight", Same),
    Row("transformer.h.{}.ln_2.bias", "blk.{}.ffn_norm.bias", Same),
    Row("transformer.h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight", Transposed),
    Row("transformer.h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias", Same),
    Row("transformer.h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight", Transposed),
    Row("transformer.h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias", Same),
];

fn table(family: Family) -> &'static [Row] {
    match family {
        Family::Llama => LLAMA,
        Family::Gpt2 => GPT2,
        Family::Qwen2 | Family::Qwen3 => QWEN,
        Family::Gemma => GEMMA,
        Family::Gemma2 | Family::Gemma3 => LATE_GEMMA,
    }
}

/// The number in a name for which a pattern has `{}`; an empty text where the pattern has none and is the name.
fn number<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    match pattern.split_once("{}") {
        None => (pattern == name).then_some(""),
        Some((before, after)) => {
            let number = name.strip_prefix(before)?.strip_suffix(after)?;
            number.bytes().all(|b| b.is_ascii_digit()).then_some(number).filter(|number| !number.is_empty())
        }
    }
}

/// The name in the folder, and the layout, of a tensor in GGUF.
pub(crate) fn in_folder(family: Family, name: &str) -> Option<(String, Layout)> {
    table(family)
        .iter()
        .find_map(|Row(folder, gguf, layout)| number(gguf, name).map(|number| (folder.replace("{}", number), *layout)))
}

/// The name in GGUF, and the layout, of a tensor in the folder.
pub(crate) fn in_gguf(family: Family, name: &str) -> Option<(String, Layout)> {
    // The hub's GPT-2 folders leave the prefix out.
    let long = format!("transformer.{name}");
    let bare = family == Family::Gpt2 && !name.starts_with("transformer.") && !name.starts_with("lm_head.");
    let name = if bare { long.as_str() } else { name };
    table(family)
        .iter()
        .find_map(|Row(folder, gguf, layout)| number(folder, name).map(|number| (gguf.replace("{}", number), *layout)))
}

/// The shape on the other side.
pub(crate) fn shape(layout: Layout, shape: &[u64]) -> Vec<u64> {
    match layout {
        Transposed => shape.iter().rev().copied().collect(),
        Same | Pairs(_) | PlusOne => shape.to_vec(),
    }
}

/// From rows (r, c) to (c, r).
fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows.max(1);
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

/// Rows of `heads` heads from pair by pair to the first halves and then the second; `back` is the other way.
fn repaired(values: &[f32], rows: usize, heads: usize, back: bool) -> Vec<f32> {
    let width = values.len() / rows.max(1);
    let per_head = rows / heads.max(1);
    let half = per_head / 2;
    let from = |row: usize| {
        let (head, inside) = (row / per_head, row % per_head);
        let source = match back {
            false => 2 * (inside % half) + inside / half,
            true => inside / 2 + half * (inside % 2),
        };
        head * per_head + source
    };
    (0..rows).flat_map(|row| &values[from(row) * width..][..width]).copied().collect()
}

/// Which way a tensor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToFolder,
    ToGguf,
}

/// The values of a tensor, whose shape is that of where it comes from, as they lie on the other side.
pub(crate) fn laid_out(values: Vec<f32>, from: &[u64], layout: Layout, shape: Shape, direction: Direction) -> Vec<f32> {
    let rows = from.first().map_or(1, |rows| *rows as usize);
    let back = direction == Direction::ToGguf;
    match layout {
        Layout::Same => values,
        Layout::PlusOne => values.into_iter().map(|x| if back { x + 1.0 } else { x - 1.0 }).collect(),
        Layout::Transposed => transposed(&values, rows),
        Layout::Pairs(Heads::Query) => repaired(&values, rows, shape.heads, back),
        Layout::Pairs(Heads::Key) => repaired(&values, rows, shape.kv_heads, back),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (family, ..) in FAMILIES {
            for Row(folder, gguf, layout) in table(family) {
                let (folder, gguf) = (folder.replace("{}", "12"), gguf.replace("{}", "12"));
                assert_eq!(in_folder(family, &gguf).unwrap(), (folder.clone(), *layout));
                assert_eq!(in_gguf(family, &folder).unwrap(), (gguf, *layout));
            }
        }
        assert_eq!(in_gguf(Family::Gpt2, "h.0.ln_1.bias").unwrap().0, "blk.0.attn_norm.bias");
        assert_eq!(in_folder(Family::Llama, "blk..attn_q.weight"), None);
        assert_eq!(in_folder(Family::Llama, "blk.x.attn_q.weight"), None);
    }

    #[test]
    fn pairs_are_parted_and_put_together() {
        // Two heads of four rows, one value each: pairs (0 1) (2 3) | (4 5) (6 7).
        let gguf: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let folder = repaired(&gguf, 8, 2, false);
        assert_eq!(folder, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(repaired(&folder, 8, 2, true), gguf);
        let wide: Vec<f32> = (0..36).map(|i| i as f32).collect();
        assert_eq!(repaired(&repaired(&wide, 12, 1, true), 12, 1, false), wide);
    }

    #[test]
    fn matrices_turn() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
