use std::path::PathBuf;

/// What can go wrong between text and token ids.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is not a tokenizer this program can read: {message}", path.display())]
    BadTokenizer { path: PathBuf, message: String },
    #[error("tokenizer training failed: {message}")]
    Training { message: String },
    #[error("there is no text to train a tokenizer on")]
    NoText,
    #[error("vocab_size {requested} is below {smallest}: 256 bytes and {} special tokens are always present", smallest - 256)]
    VocabularyTooSmall { requested: usize, smallest: usize },
    #[error(
        "vocab_size {requested} is more than the text supports: at min_frequency {min_frequency} it yields at most {largest} tokens"
    )]
    VocabularyTooLarge { requested: usize, largest: usize, min_frequency: u64 },
    #[error("cannot encode text of {bytes} bytes: {message}")]
    Encode { bytes: usize, message: String },
    #[error("chat template: {message}")]
    ChatTemplate { message: String },
    #[error("a word list of {entries} entries cannot be searched for: {message}")]
    BadWordList { entries: usize, message: String },
}

impl TextError {
    /// The remedy in one sentence, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("check the path; a model folder holds tokenizer.json beside model.safetensors".into())
            }
            Self::Io { .. } | Self::Training { .. } | Self::Encode { .. } => None,
            Self::BadTokenizer { .. } => Some(
                "a byte-level BPE tokenizer.json as written by danlu or by Hugging Face `tokenizers` is expected"
                    .into(),
            ),
            Self::NoText => Some("check that the cleaning step keeps at least one training document".into()),
            Self::VocabularyTooSmall { smallest, .. } => {
                Some(format!("set tokenizer.vocab_size to {smallest} or more"))
            }
            Self::VocabularyTooLarge { largest, .. } => Some(format!(
                "set tokenizer.vocab_size to {largest} or less, lower tokenizer.min_frequency, or add text"
            )),
            Self::BadWordList { .. } => Some("split the list, or name fewer words".into()),
            Self::ChatTemplate { .. } => {
                Some("the template stands under `chat_template` in the model folder's tokenizer_config.json".into())
            }
        }
    }
}
