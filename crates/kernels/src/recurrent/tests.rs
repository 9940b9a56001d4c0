use super::backward::backward_at;
use super::forward::forward_at;
use super::reference::{self, Operands};
use super::*;
use crate::cpu::Level;
use crate::testing::{assert_close, gradient, matrix, to_f64};
use proptest::prelude::*;

const CELLS: [Cell; 4] = [Cell::Lstm, Cell::Gru, Cell::Tanh, Cell::Relu];
const ALL: Wanted = Wanted { x: true, input_weight: true, hidden_weight: true };

/// A layer's operands in f32 and upstream gradients for all of its results.
struct Case<'a> {
    layer: Layer<'a>,
    x: Vec<f32>,
    weights: [Vec<f32>; 4],
    h: Vec<f32>,
    c: Vec<f32>,
    dy: Vec<f32>,
    dh: Vec<f32>,
    dc: Vec<f32>,
}

impl<'a> Case<'a> {
    fn new(layer: Layer<'a>, seed: u64) -> Self {
        let Layer { batch, time, input, hidden, .. } = layer;
        let (width, states) = (layer.width(), batch * hidden);
        let large = |n: usize, salt: u64| matrix(n, seed ^ salt).into_iter().map(|x| 3.0 * x).collect::<Vec<f32>>();
        Case {
            layer,
            x: large(batch * time * input, 1),
            weights: [
                matrix(width * input, seed ^ 2),
                matrix(width * hidden, seed ^ 3),
                large(width, 4),
                large(width, 5),
            ],
            h: large(states, 6),
            c: large(states, 7),
            dy: matrix(batch * time * hidden, seed ^ 8),
            dh: matrix(states, seed ^ 9),
            dc: if layer.cell == Cell::Lstm { matrix(states, seed ^ 10) } else { vec![0.0; states] },
        }
    }

    fn weights(&self) -> Weights<'_> {
        let [input, hidden, input_bias, hidden_bias] = &self.weights;
        Weights { input, hidden, input_bias: Some(input_bias), hidden_bias: Some(hidden_bias) }
    }

    fn state(&self) -> State<'_> {
        State { h: Some(&self.h), c: Some(&self.c) }
    }

    fn forward(&self, level: Level) -> Output {
        forward_at(level, &self.layer, &self.x, &self.weights(), &self.state())
    }

    fn backward(&self, level: Level) -> Gradients {
        let out = self.forward(level);
        let up = Upstream { y: Some(&self.dy), h: Some(&self.dh), c: Some(&self.dc) };
        backward_at(level, &self.layer, &self.x, &self.weights(), &self.state(), &out.y, out.saved, &up, ALL)
    }

    fn operands(&self) -> Operands {
        Operands {
            x: to_f64(&self.x),
            weights: self.weights.each_ref().map(|w| to_f64(w)),
            h: to_f64(&self.h),
            c: to_f64(&self.c),
        }
    }

    /// The sum of all results times their upstream gradients, in f64.
    fn loss(&self, operands: &Operands) -> f64 {
        let (y, h, c) = reference::forward(&self.layer, operands);
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
        dot(&y, &self.dy) + dot(&h, &self.dh) + dot(&c, &self.dc)
    }

    /// The loss's gradient to the part of the operands that `part` names, by finite differences.
    fn slope(&self, part: impl Fn(&mut Operands) -> &mut Vec<f64>) -> Vec<f64> {
        let mut operands = self.operands();
        let at = part(&mut operands).clone();
        gradient(&at, |moved| {
            let mut operands = self.operands();
            part(&mut operands).copy_from_slice(moved);
            self.loss(&operands)
        })
    }
}

fn lengths_of(batch: usize, time: usize, seed: u64) -> Vec<usize> {
    (0..batch).map(|b| (seed as usize % 97 + 5 * b) % (time + 1)).collect()
}

fn layer(cell: Cell, [batch, time, input, hidden]: [usize; 4], reversed: bool, lengths: Option<&[usize]>) -> Layer<'_> {
    Layer { cell, batch, time, input, hidden, reversed, lengths, precision: Precision::F32 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn results_are_the_formulas(
        batch in 1usize..36, time in 1usize..8, input in 1usize..40, hidden in 1usize..70, reversed: bool, padded: bool, seed: u64
    ) {
        let lengths = lengths_of(batch, time, seed);
        for cell in CELLS {
            let case = Case::new(layer(cell, [batch, time, input, hidden], reversed, padded.then_some(&lengths[..])), seed);
            let (y, h, c) = reference::forward(&case.layer, &case.operands());
            for level in Level::available() {
                let out = case.forward(level);
                // ReLU's states may grow with every step, and their errors with them.
                let scale = y.iter().chain(&h).fold(1f64, |m, x| m.max(x.abs()));
                assert_close(&out.y, &y, 5e-5 * scale);
                assert_close(&out.h, &h, 5e-5 * scale);
                if cell == Cell::Lstm {
                    assert_close(&out.c, &c, 5e-5);
                }
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences(
        batch in 1usize..4, time in 1usize..5, input in 1usize..6, hidden in 1usize..19, reversed: bool, padded: bool, seed: u64
    ) {
        let lengths = lengths_of(batch, time, seed);
        // ReLU has no derivative where a difference steps over its corner; it is tested below.
        for cell in [Cell::Lstm, Cell::Gru, Cell::Tanh] {
            let case = Case::new(layer(cell, [batch, time, input, hidden], reversed, padded.then_some(&lengths[..])), seed);
            let weights: [Vec<f64>; 4] = std::array::from_fn(|i| case.slope(|o| &mut o.weights[i]));
            let (x, h, c) = (case.slope(|o| &mut o.x), case.slope(|o| &mut o.h), case.slope(|o| &mut o.c));
            for level in Level::available() {
                let got = case.backward(level);
                assert_close(&got.x, &x, 2e-5);
                assert_close(&got.input_weight, &weights[0], 2e-5);
                assert_close(&got.hidden_weight, &weights[1], 2e-5);
                assert_close(&got.input_bias, &weights[2], 2e-5);
                assert_close(&got.hidden_bias, &weights[3], 2e-5);
                assert_close(&got.h, &h, 2e-5);
                if cell == Cell::Lstm {
                    assert_close(&got.c, &c, 2e-5);
                }
            }
        }
    }
}

/// Weights and inputs that keep every unit well on one side of its corner.
#[test]
fn gradients_of_relu_are_finite_differences() {
    let lengths = [3, 5, 0, 4];
    for (reversed, lengths) in [(false, None), (true, Some(&lengths[..]))] {
        let mut case = Case::new(layer(Cell::Relu, [4, 5, 3, 18], reversed, lengths), 77);
        case.weights[1].iter_mut().for_each(|w| *w *= 0.05);
        case.weights[0].iter_mut().for_each(|w| *w *= 0.05);
        for (k, bias) in case.weights[2].iter_mut().enumerate() {
            *bias = if k % 3 == 0 { -3.0 } else { 3.0 };
        }
        let weights: [Vec<f64>; 4] = std::array::from_fn(|i| case.slope(|o| &mut o.weights[i]));
        let (x, h) = (case.slope(|o| &mut o.x), case.slope(|o| &mut o.h));
        for level in Level::available() {
            let got = case.backward(level);
            assert!(got.x.iter().any(|g| *g != 0.0));
            assert_close(&got.x, &x, 2e-5);
            assert_close(&got.input_weight, &weights[0], 2e-5);
            assert_close(&got.hidden_weight, &weights[1], 2e-5);
            assert_close(&got.hidden_bias, &weights[3], 2e-5);
            assert_close(&got.h, &h, 2e-5);
        }
    }
}

/// Missing operands count as zeros, and missing upstream gradients too.
#[test]
fn what_is_absent_is_zero() {
    for cell in CELLS {
        let mut case = Case::new(layer(cell, [5, 4, 3, 21], false, None), 5);
        for zero in [2, 3] {
            case.weights[zero].fill(0.0);
        }
        case.h.fill(0.0);
        case.c.fill(0.0);
        case.dh.fill(0.0);
        case.dc.fill(0.0);
        let level = Level::best();
        let (want, want_grads) = (case.forward(level), case.backward(level));
        let weights = Weights { input_bias: None, hidden_bias: None, ..case.weights() };
        let out = forward(&case.layer, &case.x, &weights, &State::default());
        assert_eq!((&out.y, &out.h, &out.c), (&want.y, &want.h, &want.c));
        let up = Upstream { y: Some(&case.dy), ..Default::default() };
        let none = Wanted { x: false, input_weight: false, hidden_weight: true };
        let got = backward(&case.layer, &case.x, &weights, &State::default(), &out.y, out.saved, &up, none);
        assert_eq!((&got.hidden_weight, &got.h), (&want_grads.hidden_weight, &want_grads.h));
        assert!(got.x.is_empty() && got.input_weight.is_empty());
        case.dy.fill(0.0);
        let quiet = case.backward(level);
        assert!(quiet.x.iter().chain(&quiet.hidden_weight).chain(&quiet.hidden_bias).all(|g| *g == 0.0));
    }
}

/// Whatever lies beyond a sequence's end, its results and the other sequences' gradients do not see it.
#[test]
fn padding_is_not_read() {
    let lengths = [4, 2, 0];
    for (cell, reversed) in CELLS.into_iter().flat_map(|cell| [(cell, false), (cell, true)]) {
        let mut case = Case::new(layer(cell, [3, 4, 5, 7], reversed, Some(&lengths)), 9);
        let (y, grads) = (case.forward(Level::best()).y, case.backward(Level::best()));
        for (b, length) in lengths.into_iter().enumerate() {
            case.x[(b * 4 + length) * 5..(b + 1) * 4 * 5].fill(1e3);
            case.dy[(b * 4 + length) * 7..(b + 1) * 4 * 7].fill(f32::NAN);
        }
        let again = case.backward(Level::best());
        assert_eq!(case.forward(Level::best()).y, y);
        assert_eq!(again.h, grads.h);
        assert_eq!(again.hidden_weight, grads.hidden_weight);
        assert_eq!(again.input_weight, grads.input_weight);
        assert_eq!(again.x, grads.x);
    }
}

#[test]
fn a_nan_stays_in_its_sequence_and_infinite_inputs_saturate() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Tanh] {
        let mut case = Case::new(layer(cell, [2, 3, 2, 17], false, None), 3);
        case.weights[0].iter_mut().for_each(|w| *w = w.abs() + 0.1);
        case.x[2..4].fill(f32::NAN);
        case.x[6..8].fill(f32::INFINITY);
        for level in Level::available() {
            let y = case.forward(level).y;
            let (poisoned, clean) = y.split_at(3 * 17);
            assert!(poisoned[..17].iter().all(|y| y.is_finite()), "{cell:?}: before the NaN");
            assert!(poisoned[17..].iter().all(|y| y.is_nan()), "{cell:?}: from it on");
            assert!(clean.iter().all(|y| y.abs() <= 1.5), "{cell:?}: {clean:?}");
        }
    }
}

/// With bf16 inputs the result is near the f32 one, and not the same.
#[test]
fn bf16_is_near() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Tanh] {
        let mut case = Case::new(layer(cell, [19, 6, 24, 40], false, None), 21);
        let (exact, exact_grads) = (case.forward(Level::best()), case.backward(Level::best()));
        case.layer.precision = Precision::Bf16;
        let (near, near_grads) = (case.forward(Level::best()), case.backward(Level::best()));
        assert!(exact.y != near.y);
        assert_close(&near.y, &to_f64(&exact.y), 0.05);
        assert_close(&near_grads.x, &to_f64(&exact_grads.x), 0.1);
        assert_close(&near_grads.hidden_weight, &to_f64(&exact_grads.hidden_weight), 0.2);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (cell, precision) in
        CELLS.into_iter().flat_map(|cell| [Precision::F32, Precision::Bf16].map(|precision| (cell, precision)))
    {
        let mut case = Case::new(layer(cell, [37, 9, 70, 90], true, None), 13);
        case.layer.precision = precision;
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (out, grads) = (case.forward(Level::best()), case.backward(Level::best()));
                let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                [out.y, out.h, out.c, grads.x, grads.input_weight, grads.hidden_weight, grads.hidden_bias, grads.h]
                    .map(bits)
            })
        };
        let one = with(1);
        for threads in 2..4 {
            assert!(with(threads) == one, "{cell:?} {precision:?} on {threads} threads");
        }
    }
}
