use burn::prelude::*;
use danlu_kernels::optimizer::AdamW;

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
