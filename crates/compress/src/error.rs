//! What can go wrong while making a model smaller.

use danlu_model::ModelError;
use std::path::PathBuf;

/// Errors of compression.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("cannot {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the model in {path} is in int8 already")]
    AlreadyQuantized { path: PathBuf },
    #[error("the output folder {path} is the model's own folder")]
    SameFolder { path: PathBuf },
    #[error("nothing to measure: {tokens} tokens to decode after a prompt of {prompt} in a context of {capacity}")]
    NothingToMeasure { tokens: usize, prompt: usize, capacity: usize },
}

impl CompressError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            CompressError::Model(error) => error.hint(),
            CompressError::AlreadyQuantized { .. } => {
                Some("give the folder of the model before it was compressed".into())
            }
            CompressError::SameFolder { .. } => Some("choose another output folder".into()),
            CompressError::Io { .. } | CompressError::NothingToMeasure { .. } => None,
        }
    }
}
