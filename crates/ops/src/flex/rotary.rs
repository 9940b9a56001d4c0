//! [`crate::rotary`].

use super::view::{dense, four, head_view, heads, time_major_tensor, values};
use super::{FlexTensor, Function, Gradient};
use danlu_kernels::rotary;

/// Inputs: x, cos, sin.
#[derive(Debug)]
pub(crate) struct Rotary;

impl Function for Rotary {
    fn forward(self: Box<Self>, mut inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let tables: Vec<FlexTensor> = inputs.drain(1..).map(dense).collect();
        let x: Vec<FlexTensor> = inputs.into_iter().map(head_view).collect();
        let y = rotate(&x[0], &tables, false);
        (y, Box::new(Turned(tables)))
    }
}

#[derive(Debug)]
struct Turned(Vec<FlexTensor>);

impl Gradient for Turned {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        vec![Some(rotate(&head_view(g), &self.0, true)), None, None]
    }
}

/// x as [`head_view`] leaves it, tables dense.
fn rotate(x: &FlexTensor, tables: &[FlexTensor], backwards: bool) -> FlexTensor {
    let (cos, sin) = (values(&tables[0]), values(&tables[1]));
    time_major_tensor(rotary::rotary(heads(x), four(x), cos, sin, backwards), four(x))
}
