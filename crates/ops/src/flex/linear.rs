//! [`crate::fused_linear`].

use super::norm::{layer_norm_grad, rms_norm_grad};
use super::view::{dense, dims, matrix, stored, tensor, values, with_last};
use super::{FlexTensor, Function, Gradient};
use crate::Activation;
use danlu_kernels::linear::{self, Formats, Part};
use danlu_kernels::{ValueVec, Values, norm};

/// What is done to the input first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prelude {
    Nothing,
    /// With eps; the weight is an input.
    RmsNorm(f32),
    /// With eps; weight and bias are inputs.
    LayerNorm(f32),
    Activation(Activation),
}

impl Prelude {
    fn inputs(self) -> usize {
        match self {
            Prelude::Nothing | Prelude::Activation(_) => 0,
            Prelude::RmsNorm(_) => 1,
            Prelude::LayerNorm(_) => 2,
        }
    }
}

/// Inputs: x, those of the prelude, the weights, the biases, the residual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    pub(crate) before: Prelude,
    pub(crate) parts: usize,
    pub(crate) biased: bool,
    pub(crate) residual: bool,
    pub(crate) formats: Formats,
}

/// The prelude's result; x itself where there is none.
struct Prepared {
    /// Dimensions of x, the last one that of the prelude's result.
    dims: Vec<usize>,
    values: Option<ValueVec>,
    /// The normalisation's statistics of each row.
    stats: Vec<f32>,
}

impl Prepared {
    /// What the products read.
    fn values<'a>(&'a self, x: &'a FlexTensor) -> Values<'a> {
        self.values.as_ref().map_or_else(|| stored(x), ValueVec::as_values)
    }
}

impl Linear {
    fn prepare(&self, inputs: &[FlexTensor]) -> Prepared {
        let (x, dims) = (&inputs[0], dims(&inputs[0]));
        let (result, stats) = match self.before {
            Prelude::Nothing => return Prepared { dims, values: None, stats: vec![] },
            Prelude::RmsNorm(eps) => norm::rms_norm_kept(values(x), values(&inputs[1]), eps, self.formats.inputs),
            Prelude::LayerNorm(eps) => {
                let (weight, bias) = (values(&inputs[1]), values(&inputs[2]));
                norm::layer_norm_kept(values(x), weight, bias, eps, self.formats.inputs)
            }
            Prelude::Activation(activation) => (activation.forward(stored(x), matrix(x).1), vec![]),
        };
        let width = match self.before {
            Prelude::Activation(activation) => activation.output_width(matrix(x).1),
            _ => matrix(x).1,
        };
        Prepared { dims: with_last(dims, width), values: Some(result), stats }
    }

    /// Gradients through the prelude: of x and of the prelude's own inputs.
    fn unprepare(&self, inputs: &[FlexTensor], stats: &[f32], g: ValueVec) -> Vec<FlexTensor> {
        let x = &inputs[0];
        match self.before {
            Prelude::Nothing => vec![tensor(g, dims(x))],
            Prelude::RmsNorm(_) => rms_norm_grad(x, &inputs[1], stats, &g.into_f32()),
            Prelude::LayerNorm(_) => layer_norm_grad(x, &inputs[1], stats, &g.into_f32()),
            Prelude::Activation(activation) => vec![tensor(activation.gradient(stored(x), matrix(x).1, g), dims(x))],
        }
    }

    fn weights(&self) -> std::ops::Range<usize> {
        let first = 1 + self.before.inputs();
        first..first + self.parts
    }

    fn layers<'a>(&self, inputs: &'a [FlexTensor]) -> Vec<Part<'a>> {
        let bias = |i: usize| self.biased.then(|| values(&inputs[i + self.parts]));
        self.weights().map(|i| Part { weight: values(&inputs[i]), bias: bias(i), out: matrix(&inputs[i]).0 }).collect()
    }
}

impl Function for Linear {
    fn forward(self: Box<Self>, inputs: Vec<FlexTensor>, _wanted: &[bool]) -> (FlexTensor, Box<dyn Gradient>) {
        let mut inputs: Vec<FlexTensor> = inputs.into_iter().map(dense).collect();
        let residual = if self.residual { inputs.pop() } else { None };
        let prepared = self.prepare(&inputs);
        let inp = prepared.dims.last().copied().unwrap_or(1);
        let x = prepared.values(&inputs[0]);
        let parts = self.layers(&inputs);
        let y = linear::forward(x, matrix(&inputs[0]).0, inp, &parts, residual.as_ref().map(values), self.formats);
        let y = tensor(y, with_last(prepared.dims, linear::total(&parts)));
        (y, Box::new(Saved { linear: *self, inputs }))
    }
}

#[derive(Debug)]
struct Saved {
    linear: Linear,
    /// All but the residual.
    inputs: Vec<FlexTensor>,
}

impl Gradient for Saved {
    fn backward(self: Box<Self>, g: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let Saved { linear, inputs } = *self;
        let g = dense(g);
        let (rows, width) = matrix(&g);
        let mut results: Vec<Option<FlexTensor>> = vec![None; wanted.len()];
        let prepared = linear.prepare(&inputs);
        let x = prepared.values(&inputs[0]);
        let parts = linear.layers(&inputs);
        let mut first = 0;
        for (i, part) in linear.weights().zip(&parts) {
            if wanted[i] {
                let dw = linear::grad_weight(stored(&g), x, rows, first, part.out, width, linear.formats.inputs);
                results[i] = Some(tensor(dw, dims(&inputs[i])));
            }
            first += part.out;
        }
        // The values are not needed any more, and are as large as what the gradient of the input takes next.
        let Prepared { dims: x_dims, stats, .. } = prepared;
        if linear.biased && linear.weights().any(|i| wanted[i + linear.parts]) {
            let mut sums = linear::column_sums(stored(&g), rows, width);
            for (i, part) in linear.weights().zip(&parts).rev() {
                let sums = sums.split_off(sums.len() - part.out);
                results[i + linear.parts] = Some(tensor(sums, vec![part.out]));
            }
        }
        if wanted[..linear.weights().start].contains(&true) {
            let inp = x_dims.last().copied().unwrap_or(1);
            let formats = Formats { kept: stored(&inputs[0]).precision(), ..linear.formats };
            let dx = linear::grad_x(stored(&g), rows, inp, &parts, formats);
            for (result, gradient) in results.iter_mut().zip(linear.unprepare(&inputs, &stats, dx)) {
                *result = Some(gradient);
            }
        }
        if linear.residual {
            results[wanted.len() - 1] = Some(g);
        }
        results
    }
}
