//! Losses, softmax, activations, sums, dropout and optimisers on the device under test against their composed forms on
//! Burn's own CPU operations, as in `agreement.rs`.

use crate::common::{cases, check, close, data, device, flat, read};
use burn::prelude::*;
use danlu_ops as ops;
use danlu_ops::{CrossEntropy, DropoutMask, Precision, Soft, SoftTargets, composed};
use proptest::prelude::*;

fn matrix(t: &Tensor<1>, rows: usize, cols: usize) -> Tensor<2> {
    t.clone().reshape([rows, cols])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(12)))]

    #[test]
    fn losses_with_every_option(
        tokens in 1usize..12, dim in 1usize..12, vocab in 1usize..50, teacher_dim in 1usize..6,
        smoothing in 0.0..0.9, z_loss in 0.0..0.05, hard_share in 0.0..1.0, temperature in 0.5..4.0, seed: u64,
    ) {
        let inputs = [data(tokens * dim, seed), data(vocab * dim, seed ^ 1)];
        let targets: Vec<i32> =
            (0..tokens).map(|i| if i % 3 == 1 { ops::IGNORED } else { (((seed >> 8) as usize + 5 * i) % vocab) as i32 }).collect();
        let constant = |values: Vec<f32>, t: &Tensor<1>| {
            let len = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [len]), &t.device())
        };
        let positive = |n: usize, seed: u64| data(n, seed).into_iter().map(|x| x.abs()).collect::<Vec<_>>();
        for kind in 0..3 {
            for full in [false, true] {
                let options = |t: &Tensor<1>| CrossEntropy {
                    label_smoothing: if full { smoothing } else { 0.0 },
                    z_loss: if full { z_loss } else { 0.0 },
                    token_weights: full.then(|| constant(positive(tokens, seed ^ 2), t)),
                    ..match kind {
                        0 => CrossEntropy::default(),
                        1 => {
                            let q = matrix(&constant(positive(tokens * vocab, seed ^ 3), t), tokens, vocab);
                            CrossEntropy { soft: Some(Soft { hard_share, targets: SoftTargets::Probabilities(q) }), ..CrossEntropy::default() }
                        }
                        _ => {
                            let hidden = matrix(&constant(data(tokens * teacher_dim, seed ^ 4), t), tokens, teacher_dim);
                            let weight = matrix(&constant(data(vocab * teacher_dim, seed ^ 5), t), vocab, teacher_dim);
                            CrossEntropy::distillation(hidden, weight, temperature, hard_share)
                        }
                    }
                };
                let ids = |t: &Tensor<1>| Tensor::<1, Int>::from_data(TensorData::new(targets.clone(), [tokens]), &t.device());
                check(
                    &inputs,
                    &|t| ops::linear_cross_entropy(matrix(&t[0], tokens, dim), matrix(&t[1], vocab, dim), ids(&t[0]), &options(&t[0])),
                    &|t| composed::linear_cross_entropy(matrix(&t[0], tokens, dim), matrix(&t[1], vocab, dim), ids(&t[0]), &options(&t[0])),
                );
            }
        }
    }

    #[test]
    fn softmax(rows in 1usize..12, cols in 1usize..70, seed: u64) {
        let inputs = [data(rows * cols, seed)];
        let x = |t: &[Tensor<1>]| matrix(&t[0], rows, cols).mul_scalar(8.0);
        check(&inputs, &|t| flat(ops::softmax(x(t))), &|t| flat(composed::softmax(x(t))));
        check(&inputs, &|t| flat(ops::log_softmax(x(t))), &|t| flat(composed::log_softmax(x(t))));
        check(&inputs, &|t| flat(ops::softmax(x(t).transpose())), &|t| flat(composed::softmax(x(t).transpose())));
    }

    #[test]
    fn activations(rows in 1usize..20, half in 1usize..30, seed: u64) {
        use ops::Activation::{GeluErf, GeluTanh, QuickGelu, Relu, ReluSquared, Silu, Swiglu};
        let inputs = [data(rows * 2 * half, seed)];
        let x = |t: &[Tensor<1>]| matrix(&t[0], rows, 2 * half).mul_scalar(4.0);
        for kind in [GeluErf, GeluTanh, QuickGelu, Relu, ReluSquared, Silu, Swiglu] {
            check(&inputs, &|t| flat(ops::activate(kind, x(t))), &|t| flat(composed::activate(kind, x(t))));
        }
        // Before a linear layer, where the width changes.
        let operands = [inputs[0].clone(), data(3 * half, seed ^ 1)];
        let call = |t: &[Tensor<1>]| ops::FusedLinear {
            x: x(t),
            before: ops::Before::Activation(Swiglu),
            parts: vec![(matrix(&t[1], 3, half), None)],
            residual: None,
            precision: Precision::F32,
            kept: Precision::F32,
        };
        check(&operands, &|t| flat(ops::fused_linear(call(t))), &|t| flat(composed::fused_linear(call(t))));
    }

    #[test]
    fn sums_and_their_norms(rows in 1usize..40, dim in 4usize..50, seed: u64) {
        let inputs = [data(rows * dim, seed), data(rows * dim, seed ^ 1), data(dim, seed ^ 2), data(dim, seed ^ 3)];
        let terms = |t: &[Tensor<1>]| (matrix(&t[0], rows, dim), matrix(&t[1], rows, dim));
        // Both results are used further, as in a residual stream.
        let both = |(sum, y): (Tensor<2>, Tensor<2>)| flat(Tensor::cat(vec![sum, y], 1));
        check(&inputs[..2], &|t| flat(ops::add(terms(t).0, terms(t).1)), &|t| flat(terms(t).0 + terms(t).1));
        check(
            &inputs[..3],
            &|t| both(ops::add_rms_norm(terms(t).0, terms(t).1, t[2].clone(), 0.01)),
            &|t| both(composed::add_rms_norm(terms(t).0, terms(t).1, t[2].clone(), 0.01)),
        );
        check(
            &inputs,
            &|t| both(ops::add_layer_norm(terms(t).0, terms(t).1, t[2].clone(), t[3].clone(), 0.01)),
            &|t| both(composed::add_layer_norm(terms(t).0, terms(t).1, t[2].clone(), t[3].clone(), 0.01)),
        );
    }

    #[test]
    fn dropout(rows in 1usize..20, width in 1usize..90, first_row: u32, key: u64, probability in 0f32..0.9) {
        let mask = DropoutMask { key, stream: 3, probability };
        let first_row = u64::from(first_row);
        let inputs = [data(rows * width, key), data(rows * width, key ^ 1)];
        let x = |t: &Tensor<1>| matrix(t, rows, width);
        check(&inputs[..1], &|t| flat(ops::dropout(x(&t[0]), &mask, first_row)), &|t| flat(composed::dropout(x(&t[0]), &mask, first_row)));
        check(
            &inputs,
            &|t| flat(ops::add_dropout(x(&t[0]), x(&t[1]), &mask, first_row)),
            &|t| flat(x(&t[0]) + composed::dropout(x(&t[1]), &mask, first_row)),
        );
    }

    #[test]
    fn optimizers(rows in 1usize..20, cols in 1usize..20, nesterov: bool, seed: u64) {
        let on = |device: &Device| -> [Tensor<2>; 3] {
            std::array::from_fn(|i| matrix(&Tensor::from_data(TensorData::new(data(rows * cols, seed ^ i as u64), [rows * cols]), device), rows, cols))
        };
        let compare = |got: (Tensor<2>, Tensor<2>), want: (Tensor<2>, Tensor<2>), tolerance: f32| {
            close("parameter", &read(flat(got.0)), &read(flat(want.0)), tolerance);
            close("state", &read(flat(got.1)), &read(flat(want.1)), 1e-6);
        };
        let ([p, g, b], [q, h, c]) = (on(&device()), on(&Device::flex()));
        let sgd = ops::Sgd { lr: 0.1, momentum: 0.9, nesterov, weight_decay: 0.1, gradient_scale: 0.5 };
        let got = ops::sgd_update(&sgd, p.clone(), g.clone(), Some(b.clone()));
        let want = composed::sgd_update(&sgd, q.clone(), h.clone(), Some(c.clone()));
        compare((got.0, got.1.unwrap()), (want.0, want.1.unwrap()), 1e-6);
        let plain = ops::Sgd { momentum: 0.0, nesterov: false, ..sgd };
        let (got, want) = (ops::sgd_update(&plain, p.clone(), g.clone(), None), composed::sgd_update(&plain, q.clone(), h.clone(), None));
        prop_assert!(got.1.is_none());
        close("without momentum", &read(flat(got.0)), &read(flat(want.0)), 1e-6);
        let lion = ops::Lion { lr: 0.01, weight_decay: 0.1, gradient_scale: 0.5, ..ops::Lion::default() };
        compare(ops::lion_update(&lion, p.clone(), g.clone(), b.clone()), composed::lion_update(&lion, q.clone(), h.clone(), c.clone()), 1e-6);
        let muon = ops::Muon { lr: 0.01, weight_decay: 0.1, gradient_scale: 0.5, nesterov, ..ops::Muon::default() };
        compare(ops::muon_update(&muon, p, g, b), composed::muon_update(&muon, q, h, c), 5e-5);
    }
}

/// bf16 products: gradients are rounded once more in the kernels than in Burn's, so the tolerance is that of a rounding.
#[test]
fn rounded_losses_agree() {
    let device = device().autodiff();
    let leaf = |len: usize, dims: [usize; 2], seed| {
        Tensor::<1>::from_data(TensorData::new(data(len, seed), [len]), &device).reshape(dims).require_grad()
    };
    let (x, w) = (leaf(40 * 16, [40, 16], 1), leaf(70 * 16, [70, 16], 2));
    let targets = || Tensor::<1, Int>::arange(0..40, &device);
    let run = |precision| {
        let options = CrossEntropy { precision, ..CrossEntropy::default() };
        let loss = ops::linear_cross_entropy(x.clone(), w.clone(), targets(), &options);
        let grads = loss.backward();
        (read(loss.inner())[0], read(flat(w.grad(&grads).unwrap())))
    };
    let (exact, rounded) = (run(Precision::F32), run(Precision::Bf16));
    assert!((exact.0 - rounded.0).abs() < 0.01 * exact.0, "{} {}", exact.0, rounded.0);
    // WGSL has no bfloat16, so wgpu computes in f32; the CPU rounds.
    assert!(cfg!(feature = "wgpu") || exact.0 != rounded.0, "nothing is rounded");
    close("gradient", &rounded.1, &exact.1, 0.05);
}

/// Sums of gradients must not write into memory that another tensor still reads.
#[test]
fn a_shared_sum_is_copied_not_changed() {
    let make = |x: f32| Tensor::<1>::from_data(TensorData::new(vec![x; 5], [5]), &device());
    let a = make(1.0);
    let kept = a.clone();
    assert_eq!(read(ops::add_in_place(a, make(2.0))), vec![3.0; 5]);
    assert_eq!(read(kept), vec![1.0; 5]);
    assert_eq!(read(ops::add_in_place(make(1.0), make(2.0))), vec![3.0; 5]);
}
