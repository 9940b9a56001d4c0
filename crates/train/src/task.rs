//! What a run trains: the one thing that the loop does not know.

use crate::TrainError;
use crate::optimizer::GradientSum;
use crate::tensors::Parameters;
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Gradients;
use danlu_model::DropoutKey;
use serde_json::{Map, Value};
use std::path::Path;

/// A model with its examples and its loss. The loop asks for losses by number, so that what a step sees is a pure
/// function of the step: a task keeps no place in its data.
pub trait Task {
    /// Clones share their weights.
    type Model: Module;

    /// The first weights, on an autodiff device, the same for one seed.
    ///
    /// # Errors
    /// Settings that make no model; weights to begin with that cannot be read.
    fn model(&self, device: &Device) -> Result<Self::Model, TrainError>;

    /// The trainable parameters of `model` by their names in its folder.
    fn parameters(&self, model: &Self::Model) -> Parameters;

    /// Parameters in all, and floating-point operations of forward and backward for a unit (see [`LossSum::units`]).
    fn size(&self, model: &Self::Model) -> (u64, f64);

    /// Forward and backward of micro-batch `index`, whose loss and gradients are added to `sum`.
    ///
    /// # Errors
    /// What data and device report.
    fn learn(&self, model: &Self::Model, index: u64, dropout: DropoutKey, sum: &mut LossSum) -> Result<(), TrainError>;

    /// Micro-batches of the validation examples; 0 where there are none.
    fn valid_batches(&self) -> u64;

    /// The loss of validation micro-batch `index`, without gradients; what only regularises is left out.
    ///
    /// # Errors
    /// What data and device report.
    fn judge(&self, model: &Self::Model, index: u64, sum: &mut LossSum) -> Result<(), TrainError>;

    /// Whether a loss far above those before it is a failure, which the watchdog rolls back; otherwise it looks for
    /// NaN and infinities alone.
    fn spikes_are_failures(&self) -> bool {
        true
    }

    /// Settings beside the run's own that decide the weights, by key.
    fn settings(&self) -> Map<String, Value>;

    /// Hash of the tokenizer, and the sizes of what is trained and validated on.
    fn data(&self) -> (String, Value);

    /// Writes the finished model, without autodiff, with all that belongs beside it, into the new folder `dir`.
    ///
    /// # Errors
    /// What the disk reports.
    fn save(&self, model: &Self::Model, dir: &Path) -> Result<(), TrainError>;
}

/// What a model makes of some micro-batches.
#[derive(Debug, Default)]
pub struct LossSum {
    /// Sum of the gradients of the losses.
    pub gradients: GradientSum,
    /// Sum of the losses, nats for a likelihood.
    pub loss: f64,
    /// Units that have a loss: tokens, or examples of a classification. The mean goes over them.
    pub counted: u64,
    /// Units read, for the speed: tokens, padding left out.
    pub units: u64,
}

impl LossSum {
    /// Mean loss of a counted unit.
    pub fn mean(&self) -> f64 {
        self.loss / self.counted as f64
    }

    /// Adds a loss and its gradients, which `model`'s parameters have in `gradients`.
    ///
    /// # Errors
    /// [`TrainError::Device`] if the value cannot be read back.
    pub fn add_backward<M: Module>(&mut self, model: &M, loss: Tensor<1>, counted: u64) -> Result<(), TrainError> {
        self.add_gradients(model, loss.backward());
        self.add(&loss.inner(), counted)
    }

    /// Adds gradients alone.
    pub fn add_gradients<M: Module>(&mut self, model: &M, gradients: Gradients) {
        self.gradients.add(gradients, model);
    }

    /// Adds a loss alone.
    ///
    /// # Errors
    /// As [`LossSum::add_backward`].
    pub fn add(&mut self, loss: &Tensor<1>, counted: u64) -> Result<(), TrainError> {
        let value = loss.clone().try_into_scalar::<f32>();
        self.loss += f64::from(value.map_err(|error| TrainError::Device { reason: error.to_string() })?);
        self.counted += counted;
        Ok(())
    }
}
