//! Results kept in bfloat16 between operations, through a whole transformer block.

use crate::common::{close, data, device, differentiate, flat};
use burn::prelude::*;
use danlu_ops::{self as ops, Activation, AttentionOptions, Before, FusedLinear, JoinedHeads, Precision, composed};

const SHAPE: JoinedHeads = JoinedHeads { batch: 2, time: 40, heads: 2, kv_heads: 1, head_dim: 12 };
const ROWS: usize = SHAPE.batch * SHAPE.time;
const WIDTH: usize = SHAPE.heads * SHAPE.head_dim;
const INNER: usize = 2 * WIDTH;

type Fused = fn(FusedLinear<2>) -> Tensor<2>;
type Attend = fn(Tensor<2>, Option<(&Tensor<2>, &Tensor<2>)>, JoinedHeads, &AttentionOptions) -> Tensor<2>;

/// Inputs: the residual stream, two norms, weights of queries, keys and values, of the result, of both feed-forward
/// layers.
fn block(t: &[Tensor<1>], fused: Fused, attend: Attend, activation: Activation, precision: Precision) -> Tensor<1> {
    let inner = activation.output_width(INNER);
    let weight = |i: usize, out: usize, inp: usize| vec![(t[i].clone().mul_scalar(0.3).reshape([out, inp]), None)];
    let norm = |i: usize| Before::RmsNorm { weight: t[i].clone().add_scalar(1.0), eps: 1e-5 };
    let add = |x: Tensor<2>, before, parts, residual| {
        fused(FusedLinear { x, before, parts, residual: Some(residual), precision, kept: Precision::F32 })
    };
    let keep = |x: Tensor<2>, before, parts| {
        fused(FusedLinear { x, before, parts, residual: None, precision, kept: precision })
    };
    let x = t[0].clone().reshape([ROWS, WIDTH]);
    let qkv = keep(x.clone(), norm(1), weight(3, SHAPE.row(), WIDTH));
    let angles: Vec<f32> = (0..SHAPE.time * SHAPE.head_dim / 2).map(|i| 0.1 * i as f32).collect();
    let table = |f: fn(f32) -> f32| {
        let values: Vec<f32> = angles.iter().map(|a| f(*a)).collect();
        Tensor::<2>::from_data(TensorData::new(values, [SHAPE.time, SHAPE.head_dim / 2]), &x.device().inner())
    };
    let options = AttentionOptions { precision, ..AttentionOptions::causal(0.3) };
    let mixed = attend(qkv, Some((&table(f32::cos), &table(f32::sin))), SHAPE, &options);
    let x = add(mixed, Before::Nothing, weight(4, WIDTH, WIDTH), x);
    let up = keep(x.clone(), norm(2), weight(5, INNER, WIDTH));
    flat(add(up, Before::Activation(activation), weight(6, WIDTH, inner), x))
}

#[test]
fn a_block_in_bf16_is_the_f32_one_up_to_rounding() {
    for activation in [Activation::GeluTanh, Activation::Swiglu, Activation::Geglu] {
        let inner = activation.output_width(INNER);
        let sizes = [ROWS * WIDTH, WIDTH, WIDTH, SHAPE.row() * WIDTH, WIDTH * WIDTH, INNER * WIDTH, WIDTH * inner];
        let inputs: Vec<Vec<f32>> = sizes.iter().enumerate().map(|(i, size)| data(*size, i as u64 + 1)).collect();
        let run = |precision| {
            let fast = |t: &[Tensor<1>]| block(t, ops::fused_linear, ops::self_attention, activation, precision);
            differentiate(&device(), &inputs, &fast)
        };
        let slow =
            |t: &[Tensor<1>]| block(t, composed::fused_linear, composed::self_attention, activation, Precision::F32);
        let (want, want_grads) = differentiate(&Device::flex(), &inputs, &slow);
        for (precision, tolerance) in [(Precision::F32, 5e-4), (Precision::Bf16, 0.05)] {
            let (y, grads) = run(precision);
            close("value", &y, &want, tolerance);
            for (i, (got, want)) in grads.iter().zip(&want_grads).enumerate() {
                // A gradient's error is measured by the size of the whole, of which single elements may be small.
                let size = (want.iter().map(|w| w * w).sum::<f32>() / want.len() as f32).sqrt().max(1e-3);
                let scaled = |x: &[f32]| x.iter().map(|x| x / size).collect::<Vec<_>>();
                close(&format!("{precision:?}: gradient {i}"), &scaled(got), &scaled(want), 2.0 * tolerance);
            }
        }
    }
}

/// Half the memory on the CPU is the point of it.
#[cfg(not(feature = "wgpu"))]
#[test]
fn what_is_kept_in_bf16_is_bf16() {
    let x = Tensor::<2>::from_data(TensorData::new(data(20 * 8, 1), [20, 8]), &device());
    let weight = || Tensor::<2>::from_data(TensorData::new(data(4 * 8, 2), [4, 8]), &device());
    let call = |kept| FusedLinear {
        x: x.clone(),
        before: Before::Nothing,
        parts: vec![(weight(), None)],
        residual: None,
        precision: Precision::Bf16,
        kept,
    };
    let (short, wide) = (ops::fused_linear(call(Precision::Bf16)), ops::fused_linear(call(Precision::F32)));
    assert_eq!((short.dtype(), wide.dtype()), (burn::tensor::DType::BF16, burn::tensor::DType::F32));
    let read = |t: Tensor<2>| t.into_data().iter::<f32>().collect::<Vec<_>>();
    close("rounded", &read(short), &read(wide.cast(burn::tensor::DType::BF16)), 0.0);
}
