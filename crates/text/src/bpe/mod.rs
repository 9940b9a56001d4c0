//! Byte-level BPE of our own: the `tokenizers` crate's ids, several times as fast.
//!
//! [`Bpe`] encodes for every tokenizer.json that it knows to the letter (see [`Bpe::of_json`]); all others are left to
//! the crate. A text goes through added tokens (`added.rs`), normalization (`normal.rs`), the split into words
//! (`split.rs`), a cache of the words met last (`cache.rs`) and the merges (`merges.rs`). `train` learns merges.
//! Tests hold every step to the crate.

mod added;
mod bytes;
mod cache;
mod classes;
mod merges;
mod normal;
mod split;
pub(crate) mod train;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::AddedToken;

use added::{AddedTokens, Piece};
pub(crate) use bytes::bytes_of;
use cache::{Cache, LONGEST};
use merges::Merges;
use split::Split;

/// Text to ids.
pub(crate) struct Bpe {
    split: Split,
    merges: Merges,
    /// The tokens that a whole word may be without regard to the merges (`ignore_merges`); else empty.
    whole_words: FxHashMap<Vec<u8>, u32>,
    /// Whether text is brought to form C.
    compose: bool,
    /// The added tokens that are found in the text as it is, and those that are found in the normalized text.
    added: [AddedTokens; 2],
    /// One for each thread that encodes at the same time.
    caches: Mutex<Vec<Cache>>,
}

/// The parts of a tokenizer.json that decide about ids.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    padding: Value,
    #[serde(default)]
    added_tokens: Vec<IgnoredAny>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    ignore_merges: bool,
    vocab: HashMap<String, u32>,
    merges: MergeList,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MergeList {
    Pairs(Vec<(String, String)>),
    Lines(Vec<String>),
}

impl Bpe {
    /// The encoder for a tokenizer.json that the crate has read, which gives the added tokens. Nothing where this code
    /// does not know every part of it: the model must be BPE over a vocabulary with all 256 bytes, without dropout,
    /// prefix and suffix, the normalizer absent or NFC, the pre-tokenizer a [`Split`], and no added token `single_word`.
    /// With all bytes present nothing is unknown, so `unk_token` and `byte_fallback` do not matter.
    pub(crate) fn of_json(json: &str, added_tokens: &HashMap<u32, AddedToken>) -> Option<Self> {
        let file: File = serde_json::from_str(json).ok()?;
        let model = &file.model;
        let empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
        let plain = model.r#type.as_deref().is_none_or(|name| name == "BPE")
            && model.dropout.is_none_or(|p| p == 0.0)
            && empty(&model.continuing_subword_prefix)
            && empty(&model.end_of_word_suffix)
            && file.truncation.is_null()
            && file.padding.is_null()
            && file.added_tokens.len() == added_tokens.len();
        if !plain {
            return None;
        }
        let compose = composes(&file.normalizer)?;
        let whole_words = match model.ignore_merges {
            true => model.vocab.iter().filter_map(|(token, &id)| Some((bytes_of(token)?, id))).collect(),
            false => FxHashMap::default(),
        };
        let added = |normalized: bool| {
            let of_kind = added_tokens.iter().filter(|(_, token)| token.normalized == normalized);
            let list: Vec<(u32, AddedToken, String)> = of_kind
                .map(|(&id, token)| {
                    let written = if compose && normalized {
                        normal::nfc(&token.content)
                    } else {
                        Cow::Borrowed(&*token.content)
                    };
                    (id, token.clone(), written.into_owned())
                })
                .collect();
            AddedTokens::new(&list)
        };
        Some(Self {
            split: Split::of_json(&file.pre_tokenizer)?,
            merges: merges_of(model)?,
            whole_words,
            compose,
            added: [added(false)?, added(true)?],
            caches: Mutex::new(Vec::new()),
        })
    }

    /// The ids of `text`; with `literal`, special tokens written in it are ordinary text.
    pub(crate) fn encode(&self, text: &str, literal: bool) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 8);
        let pooled = self.caches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut cache = pooled.unwrap_or_else(Cache::new);
        self.added[0].pieces(text, literal, |piece| match piece {
            Piece::Token(id) => ids.push(id),
            Piece::Text(text) => {
                let text = if self.compose { normal::nfc(text) } else { Cow::Borrowed(text) };
                self.added[1].pieces(&text, literal, |piece| match piece {
                    Piece::Token(id) => ids.push(id),
                    Piece::Text(text) => self.encode_text(text, &mut cache, &mut ids),
                });
            }
        });
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
        ids
    }

    fn encode_text(&self, text: &str, cache: &mut Cache, ids: &mut Vec<u32>) {
        let bytes = text.as_bytes();
        self.split.words(text, |start, end| {
            if end - start <= LONGEST {
                cache.get(bytes, start, end, ids, |ids| self.encode_word(&bytes[start..end], ids));
            } else {
                self.encode_word(&bytes[start..end], ids);
            }
        });
    }

    fn encode_word(&self, word: &[u8], ids: &mut Vec<u32>) {
        if !self.whole_words.is_empty()
            && let Some(&id) = self.whole_words.get(word)
        {
            return ids.push(id);
        }
        self.merges.encode(word, ids);
    }
}

/// Whether a normalizer is form C; nothing where it is neither that nor absent.
fn composes(normalizer: &Value) -> Option<bool> {
    match normalizer["type"].as_str() {
        _ if normalizer.is_null() => Some(false),
        Some("NFC") => Some(true),
        Some("Sequence") => match normalizer["normalizers"].as_array()?.as_slice() {
            [] => Some(false),
            [only] => composes(only),
            _ => None,
        },
        _ => None,
    }
}

fn merges_of(model: &Model) -> Option<Merges> {
    let mut byte_ids = [0; 256];
    for (id, c) in byte_ids.iter_mut().zip(bytes::CHARS.iter()) {
        *id = *model.vocab.get(c.encode_utf8(&mut [0; 4]) as &str)?;
    }
    let pairs: Vec<(&str, &str)> = match &model.merges {
        MergeList::Pairs(pairs) => pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect(),
        // As the crate reads them: without the line that names the version.
        MergeList::Lines(lines) => lines
            .iter()
            .filter(|line| !line.starts_with("#version"))
            .map(|line| line.split_once(' '))
            .collect::<Option<_>>()?,
    };
    let mut list = Vec::with_capacity(pairs.len());
    for (a, b) in pairs {
        list.push((*model.vocab.get(a)?, *model.vocab.get(b)?, *model.vocab.get(&format!("{a}{b}"))?));
    }
    Some(Merges::new(byte_ids, &list))
}
