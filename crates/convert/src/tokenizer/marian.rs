//! Marian's source.spm and target.spm with one vocab.json for both. SentencePiece cuts a text, and what it cuts is looked up
//! by its text, whichever of the two models has it as a piece:
//!
//! - Pieces that the model at hand has keep their scores, at the ids of vocab.json.
//! - Characters that it has not are one token as far as they go on, unknown unless vocab.json has just that run. So all other
//!   tokens are written between two signs that no text has, and a normalizer writes the same signs around such runs; a
//!   decoder takes them away. Else a run would be cut into whatever the other language's pieces are.
//! - A piece that vocab.json has not is cut further, where transformers takes it for unknown: Unigram's ids are places in
//!   its list, and there is no place for it.
//! - `>>xxx<<` is the mark of a language wherever it stands, and one that vocab.json has not is text. transformers knows it at
//!   the beginning alone, and takes what it does not know for unknown.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::pieces::{Piece, PieceKind, SPACE};
use super::sentencepiece::{self, Model};
use super::{Around, Files, SOURCE, VOCABULARY, added, config, id_of, special_tokens, tokens_by_id, told};
use crate::ConvertError;

/// How targets are cut.
const TARGET: &str = "target.spm";
/// The tokens of the targets, where they are not those of the sources.
const TARGET_VOCABULARY: &str = "target_vocab.json";
/// Around a token that the model at hand cannot cut: code points that are no characters and stand in no text.
const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';

/// The tokenizer of a folder: `told` is its tokenizer_config.json.
pub(super) fn files(folder: &Path, told: &Json) -> Result<Files, ConvertError> {
    let path = folder.join(VOCABULARY);
    if told["separate_vocabs"] == true || folder.join(TARGET_VOCABULARY).exists() {
        let what =
            format!("a Marian whose targets have tokens of their own ({TARGET_VOCABULARY}); danlu has one vocabulary");
        return Err(ConvertError::unsupported(&path, what));
    }
    let tokens = tokens_by_id(&path)?;
    let vocabulary: Map<String, Json> = tokens.iter().cloned().zip(0u64..).map(|(t, id)| (t, json!(id))).collect();
    let own = [("eos_token", json!("</s>")), ("unk_token", json!("<unk>")), ("pad_token", json!("<pad>"))];
    let mut special = special_tokens(&path, told, &own, &vocabulary)?;
    for (id, token) in tokens.iter().enumerate().filter(|(_, token)| token.starts_with(">>") && token.ends_with("<<")) {
        if special.iter().all(|other| other["content"] != token.as_str()) {
            special.push(added(id, token, true));
        }
    }
    special.sort_by_key(|token| token["id"].as_u64());
    let missing = |key: &str| ConvertError::malformed(&path, format!("it has no {key}"));
    let unknown = told::text(told, &own, "unk_token").filter(|token| vocabulary.contains_key(*token));
    let unknown = unknown.ok_or_else(|| missing("unk_token"))?;
    let end = told::text(told, &own, "eos_token").and_then(|end| Some((end, id_of(end, &special, &vocabulary)?)));
    let (end, end_id) = end.ok_or_else(|| missing("eos_token"))?;
    let post_processor = ending((end.to_owned(), end_id));

    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| ConvertError::io("read", &path, e))
    };
    let side = |name: &str, bytes: &[u8]| -> Result<Json, ConvertError> {
        let mut tokenizer = cut_by(&folder.join(name), bytes, &tokens, &special, unknown)?;
        tokenizer["post_processor"] = post_processor.clone();
        Ok(tokenizer)
    };
    let source = read(SOURCE)?;
    let target = match folder.join(TARGET).exists() {
        true => Some(read(TARGET)?).filter(|target| *target != source),
        false => None,
    };
    Ok(Files {
        tokenizer: side(SOURCE, &source)?,
        config: config(told, "MarianTokenizer", &own),
        target: target.map(|bytes| side(TARGET, &bytes)).transpose()?,
    })
}

/// The end after a text, or after the second of two.
fn ending(end: (String, usize)) -> Json {
    let mut post = Around { after: Some(end), ..Around::default() }.post_processor();
    if let Some(pair) = post["pair"].as_array_mut()
        && pair.len() > 3
    {
        pair.remove(1);
    }
    post
}

/// tokenizer.json of one of the two models, with the ids of `tokens`.
fn cut_by(path: &Path, bytes: &[u8], tokens: &[String], special: &[Json], unknown: &str) -> Result<Json, ConvertError> {
    let Model { mut pieces, .. } = sentencepiece::read(path, bytes)?;
    if !pieces.unigram || pieces.byte_fallback {
        let what = "a SentencePiece model of a Marian that is not of the kind unigram without bytes to fall back on";
        return Err(ConvertError::unsupported(path, what));
    }
    let cuts = |piece: &&Piece| matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined);
    let known: HashMap<&str, &Piece> =
        pieces.pieces.iter().filter(cuts).map(|piece| (piece.text.as_str(), piece)).collect();
    let listed = tokens.iter().filter_map(|token| known.get(token.as_str()));
    let lowest = listed.map(|piece| piece.score).fold(0.0, f32::min);
    let marks: BTreeSet<&str> = special.iter().filter_map(|token| token["content"].as_str()).collect();
    let mut letters: BTreeSet<char> = SPACE.chars().collect();
    let place = |token: &String| {
        let piece = |text: String, kind: PieceKind| Piece { text, score: lowest, kind };
        match known.get(token.as_str()) {
            _ if token == unknown => piece(token.clone(), PieceKind::Unknown),
            _ if marks.contains(token.as_str()) => piece(token.clone(), PieceKind::Control),
            Some(known) => {
                letters.extend(token.chars());
                (*known).clone()
            }
            None => piece(format!("{OPEN}{token}{CLOSE}"), PieceKind::Normal),
        }
    };
    pieces.pieces = tokens.iter().map(place).collect();
    let mut tokenizer = pieces.tokenizer(path, special.to_vec())?;
    let strange = format!("[^{}]", letters.iter().map(|c| in_class(*c)).collect::<String>());
    let replace = |pattern: String, content: &str| {
        let pattern = json!({"Regex": pattern});
        json!({"type": "Replace", "pattern": pattern, "content": content})
    };
    if let Some(steps) = tokenizer["normalizer"]["normalizers"].as_array_mut() {
        steps.push(replace(format!("(?<!{strange})(?={strange})"), &OPEN.to_string()));
        steps.push(replace(format!("(?<={strange})(?!{strange})"), &CLOSE.to_string()));
    }
    if let Some(steps) = tokenizer["decoder"]["decoders"].as_array_mut() {
        steps.insert(0, replace(format!("[{OPEN}{CLOSE}]"), ""));
    }
    Ok(tokenizer)
}

/// A character within brackets of a regular expression.
fn in_class(c: char) -> String {
    if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() }
}
