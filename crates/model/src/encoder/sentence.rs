//! Embeddings of whole texts: pooling, and the files in which sentence-transformers says how.

use super::{Encoder, EncoderInput};
use crate::folder::{create, read_json, write_json};
use crate::{DropoutKey, ModelError};
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;

const MODULES_FILE: &str = "modules.json";
const SENTENCE_FILE: &str = "sentence_bert_config.json";
const POOLING_FOLDER: &str = "1_Pooling";

/// How the rows of a text's tokens become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean over its tokens, special ones included (Reimers and Gurevych 2019).
    #[default]
    Mean,
    /// The first token's.
    Cls,
}

impl Pooling {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Pooling::Mean),
            "cls" => Some(Pooling::Cls),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
        }
    }
}

/// How a model makes the embedding of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SentenceConfig {
    pub pooling: Pooling,
    /// To length 1, so that the scalar product is the cosine.
    pub normalize: bool,
    /// Tokens beyond this are cut off, special tokens included; left out: the model's context.
    pub max_seq_len: Option<usize>,
}

impl Default for SentenceConfig {
    fn default() -> Self {
        SentenceConfig { pooling: Pooling::Mean, normalize: true, max_seq_len: None }
    }
}

impl SentenceConfig {
    /// What a folder says of itself in the files of sentence-transformers (`modules.json`, the pooling's `config.json`,
    /// `sentence_bert_config.json`); `None` if it has no `modules.json`.
    ///
    /// # Errors
    /// A file that cannot be read, a module that danlu does not have, or a pooling other than `mean` and `cls`.
    pub fn load(dir: &Path) -> Result<Option<Self>, ModelError> {
        let path = dir.join(MODULES_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let bytes =
            std::fs::read(&path).map_err(|source| ModelError::Io { action: "read", path: path.clone(), source })?;
        let modules: Vec<SentenceModule> =
            serde_json::from_slice(&bytes).map_err(|source| ModelError::Json { path: path.clone(), source })?;
        let mut config = SentenceConfig { normalize: false, ..SentenceConfig::default() };
        for module in &modules {
            match module.kind.rsplit('.').next() {
                Some("Transformer") => {}
                Some("Normalize") => config.normalize = true,
                Some("Pooling") => config.pooling = pooling(dir, &path, &module.path)?,
                _ => {
                    return Err(ModelError::UnsupportedConfig {
                        path,
                        key: "type".into(),
                        found: module.kind.clone(),
                        expected: "the modules Transformer, Pooling and Normalize of sentence-transformers".into(),
                    });
                }
            }
        }
        let path = dir.join(SENTENCE_FILE);
        if path.exists() {
            let json = read_json(&path)?;
            config.max_seq_len = json.get("max_seq_length").and_then(Value::as_u64).map(|n| n as usize);
        }
        Ok(Some(config))
    }

    pub(super) fn save(&self, dir: &Path, hidden_size: usize) -> Result<(), ModelError> {
        let folder = dir.join(POOLING_FOLDER);
        create(&folder)?;
        write_json(
            &folder.join("config.json"),
            &json!({
                "word_embedding_dimension": hidden_size,
                "pooling_mode_cls_token": self.pooling == Pooling::Cls,
                "pooling_mode_mean_tokens": self.pooling == Pooling::Mean,
                "pooling_mode_max_tokens": false,
                "pooling_mode_mean_sqrt_len_tokens": false,
            }),
        )?;
        let mut modules = vec![("", "Transformer"), (POOLING_FOLDER, "Pooling")];
        if self.normalize {
            modules.push(("2_Normalize", "Normalize"));
        }
        let modules = modules.into_iter().enumerate().map(|(i, (path, kind))| {
            json!({"idx": i, "name": i.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")})
        });
        if let Some(longest) = self.max_seq_len {
            write_json(&dir.join(SENTENCE_FILE), &json!({"max_seq_length": longest, "do_lower_case": false}))?;
        }
        write_json(&dir.join(MODULES_FILE), &Value::Array(modules.collect()))
    }
}

#[derive(Deserialize)]
struct SentenceModule {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The one pooling that a module's config.json asks for.
fn pooling(dir: &Path, modules: &Path, folder: &str) -> Result<Pooling, ModelError> {
    let plain = !folder.is_empty() && folder.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !plain {
        let (path, key, found) = (modules.to_path_buf(), "path".into(), folder.to_string());
        return Err(ModelError::UnsupportedConfig { path, key, found, expected: "a folder's name".into() });
    }
    let path = dir.join(folder).join("config.json");
    let json = read_json(&path)?;
    let modes = asked_for(&json);
    match modes.as_slice() {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::Cls),
        _ => Err(ModelError::UnsupportedConfig {
            path,
            key: "pooling_mode".into(),
            found: if modes.is_empty() { "none".into() } else { modes.join(" and ") },
            expected: "mean or cls, one of them".into(),
        }),
    }
}

/// The modes that are on, in the one form of the file (a flag for each) or the other (a name).
fn asked_for(json: &Map<String, Value>) -> Vec<&str> {
    if let Some(name) = json.get("pooling_mode").and_then(Value::as_str) {
        return vec![name];
    }
    let on = json.iter().filter(|(_, value)| **value == Value::Bool(true));
    on.filter_map(|(key, _)| key.strip_prefix("pooling_mode_")).collect()
}

impl Encoder {
    /// Embeddings of the sequences.
    ///
    /// Returns (sequences, hidden).
    ///
    /// # Errors
    /// As [`Encoder::hidden`].
    pub fn embed(
        &self,
        input: &EncoderInput,
        pooling: Pooling,
        normalize: bool,
        dropout: Option<DropoutKey>,
    ) -> Result<Tensor<2>, ModelError> {
        let hidden = self.hidden(input, dropout)?;
        let [batch, time, width] = hidden.dims();
        let pooled: Tensor<2> = match pooling {
            Pooling::Cls => hidden.narrow(1, 0, 1).reshape([batch, width]),
            Pooling::Mean => {
                let mut shares = vec![0.0f32; batch * time];
                for (row, ids) in shares.chunks_mut(time).zip(&input.ids) {
                    row[..ids.len()].fill(1.0 / ids.len() as f32);
                }
                let shares = Tensor::<3>::from_data(TensorData::new(shares, [batch, time, 1]), &hidden.device());
                (hidden * shares).sum_dim(1).reshape([batch, width])
            }
        };
        if !normalize {
            return Ok(pooled);
        }
        let length = (pooled.clone() * pooled.clone()).sum_dim(1).sqrt().clamp_min(1e-12);
        Ok(pooled / length)
    }
}
