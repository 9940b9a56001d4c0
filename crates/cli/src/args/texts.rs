//! What models are asked about texts: `danlu embed`, `danlu classify` and `danlu translate`.

use std::path::PathBuf;

use clap::Args;
use danlu_model::Pooling;

use super::BeamArgs;

/// Which texts a model reads, and how.
#[derive(Args, Debug)]
pub struct TextsArgs {
    /// Texts to read: .jsonl(.gz, .zst), .parquet, .csv, or .txt with blank lines between them; a file or a pattern.
    #[arg(long, value_name = "FILE", required_unless_present = "text")]
    pub data: Option<String>,
    /// A text; may be given several times.
    #[arg(long, conflicts_with = "data")]
    pub text: Vec<String>,
    /// Field that holds the text in records.
    #[arg(long, default_value = "text", value_name = "NAME")]
    pub text_field: String,
    /// Texts that are computed together.
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub batch: usize,
    /// Cut texts to so many tokens (default: what the folder says, at most the model's context).
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Write the results here instead of printing them.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// End with one JSON line for programs.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct EmbedArgs {
    /// A model folder.
    pub model: PathBuf,
    #[command(flatten)]
    pub texts: TextsArgs,
    /// mean: of all tokens; cls: the first token's (default: what the folder says, else mean).
    #[arg(long, value_parser = pooling)]
    pub pooling: Option<Pooling>,
    /// Leave the vectors as long as they are instead of dividing them by their length.
    #[arg(long)]
    pub no_normalize: bool,
}

#[derive(Args, Debug)]
pub struct ClassifyArgs {
    /// A model folder with a sequence classifier.
    pub model: PathBuf,
    #[command(flatten)]
    pub texts: TextsArgs,
    /// Field with the true label, its name or number; a list of them where several are possible.
    #[arg(long, value_name = "NAME", requires = "data")]
    pub label_field: Option<String>,
}

#[derive(Args, Debug)]
pub struct TranslateArgs {
    /// A model folder with an encoder-decoder: Marian, BART, mBART, T5, mT5.
    pub model: PathBuf,
    #[command(flatten)]
    pub texts: TextsArgs,
    /// Field with the reference, a translation made by a person.
    #[arg(long, value_name = "NAME", requires = "data")]
    pub target_field: Option<String>,
    /// Language of the translations: what BLEU takes for a word (zh: each character).
    #[arg(long, value_name = "CODE", default_value = "en")]
    pub target_language: String,
    #[command(flatten)]
    pub search: BeamArgs,
}

fn pooling(text: &str) -> Result<Pooling, String> {
    Pooling::named(text).ok_or_else(|| "known: mean, cls".into())
}
