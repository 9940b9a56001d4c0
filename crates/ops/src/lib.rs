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
//! Begin reading at [`linear`], then [`composed`] for what each function means and `flex` for how the CPU's kernels
//! come under Burn.

use burn::backend::Dispatch;
use burn::prelude::*;
use flex::{CpuOps, CpuUpdates, Gelu, suits};

pub mod composed;
mod flex;

pub use danlu_kernels::cached::{CachedAttention, CachedSequence, attend_cached};
pub use danlu_kernels::int8::Int8Weight;
pub use danlu_kernels::optimizer::AdamW;
pub use danlu_kernels::peak_gflops;

/// The target that [`linear_cross_entropy`] skips.
pub const IGNORED: i32 = danlu_kernels::cross_entropy::IGNORED as i32;

/// Linear layer over the last dimension: `x * weight^T + bias`.
///
/// * `x`: (..., in)
/// * `weight`: (out, in), as Hugging Face stores it
/// * `bias`: (out)
///
/// Returns (..., out).
///
/// # Panics
/// If the last dimension of `x` is not `in`, or the bias is not as long as `out`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let [out, inp] = weight.dims();
    let fits = x.dims()[D - 1] == inp && bias.as_ref().is_none_or(|b| b.dims() == [out]);
    assert!(fits, "linear: x {:?}, weight {:?}, bias {:?}", x.dims(), weight.dims(), bias.map(|b| b.dims()));
    if !(suits(&x) && suits(&weight) && bias.as_ref().is_none_or(suits)) {
        return composed::linear(x, weight, bias);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        None => Dispatch::cpu_linear(x, weight),
        Some(bias) => Dispatch::cpu_linear_bias(x, weight, bias.into_dispatch()),
    })
}

/// Root-mean-square normalisation over the last dimension (Zhang and Sennrich 2019):
/// `x / sqrt(mean(x^2) + eps) * weight`.
///
/// # Panics
/// If the weight is not as long as the last dimension.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "rms_norm: last dimension and weight");
    if !(suits(&x) && suits(&weight)) {
        return composed::rms_norm(x, weight, eps);
    }
    Tensor::from_dispatch(Dispatch::cpu_rms_norm(x.into_dispatch(), weight.into_dispatch(), eps))
}

/// Layer normalisation over the last dimension (Ba et al. 2016), with the biased variance:
/// `(x - mean) / sqrt(variance + eps) * weight + bias`.
///
/// # Panics
/// If the weight or the bias is not as long as the last dimension.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "layer_norm: last dimension and weight");
    assert_eq!(weight.dims(), bias.dims(), "layer_norm: weight and bias");
    if !(suits(&x) && suits(&weight) && suits(&bias)) {
        return composed::layer_norm(x, weight, bias, eps);
    }
    Tensor::from_dispatch(Dispatch::cpu_layer_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        eps,
    ))
}

/// Rotary position embedding (Su et al. 2021) in Hugging Face's `rotate_half` convention: element i of the first half
/// turns with element i of the second half.
///
/// * `x`: (batch, heads, time, head_dim), head_dim even
/// * `cos`, `sin`: (time, head_dim / 2), one row per position, from [`rotary_tables`]; they carry no gradient
///
/// # Panics
/// If the tables are not of that shape.
pub fn rotary(x: Tensor<4>, cos: &Tensor<2>, sin: &Tensor<2>) -> Tensor<4> {
    let [_, _, time, width] = x.dims();
    let fits = width % 2 == 0 && cos.dims() == [time, width / 2] && sin.dims() == cos.dims();
    assert!(fits, "rotary: x {:?}, cos {:?}, sin {:?}", x.dims(), cos.dims(), sin.dims());
    if !(suits(&x) && suits(cos) && suits(sin)) {
        return composed::rotary(x, cos, sin);
    }
    let (cos, sin) = (cos.clone().into_dispatch(), sin.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::cpu_rotary(x.into_dispatch(), cos, sin))
}

/// Tables (cos, sin) of shape (count, head_dim / 2) for [`rotary`], positions `first..first + count`:
/// angle = position * theta^(-2 i / head_dim), computed in f64.
pub fn rotary_tables(
    first: usize,
    count: usize,
    head_dim: usize,
    theta: f64,
    device: &Device,
) -> (Tensor<2>, Tensor<2>) {
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
    (Tensor::from_data(TensorData::new(cos, shape), device), Tensor::from_data(TensorData::new(sin, shape), device))
}

/// Causal softmax attention, position i seeing positions 0..=i.
///
/// * `q`: (batch, heads, time, head_dim)
/// * `k`, `v`: (batch, kv_heads, time, head_dim); heads is a multiple of kv_heads, and the heads of one group are
///   neighbours (Ainslie et al. 2023, "GQA")
/// * `scale`: factor on the scores, usually `1 / sqrt(head_dim)`
///
/// Returns (batch, heads, time, head_dim). On the CPU it lies in memory as (batch, time, heads, head_dim), and the
/// inputs may too: `swap_dims(1, 2)` before and after costs no copy.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64) -> Tensor<4> {
    let ([b, heads, t, d], [kb, kv_heads, kt, kd]) = (q.dims(), k.dims());
    let fits = (b, t, d) == (kb, kt, kd) && k.dims() == v.dims() && kv_heads > 0 && heads % kv_heads == 0;
    assert!(fits, "causal_attention: q {:?}, k {:?}, v {:?}", q.dims(), k.dims(), v.dims());
    if !(suits(&q) && suits(&k) && suits(&v)) {
        return composed::causal_attention(q, k, v, scale);
    }
    Tensor::from_dispatch(Dispatch::cpu_attention(q.into_dispatch(), k.into_dispatch(), v.into_dispatch(), scale))
}

/// `silu(gate) * up` (Shazeer 2020, "GLU Variants Improve Transformer"), element by element.
///
/// # Panics
/// If the shapes differ.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    assert_eq!(gate.dims(), up.dims(), "swiglu: gate and up");
    if !(suits(&gate) && suits(&up)) {
        return composed::swiglu(gate, up);
    }
    Tensor::from_dispatch(Dispatch::cpu_swiglu(gate.into_dispatch(), up.into_dispatch()))
}

/// GELU by its tanh approximation, GPT-2's `gelu_new`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !suits(&x) {
        return composed::gelu_tanh(x);
    }
    Tensor::from_dispatch(Dispatch::cpu_gelu(x.into_dispatch(), Gelu::Tanh))
}

/// GELU by the error function, Hugging Face's `gelu`.
pub fn gelu_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !suits(&x) {
        return composed::gelu_erf(x);
    }
    Tensor::from_dispatch(Dispatch::cpu_gelu(x.into_dispatch(), Gelu::Erf))
}

/// The output layer and its loss in one: the sum over tokens, in nats, of `-log softmax(x * weight^T)[target]`.
///
/// * `x`: (tokens, dim); `weight`: (vocabulary, dim)
/// * `targets`: (tokens), each in 0..vocabulary or [`IGNORED`], which counts nothing
///
/// Returns one value. It is the sum, not the mean, so that gradients of accumulated micro-batches add up exactly. On
/// the CPU the gradients are computed here, while a chunk's logits exist, and the backward pass only scales them.
///
/// # Panics
/// If the shapes do not fit each other; on the CPU also if a target is outside the vocabulary.
pub fn linear_cross_entropy(x: Tensor<2>, weight: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let fits = x.dims()[1] == weight.dims()[1] && x.dims()[0] == targets.dims()[0];
    assert!(fits, "linear_cross_entropy: x {:?}, weight {:?}, targets {:?}", x.dims(), weight.dims(), targets.dims());
    if !(suits(&x) && suits(&weight)) {
        return composed::linear_cross_entropy(x, weight, targets);
    }
    Tensor::from_dispatch(Dispatch::cpu_cross_entropy(
        x.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
    ))
}

/// Rows of `weight` (vocabulary, dim) by `ids` (batch, time), each in 0..vocabulary. Returns (batch, time, dim).
///
/// # Panics
/// On the CPU, if an id is outside the vocabulary.
pub fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    if !suits(&weight) {
        return composed::embedding(weight, ids);
    }
    Tensor::from_dispatch(Dispatch::cpu_embedding(weight.into_dispatch(), ids.into_dispatch()))
}

/// One AdamW step on one parameter; returns the new (parameter, first moment, second moment), none of them tracked by
/// autodiff.
///
/// All four tensors have one shape. Give up your other handles of `p`, `m` and `v` first: then the CPU updates them in
/// place, and otherwise it copies.
pub fn adamw_update<const D: usize>(
    h: &AdamW,
    p: Tensor<D>,
    g: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let (p, g, m, v) = (p.inner(), g.inner(), m.inner(), v.inner());
    if !(suits(&p) && suits(&g) && suits(&m) && suits(&v)) {
        return composed::adamw_update(h, p, g, m, v);
    }
    let (p, m, v) = Dispatch::cpu_adamw(h, p.into_dispatch(), g.into_dispatch(), m.into_dispatch(), v.into_dispatch());
    (Tensor::from_dispatch(p), Tensor::from_dispatch(m), Tensor::from_dispatch(v))
}

/// Sum of squares in f64, in a fixed order on the CPU: the same bits whatever the number of threads.
///
/// # Panics
/// If the device fails while the tensor is read.
pub fn sum_squares<const D: usize>(t: &Tensor<D>) -> f64 {
    let t = t.clone().inner();
    if suits(&t) {
        let mut sum = 0.0;
        Dispatch::cpu_sum_squares(t.into_dispatch(), &mut sum);
        return sum;
    }
    t.into_data_as::<f64>().iter::<f64>().map(|x| x * x).sum()
}

/// [`linear`] with an int8 weight, for inference: no gradient flows through it.
///
/// # Panics
/// If the last dimension of `x` is not `w.inp`, the bias is not as long as `w.out`, or a device other than the CPU
/// fails while `x` is read.
pub fn linear_int8<const D: usize>(x: Tensor<D>, w: &Int8Weight, bias: Option<Tensor<1>>) -> Tensor<D> {
    let dims = x.dims();
    assert_eq!(dims[D - 1], w.inp, "linear_int8: x {dims:?} against a weight of {} inputs", w.inp);
    let device = x.device();
    if suits(&x) && bias.as_ref().is_none_or(suits) {
        let bias = bias.map_or_else(Vec::new, |b| b.into_data_as::<f32>().iter::<f32>().collect());
        let y = Tensor::from_dispatch(Dispatch::cpu_linear_int8(x.inner().into_dispatch(), w, &bias));
        return if device.is_autodiff() { Tensor::from_inner(y) } else { y };
    }
    let weight = Tensor::from_data(TensorData::new(w.dequantize(), [w.out, w.inp]), &device);
    composed::linear(x, weight, bias)
}
