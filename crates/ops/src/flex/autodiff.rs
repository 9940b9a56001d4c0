//! The operations under autodiff: forward by the kernels, and a backward pass for each.
//!
//! A backward step computes only what a parent asks for: a frozen weight costs nothing.

use super::forward::{attend, attention_shape, embed, gelu, linear, loss, rotate};
use super::{CpuOps, Gelu, dense, dims, four, head_view, heads, integers, matrix, tensor, time_major_tensor, values};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Flex};
use danlu_kernels::Precision;
use danlu_kernels::cross_entropy::Wanted;
use danlu_kernels::optimizer::scale;
use danlu_kernels::{activation, attention, embedding, gemm, norm};
use std::sync::Arc;

/// Registers `$output` as the result of backward step `$step` with what it saves.
macro_rules! finish {
    ($step:ident, $nodes:expr, $saved:expr, $output:expr) => {
        match $step.prepare::<C>($nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish($saved, $output),
            OpsKind::UnTracked(prepared) => prepared.finish($output),
        }
    };
}

/// Shape-independent part of a linear layer's backward pass, with or without a bias as third parent.
fn linear_grads<const N: usize>(ops: Ops<(FlexTensor, FlexTensor), N>, grads: &mut Gradients) {
    let g = dense(grads.consume::<Flex>(&ops.node));
    let (x, weight) = ops.state;
    let ((rows, inp), out) = (matrix(&x), matrix(&weight).0);
    let mut parents = ops.parents.into_iter();
    if let Some(node) = parents.next().flatten() {
        let dx = gemm::linear_grad_x(values(&g), rows, values(&weight), out, inp, Precision::F32);
        grads.register::<Flex>(node.id, tensor(dx, dims(&x)));
    }
    if let Some(node) = parents.next().flatten() {
        let dw = gemm::linear_grad_weight(values(&g), values(&x), rows, out, inp, Precision::F32);
        grads.register::<Flex>(node.id, tensor(dw, vec![out, inp]));
    }
    if let Some(node) = parents.next().flatten() {
        grads.register::<Flex>(node.id, tensor(gemm::column_sums(values(&g), rows, out), vec![out]));
    }
}

#[derive(Debug)]
struct Linear;

impl Backward<Flex, 2> for Linear {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        linear_grads(ops, grads);
    }
}

#[derive(Debug)]
struct LinearBias;

impl Backward<Flex, 3> for LinearBias {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        linear_grads(ops, grads);
    }
}

#[derive(Debug)]
struct RmsNorm;

impl Backward<Flex, 2> for RmsNorm {
    type State = (FlexTensor, FlexTensor, Arc<Vec<f32>>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let (x, weight, scales) = ops.state;
        let (dx, dw) = norm::rms_norm_grad(values(&x), values(&weight), &scales, values(&g));
        let [to_x, to_weight] = ops.parents;
        if let Some(node) = to_x {
            grads.register::<Flex>(node.id, tensor(dx, dims(&x)));
        }
        if let Some(node) = to_weight {
            grads.register::<Flex>(node.id, tensor(dw, dims(&weight)));
        }
    }
}

#[derive(Debug)]
struct LayerNorm;

impl Backward<Flex, 3> for LayerNorm {
    type State = (FlexTensor, FlexTensor, Arc<Vec<f32>>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let (x, weight, stats) = ops.state;
        let (dx, dw, db) = norm::layer_norm_grad(values(&x), values(&weight), &stats, values(&g));
        let [to_x, to_weight, to_bias] = ops.parents;
        if let Some(node) = to_x {
            grads.register::<Flex>(node.id, tensor(dx, dims(&x)));
        }
        if let Some(node) = to_weight {
            grads.register::<Flex>(node.id, tensor(dw, dims(&weight)));
        }
        if let Some(node) = to_bias {
            grads.register::<Flex>(node.id, tensor(db, dims(&weight)));
        }
    }
}

#[derive(Debug)]
struct Rotary;

impl Backward<Flex, 1> for Rotary {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = head_view(grads.consume::<Flex>(&ops.node));
        let (cos, sin) = ops.state;
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, rotate(&g, &cos, &sin, true));
        }
    }
}

#[derive(Clone, Debug)]
struct AttentionState {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    /// Lies as (batch, time, heads, dim), as the kernel wrote it.
    out: FlexTensor,
    lse: Arc<Vec<f32>>,
    scale: f64,
}

#[derive(Debug)]
struct Attention;

impl Backward<Flex, 3> for Attention {
    type State = AttentionState;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = head_view(grads.consume::<Flex>(&ops.node));
        let AttentionState { q, k, v, out, lse, scale } = ops.state;
        let shape = attention_shape(&q, &k, scale);
        let (dq, dk, dv) = attention::backward(&shape, heads(&q), heads(&k), heads(&v), out.storage(), &lse, heads(&g));
        for (parent, (gradient, like)) in ops.parents.into_iter().zip([(dq, &q), (dk, &k), (dv, &v)]) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, time_major_tensor(gradient, four(like)));
            }
        }
    }
}

#[derive(Debug)]
struct Swiglu;

impl Backward<Flex, 2> for Swiglu {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let (gate, up) = ops.state;
        let (d_gate, d_up) = activation::swiglu_grad(values(&gate), values(&up), values(&g));
        for (parent, gradient) in ops.parents.into_iter().zip([d_gate, d_up]) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, tensor(gradient, dims(&gate)));
            }
        }
    }
}

#[derive(Debug)]
struct GeluGrad;

impl Backward<Flex, 1> for GeluGrad {
    type State = (FlexTensor, Gelu);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let (x, kind) = ops.state;
        let dx = match kind {
            Gelu::Tanh => activation::gelu_tanh_grad(values(&x), values(&g)),
            Gelu::Erf => activation::gelu_erf_grad(values(&x), values(&g)),
        };
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, tensor(dx, dims(&x)));
        }
    }
}

/// The gradients are computed together with the loss, while a chunk's logits exist, for an upstream gradient of 1.
#[derive(Debug)]
struct CrossEntropyGrad;

impl Backward<Flex, 2> for CrossEntropyGrad {
    /// Gradients to (x, weight); empty where not wanted.
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let upstream = values(&g).first().copied().unwrap_or(0.0);
        let (dx, dw) = ops.state;
        for (parent, mut gradient) in ops.parents.into_iter().zip([dx, dw]) {
            if let Some(node) = parent {
                if upstream != 1.0 {
                    scale(gradient.storage_mut(), upstream);
                }
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct Embedding;

impl Backward<Flex, 1> for Embedding {
    type State = (Arc<Vec<i64>>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let g = dense(grads.consume::<Flex>(&ops.node));
        let (ids, entries) = ops.state;
        let dim = matrix(&g).1;
        if let [Some(node)] = ops.parents {
            let table = embedding::scatter_add(values(&g), dim, &ids, entries);
            grads.register::<Flex>(node.id, tensor(table, vec![entries, dim]));
        }
    }
}

impl<C: CheckpointStrategy> CpuOps for Autodiff<Flex, C> {
    fn cpu_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (dense(x.into_primitive()), dense(weight.into_primitive()));
        let y = linear(&x, &weight, None);
        finish!(Linear, nodes, (x, weight), y)
    }

    fn cpu_linear_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) =
            (dense(x.into_primitive()), dense(weight.into_primitive()), dense(bias.into_primitive()));
        let y = linear(&x, &weight, Some(&bias));
        finish!(LinearBias, nodes, (x, weight), y)
    }

    fn cpu_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (dense(x.into_primitive()), dense(weight.into_primitive()));
        let (y, scales) = norm::rms_norm(values(&x), values(&weight), eps as f32);
        let y = tensor(y, dims(&x));
        finish!(RmsNorm, nodes, (x, weight, Arc::new(scales)), y)
    }

    fn cpu_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) =
            (dense(x.into_primitive()), dense(weight.into_primitive()), dense(bias.into_primitive()));
        let (y, stats) = norm::layer_norm(values(&x), values(&weight), values(&bias), eps as f32);
        let y = tensor(y, dims(&x));
        finish!(LayerNorm, nodes, (x, weight, Arc::new(stats)), y)
    }

    fn cpu_rotary(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let (x, cos, sin) = (head_view(x.into_primitive()), dense(cos.into_primitive()), dense(sin.into_primitive()));
        let y = rotate(&x, &cos, &sin, false);
        finish!(Rotary, nodes, (cos, sin), y)
    }

    fn cpu_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        let (q, k, v) = (head_view(q.into_primitive()), head_view(k.into_primitive()), head_view(v.into_primitive()));
        let (out, lse) = attend(&q, &k, &v, scale);
        let state = AttentionState { q, k, v, out: out.clone(), lse: Arc::new(lse), scale };
        finish!(Attention, nodes, state, out)
    }

    fn cpu_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [gate.node(), up.node()];
        let (gate, up) = (dense(gate.into_primitive()), dense(up.into_primitive()));
        let y = tensor(activation::swiglu(values(&gate), values(&up)), dims(&gate));
        finish!(Swiglu, nodes, (gate, up), y)
    }

    fn cpu_gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let x = dense(x.into_primitive());
        let y = gelu(&x, kind);
        finish!(GeluGrad, nodes, (x, kind), y)
    }

    fn cpu_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let wanted = Wanted { x: x.is_tracked(), weight: weight.is_tracked() };
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (dense(x.into_primitive()), dense(weight.into_primitive()));
        let result = loss(&x, &weight, targets, wanted);
        let gradient = |values: Vec<f32>, like: &FlexTensor| {
            let dims = if values.is_empty() { vec![0] } else { dims(like) };
            tensor(values, dims)
        };
        let saved = (gradient(result.dx, &x), gradient(result.d_weight, &weight));
        let y = tensor(vec![result.loss as f32], vec![1]);
        finish!(CrossEntropyGrad, nodes, saved, y)
    }

    fn cpu_embedding(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let nodes = [weight.node()];
        let weight = dense(weight.into_primitive());
        let id_dims = dims(&ids);
        let ids = integers(ids);
        let y = embed(&weight, &ids, &id_dims);
        let entries = matrix(&weight).0;
        finish!(Embedding, nodes, (Arc::new(ids), entries), y)
    }
}
