//! Every operation as a composition of Burn's own: differentiable on any device, and the reference against which the
//! CPU kernels are tested. Nothing here is tuned for the CPU.

use burn::prelude::*;
use burn::tensor::activation;
use danlu_kernels::optimizer::AdamW;

/// `x * weight^T + bias` over the last dimension; weight is (out, in).
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let mut dims = x.dims();
    let [out, inp] = weight.dims();
    let rows = dims[..D - 1].iter().product::<usize>();
    dims[D - 1] = out;
    let y = x.reshape([rows, inp]).matmul(weight.transpose());
    match bias {
        Some(bias) => (y + bias.unsqueeze()).reshape(dims),
        None => y.reshape(dims),
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let scale = x.clone().square().mean_dim(D - 1).add_scalar(eps).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over the last dimension.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    let centered = x.clone() - x.mean_dim(D - 1);
    let scale = centered.clone().square().mean_dim(D - 1).add_scalar(eps).sqrt().recip();
    centered * scale * weight.unsqueeze() + bias.unsqueeze()
}

/// Rotary position embedding in the `rotate_half` convention; cos and sin are (time, head_dim / 2).
pub fn rotary(x: Tensor<4>, cos: &Tensor<2>, sin: &Tensor<2>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let cos = cos.clone().unsqueeze::<4>();
    let sin = sin.clone().unsqueeze::<4>();
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    Tensor::cat(vec![first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin], 3)
}

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

/// `silu(gate) * up`.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    activation::silu(gate) * up
}

/// GELU by its tanh approximation.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu_approximate(x)
}

/// GELU by the error function.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// Sum over tokens of `-log softmax(x * weight^T)[target]`; targets of -100 count nothing.
pub fn linear_cross_entropy(x: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let rows = x.dims()[0];
    let ignored = targets.clone().equal_elem(crate::IGNORED);
    let targets = targets.mask_fill(ignored.clone(), 0);
    let log_probabilities = activation::log_softmax(linear(x, weight, None), 1);
    let chosen = log_probabilities.gather(1, targets.reshape([rows, 1])).reshape([rows]);
    chosen.mask_fill(ignored, 0.0).sum().neg()
}

/// Rows of `weight` (vocabulary, dim) by ids (batch, time).
pub fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    burn::tensor::module::embedding(weight, ids)
}

/// One AdamW step; returns (parameter, first moment, second moment).
pub fn adamw_update<const D: usize>(
    h: &AdamW,
    p: Tensor<D>,
    g: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let correction1 = 1.0 - h.beta1.powf(h.step as f64);
    let correction2 = 1.0 - h.beta2.powf(h.step as f64);
    let g = g.mul_scalar(h.gradient_scale);
    let m = m.mul_scalar(h.beta1) + g.clone().mul_scalar(1.0 - h.beta1);
    let v = v.mul_scalar(h.beta2) + g.square().mul_scalar(1.0 - h.beta2);
    let denominator = v.clone().sqrt().mul_scalar(1.0 / correction2.sqrt()).add_scalar(h.eps);
    let update = m.clone().mul_scalar(h.lr / correction1) / denominator;
    (p.mul_scalar(1.0 - h.lr * h.weight_decay) - update, m, v)
}
