//! The operations without autodiff, and the pieces that the backward passes share.

use super::{
    CpuOps, CpuUpdates, Gelu, dense, dims, four, head_view, heads, integers, matrix, tensor, time_major_tensor, values,
};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use danlu_kernels::Precision;
use danlu_kernels::attention::Shape as AttentionShape;
use danlu_kernels::cross_entropy::{CrossEntropy, Wanted};
use danlu_kernels::int8::{self, Int8Weight};
use danlu_kernels::optimizer::{self, AdamW};
use danlu_kernels::{activation, attention, cross_entropy, embedding, gemm, norm, rotary};

/// All tensors dense.
pub(super) fn linear(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> FlexTensor {
    let (rows, inp) = matrix(x);
    let out = matrix(weight).0;
    let y = gemm::linear(values(x), rows, values(weight), out, inp, bias.map(values), Precision::F32);
    tensor(y, with_last(dims(x), out))
}

fn with_last(mut dims: Vec<usize>, last: usize) -> Vec<usize> {
    if let Some(d) = dims.last_mut() {
        *d = last;
    }
    dims
}

pub(super) fn attention_shape(q: &FlexTensor, k: &FlexTensor, scale: f64) -> AttentionShape {
    let [batch, heads, time, head_dim] = four(q);
    AttentionShape { batch, heads, kv_heads: four(k)[1], time, head_dim, scale: scale as f32 }
}

/// q, k and v as [`head_view`] leaves them. Returns the result and the log-sum-exp.
pub(super) fn attend(q: &FlexTensor, k: &FlexTensor, v: &FlexTensor, scale: f64) -> (FlexTensor, Vec<f32>) {
    let shape = attention_shape(q, k, scale);
    let (out, lse) = attention::forward(&shape, heads(q), heads(k), heads(v));
    (time_major_tensor(out, four(q)), lse)
}

/// x as [`head_view`] leaves it, tables dense.
pub(super) fn rotate(x: &FlexTensor, cos: &FlexTensor, sin: &FlexTensor, backwards: bool) -> FlexTensor {
    time_major_tensor(rotary::rotary(heads(x), four(x), values(cos), values(sin), backwards), four(x))
}

pub(super) fn gelu(x: &FlexTensor, kind: Gelu) -> FlexTensor {
    let y = match kind {
        Gelu::Tanh => activation::gelu_tanh(values(x)),
        Gelu::Erf => activation::gelu_erf(values(x)),
    };
    tensor(y, dims(x))
}

pub(super) fn loss(x: &FlexTensor, weight: &FlexTensor, targets: FlexTensor, wanted: Wanted) -> CrossEntropy {
    let (vocab, dim) = matrix(weight);
    cross_entropy::linear_cross_entropy(values(x), values(weight), &integers(targets), dim, vocab, wanted)
}

pub(super) fn embed(weight: &FlexTensor, ids: &[i64], id_dims: &[usize]) -> FlexTensor {
    let dim = matrix(weight).1;
    tensor(embedding::gather(values(weight), dim, ids), [id_dims, &[dim]].concat())
}

impl CpuOps for Flex {
    fn cpu_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear(&dense(x), &dense(weight), None)
    }

    fn cpu_linear_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        linear(&dense(x), &dense(weight), Some(&dense(bias)))
    }

    fn cpu_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let (x, weight) = (dense(x), dense(weight));
        tensor(norm::rms_norm(values(&x), values(&weight), eps as f32).0, dims(&x))
    }

    fn cpu_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let (x, weight, bias) = (dense(x), dense(weight), dense(bias));
        tensor(norm::layer_norm(values(&x), values(&weight), values(&bias), eps as f32).0, dims(&x))
    }

    fn cpu_rotary(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        rotate(&head_view(x), &dense(cos), &dense(sin), false)
    }

    fn cpu_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        attend(&head_view(q), &head_view(k), &head_view(v), scale).0
    }

    fn cpu_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (dense(gate), dense(up));
        tensor(activation::swiglu(values(&gate), values(&up)), dims(&gate))
    }

    fn cpu_gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
        gelu(&dense(x), kind)
    }

    fn cpu_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let result = loss(&dense(x), &dense(weight), targets, Wanted { x: false, weight: false });
        tensor(vec![result.loss as f32], vec![1])
    }

    fn cpu_embedding(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let id_dims = dims(&ids);
        embed(&dense(weight), &integers(ids), &id_dims)
    }
}

/// A tensor that owns the whole of its storage, in order, so that it can be written in place. Copies what is shared.
fn owned(t: FlexTensor) -> FlexTensor {
    let whole = t.layout().contiguous_offsets() == Some((0, t.storage::<f32>().len()));
    if whole { t } else { t.to_contiguous() }
}

impl CpuUpdates for Flex {
    fn cpu_adamw(
        h: &AdamW,
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (mut p, mut m, mut v, g) = (owned(p), owned(m), owned(v), dense(g));
        optimizer::adamw(h, p.storage_mut(), values(&g), m.storage_mut(), v.storage_mut());
        (p, m, v)
    }

    fn cpu_sum_squares(t: FloatTensor<Self>, sum: &mut f64) -> FloatTensor<Self> {
        let t = dense(t);
        *sum = optimizer::sum_squares(values(&t));
        t
    }

    fn cpu_linear_int8(x: FloatTensor<Self>, weight: &Int8Weight, bias: &[f32]) -> FloatTensor<Self> {
        let x = dense(x);
        let bias = (!bias.is_empty()).then_some(bias);
        let y = int8::linear_int8(values(&x), matrix(&x).0, weight, bias);
        tensor(y, with_last(dims(&x), weight.out))
    }
}
