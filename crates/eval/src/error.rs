use std::path::PathBuf;

use danlu_data::DataError;
use danlu_formats::FormatError;
use danlu_model::ModelError;
use danlu_text::TextError;

/// What can go wrong while a model or a baseline is scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    #[error("no text to evaluate: {seen} documents read, none of them has a token")]
    NothingToScore { seen: u64 },

    #[error("evaluation window: {reason}")]
    Window { reason: String },

    #[error("the model gave a non-finite value at token {position} of document {document}")]
    NotFinite { document: String, position: usize },

    #[error("token id {token} of document {document} lies outside the model's vocabulary of {vocab_size}")]
    OutsideVocabulary { document: String, token: u32, vocab_size: usize },

    #[error("the model answered with {actual} logits where {expected} were expected")]
    LogitShape { expected: usize, actual: usize },

    #[error("the logits cannot be read back from the device: {reason}")]
    Device { reason: String },

    #[error("{}: {found}, expected {expected}", path.display())]
    WrongModel { path: PathBuf, found: String, expected: &'static str },

    #[error("{key} = {value}: expected {need}")]
    Setting { key: &'static str, value: String, need: String },

    #[error("cannot read {}", path.display())]
    Open { path: PathBuf, source: std::io::Error },

    #[error("{}", path.display())]
    Picture { path: PathBuf, source: FormatError },

    #[error("xz compression failed: {0}")]
    Xz(#[from] std::io::Error),

    #[error(transparent)]
    Data(#[from] DataError),

    #[error(transparent)]
    Model(#[from] ModelError),

    #[error(transparent)]
    Text(#[from] TextError),
}

impl EvalError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NothingToScore { .. } => {
                Some("give a file with text, or enlarge the test split (`clean` section of the recipe)".into())
            }
            Self::Window { .. } => {
                Some("`seq_len` must be between 1 and the model's context, `stride` between 1 and `seq_len`".into())
            }
            Self::NotFinite { .. } => {
                Some("the weights are damaged or the training diverged: use an earlier checkpoint".into())
            }
            Self::OutsideVocabulary { .. } => {
                Some("the tokenizer and the model do not belong together: use the folder's own tokenizer.json".into())
            }
            Self::Picture { .. } => Some("give pictures in PNG or JPEG".into()),
            Self::WrongModel { .. } => Some("`danlu inspect MODEL` says what a folder holds".into()),
            Self::Data(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Text(error) => error.hint(),
            _ => None,
        }
    }
}
