//! The losses on what a model puts out, on the device under test: values and gradients against PyTorch's
//! (`scripts/golden_losses.py`), and gradients against finite differences.

use crate::common::{close, data, device, read};
use burn::prelude::*;
use danlu_ops::losses::{
    BinaryOptions, ClassOptions, Ctc, CtcTargets, InfoNce, Loss, Triplet, binary_cross_entropy, binary_focal,
    cosine_embedding, cross_entropy, ctc, focal, huber, info_nce, js_divergence, kl_divergence, mse, triplet_margin,
};
use serde_json::Value;

const GOLDEN: &str = include_str!("../golden/losses.json");

/// One loss with its options; inputs are flat.
struct Case {
    name: String,
    options: Value,
    dims: Vec<Vec<usize>>,
    inputs: Vec<Vec<f32>>,
}

fn numbers(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        other => vec![number(other) as f32],
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn whole(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
}

impl Case {
    fn new(value: &Value) -> Self {
        let inputs = value["inputs"].as_array().unwrap();
        Self {
            name: value["loss"].as_str().unwrap().to_owned(),
            options: value["options"].clone(),
            dims: inputs.iter().map(|x| whole(&x["dims"])).collect(),
            inputs: inputs.iter().map(|x| numbers(&x["values"])).collect(),
        }
    }

    fn matrix(&self, t: &Tensor<1>, i: usize) -> Tensor<2> {
        t.clone().reshape([self.dims[i][0], self.dims[i][1]])
    }

    /// A matrix of the first input's shape out of the options.
    fn given(&self, key: &str, device: &Device) -> Tensor<2> {
        let values = numbers(&self.options[key]);
        Tensor::from_data(TensorData::new(values, [self.dims[0][0], self.dims[0][1]]), device)
    }

    fn loss(&self, t: &[Tensor<1>]) -> Loss {
        let (o, device) = (&self.options, t[0].device());
        let of = |key: &str| number(&o[key]);
        let is = |key: &str| o[key].as_bool().unwrap();
        let list = |key: &str| o[key].is_array().then(|| numbers(&o[key]));
        if self.name == "ctc" {
            let sequences = o["labels"].as_array().unwrap();
            let targets = CtcTargets { labels: sequences.iter().map(whole).collect(), lengths: whole(&o["lengths"]) };
            let options = Ctc { blank: o["blank"].as_u64().unwrap() as usize, zero_infinity: is("zero_infinity") };
            return ctc(t[0].clone().reshape([self.dims[0][0], self.dims[0][1], self.dims[0][2]]), &targets, &options);
        }
        let x = |i: usize| self.matrix(&t[i], i);
        let classes = || {
            let ids: Vec<i64> = numbers(&o["targets"]).iter().map(|y| *y as i64).collect();
            Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [ids.len()]), &device)
        };
        let class_options =
            || ClassOptions { label_smoothing: of("label_smoothing"), class_weights: list("class_weights") };
        match self.name.as_str() {
            "cross_entropy" => cross_entropy(x(0), classes(), &class_options()),
            "focal" => focal(x(0), classes(), of("gamma"), &class_options()),
            "binary_cross_entropy" => {
                let options = BinaryOptions { pos_weight: list("pos_weight") };
                binary_cross_entropy(x(0), self.given("targets", &device), &options)
            }
            "binary_focal" => binary_focal(x(0), self.given("targets", &device), of("gamma"), o["alpha"].as_f64()),
            "triplet_margin" => triplet_margin(x(0), x(1), x(2), &Triplet { margin: of("margin"), swap: is("swap") }),
            "cosine_embedding" => {
                let together: Vec<bool> =
                    o["together"].as_array().unwrap().iter().map(|t| t.as_bool().unwrap()).collect();
                cosine_embedding(x(0), x(1), &together, of("margin"))
            }
            "info_nce" => {
                let (symmetric, normalized) = (is("symmetric"), is("normalized"));
                info_nce(x(0), x(1), &InfoNce { temperature: of("temperature"), symmetric, normalized })
            }
            "kl_divergence" => kl_divergence(x(0), self.given("teacher", &device), of("temperature")),
            "js_divergence" => js_divergence(x(0), self.given("teacher", &device), of("temperature")),
            "mse" => mse(x(0), self.given("targets", &device)),
            "huber" => huber(x(0), self.given("targets", &device), of("delta")),
            other => panic!("the golden file has a loss `{other}`"),
        }
    }

    /// The loss, its count and the gradients of the sum.
    fn run(&self) -> (f32, f64, Vec<Vec<f32>>) {
        let device = device().autodiff();
        let leaf = |x: &Vec<f32>| Tensor::<1>::from_data(TensorData::new(x.clone(), [x.len()]), &device).require_grad();
        let leaves: Vec<Tensor<1>> = self.inputs.iter().map(leaf).collect();
        let Loss { sum, count } = self.loss(&leaves);
        let gradients = sum.backward();
        let gradients = leaves.iter().map(|leaf| leaf.grad(&gradients).map(read).unwrap_or_default()).collect();
        (read(sum.inner())[0], count, gradients)
    }

    /// The sum alone, without autodiff, with one value of an input moved.
    fn moved(&self, input: usize, at: usize, by: f32) -> f64 {
        let mut inputs = self.inputs.clone();
        inputs[input][at] += by;
        let plain = |x: &Vec<f32>| Tensor::<1>::from_data(TensorData::new(x.clone(), [x.len()]), &Device::flex());
        let tensors: Vec<Tensor<1>> = inputs.iter().map(plain).collect();
        f64::from(read(self.loss(&tensors).sum)[0])
    }
}

fn golden() -> Vec<Value> {
    let file: Value = serde_json::from_str(GOLDEN).unwrap();
    file["cases"].as_array().unwrap().clone()
}

#[test]
fn losses_are_pytorchs() {
    let cases = golden();
    assert!(cases.len() > 30);
    for value in cases {
        let case = Case::new(&value);
        let (sum, count, gradients) = case.run();
        let name = format!("{} {}", case.name, case.options);
        close(&name, &[sum], &[number(&value["sum"]) as f32], 2e-5);
        assert_eq!(count, number(&value["count"]), "{name}");
        for (i, gradient) in gradients.iter().enumerate() {
            close(&format!("{name}: gradient {i}"), gradient, &numbers(&value["gradients"][i]), 5e-5);
        }
        let device = device();
        let plain = |x: &Vec<f32>| Tensor::<1>::from_data(TensorData::new(x.clone(), [x.len()]), &device);
        let mean = case.loss(&case.inputs.iter().map(plain).collect::<Vec<_>>()).mean();
        close(&name, &read(mean), &[sum / (count.max(1.0) as f32)], 2e-5);
    }
}

/// Independent of PyTorch: the slope of the value itself. At kinks (a margin just met, a clamped element) the golden
/// gradients alone decide; random inputs do not meet one.
#[test]
fn gradients_are_the_slopes_of_the_values() {
    let mut seed = 5;
    for value in golden() {
        let mut case = Case::new(&value);
        for input in &mut case.inputs {
            seed += 2;
            *input = data(input.len(), seed);
        }
        let (sum, _, gradients) = case.run();
        for (i, gradient) in gradients.iter().enumerate() {
            for (at, slope) in gradient.iter().enumerate() {
                let step = 4e-3f32;
                let (up, down) = (case.moved(i, at, step), case.moved(i, at, -step));
                let want = (up - down) / (2.0 * f64::from(step));
                // Sums of up to 100 in f32 over a step of 8e-3.
                let room = 4e-3 * want.abs().max(1.0) + 3e-7 * f64::from(sum.abs()) / f64::from(step);
                let off = (f64::from(*slope) - want).abs();
                assert!(off < room, "{} {}: input {i}[{at}]: {slope}, not {want}", case.name, case.options);
            }
        }
    }
}

/// A head that starts at zero must learn: the gradient at a logit of 0 is -1/2 for a positive label, not 0.
#[test]
fn binary_losses_have_a_gradient_at_zero() {
    let device = device().autodiff();
    let x = Tensor::<2>::zeros([1, 2], &device).require_grad();
    let y = Tensor::<2>::from_data([[1.0, 0.0]], &device);
    let loss = binary_cross_entropy(x.clone(), y, &BinaryOptions::default());
    let gradients = loss.sum.backward();
    close("gradient", &read(x.grad(&gradients).unwrap().reshape([2])), &[-0.5, 0.5], 1e-6);
}

/// Impossible alignments are told, or left out where that was asked for; the others keep their gradients.
#[test]
fn impossible_alignments() {
    let device = device().autodiff();
    let x = Tensor::<3>::from_data(TensorData::new(data(2 * 3 * 3, 3), [2, 3, 3]), &device).require_grad();
    let targets = CtcTargets { labels: vec![vec![1, 1, 2], vec![2]], lengths: vec![3, 2] };
    let run = |zero_infinity| {
        let Loss { sum, count } = ctc(x.clone(), &targets, &Ctc { blank: 0, zero_infinity });
        assert_eq!(count, 2.0);
        let gradients = sum.backward();
        (read(sum.inner())[0], read(x.grad(&gradients).unwrap().reshape([18])))
    };
    let ((told, told_gradient), (left_out, gradient)) = (run(false), run(true));
    assert_eq!(told, f32::INFINITY);
    assert!(left_out.is_finite() && left_out > 0.0);
    assert_eq!(told_gradient, gradient);
    assert!(gradient[..9].iter().all(|g| *g == 0.0), "{gradient:?}");
    assert!(gradient[9..15].iter().all(|g| *g != 0.0), "{gradient:?}");
    assert!(gradient[15..].iter().all(|g| *g == 0.0), "beyond the length: {gradient:?}");
}

/// Vectors of nothing, equal vectors and logits far apart give numbers, not NaN.
#[test]
fn edges_stay_finite() {
    let device = device().autodiff();
    let make = |values: &[f32], dims: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values.to_vec(), dims), &device).require_grad()
    };
    let check = |what: &str, x: &Tensor<2>, loss: Loss| {
        let gradients = loss.sum.backward();
        let slopes = read(x.grad(&gradients).unwrap().reshape([x.dims()[0] * x.dims()[1]]));
        assert!(read(loss.sum.inner())[0].is_finite() && slopes.iter().all(|g| g.is_finite()), "{what}: {slopes:?}");
    };
    let zero = make(&[0.0; 4], [2, 2]);
    let other = make(&[1.0, 2.0, 3.0, 4.0], [2, 2]);
    check("cosine", &zero, cosine_embedding(zero.clone(), other.clone(), &[true, false], 0.0));
    check("info_nce", &zero, info_nce(zero.clone(), other.clone(), &InfoNce::default()));
    let triplet = Triplet::default();
    check("triplet", &other, triplet_margin(other.clone(), other.clone(), other.clone(), &triplet));
    let far = make(&[200.0, -200.0, -200.0, 200.0], [2, 2]);
    let ids = || Tensor::<1, Int>::from_data([1, 1], &device);
    check("focal", &far, focal(far.clone(), ids(), 0.5, &ClassOptions::default()));
    check("binary focal", &far, binary_focal(far.clone(), other.clone().clamp(0.0, 1.0), 2.0, Some(0.25)));
    check("js", &far, js_divergence(far.clone(), far.clone().neg(), 1.0));
}
