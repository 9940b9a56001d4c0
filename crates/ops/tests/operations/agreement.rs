//! Every operation on the device under test against its composed form on Burn's own CPU operations: values, gradients
//! of every input, and the same values without autodiff. The kernels' own tests compare with finite differences.
//!
//! The device is the CPU, or with the cargo feature `wgpu` the first wgpu device.

use crate::common::{cases, check, close, data, device, flat, read};
use burn::prelude::*;
use danlu_ops as ops;
use danlu_ops::Precision::F32;
use danlu_ops::composed;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(12)))]

    #[test]
    fn linear(batch in 1usize..4, time in 1usize..12, inp in 1usize..40, out in 1usize..40, seed: u64) {
        let inputs = [data(batch * time * inp, seed), data(out * inp, seed ^ 1), data(out, seed ^ 2)];
        let x = |t: &[Tensor<1>]| t[0].clone().reshape([batch, time, inp]);
        let w = |t: &[Tensor<1>]| t[1].clone().reshape([out, inp]);
        check(&inputs, &|t| flat(ops::linear(x(t), w(t), Some(t[2].clone()), F32)), &|t| flat(composed::linear(x(t), w(t), Some(t[2].clone()), F32)));
        check(&inputs[..2], &|t| flat(ops::linear(x(t), w(t), None, F32)), &|t| flat(composed::linear(x(t), w(t), None, F32)));
        // Several layers side by side, after each prelude, with and without biases and a residual.
        let operands = [data(batch * time * inp, seed), data(inp, seed ^ 4), data(inp, seed ^ 5), data(out * inp, seed ^ 1), data(3 * inp, seed ^ 6), data(out, seed ^ 2), data(3, seed ^ 7), data(batch * time * (out + 3), seed ^ 8)];
        for prelude in 0..7 {
            for (biased, added) in [(false, false), (true, false), (true, true)] {
                let call = |t: &[Tensor<1>]| {
                    let w = t[1].clone().add_scalar(1.5);
                    let bias = |b: usize| biased.then(|| t[b].clone());
                    ops::FusedLinear {
                        x: t[0].clone().reshape([batch, time, inp]),
                        before: match prelude {
                            0 => ops::Before::Nothing,
                            1 => ops::Before::RmsNorm { weight: w, eps: 0.01 },
                            2 => ops::Before::LayerNorm { weight: w, bias: t[2].clone(), eps: 0.01 },
                            3 => ops::Before::Activation(ops::Activation::GeluTanh),
                            4 => ops::Before::Activation(ops::Activation::GeluErf),
                            5 => ops::Before::Activation(ops::Activation::Silu),
                            _ => ops::Before::Activation(ops::Activation::ReluSquared),
                        },
                        parts: vec![(t[3].clone().reshape([out, inp]), bias(5)), (t[4].clone().reshape([3, inp]), bias(6))],
                        residual: added.then(|| t[7].clone().reshape([batch, time, out + 3])),
                        precision: F32,
                        kept: F32,
                    }
                };
                check(&operands, &|t| flat(ops::fused_linear(call(t))), &|t| flat(composed::fused_linear(call(t))));
            }
        }
        // Views: a transposed x, a weight that is a slice of a longer one.
        if out > 1 {
            let turned = |t: &[Tensor<1>]| t[0].clone().reshape([time, batch, inp]).swap_dims(0, 1);
            let part = |t: &[Tensor<1>]| w(t).narrow(0, 1, out - 1);
            check(&inputs[..2], &|t| flat(ops::linear(turned(t), part(t), None, F32)), &|t| flat(composed::linear(turned(t), part(t), None, F32)));
        }
    }

    #[test]
    fn norms(rows in 1usize..40, dim in 4usize..50, seed: u64) {
        let inputs = [data(rows * dim, seed), data(dim, seed ^ 1), data(dim, seed ^ 2)];
        let x = |t: &[Tensor<1>]| t[0].clone().reshape([rows, dim]);
        check(&inputs[..2], &|t| flat(ops::rms_norm(x(t), t[1].clone(), 1e-5)), &|t| flat(composed::rms_norm(x(t), t[1].clone(), 1e-5)));
        check(
            &inputs,
            &|t| flat(ops::layer_norm(x(t), t[1].clone(), t[2].clone(), 1e-5)),
            &|t| flat(composed::layer_norm(x(t), t[1].clone(), t[2].clone(), 1e-5)),
        );
    }

    #[test]
    fn activations(rows in 1usize..20, cols in 1usize..50, seed: u64) {
        let inputs = [data(rows * cols, seed), data(rows * cols, seed ^ 1)];
        let m = |t: &Tensor<1>| t.clone().mul_scalar(4.0).reshape([rows, cols]);
        check(&inputs, &|t| flat(ops::swiglu(m(&t[0]), m(&t[1]))), &|t| flat(composed::swiglu(m(&t[0]), m(&t[1]))));
        check(&inputs[..1], &|t| flat(ops::gelu_tanh(m(&t[0]))), &|t| flat(composed::gelu_tanh(m(&t[0]))));
        check(&inputs[..1], &|t| flat(ops::gelu_erf(m(&t[0]))), &|t| flat(composed::gelu_erf(m(&t[0]))));
    }

    #[test]
    fn cross_entropy_and_embedding(tokens in 1usize..20, dim in 1usize..20, vocab in 1usize..60, seed: u64) {
        let ids: Vec<i32> = (0..tokens).map(|i| (((seed >> 8) as usize + 5 * i) % vocab) as i32).collect();
        let targets: Vec<i32> = ids.iter().enumerate().map(|(i, t)| if i % 3 == 1 { ops::IGNORED } else { *t }).collect();
        let inputs = [data(tokens * dim, seed), data(vocab * dim, seed ^ 1)];
        let w = |t: &Tensor<1>| t.clone().reshape([vocab, dim]);
        let plain = ops::CrossEntropy::default();
        let int = |values: &[i32], t: &Tensor<1>| Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [tokens]), &t.device());
        check(
            &inputs,
            &|t| ops::linear_cross_entropy(t[0].clone().reshape([tokens, dim]), w(&t[1]), int(&targets, &t[0]), &plain),
            &|t| composed::linear_cross_entropy(t[0].clone().reshape([tokens, dim]), w(&t[1]), int(&targets, &t[0]), &plain),
        );
        check(
            &inputs[1..],
            &|t| flat(ops::embedding(w(&t[0]), int(&ids, &t[0]).unsqueeze())),
            &|t| flat(composed::embedding(w(&t[0]), int(&ids, &t[0]).unsqueeze())),
        );
        // A tied table receives both gradients.
        check(
            &inputs[1..],
            &|t| ops::linear_cross_entropy(ops::embedding(w(&t[0]), int(&ids, &t[0]).unsqueeze()).reshape([tokens, dim]), w(&t[0]), int(&targets, &t[0]), &plain),
            &|t| composed::linear_cross_entropy(composed::embedding(w(&t[0]), int(&ids, &t[0]).unsqueeze()).reshape([tokens, dim]), w(&t[0]), int(&targets, &t[0]), &plain),
        );
    }

    #[test]
    fn adamw_and_sum_of_squares(rows in 1usize..9, cols in 1usize..50, seed: u64) {
        let values: [Vec<f32>; 4] = std::array::from_fn(|i| data(rows * cols, seed ^ i as u64));
        let on = |device: &Device| -> [Tensor<2>; 4] {
            std::array::from_fn(|i| {
                let t = Tensor::<1>::from_data(TensorData::new(values[i].clone(), [rows * cols]), device).reshape([rows, cols]);
                if i == 3 { t.abs() } else { t }
            })
        };
        let h = ops::AdamW { lr: 0.01, weight_decay: 0.1, step: 3, gradient_scale: 0.5, ..Default::default() };
        let [p, g, m, v] = on(&device());
        let sum = ops::sum_squares(&g);
        let want_sum: f64 = values[1].iter().map(|x| f64::from(*x).powi(2)).sum();
        prop_assert!((sum - want_sum).abs() < 1e-5 * want_sum.max(1.0), "{sum} {want_sum}");
        let got = ops::adamw_update(&h, p, g, m, v);
        let [p, g, m, v] = on(&Device::flex());
        let want = composed::adamw_update(&h, p, g, m, v);
        close("parameter", &read(flat(got.0)), &read(flat(want.0)), 1e-6);
        close("first moment", &read(flat(got.1)), &read(flat(want.1)), 1e-6);
        close("second moment", &read(flat(got.2)), &read(flat(want.2)), 1e-6);
    }

    #[test]
    fn linear_int8(rows in 1usize..30, inp in 1usize..60, out in 1usize..60, seed: u64) {
        let weight = ops::Int8Weight::quantize(&data(out * inp, seed), out, inp);
        let x = Tensor::<2>::from_data(TensorData::new(data(rows * inp, seed ^ 1), [rows, inp]), &device());
        let bias = Tensor::<1>::from_data(TensorData::new(data(out, seed ^ 2), [out]), &device());
        let dense = Tensor::<2>::from_data(TensorData::new(weight.dequantize(), [out, inp]), &device());
        for bias in [None, Some(bias)] {
            let want = composed::linear(x.clone(), dense.clone(), bias.clone(), F32);
            close("int8", &read(flat(ops::linear_int8(x.clone(), &weight, bias))), &read(flat(want)), 1e-5);
        }
    }
}

/// The optimiser must not write into memory that another tensor still reads.
#[test]
fn a_shared_parameter_is_copied_not_changed() {
    let make = |x: f32| Tensor::<1>::from_data(TensorData::new(vec![x; 5], [5]), &device());
    let (p, m, v) = (make(1.0), make(0.0), make(0.0));
    let kept = p.clone();
    let (updated, ..) = ops::adamw_update(&ops::AdamW::default(), p, make(1.0), m, v);
    assert_eq!(read(kept), vec![1.0; 5]);
    assert!(read(updated).iter().all(|x| *x < 1.0));
}

/// A frozen weight receives no gradient and costs no product; the input still does.
#[test]
fn an_untracked_weight_gets_no_gradient() {
    let device = device().autodiff();
    let x = Tensor::<2>::from_data(TensorData::new(data(6, 1), [2, 3]), &device).require_grad();
    let w = Tensor::<2>::from_data(TensorData::new(data(12, 2), [4, 3]), &device);
    let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![0i32, 3], [2]), &device);
    for loss in [
        ops::linear(x.clone(), w.clone(), None, F32).sum(),
        ops::linear_cross_entropy(x.clone(), w.clone(), targets, &Default::default()),
    ] {
        let grads = loss.backward();
        assert!(x.grad(&grads).is_some());
        assert!(w.grad(&grads).is_none());
    }
}

#[test]
fn tensors_of_another_element_type_take_the_composed_path() {
    let x = Tensor::<2>::from_data(
        TensorData::new(vec![1.0f64, 2.0, 3.0], [1, 3]),
        (&Device::flex(), burn::tensor::DType::F64),
    );
    let w = Tensor::<2>::from_data(
        TensorData::new(vec![1.0f64, 1.0, 1.0], [1, 3]),
        (&Device::flex(), burn::tensor::DType::F64),
    );
    assert_eq!(ops::linear(x, w, None, F32).into_data().iter::<f64>().collect::<Vec<_>>(), vec![6.0]);
}
