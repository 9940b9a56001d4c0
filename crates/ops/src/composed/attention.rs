use burn::prelude::*;
use burn::tensor::activation;

/// Causal softmax attention with grouped queries.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64) -> Tensor<4> {
    let [batch, heads, time, width] = q.dims();
    let kv_heads = k.dims()[1];
    let group = heads / kv_heads;
    // (batch, kv_heads, group * time, width): the queries that share a key head become more rows of one product.
    let q = q.reshape([batch, kv_heads, group * time, width]);
    let scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(scale).reshape([batch, heads, time, time]);
    let hidden = Tensor::<2, Bool>::tril_mask([time, time], 0, &scores.device()).unsqueeze::<4>();
    let weights = activation::softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
    weights.reshape([batch, kv_heads, group * time, time]).matmul(v).reshape([batch, heads, time, width])
}
