//! A linear classifier of texts: is this page worth learning from?
//!
//! The supervised form of fastText (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification", arXiv 1607.01759):
//! words and their n-grams are hashed to rows of a table, the mean of the rows is the text, a linear layer and a softmax
//! give the probability of each label. Chinese goes in by single characters, so that their bigrams are most of its words.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::TextError;
use crate::measure::{Analysis, TokenKind, spread, units};
use crate::model_file::{self, Fields, Format, put_string};

const FORMAT: Format = Format { magic: b"DANLUCLS", version: 1, what: "text classifier" };

/// How to make a [`LinearClassifier`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierConfig {
    /// Width of a text's vector.
    pub dim: usize,
    /// Rows of the table; features share a row where their hashes meet. The table takes 4 * dim * buckets bytes.
    pub buckets: usize,
    /// The longest n-gram of words (of Chinese, of characters).
    pub word_ngrams: usize,
    /// The shortest and the longest n-gram of characters within words of alphabets; [0, 0] for none. They help with
    /// misspellings and cost ten times the time.
    pub char_ngrams: [usize; 2],
    /// How often the examples are gone through.
    pub epochs: usize,
    /// The step at the beginning; it falls in a straight line to 0.
    pub learning_rate: f32,
    /// Words and punctuation marks (of Chinese, characters) of a text that count; the rest is not read.
    pub max_words: usize,
    /// Of the table's first values and of the order of the examples.
    pub seed: u64,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self {
            dim: 32,
            buckets: 1 << 18,
            word_ngrams: 2,
            char_ngrams: [0, 0],
            epochs: 5,
            learning_rate: 0.5,
            max_words: 4096,
            seed: 1,
        }
    }
}

impl ClassifierConfig {
    fn check(&self) -> Result<(), TextError> {
        let [shortest, longest] = self.char_ngrams;
        let bad = |key, message: String| Err(TextError::BadModelConfig { key, message });
        if !(1..=1024).contains(&self.dim) {
            return bad("dim", format!("must be 1 to 1024, and is {}", self.dim));
        }
        if !(1..=1 << 26).contains(&self.buckets) {
            return bad("buckets", format!("must be 1 to {}, and is {}", 1 << 26, self.buckets));
        }
        if !(1..=8).contains(&self.word_ngrams) {
            return bad("word_ngrams", format!("must be 1 to 8, and is {}", self.word_ngrams));
        }
        if longest > 16 || shortest > longest || (shortest == 0) != (longest == 0) {
            return bad(
                "char_ngrams",
                format!("must be [0, 0] or rise within 1 to 16, and is [{shortest}, {longest}]"),
            );
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 100.0) {
            return bad("learning_rate", format!("must be above 0 and at most 100, and is {}", self.learning_rate));
        }
        if self.epochs == 0 || self.max_words == 0 {
            return bad("epochs", "epochs and max_words must be at least 1".into());
        }
        Ok(())
    }
}

/// A text and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Example<'a> {
    pub text: &'a str,
    pub label: &'a str,
}

/// Gives each label a probability.
#[derive(Debug)]
pub struct LinearClassifier {
    config: ClassifierConfig,
    /// In alphabetical order.
    labels: Vec<String>,
    /// Which of them [`score`](Self::score) asks for.
    positive: usize,
    /// (buckets, dim)
    table: Vec<f32>,
    /// (labels, dim)
    output: Vec<f32>,
}

impl LinearClassifier {
    /// Learns from examples, of which `positive` is the label to score by. One thread, one order: the same examples, in the
    /// same order, give the same classifier.
    pub fn train(examples: &[Example<'_>], positive: &str, config: &ClassifierConfig) -> Result<Self, TextError> {
        config.check()?;
        let mut labels: Vec<String> = examples.iter().map(|example| example.label.to_string()).collect();
        labels.sort_unstable();
        labels.dedup();
        if labels.len() < 2 {
            return Err(TextError::TooFewLabels { labels });
        }
        let Ok(place) = labels.binary_search_by(|label| label.as_str().cmp(positive)) else {
            return Err(TextError::UnknownLabel { label: positive.into(), labels });
        };
        let mut random = Random(config.seed);
        let width = 1.0 / config.dim as f32;
        let table = (0..config.buckets * config.dim).map(|_| (random.unit() * 2.0 - 1.0) * width).collect();
        let output = vec![0.0; labels.len() * config.dim];
        let mut this = Self { config: config.clone(), labels, positive: place, table, output };
        this.descend(examples, &mut random);
        Ok(this)
    }

    fn descend(&mut self, examples: &[Example<'_>], random: &mut Random) {
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let steps = (examples.len() * self.config.epochs) as f32;
        let (mut step, mut features) = (0, Vec::new());
        for _ in 0..self.config.epochs {
            random.shuffle(&mut order);
            for &example in &order {
                let Example { text, label } = examples[example];
                let rate = self.config.learning_rate * (1.0 - step as f32 / steps);
                step += 1;
                self.features(text, &mut features);
                let Ok(label) = self.labels.binary_search_by(|known| known.as_str().cmp(label)) else { continue };
                if features.is_empty() {
                    continue;
                }
                let gradient = self.gradient(&features, label);
                let share = rate / features.len() as f32;
                for &row in &features {
                    add(&mut self.table[row * self.config.dim..][..self.config.dim], -share, &gradient.hidden);
                }
                add(&mut self.output, -rate, &gradient.output);
            }
        }
    }

    /// Names of the labels, in alphabetical order.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The probability of the positive label, 0 to 1; of a text without words, what the labels would have without a text.
    pub fn score(&self, analysis: &Analysis<'_>) -> f64 {
        f64::from(self.probabilities(analysis.text())[self.positive])
    }

    /// The likeliest label and its probability.
    pub fn predict(&self, analysis: &Analysis<'_>) -> (&str, f64) {
        let probabilities = self.probabilities(analysis.text());
        // Of equals the first.
        let best = (0..probabilities.len())
            .rev()
            .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
            .unwrap_or_default();
        (&self.labels[best], f64::from(probabilities[best]))
    }

    fn probabilities(&self, text: &str) -> Vec<f32> {
        let mut features = Vec::new();
        self.features(text, &mut features);
        self.softmax(&self.hidden(&features))
    }

    /// The mean of the rows.
    fn hidden(&self, features: &[usize]) -> Vec<f32> {
        let mut hidden = vec![0.0; self.config.dim];
        for &row in features {
            add(&mut hidden, 1.0, &self.table[row * self.config.dim..][..self.config.dim]);
        }
        let count = features.len().max(1) as f32;
        hidden.iter_mut().for_each(|value| *value /= count);
        hidden
    }

    fn softmax(&self, hidden: &[f32]) -> Vec<f32> {
        let rows = self.output.chunks_exact(self.config.dim);
        let logits: Vec<f32> = rows.map(|row| row.iter().zip(hidden).map(|(a, b)| a * b).sum()).collect();
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    /// Of the negative log-likelihood of `label`.
    fn gradient(&self, features: &[usize], label: usize) -> Gradient {
        let hidden_values = self.hidden(features);
        let mut gradient = Gradient { hidden: vec![0.0; self.config.dim], output: vec![0.0; self.output.len()] };
        for (at, probability) in self.softmax(&hidden_values).into_iter().enumerate() {
            let error = probability - if at == label { 1.0 } else { 0.0 };
            let row = at * self.config.dim..(at + 1) * self.config.dim;
            add(&mut gradient.hidden, error, &self.output[row.clone()]);
            add(&mut gradient.output[row], error, &hidden_values);
        }
        gradient
    }

    /// The rows of a text: its words, their n-grams, and the n-grams of characters in them.
    fn features(&self, text: &str, out: &mut Vec<usize>) {
        out.clear();
        // Words have fewer than 16 bytes on average; of a long book the rest is not even cut.
        let prefix = &text[..text.floor_char_boundary(self.config.max_words.saturating_mul(16))];
        let mut before: Vec<u64> = Vec::new();
        let mut lower = String::new();
        for unit in units(prefix).iter().take(self.config.max_words) {
            lower.clear();
            lower.extend(unit.text.chars().flat_map(char::to_lowercase));
            let word = hash(lower.as_bytes(), 0);
            out.push(self.row(word));
            // Of the n-grams that end with this word: their hashes from the last word to the first.
            let mut gram = word;
            for &earlier in before.iter().rev() {
                gram = spread(gram ^ earlier.rotate_left(17));
                out.push(self.row(gram));
            }
            before.push(word);
            if before.len() >= self.config.word_ngrams {
                before.remove(0);
            }
            if unit.kind == TokenKind::Letters && self.config.char_ngrams[1] > 0 && lower.len() > 3 {
                self.char_features(&lower, out);
            }
        }
    }

    /// The beginning and the end of a word are marked by < and >, as in fastText.
    fn char_features(&self, word: &str, out: &mut Vec<usize>) {
        let marked = format!("<{word}>");
        let places: Vec<usize> = marked.char_indices().map(|(at, _)| at).chain([marked.len()]).collect();
        let [shortest, longest] = self.config.char_ngrams;
        for start in 0..places.len() - 1 {
            for length in shortest..=longest.min(places.len() - 1 - start) {
                out.push(self.row(hash(&marked.as_bytes()[places[start]..places[start + length]], 1)));
            }
        }
    }

    fn row(&self, hash: u64) -> usize {
        (hash % self.config.buckets as u64) as usize
    }

    /// Writes the classifier to one file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), TextError> {
        let config = serde_json::to_string(&self.config).map_err(|error| TextError::Io {
            action: "write",
            path: path.into(),
            source: error.into(),
        })?;
        let mut body = Vec::with_capacity((self.table.len() + self.output.len()) * 4 + 1024);
        put_string(&mut body, &config);
        body.extend_from_slice(&(self.positive as u32).to_le_bytes());
        body.extend_from_slice(&(self.labels.len() as u32).to_le_bytes());
        self.labels.iter().for_each(|label| put_string(&mut body, label));
        self.table.iter().chain(&self.output).for_each(|value| body.extend_from_slice(&value.to_le_bytes()));
        model_file::write(path, FORMAT, &body)
    }

    /// Reads a classifier that [`save`](Self::save) wrote.
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
        let config: ClassifierConfig = serde_json::from_str(&fields.string()?).ok()?;
        config.check().ok()?;
        let positive = fields.u32()? as usize;
        let labels = (0..fields.u32()?).map(|_| fields.string()).collect::<Option<Vec<_>>>()?;
        let mut numbers = |count: usize| -> Option<Vec<f32>> {
            let bytes = fields.bytes(count.checked_mul(4)?)?;
            let values = bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk));
            values.map(|value| value.is_finite().then_some(value)).collect()
        };
        let table = numbers(config.buckets * config.dim)?;
        let output = numbers(labels.len().checked_mul(config.dim)?)?;
        let sorted = labels.is_sorted_by(|a, b| a < b);
        (fields.is_at_end() && sorted && positive < labels.len()).then_some(Self {
            config,
            labels,
            positive,
            table,
            output,
        })
    }
}

struct Gradient {
    /// With respect to the mean of the rows.
    hidden: Vec<f32>,
    output: Vec<f32>,
}

/// `to += factor * values`
fn add(to: &mut [f32], factor: f32, values: &[f32]) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += factor * value);
}

/// The same on every machine and in every version: files depend on it.
fn hash(bytes: &[u8], kind: u64) -> u64 {
    let chunks = bytes.chunks(8).map(|chunk| chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    chunks.fold(spread(kind << 32 | bytes.len() as u64), |hash, chunk| spread(hash ^ chunk))
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 up to 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Fisher and Yates.
    fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn small() -> ClassifierConfig {
        ClassifierConfig { dim: 8, buckets: 1 << 10, epochs: 20, ..ClassifierConfig::default() }
    }

    const GOOD: [&str; 3] = ["a fine clear essay", "春眠不觉晓", "well argued and fine"];
    const BAD: [&str; 3] = ["buy cheap pills now", "点击下载赌博", "cheap cheap offer"];

    fn examples() -> Vec<Example<'static>> {
        let good = GOOD.map(|text| Example { text, label: "good" });
        good.into_iter().chain(BAD.map(|text| Example { text, label: "bad" })).collect()
    }

    /// Against finite differences of the loss, entry by entry.
    #[test]
    fn gradients() {
        let config = ClassifierConfig { char_ngrams: [2, 3], epochs: 2, ..small() };
        let mut model = LinearClassifier::train(&examples(), "good", &config).unwrap();
        let mut features = Vec::new();
        model.features("a cheap fine essay 春眠", &mut features);
        // Rows that occur twice have twice the share.
        let label = 1;
        let gradient = model.gradient(&features, label);
        let loss = |model: &LinearClassifier| -f64::from(model.softmax(&model.hidden(&features))[label]).ln();
        let width = 1e-2;
        let check = |found: f32, above: f64, below: f64| {
            let expect = (above - below) / (2.0 * f64::from(width));
            assert!((f64::from(found) - expect).abs() < 2e-3 * (1.0 + expect.abs()), "{found}, not {expect}");
        };
        for at in 0..model.output.len() {
            let before = model.output[at];
            model.output[at] = before + width;
            let above = loss(&model);
            model.output[at] = before - width;
            let below = loss(&model);
            model.output[at] = before;
            check(gradient.output[at], above, below);
        }
        assert!(gradient.hidden.iter().any(|value| value.abs() > 1e-3), "the table would not learn");
        for (at, &value) in gradient.hidden.iter().enumerate() {
            // All rows of the text move the mean together.
            let shift = |model: &mut LinearClassifier, by: f32| {
                let mut rows = features.clone();
                rows.sort_unstable();
                rows.dedup();
                rows.iter().for_each(|row| model.table[row * config.dim + at] += by);
            };
            shift(&mut model, width);
            let above = loss(&model);
            shift(&mut model, -2.0 * width);
            let below = loss(&model);
            shift(&mut model, width);
            check(value, above, below);
        }
    }

    #[test]
    fn learns_and_keeps() {
        let model = LinearClassifier::train(&examples(), "good", &small()).unwrap();
        for (text, label) in GOOD.map(|text| (text, "good")).into_iter().chain(BAD.map(|text| (text, "bad"))) {
            let text = Analysis::new(text);
            assert_eq!(model.predict(&text).0, label, "{:?}", text.text());
            assert_eq!(model.score(&text) > 0.5, label == "good");
        }
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        model.save(&first).unwrap();
        LinearClassifier::load(&first).unwrap().save(&second).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        LinearClassifier::train(&examples(), "good", &small()).unwrap().save(&second).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap(), "trained twice");
        assert!(LinearClassifier::parse(b"").is_none());
    }

    #[test]
    fn bad_input_is_named() {
        let check = |examples: &[Example<'_>], positive, config: &ClassifierConfig, expect: &str| {
            let message = LinearClassifier::train(examples, positive, config).unwrap_err().to_string();
            assert!(message.contains(expect), "{message}");
        };
        check(&examples()[..3], "good", &small(), "two labels");
        check(&examples(), "great", &small(), "bad, good");
        check(&examples(), "good", &ClassifierConfig { dim: 0, ..small() }, "dim");
        check(&examples(), "good", &ClassifierConfig { char_ngrams: [0, 3], ..small() }, "char_ngrams");
        check(&examples(), "good", &ClassifierConfig { learning_rate: f32::NAN, ..small() }, "learning_rate");
    }

    proptest! {
        #[test]
        fn scores_are_probabilities(text in any::<String>()) {
            let config = ClassifierConfig { buckets: 64, char_ngrams: [1, 4], word_ngrams: 3, ..small() };
            let model = LinearClassifier::train(&examples(), "good", &config).unwrap();
            let score = model.score(&Analysis::new(&text));
            prop_assert!((0.0..=1.0).contains(&score), "{}", score);
        }
    }
}
