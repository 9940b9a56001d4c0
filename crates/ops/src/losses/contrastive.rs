//! Losses that move vectors together and apart.

use super::{ClassOptions, Loss, columns, cross_entropy, unit_rows};
use burn::prelude::*;

/// What [`triplet_margin`] is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Triplet {
    /// By how much the negative must be farther from the anchor than the positive.
    pub margin: f64,
    /// Measure the negative from the positive where that is nearer (Balntas et al. 2016).
    pub swap: bool,
}

impl Default for Triplet {
    fn default() -> Self {
        Triplet { margin: 1.0, swap: false }
    }
}

/// Triplet margin loss (Schroff et al. 2015, "FaceNet"), as PyTorch's `triplet_margin_loss` with p = 2: of a row
/// `max(0, |a - p| - |a - n| + margin)`, distances with 1e-6 added to each difference.
///
/// * `anchor`, `positive`, `negative`: (rows, dim)
///
/// # Panics
/// If the shapes differ.
pub fn triplet_margin(anchor: Tensor<2>, positive: Tensor<2>, negative: Tensor<2>, options: &Triplet) -> Loss {
    let dims = anchor.dims();
    assert!(positive.dims() == dims && negative.dims() == dims, "triplet_margin: {dims:?}");
    let distance = |x: &Tensor<2>, y: &Tensor<2>| {
        let difference = (x.clone() - y.clone()).add_scalar(1e-6);
        difference.square().sum_dim(1).sqrt()
    };
    let near = distance(&anchor, &positive);
    let mut far = distance(&anchor, &negative);
    if options.swap {
        far = far.min_pair(distance(&positive, &negative));
    }
    let loss = (near - far).add_scalar(options.margin).clamp_min(0.0);
    Loss { sum: loss.sum(), count: dims[0] as f64 }
}

/// What [`info_nce`] is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoNce {
    /// What similarities are divided by, above 0.
    pub temperature: f64,
    /// The mean of both directions, from queries to keys and back, as in CLIP (Radford et al. 2021).
    pub symmetric: bool,
    /// Whether similarities are cosines; else plain products.
    pub normalized: bool,
}

impl Default for InfoNce {
    fn default() -> Self {
        InfoNce { temperature: 0.05, symmetric: false, normalized: true }
    }
}

/// InfoNCE (van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding") with the other rows of
/// the batch as negatives: cross-entropy of `softmax(q k^T / temperature)` with row i's target i.
///
/// * `queries`: (rows, dim)
/// * `keys`: (rows or more, dim); key i belongs to query i, further ones are negatives of all queries
///
/// The count is that of the queries. Of the way back, from keys to queries, only the keys that have a query take part.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn info_nce(queries: Tensor<2>, keys: Tensor<2>, options: &InfoNce) -> Loss {
    let ([rows, dim], [candidates, key_dim]) = (queries.dims(), keys.dims());
    assert!(dim == key_dim && candidates >= rows, "info_nce: {:?}, {:?}", queries.dims(), keys.dims());
    let (queries, keys) = match options.normalized {
        true => (unit_rows(queries), unit_rows(keys)),
        false => (queries, keys),
    };
    let device = queries.device();
    let logits = queries.matmul(keys.transpose()).div_scalar(options.temperature);
    let own = || Tensor::<1, Int>::arange(0..rows as i64, &device);
    let there = cross_entropy(logits.clone(), own(), &ClassOptions::default());
    if !options.symmetric {
        return there;
    }
    let back = cross_entropy(logits.narrow(1, 0, rows).transpose(), own(), &ClassOptions::default());
    Loss { sum: (there.sum + back.sum).mul_scalar(0.5), count: there.count }
}

/// Cosine embedding loss, as PyTorch's `cosine_embedding_loss`: of a pair of rows that belong together `1 - cos`, of
/// another `max(0, cos - margin)`.
///
/// * `x`, `y`: (rows, dim)
/// * `together`: (rows)
///
/// # Panics
/// If the shapes do not fit each other.
pub fn cosine_embedding(x: Tensor<2>, y: Tensor<2>, together: &[bool], margin: f64) -> Loss {
    let dims = x.dims();
    assert!(y.dims() == dims && together.len() == dims[0], "cosine_embedding: {dims:?}");
    let device = x.device();
    let product = (x.clone() * y.clone()).sum_dim(1);
    let norm = |t: Tensor<2>| t.square().sum_dim(1).add_scalar(1e-12).sqrt();
    let cosine = product / (norm(x) * norm(y));
    let flags = |wanted: bool| together.iter().map(|t| f32::from(u8::from(*t == wanted))).collect();
    let apart = cosine.clone().sub_scalar(margin).clamp_min(0.0) * columns(flags(false), 1, &device);
    let near = cosine.neg().add_scalar(1.0) * columns(flags(true), 1, &device);
    Loss { sum: (near + apart).sum(), count: dims[0] as f64 }
}
