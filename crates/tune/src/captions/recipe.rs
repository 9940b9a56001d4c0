//! The recipe of captions: one TOML file, every section the config struct of the room that it speaks to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use danlu_data::SourceConfig;
use danlu_eval::IMAGE_PLACEHOLDER;
use danlu_model::{BeamConfig, VisionLanguageConfig};
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
    /// `captions`.
    pub task: TaskKind,
    /// Names the run; letters, digits, `-` and `_`.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Seed of everything random: first weights, order of captions, dropout.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Pictures with their captions.
    pub data: PicturesConfig,
    /// The folder of a model that sees to begin with, relative to the recipe, instead of random weights; its tokenizer and its
    /// shape then stand, and `tokenizer` and `model` say nothing.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// The vocabulary, one for all languages, learnt from the training captions; the token for pictures is one more.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// The shape of the model.
    #[serde(default)]
    pub model: VisionLanguageConfig,
    /// How captions are learnt. `batch_size` counts captions; `seq_len` is the most tokens of picture, prompt and caption:
    /// longer ones are left out, and counted.
    #[serde(default)]
    pub train: TrainConfig,
    /// How the pictures of the test split are captioned.
    #[serde(default)]
    pub caption: BeamConfig,
}

/// `[data]`: where pictures are from, and which are kept for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PicturesConfig {
    /// As in other recipes; `text_field` names the column of the pictures' files.
    pub sources: Vec<SourceConfig>,
    /// The folder that their paths start from, relative to the recipe.
    pub folder: PathBuf,
    /// The column of captions in each language.
    pub captions: Vec<CaptionField>,
    /// The column of what pictures show: those with the same value are in the same split. Left out: each is on its own.
    pub group_field: Option<String>,
    /// Stop at the first malformed record or picture instead of counting and skipping it.
    pub strict: bool,
    /// Part of the groups by which training is watched.
    pub valid: f64,
    /// Part of the groups that only the scores see.
    pub test: f64,
}

/// Captions in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionField {
    pub field: String,
    /// ISO 639-1.
    pub language: String,
    /// What stands before the caption, with `<image>` once.
    pub prompt: String,
}

impl Default for PicturesConfig {
    fn default() -> Self {
        PicturesConfig {
            sources: Vec::new(),
            folder: PathBuf::new(),
            captions: Vec::new(),
            group_field: None,
            strict: false,
            valid: default_valid(),
            test: default_test(),
        }
    }
}

impl Recipe {
    /// What decides which picture is in which split, and its captions.
    pub(super) fn parts(&self) -> Value {
        let data = &self.data;
        json!({ "valid": data.valid, "test": data.test, "captions": data.captions, "group": data.group_field })
    }

    /// Names the first value that cannot work, before any work is done.
    ///
    /// # Errors
    /// [`TuneError::Config`], and what the rooms say of their sections.
    pub fn check(&self) -> Result<(), TuneError> {
        check_common((self.task, TaskKind::Captions), &self.name, &self.data.sources)?;
        check_shares(self.data.valid, self.data.test)?;
        if self.data.captions.is_empty() {
            return Err(bad("data.captions", "empty", "at least one column of captions"));
        }
        for caption in &self.data.captions {
            if caption.prompt.matches(IMAGE_PLACEHOLDER).count() != 1 {
                let need = format!("a text with {IMAGE_PLACEHOLDER} once, where the picture is");
                return Err(bad("data.captions.prompt", format!("{:?}", caption.prompt), need));
            }
        }
        let prompts: BTreeSet<&str> = self.data.captions.iter().map(|caption| caption.prompt.as_str()).collect();
        if prompts.len() < self.data.captions.len() {
            return Err(bad("data.captions.prompt", "the same twice", "another one for each column"));
        }
        self.caption.validate()?;
        self.train.check()?;
        if self.from.is_some() {
            return Ok(());
        }
        self.model.validate()?;
        let (seq_len, most, places) = (self.train.seq_len, self.model.text.max_seq_len, self.model.places());
        if seq_len > most || seq_len <= places {
            let need = format!("above the {places} places of a picture and at most model.text.max_seq_len, {most}");
            return Err(bad("train.seq_len", seq_len.to_string(), need));
        }
        Ok(())
    }
}
