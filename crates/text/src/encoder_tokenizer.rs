//! Tokenizers of encoders and encoder-decoders: text to ids with the model's own special tokens around it.
//!
//! [`Tokenizer`](crate::Tokenizer) promises that its ids spell the text exactly; WordPiece (Schuster and Nakajima 2012)
//! and its kind lower-case, drop accents and know no other way back. So this is another type: it goes one way, by the
//! `tokenizers` crate, with the ids of `transformers`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenizers::{PostProcessor, TruncationDirection};

use crate::TextError;
use crate::charsmap::check_json;
use crate::fallback::Inner;
use crate::tokenizer::{CONFIG_FILE, TOKENIZER_FILE};

/// The vocabulary of a BERT folder that has no tokenizer.json, one token a line.
const VOCABULARY_FILE: &str = "vocab.txt";

/// Beside [`TOKENIZER_FILE`] in the folder of an encoder-decoder that cuts its targets otherwise than its sources, as Marian
/// may: the same tokens, another way to cut.
pub const TARGET_TOKENIZER_FILE: &str = "target_tokenizer.json";

/// A text, or two, as an encoder reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedText {
    pub ids: Vec<u32>,
    /// Of each token whether it belongs to the first text (0) or the second (1).
    pub types: Vec<u32>,
    /// Of each token whether it is one that the tokenizer put around the text.
    pub special: Vec<bool>,
    /// Of each token which word of its text it is a piece of.
    pub words: Vec<Option<u32>>,
    /// Tokens of the text that did not fit and were cut off.
    pub cut: usize,
}

/// The tokenizer of an encoder's folder: WordPiece, and whatever else the `tokenizers` crate reads.
#[derive(Clone)]
pub struct EncoderTokenizer {
    inner: Inner,
    /// What tokenizer_config.json says; nothing where there is none.
    settings: Value,
    /// The first two words of a message: what the file is.
    kind: String,
    vocab_size: usize,
    special: Special,
    /// How targets are cut, where that is otherwise than sources are.
    target: Option<Box<EncoderTokenizer>>,
}

#[derive(Clone, Debug, Default)]
struct Special {
    pad: Option<u32>,
    mask: Option<u32>,
    all: Vec<u32>,
}

impl std::fmt::Debug for EncoderTokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("EncoderTokenizer");
        shown.field("kind", &self.kind).field("vocab_size", &self.vocab_size).finish()
    }
}

impl EncoderTokenizer {
    /// Reads the tokenizer of a model's folder: tokenizer.json, or BERT's vocab.txt with what tokenizer_config.json says
    /// of lower-casing; and how targets are cut, if it says that apart.
    ///
    /// # Errors
    /// [`TextError::Io`] if neither is there, [`TextError::BadTokenizer`] if it is broken.
    pub fn from_dir(dir: &Path) -> Result<Self, TextError> {
        let (path, vocabulary) = (dir.join(TOKENIZER_FILE), dir.join(VOCABULARY_FILE));
        let config = match std::fs::read(dir.join(CONFIG_FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| TextError::BadTokenizer { path: dir.join(CONFIG_FILE), message: e.to_string() })?,
            Err(_) => Value::Null,
        };
        if !path.exists() && vocabulary.exists() {
            let text = read(&vocabulary)?;
            return Self::from_json(&wordpiece_json(&text, &config, &vocabulary)?.to_string(), &config, &vocabulary);
        }
        let mut tokenizer = Self::from_json(&read(&path)?, &config, &path)?;
        let target = dir.join(TARGET_TOKENIZER_FILE);
        if target.exists() {
            tokenizer.target = Some(Box::new(Self::from_json(&read(&target)?, &config, &target)?));
        }
        Ok(tokenizer)
    }

    pub(crate) fn from_json(json: &str, config: &Value, path: &Path) -> Result<Self, TextError> {
        let bad = |message: String| TextError::BadTokenizer { path: path.into(), message };
        check_json(json).map_err(bad)?;
        let mut inner = Inner::from_bytes(json.as_bytes()).map_err(|e| bad(e.to_string()))?;
        // Folders of sentence-transformers have both in the file; here lengths are the caller's to say.
        inner.with_padding(None).with_truncation(None).map_err(|e| bad(e.to_string()))?;
        let outline: Value = serde_json::from_str(json).map_err(|e| bad(e.to_string()))?;
        let kind = outline["model"]["type"].as_str().unwrap_or("unnamed").to_owned();
        let added = inner.get_added_tokens_decoder();
        let all = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let named = |key: &str, usual: &[&str]| {
            let told = &config[key];
            let told = told.as_str().or_else(|| told.get("content")?.as_str());
            told.into_iter().chain(usual.iter().copied()).find_map(|token| inner.token_to_id(token))
        };
        let special = Special {
            pad: named("pad_token", &["[PAD]", "<pad>"]),
            mask: named("mask_token", &["[MASK]", "<mask>"]),
            all,
        };
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        Ok(Self { inner, settings: config.clone(), kind, vocab_size, special, target: None })
    }

    /// This tokenizer with other special tokens around texts.
    pub(crate) fn with_post_processor(mut self, around: tokenizers::PostProcessorWrapper) -> Self {
        self.inner.with_post_processor(Some(around));
        self
    }

    /// A text with the special tokens around it, identical to Hugging Face's; of the text as many tokens as let all fit
    /// into `max_len`.
    ///
    /// # Errors
    /// [`TextError::Encode`]; [`TextError::NoRoom`] if not even the special tokens fit.
    pub fn encode(&self, text: &str, max_len: usize) -> Result<EncodedText, TextError> {
        self.encode_parts(text, None, max_len)
    }

    /// As [`encode`](Self::encode), a text that a model is to write: cut by the folder's [`TARGET_TOKENIZER_FILE`], where it
    /// has one, which has the same tokens.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_target(&self, text: &str, max_len: usize) -> Result<EncodedText, TextError> {
        self.target.as_deref().unwrap_or(self).encode(text, max_len)
    }

    /// Two texts, as of a question and an answer. Tokens are cut off the longer one first.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_pair(&self, first: &str, second: &str, max_len: usize) -> Result<EncodedText, TextError> {
        self.encode_parts(first, Some(second), max_len)
    }

    fn encode_parts(&self, first: &str, second: Option<&str>, max_len: usize) -> Result<EncodedText, TextError> {
        let around = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(second.is_some()));
        let room = max_len.checked_sub(around).filter(|room| *room > 0);
        let room = room.ok_or(TextError::NoRoom { max_len, special: around })?;
        let failed = |e: tokenizers::Error| TextError::Encode { bytes: first.len(), message: e.to_string() };
        let mut parts = vec![self.inner.encode(first, false).map_err(failed)?];
        if let Some(second) = second {
            parts.push(self.inner.encode(second, false).map_err(failed)?);
        }
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        let kept = fitting(&lengths, room);
        for (part, kept) in parts.iter_mut().zip(&kept) {
            part.truncate(*kept, 0, TruncationDirection::Right);
            part.take_overflowing();
        }
        let second = (parts.len() == 2).then(|| parts.pop()).flatten();
        let first = parts.pop().unwrap_or_default();
        let whole = self.inner.post_process(first, second, true).map_err(failed)?;
        Ok(EncodedText {
            ids: whole.get_ids().to_vec(),
            types: whole.get_type_ids().to_vec(),
            special: whole.get_special_tokens_mask().iter().map(|mark| *mark == 1).collect(),
            words: whole.get_word_ids().to_vec(),
            cut: lengths.iter().sum::<usize>() - kept.iter().sum::<usize>(),
        })
    }

    /// Text of `ids` without special tokens, as near as the vocabulary comes to it.
    ///
    /// # Errors
    /// [`TextError::Encode`] if the decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.inner.decode(ids, true).map_err(|e| TextError::Encode { bytes: 0, message: e.to_string() })
    }

    /// As tokenizer.json has it.
    pub(crate) fn to_json(&self) -> tokenizers::Result<String> {
        self.inner.to_string(false)
    }

    /// As tokenizer_config.json has it.
    pub(crate) fn settings(&self) -> &Value {
        &self.settings
    }

    /// "WordPiece", "BPE", "Unigram".
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id of a token by its exact written form.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The written form of a token.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// What fills up shorter sequences.
    pub fn pad_id(&self) -> Option<u32> {
        self.special.pad
    }

    /// What stands for a hidden token in masked language modelling.
    pub fn mask_id(&self) -> Option<u32> {
        self.special.mask
    }

    /// Ids of the special tokens.
    pub fn special_ids(&self) -> &[u32] {
        &self.special.all
    }
}

/// How many tokens of each part are kept so that all fit into `room`: the longer gives first, as in transformers.
fn fitting(lengths: &[usize], room: usize) -> Vec<usize> {
    match *lengths {
        [one] => vec![one.min(room)],
        [first, second] => {
            let half = room / 2;
            // Of a pair that is too long both are cut to halves, unless one is shorter than its own.
            let (a, b) = match (first + second <= room, first <= second) {
                (true, _) => (first, second),
                (false, true) if first <= half => (first, room - first),
                (false, false) if second <= half => (room - second, second),
                (false, true) => (half, room - half),
                (false, false) => (room - half, half),
            };
            vec![a, b]
        }
        _ => Vec::new(),
    }
}

fn read(path: &Path) -> Result<String, TextError> {
    std::fs::read_to_string(path).map_err(|source| TextError::Io { action: "read", path: path.into(), source })
}

/// The tokenizer.json that transformers makes of BERT's vocab.txt: one token a line, its id the number of the line from 0 on.
///
/// * `told`: tokenizer_config.json, or null: lower-casing, accents, whether Chinese characters are words of their own, names
///   of the special tokens
/// * `path`: of the vocabulary, for messages
///
/// # Errors
/// [`TextError::BadTokenizer`] for a vocabulary without the tokens that stand around a text.
pub fn wordpiece_json(text: &str, told: &Value, path: &Path) -> Result<Value, TextError> {
    let tokens: Vec<&str> = text.lines().map(str::trim_end).collect();
    // Of two lines that are the same the last one counts.
    let id = |token: &str| tokens.iter().rposition(|other| *other == token);
    let named = |key: &str, usual: &'static str| {
        told[key].as_str().or_else(|| told[key]["content"].as_str()).unwrap_or(usual).to_owned()
    };
    let around = |token: String| match id(&token) {
        Some(id) => Ok(json!([token, id])),
        None => Err(TextError::BadTokenizer { path: path.into(), message: format!("it has no token {token}") }),
    };
    let unknown = named("unk_token", "[UNK]");
    let (cls, sep) = (named("cls_token", "[CLS]"), named("sep_token", "[SEP]"));
    let special = [named("pad_token", "[PAD]"), unknown.clone(), cls.clone(), sep.clone()];
    let special = special.into_iter().chain([named("mask_token", "[MASK]")]);
    let added: Vec<Value> = special
        .filter_map(|token| Some((id(&token)?, token)))
        .map(|(id, token)| json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}))
        .collect();
    let flag = |key: &str| told[key].as_bool().unwrap_or(true);
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars"),
            "strip_accents": told["strip_accents"].as_bool(),
            "lowercase": flag("do_lower_case"),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": around(sep)?, "cls": around(cls)?},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }))
}
