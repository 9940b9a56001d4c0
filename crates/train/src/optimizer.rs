//! Gradients of one step, and AdamW over all parameters of a module.

use crate::TrainError;
use crate::config::TrainConfig;
use crate::tensors::{Incoming, Outgoing, OutgoingTensors, Parameters, leaf};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_ops::AdamW;

/// The sum of the gradients of a step's micro-batches, by parameter.
///
/// Losses are sums over tokens, so gradients of micro-batches just add up, and are divided once,
/// by the count of all tokens (see [`Optimizer::update`]): the result is the large batch's, also
/// where micro-batches have different counts of tokens.
#[derive(Debug, Default)]
pub struct GradientSum(GradientsParams);

impl GradientSum {
    /// Takes the gradients of `module`'s parameters out of `gradients` and adds them.
    pub fn add<M: Module>(&mut self, mut gradients: Gradients, module: &M) {
        struct Add<'a>(&'a mut Gradients, &'a mut GradientsParams);
        impl ModuleVisitor for Add<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some(gradient) = param.val().grad_remove(self.0) else { return };
                let sum = match self.1.remove::<D>(param.id) {
                    Some(sum) => sum + gradient,
                    None => gradient,
                };
                self.1.register(param.id, sum);
            }
        }
        module.visit(&mut Add(&mut gradients, &mut self.0));
    }

    /// Handles of all gradients by name.
    pub fn collect<M: Module>(&self, module: &M, parameters: &Parameters) -> OutgoingTensors {
        struct Collect<'a>(&'a GradientSum, &'a Parameters, OutgoingTensors);
        impl ModuleVisitor for Collect<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let gradient = self.0.0.get::<D>(param.id);
                if let (Some(gradient), Some(spec)) = (gradient, self.1.get(&param.id)) {
                    self.2.insert(spec.name.clone(), Outgoing::new(gradient));
                }
            }
        }
        let mut visitor = Collect(self, parameters, OutgoingTensors::new());
        module.visit(&mut visitor);
        visitor.2
    }

    /// The Euclidean norm over all parameters, added up in the module's order.
    pub fn norm<M: Module>(&self, module: &M) -> f64 {
        struct Squares<'a>(&'a GradientsParams, f64);
        impl ModuleVisitor for Squares<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    self.1 += danlu_ops::sum_squares(&gradient);
                }
            }
        }
        let mut visitor = Squares(&self.0, 0.0);
        module.visit(&mut visitor);
        visitor.1.sqrt()
    }
}

/// The factor that brings a gradient of norm `norm` down to `limit` (Pascanu et al. 2013); 1 where
/// it is within, or where `limit` is 0.
pub fn clip_factor(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 && norm > limit { limit / norm } else { 1.0 }
}

/// AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101). Its moments live on the parameters' device.
#[derive(Debug)]
pub struct Optimizer {
    parameters: Parameters,
    first: GradientsParams,
    second: GradientsParams,
}

impl Optimizer {
    /// Moments of zero.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, first: GradientsParams::new(), second: GradientsParams::new() }
    }

    /// The parameters it updates.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Update `step` (1 is the first): each gradient times `scale`, then AdamW. Parameters without
    /// a gradient stay as they are.
    pub fn update<M: Module>(
        &mut self,
        module: M,
        gradients: GradientSum,
        scale: f64,
        step: u64,
        learning_rate: f64,
        config: &TrainConfig,
    ) -> M {
        let settings = AdamW {
            lr: learning_rate,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            weight_decay: config.weight_decay,
            step,
            gradient_scale: scale,
        };
        module.map(&mut Update { optimizer: self, gradients: gradients.0, settings })
    }

    /// Handles of the moments, as `exp_avg.NAME` and `exp_avg_sq.NAME`.
    pub fn collect<M: Module>(&self, module: &M) -> OutgoingTensors {
        struct Collect<'a>(&'a Optimizer, OutgoingTensors);
        impl ModuleVisitor for Collect<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some(spec) = self.0.parameters.get(&param.id) else { return };
                for (kind, moments) in [(FIRST, &self.0.first), (SECOND, &self.0.second)] {
                    if let Some(moment) = moments.get::<D>(param.id) {
                        self.1.insert(format!("{kind}.{}", spec.name), Outgoing::new(moment));
                    }
                }
            }
        }
        let mut visitor = Collect(self, OutgoingTensors::new());
        module.visit(&mut visitor);
        visitor.1
    }

    /// The optimiser whose moments are in `incoming`.
    pub fn restore<M: Module>(parameters: Parameters, module: &M, incoming: &mut Incoming) -> Result<Self, TrainError> {
        struct Restore<'a>(Optimizer, &'a mut Incoming, Result<(), TrainError>);
        impl Restore<'_> {
            fn moment<const D: usize>(&mut self, kind: &str, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
                let spec = self.0.parameters.get(&param.id)?;
                let value = param.val().inner();
                match self.1.take(&format!("{kind}.{}", spec.name), &value.dims()) {
                    Ok(data) => Some(Tensor::from_data(data, &value.device())),
                    Err(error) => {
                        self.2 = Err(error);
                        None
                    }
                }
            }
        }
        impl ModuleVisitor for Restore<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(moment) = self.moment(FIRST, param) {
                    self.0.first.register(param.id, moment);
                }
                if let Some(moment) = self.moment(SECOND, param) {
                    self.0.second.register(param.id, moment);
                }
            }
        }
        let mut visitor = Restore(Self::new(parameters), incoming, Ok(()));
        module.visit(&mut visitor);
        visitor.2.map(|()| visitor.0)
    }
}

const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";

struct Update<'a> {
    optimizer: &'a mut Optimizer,
    gradients: GradientsParams,
    settings: AdamW,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let Some(spec) = self.optimizer.parameters.get(&param.id) else { return param };
        let decay = if spec.decay { self.settings.weight_decay } else { 0.0 };
        let settings = AdamW { weight_decay: decay, ..self.settings };
        // Taken apart, so that no second handle keeps the update from working in place.
        let (id, value, mapper) = param.consume();
        let require_grad = value.is_require_grad();
        let value = value.inner();
        let first = self.optimizer.first.remove::<D>(id).unwrap_or_else(|| value.zeros_like());
        let second = self.optimizer.second.remove::<D>(id).unwrap_or_else(|| value.zeros_like());
        let (value, first, second) = danlu_ops::adamw_update(&settings, value, gradient, first, second);
        self.optimizer.first.register(id, first);
        self.optimizer.second.register(id, second);
        Param::from_mapped_value(id, leaf(value, require_grad), mapper)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::export::parameters;
    use crate::step::{MicroBatch, accumulate};
    use crate::tensors::collect;
    use danlu_model::{CausalLm, ModelConfig};
    use proptest::prelude::*;
    use safetensors::tensor::View;

    fn model() -> CausalLm {
        let config = ModelConfig {
            layers: 1,
            hidden_size: 8,
            heads: 2,
            ffn_size: Some(16),
            max_seq_len: 8,
            ..ModelConfig::default()
        };
        CausalLm::new(&config, 20, 3, &Device::flex().autodiff()).unwrap()
    }

    fn gradients(model: &CausalLm) -> GradientSum {
        let batch = MicroBatch::new(&[1, 2, 3, 4], &[2, 3, 4, 5], 4, &Device::flex());
        accumulate(model, [batch], danlu_model::Recompute::None, |_| None).unwrap().gradients
    }

    fn values(tensors: &OutgoingTensors) -> Vec<(String, Vec<f32>)> {
        let read = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let numbers = |t: &Outgoing| t.data().chunks_exact(4).map(read).collect();
        tensors.iter().map(|(name, tensor)| (name.clone(), numbers(tensor))).collect()
    }

    /// AdamW as its paper writes it, in f64.
    #[test]
    fn three_updates_are_those_of_the_paper() {
        let config = TrainConfig { weight_decay: 0.1, beta2: 0.9, eps: 1e-6, ..TrainConfig::default() };
        let mut model = model();
        let table = parameters(&model);
        let decays: Vec<(String, bool)> = table.values().map(|spec| (spec.name.clone(), spec.decay)).collect();
        let mut optimizer = Optimizer::new(table.clone());
        let mut want = values(&collect(&model, &table));
        let mut moments: Vec<(Vec<f64>, Vec<f64>)> =
            want.iter().map(|w| (vec![0.0; w.1.len()], vec![0.0; w.1.len()])).collect();
        for step in 1..=3u64 {
            let (rate, scale) = (0.01 * step as f64, 0.25);
            let sum = gradients(&model);
            let grads = values(&sum.collect(&model, &table));
            for (((name, w), (_, g)), (m, v)) in want.iter_mut().zip(&grads).zip(&mut moments) {
                let decay = decays.iter().any(|d| d.0 == *name && d.1);
                let decay = if decay { config.weight_decay } else { 0.0 };
                for i in 0..w.len() {
                    let g = f64::from(g[i]) * scale;
                    m[i] = config.beta1 * m[i] + (1.0 - config.beta1) * g;
                    v[i] = config.beta2 * v[i] + (1.0 - config.beta2) * g * g;
                    let first = m[i] / (1.0 - config.beta1.powi(step as i32));
                    let second = v[i] / (1.0 - config.beta2.powi(step as i32));
                    let old = f64::from(w[i]);
                    let new = old - rate * decay * old - rate * first / (second.sqrt() + config.eps);
                    w[i] = new as f32;
                }
            }
            model = optimizer.update(model, sum, scale, step, rate, &config);
            for ((name, got), (_, want)) in values(&collect(&model, &table)).iter().zip(&want) {
                for (got, want) in got.iter().zip(want) {
                    assert!((got - want).abs() < 2e-6, "{name} at {step}: {got}, not {want}");
                }
            }
        }
    }

    #[test]
    fn norms_are_not_decayed() {
        let model = model();
        let spared: Vec<String> = parameters(&model).into_values().filter(|p| !p.decay).map(|p| p.name).collect();
        assert_eq!(spared.len(), 3, "{spared:?}");
        assert!(spared.iter().all(|name| name.contains("norm")), "{spared:?}");
    }

    #[test]
    fn the_norm_is_over_all_parameters() {
        let model = model();
        let (table, sum) = (parameters(&model), gradients(&model));
        let all = values(&sum.collect(&model, &table));
        let squares: f64 = all.iter().flat_map(|g| &g.1).map(|x| f64::from(*x).powi(2)).sum();
        assert!((sum.norm(&model) - squares.sqrt()).abs() < 1e-9 * squares.sqrt());
    }

    proptest! {
        #[test]
        fn a_clipped_norm_is_never_above_the_limit_and_a_small_one_is_left_alone(
            norm in 0.0f64..1e12, limit in 1e-6f64..1e6,
        ) {
            let factor = clip_factor(norm, limit);
            prop_assert!(norm * factor <= limit * (1.0 + 1e-12));
            prop_assert!(factor == 1.0 || norm > limit);
            prop_assert!(factor > 0.0 && factor <= 1.0);
            prop_assert_eq!(clip_factor(norm, 0.0), 1.0);
        }
    }
}
