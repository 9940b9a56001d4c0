//! Plain slices out of Burn's CPU tensors, and tensors out of vectors.
//!
//! A `FlexTensor` is a view: its storage may be longer than the tensor and its strides may be any. [`dense`] and
//! [`values`] give plain slices; [`Heads`] reads (batch, heads, time, dim) through its strides, because the split into
//! heads is such a view and copying it would cost more than the work that follows.

use super::FlexTensor;
use burn::backend::flex::Layout;
use burn::prelude::*;
use burn::tensor::{DType, Shape};
use danlu_kernels::attention::{Heads, time_major};
use danlu_kernels::{ValueVec, Values, ValuesMut};

/// A tensor whose elements lie in order without gaps, though perhaps not from the beginning of its storage.
pub(crate) fn dense(t: FlexTensor) -> FlexTensor {
    if t.layout().contiguous_offsets().is_some() { t } else { t.to_contiguous() }
}

/// A tensor that owns the whole of its storage, in order, so that it can be written in place. Copies what is shared.
pub(crate) fn owned(t: FlexTensor) -> FlexTensor {
    let values = t.bytes().len() / t.dtype().size();
    let whole = t.layout().contiguous_offsets() == Some((0, values));
    if whole { t } else { t.to_contiguous() }
}

/// The elements of a [`dense`] tensor of either format.
pub(crate) fn stored(t: &FlexTensor) -> Values<'_> {
    match t.dtype() {
        DType::BF16 => Values::Bf16(t.as_slice().unwrap_or(&[])),
        _ => Values::F32(values(t)),
    }
}

/// The elements of an [`owned`] tensor of either format, to change them.
pub(crate) fn stored_mut(t: &mut FlexTensor) -> ValuesMut<'_> {
    match t.dtype() {
        DType::BF16 => ValuesMut::Bf16(t.storage_mut()),
        _ => ValuesMut::F32(t.storage_mut()),
    }
}

/// The elements of a [`dense`] tensor in f32.
pub(crate) fn values(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().unwrap_or(&[])
}

/// The values of an integer tensor of any width.
pub(crate) fn integers<const D: usize>(t: Tensor<D, Int>) -> Vec<i64> {
    t.into_data().iter::<i64>().collect()
}

/// The sizes of all dimensions.
pub(crate) fn dims(t: &FlexTensor) -> Vec<usize> {
    t.layout().shape().to_vec()
}

/// `dims` with another last dimension.
pub(crate) fn with_last(mut dims: Vec<usize>, last: usize) -> Vec<usize> {
    if let Some(d) = dims.last_mut() {
        *d = last;
    }
    dims
}

/// A tensor of these values.
pub(crate) fn tensor(values: impl Into<ValueVec>, dims: Vec<usize>) -> FlexTensor {
    let shape = Shape::from(dims);
    FlexTensor::from_data(match values.into() {
        ValueVec::F32(values) => TensorData::new(values, shape),
        ValueVec::Bf16(values) => TensorData::new(values, shape),
    })
}

/// Sizes (rows, last dimension) of a tensor read as a matrix.
pub(crate) fn matrix(t: &FlexTensor) -> (usize, usize) {
    let dims = dims(t);
    let width = dims.last().copied().unwrap_or(1);
    (dims[..dims.len().saturating_sub(1)].iter().product(), width)
}

/// A rank-4 tensor that [`heads`] can read: elements of a row next to each other, no negative stride.
pub(crate) fn head_view(t: FlexTensor) -> FlexTensor {
    let strides = t.layout().strides();
    let fits = strides.len() == 4 && strides[3] == 1 && strides.iter().all(|s| *s >= 0);
    if fits { t } else { t.to_contiguous() }
}

/// The heads of a [`head_view`].
pub(crate) fn heads(t: &FlexTensor) -> Heads<'_> {
    let strides = t.layout().strides();
    let at = |i: usize| strides.get(i).map_or(0, |s| s.unsigned_abs());
    let data = Values::F32(t.storage()).from(t.layout().start_offset());
    Heads { data, strides: [at(0), at(1), at(2)] }
}

/// A result of shape (batch, heads, time, dim) that lies as (batch, time, heads, dim).
pub(crate) fn time_major_tensor(values: impl Into<ValueVec>, dims: [usize; 4]) -> FlexTensor {
    let [batch, heads, time, width] = dims;
    let strides = time_major(heads, time, width);
    let layout = Layout::new(
        Shape::from(dims.to_vec()),
        vec![strides[0] as isize, strides[1] as isize, strides[2] as isize, 1],
        0,
    );
    tensor(values, vec![batch, time, heads, width]).with_layout(layout)
}

/// The four sizes of a rank-4 tensor.
pub(crate) fn four(t: &FlexTensor) -> [usize; 4] {
    let dims = dims(t);
    std::array::from_fn(|i| dims.get(i).copied().unwrap_or(1))
}
