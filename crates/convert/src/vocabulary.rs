//! The tokenizer: tokens and merges inside GGUF to tokenizer.json and tokenizer_config.json, and back. Byte-level BPE,
//! the kind of GPT-2, Llama 3, Qwen, SmolLM and danlu itself.

use std::path::Path;

use danlu_weights::gguf::{Array, Metadata, Value};
use serde_json::{Map, Value as Json, json};

use crate::ConvertError;

/// What `tokenizer.ggml.token_type` says of a token.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// The split of a text before BPE that llama.cpp calls by a name.
struct Split {
    /// `tokenizer.ggml.pre`; the first is the one that is written.
    names: &'static [&'static str],
    /// The pattern by which it cuts, if it is not GPT-2's.
    pattern: Option<&'static str>,
    /// Whether each digit stands alone, before all else.
    digits: bool,
    /// Whether a piece that is a token is taken whole, without merges.
    whole: bool,
    normalizer: Option<&'static str>,
}

/// The patterns are those of the models' own tokenizer.json.
const SPLITS: [Split; 4] = [
    Split {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        pattern: None,
        digits: true,
        whole: false,
        normalizer: None,
    },
    Split { names: &["gpt-2", "gpt2"], pattern: None, digits: false, whole: false, normalizer: None },
    Split {
        names: &["llama-bpe", "llama3", "llama-v3"],
        pattern: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        digits: false,
        whole: true,
        normalizer: None,
    },
    Split {
        names: &["qwen2"],
        pattern: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        digits: false,
        whole: false,
        normalizer: Some("NFC"),
    },
];

impl Split {
    fn pre_tokenizer(&self) -> Json {
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": self.pattern.is_none(),
        });
        let first = match self.pattern {
            Some(pattern) => {
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
            }
            None if self.digits => json!({"type": "Digits", "individual_digits": true}),
            None => return byte_level,
        };
        json!({"type": "Sequence", "pretokenizers": [first, byte_level]})
    }

    /// Whether a pre-tokenizer of a tokenizer.json cuts as this one does. Options that change no ids are not compared.
    fn is(&self, pre_tokenizer: &Json) -> bool {
        let steps = |json: &Json| match json.get("pretokenizers").and_then(Json::as_array) {
            Some(steps) => steps.clone(),
            None => vec![json.clone()],
        };
        let essence = |step: Json| {
            let keep = ["type", "pattern", "behavior", "invert", "individual_digits", "add_prefix_space", "use_regex"];
            let fields = step.as_object().cloned().unwrap_or_default();
            fields.into_iter().filter(|(key, _)| keep.contains(&key.as_str())).collect::<Map<_, _>>()
        };
        let essences = |json: &Json| steps(json).into_iter().map(essence).collect::<Vec<_>>();
        essences(pre_tokenizer) == essences(&self.pre_tokenizer())
    }
}

/// The files of a tokenizer.
pub(crate) struct Files {
    pub(crate) tokenizer: Json,
    pub(crate) config: Json,
    /// Ids that end a text, and others of meaning, as config.json and generation_config.json name them.
    pub(crate) special: Map<String, Json>,
    pub(crate) size: usize,
}

/// From GGUF.
pub(crate) fn from_metadata(path: &Path, metadata: &Metadata) -> Result<Files, ConvertError> {
    let missing = |key: &str| ConvertError::malformed(path, format!("{key} is missing"));
    let kind = metadata.text("tokenizer.ggml.model").ok_or_else(|| missing("tokenizer.ggml.model"))?;
    if kind != "gpt2" {
        let what = format!("its tokenizer is of the kind {kind:?}; danlu imports byte-level BPE (\"gpt2\")");
        return Err(ConvertError::unsupported(path, what));
    }
    let pre = metadata.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
    let split = SPLITS.iter().find(|split| split.names.contains(&pre)).ok_or_else(|| {
        let known: Vec<&str> = SPLITS.iter().flat_map(|split| split.names).copied().collect();
        ConvertError::unsupported(path, format!("its tokenizer splits text as {pre:?}; known: {}", known.join(", ")))
    })?;
    let tokens = metadata.texts("tokenizer.ggml.tokens").ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
    let merges = metadata.texts("tokenizer.ggml.merges").ok_or_else(|| missing("tokenizer.ggml.merges"))?;
    let kinds = metadata.ints("tokenizer.ggml.token_type").unwrap_or(&[]);
    if !kinds.is_empty() && kinds.len() != tokens.len() {
        return Err(ConvertError::malformed(path, format!("{} tokens and {} kinds", tokens.len(), kinds.len())));
    }
    let kind_of = |id: usize| kinds.get(id).copied().unwrap_or(NORMAL);
    let vocabulary: Map<String, Json> =
        tokens.iter().zip(0..).map(|(token, id): (_, u32)| (token.clone(), json!(id))).collect();
    if vocabulary.len() != tokens.len() {
        return Err(ConvertError::malformed(path, "two tokens are the same"));
    }
    let pairs: Option<Vec<Json>> =
        merges.iter().map(|merge| merge.split_once(' ').map(|(left, right)| json!([left, right]))).collect();
    let pairs = pairs.ok_or_else(|| ConvertError::malformed(path, "a merge is not two tokens with a space between"))?;
    let added: Vec<Json> = (0..tokens.len())
        .filter(|&id| [CONTROL, USER_DEFINED].contains(&kind_of(id)))
        .map(|id| {
            json!({
                "id": id, "content": tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind_of(id) == CONTROL,
            })
        })
        .collect();

    let id = |key: &str| metadata.count(key).filter(|id| *id < tokens.len() as u64);
    let token = |key: &str| id(key).and_then(|id| tokens.get(id as usize));
    let (bos, eos) = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id");
    let adds_bos = metadata.flag("tokenizer.ggml.add_bos_token").unwrap_or(false) && token(bos).is_some();
    let post = match token(bos).filter(|_| adds_bos) {
        None => json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}),
        Some(first) => {
            let begin = json!({"SpecialToken": {"id": first, "type_id": 0}});
            let sequence = |name: &str, type_id: u8| json!({"Sequence": {"id": name, "type_id": type_id}});
            json!({
                "type": "TemplateProcessing",
                "single": [begin, sequence("A", 0)],
                "pair": [begin, sequence("A", 0), begin, sequence("B", 1)],
                "special_tokens": {first.as_str(): {"id": first, "ids": [id(bos)], "tokens": [first]}},
            })
        }
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": split.normalizer.map(|kind| json!({"type": kind})),
        "pre_tokenizer": split.pre_tokenizer(),
        "post_processor": post,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": split.whole,
            "vocab": vocabulary, "merges": pairs,
        },
    });
    let (unk, pad) = ("tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id");
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "add_bos_token": adds_bos,
        "bos_token": token(bos), "eos_token": token(eos), "unk_token": token(unk), "pad_token": token(pad),
        "chat_template": metadata.text("tokenizer.chat_template"),
    });
    // A chat ends at its own mark, a text at another.
    let turn = id("tokenizer.ggml.eot_token_id").filter(|turn| Some(*turn) != id(eos));
    let ends = match (id(eos), turn) {
        (Some(end), Some(turn)) => json!([end, turn]),
        (end, turn) => json!(end.or(turn)),
    };
    let special = [("bos_token_id", json!(id(bos))), ("eos_token_id", ends), ("pad_token_id", json!(id(pad)))];
    let special = special.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Ok(Files { tokenizer, config, special, size: tokens.len() })
}

/// To GGUF: what tokenizer.json and tokenizer_config.json say, for a model of `size` tokens. `path` is of the former.
pub(crate) fn into_metadata(
    path: &Path,
    tokenizer: &Json,
    config: &Json,
    size: usize,
    out: &mut Metadata,
) -> Result<(), ConvertError> {
    let model = &tokenizer["model"];
    let Some(vocabulary) = model["vocab"].as_object().filter(|_| model["type"] == "BPE") else {
        let what = format!("a tokenizer of the kind {} cannot be written as GGUF; byte-level BPE can", model["type"]);
        return Err(ConvertError::unsupported(path, what));
    };
    let split = SPLITS.iter().find(|split| {
        split.is(&tokenizer["pre_tokenizer"]) && tokenizer["normalizer"]["type"].as_str() == split.normalizer
    });
    let split = split.ok_or_else(|| {
        let what = format!("llama.cpp has no name for its split of text: {}", tokenizer["pre_tokenizer"]);
        ConvertError::unsupported(path, what)
    })?;
    let plain = vocabulary.iter().map(|(token, id)| (id.as_u64(), Some(token.as_str()), NORMAL));
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten().map(|added| {
        let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
        (added["id"].as_u64(), added["content"].as_str(), kind)
    });
    let mut tokens: Vec<Option<(&str, i32)>> = vec![None; size];
    for (id, token, kind) in plain.chain(added) {
        let place = id.and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        let (Some(place), Some(token)) = (place, token) else {
            let what = format!("the token {token:?} has the id {id:?}, and the model {size} tokens");
            return Err(ConvertError::malformed(path, what));
        };
        *place = Some((token, kind));
    }
    let id_of = |key: &str| {
        let token = config[key].as_str().or_else(|| config[key]["content"].as_str())?;
        tokens.iter().position(|known| known.is_some_and(|(known, _)| known == token))
    };
    let special = ["bos", "eos", "unk", "pad"].map(|key| id_of(&format!("{key}_token")));
    // Rows of the embedding that no token has: llama.cpp wants a name for each.
    let named = tokens.iter().enumerate().map(|(id, token)| match token {
        Some((token, kind)) => ((*token).to_owned(), *kind),
        None => (format!("[PAD{id}]"), 5),
    });
    let (names, kinds): (Vec<String>, Vec<i32>) = named.unzip();
    let merges = model["merges"].as_array().into_iter().flatten().map(|merge| match merge {
        Json::String(merge) => Some(merge.clone()),
        pair => Some(format!("{} {}", pair[0].as_str()?, pair[1].as_str()?)),
    });
    let merges: Option<Vec<String>> = merges.collect();
    let merges = merges.ok_or_else(|| ConvertError::malformed(path, "a merge is not two tokens"))?;

    out.set("tokenizer.ggml.model", Value::Text("gpt2".into()));
    out.set("tokenizer.ggml.pre", Value::Text(split.names[0].into()));
    out.set("tokenizer.ggml.tokens", Value::Array(Array::Texts(names)));
    out.set("tokenizer.ggml.token_type", Value::Array(Array::Ints(kinds)));
    out.set("tokenizer.ggml.merges", Value::Array(Array::Texts(merges)));
    for (name, id) in ["bos", "eos", "unknown", "padding"].into_iter().zip(special) {
        if let Some(id) = id {
            out.set(format!("tokenizer.ggml.{name}_token_id"), Value::U32(id as u32)); // the model's size is a u32
        }
    }
    let adds_bos = config["add_bos_token"] == true || tokenizer["post_processor"]["type"] == "TemplateProcessing";
    out.set("tokenizer.ggml.add_bos_token", Value::Bool(adds_bos));
    Ok(())
}
