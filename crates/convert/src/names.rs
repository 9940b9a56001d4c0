//! What tensors are called on both sides, and how they lie there.

use crate::settings::Shape;

/// The families whose tensors are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Mistral,
    Mixtral,
    Gpt2,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
}

/// A family, its `general.architecture` in GGUF, and the `model_type` and class of its config.json.
const FAMILIES: [(Family, &str, &str, &str); 9] = [
    (Family::Llama, "llama", "llama", "LlamaForCausalLM"),
    (Family::Mistral, "llama", "mistral", "MistralForCausalLM"),
    (Family::Mixtral, "llama", "mixtral", "MixtralForCausalLM"),
    (Family::Gpt2, "gpt2", "gpt2", "GPT2LMHeadModel"),
    (Family::Qwen2, "qwen2", "qwen2", "Qwen2ForCausalLM"),
    (Family::Qwen3, "qwen3", "qwen3", "Qwen3ForCausalLM"),
    (Family::Gemma, "gemma", "gemma", "GemmaForCausalLM"),
    (Family::Gemma2, "gemma2", "gemma2", "Gemma2ForCausalLM"),
    (Family::Gemma3, "gemma3", "gemma3_text", "Gemma3ForCausalLM"),
];

impl Family {
    /// By `general.architecture`; llama stands for Mistral and Mixtral too.
    pub(crate) const KNOWN: &str = "llama, gpt2, qwen2, qwen3, gemma, gemma2 and gemma3";
    /// By `model_type`.
    pub(crate) const WRITTEN: &str = "llama, mistral, mixtral, gpt2, qwen2, qwen3, gemma, gemma2 and gemma3_text";

    /// By `general.architecture` of GGUF. Of several that share one, the first.
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
    /// One of the experts whose matrices are one tensor in GGUF, (expert, out, in).
    Expert,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heads {
    Query,
    Key,
}

/// A tensor's name in the folder and in GGUF; in the names of a layer the first `{}` is its number, the second, which
/// only the folder has, that of the expert.
struct Row(&'static str, &'static str, Layout);

use Layout::{Expert, Pairs, PlusOne, Same, Transposed};

/// What Llama and all that descend from it have.
const DECODER: &[Row] = &[
    Row("model.embed_tokens.weight", "token_embd.weight", Same),
    Row("lm_head.weight", "output.weight", Same),
    Row("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", Same),
    Row("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", Same),
    Row("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", Same),
];

const DENSE: &[Row] = &[
    Row("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", Same),
    Row("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", Same),
    Row("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", Same),
];

const EXPERTS: &[Row] = &[
    Row("model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight", Same),
    Row("model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "blk.{}.ffn_gate_exps.weight", Expert),
    Row("model.layers.{}.block_sparse_moe.experts.{}.w3.weight", "blk.{}.ffn_up_exps.weight", Expert),
    Row("model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "blk.{}.ffn_down_exps.weight", Expert),
];

/// Biases of Llama's other matrices.
const BIASES: &[Row] = &[
    Row("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", Same),
    Row("model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", Same),
    Row("model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", Same),
    Row("model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", Same),
];

const PAIRS: &[Row] = &[
    Row("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Pairs(Heads::Query)),
    Row("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Pairs(Heads::Query)),
    Row("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Pairs(Heads::Key)),
    Row("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Pairs(Heads::Key)),
];

/// Qwen's and Gemma's heads turn halves in GGUF too.
const HALVES: &[Row] = &[
    Row("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Same),
    Row("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Same),
    Row("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Same),
    Row("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Same),
];

const NORMS: &[Row] = &[
    Row("model.norm.weight", "output_norm.weight", Same),
    Row("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", Same),
    Row("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", Same),
];

const QWEN_HEADS: &[Row] = &[
    Row("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", Same),
    Row("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", Same),
];

const GEMMA_NORMS: &[Row] = &[
    Row("model.norm.weight", "output_norm.weight", PlusOne),
    Row("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", PlusOne),
];

/// The first Gemma has two norms in a layer, its successors four.
const TWO_NORMS: &[Row] = &[Row("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", PlusOne)];

const FOUR_NORMS: &[Row] = &[
    Row("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", PlusOne),
    Row("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", PlusOne),
    Row("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", PlusOne),
    Row("model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", PlusOne),
    Row("model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", PlusOne),
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

fn tables(family: Family) -> &'static [&'static [Row]] {
    match family {
        Family::Llama | Family::Mistral => &[DECODER, DENSE, BIASES, PAIRS, NORMS],
        Family::Mixtral => &[DECODER, EXPERTS, PAIRS, NORMS],
        Family::Gpt2 => &[GPT2],
        Family::Qwen2 => &[DECODER, DENSE, HALVES, NORMS],
        Family::Qwen3 => &[DECODER, DENSE, HALVES, NORMS, QWEN_HEADS],
        Family::Gemma => &[DECODER, DENSE, HALVES, GEMMA_NORMS, TWO_NORMS],
        Family::Gemma2 | Family::Gemma3 => &[DECODER, DENSE, HALVES, GEMMA_NORMS, FOUR_NORMS],
    }
}

fn rows(family: Family) -> impl Iterator<Item = &'static Row> {
    tables(family).iter().copied().flatten()
}

/// Patterns of what every model of a family has in GGUF: all but a head of its own, biases (GPT-2 has them all) and, of
/// Gemma 2, the norms of heads.
pub(crate) fn required(family: Family) -> impl Iterator<Item = &'static str> {
    rows(family).map(|Row(_, gguf, _)| *gguf).filter(move |name| {
        let bias = family != Family::Gpt2 && name.ends_with(".bias");
        let of_heads =
            family == Family::Gemma2 && ["blk.{}.attn_q_norm.weight", "blk.{}.attn_k_norm.weight"].contains(name);
        *name != "output.weight" && !bias && !of_heads
    })
}

/// Whether a tensor of this shape can be laid out: queries and keys have whole pairs of rows for each head.
pub(crate) fn fits(from: &[u64], layout: Layout, shape: Shape) -> bool {
    let heads = match layout {
        Layout::Pairs(Heads::Query) => shape.heads,
        Layout::Pairs(Heads::Key) => shape.kv_heads,
        _ => return true,
    };
    let pairs = (heads as u64).saturating_mul(2);
    from.first().is_some_and(|rows| pairs > 0 && *rows > 0 && rows.is_multiple_of(pairs))
}

/// The numbers in a name for which a pattern has `{}`; `None` where the name is not of the pattern.
fn numbers<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
    let mut parts = pattern.split("{}");
    let mut rest = name.strip_prefix(parts.next()?)?;
    let mut numbers = Vec::new();
    for part in parts {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        rest = after.strip_prefix(part).filter(|_| digits > 0)?;
        numbers.push(number);
    }
    rest.is_empty().then_some(numbers)
}

/// The name in the folder, and the layout, of a tensor in GGUF. In the name of an expert's matrix `{}` is its number.
pub(crate) fn in_folder(family: Family, name: &str) -> Option<(String, Layout)> {
    rows(family).find_map(|Row(folder, gguf, layout)| {
        let numbers = numbers(gguf, name)?;
        let layer = numbers.first().copied().unwrap_or_default();
        Some((folder.replacen("{}", layer, 1), *layout))
    })
}

/// A place in GGUF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) layout: Layout,
    /// Of [`Layout::Expert`] the number of the expert, else 0.
    pub(crate) expert: usize,
}

/// Where a tensor in the folder goes.
pub(crate) fn in_gguf(family: Family, name: &str) -> Option<Place> {
    // The hub's GPT-2 folders leave the prefix out.
    let long = format!("transformer.{name}");
    let bare = family == Family::Gpt2 && !name.starts_with("transformer.") && !name.starts_with("lm_head.");
    let name = if bare { long.as_str() } else { name };
    rows(family).find_map(|Row(folder, gguf, layout)| {
        let numbers = numbers(folder, name)?;
        let name = gguf.replacen("{}", numbers.first().copied().unwrap_or_default(), 1);
        let expert = numbers.get(1).map_or(Some(0), |number| number.parse().ok())?;
        Some(Place { name, layout: *layout, expert })
    })
}

/// The shape on the other side.
pub(crate) fn shape(layout: Layout, shape: &[u64]) -> Vec<u64> {
    match layout {
        Transposed => shape.iter().rev().copied().collect(),
        Same | Pairs(_) | PlusOne | Expert => shape.to_vec(),
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

/// The values of a tensor, whose shape is that of where it comes from and [`fits`], as they lie on the other side.
pub(crate) fn laid_out(values: Vec<f32>, from: &[u64], layout: Layout, shape: Shape, direction: Direction) -> Vec<f32> {
    let rows = from.first().map_or(1, |rows| *rows as usize);
    let back = direction == Direction::ToGguf;
    match layout {
        Layout::Same | Layout::Expert => values,
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
            for Row(folder, gguf, layout) in rows(family) {
                let (folder, gguf) = (folder.replacen("{}", "12", 1), gguf.replace("{}", "12"));
                assert_eq!(in_folder(family, &gguf).unwrap(), (folder.clone(), *layout));
                let expert = if *layout == Expert { 7 } else { 0 };
                let place = Place { name: gguf, layout: *layout, expert };
                assert_eq!(in_gguf(family, &folder.replace("{}", "7")).unwrap(), place);
            }
        }
        assert_eq!(in_gguf(Family::Gpt2, "h.0.ln_1.bias").unwrap().name, "blk.0.attn_norm.bias");
        let far = "model.layers.0.block_sparse_moe.experts.99999999999999999999.w1.weight";
        assert_eq!(in_gguf(Family::Mixtral, far), None);
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
