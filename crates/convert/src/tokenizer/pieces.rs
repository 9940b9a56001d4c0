//! What SentencePiece's model is in tokenizer.json, as transformers has it (`build_tokenizer_from_spm_proto` of
//! `convert_slow_tokenizer.py`): a normalizer by the model's own settings, Unigram or BPE by the scores of the pieces.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::added;
use crate::ConvertError;

/// What takes the place of a space.
pub(super) const SPACE: &str = "▁";
/// More bytes than any piece has: the search for its merges grows with the square.
const LONGEST_PIECE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl PieceKind {
    /// By its number in SentencePiece and GGUF.
    pub(super) fn from_number(number: i64) -> Option<Self> {
        use PieceKind::{Byte, Control, Normal, Unknown, Unused, UserDefined};
        [Normal, Unknown, Control, UserDefined, Unused, Byte].get(usize::try_from(number - 1).ok()?).copied()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// A model of SentencePiece; the id of a piece is its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pieces {
    pub(super) pieces: Vec<Piece>,
    /// Unigram, else BPE.
    pub(super) unigram: bool,
    pub(super) byte_fallback: bool,
    /// A space before each text.
    pub(super) dummy_prefix: bool,
    pub(super) remove_extra_spaces: bool,
    pub(super) escape_spaces: bool,
    /// A table of characters to be replaced, in the form of SentencePiece.
    pub(super) charsmap: Vec<u8>,
    /// Whether each text between special tokens has a space before it, and not the first alone.
    pub(super) legacy: bool,
}

impl Pieces {
    /// The first piece of a kind.
    pub(super) fn first(&self, kind: PieceKind) -> Option<(usize, &str)> {
        let piece = self.pieces.iter().enumerate().find(|(_, piece)| piece.kind == kind);
        piece.map(|(id, piece)| (id, piece.text.as_str()))
    }

    pub(super) fn id(&self, text: &str) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.text == text)
    }

    /// The special tokens: control pieces and the unknown one.
    pub(super) fn added(&self) -> Vec<Json> {
        let special = |piece: &Piece| matches!(piece.kind, PieceKind::Control | PieceKind::Unknown);
        let all = self.pieces.iter().enumerate().filter(|(_, piece)| special(piece));
        all.map(|(id, piece)| added(id, &piece.text, true)).collect()
    }

    /// tokenizer.json without a post-processor.
    ///
    /// # Errors
    /// Pieces that are the same, too long, or none for what is unknown. `path` is for messages.
    pub(super) fn tokenizer(&self, path: &Path, added: Vec<Json>) -> Result<Json, ConvertError> {
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": self.normalizers()},
            "pre_tokenizer": self.pre_tokenizer(),
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": self.decoders()},
            "model": self.model(path)?,
        }))
    }

    /// In SentencePiece's order. Of white space only spaces count.
    fn normalizers(&self) -> Vec<Json> {
        let replace = |pattern: Json, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let mut steps = Vec::new();
        if !self.charsmap.is_empty() {
            steps.push(json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(&self.charsmap)}));
        }
        if self.remove_extra_spaces {
            steps.push(replace(json!({"Regex": r"\A +| +\z"}), ""));
            steps.push(replace(json!({"Regex": " {2,}"}), " "));
        }
        if self.escape_spaces {
            steps.push(replace(json!({"String": " "}), SPACE));
        }
        if self.dummy_prefix && self.legacy {
            // Metaspace puts no space before a text that begins with one; SentencePiece does.
            steps.push(replace(json!({"Regex": r"\A▁"}), "▁▁"));
        }
        steps
    }

    fn pre_tokenizer(&self) -> Json {
        let mut steps = Vec::new();
        if self.dummy_prefix {
            let scheme = if self.legacy { "always" } else { "first" };
            steps.push(json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": false}));
        }
        // Pieces that users defined are taken whole wherever they are, the longest first.
        let mut own: Vec<&str> = self.of_kind(PieceKind::UserDefined).map(|piece| piece.text.as_str()).collect();
        own.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        if !own.is_empty() {
            let pattern = own.into_iter().map(escaped).collect::<Vec<_>>().join("|");
            steps.push(json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
            }));
        }
        match steps.is_empty() {
            true => Json::Null,
            false => json!({"type": "Sequence", "pretokenizers": steps}),
        }
    }

    fn decoders(&self) -> Vec<Json> {
        let mut steps = vec![json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "})];
        if self.byte_fallback {
            steps.push(json!({"type": "ByteFallback"}));
        }
        if self.byte_fallback || self.dummy_prefix {
            steps.push(json!({"type": "Fuse"}));
        }
        if self.dummy_prefix {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        steps
    }

    fn of_kind(&self, kind: PieceKind) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(move |piece| piece.kind == kind)
    }

    fn model(&self, path: &Path) -> Result<Json, ConvertError> {
        let malformed = |what: String| ConvertError::malformed(path, what);
        let unknown = self.first(PieceKind::Unknown);
        let (unk_id, unk_token) = unknown.ok_or_else(|| malformed("it has no piece for what is unknown".into()))?;
        if let Some(long) = self.pieces.iter().find(|piece| piece.text.len() > LONGEST_PIECE) {
            return Err(malformed(format!("a piece of {} bytes", long.text.len())));
        }
        let ids: HashMap<&str, usize> = self.pieces.iter().enumerate().map(|(id, p)| (p.text.as_str(), id)).collect();
        if let Some((id, piece)) = self.pieces.iter().enumerate().find(|(id, piece)| ids[piece.text.as_str()] != *id) {
            return Err(malformed(format!(
                "the pieces {id} and {} are both {:?}",
                ids[piece.text.as_str()],
                piece.text
            )));
        }
        if let Some(piece) = self.pieces.iter().find(|piece| !piece.score.is_finite()) {
            return Err(malformed(format!("the score of the piece {:?} is {}", piece.text, piece.score)));
        }
        if self.unigram {
            let scored: Vec<Json> = self.pieces.iter().map(|piece| json!([piece.text, piece.score])).collect();
            return Ok(json!({
                "type": "Unigram", "unk_id": unk_id, "vocab": scored, "byte_fallback": self.byte_fallback,
            }));
        }
        let vocabulary: Map<String, Json> =
            self.pieces.iter().enumerate().map(|(id, piece)| (piece.text.clone(), json!(id))).collect();
        Ok(json!({
            "type": "BPE", "dropout": null, "unk_token": unk_token, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": self.byte_fallback,
            "ignore_merges": self.first(PieceKind::UserDefined).is_some(),
            "vocab": vocabulary, "merges": self.merges(),
        }))
    }

    /// All pairs of normal pieces that make another, by the score of what they make.
    fn merges(&self) -> Vec<[&str; 2]> {
        let normal: HashMap<&str, (usize, f32)> = (self.pieces.iter().enumerate())
            .filter(|(_, piece)| piece.kind == PieceKind::Normal)
            .map(|(id, piece)| (piece.text.as_str(), (id, piece.score)))
            .collect();
        let mut ranked: Vec<(f32, usize, [&str; 2])> = Vec::new();
        for (text, (id, score)) in &normal {
            for (at, _) in text.char_indices().skip(1) {
                let (left, right) = text.split_at(at);
                if normal.contains_key(left) && normal.contains_key(right) {
                    ranked.push((*score, *id, [left, right]));
                }
            }
        }
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        ranked.into_iter().map(|(.., pair)| pair).collect()
    }
}

/// A text as a regular expression that matches it alone.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
