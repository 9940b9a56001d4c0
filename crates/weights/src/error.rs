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
    /// The file breaks its format, or lacks what it must have; `what` names the place.
    #[error("{}: {what}", path.display())]
    Malformed { path: PathBuf, what: String },
    /// The file is shorter than it says.
    #[error("{}: {what}: it is not whole", path.display())]
    NotWhole { path: PathBuf, what: String },
    /// The file is sound, but of a kind that danlu does not read or write.
    #[error("{}: {what}", path.display())]
    Unsupported { path: PathBuf, what: String },
    /// A pickle that asks for more than tensors: to load it would be to run it.
    #[error("{}: a pickle with code in it: it asks for {name}", path.display())]
    Code { path: PathBuf, name: String },
    /// What torch.save wrote before PyTorch 1.6 (2020), or was told to write.
    #[error("{}: written in PyTorch's old format, which is no zip archive", path.display())]
    OldPyTorch { path: PathBuf },
}

impl WeightsError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                "choose another --out, or remove it"
            }
            Self::NotWhole { .. } => "fetch the file again",
            Self::Code { .. } => {
                "danlu runs no code of a file: get the model as safetensors, or let whoever trusts this file save the \
                 weights alone, torch.save(model.state_dict(), PATH)"
            }
            Self::OldPyTorch { .. } => "save it again in Python: torch.save(torch.load(PATH, weights_only=True), PATH)",
            _ => return None,
        };
        Some(hint.into())
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    pub(crate) fn malformed(path: &std::path::Path, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), what: what.into() }
    }

    pub(crate) fn unsupported(path: &std::path::Path, what: impl Into<String>) -> Self {
        Self::Unsupported { path: path.into(), what: what.into() }
    }
}
