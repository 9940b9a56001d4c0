use std::path::{Path, PathBuf};

use danlu_store::StoreError;
use danlu_weights::WeightsError;

/// Why a model could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file contradicts itself, or lacks what it must have.
    #[error("{}: {what}", path.display())]
    Malformed { path: PathBuf, what: String },
    /// The model is sound, but danlu does not know its kind.
    #[error("{}: {what}", path.display())]
    Unsupported { path: PathBuf, what: String },
}

impl ConvertError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Some("choose another --out, or remove it".into())
            }
            Self::Malformed { what, .. } | Self::Weights(WeightsError::Malformed { what, .. })
                if what.contains("not whole") =>
            {
                Some("fetch the file again".into())
            }
            _ => None,
        }
    }

    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), what: what.into() }
    }

    pub(crate) fn unsupported(path: &Path, what: impl Into<String>) -> Self {
        Self::Unsupported { path: path.into(), what: what.into() }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}
