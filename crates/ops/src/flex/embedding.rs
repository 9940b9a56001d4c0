//! [`crate::embedding`].

use super::view::{dense, matrix, tensor, values};
use super::{FlexTensor, Function, Gradient};
use danlu_kernels::embedding;

/// Input: the table.
#[derive(Debug)]
pub(crate) struct Embedding {
    pub(crate) ids: Vec<i64>,
    /// Dimensions of the ids.
    pub(crate) dims: Vec<usize>,
}

impl Function for Embedding {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let (entries, dim) = matrix(&inputs[0]);
        let rows = embedding::gather(values(&inputs[0]), dim, &self.ids);
        let rows = tensor(rows, [&self.dims[..], &[dim]].concat());
        (rows, Box::new(Gathered { ids: self.ids, entries }))
    }
}

#[derive(Debug)]
struct Gathered {
    ids: Vec<i64>,
    entries: usize,
}

impl Gradient for Gathered {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let g = dense(g);
        let dim = matrix(&g).1;
        let table = embedding::scatter_add(values(&g), dim, &self.ids, self.entries);
        vec![Some(tensor(table, vec![self.entries, dim]))]
    }
}
