//! Gradients of one step, and the optimiser over all parameters of a module.

use crate::TrainError;
use crate::config::{OptimizerKind, TrainConfig};
use crate::regularize::{AverageKind, NoiseConfig, Settings};
use crate::tensors::{Incoming, Outgoing, OutgoingTensors, ParameterSpec, Parameters, leaf};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_ops::{Adafactor, AdamW, GradientTerms, Lion, Muon, Sgd};
use std::collections::BTreeMap;

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
                    Some(sum) => danlu_ops::add_in_place(sum, gradient),
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

/// The optimiser of a module's parameters, of the kind that the settings name. Its states (moments, momentum) live on
/// the parameters' device.
#[derive(Debug, Default)]
pub struct Optimizer {
    parameters: Parameters,
    /// By the names that PyTorch's optimisers give them, then by parameter. The averages of the weights are among them.
    states: BTreeMap<&'static str, GradientsParams>,
    /// Decides the noise on gradients.
    seed: u64,
}

impl Optimizer {
    /// States of zero.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, states: BTreeMap::new(), seed: 0 }
    }

    /// With noise (`gradient_noise`) that `seed` decides.
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The parameters it updates.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Update `step` (1 is the first) with each gradient times `scale`. Parameters without a gradient stay as they are.
    pub fn update<M: Module>(
        &mut self,
        module: M,
        gradients: GradientSum,
        scale: f64,
        step: u64,
        learning_rate: f64,
        config: &TrainConfig,
    ) -> M {
        let update = &mut Update { optimizer: self, gradients: gradients.0, scale, step, learning_rate, config };
        let module = module.map(update);
        if let Some(share) = config.average.share(step, config.steps) {
            self.average(&module, share, config);
        }
        module
    }

    /// Moves the averages of the weights towards the weights.
    fn average<M: Module>(&mut self, module: &M, share: f64, config: &TrainConfig) {
        struct Average<'a>(&'a mut Optimizer, f64, &'a TrainConfig);
        impl ModuleVisitor for Average<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some(spec) = self.0.parameters.get(&param.id) else { return };
                if Settings::of(spec, self.2).frozen {
                    return;
                }
                let value = param.val().inner();
                let average = self.0.take(AVERAGE, param.id, &value);
                self.0.put(AVERAGE, param.id, danlu_ops::average_update(self.1, average, value));
            }
        }
        module.visit(&mut Average(self, share, config));
    }

    /// The module with averaged weights where there are any, and with its own elsewhere.
    pub fn averaged<M: Module>(&self, module: &M) -> M {
        struct Averaged<'a>(&'a Optimizer);
        impl ModuleMapper for Averaged<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let average = self.0.states.get(AVERAGE).and_then(|states| states.get::<D>(param.id));
                let Some(average) = average else { return param };
                let (id, value, mapper) = param.consume();
                Param::from_mapped_value(id, leaf(average, value.is_require_grad()), mapper)
            }
        }
        let module = module.clone();
        if self.states.contains_key(AVERAGE) { module.map(&mut Averaged(self)) } else { module }
    }

    /// Handles of the states, as `exp_avg.NAME` and so on.
    pub fn collect<M: Module>(&self, module: &M) -> OutgoingTensors {
        struct Collect<'a>(&'a Optimizer, OutgoingTensors);
        impl ModuleVisitor for Collect<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some(spec) = self.0.parameters.get(&param.id) else { return };
                for (kind, states) in &self.0.states {
                    if let Some(state) = states.get::<D>(param.id) {
                        self.1.insert(format!("{kind}.{}", spec.name), Outgoing::new(state));
                    }
                }
            }
        }
        let mut visitor = Collect(self, OutgoingTensors::new());
        module.visit(&mut visitor);
        visitor.1
    }

    /// The optimiser whose states, those of the kind that `config` names, are in `incoming`.
    pub fn restore<M: Module>(
        parameters: Parameters,
        module: &M,
        incoming: &mut Incoming,
        config: &TrainConfig,
    ) -> Result<Self, TrainError> {
        struct Restore<'a>(Optimizer, &'a mut Incoming, &'a TrainConfig, Result<(), TrainError>);
        impl Restore<'_> {
            fn states<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Result<(), TrainError> {
                let Some(spec) = self.0.parameters.get(&param.id) else { return Ok(()) };
                let value = param.val().inner();
                if Settings::of(spec, self.2).frozen {
                    return Ok(());
                }
                let mut kinds = Rule::of::<D>(spec, self.2).states(&value.dims());
                let average = format!("{AVERAGE}.{}", spec.name);
                if self.2.average.kind != AverageKind::None && self.1.has(&average) {
                    kinds.push((AVERAGE, value.dims().to_vec()));
                }
                for (kind, dims) in kinds {
                    let data = self.1.take(&format!("{kind}.{}", spec.name), &dims)?;
                    let state = Tensor::<D>::from_data(data, &value.device());
                    self.0.states.entry(kind).or_default().register(param.id, state);
                }
                Ok(())
            }
        }
        impl ModuleVisitor for Restore<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if self.3.is_ok() {
                    self.3 = self.states(param);
                }
            }
        }
        let mut visitor = Restore(Self::new(parameters), incoming, config, Ok(()));
        module.visit(&mut visitor);
        visitor.3.map(|()| visitor.0)
    }

    /// A parameter's state, taken out so that the update can write into it; zeros before the first update.
    fn take<const D: usize>(&mut self, kind: &'static str, id: ParamId, value: &Tensor<D>) -> Tensor<D> {
        self.take_shaped(kind, id, value.dims(), &value.device())
    }

    fn take_shaped<const D: usize>(
        &mut self,
        kind: &'static str,
        id: ParamId,
        dims: [usize; D],
        device: &Device,
    ) -> Tensor<D> {
        let state = self.states.get_mut(kind).and_then(|states| states.remove::<D>(id));
        state.unwrap_or_else(|| Tensor::zeros(dims, device))
    }

    fn put<const D: usize>(&mut self, kind: &'static str, id: ParamId, state: Tensor<D>) {
        self.states.entry(kind).or_default().register(id, state);
    }
}

/// AdamW's first moment and Lion's momentum.
const FIRST: &str = "exp_avg";
/// AdamW's second moment.
const SECOND: &str = "exp_avg_sq";
/// SGD's and Muon's.
const MOMENTUM: &str = "momentum_buffer";
/// Adafactor's, of vectors.
const VARIANCE: &str = "variance";
/// Adafactor's, of all else.
const ROW: &str = "row_var";
const COLUMN: &str = "col_var";
/// The average of the weights.
const AVERAGE: &str = "average";

/// What updates one parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    AdamW,
    /// AdamW's kernel, with the decay in the gradient.
    Adam,
    Adafactor,
    /// SGD without momentum.
    Descent,
    Momentum,
    Lion,
    Muon,
}

impl Rule {
    /// Of a parameter of rank D.
    fn of<const D: usize>(spec: &ParameterSpec, config: &TrainConfig) -> Self {
        match config.optimizer {
            OptimizerKind::AdamW => Rule::AdamW,
            OptimizerKind::Adam => Rule::Adam,
            OptimizerKind::Adafactor => Rule::Adafactor,
            OptimizerKind::Sgd if config.momentum == 0.0 => Rule::Descent,
            OptimizerKind::Sgd => Rule::Momentum,
            OptimizerKind::Lion => Rule::Lion,
            // Rows of embeddings and of the output layer are vectors of their own: no matrix to orthogonalise.
            OptimizerKind::Muon if D == 2 && spec.name.starts_with(LAYERS) => Rule::Muon,
            OptimizerKind::Muon => Rule::AdamW,
        }
    }

    /// Names and shapes of its states for a parameter of these sizes.
    fn states(self, dims: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        let names: &[&str] = match self {
            Rule::AdamW | Rule::Adam => &[FIRST, SECOND],
            Rule::Descent => &[],
            Rule::Momentum | Rule::Muon => &[MOMENTUM],
            Rule::Lion => &[FIRST],
            Rule::Adafactor => {
                let names: &[&str] = if dims.len() < 2 { &[VARIANCE] } else { &[ROW, COLUMN] };
                return names.iter().copied().zip(Adafactor::state_dims(dims)).collect();
            }
        };
        names.iter().map(|name| (*name, dims.to_vec())).collect()
    }
}

/// How the names of parameters inside the layers begin, in the Hugging Face layout.
const LAYERS: &str = "model.layers.";

struct Update<'a> {
    optimizer: &'a mut Optimizer,
    gradients: GradientsParams,
    scale: f64,
    step: u64,
    learning_rate: f64,
    config: &'a TrainConfig,
}

impl Update<'_> {
    /// The gradient with what regularisation adds to it, where it adds something; `gradient_scale` is then used up.
    fn gradient<const D: usize>(
        &self,
        settings: &Settings,
        spec: &ParameterSpec,
        p: &Tensor<D>,
        g: Tensor<D>,
    ) -> (Tensor<D>, f64) {
        let noise = &self.config.gradient_noise;
        let terms = GradientTerms {
            gradient_scale: self.scale,
            l1: settings.l1,
            l2: settings.l2,
            noise: if noise.scale > 0.0 { noise.deviation(self.step) } else { 0.0 },
            key: NoiseConfig::key(self.optimizer.seed, self.step, &spec.name),
        };
        if terms.l1 == 0.0 && terms.l2 == 0.0 && terms.noise == 0.0 {
            return (g, self.scale);
        }
        (danlu_ops::gradient_terms(&terms, p.clone(), g), 1.0)
    }

    /// The new value of a parameter whose states are then in place.
    fn apply<const D: usize>(
        &mut self,
        rule: Rule,
        id: ParamId,
        p: Tensor<D>,
        (g, gradient_scale): (Tensor<D>, f64),
        settings: &Settings,
    ) -> Tensor<D> {
        let (lr, c) = (self.learning_rate * settings.learning_rate_scale, self.config);
        let decay = settings.weight_decay;
        let states = &mut self.optimizer;
        let sgd = Sgd { lr, momentum: c.momentum, nesterov: c.nesterov, weight_decay: decay, gradient_scale };
        match rule {
            Rule::AdamW | Rule::Adam => {
                let (beta1, beta2, eps, step) = (c.beta1, c.beta2, c.eps, self.step);
                let decay = if rule == Rule::Adam { 0.0 } else { decay };
                let h = AdamW { lr, beta1, beta2, eps, weight_decay: decay, step, gradient_scale };
                let (first, second) = (states.take(FIRST, id, &p), states.take(SECOND, id, &p));
                let (p, first, second) = danlu_ops::adamw_update(&h, p, g, first, second);
                states.put(FIRST, id, first);
                states.put(SECOND, id, second);
                p
            }
            Rule::Adafactor => {
                let (relative_step, step) = (c.relative_step, self.step);
                let h =
                    Adafactor { lr, relative_step, weight_decay: decay, step, gradient_scale, ..Adafactor::default() };
                let kinds = rule.states(&p.dims());
                let take = |(kind, dims): &(&'static str, Vec<usize>)| {
                    let mut shape = p.dims();
                    shape.copy_from_slice(dims);
                    states.take_shaped(kind, id, shape, &p.device())
                };
                let before = kinds.iter().map(take).collect();
                let (p, after) = danlu_ops::adafactor_update(&h, p, g, before);
                kinds.iter().zip(after).for_each(|((kind, _), state)| states.put(kind, id, state));
                p
            }
            Rule::Descent => danlu_ops::sgd_update(&sgd, p, g, None).0,
            Rule::Momentum => {
                let buffer = states.take(MOMENTUM, id, &p);
                let (p, buffer) = danlu_ops::sgd_update(&sgd, p, g, Some(buffer));
                if let Some(buffer) = buffer {
                    states.put(MOMENTUM, id, buffer);
                }
                p
            }
            Rule::Lion => {
                let h = Lion { lr, beta1: c.beta1, beta2: c.beta2, weight_decay: decay, gradient_scale };
                let momentum = states.take(FIRST, id, &p);
                let (p, momentum) = danlu_ops::lion_update(&h, p, g, momentum);
                states.put(FIRST, id, momentum);
                p
            }
            Rule::Muon => {
                let (momentum, nesterov, precision) = (c.momentum, c.nesterov, c.precision);
                let h = Muon { lr, momentum, nesterov, weight_decay: decay, gradient_scale, precision };
                let buffer = states.take(MOMENTUM, id, &p);
                let (p, buffer) = danlu_ops::muon_update(&h, p, g, buffer);
                states.put(MOMENTUM, id, buffer);
                p
            }
        }
    }
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let Some(spec) = self.optimizer.parameters.get(&param.id) else { return param };
        let mut settings = Settings::of(spec, self.config);
        if settings.frozen {
            return param;
        }
        let rule = Rule::of::<D>(spec, self.config);
        if rule == Rule::Adam {
            settings.l2 += settings.weight_decay;
        }
        let spec = spec.clone();
        // Taken apart, so that no second handle keeps the update from working in place.
        let (id, value, mapper) = param.consume();
        let require_grad = value.is_require_grad();
        let value = value.inner();
        let gradient = self.gradient(&settings, &spec, &value, gradient);
        let value = self.apply(rule, id, value, gradient, &settings);
        Param::from_mapped_value(id, leaf(value, require_grad), mapper)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::regularize::{AverageConfig, ParameterGroup};
    use crate::step::{MicroBatch, accumulate};
    use crate::tensors::collect;
    use danlu_model::{CausalLm, ModelConfig};
    use proptest::prelude::*;
    use safetensors::tensor::View;

    fn parameters(model: &CausalLm) -> Parameters {
        crate::tensors::parameters(model.parameters())
    }

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

    /// Which parameters have which states after a step, by the names that checkpoints hold.
    #[test]
    fn each_kind_keeps_its_states() {
        let states = |config: &TrainConfig| {
            let model = model();
            let mut optimizer = Optimizer::new(parameters(&model));
            let sum = gradients(&model);
            let model = optimizer.update(model, sum, 1.0, 1, 1e-3, config);
            optimizer.collect(&model).into_keys().collect::<Vec<_>>()
        };
        let of = |optimizer| TrainConfig { optimizer, ..TrainConfig::default() };
        let count = parameters(&model()).len();
        let adamw = states(&of(OptimizerKind::AdamW));
        assert_eq!(adamw.len(), 2 * count);
        let lion = states(&of(OptimizerKind::Lion));
        assert!(lion.len() == count && lion.iter().all(|name| name.starts_with("exp_avg.")), "{lion:?}");
        let sgd = states(&of(OptimizerKind::Sgd));
        assert!(sgd.len() == count && sgd.iter().all(|name| name.starts_with("momentum_buffer.")), "{sgd:?}");
        assert_eq!(states(&TrainConfig { momentum: 0.0, ..of(OptimizerKind::Sgd) }), Vec::<String>::new());
        let muon = states(&of(OptimizerKind::Muon));
        let matrices: Vec<_> = muon.iter().filter(|name| name.starts_with("momentum_buffer.")).collect();
        assert!(matrices.iter().all(|name| name.contains(".layers.") && name.ends_with("_proj.weight")), "{muon:?}");
        assert_eq!(matrices.len(), 7);
        assert_eq!(muon.len(), 7 + 2 * (count - 7));
        assert_eq!(states(&of(OptimizerKind::Adam)), adamw);
        let adafactor = states(&of(OptimizerKind::Adafactor));
        let norms = adafactor.iter().filter(|name| name.starts_with("variance.") && name.contains("norm")).count();
        assert_eq!((norms, adafactor.len()), (3, 3 + 2 * (count - 3)), "{adafactor:?}");
    }

    fn updated(config: &TrainConfig, steps: u64, seed: u64) -> (CausalLm, Optimizer) {
        let mut model = model();
        let table = parameters(&model);
        model = crate::regularize::freeze(model, &table, config);
        let mut optimizer = Optimizer::new(table).seeded(seed);
        for step in 1..=steps {
            let sum = gradients(&model);
            model = optimizer.update(model, sum, 0.25, step, 0.01, config);
        }
        (model, optimizer)
    }

    fn weights(model: &CausalLm) -> Vec<(String, Vec<f32>)> {
        values(&collect(model, &parameters(model)))
    }

    fn group(pattern: &str) -> ParameterGroup {
        ParameterGroup { pattern: pattern.to_owned(), ..ParameterGroup::default() }
    }

    /// Frozen parameters have no gradient, no state and no update; the first group that matches counts.
    #[test]
    fn groups_change_single_parameters() {
        let base = TrainConfig { weight_decay: 0.5, ..TrainConfig::default() };
        let start = weights(&model());
        let (plain, _) = updated(&base, 1, 0);
        let plain = weights(&plain);
        let groups = vec![
            ParameterGroup { frozen: true, ..group("*q_proj*") },
            ParameterGroup { learning_rate_scale: 0.5, weight_decay: Some(0.0), ..group("self_attn.*") },
            ParameterGroup { learning_rate_scale: 0.0, ..group("embed_tokens*") },
        ];
        let config = TrainConfig { groups, ..base };
        let frozen = model();
        let frozen = crate::regularize::freeze(frozen.clone(), &parameters(&frozen), &config);
        let gradients = gradients(&frozen).collect(&frozen, &parameters(&frozen));
        assert!(gradients.len() + 1 == start.len() && gradients.keys().all(|name| !name.contains("q_proj")));
        let (model, optimizer) = updated(&config, 1, 0);
        let states = optimizer.collect(&model);
        assert!(states.len() == 2 * start.len() - 2 && states.keys().all(|name| !name.contains("q_proj")));
        let got = weights(&model);
        for (((name, start), (_, plain)), (_, got)) in start.iter().zip(&plain).zip(&got) {
            for ((s, p), g) in start.iter().zip(plain).zip(got) {
                let moved = p - s;
                let want = match name {
                    name if name.contains("q_proj") || name.contains("embed") => 0.0,
                    // The decay taken out of the plain step, and half of what is left.
                    name if name.contains("self_attn") => 0.5 * (moved + 0.01 * 0.5 * s),
                    _ => moved,
                };
                assert!((g - s - want).abs() < 1e-6, "{name}: {} of {moved}, not {want}", g - s);
            }
        }
    }

    #[test]
    fn a_group_without_parameters_is_named() {
        let table = parameters(&model());
        let check = |groups| crate::regularize::check_groups(&TrainConfig { groups, ..TrainConfig::default() }, &table);
        check(vec![group("embed_tokens*"), group("*")]).unwrap();
        let error = check(vec![group("embed*"), group("embedding*")]).unwrap_err().to_string();
        assert!(error.contains("`embedding*`") && error.contains("such as `model."), "{error}");
        let error = check(vec![ParameterGroup { frozen: true, ..group("*") }]).unwrap_err().to_string();
        assert!(error.contains("nothing is trained"), "{error}");
    }

    /// L1 and L2 under plain descent, where their part of a step can be read off.
    #[test]
    fn penalties_pull_weights_to_zero() {
        let base =
            TrainConfig { optimizer: OptimizerKind::Sgd, momentum: 0.0, weight_decay: 0.0, ..TrainConfig::default() };
        let start = weights(&model());
        let of = |config: &TrainConfig| weights(&updated(config, 1, 0).0);
        let plain = of(&base);
        for (l1, l2) in [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)] {
            let got = of(&TrainConfig { l1, l2, ..base.clone() });
            for (((name, start), (_, plain)), (_, got)) in start.iter().zip(&plain).zip(&got) {
                let spared = name.contains("norm");
                for ((s, p), g) in start.iter().zip(plain).zip(got) {
                    let pull = l1 as f32 * if *s == 0.0 { 0.0 } else { s.signum() } + l2 as f32 * s;
                    let want = p - if spared { 0.0 } else { 0.01 * pull };
                    assert!((g - want).abs() < 1e-6, "{name}: {g}, not {want}");
                }
            }
        }
        // Adam's weight decay is that of L2.
        let adam = TrainConfig { optimizer: OptimizerKind::Adam, ..base };
        let decayed = of(&TrainConfig { weight_decay: 0.2, ..adam.clone() });
        assert_eq!(decayed, of(&TrainConfig { l2: 0.2, ..adam.clone() }));
        assert_ne!(decayed, of(&adam));
        assert_eq!(of(&adam), of(&TrainConfig { optimizer: OptimizerKind::AdamW, ..adam }));
    }

    #[test]
    fn noise_is_that_of_the_seed() {
        let noise = NoiseConfig { scale: 0.3, ..NoiseConfig::default() };
        let config = TrainConfig { gradient_noise: noise, ..TrainConfig::default() };
        let of = |config: &TrainConfig, seed| weights(&updated(config, 2, seed).0);
        assert_eq!(of(&config, 1), of(&config, 1));
        assert_ne!(of(&config, 1), of(&config, 2));
        assert_ne!(of(&config, 1), of(&TrainConfig::default(), 1));
        assert_eq!(of(&TrainConfig::default(), 2), of(&TrainConfig::default(), 1));
    }

    #[test]
    fn averages_are_of_the_weights_after_each_step() {
        let average = AverageConfig { kind: AverageKind::Swa, start: 0.5, every: 1, ..AverageConfig::default() };
        let config = TrainConfig { average, steps: 4, warmup_steps: 0, ..TrainConfig::default() };
        let taken: Vec<_> = (2..=4).map(|steps| weights(&updated(&config, steps, 0).0)).collect();
        let (model, optimizer) = updated(&config, 4, 0);
        let table = parameters(&model);
        assert_eq!(values(&collect(&model, &table)), taken[2], "the weights themselves are not averaged");
        let got = values(&collect(&optimizer.averaged(&model), &table));
        for (i, (name, values)) in got.iter().enumerate() {
            for (j, value) in values.iter().enumerate() {
                let mean = taken.iter().map(|t| f64::from(t[i].1[j])).sum::<f64>() / 3.0;
                assert!((f64::from(*value) - mean).abs() < 1e-6, "{name}: {value}, not {mean}");
            }
        }
        let (early, optimizer) = updated(&config, 1, 0);
        assert_eq!(weights(&optimizer.averaged(&early)), weights(&early));
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
