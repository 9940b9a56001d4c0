//! Distances between numbers.

use super::Loss;
use burn::prelude::*;

/// Mean squared error: of an element `(x - y)^2`, as PyTorch's `mse_loss`. The count is that of the elements; no gradient
/// flows to `targets`.
///
/// # Panics
/// If the shapes differ.
pub fn mse<const D: usize>(x: Tensor<D>, targets: Tensor<D>) -> Loss {
    let difference = difference(x, targets);
    Loss { count: difference.dims().iter().product::<usize>() as f64, sum: difference.square().sum() }
}

/// Huber's loss (Huber 1964), as PyTorch's `huber_loss`: of an element with `d = x - y`, `d^2 / 2` where `|d| <= delta`, and
/// `delta (|d| - delta / 2)` beyond. Count and panics as [`mse`]; `delta` is above 0.
pub fn huber<const D: usize>(x: Tensor<D>, targets: Tensor<D>, delta: f64) -> Loss {
    let difference = difference(x, targets);
    let size = difference.clone().abs();
    let far = size.clone().greater_elem(delta);
    let linear = size.mul_scalar(delta).sub_scalar(0.5 * delta * delta);
    let near = difference.square().mul_scalar(0.5);
    Loss { count: near.dims().iter().product::<usize>() as f64, sum: near.mask_where(far, linear).sum() }
}

fn difference<const D: usize>(x: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
    assert_eq!(x.dims(), targets.dims(), "predictions and targets");
    x - targets.detach()
}
