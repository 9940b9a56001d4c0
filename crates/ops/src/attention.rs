//! Softmax attention.

use crate::flex::attention::{Attend, Attention, SelfAttention};
use crate::flex::{apply, suits, suits_kept};
use crate::{DropoutMask, JoinedHeads, Precision, composed};
use burn::prelude::*;

/// Which keys a query sees by its position. Queries and keys end together: query i of `queries` stands at key position
/// `i + keys - queries`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttentionMask {
    /// All.
    None,
    /// Its own position and all before it.
    #[default]
    Causal,
    /// Its own position and those before it, so many in all.
    CausalWindow(usize),
    /// Positions at most so far from its own.
    Window(usize),
}

/// Keys that no query of their sequence sees, because they only fill it up.
#[derive(Clone, Debug, Default)]
pub enum KeyPadding {
    /// All keys are real.
    #[default]
    None,
    /// Real keys at the start of each sequence, one number for each.
    Lengths(Vec<usize>),
    /// Whether each key is real, (batch, keys).
    Keys(Tensor<2, Bool>),
}

/// Document numbers of packed sequences: a query sees keys of its own document only.
#[derive(Clone, Debug)]
pub struct AttentionSegments {
    /// (batch, queries)
    pub queries: Tensor<2, Int>,
    /// (batch, keys)
    pub keys: Tensor<2, Int>,
}

impl AttentionSegments {
    /// For attention of sequences to themselves; `ids` (batch, time).
    pub fn of(ids: Tensor<2, Int>) -> Self {
        AttentionSegments { queries: ids.clone(), keys: ids }
    }
}

/// How [`attention`] weighs its keys. A query that sees no key gives zeros.
#[derive(Clone, Debug)]
pub struct AttentionOptions {
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f64,
    /// What the inputs of products are rounded to; the softmax is f32.
    pub precision: Precision,
    pub mask: AttentionMask,
    pub padding: KeyPadding,
    pub segments: Option<AttentionSegments>,
    /// One slope per query head: `-slope * |distance|` is added to the scores (Press et al. 2022, "ALiBi").
    pub alibi: Option<Vec<f32>>,
    /// Added to the scaled scores, (batch or 1, heads or 1, queries, keys); differentiable (Raffel et al. 2020, "T5").
    /// The kernels have no such term: with it attention is composed on the CPU, too, and the scores of all pairs exist at
    /// once. [`self_attention`] takes no bfloat16 with it.
    pub bias: Option<Tensor<4>>,
    /// A scaled score s becomes `softcap * tanh(s / softcap)` before mask and slopes (Gemma Team 2024, "Gemma 2"); not 0.
    pub softcap: Option<f64>,
    /// Which weights are dropped: row `(sequence * heads + head) * queries + query` of the mask, column `key`.
    pub dropout: Option<DropoutMask>,
}

impl AttentionOptions {
    /// Every query sees every key, in f32.
    pub fn full(scale: f64) -> Self {
        AttentionOptions {
            scale,
            precision: Precision::F32,
            mask: AttentionMask::None,
            padding: KeyPadding::None,
            segments: None,
            alibi: None,
            bias: None,
            softcap: None,
            dropout: None,
        }
    }

    /// Every query sees its own position and those before it, in f32.
    pub fn causal(scale: f64) -> Self {
        AttentionOptions { mask: AttentionMask::Causal, ..Self::full(scale) }
    }

    fn check(&self, [batch, heads, queries, keys]: [usize; 4]) {
        match &self.padding {
            KeyPadding::None => {}
            KeyPadding::Lengths(lengths) => {
                let fits = lengths.len() == batch && lengths.iter().all(|n| *n <= keys);
                assert!(fits, "attention: lengths {lengths:?} of {batch} x {keys} keys");
            }
            KeyPadding::Keys(real) => assert_eq!(real.dims(), [batch, keys], "attention: key padding"),
        }
        if let Some(segments) = &self.segments {
            let dims = [segments.queries.dims(), segments.keys.dims()];
            assert_eq!(dims, [[batch, queries], [batch, keys]], "attention: segments");
        }
        if let Some(bias) = &self.bias {
            let fits = |(found, all): (usize, usize)| found == all || found == 1;
            let [b, h, q, k] = bias.dims();
            let fits = fits((b, batch)) && fits((h, heads)) && [q, k] == [queries, keys];
            assert!(fits, "attention: bias {:?} for {:?}", bias.dims(), [batch, heads, queries, keys]);
        }
        assert!(self.alibi.as_ref().is_none_or(|slopes| slopes.len() == heads), "attention: slopes of {heads} heads");
    }
}

/// Softmax attention of queries to keys, of the same sequence or another.
///
/// * `q`: (batch, heads, queries, head_dim)
/// * `k`, `v`: (batch, kv_heads, keys, head_dim); heads is a multiple of kv_heads, and the heads of one group are
///   neighbours (Ainslie et al. 2023, "GQA")
///
/// Returns (batch, heads, queries, head_dim). On the CPU it lies in memory as (batch, queries, heads, head_dim), and the
/// inputs may too: `swap_dims(1, 2)` before and after costs no copy.
///
/// # Panics
/// If the shapes do not fit each other, or the device fails while padding or segments are read.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, options: &AttentionOptions) -> Tensor<4> {
    let ([b, heads, queries, d], [kb, kv_heads, keys, kd]) = (q.dims(), k.dims());
    let fits = (b, d) == (kb, kd) && k.dims() == v.dims() && kv_heads > 0 && heads % kv_heads == 0;
    assert!(fits, "attention: q {:?}, k {:?}, v {:?}", q.dims(), k.dims(), v.dims());
    options.check([b, heads, queries, keys]);
    if options.bias.is_some() || !(suits(&q) && suits(&k) && suits(&v)) {
        return composed::attention(q, k, v, options);
    }
    apply(Attention(Attend::new(options)), vec![q.into_dispatch(), k.into_dispatch(), v.into_dispatch()])
}

/// [`attention`] of sequences to themselves, from and to the form in which linear layers have it, with rotary positions
/// on the way.
///
/// * `qkv`: (batch * time, (heads + 2 kv_heads) * head_dim), in each row all query heads, then all key heads, then all
///   value heads. Give up your other handles of it: then the CPU turns queries and keys in place.
///   It may be kept in bfloat16 ([`FusedLinear::kept`](crate::FusedLinear::kept)); the result is then, too.
/// * `tables`: cos and sin as [`rotary`](crate::rotary) wants them
///
/// Returns (batch * time, heads * head_dim).
///
/// # Panics
/// As [`attention`].
pub fn self_attention(
    qkv: Tensor<2>,
    tables: Option<(&Tensor<2>, &Tensor<2>)>,
    shape: JoinedHeads,
    options: &AttentionOptions,
) -> Tensor<2> {
    let JoinedHeads { batch, time, heads, kv_heads, head_dim } = shape;
    let fits = qkv.dims() == [batch * time, shape.row()] && kv_heads > 0 && heads % kv_heads == 0;
    assert!(fits, "self_attention: {:?} as {shape:?}", qkv.dims());
    if let Some((cos, sin)) = tables {
        let fits = head_dim % 2 == 0 && cos.dims() == [time, head_dim / 2] && sin.dims() == cos.dims();
        assert!(fits, "self_attention: cos {:?} and sin {:?} for {shape:?}", cos.dims(), sin.dims());
    }
    options.check([batch, heads, time, time]);
    if options.bias.is_some() || !(suits_kept(&qkv) && tables.is_none_or(|(cos, sin)| suits(cos) && suits(sin))) {
        return composed::self_attention(qkv, tables, shape, options);
    }
    let mut inputs = vec![qkv.into_dispatch()];
    if let Some((cos, sin)) = tables {
        inputs.extend([cos.clone().into_dispatch(), sin.clone().into_dispatch()]);
    }
    apply(SelfAttention { shape, attend: Attend::new(options) }, inputs)
}
