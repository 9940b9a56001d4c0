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
    #[error("{max_len} tokens have no room for a text beside {special} special tokens")]
    NoRoom { max_len: usize, special: usize },
    #[error("chat template: {message}")]
    ChatTemplate { message: String },
    #[error("{} is not a {what} this program can read: {message}", path.display())]
    BadModel { path: PathBuf, what: &'static str, message: String },
    #[error("{key}: {message}")]
    BadModelConfig { key: &'static str, message: String },
    #[error("a classifier learns to tell two labels apart, and the examples have {}", if labels.is_empty() { "none".into() } else { labels.join(", ") })]
    TooFewLabels { labels: Vec<String> },
    #[error("no example is labelled {label:?}; the labels are {}", labels.join(", "))]
    UnknownLabel { label: String, labels: Vec<String> },
    #[error("the grammar cannot be used: {message}")]
    Grammar { message: String },
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
                "a tokenizer.json of byte-level BPE or SentencePiece's kind is expected, as danlu or Hugging Face `tokenizers` writes it"
                    .into(),
            ),
            Self::NoText => Some("check that the cleaning step keeps at least one training document".into()),
            Self::VocabularyTooSmall { smallest, .. } => {
                Some(format!("set tokenizer.vocab_size to {smallest} or more"))
            }
            Self::VocabularyTooLarge { largest, .. } => Some(format!(
                "set tokenizer.vocab_size to {largest} or less, lower tokenizer.min_frequency, or add text"
            )),
            Self::BadModel { .. } => Some("train it again, or name the file that training wrote".into()),
            Self::BadModelConfig { .. } => None,
            Self::NoRoom { special, .. } => Some(format!("allow {} tokens or more", special + 1)),
            Self::TooFewLabels { .. } => Some("add examples of another label".into()),
            Self::UnknownLabel { .. } => Some("name one of them as the positive label".into()),
            Self::Grammar { .. } => {
                Some("simplify it: fewer alternatives, smaller bounds of repetition, no look-around".into())
            }
            Self::BadWordList { .. } => Some("split the list, or name fewer words".into()),
            Self::ChatTemplate { .. } => {
                Some("the template stands under `chat_template` in the model folder's tokenizer_config.json".into())
            }
        }
    }
}
