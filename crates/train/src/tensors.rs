//! A module's tensors by name: to a safetensors file and back.

use crate::TrainError;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use burn::tensor::DType;
use danlu_model::ParameterInfo;
use danlu_store::{ContentHash, StoreError, hash};
use safetensors::tensor::{SafeTensorError, SafeTensors, TensorView, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What training knows of one parameter beside its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Its name in the Hugging Face layout.
    pub name: String,
    /// Whether weight decay applies (not to norms and biases).
    pub decay: bool,
}

/// The parameters of a module by their id.
pub type Parameters = HashMap<ParamId, ParameterSpec>;

/// The parameters that a model tells of.
pub fn parameters(told: Vec<ParameterInfo>) -> Parameters {
    let spec = |told: ParameterInfo| (told.id, ParameterSpec { name: told.name, decay: told.decay });
    told.into_iter().map(spec).collect()
}

/// A tensor on its way to a file. The values are fetched only when they are written, one tensor
/// after the other; until then this holds a handle, not a copy.
pub struct Outgoing {
    shape: Vec<usize>,
    read: Box<dyn Fn() -> TensorData>,
}

impl Outgoing {
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        Self { shape, read: Box::new(move || tensor.to_data().convert::<f32>()) }
    }
}

impl View for Outgoing {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned((self.read)().as_bytes().to_vec())
    }
    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}

/// Tensors by name, on their way to a file.
pub type OutgoingTensors = BTreeMap<String, Outgoing>;

/// Handles of all float parameters of `module` that `parameters` names.
pub fn collect<M: Module>(module: &M, parameters: &Parameters) -> OutgoingTensors {
    struct Collect<'a>(&'a Parameters, OutgoingTensors);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(spec) = self.0.get(&param.id) {
                self.1.insert(spec.name.clone(), Outgoing::new(param.val().inner()));
            }
        }
    }
    let mut visitor = Collect(parameters, OutgoingTensors::new());
    module.visit(&mut visitor);
    visitor.1
}

/// Writes `tensors` (f32, little-endian) and returns the file's checksum. Does not fsync.
pub fn write(path: &Path, tensors: &OutgoingTensors) -> Result<ContentHash, TrainError> {
    let views = tensors.iter().map(|(name, tensor)| (name, Borrowed(tensor)));
    safetensors::serialize_to_file(views, None, path).map_err(|error| match error {
        SafeTensorError::IoError(source) => StoreError::io("write", path, source).into(),
        other => TrainError::Damaged { path: path.to_owned(), reason: other.to_string() },
    })?;
    Ok(hash::of_file(path)?)
}

struct Borrowed<'a>(&'a Outgoing);

impl View for Borrowed<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        self.0.dtype()
    }
    fn shape(&self) -> &[usize] {
        self.0.shape()
    }
    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data()
    }
    fn data_len(&self) -> usize {
        self.0.data_len()
    }
}

/// Tensors read from a file, by name.
#[derive(Debug, Default)]
pub struct Incoming {
    path: std::path::PathBuf,
    tensors: BTreeMap<String, TensorData>,
}

impl Incoming {
    /// Reads a file whose checksum must be `checksum`.
    pub fn read(path: &Path, checksum: &ContentHash) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path).map_err(|source| StoreError::io("read", path, source))?;
        let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
        if hash::of_bytes(&bytes) != *checksum {
            return Err(damaged("its checksum differs from the one in state.json".to_owned()));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), data(&view))).collect();
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// Whether there is a tensor `name` that was not yet taken.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Takes the tensor `name`, which must have `shape`.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<TensorData, TrainError> {
        let damaged = |reason: String| TrainError::Damaged { path: self.path.clone(), reason };
        let tensor = self.tensors.remove(name).ok_or_else(|| damaged(format!("no tensor `{name}`")))?;
        let found = tensor.shape();
        let got: &[usize] = found.as_ref();
        if got != shape {
            return Err(damaged(format!("`{name}` has the shape {got:?}, not {shape:?}")));
        }
        Ok(tensor)
    }
}

fn data(view: &TensorView<'_>) -> TensorData {
    TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), DType::F32)
}

/// Replaces all float parameters of `module` by those of `incoming`.
pub fn restore<M: Module>(module: M, parameters: &Parameters, incoming: &mut Incoming) -> Result<M, TrainError> {
    struct Restore<'a>(&'a Parameters, &'a mut Incoming, Result<(), TrainError>);
    impl ModuleMapper for Restore<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(spec) = self.0.get(&param.id) else { return param };
            let (id, old, mapper) = param.consume();
            let value = match self.1.take(&spec.name, &old.dims()) {
                Ok(data) => leaf(Tensor::from_data(data, &old.device()), old.is_require_grad()),
                Err(error) => {
                    self.2 = Err(error);
                    old
                }
            };
            Param::from_mapped_value(id, value, mapper)
        }
    }
    let mut mapper = Restore(parameters, incoming, Ok(()));
    let module = module.map(&mut mapper);
    mapper.2.map(|()| module)
}

/// A plain tensor as a new leaf of the autodiff graph.
pub(crate) fn leaf<const D: usize>(plain: Tensor<D>, require_grad: bool) -> Tensor<D> {
    Tensor::from_inner(plain.inner()).set_require_grad(require_grad)
}
