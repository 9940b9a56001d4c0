//! Differentiable tensor functions: what the layers of `model` and the loop of `train` are made of.
//!
//! The room owns the operations that are worth a kernel of their own: the linear layer, normalisation, rotary
//! positions, causal attention, gated and plain activations, the linear layer fused with cross-entropy, the embedding
//! and the optimiser's update. Each is one plain function on Burn's `Tensor`. On the CPU (Burn's `flex` device) in f32
//! it runs `danlu-kernels`, forward and backward; on any other device or element type it is composed of Burn's own
//! operations ([`composed`]), which differentiate and fuse there. Callers never ask which.
//!
//! It may touch `kernels` and Burn, and knows nothing of models, files or text.
//!
//! Shapes are the caller's promise, as in Burn: a mismatch panics with the sizes. Models check theirs when they are
//! built or loaded, so user input cannot bring one about.
//!
//! Begin reading at [`linear`], then [`composed`] for what each function means.

use burn::prelude::*;

pub mod composed;

pub use danlu_kernels::cached::{CachedAttention, CachedSequence, attend_cached};
pub use danlu_kernels::int8::Int8Weight;
pub use danlu_kernels::optimizer::AdamW;

/// The target that [`linear_cross_entropy`] skips.
pub const IGNORED: i32 = -100;

/// Linear layer over the last dimension: `x * weight^T + bias`.
///
/// * `x`: (..., in)
/// * `weight`: (out, in), as Hugging Face stores it
/// * `bias`: (out)
///
/// Returns (..., out).
///
/// # Panics
/// If the last dimension of `x` is not `in`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    composed::linear(x, weight, bias)
}

/// Root-mean-square normalisation over the last dimension (Zhang and Sennrich 2019):
/// `x / sqrt(mean(x^2) + eps) * weight`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    composed::rms_norm(x, weight, eps)
}

/// Layer normalisation over the last dimension (Ba et al. 2016), with the biased variance:
/// `(x - mean) / sqrt(variance + eps) * weight + bias`.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    composed::layer_norm(x, weight, bias, eps)
}

/// Rotary position embedding (Su et al. 2021) in Hugging Face's `rotate_half` convention: element i of the first half
/// turns with element i of the second half.
///
/// * `x`: (batch, heads, time, head_dim), head_dim even
/// * `cos`, `sin`: (time, head_dim / 2), one row per position, from [`rotary_tables`]; they carry no gradient
pub fn rotary(x: Tensor<4>, cos: &Tensor<2>, sin: &Tensor<2>) -> Tensor<4> {
    composed::rotary(x, cos, sin)
}

/// Tables (cos, sin) of shape (positions, head_dim / 2) for [`rotary`], positions `first..first + count`:
/// angle = position * theta^(-2 i / head_dim), computed in f64.
pub fn rotary_tables(first: usize, count: usize, head_dim: usize, theta: f64, device: &Device) -> (Tensor<2>, Tensor<2>) {
    let half = head_dim / 2;
    let mut cos = Vec::with_capacity(count * half);
    let mut sin = Vec::with_capacity(count * half);
    for position in first..first + count {
        for i in 0..half {
            let angle = position as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64);
            cos.push(angle.cos() as f32);
            sin.push(angle.sin() as f32);
        }
    }
    let shape = [count, half];
    (
        Tensor::from_data(TensorData::new(cos, shape), device),
        Tensor::from_data(TensorData::new(sin, shape), device),
    )
}

/// Causal softmax attention, position i seeing positions 0..=i.
///
/// * `q`: (batch, heads, time, head_dim)
/// * `k`, `v`: (batch, kv_heads, time, head_dim); heads is a multiple of kv_heads, and the heads of one group are
///   neighbours (Ainslie et al. 2023, "GQA")
/// * `scale`: factor on the scores, usually `1 / sqrt(head_dim)`
///
/// Returns (batch, heads, time, head_dim).
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64) -> Tensor<4> {
    composed::causal_attention(q, k, v, scale)
}

/// `silu(gate) * up` (Shazeer 2020, "GLU Variants Improve Transformer"), element by element.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    composed::swiglu(gate, up)
}

/// GELU by its tanh approximation, GPT-2's `gelu_new`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    composed::gelu_tanh(x)
}

/// GELU by the error function, Hugging Face's `gelu`.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    composed::gelu_erf(x)
}

/// The output layer and its loss in one: the sum over tokens, in nats, of `-log softmax(x * weight^T)[target]`.
///
/// * `x`: (tokens, dim); `weight`: (vocabulary, dim)
/// * `targets`: (tokens), each in 0..vocabulary or [`IGNORED`], which counts nothing
///
/// Returns one value. It is the sum, not the mean, so that gradients of accumulated micro-batches add up exactly.
pub fn linear_cross_entropy(x: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    composed::linear_cross_entropy(x, weight, targets)
}

/// Rows of `weight` (vocabulary, dim) by `ids` (batch, time), each in 0..vocabulary. Returns (batch, time, dim).
pub fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    composed::embedding(weight, ids)
}

/// One AdamW step on one parameter; returns the new (parameter, first moment, second moment).
///
/// All four tensors have one shape and must not be tracked by autodiff (`Tensor::inner`). Give up your other handles
/// of `p`, `m` and `v` first: then the CPU updates them in place.
pub fn adamw_update<const D: usize>(h: &AdamW, p: Tensor<D>, g: Tensor<D>, m: Tensor<D>, v: Tensor<D>) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let correction1 = 1.0 - h.beta1.powf(h.step as f64);
    let correction2 = 1.0 - h.beta2.powf(h.step as f64);
    let g = g.mul_scalar(h.gradient_scale);
    let m = m.mul_scalar(h.beta1) + g.clone().mul_scalar(1.0 - h.beta1);
    let v = v.mul_scalar(h.beta2) + g.square().mul_scalar(1.0 - h.beta2);
    let denominator = v.clone().sqrt().mul_scalar(1.0 / correction2.sqrt()).add_scalar(h.eps);
    let update = m.clone().mul_scalar(h.lr / correction1) / denominator;
    (p.mul_scalar(1.0 - h.lr * h.weight_decay) - update, m, v)
}

/// Sum of squares in f64, in a fixed order on the CPU: the same bits whatever the number of threads.
///
/// # Panics
/// If the device fails while the tensor is read.
pub fn sum_squares<const D: usize>(t: &Tensor<D>) -> f64 {
    match t.to_data_as::<f32>().as_slice::<f32>() {
        Ok(values) => danlu_kernels::optimizer::sum_squares(values),
        Err(_) => f64::NAN,
    }
}

/// [`linear`] with an int8 weight, for inference: no gradient flows through it.
///
/// # Panics
/// If the last dimension of `x` is not `w.inp`.
pub fn linear_int8<const D: usize>(x: Tensor<D>, w: &Int8Weight, bias: Option<Tensor<1>>) -> Tensor<D> {
    let device = x.device();
    let mut dims = x.dims();
    assert_eq!(dims[D - 1], w.inp, "linear_int8: x {dims:?} against a weight of {} inputs", w.inp);
    let rows = dims[..D - 1].iter().product::<usize>();
    dims[D - 1] = w.out;
    let data = x.to_data_as::<f32>();
    let mut y = vec![0f32; rows * w.out];
    if let Ok(x) = data.as_slice::<f32>() {
        danlu_kernels::int8::matmul_int8(x, rows, w, &mut y);
    }
    let y = Tensor::from_data(TensorData::new(y, dims), &device);
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}
