use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use danlu_store::atomic;
use serde::{Deserialize, Serialize};

use crate::journal::{Finished, Journal};
use crate::part::{OpenPart, Place};
use crate::skipped::Skipped;
use crate::source::{Item, Listing, SourceReader, UNKNOWN_FORMAT, list};
use crate::storage::write_json;
use crate::{
    Count, DataError, Document, DocumentWriter, LeftOut, Problem, Progress, ProgressFn, SourceConfig, Tombstones,
    read_documents,
};

/// The file of collected documents in a collect artifact.
pub const COLLECTED_FILE: &str = "documents.parquet";
/// So many problems are told in full; all are counted.
pub(crate) const PROBLEMS_KEPT: usize = 1000;
/// Files are collected into parts of about so much text, which survive a killed process.
const PART_BYTES: u64 = 256 << 20;

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
    /// Files that were named more than once and read once.
    #[serde(default)]
    pub repeated_files: u64,
    /// What the files hold that is neither a document nor a problem, such as redirects, and how many of each.
    #[serde(default)]
    pub passed_over: BTreeMap<String, u64>,
    /// What folders and patterns hold that was not read, by the reason: hidden files, files of unknown format, ...
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, LeftOut>,
}

/// Reads all sources, in order, into [`COLLECTED_FILE`] and `summary.json` in the folder `out`.
///
/// Relative paths are taken from `base`. A record that cannot be read is counted and skipped, or, with `strict`, ends
/// the work. Called again after it was stopped, with the same sources and the same `out`, it does not read again what
/// it had finished.
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
    collect_in_parts(sources, base, strict, forgotten, out, progress, PART_BYTES)
}

fn collect_in_parts(
    sources: &[SourceConfig],
    base: &Path,
    strict: bool,
    forgotten: &Tombstones,
    out: &Path,
    progress: &ProgressFn<'_>,
    part_bytes: u64,
) -> Result<CollectSummary, DataError> {
    check_names(sources)?;
    let listings: Vec<Listing> = sources.iter().map(|source| list(source, base)).collect::<Result<_, _>>()?;
    let items: Vec<&[Item]> = listings.iter().map(|listing| listing.items.as_slice()).collect();
    let mut collector = Collector {
        base,
        journal: Journal::open(out, sources, &items, strict, forgotten.len())?,
        summary: CollectSummary::default(),
        skipped: Skipped::default(),
        strict,
        forgotten,
        read: Arc::default(),
        total: items.iter().flat_map(|items| items.iter()).map(|item| item.bytes).sum(),
        since_report: 0,
        progress,
        part_bytes,
    };
    for (index, (source, listing)) in sources.iter().zip(&listings).enumerate() {
        collector.read(index, source, listing)?;
    }
    collector.finish(out)
}

struct Collector<'a> {
    base: &'a Path,
    journal: Journal,
    summary: CollectSummary,
    /// Of the source that is read.
    skipped: Skipped,
    strict: bool,
    forgotten: &'a Tombstones,
    read: Arc<AtomicU64>,
    /// Bytes of all files, as far as they are known beforehand.
    total: u64,
    since_report: u64,
    progress: &'a ProgressFn<'a>,
    part_bytes: u64,
}

impl Collector<'_> {
    fn read(&mut self, index: usize, source: &SourceConfig, listing: &Listing) -> Result<(), DataError> {
        let items = &listing.items;
        let mut reader = SourceReader::new(source, self.base, self.read.clone());
        self.skipped = Skipped::default();
        let mut counts = SourceSummary {
            files: items.len() as u64,
            repeated_files: listing.repeated,
            left_out: listing.left_out.clone(),
            ..Default::default()
        };
        for (why, left_out) in &counts.left_out {
            let (name, count) = (&source.name, left_out.count);
            // The others are hidden or known not to be meant.
            if why == UNKNOWN_FORMAT {
                tracing::warn!("source {name:?}: {count} {why} are not read: {left_out}");
            } else {
                tracing::info!("source {name:?}: {count} {why} are not read: {left_out}");
            }
        }
        for problem in &listing.problems {
            if self.strict {
                return Err(problem.clone().into());
            }
            self.skipped.tell(problem);
            counts.problems += 1;
            self.count(1, std::slice::from_ref(problem));
        }
        let begin = self.finished(index, items, &mut reader, &mut counts);
        self.rest(index, items, begin, &mut reader, &mut counts)?;
        self.skipped.finish(&source.name);
        self.summary.total.documents += counts.documents;
        self.summary.total.bytes += counts.bytes;
        self.summary.forgotten += counts.forgotten;
        self.summary.sources.insert(source.name.clone(), counts);
        Ok(())
    }

    /// Counts what the journal has of a source; where it ends.
    fn finished(
        &mut self,
        index: usize,
        items: &[Item],
        reader: &mut SourceReader<'_>,
        counts: &mut SourceSummary,
    ) -> Place {
        let mut place = Place::default();
        for part in self.journal.of_source(index) {
            place = Place { item: part.until, record: part.within };
            reader.left = reader.left.saturating_sub((part.count.documents + part.forgotten) as usize);
            let bytes: u64 = items[part.from..part.until].iter().map(|item| item.bytes).sum();
            self.read.fetch_add(bytes, Ordering::Relaxed);
            self.add(counts, &part);
        }
        place
    }

    /// Reads the items from a place on into parts.
    fn rest(
        &mut self,
        index: usize,
        items: &[Item],
        mut place: Place,
        reader: &mut SourceReader<'_>,
        counts: &mut SourceSummary,
    ) -> Result<(), DataError> {
        let mut part = self.open(index, place);
        while place.item < items.len() && reader.left > 0 {
            let flow = self.item(items, &mut place, reader, &mut part, counts)?;
            place = Place { item: place.item + 1, record: 0 };
            part.pass_over(reader);
            if flow.is_break() || part.is_full(self.part_bytes) {
                self.close(&mut part, place, items, counts)?;
            }
            if flow.is_break() {
                return Ok(());
            }
        }
        if part.from == place { Ok(()) } else { self.close(&mut part, place, items, counts) }
    }

    fn open(&self, source: usize, from: Place) -> OpenPart {
        OpenPart::new(source, from, self.journal.part_path(source, from.item, from.record))
    }

    /// Reads the item at `place` into `part`, and into others after it when that is full.
    fn item(
        &mut self,
        items: &[Item],
        place: &mut Place,
        reader: &mut SourceReader<'_>,
        part: &mut OpenPart,
        counts: &mut SourceSummary,
    ) -> Result<ControlFlow<()>, DataError> {
        let is_steady = items[place.item].is_steady();
        reader.read(&items[place.item..], place.record, &mut |record| {
            match record {
                Err(problem) if self.strict => return Err(problem.into()),
                record => {
                    if is_steady && part.is_full(self.part_bytes) {
                        self.close(part, *place, items, counts)?;
                    }
                    place.record += 1;
                    self.take(part, record)?;
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn take(&mut self, part: &mut OpenPart, record: Result<Document, Problem>) -> Result<(), DataError> {
        match record {
            Ok(document) if self.forgotten.cover(&document) => part.finished.forgotten += 1,
            Ok(document) => {
                part.write(&document)?;
                self.report(document.text.len() as u64);
            }
            Err(problem) => {
                self.skipped.tell(&problem);
                part.problem(problem);
            }
        }
        Ok(())
    }

    /// Finishes a part that ends at `place`, and begins the next there.
    fn close(
        &mut self,
        part: &mut OpenPart,
        place: Place,
        items: &[Item],
        counts: &mut SourceSummary,
    ) -> Result<(), DataError> {
        let next = self.open(part.finished.source, place);
        let finished = std::mem::replace(part, next).finish(place, items)?;
        self.add(counts, &finished);
        self.journal.record(finished)
    }

    fn add(&mut self, counts: &mut SourceSummary, part: &Finished) {
        counts.documents += part.count.documents;
        counts.bytes += part.count.bytes;
        counts.problems += part.problem_count;
        counts.forgotten += part.forgotten;
        for (what, count) in &part.passed_over {
            *counts.passed_over.entry(what.clone()).or_default() += count;
        }
        self.count(part.problem_count, &part.problems);
    }

    fn count(&mut self, problem_count: u64, problems: &[Problem]) {
        self.summary.problem_count += problem_count;
        let room = PROBLEMS_KEPT - self.summary.problems.len();
        self.summary.problems.extend(problems.iter().take(room).cloned());
    }

    fn report(&mut self, bytes: u64) {
        self.since_report += bytes + 64;
        if self.since_report > 4 << 20 {
            self.since_report = 0;
            let done = self.read.load(Ordering::Relaxed);
            let total = Some(self.total).filter(|total| *total >= done);
            (self.progress)(Progress { label: "collect", done, total, unit: "bytes" });
        }
    }

    fn finish(self, out: &Path) -> Result<CollectSummary, DataError> {
        let Self { journal, summary, total, progress, .. } = self;
        if summary.total.documents == 0 {
            let files: u64 = summary.sources.values().map(|source| source.files).sum();
            let mut explanation = format!("{files} files hold no readable document");
            if let Some(problem) = summary.problems.first() {
                explanation += &format!("; {} records were skipped, the first: {problem}", summary.problem_count);
            }
            journal.remove()?;
            return Err(DataError::EmptyCorpus { explanation });
        }
        let collected = out.join(COLLECTED_FILE);
        match journal.parts().as_slice() {
            [only] => atomic::link_or_copy(only, &collected)?,
            parts => {
                let mut writer = DocumentWriter::create(&collected)?;
                for part in parts {
                    for document in read_documents(part)? {
                        writer.write(&document?)?;
                    }
                }
                writer.finish()?;
            }
        }
        write_json(&out.join("summary.json"), &summary)?;
        journal.remove()?;
        progress(Progress { label: "collect", done: total, total: Some(total), unit: "bytes" });
        Ok(summary)
    }
}

fn check_names(sources: &[SourceConfig]) -> Result<(), DataError> {
    let bad = |message: String| Err(DataError::BadConfig { key: "data.sources", message });
    if sources.is_empty() {
        return bad("there is no source".into());
    }
    for (index, source) in sources.iter().enumerate() {
        if source.name.is_empty() || source.patterns().next().is_none() {
            return bad(format!("source {} needs a name and a path", index + 1));
        }
        if sources[..index].iter().any(|other| other.name == source.name) {
            return bad(format!("two sources are named {:?}", source.name));
        }
        source.check()?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const CHILD: &str = "DANLU_TEST_COLLECT_CHILD";

    fn quiet(_: Progress<'_>) {}

    fn sources() -> Vec<SourceConfig> {
        let source =
            |name: &str, path: &str| SourceConfig { name: name.into(), path: path.into(), ..Default::default() };
        vec![source("a", "a/*.txt"), SourceConfig { limit: Some(3), ..source("b", "b/*.jsonl") }]
    }

    /// Six files of both languages, large enough to make progress within each, and one that is broken.
    fn corpus(dir: &Path) {
        fs::create_dir_all(dir.join("a")).unwrap();
        fs::create_dir_all(dir.join("b")).unwrap();
        for i in 0..3 {
            fs::write(dir.join(format!("a/{i}.txt")), format!("{i} plain text\n").repeat(400_000)).unwrap();
            let line = serde_json::json!({ "text": format!("{i} 春眠不覺曉\n").repeat(300_000) });
            fs::write(dir.join(format!("b/{i}.jsonl")), format!("{line}\nbroken\n{line}\n")).unwrap();
        }
    }

    fn parts_collected(dir: &Path, progress: &ProgressFn<'_>) -> Result<CollectSummary, DataError> {
        collect_in_parts(&sources(), dir, false, &Tombstones::default(), &dir.join("out"), progress, 1)
    }

    /// What the child process of the next test runs: collects, and dies at the wanted moment.
    #[test]
    fn dies_while_it_collects() {
        let Some(dir) = std::env::var_os(CHILD) else { return };
        let (dir, moment) = (Path::new(&dir), std::env::args_os().len());
        let moment = std::env::var("DANLU_TEST_COLLECT_MOMENT").map_or(moment, |moment| moment.parse().unwrap());
        let calls = AtomicUsize::new(0);
        parts_collected(dir, &|_| {
            if calls.fetch_add(1, Ordering::Relaxed) == moment {
                std::process::abort();
            }
        })
        .unwrap();
    }

    #[test]
    fn a_killed_collection_goes_on_and_ends_in_the_same_bytes() {
        let whole = tempfile::tempdir().unwrap();
        corpus(whole.path());
        let expect = collect(&sources(), whole.path(), false, &whole.path().join("out"), &quiet).unwrap();
        assert_eq!((expect.total.documents, expect.problem_count), (6, 1));
        let bytes = fs::read(whole.path().join("out").join(COLLECTED_FILE)).unwrap();

        let dir = tempfile::tempdir().unwrap();
        corpus(dir.path());
        let journal = dir.path().join("out/collect.journal");
        let mut lines = 1;
        // Each dies within the file after the one that it finishes, or the two.
        for moment in [0, 1, 1, 2] {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "collect::tests::dies_while_it_collects"])
                .env(CHILD, dir.path())
                .env("DANLU_TEST_COLLECT_MOMENT", moment.to_string())
                .output()
                .unwrap();
            assert!(!child.status.success(), "the child was not killed");
            let now = fs::read_to_string(&journal).unwrap().lines().count();
            assert!(now >= lines, "a finished part was lost");
            lines = now;
        }
        assert!(lines > 3, "only {lines} lines in the journal: nothing was finished before the process died");
        let last = fs::read_to_string(&journal).unwrap().lines().last().unwrap().to_owned();
        assert!(last.contains("\"until\":0,\"within\":1"), "it did not die within a file: {last}");
        // What is finished is not read again: nobody notices that the file has other content now.
        let first = dir.path().join("a/0.txt");
        let (modified, length) = first.metadata().map(|m| (m.modified().unwrap(), m.len())).unwrap();
        fs::write(&first, "x".repeat(length as usize)).unwrap();
        fs::File::options().write(true).open(&first).unwrap().set_modified(modified).unwrap();
        // A line that was not written to its end counts for nothing.
        let torn = fs::read_to_string(&journal).unwrap() + "{\"source\":1,\"from\":";
        fs::write(&journal, torn).unwrap();
        let summary = parts_collected(dir.path(), &quiet).unwrap();
        assert_eq!((summary.total, summary.problem_count), (expect.total, expect.problem_count));
        assert_eq!(summary.sources, expect.sources);
        assert!(fs::read(dir.path().join("out").join(COLLECTED_FILE)).unwrap() == bytes, "other bytes");
        let mut left: Vec<_> = fs::read_dir(dir.path().join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [COLLECTED_FILE, "summary.json"]);
    }

    #[test]
    fn parts_of_other_sources_or_changed_files_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        for (name, text) in [("a.txt", "one"), ("b.txt", "two")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let source =
            |name: &str, path: &str| SourceConfig { name: name.into(), path: path.into(), ..Default::default() };
        let broken = source("broken", "c.jsonl");
        fs::write(dir.path().join("c.jsonl"), "{\"text\":\"three\"}\nnot JSON\n").unwrap();
        let run = |sources: &[SourceConfig], strict: bool| -> Result<Vec<String>, DataError> {
            collect_in_parts(sources, dir.path(), strict, &Tombstones::default(), &out, &quiet, 1)?;
            read_documents(&out.join(COLLECTED_FILE))?.map(|document| Ok(document?.text)).collect()
        };
        let three = [source("a", "a.txt"), source("b", "b.txt"), broken];
        assert!(matches!(run(&three, true), Err(DataError::BadRecord { line: Some(2), .. })));
        assert_eq!(fs::read_to_string(out.join("collect.journal")).unwrap().lines().count(), 3);
        fs::write(dir.path().join("a.txt"), "another one").unwrap();
        assert_eq!(run(&three, false).unwrap(), ["another one", "two", "three"]);
        assert!(matches!(run(&three, true), Err(DataError::BadRecord { .. })));
        let two = [source("b", "b.txt"), source("a", "a.txt")];
        assert_eq!(run(&two, true).unwrap(), ["two", "another one"]);
    }
}
