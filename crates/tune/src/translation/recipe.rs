//! The recipe of a translation: one TOML file, every section the config struct of the room that it speaks to.

use std::path::PathBuf;

use danlu_data::SourceConfig;
use danlu_model::{BeamConfig, EncoderDecoderConfig};
use danlu_text::TokenizerConfig;
use danlu_train::TrainConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::recipe::{bad, check_common, check_shares, default_seed, default_test, default_valid};
use crate::{TaskKind, TuneError};

/// A recipe with every value filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// `translation`.
    pub task: TaskKind,
    /// Names the run; letters, digits, `-` and `_`.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Seed of everything random: first weights, order of pairs, dropout.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Texts with their translations.
    pub data: PairsConfig,
    /// The folder of an encoder-decoder to begin with, relative to the recipe, instead of random weights; its tokenizer
    /// and its shape then stand, and `tokenizer` and `model` say nothing.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// The vocabulary, one for both languages, learnt from the training pairs.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// The shape of the encoder-decoder.
    #[serde(default)]
    pub model: EncoderDecoderConfig,
    /// How translations are learnt. `batch_size` counts pairs; `seq_len` is the most tokens of either side: longer pairs
    /// are left out, and counted.
    #[serde(default)]
    pub train: TrainConfig,
    /// How the test split is translated.
    #[serde(default)]
    pub translate: BeamConfig,
}

/// `[data]`: where pairs are from, and which are kept for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairsConfig {
    /// As in other recipes; `text_field` names the column of source texts.
    pub sources: Vec<SourceConfig>,
    /// The column of translations.
    pub target_field: String,
    /// Language of the translations (ISO 639-1): what BLEU takes for a word. In Chinese that is a character.
    pub target_language: String,
    /// Stop at the first malformed record instead of counting and skipping it.
    pub strict: bool,
    /// Part of the pairs by which training is watched.
    pub valid: f64,
    /// Part of the pairs that only the scores see.
    pub test: f64,
}

impl Default for PairsConfig {
    fn default() -> Self {
        PairsConfig {
            sources: Vec::new(),
            target_field: "target".into(),
            target_language: "en".into(),
            strict: false,
            valid: default_valid(),
            test: default_test(),
        }
    }
}

impl Recipe {
    /// What decides which pair is in which split.
    pub(super) fn parts(&self) -> Value {
        json!({ "valid": self.data.valid, "test": self.data.test, "target": self.data.target_field })
    }

    /// Names the first value that cannot work, before any work is done.
    ///
    /// # Errors
    /// [`TuneError::Config`], and what the rooms say of their sections.
    pub fn check(&self) -> Result<(), TuneError> {
        check_common((self.task, TaskKind::Translation), &self.name, &self.data.sources)?;
        check_shares(self.data.valid, self.data.test)?;
        self.translate.validate()?;
        self.train.check()?;
        if self.from.is_some() {
            return Ok(());
        }
        self.model.validate()?;
        let (seq_len, most) = (self.train.seq_len, self.model.max_seq_len);
        if seq_len > most {
            return Err(bad("train.seq_len", seq_len.to_string(), format!("at most model.max_seq_len, {most}")));
        }
        Ok(())
    }
}
