//! What the training loop does to parameters and gradients, outside autodiff.

use crate::composed;
use crate::flex::view::{dense, owned, values};
use crate::flex::{run, suits};
use burn::prelude::*;
use danlu_kernels::optimizer::{self, AdamW};

/// One AdamW step on one parameter; returns the new (parameter, first moment, second moment), none of them tracked by
/// autodiff.
///
/// All four tensors have one shape. Give up your other handles of `p`, `m` and `v` first: then the CPU updates them in
/// place, and otherwise it copies.
pub fn adamw_update<const D: usize>(
    h: &AdamW,
    p: Tensor<D>,
    g: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let (p, g, m, v) = (p.inner(), g.inner(), m.inner(), v.inner());
    if !(suits(&p) && suits(&g) && suits(&m) && suits(&v)) {
        return composed::adamw_update(h, p, g, m, v);
    }
    let tensors = vec![p.into_dispatch(), m.into_dispatch(), v.into_dispatch(), g.into_dispatch()];
    let updated = run(tensors, |tensors| {
        let Ok([p, m, v, g]) = <[_; 4]>::try_from(tensors) else { unreachable!("four were given") };
        let (mut p, mut m, mut v, g) = (owned(p), owned(m), owned(v), dense(g));
        optimizer::adamw(h, p.storage_mut(), values(&g), m.storage_mut(), v.storage_mut());
        vec![p, m, v]
    });
    let Ok([p, m, v]) = <[_; 3]>::try_from(updated) else { unreachable!("three come back") };
    (Tensor::from_dispatch(p), Tensor::from_dispatch(m), Tensor::from_dispatch(v))
}

/// Sum of squares in f64, in a fixed order on the CPU: the same bits whatever the number of threads.
///
/// # Panics
/// If the device fails while the tensor is read.
pub fn sum_squares<const D: usize>(t: &Tensor<D>) -> f64 {
    let t = t.clone().inner();
    if suits(&t) {
        let mut sum = 0.0;
        run(vec![t.into_dispatch()], |tensors| {
            sum = tensors.into_iter().map(|t| optimizer::sum_squares(values(&dense(t)))).sum();
            vec![]
        });
        return sum;
    }
    t.into_data_as::<f64>().iter::<f64>().map(|x| x * x).sum()
}
