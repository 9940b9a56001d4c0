//! What can go wrong while measuring.

use danlu_model::ModelError;
use danlu_train::TrainError;

/// Errors of a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error("the device failed: {reason}")]
    Device { reason: String },
}

impl BenchError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            BenchError::Model(error) => error.hint(),
            BenchError::Train(error) => error.hint(),
            BenchError::Device { .. } => None,
        }
    }
}
