use burn::prelude::*;

/// Rows of `weight` (vocabulary, dim) by ids (batch, time).
pub fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    burn::tensor::module::embedding(weight, ids)
}
