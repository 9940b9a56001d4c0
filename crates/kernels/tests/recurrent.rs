//! The recurrent kernels against values and gradients that PyTorch gave (`scripts/golden_recurrent.py`).
#![allow(clippy::unwrap_used)]

use danlu_kernels::Precision;
use danlu_kernels::recurrent::{Cell, Layer, State, Upstream, Wanted, Weights, backward, forward};
use std::collections::HashMap;

const GOLDEN: &str = include_str!("golden/recurrent.txt");
const LENGTHS: [usize; 3] = [4, 3, 1];

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 1e-5 * w.abs().max(1.0), "{what}[{i}]: {g}, want {w}");
    }
}

#[test]
fn values_and_gradients_are_pytorchs() {
    let cases: Vec<&str> = GOLDEN.split("case ").skip(1).collect();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let (title, arrays) = case.split_once('\n').unwrap();
        let arrays: HashMap<&str, Vec<f32>> = arrays
            .lines()
            .map(|line| {
                let (name, values) = line.split_once(' ').unwrap();
                (name, values.split(' ').map(|v| v.parse().unwrap()).collect())
            })
            .collect();
        check(title, &arrays);
    }
}

fn check(title: &str, arrays: &HashMap<&str, Vec<f32>>) {
    let (kind, direction) = title.split_once(' ').unwrap();
    let cell = match kind {
        "lstm" => Cell::Lstm,
        "gru" => Cell::Gru,
        "tanh" => Cell::Tanh,
        _ => Cell::Relu,
    };
    let reversed = direction == "reverse";
    let (lengths, precision) = (Some(&LENGTHS[..]), Precision::F32);
    let layer = Layer { cell, batch: 3, time: 4, input: 3, hidden: 2, reversed, lengths, precision };
    let of = |name: &str| arrays.get(name).map(|v| &v[..]);
    let weights = Weights {
        input: of("weight_ih").unwrap(),
        hidden: of("weight_hh").unwrap(),
        input_bias: of("bias_ih"),
        hidden_bias: of("bias_hh"),
    };
    let (x, state) = (of("x").unwrap(), State { h: of("h"), c: of("c") });
    let out = forward(&layer, x, &weights, &state);
    close(title, &out.y, of("y").unwrap());
    close(title, &out.h, of("h_last").unwrap());
    close(title, &out.c, of("c_last").unwrap_or_default());
    let up = Upstream { y: of("up_y"), h: of("up_h_last"), c: of("up_c_last") };
    let all = Wanted { x: true, input_weight: true, hidden_weight: true };
    let got = backward(&layer, x, &weights, &state, &out.y, out.saved, &up, all);
    for (name, got) in [
        ("grad_x", &got.x),
        ("grad_weight_ih", &got.input_weight),
        ("grad_weight_hh", &got.hidden_weight),
        ("grad_bias_ih", &got.input_bias),
        ("grad_bias_hh", &got.hidden_bias),
        ("grad_h", &got.h),
        ("grad_c", &got.c),
    ] {
        close(&format!("{title} {name}"), got, of(name).unwrap_or_default());
    }
}
