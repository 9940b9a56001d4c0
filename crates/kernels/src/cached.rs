//! Attention of new positions against a key/value cache: the inner loop of generation.

use crate::cpu::Level;
use crate::math::{axpy, dot, exp, tanh};
use rayon::prelude::*;

/// Shape shared by all sequences of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedAttention<'a> {
    /// Query heads; a multiple of `kv_heads` (grouped queries: heads `g * heads / kv_heads ..` share key head `g`).
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Most positions that a query sees, its own included; `None` for all.
    pub window: Option<usize>,
    /// As [`crate::attention::Attention::softcap`].
    pub softcap: Option<f32>,
    /// As [`crate::attention::Attention::alibi`].
    pub alibi: Option<&'a [f32]>,
    /// Added to the score of a key by how far it stands before the query, (heads, distances), distance 0 first (T5); as many
    /// distances as the longest cache has positions, or more.
    pub distance_bias: Option<&'a [f32]>,
}

impl CachedAttention<'_> {
    /// Every query sees its own position and all before it.
    pub fn causal(heads: usize, kv_heads: usize, head_dim: usize, scale: f32) -> Self {
        CachedAttention {
            heads,
            kv_heads,
            head_dim,
            scale,
            window: None,
            softcap: None,
            alibi: None,
            distance_bias: None,
        }
    }
}

/// One sequence: its new positions' queries and its whole cache, the new positions included at the end.
///
/// With `new` query positions and `length` cached positions, query i sees the first `length - new + i + 1` of them.
/// One new position is a decoding step; many are a prefill.
pub struct CachedSequence<'a> {
    /// (new, heads, head_dim)
    pub queries: &'a [f32],
    /// (length, kv_heads, head_dim)
    pub keys: &'a [f32],
    /// (length, kv_heads, head_dim)
    pub values: &'a [f32],
    /// (new, heads, head_dim), overwritten
    pub out: &'a mut [f32],
}

/// Softmax attention of every sequence's new positions against its own cache. Sequences may differ in length.
///
/// # Panics
/// If `heads` is not a multiple of `kv_heads`, or a slice's length contradicts the shape.
pub fn attend_cached(shape: &CachedAttention<'_>, sequences: &mut [CachedSequence<'_>]) {
    attend_cached_at(Level::best(), shape, sequences);
}

/// One query head at one position.
struct Task<'a> {
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// Cached positions it may look at.
    visible: usize,
    head: usize,
    out: &'a mut [f32],
}

/// Multiplications below which waking the thread pool costs more than it brings.
const WORTH_THREADS: usize = 1 << 19;

fn attend_cached_at(level: Level, shape: &CachedAttention<'_>, sequences: &mut [CachedSequence<'_>]) {
    let CachedAttention { heads, kv_heads, head_dim, .. } = *shape;
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads over {kv_heads} key heads");
    assert!(shape.alibi.is_none_or(|slopes| slopes.len() == heads), "slopes of {heads} heads");
    let row = heads * head_dim;
    let distances = shape.distance_bias.map(|bias| bias.len() / heads);
    let tasks: Vec<Task<'_>> = sequences
        .iter_mut()
        .flat_map(|s| {
            let CachedSequence { queries, keys, values, out } = s;
            let length = keys.len() / (kv_heads * head_dim);
            let new = queries.len() / row;
            assert_eq!(queries.len(), new * row, "queries");
            assert_eq!(keys.len(), length * kv_heads * head_dim, "keys");
            assert_eq!(values.len(), keys.len(), "values");
            assert_eq!(out.len(), queries.len(), "out");
            assert!(new <= length, "{new} new positions in a cache of {length}");
            assert!(distances.is_none_or(|n| n >= length), "a bias for {distances:?} distances, {length} positions");
            let (queries, keys, values): (&[f32], &[f32], &[f32]) = (queries, keys, values);
            out.chunks_exact_mut(head_dim).enumerate().map(move |(i, out)| {
                let (position, head) = (i / heads, i % heads);
                let visible = length - new + position + 1;
                let query = &queries[i * head_dim..(i + 1) * head_dim];
                Task { query, keys, values, visible, head, out }
            })
        })
        .collect();
    let attend = |t: Task<'_>| {
        let offset = t.head / (heads / kv_heads) * head_dim;
        let first = shape.window.map_or(0, |window| t.visible.saturating_sub(window.max(1)));
        let scores = Scores {
            scale: shape.scale,
            softcap: shape.softcap.unwrap_or(0.0),
            slope: shape.alibi.map_or(0.0, |slopes| slopes[t.head]),
            bias: shape.distance_bias.map(|bias| &bias[t.head * bias.len() / heads..]),
        };
        attend_one(level, t.query, t.keys, t.values, first, t.visible, kv_heads * head_dim, offset, scores, t.out);
    };
    let products = tasks.iter().map(|t| 2 * t.visible * head_dim).sum::<usize>();
    if products < WORTH_THREADS {
        tasks.into_iter().for_each(attend);
    } else {
        tasks.into_par_iter().with_min_len(4).for_each(attend);
    }
}

/// What becomes of the products of one head.
#[derive(Clone, Copy)]
struct Scores<'a> {
    scale: f32,
    /// 0 for none.
    softcap: f32,
    /// 0 for none.
    slope: f32,
    /// By distance.
    bias: Option<&'a [f32]>,
}

impl Scores<'_> {
    /// Soft-cap, slope and bias over scaled products; the first stands `distance` before the query.
    #[inline(always)]
    fn finish<const FMA: bool>(&self, distance: usize, scores: &mut [f32]) {
        if self.softcap != 0.0 {
            scores.iter_mut().for_each(|s| *s = self.softcap * tanh::<FMA>(*s / self.softcap));
        }
        if self.slope != 0.0 {
            scores.iter_mut().enumerate().for_each(|(j, s)| *s -= self.slope * (distance - j) as f32);
        }
        if let Some(bias) = self.bias {
            scores.iter_mut().enumerate().for_each(|(j, s)| *s += bias[distance - j]);
        }
    }
}

multiversion! {
    fn attend_one(query: &[f32], keys: &[f32], values: &[f32], from: usize, visible: usize, stride: usize, offset: usize, of: Scores<'_>, out: &mut [f32]) = attend_one_body;
}

/// Blocks of positions keep the scores on the stack; the running maximum and sum are rescaled between blocks
/// (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax").
#[inline(always)]
fn attend_one_body<const FMA: bool>(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    from: usize,
    visible: usize,
    stride: usize,
    offset: usize,
    of: Scores<'_>,
    out: &mut [f32],
) {
    const BLOCK: usize = 64;
    let width = query.len();
    let (mut highest, mut sum) = (f32::NEG_INFINITY, 0f32);
    out.fill(0.0);
    for first in (from..visible).step_by(BLOCK) {
        let count = BLOCK.min(visible - first);
        let mut scores = [f32::NEG_INFINITY; BLOCK];
        for (j, score) in scores[..count].iter_mut().enumerate() {
            let at = (first + j) * stride + offset;
            *score = of.scale * dot::<FMA>(query, &keys[at..at + width]);
        }
        of.finish::<FMA>(visible - 1 - first, &mut scores[..count]);
        let block_highest = scores.iter().fold(highest, |m, s| if *s > m { *s } else { m });
        let shrink = if highest == f32::NEG_INFINITY { 0.0 } else { exp::<FMA>(highest - block_highest) };
        for s in &mut scores {
            *s = exp::<FMA>(*s - block_highest);
        }
        sum = sum * shrink + scores[..count].iter().sum::<f32>();
        out.iter_mut().for_each(|o| *o *= shrink);
        for (j, p) in scores[..count].iter().enumerate() {
            let at = (first + j) * stride + offset;
            axpy::<FMA>(*p, &values[at..at + width], out);
        }
        highest = block_highest;
    }
    let inverse = 1.0 / sum;
    out.iter_mut().for_each(|o| *o *= inverse);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::matrix;
    use proptest::prelude::*;

    fn values(len: usize, seed: u64) -> Vec<f32> {
        matrix(len, seed).into_iter().map(|x| 4.0 * x).collect()
    }

    /// Straight from the formula, in f64.
    fn reference(shape: &CachedAttention<'_>, queries: &[f32], keys: &[f32], vals: &[f32]) -> Vec<f64> {
        let CachedAttention { heads, kv_heads, head_dim, scale, window, softcap, alibi, distance_bias } = *shape;
        let length = keys.len() / (kv_heads * head_dim);
        let new = queries.len() / (heads * head_dim);
        let mut out = vec![0f64; queries.len()];
        for i in 0..new * heads {
            let (position, head) = (i / heads, i % heads);
            let visible = length - new + position + 1;
            let at = |j: usize| (j * kv_heads + head / (heads / kv_heads)) * head_dim;
            let product = |j: usize, c: usize| f64::from(queries[i * head_dim + c]) * f64::from(keys[at(j) + c]);
            let score = |j: usize| {
                let score = (0..head_dim).map(|c| product(j, c)).sum::<f64>() * f64::from(scale);
                let cap = |cap: f32| f64::from(cap) * (score / f64::from(cap)).tanh();
                let slope = alibi.map_or(0.0, |slopes| f64::from(slopes[head]));
                let hidden = window.is_some_and(|window| j + window < visible);
                let bias =
                    distance_bias.map_or(0.0, |bias| f64::from(bias[head * bias.len() / heads + visible - 1 - j]));
                let seen = softcap.map_or(score, cap) - slope * (visible - 1 - j) as f64 + bias;
                if hidden { f64::NEG_INFINITY } else { seen }
            };
            let scores: Vec<f64> = (0..visible).map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            for (j, s) in scores.iter().enumerate() {
                for c in 0..head_dim {
                    out[i * head_dim + c] += (s - top).exp() / sum * f64::from(vals[at(j) + c]);
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn agrees_with_the_formula(kv_heads in 1usize..4, group in 1usize..4, head_dim in 1usize..40, old in 0usize..150, new in 1usize..5, window in prop::option::of(1usize..100), softcap in prop::option::of(0.5f32..20.0), sloped: bool, biased: bool, seed: u64) {
            let slopes: Vec<f32> = (0..kv_heads * group).map(|h| 0.5f32.powi(h as i32 + 1)).collect();
            let bias = values(kv_heads * group * (old + new + 3), seed ^ 3);
            let shape = CachedAttention { window, softcap, alibi: sloped.then_some(&slopes), distance_bias: biased.then_some(&bias), ..CachedAttention::causal(kv_heads * group, kv_heads, head_dim, 0.3) };
            let queries = values(new * shape.heads * head_dim, seed);
            let keys = values((old + new) * kv_heads * head_dim, seed ^ 1);
            let vals = values(keys.len(), seed ^ 2);
            let want = reference(&shape, &queries, &keys, &vals);
            for level in Level::available() {
                let mut out = vec![f32::NAN; queries.len()];
                attend_cached_at(level, &shape, &mut [CachedSequence { queries: &queries, keys: &keys, values: &vals, out: &mut out }]);
                for (a, b) in out.iter().zip(&want) {
                    prop_assert!((f64::from(*a) - b).abs() < 1e-5, "{}: {a} {b}", level.name());
                }
            }
        }
    }
}
