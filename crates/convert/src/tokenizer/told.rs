//! What a folder says of its tokenizer beside the vocabulary, read as transformers reads it: tokenizer_config.json; and,
//! of folders from before it listed the added tokens, special_tokens_map.json and added_tokens.json.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{added, named};
use crate::{ConvertError, folder};

/// Names of special tokens, and their ids where the folder lists them.
const NAMED_FILE: &str = "special_tokens_map.json";
/// Ids of added tokens by what they are written.
const ADDED_FILE: &str = "added_tokens.json";
/// The special tokens that every class may have, in the order in which missing ones are numbered.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Further special tokens without names, today's key and the older one.
const FURTHER: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// tokenizer_config.json with what the older files say put into it; null where there is none of them.
pub(super) fn of_folder(folder: &Path) -> Result<Json, ConvertError> {
    let read = |name: &str| -> Result<Map<String, Json>, ConvertError> {
        match folder::optional_json(&folder.join(name))? {
            Json::Object(fields) => Ok(fields),
            Json::Null => Ok(Map::new()),
            other => Err(ConvertError::malformed(&folder.join(name), format!("a table is expected, found {other}"))),
        }
    };
    let mut told = read(folder::TOKENIZER_CONFIG)?;
    if !told.contains_key("added_tokens_decoder") {
        told.extend(read(NAMED_FILE)?);
        let listed = read(ADDED_FILE)?;
        if !listed.is_empty() {
            let all = Json::Object(told.clone());
            let special: Vec<Json> = special(&all, &[]);
            let decoder = listed.into_iter().map(|(text, id)| {
                let special = special.iter().any(|token| token["content"] == text.as_str());
                let mut token = added(0, &text, special);
                token["normalized"] = json!(!special);
                (id.to_string(), token)
            });
            told.insert("added_tokens_decoder".into(), Json::Object(decoder.collect()));
        }
    }
    Ok(if told.is_empty() { Json::Null } else { Json::Object(told) })
}

/// The special tokens as entries of `added_tokens` without their ids: those with the names that every class may have,
/// with `own` where nothing else is said (null says there is none), those with names of the model's own, and the others.
pub(super) fn special(told: &Json, own: &[(&str, Json)]) -> Vec<Json> {
    let own = |key: &str| own.iter().find(|(name, _)| *name == key).map(|(_, token)| token);
    let fields = told.as_object();
    let of_name = |key: &&str| fields.and_then(|fields| fields.get(*key)).or_else(|| own(key));
    let of_model = fields
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.ends_with("_token") && !NAMES.contains(&key.as_str()) && named(told, key).is_some());
    let further = FURTHER.iter().find_map(|key| fields?.get(*key).filter(|list| !list.is_null()));
    let further: Vec<&Json> = match further {
        Some(Json::Array(list)) => list.iter().collect(),
        Some(Json::Object(list)) => list.values().collect(),
        _ => Vec::new(),
    };
    let all = NAMES.iter().filter_map(of_name).chain(of_model.map(|(_, token)| token)).chain(further);
    let mut tokens: Vec<Json> = Vec::new();
    for token in all.filter_map(entry) {
        if tokens.iter().all(|other| other["content"] != token["content"]) {
            tokens.push(token);
        }
    }
    tokens
}

/// An entry of `added_tokens` for a token that is written alone or with its settings.
fn entry(token: &Json) -> Option<Json> {
    let content = token.as_str().or_else(|| token["content"].as_str())?;
    let mut entry = added(0, content, true);
    for key in ["single_word", "lstrip", "rstrip", "normalized"] {
        entry[key] = json!(token[key].as_bool().unwrap_or(false));
    }
    Some(entry)
}

/// The text of a special token: what is told, where something is, else the class's own.
pub(super) fn text<'a>(told: &'a Json, own: &'a [(&str, Json)], key: &str) -> Option<&'a str> {
    let usual = own.iter().find(|(name, _)| *name == key).map(|(_, token)| token);
    let token = told.get(key).or(usual)?;
    token.as_str().or_else(|| token["content"].as_str())
}
