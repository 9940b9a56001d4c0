use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::source::{read_files, source_files};
use crate::storage::write_json;
use crate::{Count, DataError, DocumentWriter, Problem, Progress, ProgressFn, SourceConfig, Tombstones};

/// The file of collected documents in a collect artifact.
pub const COLLECTED_FILE: &str = "documents.parquet";
/// So many problems are told in full; all are counted.
const PROBLEMS_KEPT: usize = 1000;

/// What [`collect`] read; also in `summary.json` beside the documents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CollectSummary {
    pub total: Count,
    pub sources: BTreeMap<String, SourceSummary>,
    /// Records that could not be read, in all.
    pub problem_count: u64,
    /// The first 1000 of them.
    pub problems: Vec<Problem>,
    /// Documents left out because they were forgotten, in all.
    #[serde(default)]
    pub forgotten: u64,
}

/// What was read of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceSummary {
    pub files: u64,
    pub documents: u64,
    /// UTF-8 bytes of text.
    pub bytes: u64,
    pub problems: u64,
    /// Documents left out because they were forgotten ([`Tombstones`]).
    #[serde(default)]
    pub forgotten: u64,
}

/// Reads all sources, in order, into `out/documents.parquet` and `out/summary.json`.
///
/// Relative paths are taken from `base`. A record that cannot be read is counted and skipped, or, with `strict`, ends
/// the work.
///
/// # Errors
/// Besides those of the disk: sources without files, of unknown format or without the text column; the first
/// unreadable record if `strict`; [`DataError::EmptyCorpus`] when nothing could be read.
pub fn collect(
    sources: &[SourceConfig],
    base: &Path,
    strict: bool,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<CollectSummary, DataError> {
    collect_without(sources, base, strict, &Tombstones::default(), out, progress)
}

/// As [`collect`], leaving out documents that were forgotten; they are counted.
///
/// # Errors
/// Those of [`collect`].
pub fn collect_without(
    sources: &[SourceConfig],
    base: &Path,
    strict: bool,
    forgotten: &Tombstones,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<CollectSummary, DataError> {
    check_names(sources)?;
    let files: Vec<Vec<PathBuf>> = sources.iter().map(|source| source_files(source, base)).collect::<Result<_, _>>()?;
    let sizes = files.iter().flatten().map(|file| file.metadata().map_or(0, |metadata| metadata.len()));
    let mut collector = Collector {
        writer: DocumentWriter::create(&out.join(COLLECTED_FILE))?,
        summary: CollectSummary::default(),
        strict,
        forgotten,
        read: Arc::default(),
        total: sizes.sum(),
        since_report: 0,
        progress,
    };
    for (source, files) in sources.iter().zip(&files) {
        collector.read(source, base, files)?;
    }
    collector.finish(out)
}

struct Collector<'a> {
    writer: DocumentWriter,
    summary: CollectSummary,
    strict: bool,
    forgotten: &'a Tombstones,
    read: Arc<AtomicU64>,
    total: u64,
    since_report: usize,
    progress: &'a ProgressFn<'a>,
}

impl Collector<'_> {
    fn read(&mut self, source: &SourceConfig, base: &Path, files: &[PathBuf]) -> Result<(), DataError> {
        let mut counts = SourceSummary { files: files.len() as u64, ..Default::default() };
        read_files(source, base, files, self.read.clone(), &mut |record| {
            match record {
                Ok(document) if self.forgotten.contains(&document.id) => counts.forgotten += 1,
                Ok(document) => {
                    counts.documents += 1;
                    counts.bytes += document.text.len() as u64;
                    self.writer.write(&document)?;
                    self.report(document.text.len());
                }
                Err(problem) if self.strict => return Err(problem.into()),
                Err(problem) => {
                    counts.problems += 1;
                    self.count(problem);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.summary.total.documents += counts.documents;
        self.summary.total.bytes += counts.bytes;
        self.summary.forgotten += counts.forgotten;
        self.summary.sources.insert(source.name.clone(), counts);
        Ok(())
    }

    fn count(&mut self, problem: Problem) {
        self.summary.problem_count += 1;
        if self.summary.problems.len() < PROBLEMS_KEPT {
            tracing::warn!("skipped: {problem}");
            self.summary.problems.push(problem);
        }
    }

    fn report(&mut self, bytes: usize) {
        self.since_report += bytes + 64;
        if self.since_report > 4 << 20 {
            self.since_report = 0;
            let done = self.read.load(Ordering::Relaxed);
            (self.progress)(Progress { label: "collect", done, total: Some(self.total), unit: "bytes" });
        }
    }

    fn finish(self, out: &Path) -> Result<CollectSummary, DataError> {
        if self.summary.total.documents == 0 {
            let files: u64 = self.summary.sources.values().map(|source| source.files).sum();
            let mut explanation = format!("{files} files hold no readable document");
            if let Some(problem) = self.summary.problems.first() {
                explanation += &format!("; {} records were skipped, the first: {problem}", self.summary.problem_count);
            }
            return Err(DataError::EmptyCorpus { explanation });
        }
        self.writer.finish()?;
        write_json(&out.join("summary.json"), &self.summary)?;
        let total = Some(self.total);
        (self.progress)(Progress { label: "collect", done: self.total, total, unit: "bytes" });
        Ok(self.summary)
    }
}

fn check_names(sources: &[SourceConfig]) -> Result<(), DataError> {
    let bad = |message: String| Err(DataError::BadConfig { key: "data.sources", message });
    if sources.is_empty() {
        return bad("there is no source".into());
    }
    for (index, source) in sources.iter().enumerate() {
        if source.name.is_empty() || source.path.is_empty() {
            return bad(format!("source {} needs a name and a path", index + 1));
        }
        if sources[..index].iter().any(|other| other.name == source.name) {
            return bad(format!("two sources are named {:?}", source.name));
        }
    }
    Ok(())
}
