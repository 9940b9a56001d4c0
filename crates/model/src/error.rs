//! What can go wrong with a model, with the values that say where.

use std::path::PathBuf;

/// Errors of building, loading, saving and running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    #[error("cannot {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: danlu_store::StoreError },
    #[error("{path} is not valid JSON")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{path} is not a whole safetensors file")]
    Safetensors { path: PathBuf, source: safetensors::SafeTensorError },
    #[error("{path} is a checkpoint of PyTorch, expected safetensors")]
    PyTorch { path: PathBuf },
    #[error("model setting `{key}` = {found}: expected {expected}")]
    InvalidConfig { key: &'static str, found: String, expected: String },
    #[error("{path}: `{key}` is {found}, expected {expected}")]
    UnsupportedConfig { path: PathBuf, key: String, found: String, expected: String },
    #[error("{path}: unknown architecture {found}, expected one of {}", known.join(", "))]
    UnknownArchitecture { path: PathBuf, found: String, known: &'static [&'static str] },
    #[error("{path}: tensor `{tensor}` is missing, expected shape {expected:?}")]
    MissingTensor { path: PathBuf, tensor: String, expected: Vec<usize> },
    #[error("{path}: tensor `{tensor}` belongs to no layer of this architecture")]
    UnexpectedTensor { path: PathBuf, tensor: String },
    #[error("{path}: tensor `{tensor}` has shape {found:?}, expected {expected:?}")]
    WrongShape { path: PathBuf, tensor: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("{path}: tensor `{tensor}` has element type {found}, expected {expected}")]
    WrongType { path: PathBuf, tensor: String, expected: &'static str, found: String },
    #[error("{path}: tensor `{tensor}` holds {value} at element {index}, expected finite numbers")]
    NotFinite { path: PathBuf, tensor: String, index: usize, value: f32 },
    #[error("the model gave a logit of {value} for token {token} of sequence {sequence}, expected finite numbers")]
    NotFiniteLogits { sequence: usize, token: usize, value: f32 },
    #[error("context full: {held} tokens held and {adding} to add, but the model's context is {capacity} tokens")]
    ContextFull { held: usize, adding: usize, capacity: usize },
    #[error("token id {token} at position {position} of sequence {sequence} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange { sequence: usize, position: usize, token: u32, vocab_size: usize },
    #[error("a recurrent state of {held} tokens cannot go back to {to}: it holds no single step")]
    CannotRewind { held: usize, to: usize },
    #[error("sequence {sequence} has no tokens, expected at least one")]
    NoTokens { sequence: usize },
    #[error("{sequences} sequences were given with {states} states, expected one state each")]
    StateCount { sequences: usize, states: usize },
    #[error("the state of sequence {sequence} was made for a model of another shape")]
    StateMismatch { sequence: usize },
    #[error("{what}: {found}, expected {expected}")]
    WrongInput { what: &'static str, found: String, expected: String },
    #[error("sampling setting `{key}` = {found}: expected {expected}")]
    InvalidSampling { key: &'static str, found: String, expected: &'static str },
    #[error("the reply's constraint failed: {message}")]
    Constraint { message: String },
    #[error("this model does not give the hidden states of its tokens, which contrastive search compares")]
    NoHiddenStates,
    #[error("tensors could not be read from the device: {message}")]
    Device { message: String },
}

impl ModelError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ModelError::Io { action: "read", .. } => {
                "give a model folder that holds config.json and model.safetensors".to_string()
            }
            ModelError::Safetensors { .. } => {
                "the file was cut off or is not safetensors: copy or download it again".to_string()
            }
            ModelError::PyTorch { path } => {
                let folder = path.parent().unwrap_or(path).display();
                format!("make a folder of safetensors of it: danlu import {folder} --out DIR")
            }
            ModelError::MissingTensor { .. } | ModelError::WrongShape { .. } | ModelError::UnexpectedTensor { .. } => {
                "config.json and model.safetensors do not belong together: restore both from one source".to_string()
            }
            ModelError::NotFinite { .. } | ModelError::NotFiniteLogits { .. } => {
                "the weights are damaged or training diverged: use an earlier checkpoint".to_string()
            }
            ModelError::UnknownArchitecture { .. } => {
                "use a model of one of these; one that is built the same can be saved as it in Python".to_string()
            }
            ModelError::ContextFull { capacity, .. } => {
                format!("shorten the prompt so that prompt and reply fit in {capacity} tokens")
            }
            ModelError::CannotRewind { .. } => {
                "keep a clone of the state where it will be needed again, or begin anew".to_string()
            }
            ModelError::TokenOutOfRange { .. } => "use the tokenizer that the model was trained with".to_string(),
            ModelError::NoHiddenStates => "sample, or use beam search".to_string(),
            ModelError::Write { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}
