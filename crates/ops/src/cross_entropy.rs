//! The output layer and its loss in one.

use crate::flex::cross_entropy::LinearCrossEntropy;
use crate::flex::view::integers;
use crate::flex::{apply, suits};
use crate::{Precision, composed};
use burn::prelude::*;
use burn::tensor::DispatchTensor;

/// The target that [`linear_cross_entropy`] skips.
pub const IGNORED: i32 = danlu_kernels::cross_entropy::IGNORED as i32;

/// What a loss is made of. The default is plain cross-entropy in f32.
///
/// With logits `l = x * weight^T` of a token, `Z = sum exp(l)`, `p = exp(l) / Z`, target y and V tokens in the
/// vocabulary, the loss of the token is
///
/// ```text
/// weight_t * (hard_share * hard + (1 - hard_share) * soft + z_loss * (ln Z)^2)
/// hard = -(1 - s) ln p_y - s / V * sum_v ln p_v          s: label smoothing (Szegedy et al. 2016)
/// soft = -sum_v q_v ln p_v                               given probabilities q
/// soft = T^2 KL(softmax(l' / T) || softmax(l / T))       given a teacher's logits l' (Hinton et al. 2015)
/// ```
///
/// without the soft term and with a share of 1 where [`CrossEntropy::soft`] is `None`. The z-loss is PaLM's (Chowdhery
/// et al. 2022).
#[derive(Clone, Debug, Default)]
pub struct CrossEntropy {
    /// Share of the hard term that goes to all tokens alike, in 0.0..=1.0.
    pub label_smoothing: f64,
    /// Coefficient of the squared logarithm of Z; PaLM's is 1e-4.
    pub z_loss: f64,
    /// Factor of each token's loss, (tokens); no gradient flows to it.
    pub token_weights: Option<Tensor<1>>,
    /// A second target for each token.
    pub soft: Option<Soft>,
    /// Precision of the products' inputs.
    pub precision: Precision,
}

/// Soft targets and their part in the loss.
#[derive(Clone, Debug)]
pub struct Soft {
    /// Part of the hard term, in 0.0..=1.0; the soft term has the rest.
    pub hard_share: f64,
    pub targets: SoftTargets,
}

/// Where soft targets come from. No gradient flows to them.
#[derive(Clone, Debug)]
pub enum SoftTargets {
    /// Probabilities (tokens, vocabulary).
    Probabilities(Tensor<2>),
    /// Another model's output layer, whose logits on the CPU never exist all at once either.
    Teacher {
        /// Inputs of its output layer, (tokens, dim); dim may differ from the student's.
        hidden: Tensor<2>,
        /// Its output layer, (vocabulary, dim).
        weight: Tensor<2>,
        /// T, above 0.
        temperature: f64,
    },
}

impl CrossEntropy {
    /// Knowledge distillation: `hard_share` of the loss from the targets, the rest from a teacher given by the inputs
    /// and the weight of its output layer.
    pub fn distillation(hidden: Tensor<2>, weight: Tensor<2>, temperature: f64, hard_share: f64) -> Self {
        let targets = SoftTargets::Teacher { hidden, weight, temperature };
        CrossEntropy { soft: Some(Soft { hard_share, targets }), ..CrossEntropy::default() }
    }
}

/// The output layer and its loss in one: the sum over tokens, in nats, of the loss that `options` define.
///
/// * `x`: (tokens, dim); `weight`: (vocabulary, dim)
/// * `targets`: (tokens), each in 0..vocabulary or [`IGNORED`], which counts nothing in any term
///
/// Returns one value. It is the sum, not the mean, so that gradients of accumulated micro-batches add up exactly. On
/// the CPU the gradients are computed here, while a chunk's logits exist, and the backward pass only scales them.
///
/// # Panics
/// If the shapes do not fit each other; on the CPU also if a target is outside the vocabulary.
pub fn linear_cross_entropy(
    x: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: &CrossEntropy,
) -> Tensor<1> {
    check(&x, &weight, &targets, options);
    let (soft, soft_fits) = match options.soft.as_ref().map(|soft| &soft.targets) {
        None => (vec![], true),
        Some(SoftTargets::Probabilities(q)) => (vec![constant(q)], suits(q)),
        Some(SoftTargets::Teacher { hidden, weight, .. }) => {
            (vec![constant(hidden), constant(weight)], suits(hidden) && suits(weight))
        }
    };
    if !(suits(&x) && suits(&weight) && soft_fits) {
        return composed::linear_cross_entropy(x, weight, targets, options);
    }
    let token_weights = options.token_weights.as_ref();
    let function = LinearCrossEntropy {
        targets: integers(targets),
        label_smoothing: options.label_smoothing as f32,
        z_loss: options.z_loss as f32,
        token_weights: token_weights.map(|w| w.clone().into_data_as::<f32>().iter::<f32>().collect()),
        hard_share: options.soft.as_ref().map(|soft| soft.hard_share as f32),
        temperature: match options.soft.as_ref().map(|soft| &soft.targets) {
            Some(SoftTargets::Teacher { temperature, .. }) => *temperature as f32,
            _ => 1.0,
        },
        precision: options.precision,
    };
    let mut inputs = vec![x.into_dispatch(), weight.into_dispatch()];
    inputs.extend(soft);
    apply(function, inputs)
}

fn constant(t: &Tensor<2>) -> DispatchTensor {
    t.clone().detach().into_dispatch()
}

fn check(x: &Tensor<2>, weight: &Tensor<2>, targets: &Tensor<1, Int>, options: &CrossEntropy) {
    let ([tokens, dim], [vocab, weight_dim]) = (x.dims(), weight.dims());
    let fits = dim == weight_dim && targets.dims() == [tokens];
    assert!(fits, "linear_cross_entropy: x {:?}, weight {:?}, targets {:?}", x.dims(), weight.dims(), targets.dims());
    let weighted = options.token_weights.as_ref().is_none_or(|w| w.dims() == [tokens]);
    assert!(weighted, "linear_cross_entropy: weights for {tokens} tokens");
    match options.soft.as_ref().map(|soft| &soft.targets) {
        None => {}
        Some(SoftTargets::Probabilities(q)) => assert_eq!(q.dims(), [tokens, vocab], "soft targets"),
        Some(SoftTargets::Teacher { hidden, weight, .. }) => {
            let fits = hidden.dims() == [tokens, weight.dims()[1]] && weight.dims()[0] == vocab;
            assert!(fits, "teacher: hidden {:?}, weight {:?}", hidden.dims(), weight.dims());
        }
    }
}
