//! Parameters by name: for the optimiser's state, its groups, and checkpoints.

use crate::layers::read;
use crate::{CausalLm, ModelError};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What an optimiser needs to know of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterInfo {
    /// danlu's name, which is that of Hugging Face's Llama: `model.layers.0.self_attn.q_proj.weight`. Architectures
    /// that are saved under other names keep this one in memory and in optimiser states.
    pub name: String,
    pub id: ParamId,
    pub shape: Vec<usize>,
    /// Whether weight decay applies: to matrices, not to norms and biases.
    pub decay: bool,
}

impl CausalLm {
    /// Every trainable parameter in the order in which Burn visits the module; int8 weights are not among them.
    pub fn parameters(&self) -> Vec<ParameterInfo> {
        parameters_of(self)
    }

    /// Every trainable parameter's values by name, read back from the device.
    ///
    /// # Errors
    /// [`ModelError::Device`].
    pub fn named_parameters(&self) -> Result<BTreeMap<String, TensorData>, ModelError> {
        values_of(self)
    }

    /// The model with the given values; each parameter must be there, with its shape, and nothing else.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::WrongShape`], [`ModelError::UnexpectedTensor`].
    pub fn load_named(self, values: BTreeMap<String, TensorData>) -> Result<Self, ModelError> {
        with_values(self, values)
    }
}

/// See [`CausalLm::parameters`].
pub(crate) fn parameters_of<M: Module>(model: &M) -> Vec<ParameterInfo> {
    let mut visitor = Lister::default();
    model.visit(&mut visitor);
    visitor.parameters
}

/// See [`CausalLm::named_parameters`].
pub(crate) fn values_of<M: Module>(model: &M) -> Result<BTreeMap<String, TensorData>, ModelError> {
    let mut visitor = Reader { path: ModulePath::default(), read: Ok(BTreeMap::new()) };
    model.visit(&mut visitor);
    visitor.read
}

/// See [`CausalLm::load_named`].
pub(crate) fn with_values<M: Module>(model: M, values: BTreeMap<String, TensorData>) -> Result<M, ModelError> {
    let mut mapper = Loader { path: ModulePath::default(), values, failed: None };
    let model = model.map(&mut mapper);
    match (mapper.failed, mapper.values.into_keys().next()) {
        (Some(error), _) => Err(error),
        (None, Some(tensor)) => Err(ModelError::UnexpectedTensor { path: in_memory(), tensor }),
        (None, None) => Ok(model),
    }
}

fn in_memory() -> PathBuf {
    PathBuf::from("the given parameters")
}

/// The names on the way down to a parameter. An enum's variant is a form, not a part of the name.
#[derive(Default)]
struct ModulePath(Vec<String>);

impl ModulePath {
    fn enter(&mut self, name: &str, container: &str) {
        self.0.push(if container.starts_with("Enum:") { String::new() } else { name.to_string() });
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn name(&self) -> String {
        self.0.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

#[derive(Default)]
struct Lister {
    path: ModulePath,
    parameters: Vec<ParameterInfo>,
}

impl ModuleVisitor for Lister {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.shape().to_vec();
        self.parameters.push(ParameterInfo { name: self.path.name(), id: param.id, shape, decay: D > 1 });
    }
}

struct Reader {
    path: ModulePath,
    read: Result<BTreeMap<String, TensorData>, ModelError>,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Ok(values) = &mut self.read else { return };
        match read(param.val()) {
            Ok(data) => {
                values.insert(self.path.name(), TensorData::new(data, param.shape()));
            }
            Err(error) => self.read = Err(error),
        }
    }
}

struct Loader {
    path: ModulePath,
    values: BTreeMap<String, TensorData>,
    failed: Option<ModelError>,
}

impl ModuleMapper for Loader {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (tensor, expected) = (self.path.name(), param.shape().to_vec());
        let Some(data) = self.values.remove(&tensor) else {
            self.failed.get_or_insert(ModelError::MissingTensor { path: in_memory(), tensor, expected });
            return param;
        };
        let found = data.shape().to_vec();
        if found != expected {
            self.failed.get_or_insert(ModelError::WrongShape { path: in_memory(), tensor, expected, found });
            return param;
        }
        param.map(|old| Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad()))
    }
}
