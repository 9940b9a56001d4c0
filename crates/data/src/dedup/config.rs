use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use danlu_sql::QueryEngine;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::DataError;
use crate::ngrams::NgramSize;

/// Which duplicates to look for, and which copy to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DedupConfig {
    /// Keep one of the documents with the same text.
    pub exact: bool,
    /// Keep one of the documents that are nearly the same, by MinHash.
    #[serde(deserialize_with = "on_or_table")]
    pub near: Option<NearConfig>,
    /// The same by SimHash: cheaper, and blunter on short texts. An alternative to `near`.
    #[serde(deserialize_with = "on_or_table")]
    pub simhash: Option<SimHashConfig>,
    /// Cut paragraphs that occurred before, here or in an earlier document.
    #[serde(deserialize_with = "on_or_table")]
    pub paragraphs: Option<RepeatConfig>,
    /// Cut lines that occurred before.
    #[serde(deserialize_with = "on_or_table")]
    pub lines: Option<RepeatConfig>,
    /// Cut any span of text that occurred before, wherever it begins and ends.
    #[serde(deserialize_with = "on_or_table")]
    pub substring: Option<SubstringConfig>,
    /// Which of several copies stays.
    pub keep: KeepRule,
    /// What the search may hold in memory; what is more goes to disk.
    pub memory_mb: u64,
    /// Who finds what shares a bucket: `datafusion` in this process, or `spark://HOST:PORT`; left out, our own sorting
    /// (`sorter.rs`). The result is the same, so that it is not part of what a run is known by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// A folder or `s3://BUCKET/PREFIX` that the cluster sees, too, under the same name: where records are put for it. Left
    /// out, the run's own folder, as is right where the cluster is this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// Signatures of earlier runs: what is there already is dropped here.
    pub against: Vec<PathBuf>,
    /// Write the signatures of the documents that stay, for later runs (`signatures.danlu`, with near duplicates on).
    pub save_signatures: bool,
}

/// `near = true` is a table in which everything is as usual, and `near = false` none.
fn on_or_table<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct OnOrTable<T>(PhantomData<T>);

    impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for OnOrTable<T> {
        type Value = Option<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("true, false or a table")
        }

        fn visit_bool<E>(self, on: bool) -> Result<Option<T>, E> {
            Ok(on.then(T::default))
        }

        fn visit_unit<E>(self) -> Result<Option<T>, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(OnOrTable(PhantomData))
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self {
            exact: true,
            near: None,
            simhash: None,
            paragraphs: None,
            lines: None,
            substring: None,
            keep: KeepRule::First,
            memory_mb: 1024,
            engine: None,
            exchange: None,
            against: Vec::new(),
            save_signatures: false,
        }
    }
}

/// Near duplicates by MinHash (Broder 1997) with banding: documents that agree in all hashes of a band are compared.
///
/// A pair of Jaccard similarity s shares a band with probability 1 - (1 - s^rows)^bands: with 21 bands of 6 rows 0.998
/// at 0.8, 0.63 at 0.6 and 0.005 at 0.25. What shares one is then compared by the true similarity of its n-grams, so
/// that no document is dropped by a guess.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NearConfig {
    pub bands: u32,
    /// Hashes in a band.
    pub rows: u32,
    /// Words in an n-gram, in scripts with spaces.
    pub ngram_words: u32,
    /// Characters in an n-gram, in scripts without spaces, such as Chinese.
    pub ngram_chars: u32,
    /// Documents of this Jaccard similarity and above are duplicates.
    pub threshold: f64,
}

impl Default for NearConfig {
    fn default() -> Self {
        Self { bands: 21, rows: 6, ngram_words: 5, ngram_chars: 8, threshold: 0.8 }
    }
}

impl NearConfig {
    pub(crate) fn ngram(&self) -> NgramSize {
        NgramSize { words: self.ngram_words, chars: self.ngram_chars }
    }

    /// With what probability a pair of this similarity is compared.
    pub fn probability(&self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.rows as i32)).powi(self.bands as i32)
    }
}

/// Near duplicates by SimHash (Charikar 2002; Manku et al. 2007): 64 bits a document.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimHashConfig {
    /// Documents whose hashes differ in so many bits at most are duplicates.
    pub distance: u32,
    pub ngram_words: u32,
    pub ngram_chars: u32,
}

impl Default for SimHashConfig {
    fn default() -> Self {
        Self { distance: 3, ngram_words: 2, ngram_chars: 4 }
    }
}

impl SimHashConfig {
    pub(crate) fn ngram(&self) -> NgramSize {
        NgramSize { words: self.ngram_words, chars: self.ngram_chars }
    }
}

/// What is long enough to be cut when it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepeatConfig {
    /// In characters, white space around it aside.
    pub min_chars: usize,
}

impl Default for RepeatConfig {
    fn default() -> Self {
        Self { min_chars: 100 }
    }
}

/// Repeated spans by a suffix array (Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better"): spans
/// of bytes or, with a tokenizer, of its tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SubstringConfig {
    /// The shortest span that is cut, in UTF-8 bytes: 200 are about 50 tokens of English or 67 Chinese characters.
    pub min_bytes: usize,
    /// A `tokenizer.json`, relative to the recipe: spans are made of its tokens. Its vocabulary is held in memory besides
    /// `memory_mb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// With a tokenizer the shortest span that is cut, in tokens.
    #[serde(skip_serializing_if = "is_usual_tokens")]
    pub min_tokens: usize,
}

impl Default for SubstringConfig {
    fn default() -> Self {
        Self { min_bytes: 200, tokenizer: None, min_tokens: USUAL_TOKENS }
    }
}

const USUAL_TOKENS: usize = 50;

/// Left out of resolved recipes, and so of keys of artifacts: those of spans of bytes stay as they were.
fn is_usual_tokens(tokens: &usize) -> bool {
    *tokens == USUAL_TOKENS
}

impl SubstringConfig {
    fn check(&self) -> Result<(), DataError> {
        let usual = Self::default();
        let (bytes, tokens) = ("clean.dedup.substring.min_bytes", "clean.dedup.substring.min_tokens");
        match &self.tokenizer {
            None if self.min_bytes < 32 => bad(bytes, format!("must be at least 32, and is {}", self.min_bytes)),
            None if self.min_tokens != usual.min_tokens => {
                bad(tokens, "counts tokens, and there is no clean.dedup.substring.tokenizer".into())
            }
            Some(_) if self.min_tokens < 10 => bad(tokens, format!("must be at least 10, and is {}", self.min_tokens)),
            Some(_) if self.min_bytes != usual.min_bytes => {
                bad(bytes, "has no meaning beside a tokenizer: min_tokens is the shortest span then".into())
            }
            _ => Ok(()),
        }
    }
}

/// Which of several copies stays. Ties go to the earlier document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepRule {
    /// The first in the order of the sources.
    #[default]
    First,
    /// The one with most text.
    Longest,
    /// The one with the largest number in this column of the metadata; one without the column comes last.
    Best(String),
}

/// The least that the search can work in.
const MIN_MEMORY_MB: u64 = 64;

impl DedupConfig {
    pub(crate) fn check(&self) -> Result<(), DataError> {
        if self.memory_mb < MIN_MEMORY_MB {
            return bad(
                "clean.dedup.memory_mb",
                format!("must be at least {MIN_MEMORY_MB}, and is {}", self.memory_mb),
            );
        }
        if self.near.is_some() && self.simhash.is_some() {
            return bad("clean.dedup.simhash", "is an alternative to near: choose one".into());
        }
        if let Some(near) = &self.near {
            check_near(near)?;
        }
        match &self.engine {
            Some(engine) => QueryEngine::check(engine)?,
            None if self.exchange.is_some() => return bad("clean.dedup.exchange", "needs an engine".into()),
            None => {}
        }
        if self.save_signatures && self.near.is_none() {
            return bad("clean.dedup.save_signatures", "needs [clean.dedup.near]".into());
        }
        if !self.against.is_empty() && !self.exact && self.near.is_none() {
            return bad("clean.dedup.against", "needs exact = true or [clean.dedup.near]".into());
        }
        if let Some(simhash) = &self.simhash {
            check_ngram("clean.dedup.simhash.ngram_words", simhash.ngram_words)?;
            check_ngram("clean.dedup.simhash.ngram_chars", simhash.ngram_chars)?;
            if simhash.distance > 8 {
                let message = format!("must be at most 8 of 64 bits, and is {}", simhash.distance);
                return bad("clean.dedup.simhash.distance", message);
            }
        }
        for (key, repeat) in
            [("clean.dedup.paragraphs.min_chars", self.paragraphs), ("clean.dedup.lines.min_chars", self.lines)]
        {
            if repeat.is_some_and(|repeat| repeat.min_chars == 0) {
                return bad(key, "must be at least 1".into());
            }
        }
        self.substring.as_ref().map_or(Ok(()), SubstringConfig::check)
    }

    /// Whether parts of documents are cut, and not only whole ones dropped.
    pub(crate) fn cuts_parts(&self) -> bool {
        self.paragraphs.is_some() || self.lines.is_some() || self.substring.is_some()
    }

    /// The files that the result depends on besides the documents.
    pub(crate) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tokenizer = self.substring.as_mut().and_then(|substring| substring.tokenizer.as_mut());
        self.against.iter_mut().chain(tokenizer)
    }

    /// That the tokenizer is there and can be read: this should not turn out after hours of work.
    pub(crate) fn check_files(&self) -> Result<(), DataError> {
        self.substring.as_ref().map_or(Ok(()), |substring| super::substring::Units::open(substring).map(drop))
    }
}

fn check_near(near: &NearConfig) -> Result<(), DataError> {
    check_ngram("clean.dedup.near.ngram_words", near.ngram_words)?;
    check_ngram("clean.dedup.near.ngram_chars", near.ngram_chars)?;
    for (key, value, most) in [("clean.dedup.near.bands", near.bands, 256), ("clean.dedup.near.rows", near.rows, 64)] {
        if !(1..=most).contains(&value) {
            return bad(key, format!("must lie between 1 and {most}, and is {value}"));
        }
    }
    if !(near.threshold > 0.0 && near.threshold <= 1.0) {
        let message = format!("must lie above 0 and up to 1, and is {}", near.threshold);
        return bad("clean.dedup.near.threshold", message);
    }
    Ok(())
}

pub(crate) fn check_ngram(key: &'static str, value: u32) -> Result<(), DataError> {
    if (1..=256).contains(&value) {
        return Ok(());
    }
    bad(key, format!("must lie between 1 and 256, and is {value}"))
}

fn bad(key: &'static str, message: String) -> Result<(), DataError> {
    Err(DataError::BadConfig { key, message })
}
