//! Rotary positions.

use crate::composed;
use crate::flex::rotary::Rotary;
use crate::flex::{apply, suits};
use burn::prelude::*;

/// Rotary position embedding (Su et al. 2021) in Hugging Face's `rotate_half` convention: element i of the first half
/// turns with element i of the second half.
///
/// * `x`: (batch, heads, time, head_dim), head_dim even
/// * `cos`, `sin`: (time, head_dim / 2), one row per position; they carry no gradient
///
/// # Panics
/// If the tables are not of that shape.
pub fn rotary(x: Tensor<4>, cos: &Tensor<2>, sin: &Tensor<2>) -> Tensor<4> {
    let [_, _, time, width] = x.dims();
    let fits = width % 2 == 0 && cos.dims() == [time, width / 2] && sin.dims() == cos.dims();
    assert!(fits, "rotary: x {:?}, cos {:?}, sin {:?}", x.dims(), cos.dims(), sin.dims());
    if !(suits(&x) && suits(cos) && suits(sin)) {
        return composed::rotary(x, cos, sin);
    }
    apply(Rotary, vec![x.into_dispatch(), cos.clone().into_dispatch(), sin.clone().into_dispatch()])
}
