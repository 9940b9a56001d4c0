//! What can end tuning badly, with the values that say where.

use std::path::PathBuf;

use danlu_data::DataError;
use danlu_eval::EvalError;
use danlu_model::ModelError;
use danlu_store::StoreError;
use danlu_text::TextError;
use danlu_train::TrainError;

/// Causes are the errors' `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    #[error("`{key}` is {value}; it must be {need}")]
    Config { key: &'static str, value: String, need: String },

    #[error("no example has a label; {unlabelled} texts were read")]
    NoLabels { unlabelled: u64 },

    #[error("none of the {pairs} pairs of the {split} split has at most {seq_len} tokens on both sides")]
    AllTooLong { split: &'static str, pairs: usize, seq_len: usize },

    #[error("none of the {read} records has a translation in the field `{field}`")]
    NoTranslations { read: u64, field: String },

    #[error("none of the {read} records has a picture with a caption in `{fields}`; {broken} pictures cannot be read{}", first.as_ref().map(|first| format!(", the first: {first}")).unwrap_or_default())]
    NoCaptions { read: u64, broken: u64, fields: String, first: Option<String> },

    #[error("all {examples} examples have the label {label:?}")]
    OneLabel { label: String, examples: u64 },

    #[error("the {split} split has no example of the {examples} that there are")]
    EmptySplit { split: &'static str, examples: u64 },

    #[error("{} has no token that stands for a hidden one", path.display())]
    NoMask { path: PathBuf },

    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },

    #[error("stopped: {detail}")]
    Interrupted { detail: String },

    #[error(transparent)]
    Data(#[from] DataError),

    #[error(transparent)]
    Eval(#[from] EvalError),

    #[error(transparent)]
    Model(#[from] ModelError),

    #[error(transparent)]
    Store(#[from] StoreError),

    #[error(transparent)]
    Text(#[from] TextError),

    #[error(transparent)]
    Train(#[from] TrainError),
}

impl TuneError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Config { key, .. } => format!("change `{key}` in the recipe"),
            Self::NoLabels { .. } => "name the column of labels with `label_field` in [[data.sources]]".to_owned(),
            Self::AllTooLong { .. } => "raise `train.seq_len`".to_owned(),
            Self::NoTranslations { .. } => "name the column of translations with `target_field` in [data]".to_owned(),
            Self::NoCaptions { broken: 0, .. } => {
                "name the columns of captions with `field` in [[data.captions]]".to_owned()
            }
            Self::NoCaptions { .. } => "name the folder that their paths start from with `folder` in [data]".to_owned(),
            Self::OneLabel { .. } => "give examples of at least two labels".to_owned(),
            Self::EmptySplit { split, .. } => format!("raise `data.{split}` or give more examples"),
            Self::NoMask { .. } => "leave out [pretrain], or begin with a folder that has a mask token".to_owned(),
            Self::Damaged { path, .. } => format!("delete {} and run again", path.display()),
            Self::Interrupted { .. } => "run the same command again to go on".to_owned(),
            Self::Data(error) => return error.hint(),
            Self::Eval(error) => return error.hint(),
            Self::Model(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::Text(error) => return error.hint(),
            Self::Train(error) => return error.hint(),
        })
    }
}
