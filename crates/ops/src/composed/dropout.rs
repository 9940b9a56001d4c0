use burn::prelude::*;
use danlu_kernels::dropout;
use danlu_kernels::random::DropoutMask;

/// `x` times the mask's factors, which are computed on the host.
pub fn dropout(x: Tensor<2>, mask: &DropoutMask, first_row: u64) -> Tensor<2> {
    let ([rows, width], device) = (x.dims(), x.device());
    let factors = dropout::factors(rows, width, mask, first_row);
    x * Tensor::from_data(TensorData::new(factors, [rows, width]), &device)
}
