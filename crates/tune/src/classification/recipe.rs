//! The recipe of a classification: one TOML file, every section the config struct of the room that it speaks to.

use std::path::PathBuf;

use danlu_data::{MaskingConfig, SourceConfig};
use danlu_model::EncoderConfig;
use danlu_text::{ClassifierConfig, WordPieceConfig};
use danlu_train::TrainConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::recipe::{check_common, check_shares, default_seed, default_test, default_valid};
use crate::{TaskKind, TuneError};

/// A recipe with every value filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// `classification`; left out, it is that, too.
    #[serde(default)]
    pub task: TaskKind,
    /// Names the run; letters, digits, `-` and `_`.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Seed of everything random: first weights, order of examples, masks, dropout.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Texts with labels.
    pub data: ExamplesConfig,
    /// The folder of an encoder to begin with, relative to the recipe, instead of random weights; its tokenizer and its
    /// shape then stand, and `tokenizer` and `model` say nothing.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// The vocabulary learnt from the training texts.
    #[serde(default)]
    pub tokenizer: WordPieceConfig,
    /// The shape of the encoder; its head is the task's.
    #[serde(default)]
    pub model: EncoderConfig,
    /// What is learnt from the texts before the labels are seen; left out: nothing.
    #[serde(default)]
    pub pretrain: Option<PretrainConfig>,
    /// How the labels are learnt. `seq_len` is the most tokens of an example; longer ones are cut, and counted.
    #[serde(default)]
    pub train: TrainConfig,
    /// The bag of words that it is compared with: a linear classifier over words and pairs of words.
    #[serde(default)]
    pub baseline: ClassifierConfig,
}

/// `[data]`: where examples are from, and which are kept for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamplesConfig {
    /// As in other recipes; `label_field` names the column of labels.
    pub sources: Vec<SourceConfig>,
    /// Stop at the first malformed record instead of counting and skipping it.
    #[serde(default)]
    pub strict: bool,
    /// Part of the examples by which training is watched.
    #[serde(default = "default_valid")]
    pub valid: f64,
    /// Part of the examples that only the scores see.
    #[serde(default = "default_test")]
    pub test: f64,
}

/// `[pretrain]`: masked language modelling (Devlin et al. 2019) on the texts of the training split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// Which tokens are hidden.
    pub masking: MaskingConfig,
    pub train: TrainConfig,
}

impl Recipe {
    /// What decides which example is in which split.
    pub(super) fn parts(&self) -> Value {
        json!({ "valid": self.data.valid, "test": self.data.test })
    }

    /// Names the first value that cannot work, before any work is done.
    ///
    /// # Errors
    /// [`TuneError::Config`], and what the rooms say of their sections.
    pub fn check(&self) -> Result<(), TuneError> {
        check_common((self.task, TaskKind::Classification), &self.name, &self.data.sources)?;
        check_shares(self.data.valid, self.data.test)?;
        if self.from.is_none() {
            self.model.validate()?;
        }
        let pretrain = self.pretrain.as_ref().map(|pretrain| &pretrain.train);
        for (key, train) in [("train.seq_len", Some(&self.train)), ("pretrain.train.seq_len", pretrain)] {
            let Some(train) = train else { continue };
            train.check()?;
            if self.from.is_none() && train.seq_len > self.model.max_seq_len {
                let need = format!("at most model.max_seq_len, {}", self.model.max_seq_len);
                return Err(TuneError::Config { key, value: train.seq_len.to_string(), need });
            }
        }
        self.pretrain.as_ref().map_or(Ok(()), |pretrain| pretrain.masking.check())?;
        Ok(())
    }
}
