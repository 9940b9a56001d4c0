//! Labels without an alignment.

use super::Loss;
use crate::log_softmax;
use burn::prelude::*;
use danlu_kernels::ctc::{Ctc, CtcResult};

/// What the sequences of a batch spell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CtcTargets {
    /// (batch), the labels of each sequence; none of them the blank, may be empty.
    pub labels: Vec<Vec<usize>>,
    /// (batch), steps of time that count, each at most the logits'.
    pub lengths: Vec<usize>,
}

/// Connectionist temporal classification (Graves et al. 2006): minus the logarithm of the probability of all paths that
/// spell the labels, once repetitions and then blanks are taken out. As PyTorch's `ctc_loss` with the reduction `sum`; the
/// formulas are in [`danlu_kernels::ctc`].
///
/// * `logits`: (batch, time, classes), one of the classes the blank
///
/// The count is that of the sequences. A sequence that no path can spell, being shorter than its labels, makes the sum
/// infinite, or counts 0 with [`Ctc::zero_infinity`]; it has no gradient either way.
///
/// Values and gradients to the log-probabilities are computed on the host in f64, whatever the device: a recursion over
/// time has nothing that a GPU would be good at in this size.
///
/// # Panics
/// If the shapes do not fit each other, or a label is not a class or is the blank.
pub fn ctc(logits: Tensor<3>, targets: &CtcTargets, options: &Ctc) -> Loss {
    let dims @ [batch, time, classes] = logits.dims();
    assert_eq!((targets.labels.len(), targets.lengths.len()), (batch, batch), "ctc: sequences");
    let device = logits.device();
    let log_p = log_softmax(logits);
    let values: Vec<f32> = log_p.clone().detach().into_data().iter::<f32>().collect();
    let CtcResult { losses, d_log_probs } =
        danlu_kernels::ctc::ctc(options, &values, &targets.lengths, &targets.labels, time, classes);
    let slopes = Tensor::<3>::from_data(TensorData::new(d_log_probs, dims), &device);
    // A function of the right slopes that is 0 here. A probability of 0 has a slope of 0, and must not make it NaN.
    let linear = (log_p.clamp_min(f32::MIN) * slopes).sum();
    let zero = linear.clone() - linear.detach();
    let total: f64 = losses.iter().sum();
    Loss { sum: zero.add_scalar(total), count: batch as f64 }
}
