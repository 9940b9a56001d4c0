//! Tokenizers of other programs as tokenizer.json and tokenizer_config.json: those inside GGUF (`gguf.rs`, both ways),
//! SentencePiece's models (`sentencepiece.rs` reads them, `pieces.rs` says what they are in tokenizer.json) and tiktoken's
//! files of ranks (`tiktoken.rs`).

pub(crate) mod gguf;
mod pieces;
mod sentencepiece;
mod tiktoken;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::{ConvertError, folder};

/// The files of a tokenizer.
pub(crate) struct Files {
    pub(crate) tokenizer: Json,
    pub(crate) config: Json,
}

/// Names of SentencePiece's models in folders; the first may also be a file of tiktoken.
const MODELS: [&str; 4] = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model"];

/// The tokenizer of a folder that has no tokenizer.json, for a model of this config.json. `None` where the folder has
/// none that is known here.
pub(crate) fn of_folder(folder: &Path, model: &Json) -> Result<Option<Files>, ConvertError> {
    let Some(path) = find(folder)? else { return Ok(None) };
    let told = folder::optional_json(&folder.join(folder::TOKENIZER_CONFIG))?;
    let bytes = std::fs::read(&path).map_err(|e| ConvertError::io("read", &path, e))?;
    let files = match tiktoken::is_one(&bytes) {
        true => tiktoken::files(&path, &bytes, &told)?,
        false => sentencepiece::files(&path, &bytes, &told, model)?,
    };
    Ok(Some(files))
}

/// The tokenizer.json of a SentencePiece model or a tiktoken file; `told` is what tokenizer_config.json says, or null.
///
/// # Errors
/// A broken file, or one of a kind that tokenizer.json cannot say.
pub fn tokenizer_json(path: &Path, told: &Json) -> Result<Json, ConvertError> {
    let bytes = std::fs::read(path).map_err(|e| ConvertError::io("read", path, e))?;
    let files = match tiktoken::is_one(&bytes) {
        true => tiktoken::files(path, &bytes, told)?,
        false => sentencepiece::files(path, &bytes, told, &Json::Null)?,
    };
    Ok(files.tokenizer)
}

fn find(folder: &Path) -> Result<Option<PathBuf>, ConvertError> {
    if let Some(name) = MODELS.iter().find(|name| folder.join(name).is_file()) {
        return Ok(Some(folder.join(name)));
    }
    let list = std::fs::read_dir(folder).map_err(|e| ConvertError::io("list", folder, e))?;
    let mut found: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "tiktoken"));
    found.sort();
    Ok(found.into_iter().next())
}

/// Tokens of the model in a tokenizer.json, without those that were added.
pub(crate) fn vocabulary(tokenizer: &Json) -> usize {
    let vocabulary = &tokenizer["model"]["vocab"];
    vocabulary.as_object().map(Map::len).or(vocabulary.as_array().map(Vec::len)).unwrap_or(0)
}

/// One more than the largest id of a tokenizer.json.
pub(crate) fn size(tokenizer: &Json) -> usize {
    let ids = tokenizer["model"]["vocab"].as_object().into_iter().flatten().map(|(_, id)| id);
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten().map(|token| &token["id"]);
    let largest = ids.chain(added).filter_map(Json::as_u64).max();
    largest.map_or(0, |id| id as usize + 1).max(vocabulary(tokenizer))
}

/// An entry of `added_tokens`.
fn added(id: usize, content: &str, special: bool) -> Json {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": special,
    })
}

/// The entries of `added_tokens`: those that the file has, and over them what tokenizer_config.json says of each id.
/// Beyond the `size` tokens of the model, ids must follow without a hole: `tokenizers` counts them by itself.
fn all_added(path: &Path, own: Vec<Json>, told: &Json, size: usize) -> Result<Vec<Json>, ConvertError> {
    let mut all: std::collections::BTreeMap<usize, Json> =
        own.into_iter().filter_map(|token| Some((token["id"].as_u64()? as usize, token))).collect();
    for (id, entry) in told["added_tokens_decoder"].as_object().into_iter().flatten() {
        let (Ok(id), Some(content)) = (id.parse::<usize>(), entry["content"].as_str()) else {
            let what = format!("added_tokens_decoder: {id:?}: {entry} is no token");
            return Err(ConvertError::malformed(&path.with_file_name(folder::TOKENIZER_CONFIG), what));
        };
        let mut token = added(id, content, entry["special"].as_bool().unwrap_or(false));
        for key in ["single_word", "lstrip", "rstrip", "normalized"] {
            token[key] = json!(entry[key].as_bool().unwrap_or(false));
        }
        all.insert(id, token);
    }
    let beyond: Vec<usize> = all.keys().copied().filter(|id| *id >= size).collect();
    match beyond.iter().zip(size..).find(|(id, expected)| *id != expected) {
        Some((id, expected)) => {
            let what = format!("an added token has the id {id}, and no token the id {expected}");
            Err(ConvertError::malformed(path, what))
        }
        None => Ok(all.into_values().collect()),
    }
}

/// A special token and its id.
type Token = (String, usize);

/// Special tokens around a text, and before the second of a pair.
#[derive(Clone, Debug, Default, PartialEq)]
struct Around {
    before: Option<Token>,
    after: Option<Token>,
    before_second: Option<Token>,
    /// The type of the second text's tokens.
    second_type: u8,
}

impl Around {
    /// As a post-processor; null where there are none.
    fn post_processor(&self) -> Json {
        let Self { before, after, before_second, second_type } = self;
        let special = |token: &Option<Token>, type_id: u8| {
            token.as_ref().map(|(text, _)| json!({"SpecialToken": {"id": text, "type_id": type_id}}))
        };
        let text = |before: &Option<Token>, name: &str, type_id: u8| -> Vec<Json> {
            let middle = json!({"Sequence": {"id": name, "type_id": type_id}});
            special(before, type_id).into_iter().chain([middle]).chain(special(after, type_id)).collect()
        };
        let tokens = [before, after, before_second].into_iter().flatten();
        let known: Map<String, Json> =
            tokens.map(|(text, id)| (text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}))).collect();
        if known.is_empty() {
            return Json::Null;
        }
        let pair = [text(before, "A", 0), text(before_second, "B", *second_type)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": text(before, "A", 0),
            "pair": pair,
            "special_tokens": known,
        })
    }
}

/// A token that tokenizer_config.json names under a key.
fn named<'a>(told: &'a Json, key: &str) -> Option<&'a str> {
    told[key].as_str().or_else(|| told[key]["content"].as_str())
}

/// What tokenizer_config.json says, with the tokens that it leaves out, for a tokenizer that tokenizer.json describes
/// whole.
fn config(told: &Json, tokens: &[(&str, Option<&str>)]) -> Json {
    let mut config = told.as_object().cloned().unwrap_or_default();
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    ["tokenizer_file", "sp_model_kwargs", "auto_map"].iter().for_each(|key| drop(config.remove(*key)));
    for (key, token) in tokens {
        if named(told, key).is_none() && token.is_some() {
            config.insert((*key).into(), json!(token));
        }
    }
    Json::Object(config)
}
