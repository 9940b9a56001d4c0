//! The optimisers on the device under test against trajectories of PyTorch's (`scripts/golden_optimizers.py`), and on the
//! CPU against their composed forms.

use crate::common::{cases, close, data, device, flat, read};
use burn::prelude::*;
use danlu_ops::{self as ops, Adafactor, AdamW, GradientTerms, Muon, Sgd, composed};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

const GOLDEN: &str = include_str!("../golden/optimizers.json");

type States<const D: usize> = BTreeMap<&'static str, Tensor<D>>;

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// One step of the case's optimiser.
fn step<const D: usize>(case: &Value, number: u64, p: Tensor<D>, g: Tensor<D>, states: &mut States<D>) -> Tensor<D> {
    let of = |key: &str| case["options"][key].as_f64().unwrap();
    let (lr, weight_decay) = (of("lr"), of("weight_decay"));
    let mut take = |name: &'static str, dims: &[usize]| {
        let shape: [usize; D] = dims.try_into().unwrap();
        states.remove(name).unwrap_or_else(|| Tensor::zeros(shape, &device()))
    };
    let dims = p.dims();
    match case["kind"].as_str().unwrap() {
        "sgd" => {
            let nesterov = case["options"]["nesterov"].as_bool().unwrap();
            let h = Sgd { lr, momentum: of("momentum"), nesterov, weight_decay, ..Sgd::default() };
            let buffer = (h.momentum > 0.0).then(|| take("momentum_buffer", &dims));
            let (p, buffer) = ops::sgd_update(&h, p, g, buffer);
            states.extend(buffer.map(|b| ("momentum_buffer", b)));
            p
        }
        kind @ ("adam" | "adamw") => {
            // Adam's decay is part of the gradient.
            let coupled = kind == "adam";
            let terms = GradientTerms { l2: if coupled { weight_decay } else { 0.0 }, ..GradientTerms::default() };
            let g = if coupled { ops::gradient_terms(&terms, p.clone(), g) } else { g };
            let weight_decay = if coupled { 0.0 } else { weight_decay };
            let (beta1, beta2, eps) = (of("beta1"), of("beta2"), of("eps"));
            let h = AdamW { lr, beta1, beta2, eps, weight_decay, step: number, gradient_scale: 1.0 };
            let (m, v) = (take("exp_avg", &dims), take("exp_avg_sq", &dims));
            let (p, m, v) = ops::adamw_update(&h, p, g, m, v);
            states.extend([("exp_avg", m), ("exp_avg_sq", v)]);
            p
        }
        "adafactor" => {
            let h = Adafactor { lr, weight_decay, step: number, ..Adafactor::default() };
            let names = if D == 1 { vec!["variance"] } else { vec!["row_var", "col_var"] };
            let shapes = Adafactor::state_dims(&dims);
            let before = names.iter().zip(&shapes).map(|(name, dims)| take(name, dims)).collect();
            let (p, after) = ops::adafactor_update(&h, p, g, before);
            states.extend(names.into_iter().zip(after));
            p
        }
        "muon" => {
            let nesterov = case["options"]["nesterov"].as_bool().unwrap();
            let h = Muon { lr, momentum: of("momentum"), nesterov, weight_decay, ..Muon::default() };
            let (p, b) = ops::muon_update(&h, p, g, take("momentum_buffer", &dims));
            states.insert("momentum_buffer", b);
            p
        }
        other => panic!("the golden file has an optimiser `{other}`"),
    }
}

fn follow<const D: usize>(case: &Value) {
    let name = format!("{} {} {}", case["kind"], case["options"], case["dims"]);
    let dims: Vec<usize> = case["dims"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let dims: [usize; D] = dims.try_into().unwrap();
    let tensor = |values: &Value| Tensor::<D>::from_data(TensorData::new(numbers(values), dims), &device());
    // PyTorch iterates in bf16; the root mean square of a step is 0.02 * 0.2.
    let tolerance = if case["kind"] == "muon" { 4e-4 } else { 3e-6 };
    let (mut p, mut states) = (tensor(&case["start"]), States::new());
    for (i, want) in case["steps"].as_array().unwrap().iter().enumerate() {
        p = step(case, i as u64 + 1, p, tensor(&want["gradient"]), &mut states);
        close(&format!("{name}: step {i}"), &read(flat(p.clone())), &numbers(&want["parameter"]), tolerance);
    }
    let kept: Vec<&str> = states.keys().copied().collect();
    let want = case["states"].as_object().unwrap();
    let mut names: Vec<&str> = want.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(kept, names, "{name}");
    for (key, state) in states {
        close(&format!("{name}: {key}"), &read(flat(state)), &numbers(&want[key]), 3e-6);
    }
}

#[test]
fn trajectories_are_pytorchs() {
    let file: Value = serde_json::from_str(GOLDEN).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() > 15);
    for case in cases {
        match case["dims"].as_array().unwrap().len() {
            1 => follow::<1>(case),
            2 => follow::<2>(case),
            _ => follow::<3>(case),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(8)))]

    #[test]
    fn fused_and_composed_agree(batch in 1usize..3, rows in 1usize..12, cols in 1usize..30, relative_step: bool, seed: u64) {
        let len = batch * rows * cols;
        let make = |values: Vec<f32>, dims: [usize; 3], device: &Device| {
            Tensor::<3>::from_data(TensorData::new(values, dims), device)
        };
        let dims = [batch, rows, cols];
        let on = |device: &Device| (make(data(len, seed), dims, device), make(data(len, seed ^ 6), dims, device));
        let positive = |n: usize| data(n, seed ^ 9).into_iter().map(f32::abs).collect::<Vec<_>>();
        let states = |device: &Device| vec![
            make(positive(batch * rows), [batch, rows, 1], device), make(positive(batch * cols), [batch, 1, cols], device),
        ];
        let h = Adafactor { lr: 0.3, step: 3, relative_step, weight_decay: 0.1, gradient_scale: 0.5, ..Adafactor::default() };
        let ((p, g), (q, f)) = (on(&device()), on(&Device::flex()));
        let got = ops::adafactor_update(&h, p.clone(), g.clone(), states(&device()));
        let want = composed::adafactor_update(&h, q.clone(), f.clone(), states(&Device::flex()));
        close("parameter", &read(flat(got.0)), &read(flat(want.0)), 5e-6);
        for (got, want) in got.1.into_iter().zip(want.1) {
            close("state", &read(flat(got)), &read(flat(want)), 2e-6);
        }
        let terms = GradientTerms { gradient_scale: 0.5, l1: 0.1, l2: 0.2, noise: 0.3, key: seed };
        let got = ops::gradient_terms(&terms, p.clone(), g.clone());
        close("terms", &read(flat(got)), &read(flat(composed::gradient_terms(&terms, q.clone(), f.clone()))), 2e-6);
        let got = read(flat(ops::average_update(0.25, p.clone(), g)));
        close("average", &got, &read(flat(q.mul_scalar(0.75) + f.mul_scalar(0.25))), 2e-6);
        // A handle that is kept is not written through.
        prop_assert_eq!(read(flat(p)), data(len, seed));
    }
}
