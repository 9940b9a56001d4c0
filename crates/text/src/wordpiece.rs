//! WordPiece vocabularies (Schuster and Nakajima 2012), learnt from texts, in the form of BERT's.
//!
//! As in the `tokenizers` crate, pieces are merged by how often they are neighbours (byte-pair encoding, Sennrich et al. 2016)
//! and what continues a word begins with `##`. The crate's own trainer numbers pieces in the order of a hash table, so that
//! the same texts give another vocabulary each time; this one does not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::TextError;
use crate::encoder_tokenizer::{EncoderTokenizer, wordpiece_json};
use crate::tokenizer::{CONFIG_FILE, TOKENIZER_FILE};

/// BERT's special tokens, in the order of their ids.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// Pieces that occur less often are not worth an id.
const LEAST: u64 = 2;
/// Longer words are unknown to the tokenizer, whatever their pieces.
const LONGEST_WORD: usize = 100;

/// A vocabulary to learn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordPieceConfig {
    /// Tokens in all, the special ones included; fewer where the texts have no more.
    pub vocab_size: usize,
    /// Whether case and accents are dropped. Chinese has neither: each character is a word of its own.
    pub lowercase: bool,
}

impl Default for WordPieceConfig {
    fn default() -> Self {
        Self { vocab_size: 8192, lowercase: true }
    }
}

impl EncoderTokenizer {
    /// Learns a WordPiece vocabulary from texts. The same texts, in whatever order, give the same vocabulary.
    ///
    /// # Errors
    /// [`TextError::BadModelConfig`] for a vocabulary that does not even hold the special tokens;
    /// [`TextError::Encode`] for a text that cannot be cut into words.
    pub fn train<'a>(
        texts: impl Iterator<Item = &'a str>,
        config: &WordPieceConfig,
    ) -> Result<EncoderTokenizer, TextError> {
        if !(SPECIAL.len() + 1..=1 << 24).contains(&config.vocab_size) {
            let message = format!("must be {} to {}, and is {}", SPECIAL.len() + 1, 1 << 24, config.vocab_size);
            return Err(TextError::BadModelConfig { key: "vocab_size", message });
        }
        let mut words = BTreeMap::new();
        for text in texts {
            count_words(text, config, &mut words)
                .map_err(|error| TextError::Encode { bytes: text.len(), message: error.to_string() })?;
        }
        let pieces = Learner::new(&words, config.vocab_size - SPECIAL.len()).learn();
        let vocabulary: Vec<&str> = SPECIAL.into_iter().chain(pieces.iter().map(String::as_str)).collect();
        let (settings, path) = (settings(config), Path::new(TOKENIZER_FILE));
        Self::from_json(&wordpiece_json(&vocabulary.join("\n"), &settings, path)?.to_string(), &settings, path)
    }

    /// Writes tokenizer.json and tokenizer_config.json into `dir`, which must exist.
    ///
    /// # Errors
    /// [`TextError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), TextError> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|source| TextError::Io { action: "write", path, source })
        };
        let json = self.to_json().map_err(|error| TextError::Encode { bytes: 0, message: error.to_string() })?;
        write(TOKENIZER_FILE, json)?;
        write(CONFIG_FILE, format!("{:#}\n", self.settings()))
    }
}

/// tokenizer_config.json of such a vocabulary.
fn settings(config: &WordPieceConfig) -> serde_json::Value {
    json!({
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": config.lowercase,
        "tokenize_chinese_chars": true,
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    })
}

/// Counts the words of a text as BERT's tokenizer cuts it.
fn count_words(text: &str, config: &WordPieceConfig, words: &mut BTreeMap<String, u64>) -> tokenizers::Result<()> {
    let mut normalized = NormalizedString::from(text);
    BertNormalizer::new(true, true, None, config.lowercase).normalize(&mut normalized)?;
    let mut cut = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut cut)?;
    for (word, _, _) in cut.get_splits(OffsetReferential::Normalized, OffsetType::None) {
        if word.chars().count() > LONGEST_WORD {
            continue;
        }
        match words.get_mut(word) {
            Some(count) => *count += 1,
            None => {
                words.insert(word.to_owned(), 1);
            }
        }
    }
    Ok(())
}

type Pair = (u32, u32);

/// Merges the most frequent neighbours, again and again.
struct Learner {
    pieces: Vec<String>,
    most: usize,
    /// Words as numbers of pieces, and how often each occurs.
    words: Vec<(Vec<u32>, u64)>,
    counts: HashMap<Pair, u64>,
    /// In which words a pair is, or was.
    places: HashMap<Pair, BTreeSet<usize>>,
}

impl Learner {
    /// The characters, the most frequent ones if there are more than `most`, are the first pieces.
    fn new(words: &BTreeMap<String, u64>, most: usize) -> Self {
        let mut characters: BTreeMap<String, u64> = BTreeMap::new();
        for (word, count) in words {
            for piece in characters_of(word) {
                *characters.entry(piece).or_default() += count;
            }
        }
        let mut ranked: Vec<(String, u64)> = characters.into_iter().collect();
        ranked.sort_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
        let pieces: Vec<String> = ranked.into_iter().take(most).map(|(piece, _)| piece).collect();
        let ids: HashMap<&str, u32> =
            pieces.iter().enumerate().map(|(id, piece)| (piece.as_str(), id as u32)).collect();
        // A word with a character that has no piece is unknown as a whole: nothing is learnt from it.
        let known = |word: &str| -> Option<Vec<u32>> {
            characters_of(word).map(|piece| ids.get(piece.as_str()).copied()).collect()
        };
        let words = words.iter().filter_map(|(word, count)| Some((known(word)?, *count))).collect();
        Self { pieces, most, words, counts: HashMap::new(), places: HashMap::new() }
    }

    fn learn(mut self) -> Vec<String> {
        for word in 0..self.words.len() {
            self.count(word);
        }
        // Of equally frequent pairs the one of the earlier pieces, which are the more frequent ones.
        let mut queue: BinaryHeap<(u64, Reverse<Pair>)> =
            self.counts.iter().map(|(pair, count)| (*count, Reverse(*pair))).collect();
        while self.pieces.len() < self.most {
            let Some((count, Reverse(pair))) = queue.pop() else { break };
            let now = self.counts.get(&pair).copied().unwrap_or(0);
            if now != count {
                // The count has changed since; if it still counts, its turn comes later.
                if now > 0 && now < count {
                    queue.push((now, Reverse(pair)));
                }
                continue;
            }
            if count < LEAST {
                break;
            }
            for changed in self.merge(pair) {
                queue.push((self.counts[&changed], Reverse(changed)));
            }
        }
        self.pieces
    }

    /// Adds a word's pairs to the counts.
    fn count(&mut self, word: usize) {
        let (pieces, count) = &self.words[word];
        for pair in pieces.windows(2) {
            let pair = (pair[0], pair[1]);
            *self.counts.entry(pair).or_default() += count;
            self.places.entry(pair).or_default().insert(word);
        }
    }

    /// Makes one piece of a pair wherever it is; returns the pairs that are now there and were not before.
    fn merge(&mut self, pair: Pair) -> BTreeSet<Pair> {
        let (left, right) = (&self.pieces[pair.0 as usize], &self.pieces[pair.1 as usize]);
        let joined = format!("{left}{}", right.strip_prefix("##").unwrap_or(right));
        let id = self.pieces.len() as u32;
        self.pieces.push(joined);
        let mut changed = BTreeSet::new();
        for word in self.places.remove(&pair).unwrap_or_default() {
            let (pieces, count) = &mut self.words[word];
            let count = *count;
            for old in pieces.windows(2) {
                if let Some(held) = self.counts.get_mut(&(old[0], old[1])) {
                    *held = held.saturating_sub(count);
                }
            }
            *pieces = joined_pieces(pieces, pair, id);
            let new = pieces.windows(2).map(|new| (new[0], new[1]));
            changed.extend(new.filter(|new| new.0 == id || new.1 == id));
            self.count(word);
        }
        self.counts.remove(&pair);
        changed
    }
}

fn joined_pieces(pieces: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let (mut joined, mut at) = (Vec::with_capacity(pieces.len()), 0);
    while at < pieces.len() {
        let here = at + 1 < pieces.len() && (pieces[at], pieces[at + 1]) == pair;
        joined.push(if here { id } else { pieces[at] });
        at += if here { 2 } else { 1 };
    }
    joined
}

/// The first character as it is, the others as what continues a word.
fn characters_of(word: &str) -> impl Iterator<Item = String> {
    word.chars().enumerate().map(|(at, c)| if at == 0 { c.to_string() } else { format!("##{c}") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = [
        "The furnace melts gold, the furnace refines words.",
        "Melting and refining: the Furnace melted again.",
        "丹炉炼丹，炼字如炼丹。",
        "炉火纯青，炼丹百日。",
    ];

    fn trained(vocab_size: usize) -> EncoderTokenizer {
        let config = WordPieceConfig { vocab_size, ..WordPieceConfig::default() };
        EncoderTokenizer::train(TEXTS.into_iter(), &config).unwrap()
    }

    #[test]
    fn words_become_pieces_and_chinese_characters() {
        let tokenizer = trained(120);
        assert_eq!(tokenizer.kind(), "WordPiece");
        assert!(tokenizer.vocab_size() <= 120);
        assert_eq!(SPECIAL.map(|token| tokenizer.token_id(token).unwrap()), [0, 1, 2, 3, 4]);
        assert_eq!((tokenizer.pad_id(), tokenizer.mask_id()), (Some(0), Some(4)));
        let encoded = tokenizer.encode("The FURNACE 炼丹", 32).unwrap();
        assert_eq!((encoded.ids[0], *encoded.ids.last().unwrap()), (2, 3));
        assert_eq!(tokenizer.decode(&encoded.ids).unwrap(), "the furnace 炼 丹");
        assert!(!encoded.ids.contains(&1), "nothing unknown: {encoded:?}");
        let unseen = tokenizer.encode("Ω", 32).unwrap();
        assert_eq!(unseen.ids, [2, 1, 3]);
    }

    #[test]
    fn the_same_texts_give_the_same_vocabulary_in_any_order() {
        let config = WordPieceConfig { vocab_size: 90, ..WordPieceConfig::default() };
        let turned = EncoderTokenizer::train(TEXTS.into_iter().rev(), &config).unwrap();
        assert_eq!(trained(90).to_json().unwrap(), turned.to_json().unwrap());
    }

    #[test]
    fn frequent_neighbours_are_merged_first() {
        // "ab" 5 times, "abc" 3 times, "bc" twice: a##b 8, ##b##c 3, b##c 2; after a##b: ab##c 3.
        let words = BTreeMap::from([("ab".to_owned(), 5), ("abc".to_owned(), 3), ("bc".to_owned(), 2)]);
        let pieces = Learner::new(&words, 100).learn();
        assert_eq!(pieces, ["##b", "a", "##c", "b", "ab", "abc", "bc"]);
        assert_eq!(Learner::new(&words, 5).learn(), ["##b", "a", "##c", "b", "ab"]);
        assert_eq!(Learner::new(&words, 3).learn(), ["##b", "a", "##c"], "the rarest character has no room");
    }

    #[test]
    fn what_is_saved_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = trained(100);
        tokenizer.save(folder.path()).unwrap();
        let again = EncoderTokenizer::from_dir(folder.path()).unwrap();
        let text = "melting gold 百炼";
        assert_eq!(again.encode(text, 64).unwrap(), tokenizer.encode(text, 64).unwrap());
        assert_eq!(again.mask_id(), Some(4));
    }

    #[test]
    fn a_vocabulary_too_small_is_refused() {
        let config = WordPieceConfig { vocab_size: 5, ..WordPieceConfig::default() };
        let error = EncoderTokenizer::train(TEXTS.into_iter(), &config).unwrap_err();
        assert!(error.to_string().contains("vocab_size"), "{error}");
    }
}
