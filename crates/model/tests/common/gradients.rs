//! Gradients of every parameter, and their check against finite differences.

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_model::ParameterInfo;
use std::collections::BTreeMap;

struct Collector<'a> {
    gradients: &'a Gradients,
    collected: Vec<Option<Vec<f32>>>,
}

impl ModuleVisitor for Collector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.collected.push(param.val().grad(self.gradients).map(|g| g.into_data().try_into_vec().unwrap()));
    }
}

/// Of each parameter its gradient, where the loss reaches it; `parameters` are those of `model`.
pub fn gradients<M: Module>(
    model: &M,
    parameters: Vec<ParameterInfo>,
    loss: Tensor<1>,
) -> BTreeMap<String, Option<Vec<f32>>> {
    by_name(model, parameters, &loss.backward())
}

/// [`gradients`] that are there already.
pub fn by_name<M: Module>(
    model: &M,
    parameters: Vec<ParameterInfo>,
    gradients: &Gradients,
) -> BTreeMap<String, Option<Vec<f32>>> {
    let mut collector = Collector { gradients, collected: Vec::new() };
    model.visit(&mut collector);
    parameters.into_iter().map(|p| p.name).zip(collector.collected).collect()
}

pub fn value(loss: Tensor<1>) -> f64 {
    f64::from(loss.into_data().as_slice::<f32>().unwrap()[0])
}

/// Along the gradient itself, where the slope is its length, and along a fixed zigzag; central differences of two widths
/// (Richardson), narrow ones because of DistilBERT's ReLU.
///
/// * `loss`: of the model with these values
/// * `unreached`: parts of the names of parameters that have no gradient
pub fn check_slopes(
    what: &str,
    values: &BTreeMap<String, TensorData>,
    gradients: &BTreeMap<String, Option<Vec<f32>>>,
    loss: &dyn Fn(BTreeMap<String, TensorData>) -> f64,
    unreached: &[&str],
) {
    assert_eq!(gradients.len(), values.len());
    for (name, gradient) in gradients {
        if unreached.iter().any(|part| name.contains(part)) {
            assert!(gradient.as_ref().is_none_or(|g| g.iter().all(|x| *x == 0.0)), "{what}: {name}");
            continue;
        }
        let gradient = gradient.as_ref().unwrap_or_else(|| panic!("{what}: no gradient of {name}"));
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        // A bias of the keys shifts all scores of a query alike, which softmax does not see.
        assert!(length > 1e-3 || name.ends_with("k_proj.bias"), "{what}: no gradient reaches {name}");
        let along: Vec<f32> = gradient.iter().map(|g| (f64::from(*g) / length.max(1e-9)) as f32).collect();
        let unit = 1.0 / (gradient.len() as f32).sqrt();
        let zigzag = (0..gradient.len()).map(|i| if (i * 7 + i / 3) % 5 < 2 { unit } else { -unit }).collect();
        for direction in [along, zigzag] {
            let want: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let at = |width: f32| {
                let mut moved = values.clone();
                let data = &values[name];
                let sum: Vec<f32> =
                    data.as_slice::<f32>().unwrap().iter().zip(&direction).map(|(x, d)| x + width * d).collect();
                moved.insert(name.clone(), TensorData::new(sum, data.shape().clone()));
                loss(moved)
            };
            let central = |width: f32| (at(width) - at(-width)) / (2.0 * f64::from(width));
            let found = (4.0 * central(0.004) - central(0.008)) / 3.0;
            assert!((found - want).abs() <= 0.01 * want.abs() + 5e-3, "{what}: {name}: slope {found}, gradient {want}");
        }
    }
}
