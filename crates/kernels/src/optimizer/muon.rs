//! Muon: momentum whose matrix is orthogonalised before the step.

use super::{sum_squares_at, update_in_place, update_pair};
use crate::cpu::Level;
use crate::gemm::{Matrix, add_product, product};
use crate::precision::Precision;

/// One Muon step on a matrix (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"), in the
/// form of PyTorch's `torch.optim.Muon`:
///
/// ```text
/// b = momentum b + (1 - momentum) g
/// u = orthogonalized((1 - momentum) g + momentum b)   Nesterov's form; else of b
/// p = (1 - lr weight_decay) p - lr 0.2 sqrt(max(rows, cols)) u
/// ```
///
/// An orthogonal matrix has a root mean square of `1 / sqrt(max(rows, cols))`, so the step's is about 0.2, as AdamW's
/// usually is: one learning rate and one weight decay serve both (Liu et al. 2025, "Muon is Scalable for LLM
/// Training"; PyTorch's `match_rms_adamw`). Muon is for the matrices inside the layers; embeddings, the output layer,
/// norms and biases go with AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the momentum buffer.
    pub momentum: f64,
    /// Look ahead by one more momentum step.
    pub nesterov: bool,
    /// Decoupled decay: each step multiplies the parameter by `1 - lr * weight_decay`.
    pub weight_decay: f64,
    /// Factor on the gradient before it is used: the clipping factor, 1 for none.
    pub gradient_scale: f64,
    /// Precision of the iteration's products; the iterates are f32.
    pub precision: Precision,
}

impl Default for Muon {
    fn default() -> Self {
        Muon {
            lr: 1e-3,
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.0,
            gradient_scale: 1.0,
            precision: Precision::F32,
        }
    }
}

impl Muon {
    /// Coefficients of the quintic, chosen by the authors for speed: singular values end between about 0.7 and 1.2.
    pub const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
    /// Newton-Schulz steps.
    pub const STEPS: usize = 5;
    /// Root mean square that a step has at a learning rate of 1.
    const STEP_RMS: f64 = 0.2;

    /// What the orthogonalised direction is multiplied by.
    pub fn step_size(&self, rows: usize, cols: usize) -> f64 {
        self.lr * Self::STEP_RMS * (rows.max(cols) as f64).sqrt()
    }
}

#[derive(Clone, Copy)]
struct Factors {
    momentum: f32,
    rest: f32,
    /// Parts of the gradient and of the buffer in the direction.
    of_gradient: f32,
    of_buffer: f32,
    gradient_scale: f32,
}

multiversion! {
    fn momentum_chunk(h: &Factors, direction: &mut [f32], g: &[f32], b: &mut [f32]) = momentum_body;
    fn step_chunk(decay: f32, step: f32, p: &mut [f32], direction: &[f32]) = step_body;
    fn combine_chunk(of_x: f32, x: &mut [f32], of_y: f32, y: &[f32]) = combine_body;
}

#[inline(always)]
fn momentum_body<const FMA: bool>(h: &Factors, direction: &mut [f32], g: &[f32], b: &mut [f32]) {
    for ((d, g), b) in direction.iter_mut().zip(g).zip(b.iter_mut()) {
        let g = *g * h.gradient_scale;
        *b = h.momentum * *b + h.rest * g;
        *d = h.of_gradient * g + h.of_buffer * *b;
    }
}

#[inline(always)]
fn step_body<const FMA: bool>(decay: f32, step: f32, p: &mut [f32], direction: &[f32]) {
    for (p, d) in p.iter_mut().zip(direction) {
        *p = decay * *p - step * d;
    }
}

/// `x = of_x * x + of_y * y`.
#[inline(always)]
fn combine_body<const FMA: bool>(of_x: f32, x: &mut [f32], of_y: f32, y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x = of_x * *x + of_y * *y;
    }
}

/// Update the matrix `p` (rows, cols) and its momentum buffer (0 at first) in place from gradient `g`. Needs memory for
/// three further matrices while it runs.
///
/// # Panics
/// If a slice's length contradicts the shape.
pub fn muon(h: &Muon, p: &mut [f32], g: &[f32], buffer: &mut [f32], rows: usize, cols: usize) {
    muon_at(Level::best(), h, p, g, buffer, rows, cols);
}

pub(super) fn muon_at(level: Level, h: &Muon, p: &mut [f32], g: &[f32], buffer: &mut [f32], rows: usize, cols: usize) {
    assert_eq!(p.len(), rows * cols, "parameter of {rows} x {cols}");
    let (of_gradient, of_buffer) = if h.nesterov { (1.0 - h.momentum, h.momentum) } else { (0.0, 1.0) };
    let factors = Factors {
        momentum: h.momentum as f32,
        rest: (1.0 - h.momentum) as f32,
        of_gradient: of_gradient as f32,
        of_buffer: of_buffer as f32,
        gradient_scale: h.gradient_scale as f32,
    };
    let mut direction = vec![0f32; p.len()];
    update_in_place(&mut direction, g, buffer, |d, g, b| momentum_chunk(level, &factors, d, g, b));
    let direction = orthogonalized_at(level, direction, rows, cols, h.precision);
    let (decay, step) = ((1.0 - h.lr * h.weight_decay) as f32, h.step_size(rows, cols) as f32);
    update_pair(p, &direction, |p, d| step_chunk(level, decay, step, p, d));
}

/// Smallest norm to divide by.
const EPS: f64 = 1e-7;

/// The matrix `x` (rows, cols) with its singular values brought close to 1, by five Newton-Schulz steps
/// `x = a x + (b x x^T + c (x x^T)^2) x`. Where there are more rows than columns the steps use `x^T x`, the smaller
/// product.
///
/// # Panics
/// If the length contradicts the shape.
pub fn orthogonalized(x: Vec<f32>, rows: usize, cols: usize, precision: Precision) -> Vec<f32> {
    orthogonalized_at(Level::best(), x, rows, cols, precision)
}

fn orthogonalized_at(level: Level, mut x: Vec<f32>, rows: usize, cols: usize, precision: Precision) -> Vec<f32> {
    assert_eq!(x.len(), rows * cols, "matrix of {rows} x {cols}");
    let norm = sum_squares_at(level, &x).sqrt().max(EPS);
    super::scale(&mut x, (1.0 / norm) as f32);
    let [a, b, c] = Muon::QUINTIC;
    let tall = rows > cols;
    let side = rows.min(cols);
    for _ in 0..Muon::STEPS {
        let m = Matrix::new(&x, rows, cols);
        // side x side: the product of the short side with itself.
        let square = if tall { product(m.transposed(), m, precision) } else { product(m, m.transposed(), precision) };
        let s = Matrix::new(&square, side, side);
        let mut polynomial = product(s, s, precision);
        update_pair(&mut polynomial, &square, |x, y| combine_chunk(level, c, x, b, y));
        let q = Matrix::new(&polynomial, side, side);
        let mut next = x.clone();
        super::scale(&mut next, a);
        match tall {
            true => add_product(&mut next, m, q, precision),
            false => add_product(&mut next, q, m, precision),
        }
        x = next;
    }
    x
}
