//! What stands on top of an encoder, and the losses by which it learns.

use super::{EncoderTargets, Problem};
use crate::layers::{Linear, Norm};
use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::activation;
use danlu_ops::IGNORED;

/// The head of an encoder; see [`super::HeadConfig`].
#[derive(Module, Debug)]
pub enum Head {
    Pooler(Pooler),
    MaskedLm(MaskedLm),
    Sequence(SequenceClassifier),
    Tokens(TokenClassifier),
    /// A class for each label, and the first for none.
    Ctc(TokenClassifier),
}

/// `tanh(dense(first token))`.
#[derive(Module, Debug)]
pub struct Pooler {
    pub dense: Linear,
}

/// Dense, activation, normalisation; then the embedding matrix and a bias.
#[derive(Module, Debug)]
pub struct MaskedLm {
    pub dense: Linear,
    pub norm: Norm,
    /// (vocabulary)
    pub bias: Param<Tensor<1>>,
}

/// `out_proj(activation(dense(first token)))`.
#[derive(Module, Debug)]
pub struct SequenceClassifier {
    pub dense: Linear,
    pub out_proj: Linear,
}

/// `out_proj(token)`.
#[derive(Module, Debug)]
pub struct TokenClassifier {
    pub out_proj: Linear,
}

/// What a head's loss has beside its plain form. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadLoss {
    /// Factor of each label's loss. With several labels at once: of its positive part alone, torch's `pos_weight`.
    pub class_weights: Option<Vec<f32>>,
    /// Share of each target class that goes to all classes alike, in 0.0..=1.0 (Szegedy et al. 2016); for one label.
    pub label_smoothing: f64,
}

/// Sum over rows of `- sum_k w_k q_k ln p_k`, where q is the target's distribution, with label smoothing, and w the class
/// weights; torch's `cross_entropy` with `reduction="sum"`.
///
/// * `logits`: (rows, classes); `targets`: a class for each row, or [`IGNORED`]
pub(crate) fn class_loss(logits: Tensor<2>, targets: &[i32], options: &HeadLoss) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    let shared = (options.label_smoothing / classes as f64) as f32;
    let hard = 1.0 - options.label_smoothing as f32;
    let weight = |class: usize| options.class_weights.as_ref().map_or(1.0, |weights| weights[class]);
    let mut share = vec![0.0f32; rows * classes];
    for (row, target) in share.chunks_mut(classes).zip(targets) {
        if *target == IGNORED {
            continue;
        }
        for (class, value) in row.iter_mut().enumerate() {
            let own = if class == *target as usize { hard } else { 0.0 };
            *value = weight(class) * (own + shared);
        }
    }
    let share = Tensor::from_data(TensorData::new(share, [rows, classes]), &logits.device());
    (activation::log_softmax(logits, 1) * share).sum().neg()
}

/// Sum over rows and labels of `-(w y ln sigmoid(x) + (1 - y) ln sigmoid(-x))`; torch's
/// `binary_cross_entropy_with_logits`.
///
/// * `logits`: (rows, labels); `targets`: numbers from 0 to 1, NaN where nothing is to be learnt
pub(crate) fn label_loss(logits: Tensor<2>, targets: &[Vec<f32>], options: &HeadLoss) -> Tensor<1> {
    let weight = |label: usize| options.class_weights.as_ref().map_or(1.0, |weights| weights[label]);
    let positive = of_values(targets, &logits, |label, y| weight(label) * y);
    let negative = of_values(targets, &logits, |_, y| 1.0 - y);
    let terms = activation::log_sigmoid(logits.clone()) * positive + activation::log_sigmoid(logits.neg()) * negative;
    terms.sum().neg()
}

/// Sum over rows and outputs of the squared error.
///
/// * `outputs`: (rows, outputs); `targets`: NaN where nothing is to be learnt
pub(crate) fn squared_error(outputs: Tensor<2>, targets: &[Vec<f32>]) -> Tensor<1> {
    let wanted = of_values(targets, &outputs, |_, y| y);
    let counted = of_values(targets, &outputs, |_, _| 1.0);
    let error = (outputs - wanted) * counted;
    (error.clone() * error).sum()
}

/// A constant like `shape` of what `value` makes of each label and target; 0 for a NaN.
fn of_values(targets: &[Vec<f32>], shape: &Tensor<2>, value: impl Fn(usize, f32) -> f32) -> Tensor<2> {
    let row = |row: &Vec<f32>| {
        row.iter().enumerate().map(|(label, y)| if y.is_nan() { 0.0 } else { value(label, *y) }).collect::<Vec<_>>()
    };
    let values: Vec<f32> = targets.iter().flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, shape.dims()), &shape.device())
}

/// The loss of a sequence classifier; the targets were checked against its problem.
pub(crate) fn sequence_loss(
    logits: Tensor<2>,
    targets: &EncoderTargets,
    problem: Problem,
    options: &HeadLoss,
) -> Tensor<1> {
    match (targets, problem) {
        (EncoderTargets::Classes(classes), _) => class_loss(logits, classes, options),
        (EncoderTargets::Values(values), Problem::Regression) => squared_error(logits, values),
        (EncoderTargets::Values(values), _) => label_loss(logits, values, options),
        (EncoderTargets::Tokens(_) | EncoderTargets::Labels(_), _) => unreachable!("targets are checked before"),
    }
}
