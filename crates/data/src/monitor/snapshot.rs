//! What a set of documents looks like, in a few hundred kilobytes: one pass, bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use danlu_text::Analysis;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::corpus::{Corpus, CorpusRead};
use super::distribution::Distribution;
use super::ids::{IdSample, Repeats};
use super::licenses::Licenses;
use super::statistics::{DEFAULT_STATISTICS, Statistics};
use super::time::{TimeRange, date_of};
use super::vocabulary::{Frequent, TopWords};
use crate::permutation::mix;
use crate::storage::write_json;
use crate::{Count, DataError, Document, Progress, ProgressFn};

/// Of the files that [`Snapshot::write`] writes; raised when an older program would misread them.
pub const SNAPSHOT_VERSION: u32 = 1;

/// Documents of one unit of parallel work. Fixed, so that sums of floats do not depend on the number of threads.
const PART: usize = 64;
/// Text held in memory at once.
const CHUNK_BYTES: usize = 8 << 20;
/// Different pairs of source and language with distributions of their own; further ones share one.
const MAX_GROUPS: usize = 512;
/// Languages with a vocabulary of their own; further ones share one.
const MAX_VOCABULARIES: usize = 16;
/// Different words (and n-grams) that are counted for a language before the rarest are dropped.
const VOCABULARY: usize = 1 << 16;
/// Characters of a sampled document.
const EXCERPT: usize = 600;

/// What groups and vocabularies beyond the limits are called.
pub const OTHERS: &str = "(others)";

/// What to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// Names of text functions, or of statistics that the documents carry.
    pub statistics: Vec<String>,
    /// Most frequent words and n-grams to keep of each language.
    pub top: usize,
    /// Words in an n-gram; 0 counts none.
    pub ngram: usize,
    /// Documents to keep as a sample.
    pub samples: usize,
    /// Seed of the sample.
    pub seed: u64,
    /// The metadata field with the documents' time; the usual names are tried when none is given.
    pub time_field: Option<String>,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        let statistics = DEFAULT_STATISTICS.map(str::to_owned).to_vec();
        Self { statistics, top: 500, ngram: 3, samples: 12, seed: 0, time_field: None }
    }
}

/// What a set of documents looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub config: SnapshotConfig,
    pub inputs: Vec<SnapshotInput>,
    pub total: Count,
    /// Records that could not be read, of source files or when a run collected.
    pub problems: u64,
    /// Of what a run made: how many documents it had collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<u64>,
    /// Whether the documents are as they were read, and nobody has cleaned them.
    #[serde(default)]
    pub raw: bool,
    /// Whether sources are called after files, because nobody named them.
    #[serde(default)]
    pub named_after_files: bool,
    /// By source and language.
    pub groups: Vec<SnapshotGroup>,
    /// By language.
    pub vocabularies: BTreeMap<String, Vocabulary>,
    pub repeats: Repeats,
    pub time: TimeRange,
    /// By source; empty in snapshots of older programs.
    #[serde(default)]
    pub licenses: Licenses,
    /// Drawn evenly by the seed.
    pub samples: Vec<SampledDocument>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotInput {
    pub file: PathBuf,
    pub bytes: u64,
    /// BLAKE3, 64 hex digits.
    pub hash: String,
}

/// The documents of one source and language.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotGroup {
    pub source: String,
    pub language: String,
    #[serde(flatten)]
    pub count: Count,
    /// A statistic that no document has is left out.
    pub statistics: BTreeMap<String, Distribution>,
}

/// The most frequent words and n-grams of one language.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vocabulary {
    pub words: TopWords,
    pub ngrams: TopWords,
}

/// A document of the sample, its text cut to 600 characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampledDocument {
    pub id: String,
    pub source: String,
    pub language: String,
    pub text: String,
}

impl Snapshot {
    /// Reads all documents of `corpus` once. The same documents give the same snapshot, whatever the number of threads.
    ///
    /// # Errors
    /// Files that cannot be read, an unknown statistic, [`DataError::EmptyCorpus`] when there is no document.
    pub fn of(corpus: &Corpus, config: &SnapshotConfig, progress: &ProgressFn<'_>) -> Result<Self, DataError> {
        let statistics = Statistics::named(&config.statistics)?;
        let mut builder = Builder { config, statistics, all: Partial::default(), ids: IdSample::default(), seen: 0 };
        let (mut chunk, mut bytes, mut done) = (Vec::new(), 0, 0u64);
        let read = corpus.read(&mut |document| {
            bytes += document.text.len() + 256;
            chunk.push(document);
            if bytes >= CHUNK_BYTES {
                done += chunk.len() as u64;
                builder.add(std::mem::take(&mut chunk));
                bytes = 0;
                progress(Progress { label: "snapshot", done, total: None, unit: "documents" });
            }
            Ok(())
        })?;
        builder.add(chunk);
        if builder.seen == 0 {
            let explanation = format!("{} files hold no readable document", corpus.files.len());
            return Err(DataError::EmptyCorpus { explanation });
        }
        builder.finish(corpus, read)
    }

    /// Whether a file begins as [`write`](Self::write) begins one, or as one does whose keys were put in order. Other JSON holds
    /// documents.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn is_in(path: &Path) -> Result<bool, DataError> {
        let mut beginning = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| DataError::io("read", path, e))?;
        file.take(64).read_to_end(&mut beginning).map_err(|e| DataError::io("read", path, e))?;
        let text = String::from_utf8_lossy(&beginning);
        let first = text.trim_start_matches('\u{feff}').trim_start().strip_prefix('{').map(str::trim_start);
        Ok(first.is_some_and(|key| {
            key.starts_with("\"version\"") || key.starts_with("\"collected\"") || key.starts_with("\"config\"")
        }))
    }

    /// Reads a snapshot that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// A file that is no snapshot, or one of a newer version.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = std::fs::read(path).map_err(|e| DataError::io("read", path, e))?;
        let bad = |message: String| DataError::BadSnapshot { path: path.into(), message };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(SNAPSHOT_VERSION) => {}
            Some(version) => {
                return Err(bad(format!("is of version {version}; this program reads version {SNAPSHOT_VERSION}")));
            }
            None => return Err(bad("has no version".into())),
        }
        serde_json::from_value(value).map_err(|e| bad(e.to_string()))
    }

    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        write_json(path, self)
    }

    /// One statistic over the groups that `wanted` accepts.
    pub fn distribution(&self, statistic: &str, wanted: impl Fn(&SnapshotGroup) -> bool) -> Distribution {
        let mut all = Distribution::default();
        for group in self.groups.iter().filter(|group| wanted(group)) {
            if let Some(distribution) = group.statistics.get(statistic) {
                all.merge(distribution);
            }
        }
        all
    }

    /// The share of records that could not be read.
    pub fn problem_share(&self) -> f64 {
        let read = self.collected.unwrap_or(self.total.documents);
        self.problems as f64 / (self.problems + read).max(1) as f64
    }

    pub fn by_source(&self) -> BTreeMap<&str, Count> {
        self.sums(|group| &group.source)
    }

    pub fn by_language(&self) -> BTreeMap<&str, Count> {
        self.sums(|group| &group.language)
    }

    fn sums<'a>(&'a self, key: impl Fn(&'a SnapshotGroup) -> &'a str) -> BTreeMap<&'a str, Count> {
        let mut sums: BTreeMap<&str, Count> = BTreeMap::new();
        for group in &self.groups {
            let sum = sums.entry(key(group)).or_default();
            sum.documents += group.count.documents;
            sum.bytes += group.count.bytes;
        }
        sums
    }
}

fn inputs(files: &[PathBuf]) -> Result<Vec<SnapshotInput>, DataError> {
    let input = |file: &PathBuf| {
        let bytes = file.metadata().map_err(|e| DataError::io("look at", file, e))?.len();
        let hash = danlu_store::hash::of_file(file)?.to_string();
        Ok(SnapshotInput { file: file.clone(), bytes, hash })
    };
    files.iter().map(input).collect()
}

struct Builder<'a> {
    config: &'a SnapshotConfig,
    statistics: Statistics,
    all: Partial,
    ids: IdSample,
    seen: u64,
}

impl Builder<'_> {
    fn add(&mut self, chunk: Vec<Document>) {
        let (config, statistics, seen) = (self.config, &self.statistics, self.seen);
        let parts: Vec<Partial> = chunk
            .par_chunks(PART)
            .enumerate()
            .map(|(part, documents)| Partial::of(documents, seen + (part * PART) as u64, config, statistics))
            .collect();
        for part in parts {
            self.all.merge(part, config);
        }
        chunk.iter().for_each(|document| self.ids.add(document.id_number()));
        self.seen += chunk.len() as u64;
    }

    fn finish(self, corpus: &Corpus, read: CorpusRead) -> Result<Snapshot, DataError> {
        let inputs = inputs(&corpus.files)?;
        let Partial { groups, words, time, licenses, samples } = self.all;
        check_carried(&self.statistics, &groups)?;
        let names = self.statistics.names();
        let group = |((source, language), (count, distributions)): ((String, String), (Count, Vec<Distribution>))| {
            let named = names.iter().map(|&name| name.to_owned()).zip(distributions);
            let statistics = named.filter(|(_, distribution)| distribution.count > 0).collect();
            SnapshotGroup { source, language, count, statistics }
        };
        let groups: Vec<SnapshotGroup> = groups.into_iter().map(group).collect();
        let vocabulary = |(language, [words, ngrams]): (String, [Frequent; 2])| {
            let words = TopWords::of(&words, 1, self.config.top);
            (language, Vocabulary { words, ngrams: TopWords::of(&ngrams, self.config.ngram, self.config.top) })
        };
        Ok(Snapshot {
            version: SNAPSHOT_VERSION,
            config: self.config.clone(),
            inputs,
            total: groups.iter().fold(Count::default(), |all, group| Count {
                documents: all.documents + group.count.documents,
                bytes: all.bytes + group.count.bytes,
            }),
            problems: read.problems,
            collected: corpus.collected.map(|(documents, _)| documents),
            raw: read.foreign || corpus.uncleaned,
            named_after_files: read.foreign && corpus.source.is_none(),
            groups,
            vocabularies: words.into_iter().map(vocabulary).collect(),
            repeats: self.ids.finish(),
            time,
            licenses,
            samples: samples.into_values().collect(),
        })
    }
}

/// That every statistic which no function measures is carried by some document; those of the defaults need not be.
fn check_carried(
    statistics: &Statistics,
    groups: &BTreeMap<(String, String), (Count, Vec<Distribution>)>,
) -> Result<(), DataError> {
    let names = statistics.names();
    let is_there = |name: &str| {
        let index = names.iter().position(|known| *known == name).unwrap_or(0);
        groups.values().any(|(_, distributions)| distributions.get(index).is_some_and(|one| one.count > 0))
    };
    match statistics.carried_only().find(|name| !DEFAULT_STATISTICS.contains(name) && !is_there(name)) {
        Some(name) => {
            let message =
                format!("no text function is called {name:?}, and no document carries a statistic of that name");
            Err(DataError::BadConfig { key: "statistics", message })
        }
        None => Ok(()),
    }
}

/// The accounts of some documents in a row; merged in the order of the corpus.
#[derive(Default)]
struct Partial {
    groups: BTreeMap<(String, String), (Count, Vec<Distribution>)>,
    /// Language -> words and n-grams.
    words: BTreeMap<String, [Frequent; 2]>,
    time: TimeRange,
    licenses: Licenses,
    /// The documents with the least of evenly spread numbers: a sample without regard to order.
    samples: BTreeMap<(u64, u64), SampledDocument>,
}

impl Partial {
    fn of(documents: &[Document], first: u64, config: &SnapshotConfig, statistics: &Statistics) -> Self {
        let mut partial = Self::default();
        let mut counts: BTreeMap<String, [HashMap<String, u64>; 2]> = BTreeMap::new();
        for (number, document) in (first..).zip(documents) {
            let analysis = Analysis::new(&document.text);
            let language = match document.language.as_str() {
                "" => analysis.language().code.clone(),
                known => known.to_owned(),
            };
            let key = (document.source.clone(), language.clone());
            let group = partial.groups.entry(key).or_insert_with(|| (Count::default(), statistics.empty()));
            group.0.add(document);
            for (distribution, value) in group.1.iter_mut().zip(statistics.of(document, &analysis)) {
                distribution.add(value);
            }
            count_words(counts.entry(language.clone()).or_default(), &analysis, config.ngram);
            if let Some(date) = date_of(&document.metadata, config.time_field.as_deref()) {
                partial.time.add(&date);
            }
            partial.licenses.add(document);
            partial.sample(document, number, &language, config);
        }
        for (language, [words, ngrams]) in counts {
            let [all_words, all_ngrams] = partial.words.entry(language).or_insert_with(vocabulary);
            words.iter().for_each(|(word, &count)| all_words.add(word, count));
            ngrams.iter().for_each(|(ngram, &count)| all_ngrams.add(ngram, count));
        }
        partial
    }

    fn sample(&mut self, document: &Document, number: u64, language: &str, config: &SnapshotConfig) {
        let draw = mix(config.seed ^ mix(document.id_number() as u64) ^ mix(number));
        let last = self.samples.last_key_value().map(|(&(last, _), _)| last);
        if self.samples.len() >= config.samples && last.is_none_or(|last| draw >= last) {
            return;
        }
        let end = document.text.char_indices().nth(EXCERPT).map_or(document.text.len(), |(end, _)| end);
        let (id, source) = (document.id.clone(), document.source.clone());
        let sampled = SampledDocument { id, source, language: language.into(), text: document.text[..end].into() };
        self.samples.insert((draw, number), sampled);
        if self.samples.len() > config.samples {
            self.samples.pop_last();
        }
    }

    fn merge(&mut self, other: Self, config: &SnapshotConfig) {
        for (key, (count, distributions)) in other.groups {
            let known = self.groups.contains_key(&key) || self.groups.len() < MAX_GROUPS;
            let key = if known { key } else { (OTHERS.into(), OTHERS.into()) };
            let group = self
                .groups
                .entry(key)
                .or_insert_with(|| (Count::default(), vec![Distribution::default(); distributions.len()]));
            group.0.documents += count.documents;
            group.0.bytes += count.bytes;
            group.1.iter_mut().zip(&distributions).for_each(|(all, part)| all.merge(part));
        }
        for (language, part) in other.words {
            let known = self.words.contains_key(&language) || self.words.len() < MAX_VOCABULARIES;
            let all = self.words.entry(if known { language } else { OTHERS.into() }).or_insert_with(vocabulary);
            for (all, part) in all.iter_mut().zip(&part) {
                all.merge(part);
            }
        }
        self.time.merge(&other.time);
        self.licenses.merge(other.licenses);
        self.samples.extend(other.samples);
        while self.samples.len() > config.samples {
            self.samples.pop_last();
        }
    }
}

fn vocabulary() -> [Frequent; 2] {
    [Frequent::new(VOCABULARY), Frequent::new(VOCABULARY)]
}

/// Counts words in lower case and runs of `n` of them.
fn count_words([words, ngrams]: &mut [HashMap<String, u64>; 2], analysis: &Analysis<'_>, n: usize) {
    let lowercase: Vec<String> = analysis.words().iter().map(|word| word.to_lowercase()).collect();
    if n > 1 {
        for run in lowercase.windows(n) {
            *ngrams.entry(run.join(" ")).or_default() += 1;
        }
    }
    for word in lowercase {
        *words.entry(word).or_default() += 1;
    }
}
