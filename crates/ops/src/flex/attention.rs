//! [`crate::attention`] and [`crate::self_attention`].

use super::view::{
    dense, four, head_view, heads, integers, owned, stored, stored_mut, tensor, time_major_tensor, values,
};
use super::{FlexTensor, Function, Gradient};
use crate::{AttentionMask, AttentionOptions, DropoutMask, JoinedHeads, KeyPadding, Precision};
use danlu_kernels::attention::{self, Heads, Mask, Padding, Saved, Segments, time_major};
use danlu_kernels::{Values, rotary};

/// [`AttentionOptions`] as the kernels read them.
#[derive(Debug)]
pub(crate) struct Attend {
    scale: f32,
    precision: Precision,
    mask: AttentionMask,
    lengths: Option<Vec<usize>>,
    real: Option<Vec<bool>>,
    segments: Option<[Vec<i32>; 2]>,
    alibi: Option<Vec<f32>>,
    softcap: Option<f32>,
    dropout: Option<DropoutMask>,
}

impl Attend {
    pub(crate) fn new(options: &AttentionOptions) -> Self {
        let (lengths, real) = match &options.padding {
            KeyPadding::None => (None, None),
            KeyPadding::Lengths(lengths) => (Some(lengths.clone()), None),
            KeyPadding::Keys(real) => (None, Some(real.clone().into_data().iter::<bool>().collect())),
        };
        // Numbers are only compared, so their low halves will do.
        let ids = |t| integers::<2>(t).into_iter().map(|id| id as i32).collect();
        Attend {
            scale: options.scale as f32,
            precision: options.precision,
            mask: options.mask,
            lengths,
            real,
            segments: options.segments.as_ref().map(|s| [ids(s.queries.clone()), ids(s.keys.clone())]),
            alibi: options.alibi.clone(),
            softcap: options.softcap.map(|cap| cap as f32),
            dropout: options.dropout,
        }
    }

    /// For q (batch, heads, queries, head_dim) over `kv_heads` of `keys`.
    fn kernel(&self, q: [usize; 4], kv_heads: usize, keys: usize) -> attention::Attention<'_> {
        let [batch, heads, queries, head_dim] = q;
        let band = match self.mask {
            AttentionMask::None => Mask::none(),
            AttentionMask::Causal => Mask::causal(),
            AttentionMask::CausalWindow(width) => Mask::causal_window(width),
            AttentionMask::Window(width) => Mask::window(width),
        };
        let padding = match (&self.lengths, &self.real) {
            (Some(lengths), _) => Padding::Lengths(lengths),
            (_, Some(real)) => Padding::Keys(real),
            _ => Padding::None,
        };
        let segments = self.segments.as_ref().map(|[queries, keys]| Segments { queries, keys });
        attention::Attention {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            head_dim,
            scale: self.scale,
            precision: self.precision,
            mask: Mask { padding, segments, ..band },
            dropout: self.dropout,
            alibi: self.alibi.as_deref(),
            softcap: self.softcap,
        }
    }
}

/// Inputs: q, k, v.
#[derive(Debug)]
pub(crate) struct Attention(pub(crate) Attend);

impl Attention {
    fn kernel(&self, q: &FlexTensor, k: &FlexTensor) -> attention::Attention<'_> {
        let [_, kv_heads, keys, _] = four(k);
        self.0.kernel(four(q), kv_heads, keys)
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
        let gradients = self.attention.kernel(q, k).backward(&saved, heads(&g)).into_iter().zip([q, k, v]);
        gradients.map(|(gradient, like)| Some(time_major_tensor(gradient, four(like)))).collect()
    }
}

/// Inputs: queries, keys and values joined, and where positions are rotary the tables cos and sin.
#[derive(Debug)]
pub(crate) struct SelfAttention {
    pub(crate) shape: JoinedHeads,
    pub(crate) attend: Attend,
}

impl SelfAttention {
    fn kernel(&self) -> attention::Attention<'_> {
        let JoinedHeads { batch, time, heads, kv_heads, head_dim } = self.shape;
        self.attend.kernel([batch, heads, time, head_dim], kv_heads, time)
    }

    /// (batch * time, heads * head_dim) as heads.
    fn heads<'a>(&self, data: Values<'a>) -> Heads<'a> {
        let JoinedHeads { time, heads, head_dim, .. } = self.shape;
        Heads { data, strides: time_major(heads, time, head_dim) }
    }
}

impl Function for SelfAttention {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let mut inputs = inputs.into_iter();
        let mut qkv = owned(inputs.next().unwrap_or_else(|| unreachable!("queries, keys and values are always there")));
        let tables: Vec<FlexTensor> = inputs.map(dense).collect();
        if let [cos, sin] = &tables[..] {
            rotary::rotary_joined(stored_mut(&mut qkv), &self.shape, values(cos), values(sin), false);
        }
        let [q, k, v] = self.shape.split(stored(&qkv));
        let (out, sums) = self.kernel().forward(q, k, v);
        let JoinedHeads { batch, time, heads, head_dim, .. } = self.shape;
        let out = tensor(out, vec![batch * time, heads * head_dim]);
        (out.clone(), Box::new(SelfAttended { attention: *self, qkv, tables, out, sums }))
    }
}

#[derive(Debug)]
struct SelfAttended {
    attention: SelfAttention,
    /// Queries and keys turned.
    qkv: FlexTensor,
    tables: Vec<FlexTensor>,
    out: FlexTensor,
    sums: Vec<f32>,
}

impl Gradient for SelfAttended {
    fn backward(self: Box<Self>, g: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let SelfAttended { attention, qkv, tables, out, sums } = *self;
        let g = dense(g);
        let shape = attention.shape;
        let [q, k, v] = shape.split(stored(&qkv));
        let saved = Saved { q, k, v, out: attention.heads(stored(&out)), sums: &sums };
        let mut gradient = attention.kernel().backward_joined(&saved, attention.heads(stored(&g)));
        if let [cos, sin] = &tables[..] {
            rotary::rotary_joined(gradient.as_mut(), &shape, values(cos), values(sin), true);
        }
        let mut results = vec![None; wanted.len()];
        results[0] = Some(tensor(gradient, vec![shape.batch * shape.time, shape.row()]));
        results
    }
}
