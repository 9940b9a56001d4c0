//! [`crate::causal_attention`].

use super::view::{four, head_view, heads, time_major_tensor};
use super::{FlexTensor, Function, Gradient};
use danlu_kernels::attention::{self, Shape};

/// Inputs: q, k, v.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) scale: f32,
}

impl Attention {
    fn shape(&self, q: &FlexTensor, k: &FlexTensor) -> Shape {
        let [batch, heads, time, head_dim] = four(q);
        Shape { batch, heads, kv_heads: four(k)[1], time, head_dim, scale: self.scale }
    }
}

impl Function for Attention {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(head_view).collect();
        let (q, k, v) = (&inputs[0], &inputs[1], &inputs[2]);
        let (out, lse) = attention::forward(&self.shape(q, k), heads(q), heads(k), heads(v));
        let out = time_major_tensor(out, four(q));
        (out.clone(), Box::new(Attended { attention: *self, inputs, out, lse }))
    }
}

#[derive(Debug)]
struct Attended {
    attention: Attention,
    inputs: Vec<FlexTensor>,
    /// Lies as (batch, time, heads, dim), as the kernel wrote it.
    out: FlexTensor,
    lse: Vec<f32>,
}

impl Gradient for Attended {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let g = head_view(g);
        let (q, k, v) = (&self.inputs[0], &self.inputs[1], &self.inputs[2]);
        let shape = self.attention.shape(q, k);
        let (out, lse) = (self.out.storage(), &self.lse);
        let (dq, dk, dv) = attention::backward(&shape, heads(q), heads(k), heads(v), out, lse, heads(&g));
        [(dq, q), (dk, k), (dv, v)].map(|(gradient, like)| Some(time_major_tensor(gradient, four(like)))).into()
    }
}
