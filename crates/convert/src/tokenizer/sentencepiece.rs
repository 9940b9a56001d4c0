//! SentencePiece's models: a protocol buffer (`sentencepiece_model.proto`).
//!
//! ```text
//! 1  piece, repeated:     1 text, 2 score (float), 3 kind
//! 2  how it was trained:  3 model type, 35 byte fallback, 40 to 43 ids of unknown, begin, end, padding
//! 3  how to normalise:    2 character map, 3 dummy prefix, 4 remove extra white space, 5 escape white space
//! ```

use std::path::Path;

use serde_json::{Value as Json, json};

use super::pieces::{Piece, PieceKind, Pieces};
use super::{Around, DESCRIBED, Files, MOST_TOKENS, added, all_added, config, named, whose};
use crate::ConvertError;

/// A model, with the ids of the tokens that begin, end and fill a text.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) pieces: Pieces,
    bos: Option<usize>,
    eos: Option<usize>,
    pad: Option<usize>,
}

/// Whose tokenizer it is, which decides about tokens around a text and ids of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    /// Llama, Mistral, Gemma: a token before each text.
    Begin,
    /// T5: one after it, and 100 tokens for what was hidden.
    T5,
    /// XLM-RoBERTa: other ids, in the order of fairseq.
    XlmRoberta,
}

/// Tokenizers of transformers that are known, and `model_type`s for folders that do not name one.
const STYLES: [(&str, &str, Style); 12] = [
    ("LlamaTokenizer", "llama", Style::Begin),
    ("CodeLlamaTokenizer", "code_llama", Style::Begin),
    ("MistralTokenizer", "mistral", Style::Begin),
    ("MixtralTokenizer", "mixtral", Style::Begin),
    ("GemmaTokenizer", "gemma", Style::Begin),
    ("GemmaTokenizer", "gemma2", Style::Begin),
    ("GemmaTokenizer", "gemma3_text", Style::Begin),
    ("T5Tokenizer", "t5", Style::T5),
    ("MT5Tokenizer", "mt5", Style::T5),
    ("XLMRobertaTokenizer", "xlm-roberta", Style::XlmRoberta),
    ("PreTrainedTokenizer", "", Style::Plain),
    ("TokenizersBackend", "", Style::Plain),
];

/// The tokenizer of a folder: `told` is its tokenizer_config.json, `model` its config.json.
pub(super) fn files(path: &Path, bytes: &[u8], told: &Json, model: &Json) -> Result<Files, ConvertError> {
    let style = whose(path, told, model, &STYLES, Style::Plain)?;
    let Model { mut pieces, bos, eos, pad } = read(path, bytes)?;
    pieces.legacy = told["legacy"].as_bool().unwrap_or(true);
    pieces.dummy_prefix = told["add_prefix_space"].as_bool().unwrap_or(pieces.dummy_prefix);
    let text_of = |id: Option<usize>| id.map(|id| pieces.pieces[id].text.clone());
    let own = [bos, eos, pad].map(text_of);
    let unknown = pieces.first(PieceKind::Unknown).map(|(_, text)| text.to_owned());
    if style == Style::XlmRoberta {
        pieces.pieces = in_fairseq_order(path, std::mem::take(&mut pieces.pieces))?;
    }
    let size = pieces.pieces.len();
    let mut special = pieces.added();
    if style == Style::T5 {
        let count = told["extra_ids"].as_u64().unwrap_or(100).min(1000) as usize;
        special.extend((0..count).map(|i| added(size + count - 1 - i, &format!("<extra_id_{i}>"), true)));
    }
    let special = all_added(path, special, told, size)?;
    let token = |key: &str, own: &Option<String>, adds: &str, otherwise: bool| {
        let text = named(told, key).or(own.as_deref())?;
        let added = special.iter().find(|token| token["content"] == text).and_then(|token| token["id"].as_u64());
        let id = pieces.id(text).or(added.map(|id| id as usize))?;
        told[adds].as_bool().unwrap_or(otherwise).then(|| (text.to_owned(), id))
    };
    let begins = matches!(style, Style::Begin | Style::XlmRoberta);
    let before = token("bos_token", &own[0], "add_bos_token", begins);
    let after = token("eos_token", &own[1], "add_eos_token", matches!(style, Style::T5 | Style::XlmRoberta));
    let (adds_bos, adds_eos) = (before.is_some(), after.is_some());
    let before_second = if style == Style::XlmRoberta { after.clone() } else { before.clone() };
    let around = Around { before, after, before_second, second_type: u8::from(style == Style::Begin) };
    let [bos, eos, pad] = &own;
    let mut config = config(told, DESCRIBED, &[]);
    let own = [("bos_token", bos), ("eos_token", eos), ("pad_token", pad), ("unk_token", &unknown)];
    for (key, token) in own.into_iter().filter(|(key, token)| named(told, key).is_none() && token.is_some()) {
        config[key] = json!(token);
    }
    config["add_bos_token"] = json!(adds_bos);
    config["add_eos_token"] = json!(adds_eos);
    let mut tokenizer = pieces.tokenizer(path, special)?;
    tokenizer["post_processor"] = around.post_processor();
    Ok(Files { tokenizer, config, target: None })
}

/// XLM-RoBERTa numbers its pieces as fairseq did: <s>, <pad>, </s>, <unk>, all but the first three pieces, <mask>.
fn in_fairseq_order(path: &Path, pieces: Vec<Piece>) -> Result<Vec<Piece>, ConvertError> {
    let begins: Vec<&str> = pieces.iter().take(3).map(|piece| piece.text.as_str()).collect();
    if begins != ["<unk>", "<s>", "</s>"] {
        let what = format!("an XLM-RoBERTa should begin with <unk>, <s> and </s>, not with {begins:?}");
        return Err(ConvertError::malformed(path, what));
    }
    let special = |text: &str, kind: PieceKind| Piece { text: text.into(), score: 0.0, kind };
    let first = [
        special("<s>", PieceKind::Control),
        special("<pad>", PieceKind::Control),
        special("</s>", PieceKind::Control),
        special("<unk>", PieceKind::Unknown),
    ];
    let last = special("<mask>", PieceKind::Control);
    Ok(first.into_iter().chain(pieces.into_iter().skip(3)).chain([last]).collect())
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Model, ConvertError> {
    let broken = |what: String| ConvertError::malformed(path, format!("not a SentencePiece model: {what}"));
    let mut pieces = Vec::new();
    let (mut trained, mut normal) = (&[][..], &[][..]);
    for field in Fields(bytes) {
        match field.map_err(broken)? {
            (1, Field::Bytes(piece)) if pieces.len() < MOST_TOKENS => {
                pieces.push(read_piece(piece).map_err(|what| broken(format!("piece {}: {what}", pieces.len())))?);
            }
            (1, Field::Bytes(_)) => return Err(broken(format!("more than {MOST_TOKENS} pieces"))),
            (2, Field::Bytes(bytes)) => trained = bytes,
            (3, Field::Bytes(bytes)) => normal = bytes,
            _ => {}
        }
    }
    if pieces.is_empty() {
        return Err(broken("it has no pieces".into()));
    }
    let (mut kind, mut byte_fallback, mut ids) = (1, false, [0, 1, 2, -1]);
    for field in Fields(trained) {
        match field.map_err(broken)? {
            (3, Field::Number(n)) => kind = n,
            (35, Field::Number(n)) => byte_fallback = n != 0,
            (field @ 40..=43, Field::Number(n)) => ids[field as usize - 40] = n.cast_signed() as i32, // an int32 in 64 bits
            _ => {}
        }
    }
    let (mut charsmap, mut flags) = (Vec::new(), [true; 3]);
    for field in Fields(normal) {
        match field.map_err(broken)? {
            (2, Field::Bytes(bytes)) => charsmap = bytes.to_vec(),
            (field @ 3..=5, Field::Number(n)) => flags[field as usize - 3] = n != 0,
            _ => {}
        }
    }
    if !charsmap.is_empty() {
        danlu_text::check_charsmap(&charsmap).map_err(|what| broken(what.into()))?;
    }
    if kind != 1 && kind != 2 {
        let what = format!("a SentencePiece model of type {kind}; danlu takes unigram (1) and BPE (2)");
        return Err(ConvertError::unsupported(path, what));
    }
    let id = |at: usize| usize::try_from(ids[at]).ok().filter(|id| *id < pieces.len());
    let (bos, eos, pad) = (id(1), id(2), id(3));
    let [dummy_prefix, remove_extra_spaces, escape_spaces] = flags;
    let unigram = kind == 1;
    let pieces = Pieces {
        pieces,
        unigram,
        byte_fallback,
        dummy_prefix,
        remove_extra_spaces,
        escape_spaces,
        charsmap,
        legacy: true,
    };
    Ok(Model { pieces, bos, eos, pad })
}

fn read_piece(bytes: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    for field in Fields(bytes) {
        match field? {
            (1, Field::Bytes(text)) => {
                piece.text = std::str::from_utf8(text).map_err(|_| "its text is not UTF-8")?.to_owned();
            }
            (2, Field::Float(score)) => piece.score = score,
            (3, Field::Number(kind)) => {
                let known = i64::try_from(kind).ok().and_then(PieceKind::from_number);
                piece.kind = known.ok_or_else(|| format!("there is no kind {kind}"))?;
            }
            _ => {}
        }
    }
    match piece.text.is_empty() {
        true => Err("it has no text".into()),
        false => Ok(piece),
    }
}

/// A value of a protocol buffer.
#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
    /// 64 bits, which no field here has.
    Wide,
}

/// The fields of a message in their order.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[]; // what follows an error means nothing
        }
        Some(field.ok_or_else(|| "a field that ends too early or is of no known type".into()))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Wide)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
