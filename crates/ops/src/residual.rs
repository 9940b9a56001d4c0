//! Sums of the residual stream, alone and with the normalisation that follows.

use crate::composed;
use crate::flex::residual::{Add, Known, layer_norm_of_sum, rms_norm_of_sum};
use crate::flex::{apply, suits};
use burn::prelude::*;

/// `a + b`, element by element.
///
/// # Panics
/// If the shapes differ.
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    assert_eq!(a.dims(), b.dims(), "add: the terms");
    if !(suits(&a) && suits(&b)) {
        return a + b;
    }
    apply(Add(Known::default()), vec![a.into_dispatch(), b.into_dispatch()])
}

/// `a + b` outside autodiff, in the memory of `a` where nothing else reads it: for sums of gradients.
///
/// # Panics
/// If the shapes differ.
pub fn add_in_place<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    assert_eq!(a.dims(), b.dims(), "add_in_place: the terms");
    let (a, b) = (a.inner(), b.inner());
    if !(suits(&a) && suits(&b)) {
        return a + b;
    }
    crate::flex::residual::add_in_place(a, b)
}

/// The sum `x + r` and its [`crate::rms_norm`], formed in one pass on the CPU.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn add_rms_norm<const D: usize>(x: Tensor<D>, r: Tensor<D>, weight: Tensor<1>, eps: f64) -> (Tensor<D>, Tensor<D>) {
    check(&x, &r, &[&weight]);
    if !(suits(&x) && suits(&r) && suits(&weight)) {
        return composed::add_rms_norm(x, r, weight, eps);
    }
    let (add, norm) = rms_norm_of_sum(&x, &r, &weight, eps);
    let sum: Tensor<D> = apply(add, vec![x.into_dispatch(), r.into_dispatch()]);
    let y = apply(norm, vec![sum.clone().into_dispatch(), weight.into_dispatch()]);
    (sum, y)
}

/// The sum `x + r` and its [`crate::layer_norm`], formed in one pass on the CPU.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn add_layer_norm<const D: usize>(
    x: Tensor<D>,
    r: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> (Tensor<D>, Tensor<D>) {
    check(&x, &r, &[&weight, &bias]);
    if !(suits(&x) && suits(&r) && suits(&weight) && suits(&bias)) {
        return composed::add_layer_norm(x, r, weight, bias, eps);
    }
    let (add, norm) = layer_norm_of_sum(&x, &r, &weight, &bias, eps);
    let sum: Tensor<D> = apply(add, vec![x.into_dispatch(), r.into_dispatch()]);
    let y = apply(norm, vec![sum.clone().into_dispatch(), weight.into_dispatch(), bias.into_dispatch()]);
    (sum, y)
}

fn check<const D: usize>(x: &Tensor<D>, r: &Tensor<D>, vectors: &[&Tensor<1>]) {
    assert_eq!(x.dims(), r.dims(), "norm of a sum: the terms");
    let width = x.dims()[D - 1];
    assert!(vectors.iter().all(|v| v.dims() == [width]), "norm of a sum: last dimension and weight");
}
