//! [`crate::causal_attention`].

use super::view::{four, head_view, heads, time_major_tensor};
use super::{FlexTensor, Function, Gradient};
use danlu_kernels::Precision;
use danlu_kernels::attention::{self, Mask, Saved};

/// Inputs: q, k, v.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) scale: f32,
}

impl Attention {
    fn kernel(&self, q: &FlexTensor, k: &FlexTensor) -> attention::Attention<'static> {
        let [batch, heads, queries, head_dim] = four(q);
        let [_, kv_heads, keys, _] = four(k);
        attention::Attention {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            head_dim,
            scale: self.scale,
            precision: Precision::F32,
            mask: Mask::causal(),
            dropout: None,
            alibi: None,
        }
    }
}

impl Function for Attention {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let inputs: Vec<FlexTensor> = inputs.into_iter().map(head_view).collect();
        let (q, k, v) = (&inputs[0], &inputs[1], &inputs[2]);
        let (out, sums) = self.kernel(q, k).forward(heads(q), heads(k), heads(v));
        let out = time_major_tensor(out, four(q));
        (out.clone(), Box::new(Attended { attention: *self, inputs, out, sums }))
    }
}

#[derive(Debug)]
struct Attended {
    attention: Attention,
    inputs: Vec<FlexTensor>,
    /// Lies as (batch, time, heads, dim), as the kernel wrote it.
    out: FlexTensor,
    sums: Vec<f32>,
}

impl Gradient for Attended {
    fn backward(self: Box<Self>, g: FlexTensor, _wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let g = head_view(g);
        let (q, k, v) = (&self.inputs[0], &self.inputs[1], &self.inputs[2]);
        let saved = Saved { q: heads(q), k: heads(k), v: heads(v), out: heads(&self.out), sums: &self.sums };
        let (dq, dk, dv) = self.attention.kernel(q, k).backward(&saved, heads(&g));
        [(dq, q), (dk, k), (dv, v)].map(|(gradient, like)| Some(time_major_tensor(gradient, four(like)))).into()
    }
}
