//! The output layer and its loss in one.

use crate::composed;
use crate::flex::cross_entropy::LinearCrossEntropy;
use crate::flex::view::integers;
use crate::flex::{apply, suits};
use burn::prelude::*;

/// The target that [`linear_cross_entropy`] skips.
pub const IGNORED: i32 = danlu_kernels::cross_entropy::IGNORED as i32;

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
    let function = LinearCrossEntropy { targets: integers(targets) };
    apply(function, vec![x.into_dispatch(), weight.into_dispatch()])
}
