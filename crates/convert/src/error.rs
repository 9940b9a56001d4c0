use std::path::Path;

use danlu_store::StoreError;
use danlu_text::TextError;
use danlu_weights::WeightsError;

/// Why a model could not be taken over. What is wrong with any file of it is said in the terms of [`WeightsError`].
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    File(#[from] WeightsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Text(#[from] TextError),
}

impl ConvertError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Text(error) => error.hint(),
        }
    }

    /// The file contradicts itself, or lacks what it must have.
    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        WeightsError::Malformed { path: path.into(), what: what.into() }.into()
    }

    /// The model is sound, but danlu does not know its kind.
    pub(crate) fn unsupported(path: &Path, what: impl Into<String>) -> Self {
        WeightsError::Unsupported { path: path.into(), what: what.into() }.into()
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        WeightsError::Io { action, path: path.into(), source }.into()
    }
}
