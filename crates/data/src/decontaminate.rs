//! Decontamination: documents that contain pieces of evaluation sets are dropped, or the pieces are cut, so that a test
//! measures what a model has learned and not what it has seen.
//!
//! A document is hit by an evaluation item when they have an n-gram in common: 13 words (Brown et al. 2020, appendix C)
//! or 20 characters of a script without spaces, without case, punctuation and white space.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::conversation::Conversation;
use crate::dedup::check_ngram;
use crate::ngrams::{NgramSize, Ngrams};
use crate::storage::next_chunk;
use crate::{DataError, Document, Outcome, ProgressFn, Reason, SourceConfig, read_documents, read_source};

/// Which evaluation sets must not be in the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecontaminateConfig {
    /// The evaluation sets, as sources: each record, paragraph or file is one item.
    pub sets: Vec<SourceConfig>,
    /// Words in an n-gram, in scripts with spaces.
    pub ngram_words: u32,
    /// Characters in an n-gram, in scripts without.
    pub ngram_chars: u32,
    /// A document is hit when it has at least this share of an item's n-grams; at 0 a single one is enough.
    pub min_share: f64,
    /// What becomes of a document that is hit.
    pub action: ContaminationAction,
    /// With `cut`, so many characters before and after the common n-grams go too.
    pub margin_chars: usize,
    /// The folder that the sets' paths start from, as those of `[[data.sources]]` start from the recipe's.
    #[serde(skip)]
    pub base: PathBuf,
}

impl Default for DecontaminateConfig {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            ngram_words: 13,
            ngram_chars: 20,
            min_share: 0.0,
            action: ContaminationAction::Drop,
            margin_chars: 200,
            base: PathBuf::new(),
        }
    }
}

impl DecontaminateConfig {
    pub(crate) fn check(&self) -> Result<(), DataError> {
        check_ngram("clean.decontaminate.ngram_words", self.ngram_words)?;
        check_ngram("clean.decontaminate.ngram_chars", self.ngram_chars)?;
        let bad = |key, message: String| Err(DataError::BadConfig { key, message });
        if !(0.0..=1.0).contains(&self.min_share) {
            let message = format!("must lie between 0 and 1, and is {}", self.min_share);
            return bad("clean.decontaminate.min_share", message);
        }
        if self.sets.is_empty() {
            return bad("clean.decontaminate.sets", "there is no evaluation set".into());
        }
        self.sets.iter().try_for_each(SourceConfig::check)
    }
}

/// What becomes of a document that is hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContaminationAction {
    #[default]
    Drop,
    /// Only what is in common, and its surroundings; a conversation is dropped all the same.
    Cut,
}

/// An evaluation item found in a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContaminationHit {
    /// The id of the document, before anything is cut.
    pub document: String,
    pub source: String,
    /// The evaluation set, and in it the file and line of the item: "gsm8k test.jsonl:12".
    pub item: String,
    /// The first n-gram in common, as the document has it.
    pub ngram: String,
    /// The share of the item's n-grams that the document has.
    pub share: f64,
}

/// The n-grams of evaluation sets, in memory.
pub struct Decontaminator {
    config: DecontaminateConfig,
    /// Where in `items_of` the items of an n-gram lie.
    index: HashMap<u64, Range<u32>, BuildHasherDefault<Mixed>>,
    items_of: Vec<u32>,
    items: Vec<Item>,
    /// Items shorter than one n-gram, by set: these cannot be looked for.
    pub too_short: BTreeMap<String, u64>,
}

struct Item {
    name: String,
    /// Different n-grams.
    ngrams: u32,
}

/// What a document has of one item.
struct Found {
    first: Range<usize>,
    hashes: Vec<u64>,
    spans: Vec<Range<usize>>,
}

/// The hash of an n-gram is evenly spread and needs no other.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Decontaminator {
    /// Reads the evaluation sets; their paths are relative to the configuration's `base`, and that to this one.
    ///
    /// # Errors
    /// Sets without files, unreadable records (a set with holes would let its items pass), and sets in which no item is
    /// as long as an n-gram.
    pub fn read(config: &DecontaminateConfig, base: &Path) -> Result<Self, DataError> {
        config.check()?;
        let base = &base.join(&config.base);
        let mut decontaminator = Self {
            config: config.clone(),
            index: HashMap::default(),
            items_of: Vec::new(),
            items: Vec::new(),
            too_short: BTreeMap::new(),
        };
        let mut ngrams = Ngrams::default();
        let mut pairs: Vec<(u64, u32)> = Vec::new();
        for set in &config.sets {
            let before = decontaminator.items.len();
            read_source(set, base, &mut |record| {
                decontaminator.add(&record?, &mut ngrams, &mut pairs)?;
                Ok(ControlFlow::Continue(()))
            })?;
            if decontaminator.items.len() == before {
                let message = format!(
                    "no item of the set {:?} is as long as an n-gram of {} words or {} characters",
                    set.name, config.ngram_words, config.ngram_chars
                );
                return Err(DataError::BadConfig { key: "clean.decontaminate.sets", message });
            }
        }
        decontaminator.finish(pairs);
        Ok(decontaminator)
    }

    fn size(&self) -> NgramSize {
        NgramSize { words: self.config.ngram_words, chars: self.config.ngram_chars }
    }

    fn add(&mut self, item: &Document, ngrams: &mut Ngrams, pairs: &mut Vec<(u64, u32)>) -> Result<(), DataError> {
        let mut hashes = Vec::new();
        ngrams.read(&item.text);
        ngrams.windows(self.size(), |hash, _| hashes.push(hash));
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() {
            *self.too_short.entry(item.source.clone()).or_default() += 1;
            return Ok(());
        }
        let number = u32::try_from(self.items.len()).map_err(|_| DataError::BadConfig {
            key: "clean.decontaminate.sets",
            message: "more than 4 billion items".into(),
        })?;
        self.items.push(Item { name: item_name(item), ngrams: hashes.len() as u32 });
        pairs.extend(hashes.into_iter().map(|hash| (hash, number)));
        Ok(())
    }

    fn finish(&mut self, mut pairs: Vec<(u64, u32)>) {
        pairs.sort_unstable();
        for same in pairs.chunk_by(|a, b| a.0 == b.0) {
            let from = self.items_of.len() as u32;
            self.items_of.extend(same.iter().map(|&(_, item)| item));
            self.index.insert(same[0].0, from..self.items_of.len() as u32);
        }
    }

    /// The evaluation items that a document contains, in the order of the sets.
    pub fn hits(&self, document: &Document) -> Vec<ContaminationHit> {
        self.found(&document.text).into_iter().map(|(item, found)| self.hit(document, item, &found)).collect()
    }

    fn hit(&self, document: &Document, item: u32, found: &Found) -> ContaminationHit {
        ContaminationHit {
            document: document.id.clone(),
            source: document.source.clone(),
            item: self.items[item as usize].name.clone(),
            ngram: document.text[found.first.clone()].into(),
            share: self.share(item, found),
        }
    }

    fn share(&self, item: u32, found: &Found) -> f64 {
        found.hashes.len() as f64 / f64::from(self.items[item as usize].ngrams)
    }

    fn found(&self, text: &str) -> BTreeMap<u32, Found> {
        let mut found: BTreeMap<u32, Found> = BTreeMap::new();
        let mut ngrams = Ngrams::default();
        ngrams.read(text);
        ngrams.windows(self.size(), |hash, span| {
            let Some(items) = self.index.get(&hash) else { return };
            for &item in &self.items_of[items.start as usize..items.end as usize] {
                let first = span.clone();
                let of_item = found.entry(item).or_insert(Found { first, hashes: Vec::new(), spans: Vec::new() });
                of_item.hashes.push(hash);
                match of_item.spans.last_mut() {
                    Some(last) if span.start <= last.end => last.end = span.end,
                    _ => of_item.spans.push(span.clone()),
                }
            }
        });
        for of_item in found.values_mut() {
            of_item.hashes.sort_unstable();
            of_item.hashes.dedup();
        }
        found.retain(|&item, of_item| self.share(item, of_item) >= self.config.min_share);
        found
    }

    /// Drops or cuts a document that is hit, and says by what.
    pub fn apply(&self, mut document: Document) -> (Outcome, Vec<ContaminationHit>) {
        let found = self.found(&document.text);
        let hits: Vec<ContaminationHit> = found.iter().map(|(&item, found)| self.hit(&document, item, found)).collect();
        let Some(worst) = hits.iter().max_by(|a, b| a.share.total_cmp(&b.share)) else {
            return (Outcome::Keep(document), hits);
        };
        let reason = Reason::new(
            "contaminated",
            format!(
                "has {:.0}% of {} ({:?}); items found: {}",
                worst.share * 100.0,
                worst.item,
                worst.ngram,
                hits.len()
            ),
        );
        // A conversation with a hole is none: it is judged as a whole.
        if self.config.action == ContaminationAction::Cut && Conversation::of(&document).is_none() {
            let left = self.cut(&document.text, found.into_values().flat_map(|found| found.spans).collect());
            if !left.is_empty() {
                document.set_text(left);
                return (Outcome::Keep(document), hits);
            }
        }
        (Outcome::Drop { document, reason }, hits)
    }

    /// The text without these spans and their margins, which leave a line break behind.
    fn cut(&self, text: &str, mut spans: Vec<Range<usize>>) -> String {
        spans.sort_unstable_by_key(|span| span.start);
        let margin = self.config.margin_chars;
        let (mut parts, mut at): (Vec<&str>, usize) = (Vec::new(), 0);
        for span in spans {
            let before = text[..span.start].char_indices().rev().take(margin).last().map_or(span.start, |(i, _)| i);
            let after = text[span.end..].char_indices().nth(margin).map_or(text.len(), |(i, _)| span.end + i);
            if before > at {
                parts.push(text[at..before].trim());
            }
            at = at.max(after);
        }
        parts.push(text[at..].trim());
        parts.retain(|part| !part.is_empty());
        parts.join("\n")
    }
}

/// The set, and where in it the item is from.
fn item_name(item: &Document) -> String {
    let file = item.metadata.get("file").and_then(|file| file.as_str()).unwrap_or_default();
    let line = item.metadata.get("line").map(|line| format!(":{line}")).unwrap_or_default();
    format!("{} {file}{line}", item.source)
}

/// What [`find_contamination`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contamination {
    pub documents: u64,
    /// Documents that are hit.
    pub contaminated: u64,
    /// Every hit, by document.
    pub hits: Vec<ContaminationHit>,
    /// Documents hit, by evaluation item.
    pub by_item: BTreeMap<String, u64>,
    /// Items that cannot be looked for, by set.
    pub too_short: BTreeMap<String, u64>,
}

impl Contamination {
    /// Counts a document and what was found in it.
    pub(crate) fn count(&mut self, hits: Vec<ContaminationHit>) {
        self.documents += 1;
        self.contaminated += u64::from(!hits.is_empty());
        for hit in hits {
            *self.by_item.entry(hit.item.clone()).or_default() += 1;
            self.hits.push(hit);
        }
    }
}

/// Looks for the items of evaluation sets in a file of documents.
pub fn find_contamination(
    documents: &Path,
    decontaminator: &Decontaminator,
    progress: &ProgressFn<'_>,
) -> Result<Contamination, DataError> {
    let mut reader = read_documents(documents)?;
    let meter = reader.meter();
    let mut result = Contamination { too_short: decontaminator.too_short.clone(), ..Default::default() };
    loop {
        let chunk = next_chunk(&mut reader)?;
        if chunk.is_empty() {
            return Ok(result);
        }
        let hits: Vec<Vec<ContaminationHit>> = chunk.par_iter().map(|document| decontaminator.hits(document)).collect();
        hits.into_iter().for_each(|hits| result.count(hits));
        meter.report("decontaminate", progress);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const ENGLISH: &str =
        "Natalia sold clips to forty eight of her friends in April and then she sold half as many clips in May";
    const CHINESE: &str = "小明有十五個蘋果，他把其中的三分之一分給了同學，又買了八個，請問他現在一共有多少個蘋果？";

    fn decontaminator(dir: &Path, change: impl FnOnce(&mut DecontaminateConfig)) -> Result<Decontaminator, DataError> {
        let lines = [ENGLISH, CHINESE, "too short"].map(|text| serde_json::json!({ "question": text }).to_string());
        std::fs::write(dir.join("test.jsonl"), lines.join("\n")).unwrap();
        let set = SourceConfig {
            name: "math".into(),
            path: "test.jsonl".into(),
            text_field: "question".into(),
            ..Default::default()
        };
        let mut config = DecontaminateConfig { sets: vec![set], ..Default::default() };
        change(&mut config);
        Decontaminator::read(&config, dir)
    }

    #[test]
    fn an_item_is_found_with_its_place_and_share() {
        let dir = tempfile::tempdir().unwrap();
        let decontaminator = decontaminator(dir.path(), |_| {}).unwrap();
        assert_eq!(decontaminator.too_short["math"], 1);
        let whole = Document::new(format!("Page 7\n{}!", ENGLISH.to_uppercase()), "web");
        let hits = decontaminator.hits(&whole);
        assert_eq!((hits.len(), hits[0].item.as_str(), hits[0].share), (1, "math test.jsonl:1", 1.0));
        assert_eq!(hits[0].ngram, "NATALIA SOLD CLIPS TO FORTY EIGHT OF HER FRIENDS IN APRIL AND THEN");
        // 21 words have 9 n-grams of 13, and the first 14 words 2 of them.
        let part = ENGLISH.split(' ').take(14).collect::<Vec<_>>().join(" ");
        let share = decontaminator.hits(&Document::new(part, "web"))[0].share;
        assert!((share - 2.0 / 9.0).abs() < 1e-12, "{share}");
        let short = ENGLISH.split(' ').take(12).collect::<Vec<_>>().join(" ");
        assert!(decontaminator.hits(&Document::new(short, "web")).is_empty());
    }

    #[test]
    fn chinese_is_found_by_characters() {
        let dir = tempfile::tempdir().unwrap();
        let decontaminator = decontaminator(dir.path(), |_| {}).unwrap();
        let hits = decontaminator.hits(&Document::new("題目：小明有十五個蘋果 他把其中的三分之一分給了同學", "web"));
        assert_eq!((hits.len(), hits[0].item.as_str()), (1, "math test.jsonl:2"));
        assert_eq!(hits[0].ngram, "小明有十五個蘋果 他把其中的三分之一分給了");
        assert!(decontaminator.hits(&Document::new("小明有十五個蘋果，他把其中的三分之一", "web")).is_empty());
    }

    #[test]
    fn what_is_hit_is_dropped_or_cut() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("春眠不覺曉。{CHINESE}處處聞啼鳥。");
        let dropping = decontaminator(dir.path(), |_| {}).unwrap();
        let (outcome, hits) = dropping.apply(Document::new(text.as_str(), "web"));
        let Outcome::Drop { reason, .. } = outcome else { panic!("kept") };
        assert_eq!((reason.code.as_ref(), hits.len()), ("contaminated", 1));
        let cutting = |margin| {
            let cutting = decontaminator(dir.path(), |config| {
                (config.action, config.margin_chars) = (ContaminationAction::Cut, margin);
            });
            cutting.unwrap().apply(Document::new(text.as_str(), "web")).0
        };
        // The question mark is no part of an n-gram and stays.
        let Outcome::Keep(left) = cutting(0) else { panic!("dropped") };
        assert_eq!(left, Document::new("春眠不覺曉。\n？處處聞啼鳥。", "web"));
        let Outcome::Keep(left) = cutting(3) else { panic!("dropped") };
        assert_eq!(left.text, "春眠不\n聞啼鳥。");
        assert!(matches!(cutting(200), Outcome::Drop { .. }));
    }

    #[test]
    fn a_share_too_small_is_no_hit() {
        let dir = tempfile::tempdir().unwrap();
        let decontaminator = decontaminator(dir.path(), |config| config.min_share = 0.5).unwrap();
        let part = ENGLISH.split(' ').take(14).collect::<Vec<_>>().join(" ");
        assert!(decontaminator.hits(&Document::new(part, "web")).is_empty());
        assert_eq!(decontaminator.hits(&Document::new(ENGLISH, "web")).len(), 1);
    }

    #[test]
    fn a_set_that_cannot_be_looked_for_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = decontaminator(dir.path(), |config| config.ngram_words = 100).map(|_| ());
        assert!(error.is_ok(), "the Chinese item is still long enough");
        let error = decontaminator(dir.path(), |config| (config.ngram_words, config.ngram_chars) = (100, 100));
        assert!(error.err().unwrap().to_string().contains("\"math\""));
        assert!(decontaminator(dir.path(), |config| config.min_share = 1.5).is_err());
        assert!(decontaminator(dir.path(), |config| config.sets.clear()).is_err());
    }
}
