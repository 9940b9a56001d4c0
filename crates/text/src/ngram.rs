//! An n-gram language model: how surprising a text is, next to the texts that the model was made from.
//!
//! Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language
//! Modeling", 4.1.6) as KenLM estimates it, over words of alphabets in lower case and single Chinese characters, without
//! punctuation, digits as 0, a line a sentence: what CCNet (Wenzek et al. 2020, arXiv 1911.00359) does, but for its
//! SentencePiece tokens. One model serves both languages; a character of Chinese counts as a word in the perplexity.

use std::path::Path;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::TextError;
use crate::measure::{Analysis, TokenKind, spread, units};
use crate::model_file::{self, Fields, Format, put_string};

const FORMAT: Format = Format { magic: b"DANLUNGM", version: 1, what: "n-gram model" };

/// Words that no text has, by number.
const UNKNOWN: u32 = 0;
const START: u32 = 1;
const END: u32 = 2;
/// The empty context, above all first words.
const ROOT: u32 = u32::MAX;

/// How to make an [`NgramModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NgramConfig {
    /// The longest n-gram: 5, as in CCNet; 1 to 8.
    pub order: usize,
    /// N-grams of three and more words that occur fewer times are left out: 2 leaves out those that occur once, which are most
    /// and help least; 1 keeps all.
    pub min_count: u32,
    /// When so many different n-grams have been seen, reading stops (about 60 bytes of memory for each while training, 24
    /// later). [`NgramModel::texts`] says how far it came.
    pub max_ngrams: usize,
}

impl Default for NgramConfig {
    fn default() -> Self {
        Self { order: 5, min_count: 2, max_ngrams: 10_000_000 }
    }
}

/// Probabilities of words after words.
pub struct NgramModel {
    order: usize,
    /// Texts it was made from.
    texts: u64,
    words: Vec<String>,
    numbers: FxHashMap<String, u32>,
    trie: Trie,
    /// log10 of the probability of each n-gram's last word after the others.
    probability: Vec<f32>,
    /// log10 of what a context leaves to the next shorter one.
    backoff: Vec<f32>,
}

impl std::fmt::Debug for NgramModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NgramModel")
            .field("order", &self.order)
            .field("words", &self.words.len())
            .finish_non_exhaustive()
    }
}

impl NgramModel {
    /// Makes a model from texts, of which it holds one at a time. The same texts in the same order give the same model.
    pub fn train<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, config: &NgramConfig) -> Result<Self, TextError> {
        if !(1..=8).contains(&config.order) {
            return Err(TextError::BadModelConfig {
                key: "order",
                message: format!("must be 1 to 8, and is {}", config.order),
            });
        }
        let mut counter = Counter::new(config.order);
        let mut read = 0;
        for text in texts {
            if counter.trie.len() >= config.max_ngrams {
                break;
            }
            read += 1;
            counter.add(text.as_ref());
        }
        if counter.words.len() == 3 {
            return Err(TextError::NoText);
        }
        Ok(counter.estimate(config.min_count, read))
    }

    /// The longest n-gram.
    pub fn order(&self) -> usize {
        self.order
    }

    /// How many texts it was made from.
    pub fn texts(&self) -> u64 {
        self.texts
    }

    /// How many n-grams it holds, of all lengths.
    pub fn ngrams(&self) -> usize {
        self.trie.len()
    }

    /// Perplexity by word (a Chinese character is one), each line's end counted as one: 10 to the mean of -log10 of the
    /// probabilities. 1 and up; a text without words has that of an empty line.
    pub fn perplexity(&self, analysis: &Analysis<'_>) -> f64 {
        let lines = if analysis.lines().is_empty() { &[""] } else { analysis.lines() };
        let (mut sum, mut count) = (0.0, 0u64);
        for line in lines {
            let ids = self.ids(line);
            sum += self.log10_probability(&ids);
            count += ids.len() as u64 + 1;
        }
        10f64.powf(-sum / count as f64)
    }

    /// log10 of the probability of a line, its end included.
    fn log10_probability(&self, line: &[u32]) -> f64 {
        let mut state = State::default();
        state.advance(self, START);
        line.iter().chain(&[END]).map(|&word| f64::from(state.advance(self, word))).sum()
    }

    fn ids(&self, line: &str) -> Vec<u32> {
        let mut spelling = String::new();
        sentence(line).map(|word| self.numbers.get(spell(word, &mut spelling)).copied().unwrap_or(UNKNOWN)).collect()
    }

    /// Writes the model to one file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), TextError> {
        let mut body = Vec::with_capacity(self.trie.len() * 16 + self.words.len() * 12);
        body.extend_from_slice(&(self.order as u32).to_le_bytes());
        body.extend_from_slice(&self.texts.to_le_bytes());
        body.extend_from_slice(&(self.words.len() as u32).to_le_bytes());
        self.words.iter().for_each(|word| put_string(&mut body, word));
        body.extend_from_slice(&(self.trie.len() as u32).to_le_bytes());
        for (node, key) in self.trie.keys.iter().enumerate() {
            body.extend_from_slice(&key.to_le_bytes());
            body.extend_from_slice(&self.probability[node].to_le_bytes());
            body.extend_from_slice(&self.backoff[node].to_le_bytes());
        }
        model_file::write(path, FORMAT, &body)
    }

    /// Reads a model that [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        let body = model_file::read(path, FORMAT)?;
        Self::parse(&body).ok_or_else(|| TextError::BadModel {
            path: path.into(),
            what: FORMAT.what,
            message: "its parts do not fit together".into(),
        })
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(body);
        let order = fields.u32().filter(|order| (1..=8).contains(order))? as usize;
        let texts = fields.u64()?;
        let words = (0..fields.u32()?).map(|_| fields.string()).collect::<Option<Vec<_>>>()?;
        let count = fields.u32()?;
        let (mut trie, mut probability, mut backoff) = (Trie::default(), Vec::new(), Vec::new());
        for node in 0..count {
            let key = fields.u64()?;
            let (parent, word) = parts(key);
            let fits = (parent == ROOT || parent < node) && (word as usize) < words.len() && trie.insert(key) == node;
            probability.push(fields.f32().filter(|log| fits && *log <= 0.0)?);
            backoff.push(fields.f32().filter(|log| *log <= 0.0)?);
        }
        let known_words = [UNKNOWN, END].iter().all(|&word| trie.child(ROOT, word).is_some());
        (fields.is_at_end() && known_words).then(|| Self::new(order, texts, words, trie, probability, backoff))
    }

    fn new(order: usize, texts: u64, words: Vec<String>, trie: Trie, probability: Vec<f32>, backoff: Vec<f32>) -> Self {
        let numbers = words.iter().enumerate().skip(3).map(|(id, word)| (word.clone(), id as u32)).collect();
        Self { order, texts, words, numbers, trie, probability, backoff }
    }
}

/// The words of a line that a model sees.
fn sentence(line: &str) -> impl Iterator<Item = &str> {
    units(line).into_iter().filter(|unit| unit.kind != TokenKind::Punctuation).map(|unit| unit.text)
}

/// Lower case, digits as 0.
fn spell<'a>(word: &'a str, scratch: &'a mut String) -> &'a str {
    let changes = |c: char| c.is_uppercase() || c.is_ascii_digit();
    if !word.contains(changes) {
        return word;
    }
    scratch.clear();
    for c in word.chars() {
        if c.is_ascii_digit() {
            scratch.push('0');
        } else {
            scratch.extend(c.to_lowercase());
        }
    }
    scratch
}

/// Where a text stands: the n-grams that end with its last word, the shortest first.
#[derive(Default)]
struct State {
    contexts: Vec<u32>,
    next: Vec<u32>,
}

impl State {
    /// log10 of the probability of `word` here; 0 for the start of a line, which is given.
    fn advance(&mut self, model: &NgramModel, word: u32) -> f32 {
        let mut log = 0.0;
        let mut found = false;
        self.next.clear();
        // From the longest context to the empty one.
        for &context in self.contexts.iter().rev().chain(&[ROOT]) {
            match model.trie.child(context, word) {
                Some(node) => {
                    if !found {
                        log += model.probability[node as usize];
                        found = true;
                    }
                    self.next.push(node);
                }
                None if found => {}
                None if context == ROOT => {
                    log += model.probability[model.trie.child(ROOT, UNKNOWN).unwrap_or_default() as usize]
                }
                None => log += model.backoff[context as usize],
            }
        }
        // Shortest first, and no longer than a context can be.
        self.next.reverse();
        self.next.truncate(model.order - 1);
        std::mem::swap(&mut self.contexts, &mut self.next);
        if word == START { 0.0 } else { log }
    }
}

/// N-grams by their first n - 1 words and their last.
#[derive(Default)]
struct Trie {
    /// The n-gram before the last word (its number, or `ROOT`) and the last word, of each n-gram; parents come first.
    keys: Vec<u64>,
    /// Open addressing; `u32::MAX` where there is none.
    table: Vec<u32>,
}

fn parts(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

fn key(parent: u32, word: u32) -> u64 {
    u64::from(parent) << 32 | u64::from(word)
}

impl Trie {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn child(&self, parent: u32, word: u32) -> Option<u32> {
        self.slot(key(parent, word)).ok()
    }

    /// The number of a key, or the free slot it would take.
    fn slot(&self, key: u64) -> Result<u32, usize> {
        let mask = self.table.len().wrapping_sub(1);
        let mut slot = spread(key) as usize & mask;
        loop {
            match self.table.get(slot).copied() {
                None | Some(u32::MAX) => return Err(slot),
                Some(node) if self.keys[node as usize] == key => return Ok(node),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn insert(&mut self, key: u64) -> u32 {
        if self.keys.len() * 2 >= self.table.len() {
            self.table = vec![u32::MAX; (self.table.len() * 2).max(16)];
            let mask = self.table.len() - 1;
            for (node, &key) in self.keys.iter().enumerate() {
                let mut slot = spread(key) as usize & mask;
                while self.table[slot] != u32::MAX {
                    slot = (slot + 1) & mask;
                }
                self.table[slot] = node as u32;
            }
        }
        match self.slot(key) {
            Ok(node) => node,
            Err(slot) => {
                let node = self.keys.len() as u32;
                self.keys.push(key);
                self.table[slot] = node;
                node
            }
        }
    }
}

/// Counts n-grams.
struct Counter {
    order: usize,
    words: Vec<String>,
    numbers: FxHashMap<String, u32>,
    trie: Trie,
    counts: Vec<u32>,
}

impl Counter {
    fn new(order: usize) -> Self {
        let words = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
        let mut this = Self { order, words, numbers: FxHashMap::default(), trie: Trie::default(), counts: Vec::new() };
        // So that they have a place whether or not they occur.
        for word in [UNKNOWN, START, END] {
            this.trie.insert(key(ROOT, word));
            this.counts.push(0);
        }
        this
    }

    fn add(&mut self, text: &str) {
        let mut spelling = String::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut ids = vec![START];
            for word in sentence(line) {
                let word = spell(word, &mut spelling);
                let id = self.numbers.get(word).copied().unwrap_or_else(|| {
                    let id = self.words.len() as u32;
                    self.words.push(word.into());
                    self.numbers.insert(word.into(), id);
                    id
                });
                ids.push(id);
            }
            if ids.len() == 1 {
                continue;
            }
            ids.push(END);
            for start in 0..ids.len() {
                let mut node = ROOT;
                for &word in ids[start..].iter().take(self.order) {
                    node = self.trie.insert(key(node, word));
                    if node as usize == self.counts.len() {
                        self.counts.push(0);
                    }
                    self.counts[node as usize] = self.counts[node as usize].saturating_add(1);
                }
            }
        }
    }

    fn estimate(self, min_count: u32, texts: u64) -> NgramModel {
        let shape = Shape::of(&self.trie, &self.counts, self.order);
        let discounts: Vec<[f64; 4]> = (1..=self.order).map(|n| discounts(&shape, n)).collect();
        let keep = |node: usize| shape.lengths[node] < 3 || self.counts[node] >= min_count;
        // What each context gives away, and of it what goes to n-grams that stay.
        let contexts = self.trie.len() + 1;
        let (mut total, mut given) = (vec![0u64; contexts], vec![0f64; contexts]);
        let place = |parent: u32| if parent == ROOT { contexts - 1 } else { parent as usize };
        let discounted = |node: usize| {
            let count = shape.adjusted[node];
            (f64::from(count) - discounts[usize::from(shape.lengths[node]) - 1][count.min(3) as usize]).max(0.0)
        };
        for (node, &key) in self.trie.keys.iter().enumerate() {
            let context = place(parts(key).0);
            total[context] += u64::from(shape.adjusted[node]);
            if keep(node) {
                given[context] += discounted(node);
            }
        }
        let left =
            |context: usize| if total[context] == 0 { 1.0 } else { 1.0 - given[context] / total[context] as f64 };
        // The start of a line is never predicted.
        let uniform = left(contexts - 1) / (self.words.len() - 1) as f64;
        let mut probability = vec![0f64; self.trie.len()];
        for n in 1..=self.order {
            for node in (0..self.trie.len()).filter(|&node| usize::from(shape.lengths[node]) == n) {
                let (parent, word) = parts(self.trie.keys[node]);
                let context = place(parent);
                let own = if total[context] == 0 { 0.0 } else { discounted(node) / total[context] as f64 };
                probability[node] = match n {
                    1 if word == START => 1.0,
                    1 => own + uniform,
                    _ => own + left(context) * probability[shape.suffixes[node] as usize],
                };
            }
        }
        // What is left, numbered anew.
        let (mut trie, mut logs, mut backoff) = (Trie::default(), Vec::new(), Vec::new());
        let mut numbers = vec![ROOT; self.trie.len()];
        for node in (0..self.trie.len()).filter(|&node| keep(node)) {
            let (parent, word) = parts(self.trie.keys[node]);
            let parent = if parent == ROOT { ROOT } else { numbers[parent as usize] };
            numbers[node] = trie.insert(key(parent, word));
            logs.push(probability[node].log10().min(0.0) as f32);
            backoff.push(left(node).max(f64::MIN_POSITIVE).log10().min(0.0) as f32);
        }
        NgramModel::new(self.order, texts, self.words, trie, logs, backoff)
    }
}

/// What Kneser-Ney wants to know of each n-gram.
struct Shape {
    /// n.
    lengths: Vec<u8>,
    /// The n-gram without its first word; itself for n = 1.
    suffixes: Vec<u32>,
    /// Occurrences of the longest n-grams and of those at the start of a line; of the others, different words before them.
    adjusted: Vec<u32>,
}

impl Shape {
    fn of(trie: &Trie, counts: &[u32], order: usize) -> Self {
        let nodes = trie.len();
        let (mut lengths, mut suffixes, mut starts) = (vec![1u8; nodes], vec![0u32; nodes], vec![false; nodes]);
        let mut adjusted = vec![0u32; nodes];
        for (node, &key) in trie.keys.iter().enumerate() {
            let (parent, word) = parts(key);
            if parent == ROOT {
                suffixes[node] = node as u32;
                starts[node] = word == START;
                continue;
            }
            let above = parent as usize;
            lengths[node] = lengths[above] + 1;
            starts[node] = starts[above];
            // What stands after the first word was counted too, and so has a number.
            let suffix_of_parent = if lengths[above] == 1 { ROOT } else { suffixes[above] };
            suffixes[node] = trie.child(suffix_of_parent, word).unwrap_or_default();
            adjusted[suffixes[node] as usize] += 1;
        }
        for node in 0..nodes {
            if usize::from(lengths[node]) == order || (starts[node] && lengths[node] > 1) {
                adjusted[node] = counts[node];
            }
        }
        if let Some(start) = trie.child(ROOT, START) {
            adjusted[start as usize] = 0;
        }
        Self { lengths, suffixes, adjusted }
    }
}

/// What is taken from counts of 0, 1, 2, and 3 or more of n-grams (Chen and Goodman 1998, equation 26). Where too few n-grams
/// occur once to four times to say, KenLM's 0.5, 1 and 1.5.
fn discounts(shape: &Shape, n: usize) -> [f64; 4] {
    let mut times = [0u64; 5];
    for (node, &count) in shape.adjusted.iter().enumerate() {
        if usize::from(shape.lengths[node]) == n && (1..=4).contains(&count) {
            times[count as usize] += 1;
        }
    }
    let t = times.map(|times| times as f64);
    if times[1..].contains(&0) {
        return [0.0, 0.5, 1.0, 1.5];
    }
    let y = t[1] / (t[1] + 2.0 * t[2]);
    let of = |k: usize| (k as f64 - (k + 1) as f64 * y * t[k + 1] / t[k]).clamp(0.0, k as f64);
    [0.0, of(1), of(2), of(3)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn config(order: usize, min_count: u32) -> NgramConfig {
        NgramConfig { order, min_count, ..NgramConfig::default() }
    }

    fn probability(model: &NgramModel, context: &[u32], word: u32) -> f64 {
        let mut state = State::default();
        context.iter().for_each(|&word| _ = state.advance(model, word));
        10f64.powf(f64::from(state.advance(model, word)))
    }

    /// "a b a": bigrams "<s> a", "a b", "b a", "a </s>", once each, so that all discounts are 0.5, 1, 1.5.
    /// Words before a: 2, before b: 1, before the end: 1. Of four, 1 + 0.5 + 0.5 is given out and 2 / 4 left to four
    /// words (a, b, the end, the unknown): a 0.25 + 0.125, b 0.125 + 0.125.
    /// After a: b and the end 0.5 / 2 each, and 0.5 of the shorter context.
    #[test]
    fn by_hand() {
        let model = NgramModel::train(["A b, a!"], &config(2, 1)).unwrap();
        let ids = model.ids("a b zebra");
        let (a, b) = (ids[0], ids[1]);
        assert_eq!(ids[2], UNKNOWN);
        for (context, word, expect) in [
            (vec![], a, 0.375),
            (vec![], b, 0.25),
            (vec![], UNKNOWN, 0.125),
            (vec![a], b, 0.25 + 0.5 * 0.25),
            (vec![a], END, 0.25 + 0.5 * 0.25),
            (vec![a], a, 0.5 * 0.375),
            (vec![b], a, 0.5 + 0.5 * 0.375),
            (vec![START], a, 0.5 + 0.5 * 0.375),
            (vec![a, b], a, 0.5 + 0.5 * 0.375),
        ] {
            let found = probability(&model, &context, word);
            assert!((found - expect).abs() < 1e-6, "{word} after {context:?}: {found}, not {expect}");
        }
        let expect = (0.6875f64 * 0.375 * 0.6875 * 0.375).powf(-0.25);
        let found = model.perplexity(&Analysis::new("a b a"));
        assert!((found - expect).abs() < 1e-5, "{found}, not {expect}");
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one(
            texts in prop::collection::vec("([abc春]{1,2} ){1,8}", 1..6), order in 1usize..5, min_count in 1u32..3, at in 0usize..40,
        ) {
            let model = NgramModel::train(&texts, &config(order, min_count)).unwrap();
            let mut context = vec![START];
            context.extend(model.ids(&texts.concat()));
            context.truncate(at + 1);
            let words = (0..model.words.len() as u32).filter(|&word| word != START);
            let sum: f64 = words.map(|word| probability(&model, &context, word)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);
        }

        #[test]
        fn perplexity_is_finite(text in any::<String>()) {
            let model = NgramModel::train(["the cat sat", "春眠不觉晓"], &config(3, 1)).unwrap();
            let perplexity = model.perplexity(&Analysis::new(&text));
            prop_assert!(perplexity.is_finite() && perplexity >= 1.0, "{}", perplexity);
        }
    }

    #[test]
    fn known_text_surprises_least() {
        let texts = ["the cat sat on the mat", "the dog sat on the rug", "春眠不觉晓", "处处闻啼鸟"];
        let model = NgramModel::train(texts, &NgramConfig::default()).unwrap();
        let perplexity = |text: &str| model.perplexity(&Analysis::new(text));
        assert!(perplexity("The cat sat on the rug.") < perplexity("mat the on sat cat the"));
        assert!(perplexity("春眠不觉晓") < perplexity("晓觉不眠春"));
        assert!(perplexity("处处闻啼鸟") < perplexity("汽车销售"));
    }

    #[test]
    fn reading_stops_when_the_table_is_full() {
        let small = NgramConfig { max_ngrams: 10, ..NgramConfig::default() };
        assert_eq!(NgramModel::train(["one two three four"; 5], &small).unwrap().texts(), 1);
        assert!(matches!(NgramModel::train(["..."], &small), Err(TextError::NoText)));
        let order = NgramModel::train(["a"], &config(9, 1)).unwrap_err();
        assert!(order.to_string().contains("1 to 8"), "{order}");
    }

    #[test]
    fn saved_and_loaded_it_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a.ngram"), folder.path().join("b.ngram"));
        let model = NgramModel::train(["the cat sat on the mat\nthe cat ran", "春眠不觉晓"], &config(4, 1)).unwrap();
        model.save(&first).unwrap();
        let loaded = NgramModel::load(&first).unwrap();
        loaded.save(&second).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        for text in ["the cat", "春晓", "", "nothing known"] {
            let text = Analysis::new(text);
            assert_eq!(model.perplexity(&text), loaded.perplexity(&text));
        }
        assert!(NgramModel::parse(b"").is_none() && NgramModel::parse(&[9; 100]).is_none());
    }
}
