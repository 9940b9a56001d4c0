//! The CPU's fast path: `danlu-kernels` put under Burn's `flex` device by a backend extension.
//!
//! [`CpuOps`] is implemented for `Flex` ([`forward`]) and for `Autodiff<Flex>` ([`autodiff`], with the backward passes).
//! No other backend implements it: the public functions come here only after [`suits`] has said so.
//!
//! A `FlexTensor` is a view: its storage may be longer than the tensor and its strides may be any. [`dense`] and
//! [`values`] give plain slices; [`Heads`] reads (batch, heads, time, dim) through its strides, because the split into
//! heads is such a view and copying it would cost more than the rotation that follows.

mod autodiff;
mod forward;

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn::prelude::*;
use burn::tensor::{DType, Shape};
use danlu_kernels::attention::{Heads, time_major};
use danlu_kernels::int8::Int8Weight;
use danlu_kernels::optimizer::AdamW;

/// Which activation of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// Tanh approximation.
    Tanh,
    /// Error function.
    Erf,
}

/// The operations that have a kernel. Shapes are those of the public functions of the same name.
#[backend_extension(Flex, Autodiff)]
pub trait CpuOps: Backend {
    /// Linear layer.
    fn cpu_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Linear layer with a bias.
    fn cpu_linear_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
    /// RMS normalisation.
    fn cpu_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    /// Layer normalisation.
    fn cpu_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    /// Rotary positions.
    fn cpu_rotary(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Causal attention.
    fn cpu_attention(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, scale: f64)
    -> FloatTensor<Self>;
    /// SwiGLU.
    fn cpu_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    /// GELU.
    fn cpu_gelu(x: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self>;
    /// Output layer and cross-entropy.
    fn cpu_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Embedding.
    fn cpu_embedding(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
}

/// What is never differentiated, and so exists for `Flex` alone.
#[backend_extension(Flex)]
pub trait CpuUpdates: Backend {
    /// One AdamW step; (parameter, first moment, second moment).
    fn cpu_adamw(
        h: &AdamW,
        p: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// Writes the sum of squares to `sum` and hands the tensor back.
    fn cpu_sum_squares(t: FloatTensor<Self>, sum: &mut f64) -> FloatTensor<Self>;
    /// Linear layer with an int8 weight.
    fn cpu_linear_int8(x: FloatTensor<Self>, weight: &Int8Weight, bias: &[f32]) -> FloatTensor<Self>;
}

/// Whether the kernels take this tensor: on the CPU, with or without autodiff, in f32.
pub fn suits<const D: usize>(t: &Tensor<D>) -> bool {
    t.device() == Device::flex() && t.dtype() == DType::F32
}

/// A tensor whose elements lie in order without gaps, though perhaps not from the beginning of its storage.
fn dense(t: FlexTensor) -> FlexTensor {
    if t.layout().contiguous_offsets().is_some() { t } else { t.to_contiguous() }
}

/// The elements of a [`dense`] tensor.
fn values(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().unwrap_or(&[])
}

/// The values of an integer tensor of any width.
fn integers(t: FlexTensor) -> Vec<i64> {
    t.into_data().iter::<i64>().collect()
}

fn dims(t: &FlexTensor) -> Vec<usize> {
    t.layout().shape().to_vec()
}

fn tensor(values: Vec<f32>, dims: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, Shape::from(dims)))
}

/// Sizes (rows, last dimension) of a tensor read as a matrix.
fn matrix(t: &FlexTensor) -> (usize, usize) {
    let dims = dims(t);
    let width = dims.last().copied().unwrap_or(1);
    (dims[..dims.len().saturating_sub(1)].iter().product(), width)
}

/// A rank-4 tensor that [`heads`] can read: elements of a row next to each other, no negative stride.
fn head_view(t: FlexTensor) -> FlexTensor {
    let strides = t.layout().strides();
    let fits = strides.len() == 4 && strides[3] == 1 && strides.iter().all(|s| *s >= 0);
    if fits { t } else { t.to_contiguous() }
}

fn heads(t: &FlexTensor) -> Heads<'_> {
    let strides = t.layout().strides();
    let at = |i: usize| strides.get(i).map_or(0, |s| s.unsigned_abs());
    let storage = t.storage::<f32>();
    Heads { data: &storage[t.layout().start_offset().min(storage.len())..], strides: [at(0), at(1), at(2)] }
}

/// A result of shape (batch, heads, time, dim) that lies as (batch, time, heads, dim).
fn time_major_tensor(values: Vec<f32>, dims: [usize; 4]) -> FlexTensor {
    let [batch, heads, time, width] = dims;
    let strides = time_major(heads, time, width);
    let layout = Layout::new(
        Shape::from(dims.to_vec()),
        vec![strides[0] as isize, strides[1] as isize, strides[2] as isize, 1],
        0,
    );
    tensor(values, vec![batch, time, heads, width]).with_layout(layout)
}

fn four(t: &FlexTensor) -> [usize; 4] {
    let dims = dims(t);
    std::array::from_fn(|i| dims.get(i).copied().unwrap_or(1))
}
