use super::linear::rounded;
use burn::prelude::*;
use danlu_kernels::optimizer::{self, Adafactor, AdamW, GradientTerms, Lion, Muon, Sgd};

/// One AdamW step; returns (parameter, first moment, second moment).
pub fn adamw_update<const D: usize>(
    h: &AdamW,
    p: Tensor<D>,
    g: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let correction1 = 1.0 - h.beta1.powf(h.step as f64);
    let correction2 = 1.0 - h.beta2.powf(h.step as f64);
    let g = g.mul_scalar(h.gradient_scale);
    let m = m.mul_scalar(h.beta1) + g.clone().mul_scalar(1.0 - h.beta1);
    let v = v.mul_scalar(h.beta2) + g.square().mul_scalar(1.0 - h.beta2);
    let denominator = v.clone().sqrt().mul_scalar(1.0 / correction2.sqrt()).add_scalar(h.eps);
    let update = m.clone().mul_scalar(h.lr / correction1) / denominator;
    (p.mul_scalar(1.0 - h.lr * h.weight_decay) - update, m, v)
}

/// One step of gradient descent; returns (parameter, momentum buffer).
pub fn sgd_update<const D: usize>(
    h: &Sgd,
    p: Tensor<D>,
    g: Tensor<D>,
    buffer: Option<Tensor<D>>,
) -> (Tensor<D>, Option<Tensor<D>>) {
    let g = g.mul_scalar(h.gradient_scale) + p.clone().mul_scalar(h.weight_decay);
    let buffer = buffer.map(|b| b.mul_scalar(h.momentum) + g.clone());
    let direction = match &buffer {
        None => g,
        Some(b) if h.nesterov => g + b.clone().mul_scalar(h.momentum),
        Some(b) => b.clone(),
    };
    (p - direction.mul_scalar(h.lr), buffer)
}

/// One Lion step; returns (parameter, momentum).
pub fn lion_update<const D: usize>(h: &Lion, p: Tensor<D>, g: Tensor<D>, m: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let g = g.mul_scalar(h.gradient_scale);
    let direction = m.clone().mul_scalar(h.beta1) + g.clone().mul_scalar(1.0 - h.beta1);
    let p = p.mul_scalar(1.0 - h.lr * h.weight_decay) - direction.sign().mul_scalar(h.lr);
    (p, m.mul_scalar(h.beta2) + g.mul_scalar(1.0 - h.beta2))
}

/// One Muon step on a tensor of rank 2; returns (parameter, momentum buffer).
pub fn muon_update<const D: usize>(h: &Muon, p: Tensor<D>, g: Tensor<D>, b: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let dims = p.dims();
    let (rows, cols) = (dims[0], dims[D - 1]);
    let g = g.mul_scalar(h.gradient_scale);
    let b = b.mul_scalar(h.momentum) + g.clone().mul_scalar(1.0 - h.momentum);
    let direction = match h.nesterov {
        true => g.mul_scalar(1.0 - h.momentum) + b.clone().mul_scalar(h.momentum),
        false => b.clone(),
    };
    let norm = direction.clone().square().sum().sqrt().clamp_min(1e-7);
    let x = direction.reshape([rows, cols]) / norm.reshape([1, 1]);
    let x = match rows > cols {
        true => newton_schulz(x.transpose(), h).transpose(),
        false => newton_schulz(x, h),
    };
    let p = p.mul_scalar(1.0 - h.lr * h.weight_decay) - x.mul_scalar(h.step_size(rows, cols)).reshape(dims);
    (p, b)
}

/// Five steps of the quintic on a matrix of norm 1 with no more rows than columns.
fn newton_schulz(mut x: Tensor<2>, h: &Muon) -> Tensor<2> {
    let product =
        |a: &Tensor<2>, b: &Tensor<2>| rounded(a.clone(), h.precision).matmul(rounded(b.clone(), h.precision));
    for _ in 0..Muon::STEPS {
        let [a, b, c] = Muon::QUINTIC;
        let square = product(&x, &x.clone().transpose());
        let polynomial = square.clone().mul_scalar(b) + product(&square, &square).mul_scalar(c);
        x = x.clone().mul_scalar(a) + product(&polynomial, &x);
    }
    x
}

/// One Adafactor step; returns (parameter, states).
pub fn adafactor_update<const D: usize>(
    h: &Adafactor,
    p: Tensor<D>,
    g: Tensor<D>,
    states: Vec<Tensor<D>>,
) -> (Tensor<D>, Vec<Tensor<D>>) {
    let g = g.mul_scalar(h.gradient_scale);
    let squares = g.clone().square();
    let weight = h.weight();
    let towards = |state: Tensor<D>, value: Tensor<D>| state.clone() + (value - state).mul_scalar(weight);
    let (states, variance) = match <[Tensor<D>; 2]>::try_from(states) {
        Err(states) => {
            let states: Vec<_> = states.into_iter().map(|state| towards(state, squares.clone())).collect();
            let variance = states.first().map_or(squares.clone(), Tensor::clone);
            (states, variance)
        }
        Ok([row, column]) => {
            let row = towards(row, squares.clone().mean_dim(D - 1));
            let column = towards(column, squares.mean_dim(D - 2));
            let mean = row.clone().mean_dim(D - 2).clamp_min(h.eps1);
            let variance = row.clone() / mean * column.clone();
            (vec![row, column], variance)
        }
    };
    let update = g / variance.clamp_min(h.eps1 * h.eps1).sqrt();
    let rms = |t: &Tensor<D>| t.clone().square().mean().sqrt();
    let limit = (rms(&update).div_scalar(h.clip)).clamp_min(1.0);
    let size = match h.relative_step {
        true => rms(&p).clamp_min(h.eps2).mul_scalar(h.lr.min(1.0 / (h.step as f64).sqrt())),
        false => limit.ones_like().mul_scalar(h.lr),
    };
    let step = (size / limit).reshape([1; D]);
    (p.mul_scalar(1.0 - h.lr * h.weight_decay) - update * step, states)
}

/// A gradient with regularisation's terms.
pub fn gradient_terms<const D: usize>(h: &GradientTerms, p: Tensor<D>, g: Tensor<D>) -> Tensor<D> {
    let sum = g.mul_scalar(h.gradient_scale) + p.clone().sign().mul_scalar(h.l1) + p.clone().mul_scalar(h.l2);
    if h.noise == 0.0 {
        return sum;
    }
    let dims = p.dims();
    let noise = TensorData::new(optimizer::noise(h.key, dims.iter().product()), dims);
    sum + Tensor::from_data(noise, &p.device()).mul_scalar(h.noise)
}
