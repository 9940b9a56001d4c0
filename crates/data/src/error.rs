use std::path::{Path, PathBuf};

use danlu_sql::SqlError;
use danlu_store::StoreError;
use danlu_text::TextError;

use crate::SplitConfig;

/// What can go wrong between source files and batches.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the disk is full while writing {}", path.display())]
    NoSpace { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("{key}{0}", key = key_of(.0))]
    Sql(#[from] SqlError),
    #[error("source {name:?}: no file matches {pattern:?}")]
    NoFiles { name: String, pattern: String },
    #[error("source {name:?}: {pattern:?} is not a valid pattern: {message}")]
    BadPattern { name: String, pattern: String, message: String },
    #[error("source {name:?}: {} is none of {supported}", path.display())]
    UnsupportedFile { name: String, path: PathBuf, supported: &'static str },
    #[error("{}: there is no column {column:?}; the columns are {}", path.display(), available.join(", "))]
    MissingColumn { path: PathBuf, column: String, available: Vec<String> },
    #[error("{}: {message}", at(path, *line))]
    BadRecord { path: PathBuf, line: Option<u64>, message: String },
    #[error("{place}: {message}")]
    Remote { place: String, message: String },
    #[error("{place}: this danlu was built without the cargo feature {feature:?}")]
    NotBuilt { place: String, feature: &'static str },
    #[error("the corpus is empty: {explanation}")]
    EmptyCorpus { explanation: String },
    #[error("nothing is left: all {documents} documents were dropped ({reasons})")]
    NothingKept { documents: u64, reasons: String },
    /// With the shares that would have given every split a document.
    #[error("the {split} split is empty: none of {documents} kept documents fell into it")]
    EmptySplit { split: &'static str, documents: u64, raised: Option<SplitConfig> },
    #[error("{key}: {message}")]
    BadConfig { key: &'static str, message: String },
    #[error("table {}: {message}", at(path, *row))]
    BadTable { path: PathBuf, row: Option<u64>, message: String },
    #[error("table {} has format version {version}; this danlu knows versions up to {known}", path.display())]
    NewerTable { path: PathBuf, version: u32, known: u32 },
    #[error("signatures {}: {message}", path.display())]
    BadSignatures { path: PathBuf, message: String },
    #[error("conversation {document}: {message}")]
    BadConversation { document: String, message: String },
    #[error(
        "source {name:?} has answers to choose between (chat = {form:?}): a language model would learn the bad ones with the good ones"
    )]
    Preferences { name: String, form: &'static str },
    #[error("snapshot {}: {message}", path.display())]
    BadSnapshot { path: PathBuf, message: String },
    #[error("{}: {message}", path.display())]
    BadThresholds { path: PathBuf, message: String },
    #[error("no document of {place} has the id {id:?}")]
    NoSuchDocument { id: String, place: String },
    #[error("token shard {}: {message}", path.display())]
    BadShard { path: PathBuf, message: String },
    #[error("token shard {} was made with tokenizer {}, not {}", path.display(), short(found), short(expected))]
    WrongTokenizer { path: PathBuf, expected: String, found: String },
    #[error("token shard {} holds {tokens} tokens, and one window of seq_len {seq_len} needs {}", path.display(), seq_len + 1)]
    TooFewTokens { path: PathBuf, tokens: u64, seq_len: usize },
    #[error("token shard {}: none of its {tokens} tokens is to be learnt", path.display())]
    NothingToLearn { path: PathBuf, tokens: u64 },
}

fn at(path: &Path, line: Option<u64>) -> String {
    line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()))
}

/// Where in a recipe what is wrong with SQL stands, as far as that is known.
fn key_of(error: &SqlError) -> &'static str {
    if matches!(error, SqlError::Rule { .. }) { "clean.rules: " } else { "" }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

impl DataError {
    /// An input or output error with what was being done to which file; a full disk is told apart.
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace { path: path.into() },
            _ => Self::Io { action, path: path.into(), source },
        }
    }

    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Store(error) => return error.hint(),
            Self::Text(error) => return error.hint(),
            Self::Sql(error) => return error.hint(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => "check the path",
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "check the file's permissions"
            }
            Self::Io { .. } => return None,
            Self::NoSpace { .. } => "free some space and run again: finished stages are kept",
            Self::NoFiles { .. } => "paths are relative to the recipe's folder; check the path or the glob pattern",
            Self::BadPattern { .. } => "a pattern is a path in which * and ? stand for characters and ** for folders",
            Self::UnsupportedFile { .. } => "narrow the source's path to the files meant, e.g. \"texts/*.jsonl\"",
            Self::MissingColumn { .. } => "set the source's text_field to one of these columns",
            Self::BadRecord { .. } => {
                "repair the record, or run without --strict to skip and count such records (text in another encoding: set the source's encoding, e.g. \"gb18030\")"
            }
            Self::Remote { .. } => {
                "check the address, the network and the credentials; what was fetched before is kept"
            }
            Self::NotBuilt { feature, .. } => {
                return Some(format!("build danlu with it: cargo install --path crates/cli --features {feature}"));
            }
            Self::EmptyCorpus { .. } => "check the sources' paths and their text_field",
            Self::NothingKept { .. } => {
                "`danlu data show RECIPE --reason any` shows what was dropped, `danlu data report RECIPE` counts it; loosen the [clean] limits"
            }
            Self::EmptySplit { raised: Some(SplitConfig { valid, test }), .. } => {
                return Some(format!(
                    "hashes say where a document goes, and these fill every split with `[split] valid = {valid}, test = {test}`; with more documents (split = \"paragraph\" cuts large files) smaller shares do"
                ));
            }
            Self::EmptySplit { raised: None, .. } => {
                "raise the shares of [split], or cut large files into more documents with split = \"paragraph\"; `danlu data show RECIPE --reason any` shows what was dropped"
            }
            Self::BadConfig { .. } => return None,
            Self::BadTable { .. } => {
                "delete the artifact's folder and run again; a table of other origin can be read as a source of a recipe"
            }
            Self::BadShard { .. } => "the file is damaged: delete the artifact's folder and run again",
            Self::NewerTable { .. } => "use the danlu that wrote it, or delete the artifact's folder and run again",
            Self::BadSignatures { .. } => {
                "signatures must be of a run with the same [clean.dedup.near]; run that one again with save_signatures = true"
            }
            Self::BadSnapshot { .. } => "make it again with `danlu data report ... --snapshot FILE`",
            Self::BadThresholds { .. } => {
                "the file holds one table [watch], with keys such as psi = 0.2, ks = 0.1 and volume = 0.5"
            }
            Self::NoSuchDocument { .. } => {
                "`danlu data show RUN --json` prints ids; a document that cleaning changed has another id after it"
            }
            Self::WrongTokenizer { .. } => {
                "write the shards again with the present tokenizer (danlu run --from shards)"
            }
            Self::TooFewTokens { .. } => "use a smaller train.seq_len, or more text",
            Self::BadConversation { .. } => {
                "repair or leave out the conversation; `[chat] learn` says whose turns are learnt"
            }
            Self::Preferences { .. } => {
                "danlu does not train on preferences yet: leave the source out, or give its prompts and good answers as chat = \"messages\"; `--only collect` and `--only clean` still prepare it for another program"
            }
            Self::NothingToLearn { .. } => {
                "the roles of [chat] learn do not occur in the conversations; `danlu data show --masked` shows what is learnt"
            }
        };
        Some(hint.into())
    }
}
