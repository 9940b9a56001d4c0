//! BERT's vocab.txt, one token a line: WordPiece, with lower-casing, accents and Chinese characters as
//! tokenizer_config.json says.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{Files, config, special_tokens, whose};
use crate::ConvertError;

/// Classes of transformers with this kind of vocabulary, and `model_type`s for folders that name no class.
const CLASSES: [(&str, &str, &str); 2] =
    [("BertTokenizer", "bert", "BertTokenizer"), ("DistilBertTokenizer", "distilbert", "DistilBertTokenizer")];

pub(super) fn files(path: &Path, told: &Json, model: &Json) -> Result<Files, ConvertError> {
    let class = whose(path, told, model, &CLASSES, "BertTokenizer")?;
    let text = std::fs::read_to_string(path).map_err(|e| ConvertError::io("read", path, e))?;
    let mut tokenizer = danlu_text::wordpiece_json(&text, told, path)?;
    let own = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
    let own = ["unk_token", "sep_token", "pad_token", "cls_token", "mask_token"].into_iter().zip(own.map(|t| json!(t)));
    let own: Vec<(&str, Json)> = own.collect();
    let none = Map::new();
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap_or(&none);
    tokenizer["added_tokens"] = json!(special_tokens(path, told, &own, vocabulary)?);
    let config = config(told, class, &own);
    Ok(Files { tokenizer, config, target: None })
}
