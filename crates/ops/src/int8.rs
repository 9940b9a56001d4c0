//! Linear layers with int8 weights.

use crate::flex::view::{self, dense, matrix, tensor, values, with_last};
use crate::flex::{run, suits};
use crate::{Precision, composed};
use burn::prelude::*;
use danlu_kernels::int8::{self, Int8Weight};

/// [`crate::linear`] with an int8 weight, for inference: no gradient flows through it.
///
/// # Panics
/// If the last dimension of `x` is not `w.inp`, the bias is not as long as `w.out`, or a device other than the CPU
/// fails while `x` is read.
pub fn linear_int8<const D: usize>(x: Tensor<D>, w: &Int8Weight, bias: Option<Tensor<1>>) -> Tensor<D> {
    let dims = x.dims();
    assert_eq!(dims[D - 1], w.inp, "linear_int8: x {dims:?} against a weight of {} inputs", w.inp);
    let device = x.device();
    if suits(&x) && bias.as_ref().is_none_or(suits) {
        let bias = bias.map(|b| b.into_data_as::<f32>().iter::<f32>().collect::<Vec<f32>>());
        let mut results = run(vec![x.inner().into_dispatch()], |tensors| {
            let product = |x| {
                let x = dense(x);
                let y = int8::linear_int8(values(&x), matrix(&x).0, w, bias.as_deref());
                tensor(y, with_last(view::dims(&x), w.out))
            };
            tensors.into_iter().map(product).collect()
        });
        let Some(y) = results.pop() else { unreachable!("one comes back") };
        let y = Tensor::from_dispatch(y);
        return if device.is_autodiff() { Tensor::from_inner(y) } else { y };
    }
    let weight = Tensor::from_data(TensorData::new(w.dequantize(), [w.out, w.inp]), &device);
    composed::linear(x, weight, bias, Precision::F32)
}
