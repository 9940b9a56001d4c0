//! Attention through each of its options: on the device under test against its composed form on Burn's own CPU
//! operations, and against finite differences. The kernels' own tests go further into shapes and tiles.

use crate::common::{Function, cases, check, close, data, device, differentiate, flat, read};
use burn::prelude::*;
use danlu_ops as ops;
use danlu_ops::{
    AttentionMask, AttentionOptions, AttentionSegments, DropoutMask, JoinedHeads, KeyPadding, Precision, composed,
};
use proptest::prelude::*;

/// Options of `kind` for these sizes, on a device.
fn options(kind: usize, batch: usize, heads: usize, queries: usize, keys: usize, device: &Device) -> AttentionOptions {
    let ids = |n: usize| {
        let ids: Vec<i32> = (0..batch * n).map(|i| (i / n + i % n) as i32 / 3).collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids, [batch, n]), device)
    };
    let (full, causal) = (AttentionOptions::full(0.5), AttentionOptions::causal(0.5));
    match kind {
        0 => full,
        1 => causal,
        2 => AttentionOptions { mask: AttentionMask::CausalWindow(4), ..full },
        3 => AttentionOptions { mask: AttentionMask::Window(3), ..full },
        // The first sequence has no key at all.
        4 => {
            let lengths = (0..batch).map(|b| if b == 0 { 0 } else { keys.div_ceil(2) }).collect();
            AttentionOptions { padding: KeyPadding::Lengths(lengths), ..full }
        }
        5 => {
            let real: Vec<bool> = (0..batch * keys).map(|i| i % 3 != 1).collect();
            let real = Tensor::<2, Bool>::from_data(TensorData::new(real, [batch, keys]), device);
            AttentionOptions { padding: KeyPadding::Keys(real), ..causal }
        }
        6 => AttentionOptions { segments: Some(AttentionSegments { queries: ids(queries), keys: ids(keys) }), ..full },
        7 => AttentionOptions { alibi: Some((0..heads).map(|h| 0.3 / (h + 1) as f32).collect()), ..causal },
        8 => AttentionOptions { dropout: Some(DropoutMask { key: 11, stream: 2, probability: 0.25 }), ..full },
        9 => AttentionOptions { softcap: Some(0.4), ..causal },
        10 => AttentionOptions { bias: Some(bias([1, heads, queries, keys], device)), ..causal },
        11 => AttentionOptions {
            mask: AttentionMask::CausalWindow(5),
            softcap: Some(0.7),
            alibi: Some((0..heads).map(|h| 0.2 / (h + 1) as f32).collect()),
            dropout: Some(DropoutMask { key: 7, stream: 1, probability: 0.25 }),
            ..full
        },
        _ => AttentionOptions {
            padding: KeyPadding::Lengths(vec![keys; batch]),
            segments: (queries == keys).then(|| AttentionSegments::of(ids(keys))),
            alibi: Some(vec![0.1; heads]),
            dropout: Some(DropoutMask { key: 3, stream: 0, probability: 0.5 }),
            ..causal
        },
    }
}

/// Numbers to add to the scores.
fn bias(dims: [usize; 4], device: &Device) -> Tensor<4> {
    let count = dims.iter().product();
    Tensor::<1>::from_data(TensorData::new(data(count, 8), [count]), device).reshape(dims)
}

const KINDS: usize = 13;

/// cos and sin of (time, half) angles.
fn tables(time: usize, half: usize, device: &Device) -> (Tensor<2>, Tensor<2>) {
    let angles = Tensor::<1>::from_data(TensorData::new(data(time * half, 5), [time * half]), device);
    let angles = angles.mul_scalar(3.0).reshape([time, half]);
    (angles.clone().cos(), angles.sin())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(6)))]

    #[test]
    fn attention(batch in 1usize..3, kv_heads in 1usize..3, group in 1usize..3, queries in 1usize..90, keys in 1usize..90, width in 1usize..20, seed: u64) {
        let heads = kv_heads * group;
        let inputs = [data(batch * queries * heads * width, seed), data(batch * keys * kv_heads * width, seed ^ 1), data(batch * keys * kv_heads * width, seed ^ 2)];
        for kind in 0..KINDS {
            let on = |t: &Tensor<1>| options(kind, batch, heads, queries, keys, &t.device());
            // Heads first in memory, and positions first.
            let heads_first = |t: &[Tensor<1>]| [(0, heads, queries), (1, kv_heads, keys), (2, kv_heads, keys)].map(|(i, h, n)| t[i].clone().reshape([batch, h, n, width]));
            let split = |t: &[Tensor<1>]| [(0, heads, queries), (1, kv_heads, keys), (2, kv_heads, keys)].map(|(i, h, n)| t[i].clone().reshape([batch, n, h, width]).swap_dims(1, 2));
            check(
                &inputs,
                &|t| { let [q, k, v] = heads_first(t); flat(ops::attention(q, k, v, &on(&t[0]))) },
                &|t| { let [q, k, v] = heads_first(t); flat(composed::attention(q, k, v, &on(&t[0]))) },
            );
            check(
                &inputs,
                &|t| { let [q, k, v] = split(t); flat(ops::attention(q, k, v, &on(&t[0])).swap_dims(1, 2)) },
                &|t| { let [q, k, v] = split(t); flat(composed::attention(q, k, v, &on(&t[0])).swap_dims(1, 2)) },
            );
        }
    }

    #[test]
    fn self_attention(batch in 1usize..3, kv_heads in 1usize..3, group in 1usize..3, time in 1usize..90, half in 1usize..9, seed: u64) {
        let shape = JoinedHeads { batch, time, heads: kv_heads * group, kv_heads, head_dim: 2 * half };
        let inputs = [data(shape.len(), seed)];
        let qkv = |t: &Tensor<1>| t.clone().reshape([batch * time, shape.row()]);
        for kind in 0..KINDS {
            for rotary in [false, true] {
                let on = |t: &Tensor<1>| options(kind, batch, shape.heads, time, time, &t.device());
                let turn = |t: &Tensor<1>| rotary.then(|| tables(time, half, &t.device()));
                check(
                    &inputs,
                    &|t| { let tables = turn(&t[0]); flat(ops::self_attention(qkv(&t[0]), tables.as_ref().map(|(c, s)| (c, s)), shape, &on(&t[0]))) },
                    &|t| { let tables = turn(&t[0]); flat(composed::self_attention(qkv(&t[0]), tables.as_ref().map(|(c, s)| (c, s)), shape, &on(&t[0]))) },
                );
            }
        }
    }

    #[test]
    fn rotary(batch in 1usize..3, heads in 1usize..4, time in 1usize..40, half in 1usize..9, seed: u64) {
        let inputs = [data(batch * time * heads * 2 * half, seed)];
        let x = |t: &Tensor<1>| t.clone().reshape([batch, time, heads, 2 * half]).swap_dims(1, 2);
        let turn = |t: &Tensor<1>| tables(time, half, &t.device());
        check(
            &inputs,
            &|t| { let (cos, sin) = turn(&t[0]); flat(ops::rotary(x(&t[0]), &cos, &sin)) },
            &|t| { let (cos, sin) = turn(&t[0]); flat(composed::rotary(x(&t[0]), &cos, &sin)) },
        );
    }
}

/// Central differences of `sum(f * upstream)`, summed in f64.
fn finite_differences(device: &Device, x: &[f32], f: Function) -> Vec<f32> {
    let step = 5e-3;
    let value = |x: Vec<f32>| -> f64 {
        let y = read(f(&[Tensor::from_data(TensorData::new(x.clone(), [x.len()]), device)]));
        y.iter().zip(data(y.len(), 99)).map(|(y, g)| f64::from(*y) * f64::from(g)).sum()
    };
    (0..x.len())
        .map(|i| {
            let (mut up, mut down) = (x.to_vec(), x.to_vec());
            up[i] += step;
            down[i] -= step;
            ((value(up) - value(down)) / f64::from(2.0 * step)) as f32
        })
        .collect()
}

#[test]
fn gradients_agree_with_finite_differences() {
    let shape = JoinedHeads { batch: 2, time: 5, heads: 2, kv_heads: 1, head_dim: 4 };
    let inputs = [data(shape.len(), 4)];
    for kind in 0..KINDS {
        let f = |t: &[Tensor<1>]| {
            let (cos, sin) = tables(5, 2, &t[0].device());
            let options = options(kind, 2, 2, 5, 5, &t[0].device());
            flat(ops::self_attention(t[0].clone().reshape([10, shape.row()]), Some((&cos, &sin)), shape, &options))
        };
        let (_, grads) = differentiate(&device(), &inputs, &f);
        // The differences on the CPU: hundreds of evaluations, each of which a software device would be waited for.
        close(&format!("kind {kind}"), &grads[0], &finite_differences(&Device::flex(), &inputs[0], &f), 3e-3);
    }
}

/// Rounded products on either side: errors of a few units of bfloat16's last place, on values of about 1.
#[test]
fn bf16_agrees_up_to_its_rounding() {
    let shape = JoinedHeads { batch: 2, time: 70, heads: 4, kv_heads: 2, head_dim: 32 };
    let inputs = [data(shape.len(), 4)];
    let options = AttentionOptions { precision: Precision::Bf16, ..AttentionOptions::causal(0.2) };
    let fast =
        |t: &[Tensor<1>]| flat(ops::self_attention(t[0].clone().reshape([140, shape.row()]), None, shape, &options));
    let exact = AttentionOptions::causal(0.2);
    let slow =
        |t: &[Tensor<1>]| flat(composed::self_attention(t[0].clone().reshape([140, shape.row()]), None, shape, &exact));
    let (y, grads) = differentiate(&device(), &inputs, &fast);
    let (want, want_grads) = differentiate(&Device::flex(), &inputs, &slow);
    close("value", &y, &want, 1e-2);
    close("gradient", &grads[0], &want_grads[0], 3e-2);
    assert!(y != want, "bf16 must round");
}

/// Rotation in place must not reach a tensor that somebody still holds.
#[test]
fn a_shared_input_is_not_turned() {
    let shape = JoinedHeads { batch: 1, time: 3, heads: 1, kv_heads: 1, head_dim: 4 };
    let values = data(shape.len(), 1);
    let qkv = Tensor::<2>::from_data(TensorData::new(values.clone(), [3, shape.row()]), &device());
    let (cos, sin) = tables(3, 2, &device());
    let options = AttentionOptions::causal(0.5);
    let first = ops::self_attention(qkv.clone(), Some((&cos, &sin)), shape, &options);
    close("input", &read(flat(qkv.clone())), &values, 0.0);
    let second = ops::self_attention(qkv, Some((&cos, &sin)), shape, &options);
    close("result", &read(flat(first)), &read(flat(second)), 0.0);
}

#[test]
fn the_bias_has_its_gradient() {
    let (batch, heads, queries, keys, width) = (2, 2, 3, 5, 4);
    let operands = [
        data(batch * heads * queries * width, 1),
        data(batch * heads * keys * width, 2),
        data(batch * heads * keys * width, 3),
    ];
    let table = [data(heads * queries * keys, 4)];
    let f = |t: &[Tensor<1>]| {
        let of = |i: usize, n: usize| {
            let values = TensorData::new(operands[i].clone(), [operands[i].len()]);
            Tensor::<1>::from_data(values, &t[0].device()).reshape([batch, heads, n, width])
        };
        let bias = Some(t[0].clone().reshape([1, heads, queries, keys]));
        let padding = KeyPadding::Lengths(vec![keys, 2]);
        let options = AttentionOptions { bias, padding, ..AttentionOptions::full(0.5) };
        flat(ops::attention(of(0, queries), of(1, keys), of(2, keys), &options))
    };
    let (_, grads) = differentiate(&device(), &table, &f);
    close("gradient of the bias", &grads[0], &finite_differences(&Device::flex(), &table[0], &f), 3e-3);
}
