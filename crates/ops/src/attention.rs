//! Softmax attention.

use crate::composed;
use crate::flex::attention::Attention;
use crate::flex::{apply, suits};
use burn::prelude::*;

/// Causal softmax attention, position i seeing positions 0..=i.
///
/// * `q`: (batch, heads, time, head_dim)
/// * `k`, `v`: (batch, kv_heads, time, head_dim); heads is a multiple of kv_heads, and the heads of one group are
///   neighbours (Ainslie et al. 2023, "GQA")
/// * `scale`: factor on the scores, usually `1 / sqrt(head_dim)`
///
/// Returns (batch, heads, time, head_dim). On the CPU it lies in memory as (batch, time, heads, head_dim), and the
/// inputs may too: `swap_dims(1, 2)` before and after costs no copy.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64) -> Tensor<4> {
    let ([b, heads, t, d], [kb, kv_heads, kt, kd]) = (q.dims(), k.dims());
    let fits = (b, t, d) == (kb, kt, kd) && k.dims() == v.dims() && kv_heads > 0 && heads % kv_heads == 0;
    assert!(fits, "causal_attention: q {:?}, k {:?}, v {:?}", q.dims(), k.dims(), v.dims());
    if !(suits(&q) && suits(&k) && suits(&v)) {
        return composed::causal_attention(q, k, v, scale);
    }
    apply(Attention { scale: scale as f32 }, vec![q.into_dispatch(), k.into_dispatch(), v.into_dispatch()])
}
