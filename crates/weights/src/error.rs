use std::path::PathBuf;

/// What can be wrong with a file of weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file breaks its format; `what` names the place.
    #[error("{}: {what}", path.display())]
    Malformed { path: PathBuf, what: String },
    /// The file is sound, but of a kind that danlu does not read or write.
    #[error("{}: {what}", path.display())]
    Unsupported { path: PathBuf, what: String },
}

impl WeightsError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}
