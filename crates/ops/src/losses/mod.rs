//! Losses on what a model puts out: classification, regression, embeddings, distillation and alignment.
//!
//! The loss of a language model, whose logits are too many to exist at once, is [`crate::linear_cross_entropy`]; the ones
//! here take logits or vectors as they are. All are composed of differentiable operations and run on every device.
//!
//! Each returns a [`Loss`]: the sum over the batch and the count to divide it by. Sums of accumulated micro-batches add up
//! exactly to the large batch's; [`Loss::mean`] is the mean of one batch.
//!
//! The Chinese term 三元交叉熵 ("ternary cross-entropy") is read in two ways, and both are here: cross-entropy over three
//! classes, as in natural-language inference (entailment, neutral, contradiction), is [`cross_entropy`] of logits
//! (rows, 3); the loss over triplets (anchor, positive, negative) is [`triplet_margin`].
//!
//! Where PyTorch has the loss, values and gradients are its own to rounding (`scripts/golden_losses.py`).

mod classification;
mod contrastive;
mod ctc;
mod divergence;
mod regression;

pub use classification::{BinaryOptions, ClassOptions, binary_cross_entropy, binary_focal, cross_entropy, focal};
pub use contrastive::{InfoNce, Triplet, cosine_embedding, info_nce, triplet_margin};
pub use ctc::{CtcTargets, ctc};
pub use danlu_kernels::ctc::Ctc;
pub use divergence::{js_divergence, kl_divergence};
pub use regression::{huber, mse};

use burn::prelude::*;

/// A loss over a batch.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The sum over the batch, one value.
    pub sum: Tensor<1>,
    /// What the sum is divided by for the mean; 0 where nothing counts.
    pub count: f64,
}

impl Loss {
    /// The sum over the count; the sum, 0, where nothing counts.
    pub fn mean(self) -> Tensor<1> {
        if self.count > 0.0 { self.sum.div_scalar(self.count) } else { self.sum }
    }
}

/// A constant (values / columns, columns).
fn columns(values: Vec<f32>, columns: usize, device: &Device) -> Tensor<2> {
    let rows = values.len() / columns;
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// Each row over its Euclidean norm, as PyTorch's `normalize`: rows shorter than 1e-12 are divided by that.
fn unit_rows(x: Tensor<2>) -> Tensor<2> {
    let squares = x.clone().square().sum_dim(1);
    x / squares.clamp_min(1e-24).sqrt()
}
