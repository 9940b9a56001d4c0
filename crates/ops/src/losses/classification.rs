//! One class of several, and labels of which any number may hold.

use super::{Loss, columns};
use crate::flex::view::integers;
use crate::{IGNORED, log_softmax};
use burn::prelude::*;

/// What a loss over classes is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassOptions {
    /// Share of each target that goes to all classes alike, in 0.0..=1.0 (Szegedy et al. 2016).
    pub label_smoothing: f64,
    /// Factor of each class, (classes).
    pub class_weights: Option<Vec<f32>>,
}

impl ClassOptions {
    fn weight(&self, class: usize) -> f64 {
        self.class_weights.as_ref().map_or(1.0, |w| f64::from(w[class]))
    }
}

/// Cross-entropy of logits against classes, as PyTorch's `cross_entropy`. With `p = softmax(l)`, target y, weights w and
/// smoothing s over C classes a row has
///
/// ```text
/// -(1 - s) w_y ln p_y - s / C sum_c w_c ln p_c
/// ```
///
/// * `logits`: (rows, classes)
/// * `targets`: (rows), each in 0..classes or [`IGNORED`], which counts nothing
///
/// The count is the sum of `w_y` over the rows that count: without weights their number.
///
/// # Panics
/// If the shapes do not fit each other or a target is outside the classes.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, options: &ClassOptions) -> Loss {
    let [rows, classes] = logits.dims();
    let targets = Targets::new(targets, rows, classes, options, &logits.device());
    let device = logits.device();
    let log_p = log_softmax(logits);
    let s = options.label_smoothing;
    let mut loss = targets.of(log_p.clone()) * targets.weights.clone().mul_scalar(s - 1.0);
    if s != 0.0 {
        let weights: Vec<f32> = (0..classes).map(|c| options.weight(c) as f32).collect();
        let all = (log_p * columns(weights, classes, &device)).sum_dim(1);
        loss = loss - all.mask_fill(targets.ignored.clone(), 0.0).mul_scalar(s / classes as f64);
    }
    Loss { sum: loss.sum(), count: targets.count }
}

/// Focal loss over classes (Lin et al. 2017, "Focal Loss for Dense Object Detection", in its softmax form): of a row
/// `-w_y (1 - p_y)^gamma ln p_y`. At gamma 0 it is [`cross_entropy`]; its label smoothing is not used.
///
/// `ln(1 - p_y)` is computed over the other classes, so that it is exact where `p_y` is nearly 1. Shapes, count and panics
/// as [`cross_entropy`]; needs at least two classes.
pub fn focal(logits: Tensor<2>, targets: Tensor<1, Int>, gamma: f64, options: &ClassOptions) -> Loss {
    let [rows, classes] = logits.dims();
    assert!(classes >= 2, "focal: {classes} classes");
    let targets = Targets::new(targets, rows, classes, options, &logits.device());
    let others = log_sum_exp(logits.clone().mask_fill(targets.one_hot(classes), -1e30));
    let log_rest = others - log_sum_exp(logits.clone());
    let log_p = targets.of(log_softmax(logits));
    let loss = log_rest.mul_scalar(gamma).exp() * log_p * targets.weights.clone().neg();
    Loss { sum: loss.sum(), count: targets.count }
}

/// Targets on the host, where they are checked, and what the losses need of them on the device; all (rows, 1).
struct Targets {
    ids: Vec<Option<usize>>,
    index: Tensor<2, Int>,
    ignored: Tensor<2, Bool>,
    /// `w_y`, 0 where ignored.
    weights: Tensor<2>,
    count: f64,
}

impl Targets {
    fn new(targets: Tensor<1, Int>, rows: usize, classes: usize, options: &ClassOptions, device: &Device) -> Self {
        assert_eq!(targets.dims(), [rows], "targets of {rows} rows");
        assert!(options.class_weights.as_ref().is_none_or(|w| w.len() == classes), "weights of {classes} classes");
        let known = |id: i64| {
            assert!((0..classes as i64).contains(&id), "target {id} of {classes} classes");
            id as usize
        };
        let ids: Vec<Option<usize>> =
            integers(targets).into_iter().map(|id| (id != i64::from(IGNORED)).then(|| known(id))).collect();
        let weights: Vec<f64> = ids.iter().map(|id| id.map_or(0.0, |class| options.weight(class))).collect();
        let index: Vec<i64> = ids.iter().map(|id| id.unwrap_or(0) as i64).collect();
        let ignored: Vec<bool> = ids.iter().map(Option::is_none).collect();
        Self {
            index: Tensor::from_data(TensorData::new(index, [rows, 1]), device),
            ignored: Tensor::from_data(TensorData::new(ignored, [rows, 1]), device),
            weights: columns(weights.iter().map(|w| *w as f32).collect(), 1, device),
            count: weights.iter().sum(),
            ids,
        }
    }

    /// Each row's value at its target, (rows, 1), 0 where ignored.
    fn of(&self, x: Tensor<2>) -> Tensor<2> {
        x.gather(1, self.index.clone()).mask_fill(self.ignored.clone(), 0.0)
    }

    /// True at each row's target, (rows, classes).
    fn one_hot(&self, classes: usize) -> Tensor<2, Bool> {
        let hot: Vec<bool> = self.ids.iter().flat_map(|id| (0..classes).map(move |c| *id == Some(c))).collect();
        Tensor::from_data(TensorData::new(hot, [self.ids.len(), classes]), &self.weights.device())
    }
}

/// (rows, 1)
fn log_sum_exp(x: Tensor<2>) -> Tensor<2> {
    let most = x.clone().detach().max_dim(1);
    (x - most.clone()).exp().sum_dim(1).log() + most
}

/// What [`binary_cross_entropy`] is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BinaryOptions {
    /// Factor of the positive term of each label, (labels): above 1 for labels that are rare.
    pub pos_weight: Option<Vec<f32>>,
}

/// Binary cross-entropy of logits, any number of labels at once, as PyTorch's `binary_cross_entropy_with_logits`: of an
/// element with logit x, target y and positive weight w
///
/// ```text
/// -w y ln sigmoid(x) - (1 - y) ln sigmoid(-x)
/// ```
///
/// * `logits`, `targets`: (rows, labels); targets in 0..=1, no gradient flows to them
///
/// The count is that of the elements.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn binary_cross_entropy(logits: Tensor<2>, targets: Tensor<2>, options: &BinaryOptions) -> Loss {
    let [rows, labels] = logits.dims();
    assert_eq!(targets.dims(), [rows, labels], "binary_cross_entropy: targets");
    assert!(options.pos_weight.as_ref().is_none_or(|w| w.len() == labels), "positive weights of {labels} labels");
    let targets = targets.detach();
    let device = logits.device();
    let (log_p, log_rest) = log_sigmoids(logits);
    let mut positive = targets.clone() * log_p;
    if let Some(weights) = &options.pos_weight {
        positive = positive * columns(weights.clone(), labels, &device);
    }
    let negative = (targets.neg().add_scalar(1.0)) * log_rest;
    Loss { sum: (positive + negative).sum().neg(), count: (rows * labels) as f64 }
}

/// Focal loss of binary labels (Lin et al. 2017), as torchvision's `sigmoid_focal_loss`: with `p = sigmoid(x)`
///
/// ```text
/// -alpha y (1 - p)^gamma ln p - (1 - alpha) (1 - y) p^gamma ln(1 - p)
/// ```
///
/// and without the factors of alpha where it is `None`. The paper's are 0.25 and a gamma of 2. Shapes, count and panics as
/// [`binary_cross_entropy`].
pub fn binary_focal(logits: Tensor<2>, targets: Tensor<2>, gamma: f64, alpha: Option<f64>) -> Loss {
    let [rows, labels] = logits.dims();
    assert_eq!(targets.dims(), [rows, labels], "binary_focal: targets");
    let targets = targets.detach();
    let (log_p, log_rest) = log_sigmoids(logits);
    let (of_positive, of_negative) = alpha.map_or((1.0, 1.0), |alpha| (alpha, 1.0 - alpha));
    let positive = log_rest.clone().mul_scalar(gamma).exp() * log_p.clone() * targets.clone().mul_scalar(of_positive);
    let absent = targets.neg().add_scalar(1.0).mul_scalar(of_negative);
    let negative = log_p.mul_scalar(gamma).exp() * log_rest * absent;
    Loss { sum: (positive + negative).sum().neg(), count: (rows * labels) as f64 }
}

/// `ln sigmoid(x)` and `ln sigmoid(-x)`, by a softmax over (x, 0): without overflow, and smooth at 0, where the usual form
/// with `|x|` would lose its gradient.
fn log_sigmoids(x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let dims = x.dims();
    let x = x.reshape([dims[0] * dims[1], 1]);
    let pairs = log_softmax(Tensor::cat(vec![x.clone(), x.zeros_like()], 1));
    let side = |i: usize| pairs.clone().narrow(1, i, 1).reshape(dims);
    (side(0), side(1))
}
