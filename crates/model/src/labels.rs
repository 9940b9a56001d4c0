//! Losses of those rows of a padded batch that have a label.

use burn::prelude::*;
use danlu_ops::{CrossEntropy, IGNORED};

/// The rows of `hidden`, (sequences * longest, width), that have a label, and their labels: only they reach the vocabulary.
///
/// * `labels`: of each sequence, [`IGNORED`] where nothing is to be learnt
///
/// Where no row has one, one row that counts nothing is left, so that the loss is 0 and still hangs on the parameters.
pub(crate) fn labelled(hidden: Tensor<2>, longest: usize, labels: &[Vec<i32>]) -> (Tensor<2>, Tensor<1, Int>) {
    let (mut at, mut wanted): (Vec<i32>, Vec<i32>) = (Vec::new(), Vec::new());
    for (sequence, row) in labels.iter().enumerate() {
        for (position, label) in row.iter().enumerate().filter(|(_, label)| **label != IGNORED) {
            at.push((sequence * longest + position) as i32);
            wanted.push(*label);
        }
    }
    if at.is_empty() {
        (at, wanted) = (vec![0], vec![IGNORED]);
    }
    let (count, device) = (at.len(), hidden.device());
    let index = |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device);
    let rows = if count == hidden.dims()[0] { hidden } else { hidden.select(0, index(at)) };
    (rows, index(wanted))
}

/// [`danlu_ops::linear_cross_entropy`] of a head with a bias, (vocabulary): one more column of the weight, and a one for it
/// in each row.
pub(crate) fn biased_cross_entropy(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    labels: Tensor<1, Int>,
    options: &CrossEntropy,
) -> Tensor<1> {
    let ones = Tensor::<2>::ones([x.dims()[0], 1], &x.device());
    let weight = Tensor::cat(vec![weight, bias.unsqueeze_dim::<2>(1)], 1);
    danlu_ops::linear_cross_entropy(Tensor::cat(vec![x, ones], 1), weight, labels, options)
}
