//! What can go wrong in a run, each with the remedy that the command line prints as `hint:`.

use std::path::PathBuf;

use crate::graph::Stage;

/// A failure of a recipe or of a run.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The recipe file cannot be read.
    #[error("cannot read the recipe {path}")]
    ReadRecipe { path: PathBuf, source: std::io::Error },
    /// The recipe is not valid TOML, or a key or value in it is wrong.
    #[error("{path}:{line}: {message}")]
    Recipe { path: PathBuf, line: usize, message: String, hint: Option<String> },
    /// A value that parses but cannot work.
    #[error("{path}: {key}: {message}")]
    Value { path: PathBuf, key: String, message: String, hint: String },
    /// `--only` was asked for a stage whose inputs are not there.
    #[error("stage `{stage}` needs the result of `{missing}`, which has not been made for this recipe")]
    MissingInput { stage: Stage, missing: Stage },
    /// `--from` or `--only` was asked for a stage that the recipe has no section for.
    #[error("the recipe has no stage `{stage}`")]
    NotInRecipe { stage: Stage },
    /// Another process works on the same artifact.
    #[error("another danlu process is at work on stage `{stage}` ({lock})")]
    Busy { stage: Stage, lock: PathBuf },
    /// Ctrl-C.
    #[error("stopped by request in stage `{stage}`: {detail}")]
    Interrupted { stage: Stage, detail: String },
    /// An artifact of an earlier stage that cannot be read back.
    #[error("cannot read {path}: {message}")]
    Artifact { path: PathBuf, message: String },
    /// The device that was asked for is not in this build, or unknown.
    #[error("device `{name}`: {message}")]
    Device { name: String, message: String, hint: String },
    /// A job that this program cannot help with.
    #[error("the job at {address}: {message}")]
    ForeignJob { address: String, message: String },
    #[error(transparent)]
    Work(#[from] danlu_work::WorkError),
    #[error(transparent)]
    Store(#[from] danlu_store::StoreError),
    #[error(transparent)]
    Text(#[from] danlu_text::TextError),
    #[error(transparent)]
    Data(#[from] danlu_data::DataError),
    #[error(transparent)]
    Model(#[from] danlu_model::ModelError),
    #[error(transparent)]
    Train(#[from] danlu_train::TrainError),
    #[error(transparent)]
    Eval(#[from] danlu_eval::EvalError),
    #[error(transparent)]
    Compress(#[from] danlu_compress::CompressError),
}

impl PipelineError {
    /// The remedy, in one sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ReadRecipe { .. } => Some("give the path of a recipe, for example recipes/quickstart.toml".into()),
            Self::Recipe { hint, .. } => hint.clone(),
            Self::Value { hint, .. } | Self::Device { hint, .. } => Some(hint.clone()),
            Self::MissingInput { missing, .. } => {
                Some(format!("run `danlu run RECIPE --only {missing}` first, or leave out --only"))
            }
            Self::NotInRecipe { stage } => {
                Some(format!("add a section [{stage}] to the recipe, or name another stage"))
            }
            Self::Busy { .. } => Some("wait for it to end, or give this run another --runs-dir".into()),
            Self::Interrupted { .. } => Some("give the same command again to go on from here".into()),
            Self::Artifact { .. } => Some("run again with --from STAGE to make this artifact anew".into()),
            Self::ForeignJob { .. } => Some("use the same danlu on all machines".into()),
            Self::Work(e) => e.hint(),
            Self::Store(e) => e.hint(),
            Self::Text(e) => e.hint(),
            Self::Data(e) => e.hint(),
            Self::Model(e) => e.hint(),
            Self::Train(e) => e.hint(),
            Self::Eval(e) => e.hint(),
            Self::Compress(e) => e.hint(),
        }
    }
}
