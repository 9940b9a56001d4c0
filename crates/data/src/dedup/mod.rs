//! Duplicates, over all sources at once: whole documents that are the same or nearly the same as another are dropped;
//! paragraphs, lines and spans that occurred before are cut.
//!
//! ```text
//! documents --first reading--> ids, buckets by MinHash or SimHash
//!           --exact----------> rows with the same text
//!           --second reading-> n-gram sets of what shares a bucket, compared one by one -> clusters -> which stay
//!           --further readings-> repeated paragraphs, lines, spans in what stays
//! ```
//!
//! The result says which rows to drop and what to cut, and why; [`Duplicates::apply`] does it to a document. It is the
//! same for any number of threads and any limit of memory: what grows with the text is sorted outside memory
//! (`sorter.rs`). This sorting is our own because it is of fixed-size numbers only, which a query engine would wrap in
//! columns and batches; with `engine` it is a query all the same, in this process or on a cluster (`shuffle.rs`). What is
//! known of each document, 44 bytes and 8 more with SimHash, lies in columns that go to mapped files when they are long
//! (`danlu_memory::Column`); in memory stays what was found. A conversation stays whole or goes: no repeated parts are looked
//! for in it.
//!
//! Where to begin reading: `config.rs`, then [`find_duplicates`], `groups.rs`.

mod clusters;
mod config;
mod cuts;
mod earlier;
mod groups;
mod later;
mod minhash;
mod repeats;
mod rows;
mod scan;
mod sets;
mod shuffle;
mod signatures;
mod simhash;
mod sketches;
mod sorter;
mod substring;
mod summary;
#[cfg(test)]
mod tests;

pub use clusters::{ClusterCopy, ClusterSize, DuplicateCluster};
pub(crate) use clusters::{chosen, cluster_sizes};
pub(crate) use config::check_ngram;
pub use config::{DedupConfig, KeepRule, NearConfig, RepeatConfig, SimHashConfig, SubstringConfig};
pub use cuts::Cut;
pub(crate) use later::{Copies, LaterCopies};
pub(crate) use sketches::SketchWriter;
pub use summary::{DedupSummary, KindCount, SourcePair};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use danlu_memory::{Column, Plain};
use serde::{Deserialize, Serialize};

use self::earlier::Earlier;
use self::groups::{Compared, Likeness, UnionFind, Verdict, buckets, choose, join_bucket};
use self::later::words;
use self::rows::Rows;
use self::scan::Scan;
use self::shuffle::Shuffle;
use self::signatures::{SignatureFile, SignatureWriter};
use self::sorter::{Sorted, Sorter};
use self::substring::Units;
use crate::{DataError, Document, Outcome, ProgressFn, Reason};

/// The file of signatures that [`find_duplicates`] writes under its folder, if asked to.
pub const SIGNATURES_FILE: &str = "signatures.danlu";

/// In what way something is a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateKind {
    /// The same text.
    Exact,
    /// The same n-grams, up to the threshold.
    Near,
    /// The same SimHash, up to the distance.
    Simhash,
    /// The same text as a document of an earlier run.
    ExactEarlier,
    /// The same n-grams as one, as the signatures estimate it.
    NearEarlier,
    Paragraph,
    Line,
    Substring,
}

impl DuplicateKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Near => "near",
            Self::Simhash => "simhash",
            Self::ExactEarlier => "exact_earlier",
            Self::NearEarlier => "near_earlier",
            Self::Paragraph => "paragraph",
            Self::Line => "line",
            Self::Substring => "substring",
        }
    }
}

/// A document to drop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Duplicate {
    /// Counted from 0 in the order of the file.
    pub row: u64,
    pub kind: DuplicateKind,
    /// The row that stays for it; `None` when that document is of an earlier run.
    pub kept: Option<u64>,
    /// To that document: the true Jaccard similarity of n-grams (near), the share of equal bits (simhash), or an estimate
    /// (near_earlier).
    pub similarity: f64,
    kept_id: u128,
}

impl Duplicate {
    /// The id of the document that stays.
    pub fn of(&self) -> String {
        format!("{:032x}", self.kept_id)
    }
}

/// What [`find_duplicates`] found.
#[derive(Clone, Debug, Default)]
pub struct Duplicates {
    /// Documents to drop, by row.
    pub drops: Vec<Duplicate>,
    /// What to cut from documents that stay, by row and place.
    pub cuts: Vec<Cut>,
    pub summary: DedupSummary,
    /// The signatures of what stays, where `save_signatures` asks for them.
    pub signatures: Option<PathBuf>,
}

impl Duplicates {
    pub fn drop_of(&self, row: u64) -> Option<&Duplicate> {
        self.drops.binary_search_by_key(&row, |duplicate| duplicate.row).ok().map(|index| &self.drops[index])
    }

    pub fn cuts_of(&self, row: u64) -> &[Cut] {
        let from = self.cuts.partition_point(|cut| cut.row < row);
        let len = self.cuts[from..].partition_point(|cut| cut.row == row);
        &self.cuts[from..from + len]
    }

    /// Drops or cuts the document of a row, which must be the one that was searched.
    pub fn apply(&self, row: u64, mut document: Document) -> Outcome {
        if let Some(duplicate) = self.drop_of(row) {
            let reason = duplicate.reason();
            return Outcome::Drop { document, reason };
        }
        let cuts = self.cuts_of(row);
        if cuts.is_empty() {
            return Outcome::Keep(document);
        }
        let left = cuts::apply(&document.text, cuts.iter());
        if left.is_empty() {
            let reason = Reason::new("duplicate_parts", "all of its text occurred in earlier documents");
            return Outcome::Drop { document, reason };
        }
        document.set_text(left);
        Outcome::Keep(document)
    }
}

impl Duplicate {
    fn reason(&self) -> Reason {
        let (code, what) = match self.kind {
            DuplicateKind::Near => ("near_duplicate", "similar"),
            DuplicateKind::Simhash => ("near_duplicate", "of equal bits"),
            DuplicateKind::NearEarlier => ("near_duplicate_of_earlier_run", "similar by estimate"),
            DuplicateKind::ExactEarlier => {
                return Reason::new("duplicate_of_earlier_run", "the same text as a document of an earlier run");
            }
            _ if self.similarity == 1.0 => {
                return Reason::new("duplicate", format!("the same text as document {}", self.of()));
            }
            _ => ("duplicate", "similar, by a copy of the same text"),
        };
        Reason::new(code, format!("{:.1}% {what} to document {}", self.similarity * 100.0, self.of()))
    }
}

/// The limits of memory and the places of files on disk.
pub(crate) struct Budget {
    /// A quarter of it, in bytes: the sorter, the n-gram sets and the table of documents have one each; the last is left
    /// for the chunks of documents that are being worked on.
    part: u64,
    /// What the suffix array may take: the parts of the sorter and the sets, which are done by then.
    suffix_bytes: u64,
    /// Bytes for each document in the columns of the table.
    row_bytes: u64,
    /// Documents whose columns may be held in memory; those of more go to disk.
    held_rows: usize,
    work: PathBuf,
    /// The SQL engine that groups records, where one is asked to.
    shuffle: Option<Arc<Shuffle>>,
    /// Sketches of the documents, in their order, where they were made before.
    sketches: Vec<PathBuf>,
}

impl Budget {
    fn new(config: &DedupConfig, work: &Path) -> Self {
        let simhash = if config.simhash.is_some() { 8 } else { 0 };
        let value = if matches!(config.keep, KeepRule::Best(_)) { 8 } else { 0 };
        let row_bytes = Rows::BYTES_EACH + simhash + value;
        let part = (config.memory_mb << 20) / 4;
        let suffix_bytes = 2 * part;
        let held_rows = (part / row_bytes) as usize;
        let (work, shuffle, sketches) = (work.into(), None, Vec::new());
        Self { part, suffix_bytes, row_bytes, held_rows, work, shuffle, sketches }
    }

    fn with_engine(self, config: &DedupConfig) -> Result<Self, DataError> {
        let shuffle = Shuffle::open(config, &self.work, self.part)?.map(Arc::new);
        Ok(Self { shuffle, ..self })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.work.join(format!("dedup-{name}.tmp"))
    }

    /// A column of something of every document.
    fn column<T: Plain>(&self, name: &str) -> Column<T> {
        Column::new(self.file(name), self.held_rows)
    }

    fn zeros<T: Plain>(&self, name: &str, rows: usize) -> Result<Column<T>, DataError> {
        let path = self.file(name);
        Column::zeros(path.clone(), self.held_rows, rows).map_err(|e| DataError::io("write", &path, e))
    }

    /// Removes what a killed search left.
    fn clear(&self) -> Result<(), DataError> {
        std::fs::create_dir_all(&self.work).map_err(|e| DataError::io("create", &self.work, e))?;
        for name in ["buckets", "exact", "repeats", "samples", "sets", "shared", "signatures"] {
            let path = self.file(name);
            if path.exists() {
                std::fs::remove_file(&path).map_err(|e| DataError::io("remove", &path, e))?;
            }
        }
        Ok(())
    }

    /// The least `memory_mb` of which a half is so many bytes.
    fn memory_mb_for(&self, bytes: u64) -> u64 {
        (bytes * 2).div_ceil(1 << 20) + 1
    }
}

/// Adds a value to a column, which may go to disk with it.
fn append<T: Plain>(column: &mut Column<T>, value: T) -> Result<(), DataError> {
    column.push(value).map_err(|e| DataError::io("write", column.path(), e))
}

/// Finds the duplicates among the documents of a file, and against earlier runs.
///
/// Files of the search lie under `work` and disappear with it; those of a killed search are removed by the next. The
/// same documents and configuration give the same result, whatever the number of threads and the memory.
///
/// # Errors
/// Besides those of the disk: an unreadable document; a configuration out of range; a tokenizer that cannot be read;
/// signatures of earlier runs that are damaged or were made with other settings; too little memory for the suffix array;
/// an engine that does not answer.
pub fn find_duplicates(
    documents: &Path,
    config: &DedupConfig,
    work: &Path,
    progress: &ProgressFn<'_>,
) -> Result<Duplicates, DataError> {
    find_duplicates_of(documents, &[], config, work, progress)
}

/// As [`find_duplicates`], with the sketches of these documents in files that [`SketchWriter`] has written of them, and maybe of
/// others between them.
pub(crate) fn find_duplicates_of(
    documents: &Path,
    sketches: &[PathBuf],
    config: &DedupConfig,
    work: &Path,
    progress: &ProgressFn<'_>,
) -> Result<Duplicates, DataError> {
    config.check()?;
    let budget = Budget { sketches: sketches.to_vec(), ..Budget::new(config, work) }.with_engine(config)?;
    search_within(documents, config, &budget, progress)
}

fn search_within(
    documents: &Path,
    config: &DedupConfig,
    budget: &Budget,
    progress: &ProgressFn<'_>,
) -> Result<Duplicates, DataError> {
    budget.clear()?;
    let units = config.substring.as_ref().map(Units::open).transpose()?;
    let mut search = Search::begin(documents, config, budget, progress)?;
    search.exact()?;
    search.near_earlier()?;
    search.near()?;
    search.simhash()?;
    let cuts = search.cuts(units.as_ref())?;
    search.finish(cuts)
}

/// A search in progress.
struct Search<'a> {
    documents: &'a Path,
    config: &'a DedupConfig,
    budget: &'a Budget,
    progress: &'a ProgressFn<'a>,
    rows: Rows,
    buckets: Sorted<3>,
    simhashes: Option<simhash::SimHashes>,
    /// The signatures of all rows, where earlier or later runs need them.
    signatures: Option<SignatureFile>,
    earlier: Earlier,
    dropped: Column<bool>,
    drops: Vec<Duplicate>,
    compared: Compared,
    spilled: u64,
    not_spelled: u64,
}

impl<'a> Search<'a> {
    fn begin(
        documents: &'a Path,
        config: &'a DedupConfig,
        budget: &'a Budget,
        progress: &'a ProgressFn<'a>,
    ) -> Result<Self, DataError> {
        let wants_signatures = config.save_signatures || !config.against.is_empty();
        let near = config.near.as_ref().filter(|_| wants_signatures);
        let path = budget.file("signatures");
        let writer = near.map(|near| SignatureWriter::create(&path, near)).transpose()?;
        let Scan { rows, mut buckets, simhashes, signatures } =
            scan::scan(documents, config, budget, writer, progress)?;
        let signatures = match signatures.map(SignatureWriter::finish).transpose()? {
            Some(path) => Some(SignatureFile::open(&path, near, |_, _| Ok(()))?),
            None => None,
        };
        let earlier = Earlier::read(config, rows.len(), &mut buckets, budget)?;
        let buckets = buckets.finish()?;
        Ok(Self {
            dropped: budget.zeros("dropped", rows.len())?,
            spilled: buckets.bytes_on_disk(),
            documents,
            config,
            budget,
            progress,
            rows,
            buckets,
            simhashes,
            signatures,
            earlier,
            drops: Vec::new(),
            compared: Compared::default(),
            not_spelled: 0,
        })
    }

    /// Whether a row of a bucket is of an earlier run, or gone.
    fn gone(dropped: &[bool], row: u32) -> bool {
        dropped.get(row as usize).copied().unwrap_or(true)
    }

    fn drop(&mut self, kind: DuplicateKind, verdicts: Vec<Verdict>) {
        for Verdict { row, kept, similarity } in verdicts {
            let kept_id = self.rows.ids[kept as usize];
            self.dropped[row as usize] = true;
            self.drops.push(Duplicate { row: row.into(), kind, kept: Some(kept.into()), similarity, kept_id });
        }
    }

    fn drop_earlier(&mut self, kind: DuplicateKind, row: u32, similarity: f64, kept_id: u128) {
        self.dropped[row as usize] = true;
        self.drops.push(Duplicate { row: row.into(), kind, kept: None, similarity, kept_id });
    }

    /// Rows of the same id, which is the hash of the text: sorted, so that no column is read here and there.
    fn exact(&mut self) -> Result<(), DataError> {
        if !self.config.exact {
            return Ok(());
        }
        let mut sorter = Sorter::<5>::new(self.budget.part, self.budget.file("exact"));
        for (row, &id) in self.rows.ids.iter().enumerate() {
            let [a, b, c, d] = words(id);
            sorter.push([a, b, c, d, row as u32])?;
        }
        let sorted = sorter.finish()?;
        self.spilled += sorted.bytes_on_disk();
        let (mut merge, mut last, mut same) = (sorted.read()?, [0; 4], Vec::new());
        while let Some([a, b, c, d, row]) = merge.next()? {
            if last != [a, b, c, d] {
                self.same_text(&mut same);
                last = [a, b, c, d];
            }
            same.push(row);
        }
        self.same_text(&mut same);
        Ok(())
    }

    /// Decides on all rows of one text, and empties their list.
    fn same_text(&mut self, same: &mut Vec<u32>) {
        same.sort_unstable_by(|&a, &b| self.rows.order(a, b));
        let Some(&first) = same.first().filter(|_| same.len() > 1 || !self.earlier.is_empty()) else {
            return same.clear();
        };
        let id = self.rows.ids[first as usize];
        if self.earlier.contains(id) {
            same.iter().for_each(|&row| self.drop_earlier(DuplicateKind::ExactEarlier, row, 1.0, id));
        } else {
            let verdict = |&row: &u32| Verdict { row, kept: first, similarity: 1.0 };
            self.drop(DuplicateKind::Exact, same[1..].iter().map(verdict).collect());
        }
        same.clear();
    }

    fn near_earlier(&mut self) -> Result<(), DataError> {
        let (Some(near), Some(signatures)) = (&self.config.near, &mut self.signatures) else { return Ok(()) };
        if self.config.against.is_empty() {
            return Ok(());
        }
        let found = self.earlier.near(&self.buckets, signatures, near.threshold, &self.dropped, &mut self.compared)?;
        for (Verdict { row, similarity, .. }, id) in found {
            self.drop_earlier(DuplicateKind::NearEarlier, row, similarity, id);
        }
        Ok(())
    }

    fn near(&mut self) -> Result<(), DataError> {
        let Some(near) = &self.config.near else { return Ok(()) };
        let (mut wanted, mut any) = (self.budget.zeros::<bool>("wanted", self.rows.len())?, false);
        buckets(
            &self.buckets,
            |row| Self::gone(&self.dropped, row),
            |bucket| {
                any = true;
                bucket.iter().for_each(|&row| wanted[row as usize] = true);
                Ok(())
            },
        )?;
        if any {
            let mut sets = scan::sets(self.documents, near, &wanted, self.budget, self.progress)?;
            self.spilled += sets.bytes_on_disk;
            self.decide(DuplicateKind::Near, &mut sets)?;
        }
        Ok(())
    }

    fn simhash(&mut self) -> Result<(), DataError> {
        match self.simhashes.take() {
            Some(mut hashes) => self.decide(DuplicateKind::Simhash, &mut hashes),
            None => Ok(()),
        }
    }

    /// Joins what shares a bucket and is alike, and chooses what stays.
    fn decide(&mut self, kind: DuplicateKind, likeness: &mut dyn Likeness) -> Result<(), DataError> {
        let mut clusters = UnionFind::new(self.rows.len(), self.budget)?;
        let compared = &mut self.compared;
        buckets(
            &self.buckets,
            |row| Self::gone(&self.dropped, row),
            |bucket| join_bucket(bucket, &mut clusters, likeness, compared),
        )?;
        let verdicts = choose(&mut clusters, &self.rows, likeness, compared)?;
        self.drop(kind, verdicts);
        Ok(())
    }

    fn cuts(&mut self, units: Option<&Units>) -> Result<Vec<Cut>, DataError> {
        let (documents, dropped, budget, progress) = (self.documents, &self.dropped, self.budget, self.progress);
        let mut cuts = Vec::new();
        let repeats = [(DuplicateKind::Paragraph, self.config.paragraphs), (DuplicateKind::Line, self.config.lines)];
        for (kind, config) in repeats {
            if let Some(config) = config {
                let (found, spilled) = repeats::repeats(documents, kind, config, dropped, budget, progress)?;
                cuts = cuts::add(cuts, found);
                self.spilled += spilled;
            }
        }
        if let Some(units) = units {
            let found = substring::repeats(documents, units, dropped, budget, progress)?;
            cuts = cuts::add(cuts, found.cuts);
            self.spilled += found.spilled;
            self.not_spelled = found.not_spelled;
        }
        Ok(cuts)
    }

    fn finish(mut self, cuts: Vec<Cut>) -> Result<Duplicates, DataError> {
        self.drops.sort_unstable_by_key(|duplicate| duplicate.row);
        follow(&mut self.drops);
        let signatures = self.save_signatures()?;
        let summary = summary::summarize(&self, &cuts);
        Ok(Duplicates { drops: self.drops, cuts, summary, signatures })
    }

    fn save_signatures(&mut self) -> Result<Option<PathBuf>, DataError> {
        let Some(all) = &mut self.signatures else { return Ok(None) };
        let mut saved = None;
        if let Some(near) = self.config.near.as_ref().filter(|_| self.config.save_signatures) {
            let mut writer = SignatureWriter::create(&self.budget.work.join(SIGNATURES_FILE), near)?;
            for row in (0..all.count).filter(|&row| !self.dropped[row as usize]) {
                let (id, signature) = all.read(row)?;
                writer.push(id, &signature)?;
            }
            saved = Some(writer.finish()?);
        }
        let _ = std::fs::remove_file(self.budget.file("signatures"));
        Ok(saved)
    }
}

/// A copy of a document that went later itself is a duplicate of what that one was dropped for, and so on to one that
/// stays. `drops` are sorted by row.
fn follow(drops: &mut [Duplicate]) {
    for index in 0..drops.len() {
        // Each step leads to a document that a later search dropped, so that there are no more than there are searches.
        while let Some(kept) = drops[index].kept
            && let Ok(at) = drops.binary_search_by_key(&kept, |duplicate| duplicate.row)
        {
            let Duplicate { kept, kept_id, similarity, .. } = drops[at];
            drops[index] = Duplicate { kept, kept_id, similarity, ..drops[index] };
        }
    }
}
