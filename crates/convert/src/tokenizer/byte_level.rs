//! GPT-2's vocab.json and merges.txt, and those of what took its byte-level BPE over: RoBERTa and BART, Qwen2, Whisper.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::gguf::split;
use super::{Around, Files, MERGES, VOCABULARY, config, id_of, special_tokens, tokens_by_id, told, whose};
use crate::ConvertError;

/// Whose vocabulary it is, which decides about the split, and the tokens around a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Gpt2,
    /// RoBERTa and BART: `<s>` before each text and `</s>` after it.
    Roberta,
    Qwen2,
    /// Split as GPT-2 does. What a transcript begins with is for whoever writes one to say.
    Whisper,
}

/// Classes of transformers, and `model_type`s for folders that name no class.
const CLASSES: [(&str, &str, (Style, &str)); 6] = [
    ("GPT2Tokenizer", "gpt2", (Style::Gpt2, "GPT2Tokenizer")),
    ("RobertaTokenizer", "roberta", (Style::Roberta, "RobertaTokenizer")),
    ("BartTokenizer", "bart", (Style::Roberta, "BartTokenizer")),
    ("Qwen2Tokenizer", "qwen2", (Style::Qwen2, "Qwen2Tokenizer")),
    ("Qwen2Tokenizer", "qwen3", (Style::Qwen2, "Qwen2Tokenizer")),
    ("WhisperTokenizer", "whisper", (Style::Whisper, "WhisperTokenizer")),
];

impl Style {
    /// The special tokens of a folder that names none.
    fn own(self) -> Vec<(&'static str, Json)> {
        let end = json!("<|endoftext|>");
        match self {
            Self::Gpt2 | Self::Whisper => ["bos_token", "eos_token", "unk_token"].map(|key| (key, end.clone())).into(),
            Self::Qwen2 => ["eos_token", "unk_token", "pad_token"].map(|key| (key, end.clone())).into(),
            Self::Roberta => vec![
                ("bos_token", json!("<s>")),
                ("eos_token", json!("</s>")),
                ("unk_token", json!("<unk>")),
                ("sep_token", json!("</s>")),
                ("pad_token", json!("<pad>")),
                ("cls_token", json!("<s>")),
                // What is hidden takes the space before it along: so these models were trained, so all versions before 5
                // of transformers had it, and so the tokenizer.json of the models themselves have it.
                ("mask_token", json!({"content": "<mask>", "lstrip": true})),
            ],
        }
    }
}

pub(super) fn files(folder: &Path, told: &Json, model: &Json) -> Result<Files, ConvertError> {
    let path = folder.join(VOCABULARY);
    let (style, class) = whose(&path, told, model, &CLASSES, (Style::Gpt2, "GPT2Tokenizer"))?;
    let tokens = tokens_by_id(&path)?;
    let vocabulary: Map<String, Json> = tokens.into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let merges = merges(&folder.join(MERGES), &vocabulary)?;
    let own = style.own();
    let special = special_tokens(&path, told, &own, &vocabulary)?;
    let token = |key: &str| {
        let text = told::text(told, &own, key)?;
        Some((text.to_owned(), id_of(text, &special, &vocabulary)?))
    };
    let asked = |key: &str| told[key].as_bool().unwrap_or(false);
    let around = match style {
        Style::Roberta => {
            let (before, after) = (token("cls_token"), token("sep_token"));
            Around { before, before_second: after.clone(), after, second_type: 0 }
        }
        Style::Whisper => Around::default(),
        Style::Gpt2 | Style::Qwen2 => {
            let before = token("bos_token").filter(|_| asked("add_bos_token"));
            let after = token("eos_token").filter(|_| asked("add_eos_token"));
            Around { before_second: before.clone(), before, after, second_type: 1 }
        }
    };
    let post = around.post_processor();
    let none = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    let (pre_tokenizer, normalizer) = pre_tokenizer(style, asked("add_prefix_space"));
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": special,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": if post.is_null() { none } else { post },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    });
    Ok(Files { tokenizer, config: config(told, class, &own), target: None })
}

/// The split, and the normalizer before it; `space`: whether a text begins with a space of its own.
fn pre_tokenizer(style: Style, space: bool) -> (Json, Json) {
    let (mut split, normalizer) = split(if style == Style::Qwen2 { "qwen2" } else { "gpt-2" });
    let bytes = match split["type"] == "ByteLevel" {
        true => Some(&mut split),
        false => split.get_mut("pretokenizers").and_then(Json::as_array_mut).and_then(|steps| steps.last_mut()),
    };
    if let Some(bytes) = bytes {
        bytes["add_prefix_space"] = json!(space);
    }
    (split, normalizer)
}

/// The pairs of merges.txt, in their order.
fn merges(path: &Path, vocabulary: &Map<String, Json>) -> Result<Vec<[String; 2]>, ConvertError> {
    let text = std::fs::read_to_string(path).map_err(|e| ConvertError::io("read", path, e))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    lines
        .map(|(number, line)| {
            let broken = |what: String| ConvertError::malformed(path, format!("line {}: {what}", number + 1));
            let mut parts = line.split(' ');
            let (Some(left), Some(right), None) = (parts.next(), parts.next(), parts.next()) else {
                return Err(broken("not two tokens with a space between".into()));
            };
            let joined = format!("{left}{right}");
            match [left, right, &joined].into_iter().find(|token| !vocabulary.contains_key(*token)) {
                Some(lost) => Err(broken(format!("{VOCABULARY} has no token {lost:?}"))),
                None => Ok([left.to_owned(), right.to_owned()]),
            }
        })
        .collect()
}
