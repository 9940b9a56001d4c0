//! What can go wrong before and around serving. A request's own errors are `ApiError`s.

use std::{io, path::PathBuf};

/// Why a server could not start or ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting cannot work.
    #[error("setting `{key}` {reason}")]
    Config {
        /// The key in [`crate::ServeConfig`].
        key: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
    /// The address could not be listened on.
    #[error("cannot listen on {host}:{port}")]
    Bind {
        /// The host asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
    /// The model folder could not be loaded.
    #[error("cannot load the model in {}", path.display())]
    Model {
        /// The model folder.
        path: PathBuf,
        /// What the model crate says.
        #[source]
        cause: Box<danlu_model::ModelError>,
    },
    /// The model folder's tokenizer or chat template could not be loaded.
    #[error("cannot load the tokenizer in {}", path.display())]
    Tokenizer {
        /// The model folder.
        path: PathBuf,
        /// What the text crate says.
        #[source]
        cause: danlu_text::TextError,
    },
    /// Tokenizer and model do not belong together.
    #[error("{}: the tokenizer has {tokenizer} tokens, but the model only {model}", path.display())]
    VocabularyMismatch {
        /// The model folder.
        path: PathBuf,
        /// Size of the tokenizer's vocabulary.
        tokenizer: usize,
        /// Rows of the model's embedding.
        model: usize,
    },
    /// A prompt that cannot be rendered or cut into tokens.
    #[error("the prompt cannot be used: {reason}")]
    Prompt {
        /// What is wrong with it.
        reason: String,
    },
    /// A completion outside the server failed.
    #[error("cannot continue the prompt")]
    Generate {
        /// What the model crate says.
        #[source]
        cause: danlu_model::ModelError,
    },
    /// A text cannot be held to the form that it is asked to have.
    #[error("the text cannot be held to its form")]
    Grammar {
        /// What the text crate says.
        #[source]
        cause: danlu_text::TextError,
    },
    /// The run database could not be opened.
    #[error("cannot open the run database")]
    Store(#[from] danlu_store::StoreError),
    /// A thread or the runtime could not be started.
    #[error("cannot start {what}")]
    Start {
        /// What was to be started.
        what: &'static str,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
}

impl ServeError {
    /// The remedy, in one sentence, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config { key, .. } => Some(format!("change or leave out `{key}`")),
            Self::Read { .. } => Some("check that the file exists and may be read".into()),
            Self::Bind { cause, port, .. } => Some(match cause.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("another program uses port {port}: choose one with --port, or --port 0 for a free one")
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need rights: choose a higher one with --port".into()
                }
                _ => "use an address of this machine, such as 127.0.0.1 or 0.0.0.0".into(),
            }),
            Self::Model { cause, .. } => cause.hint(),
            Self::Tokenizer { cause, .. } => cause.hint(),
            Self::Generate { cause } => cause.hint(),
            Self::Grammar { cause } => cause.hint(),
            Self::Prompt { .. } => None,
            Self::VocabularyMismatch { .. } => {
                Some("put the tokenizer.json with which the model was trained into its folder".into())
            }
            Self::Store(cause) => cause.hint(),
            Self::Start { .. } => None,
        }
    }
}
