use danlu_data::DataError;
use danlu_model::ModelError;
use danlu_store::StoreError;
use std::path::PathBuf;

/// What can end a training run badly. Causes are the errors' `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    #[error("`{key}` is {value}; it must be {need}")]
    Config { key: String, value: String, need: String },

    #[error("{} belongs to another run: {what} differ", path.display())]
    OtherRun { path: PathBuf, what: String },

    #[error("{} has a vocabulary of {shard} tokens, the model one of {model}", path.display())]
    Vocabulary { path: PathBuf, shard: usize, model: usize },

    #[error("gave up at step {step} after {failures} failed steps in a row; the last: {last}")]
    Diverged { step: u64, failures: u32, last: String },

    #[error("the checkpoint of step {step} could not be written")]
    CheckpointNotWritten { step: u64, source: Box<TrainError> },

    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },

    #[error("the device failed: {reason}")]
    Device { reason: String },

    #[error(transparent)]
    Store(#[from] StoreError),

    #[error(transparent)]
    Model(#[from] ModelError),

    #[error(transparent)]
    Data(#[from] DataError),
}

impl TrainError {
    /// The remedy in one sentence, where there is one that the user can apply.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Config { key, .. } => format!("set `{key}` in the recipe's [train] section"),
            Self::OtherRun { path, .. } => {
                format!("give the run its own folder, or delete {} to start over", path.display())
            }
            Self::Vocabulary { .. } => {
                "write the token shards with the tokenizer that the model is made for".to_owned()
            }
            Self::Diverged { .. } => "lower `learning_rate`, lengthen `warmup_steps` or tighten `grad_clip`; the last \
                 good checkpoint is kept"
                .to_owned(),
            Self::CheckpointNotWritten { source, .. } => {
                let cause = source.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
                format!("{cause}the previous checkpoint is intact and training resumes from it")
            }
            Self::Store(error) => return error.hint(),
            Self::Model(error) => return error.hint(),
            Self::Data(error) => return error.hint(),
            Self::Damaged { .. } | Self::Device { .. } => return None,
        };
        Some(hint)
    }
}
