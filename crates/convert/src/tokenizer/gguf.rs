//! Tokenizers inside GGUF to tokenizer.json and tokenizer_config.json, and back: byte-level BPE ("gpt2"), the kind of GPT-2,
//! Llama 3, Qwen, SmolLM and danlu itself, and SentencePiece's BPE ("llama"), that of Llama 2, Mistral and Gemma.

use std::collections::HashMap;
use std::path::Path;

use danlu_weights::gguf::{Array, Metadata, Value};
use serde_json::{Map, Value as Json, json};

use super::pieces::{Piece, PieceKind, Pieces, SPACE};
use super::{Around, added};
use crate::ConvertError;

/// What `tokenizer.ggml.token_type` says of a token.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

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

/// The pre-tokenizer and the normalizer of the split that llama.cpp calls by a name; null for one that is not known.
pub(super) fn split(name: &str) -> (Json, Json) {
    match SPLITS.iter().find(|split| split.names.contains(&name)) {
        Some(split) => (split.pre_tokenizer(), json!(split.normalizer.map(|kind| json!({"type": kind})))),
        None => (Json::Null, Json::Null),
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

/// The tokens of a file with their kinds.
struct Tokens<'a> {
    path: &'a Path,
    metadata: &'a Metadata,
    texts: &'a [String],
    kinds: &'a [i32],
}

impl<'a> Tokens<'a> {
    fn read(path: &'a Path, metadata: &'a Metadata) -> Result<Self, ConvertError> {
        let missing = || ConvertError::malformed(path, "tokenizer.ggml.tokens is missing");
        let texts = metadata.texts("tokenizer.ggml.tokens").ok_or_else(missing)?;
        let kinds = metadata.ints("tokenizer.ggml.token_type").unwrap_or(&[]);
        if !kinds.is_empty() && kinds.len() != texts.len() {
            return Err(ConvertError::malformed(path, format!("{} tokens and {} kinds", texts.len(), kinds.len())));
        }
        Ok(Self { path, metadata, texts, kinds })
    }

    fn kind(&self, id: usize) -> i32 {
        self.kinds.get(id).copied().unwrap_or(NORMAL)
    }

    fn added(&self) -> Vec<Json> {
        let marked = (0..self.texts.len()).filter(|id| [CONTROL, USER_DEFINED].contains(&self.kind(*id)));
        marked.map(|id| added(id, &self.texts[id], self.kind(id) == CONTROL)).collect()
    }

    /// The id under a key, if it is one.
    fn id(&self, key: &str) -> Option<u64> {
        self.metadata.count(key).filter(|id| *id < self.texts.len() as u64)
    }

    fn named(&self, key: &str) -> Option<(String, usize)> {
        let id = self.id(key)? as usize;
        Some((self.texts[id].clone(), id))
    }

    /// tokenizer.json of byte-level BPE, without a post-processor.
    fn byte_level(&self) -> Result<Json, ConvertError> {
        let malformed = |what: &str| ConvertError::malformed(self.path, what);
        let pre = self.metadata.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
        let split = SPLITS.iter().find(|split| split.names.contains(&pre)).ok_or_else(|| {
            let known: Vec<&str> = SPLITS.iter().flat_map(|split| split.names).copied().collect();
            let what = format!("its tokenizer splits text as {pre:?}; known: {}", known.join(", "));
            ConvertError::unsupported(self.path, what)
        })?;
        let merges = self.metadata.texts("tokenizer.ggml.merges");
        let merges = merges.ok_or_else(|| malformed("tokenizer.ggml.merges is missing"))?;
        let vocabulary: Map<String, Json> =
            self.texts.iter().zip(0..).map(|(token, id): (_, u32)| (token.clone(), json!(id))).collect();
        if vocabulary.len() != self.texts.len() {
            return Err(malformed("two tokens are the same"));
        }
        let pairs: Option<Vec<Json>> =
            merges.iter().map(|merge| merge.split_once(' ').map(|(left, right)| json!([left, right]))).collect();
        let pairs = pairs.ok_or_else(|| malformed("a merge is not two tokens with a space between"))?;
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": self.added(),
            "normalizer": split.normalizer.map(|kind| json!({"type": kind})),
            "pre_tokenizer": split.pre_tokenizer(),
            "post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": split.whole,
                "vocab": vocabulary, "merges": pairs,
            },
        }))
    }

    /// tokenizer.json of SentencePiece's BPE, without a post-processor.
    fn pieces(&self) -> Result<Json, ConvertError> {
        let malformed = |what: String| ConvertError::malformed(self.path, what);
        let scores = match self.metadata.get("tokenizer.ggml.scores") {
            Some(Value::Array(Array::Floats(scores))) if scores.len() == self.texts.len() => scores,
            _ => return Err(malformed("tokenizer.ggml.scores is not a score for each token".into())),
        };
        let piece = |id: usize| {
            let kind = PieceKind::from_number(self.kind(id).into());
            let kind = kind.ok_or_else(|| malformed(format!("token {id} is of the kind {}", self.kind(id))))?;
            Ok(Piece { text: self.texts[id].clone(), score: scores[id], kind })
        };
        let pieces: Vec<Piece> = (0..self.texts.len()).map(piece).collect::<Result<_, ConvertError>>()?;
        let flag =
            |name: &str, otherwise: bool| self.metadata.flag(&format!("tokenizer.ggml.{name}")).unwrap_or(otherwise);
        let pieces = Pieces {
            byte_fallback: pieces.iter().any(|piece| piece.kind == PieceKind::Byte),
            pieces,
            unigram: false,
            dummy_prefix: flag("add_space_prefix", true),
            remove_extra_spaces: flag("remove_extra_whitespaces", false),
            escape_spaces: true,
            charsmap: Vec::new(),
            legacy: true,
        };
        pieces.tokenizer(self.path, pieces.added())
    }
}

/// From GGUF.
pub(crate) fn from_metadata(path: &Path, metadata: &Metadata) -> Result<Files, ConvertError> {
    let missing = |key: &str| ConvertError::malformed(path, format!("{key} is missing"));
    let kind = metadata.text("tokenizer.ggml.model").ok_or_else(|| missing("tokenizer.ggml.model"))?;
    let tokens = Tokens::read(path, metadata)?;
    let mut tokenizer = match kind {
        "gpt2" => tokens.byte_level()?,
        "llama" => tokens.pieces()?,
        _ => {
            let what = format!(
                "its tokenizer is of the kind {kind:?}; danlu imports byte-level BPE (\"gpt2\") and SentencePiece's BPE (\"llama\")"
            );
            return Err(ConvertError::unsupported(path, what));
        }
    };
    let (bos, eos) = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id");
    let adds_bos = metadata.flag("tokenizer.ggml.add_bos_token").unwrap_or(kind == "llama");
    let before = tokens.named(bos).filter(|_| adds_bos);
    let adds_bos = before.is_some();
    if adds_bos {
        let around = Around { before_second: before.clone(), before, after: None, second_type: 1 };
        tokenizer["post_processor"] = around.post_processor();
    }
    let (unk, pad) = ("tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id");
    let text = |key: &str| tokens.named(key).map(|(text, _)| text);
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "add_bos_token": adds_bos,
        "bos_token": text(bos), "eos_token": text(eos), "unk_token": text(unk), "pad_token": text(pad),
        "chat_template": metadata.text("tokenizer.chat_template"),
    });
    // A chat ends at its own mark, a text at another.
    let turn = tokens.id("tokenizer.ggml.eot_token_id").filter(|turn| Some(*turn) != tokens.id(eos));
    let ends = match (tokens.id(eos), turn) {
        (Some(end), Some(turn)) => json!([end, turn]),
        (end, turn) => json!(end.or(turn)),
    };
    let special =
        [("bos_token_id", json!(tokens.id(bos))), ("eos_token_id", ends), ("pad_token_id", json!(tokens.id(pad)))];
    let special = special.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Ok(Files { tokenizer, config, special, size: tokens.texts.len() })
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
        let what = format!("a tokenizer of the kind {} cannot be written as GGUF; BPE can", model["type"]);
        return Err(ConvertError::unsupported(path, what));
    };
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
        let token = super::named(config, &format!("{key}_token"))?;
        tokens.iter().position(|known| known.is_some_and(|(known, _)| known == token))
    };
    let special = ["bos", "eos", "unk", "pad"].map(id_of);
    // Rows of the embedding that no token has: llama.cpp wants a name for each.
    let named = tokens.iter().enumerate().map(|(id, token)| match token {
        Some((token, kind)) => ((*token).to_owned(), *kind),
        None => (format!("[PAD{id}]"), UNUSED),
    });
    let (names, mut kinds): (Vec<String>, Vec<i32>) = named.unzip();
    let merges = model["merges"].as_array().into_iter().flatten().map(|merge| match merge {
        Json::String(merge) => merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        pair => Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned())),
    });
    let merges: Option<Vec<(String, String)>> = merges.collect();
    let merges = merges.ok_or_else(|| ConvertError::malformed(path, "a merge is not two tokens"))?;

    if is_of_pieces(tokenizer) {
        let scores = pieces_into(path, tokenizer, &names, &mut kinds, &merges, out)?;
        out.set("tokenizer.ggml.model", Value::Text("llama".into()));
        out.set("tokenizer.ggml.tokens", Value::Array(Array::Texts(names)));
        out.set("tokenizer.ggml.scores", Value::Array(Array::Floats(scores)));
        out.set("tokenizer.ggml.token_type", Value::Array(Array::Ints(kinds)));
    } else {
        let split = SPLITS.iter().find(|split| {
            split.is(&tokenizer["pre_tokenizer"]) && tokenizer["normalizer"]["type"].as_str() == split.normalizer
        });
        let split = split.ok_or_else(|| {
            let what = format!("llama.cpp has no name for its split of text: {}", tokenizer["pre_tokenizer"]);
            ConvertError::unsupported(path, what)
        })?;
        let merges = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        out.set("tokenizer.ggml.model", Value::Text("gpt2".into()));
        out.set("tokenizer.ggml.pre", Value::Text(split.names[0].into()));
        out.set("tokenizer.ggml.tokens", Value::Array(Array::Texts(names)));
        out.set("tokenizer.ggml.token_type", Value::Array(Array::Ints(kinds)));
        out.set("tokenizer.ggml.merges", Value::Array(Array::Texts(merges)));
    }
    for (name, id) in ["bos", "eos", "unknown", "padding"].into_iter().zip(special) {
        if let Some(id) = id {
            out.set(format!("tokenizer.ggml.{name}_token_id"), Value::U32(id as u32)); // the model's size is a u32
        }
    }
    let adds_bos = config["add_bos_token"] == true || tokenizer["post_processor"]["type"] == "TemplateProcessing";
    out.set("tokenizer.ggml.add_bos_token", Value::Bool(adds_bos));
    Ok(())
}

/// The steps of a normalizer, pre-tokenizer or decoder, which may be one.
fn steps<'a>(json: &'a Json, list: &str) -> Vec<&'a Json> {
    match json[list].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![json],
    }
}

/// Whether a BPE is of SentencePiece's kind: spaces are pieces, and what no piece is becomes bytes.
fn is_of_pieces(tokenizer: &Json) -> bool {
    let restored = |step: &&Json| step["type"] == "Replace" && step["pattern"]["String"] == SPACE;
    tokenizer["model"]["byte_fallback"] == true && steps(&tokenizer["decoder"], "decoders").iter().any(restored)
}

/// Kinds, settings and scores as llama.cpp wants them: it merges by the scores of what is made, here the number of the
/// merge, negative.
fn pieces_into(
    path: &Path,
    tokenizer: &Json,
    names: &[String],
    kinds: &mut [i32],
    merges: &[(String, String)],
    out: &mut Metadata,
) -> Result<Vec<f32>, ConvertError> {
    let (mut prefix, mut strips) = (false, false);
    for step in steps(&tokenizer["normalizer"], "normalizers") {
        match (step["type"].as_str(), step["pattern"]["Regex"].as_str(), step["pattern"]["String"].as_str()) {
            (None, ..) | (Some("Replace"), Some(r"\A▁"), _) | (Some("Replace"), _, Some(" ")) => {}
            (Some("Replace"), Some(r"\A +| +\z" | " {2,}"), _) => strips = true,
            (Some("Prepend"), ..) if step["prepend"] == SPACE => prefix = true,
            _ => {
                let what = format!("GGUF has no place for this step of its normalizer: {step}");
                return Err(ConvertError::unsupported(path, what));
            }
        }
    }
    let before = steps(&tokenizer["pre_tokenizer"], "pretokenizers");
    prefix |= before
        .iter()
        .any(|step| step["type"] == "Metaspace" && step["prepend_scheme"].as_str().unwrap_or("always") != "never");
    let mut rank: HashMap<String, usize> = HashMap::new();
    for (number, (left, right)) in merges.iter().enumerate() {
        rank.entry(format!("{left}{right}")).or_insert(number);
    }
    let unknown = tokenizer["model"]["unk_token"].as_str();
    let whole = tokenizer["model"]["ignore_merges"] == true;
    for (name, kind) in names.iter().zip(kinds.iter_mut()) {
        let is_byte = name.len() == 6 && name.starts_with("<0x") && name.ends_with('>');
        match *kind {
            _ if Some(name.as_str()) == unknown => *kind = UNKNOWN,
            NORMAL if is_byte => *kind = BYTE,
            // What no merge makes is only ever taken whole.
            NORMAL if whole && name.chars().nth(1).is_some() && !rank.contains_key(name) => *kind = USER_DEFINED,
            _ => {}
        }
    }
    let score = |name: &String| -(*rank.get(name).unwrap_or(&merges.len()) as f32);
    out.set("tokenizer.ggml.add_space_prefix", Value::Bool(prefix));
    out.set("tokenizer.ggml.remove_extra_whitespaces", Value::Bool(strips));
    Ok(names.iter().map(score).collect())
}
