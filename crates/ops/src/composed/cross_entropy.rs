use super::linear;
use crate::cross_entropy::{CrossEntropy, SoftTargets};
use burn::prelude::*;
use burn::tensor::activation;

/// Sum over tokens of the loss that `options` define; see [`crate::linear_cross_entropy`].
pub fn linear_cross_entropy(
    x: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: &CrossEntropy,
) -> Tensor<1> {
    let rows = x.dims()[0];
    let ignored = targets.clone().equal_elem(crate::IGNORED);
    let targets = targets.mask_fill(ignored.clone(), 0);
    let logits = linear(x, weight, None, options.precision);
    let log_p = activation::log_softmax(logits.clone(), 1);
    let column = |t: Tensor<2>| t.reshape([rows]);
    let s = options.label_smoothing;
    let chosen = column(log_p.clone().gather(1, targets.reshape([rows, 1])));
    let mut loss = chosen.mul_scalar(s - 1.0);
    if s != 0.0 {
        loss = loss - column(log_p.clone().mean_dim(1)).mul_scalar(s);
    }
    if let Some(soft) = &options.soft {
        let term = column(soft_term(&logits, &log_p, &soft.targets, options));
        loss = loss.mul_scalar(soft.hard_share) + term.mul_scalar(1.0 - soft.hard_share);
    }
    if options.z_loss != 0.0 {
        // Of any column: ln p = l - ln Z.
        let log_z = column((logits - log_p).narrow(1, 0, 1));
        loss = loss + log_z.square().mul_scalar(options.z_loss);
    }
    if let Some(weights) = &options.token_weights {
        loss = loss * weights.clone().detach();
    }
    loss.mask_fill(ignored, 0.0).sum()
}

/// (rows, 1)
fn soft_term(logits: &Tensor<2>, log_p: &Tensor<2>, targets: &SoftTargets, options: &CrossEntropy) -> Tensor<2> {
    match targets {
        SoftTargets::Probabilities(q) => (q.clone().detach() * log_p.clone()).sum_dim(1).neg(),
        SoftTargets::Teacher { hidden, weight, temperature } => {
            let at = |logits: Tensor<2>| activation::log_softmax(logits.div_scalar(*temperature), 1);
            let teacher = at(linear(hidden.clone().detach(), weight.clone().detach(), None, options.precision));
            let divergence = (teacher.clone().exp() * (teacher - at(logits.clone()))).sum_dim(1);
            divergence.mul_scalar(temperature * temperature)
        }
    }
}
