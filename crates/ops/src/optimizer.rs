//! What the training loop does to parameters and gradients, outside autodiff.

use crate::composed;
use crate::flex::view::{dense, owned, values};
use crate::flex::{run, suits};
use burn::prelude::*;
use danlu_kernels::optimizer::{self, Adafactor, AdamW, GradientTerms, Lion, Muon, Sgd};

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

/// One step of gradient descent on one parameter; returns the new (parameter, momentum buffer), neither tracked by
/// autodiff. Without momentum there is no buffer. See [`adamw_update`] for what is updated in place.
pub fn sgd_update<const D: usize>(
    h: &Sgd,
    p: Tensor<D>,
    g: Tensor<D>,
    buffer: Option<Tensor<D>>,
) -> (Tensor<D>, Option<Tensor<D>>) {
    let (p, g, buffer) = (p.inner(), g.inner(), buffer.map(Tensor::inner));
    if h.momentum == 0.0 {
        let (p, _) = match suits(&p) && suits(&g) {
            true => update_in_place(p, g, None, |p, g, _| optimizer::sgd(h, p, g, &mut [])),
            false => composed::sgd_update(h, p, g, None),
        };
        return (p, None);
    }
    let buffer = buffer.unwrap_or_else(|| p.zeros_like());
    if !(suits(&p) && suits(&g) && suits(&buffer)) {
        return composed::sgd_update(h, p, g, Some(buffer));
    }
    update_in_place(p, g, Some(buffer), |p, g, b| optimizer::sgd(h, p, g, b))
}

/// One Lion step on one parameter; returns the new (parameter, momentum), as [`adamw_update`].
pub fn lion_update<const D: usize>(h: &Lion, p: Tensor<D>, g: Tensor<D>, m: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let (p, g, m) = (p.inner(), g.inner(), m.inner());
    if !(suits(&p) && suits(&g) && suits(&m)) {
        return composed::lion_update(h, p, g, m);
    }
    let (p, m) = update_in_place(p, g, Some(m), |p, g, m| optimizer::lion(h, p, g, m));
    let Some(m) = m else { unreachable!("it was given") };
    (p, m)
}

/// One Muon step on one matrix (rows, cols); returns the new (parameter, momentum buffer), as [`adamw_update`].
///
/// # Panics
/// If the tensors are not of rank 2.
pub fn muon_update<const D: usize>(h: &Muon, p: Tensor<D>, g: Tensor<D>, buffer: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let dims = p.dims();
    assert_eq!(D, 2, "muon_update: a parameter of shape {dims:?}");
    let (p, g, buffer) = (p.inner(), g.inner(), buffer.inner());
    if !(suits(&p) && suits(&g) && suits(&buffer)) {
        return composed::muon_update(h, p, g, buffer);
    }
    let (p, buffer) = update_in_place(p, g, Some(buffer), |p, g, b| optimizer::muon(h, p, g, b, dims[0], dims[D - 1]));
    let Some(buffer) = buffer else { unreachable!("it was given") };
    (p, buffer)
}

/// One Adafactor step on one parameter; returns the new (parameter, states), as [`adamw_update`]. The states' shapes are
/// [`Adafactor::state_dims`]; they begin at 0.
///
/// # Panics
/// If the states have other shapes.
pub fn adafactor_update<const D: usize>(
    h: &Adafactor,
    p: Tensor<D>,
    g: Tensor<D>,
    states: Vec<Tensor<D>>,
) -> (Tensor<D>, Vec<Tensor<D>>) {
    let dims = p.dims();
    let shapes: Vec<Vec<usize>> = states.iter().map(|state| state.dims().to_vec()).collect();
    assert_eq!(shapes, Adafactor::state_dims(&dims), "adafactor_update: states of {dims:?}");
    let (p, g, states) = (p.inner(), g.inner(), states.into_iter().map(Tensor::inner).collect::<Vec<_>>());
    if !(suits(&p) && suits(&g) && states.iter().all(suits)) {
        return composed::adafactor_update(h, p, g, states);
    }
    let mut tensors = vec![g.into_dispatch(), p.into_dispatch()];
    tensors.extend(states.into_iter().map(Tensor::into_dispatch));
    let updated = run(tensors, |tensors| {
        let mut tensors = tensors.into_iter();
        let g = tensors.next().map(dense);
        let mut written: Vec<_> = tensors.map(owned).collect();
        match (&g, &mut written[..]) {
            (Some(g), [p, variance]) => {
                optimizer::adafactor_vector(h, p.storage_mut(), values(g), variance.storage_mut());
            }
            (Some(g), [p, row, column]) => {
                let (rows, cols) = (dims[D - 2], dims[D - 1]);
                let matrices = [dims[..D - 2].iter().product(), rows, cols];
                let (row, column) = (row.storage_mut(), column.storage_mut());
                optimizer::adafactor_matrix(h, p.storage_mut(), values(g), row, column, matrices);
            }
            _ => unreachable!("one or two states were given"),
        }
        written
    });
    let mut updated = updated.into_iter().map(Tensor::from_dispatch);
    let Some(p) = updated.next() else { unreachable!("the parameter comes back") };
    (p, updated.collect())
}

/// The gradient `g` of parameter `p` with regularisation's terms, tracked by no autodiff. Give up your other handles of
/// `g` first: then the CPU changes it in place.
pub fn gradient_terms<const D: usize>(h: &GradientTerms, p: Tensor<D>, g: Tensor<D>) -> Tensor<D> {
    let (p, g) = (p.inner(), g.inner());
    if !(suits(&p) && suits(&g)) {
        return composed::gradient_terms(h, p, g);
    }
    update_in_place(g, p, None, |g, p, _| optimizer::add_terms(h, g, p)).0
}

/// `average + share (p - average)`, tracked by no autodiff; in place as [`adamw_update`].
pub fn average_update<const D: usize>(share: f64, average: Tensor<D>, p: Tensor<D>) -> Tensor<D> {
    let (average, p) = (average.inner(), p.inner());
    if !(suits(&average) && suits(&p)) {
        return average.clone() + (p - average).mul_scalar(share);
    }
    update_in_place(average, p, None, |a, p, _| optimizer::average(share, a, p)).0
}

/// Runs `update(parameter, gradient, state)` on the CPU's memory; without a state it sees an empty one.
fn update_in_place<const D: usize>(
    p: Tensor<D>,
    g: Tensor<D>,
    state: Option<Tensor<D>>,
    update: impl Fn(&mut [f32], &[f32], &mut [f32]),
) -> (Tensor<D>, Option<Tensor<D>>) {
    let mut tensors = vec![g.into_dispatch(), p.into_dispatch()];
    tensors.extend(state.map(Tensor::into_dispatch));
    let updated = run(tensors, |tensors| {
        let mut tensors = tensors.into_iter();
        let g = tensors.next().map(dense);
        let mut written: Vec<_> = tensors.map(owned).collect();
        if let (Some(g), [p, state @ ..]) = (&g, &mut written[..]) {
            update(p.storage_mut(), values(g), state.first_mut().map_or(&mut [], |s| s.storage_mut()));
        }
        written
    });
    let mut updated = updated.into_iter().map(Tensor::from_dispatch);
    let Some(p) = updated.next() else { unreachable!("the parameter comes back") };
    (p, updated.next())
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
