use super::{rotary, rounded};
use crate::{AttentionMask, AttentionOptions, DropoutMask, JoinedHeads, KeyPadding};
use burn::prelude::*;
use burn::tensor::activation;

/// Softmax attention with grouped queries; see [`crate::attention`].
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, options: &AttentionOptions) -> Tensor<4> {
    let [batch, heads, queries, width] = q.dims();
    let [_, kv_heads, keys, _] = k.dims();
    let (group, device) = (heads / kv_heads, q.device());
    let round = |x: Tensor<4>| rounded(x, options.precision);
    // (batch, kv_heads, group * queries, width): the queries that share a key head become more rows of one product.
    let q = round(q.reshape([batch, kv_heads, group * queries, width]));
    let scores = q.matmul(round(k).swap_dims(2, 3)).mul_scalar(options.scale);
    let mut scores = scores.reshape([batch, heads, queries, keys]);
    if let Some(cap) = options.softcap {
        scores = scores.div_scalar(cap).tanh().mul_scalar(cap);
    }
    if let Some(slopes) = &options.alibi {
        scores = scores - distances(slopes, queries, keys, &device);
    }
    if let Some(bias) = &options.bias {
        scores = scores + bias.clone();
    }
    let mut weights = match hidden(options, [batch, queries, keys], &device) {
        None => activation::softmax(scores, 3),
        // What is hidden loses to any score, but not to infinity: a row without keys must not become NaN before it
        // becomes 0.
        Some(hidden) => {
            let hidden = hidden.expand([batch, heads, queries, keys]);
            activation::softmax(scores.mask_fill(hidden.clone(), -1e30), 3).mask_fill(hidden, 0.0)
        }
    };
    if let Some(mask) = &options.dropout {
        weights = weights * dropout_factors(mask, [batch, heads, queries, keys], &device);
    }
    let weights = round(weights.reshape([batch, kv_heads, group * queries, keys]));
    weights.matmul(round(v)).reshape([batch, heads, queries, width])
}

/// Attention of sequences to themselves; see [`crate::self_attention`].
pub fn self_attention(
    qkv: Tensor<2>,
    tables: Option<(&Tensor<2>, &Tensor<2>)>,
    shape: JoinedHeads,
    options: &AttentionOptions,
) -> Tensor<2> {
    let JoinedHeads { batch, time, heads, kv_heads, head_dim } = shape;
    let qkv = qkv.reshape([batch, time, heads + 2 * kv_heads, head_dim]).swap_dims(1, 2);
    let (mut q, mut k) = (qkv.clone().narrow(1, 0, heads), qkv.clone().narrow(1, heads, kv_heads));
    if let Some((cos, sin)) = tables {
        (q, k) = (rotary(q, cos, sin), rotary(k, cos, sin));
    }
    let mixed = attention(q, k, qkv.narrow(1, heads + kv_heads, kv_heads), options);
    mixed.swap_dims(1, 2).reshape([batch * time, heads * head_dim])
}

/// `slope * |distance|`, (1, heads, queries, keys).
fn distances(slopes: &[f32], queries: usize, keys: usize, device: &Device) -> Tensor<4> {
    let distance = |i: usize, j: usize| ((i + keys) as f32 - queries as f32 - j as f32).abs();
    let of_head =
        |slope: &f32| -> Vec<f32> { (0..queries * keys).map(|at| slope * distance(at / keys, at % keys)).collect() };
    let values: Vec<f32> = slopes.iter().flat_map(of_head).collect();
    Tensor::from_data(TensorData::new(values, [1, slopes.len(), queries, keys]), device)
}

/// Which scores do not count, (batch or 1, 1, queries or 1, keys).
fn hidden(options: &AttentionOptions, [batch, queries, keys]: [usize; 3], device: &Device) -> Option<Tensor<4, Bool>> {
    let flags =
        |values: Vec<bool>, dims: [usize; 4]| Tensor::<4, Bool>::from_data(TensorData::new(values, dims), device);
    let mut parts = Vec::new();
    let (before, after) = match options.mask {
        AttentionMask::None => (usize::MAX, usize::MAX),
        AttentionMask::Causal => (usize::MAX, 0),
        AttentionMask::CausalWindow(width) => (width.saturating_sub(1), 0),
        AttentionMask::Window(width) => (width, width),
    };
    if options.mask != AttentionMask::None {
        // Query i stands at key position i + keys - queries.
        let out = |i: usize, j: usize| {
            (i + keys).saturating_sub(j + queries) > before || (j + queries).saturating_sub(i + keys) > after
        };
        parts.push(flags((0..queries * keys).map(|at| out(at / keys, at % keys)).collect(), [1, 1, queries, keys]));
    }
    match &options.padding {
        KeyPadding::None => {}
        KeyPadding::Lengths(lengths) => {
            let out = lengths.iter().flat_map(|n| (0..keys).map(move |j| j >= *n)).collect();
            parts.push(flags(out, [batch, 1, 1, keys]));
        }
        KeyPadding::Keys(real) => parts.push(real.clone().bool_not().reshape([batch, 1, 1, keys])),
    }
    if let Some(segments) = &options.segments {
        let all = [batch, 1, queries, keys];
        let of_queries = segments.queries.clone().reshape([batch, 1, queries, 1]).expand(all);
        let of_keys = segments.keys.clone().reshape([batch, 1, 1, keys]).expand(all);
        parts.push(of_queries.not_equal(of_keys));
    }
    let all = [batch, 1, queries, keys];
    parts.into_iter().map(|part| part.expand(all)).reduce(|a, b| a.bool_or(b))
}

/// The factors of a dropout mask, `dims` = (batch, heads, queries, keys).
fn dropout_factors(mask: &DropoutMask, dims: [usize; 4], device: &Device) -> Tensor<4> {
    let [batch, heads, queries, keys] = dims;
    let row = |row: usize| {
        let blocks = (0..keys.div_ceil(4)).flat_map(move |block| mask.block(row as u64, block as u32));
        blocks.take(keys)
    };
    let values: Vec<f32> = (0..batch * heads * queries).flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, dims), device)
}
