//! Documents from wherever they lie: files that danlu wrote, or source files of somebody else.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::files::document_files;
use crate::skipped::Skipped;
use crate::{COLLECTED_FILE, CollectSummary, DataError, Document, SourceConfig, read_documents, read_source};

/// The documents that a snapshot is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    /// In the order in which they are read.
    pub files: Vec<PathBuf>,
    /// Where source files (not danlu's own) keep their text.
    pub text_field: String,
    /// What documents of source files are called; the file's name up to its first dot when none is given.
    pub source: Option<String>,
    /// Of documents that a run collected: how many it read, and how many records it could not.
    pub collected: Option<(u64, u64)>,
    /// Whether these are documents that nobody has cleaned, as a run collected them. Their languages are found from their
    /// texts, as those of source files are.
    pub uncleaned: bool,
}

/// What came to light while a corpus was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CorpusRead {
    /// Records that could not be read.
    pub(super) problems: u64,
    /// Whether there are source files among its files.
    pub(super) foreign: bool,
}

impl Corpus {
    pub fn of(files: Vec<PathBuf>) -> Self {
        Self { files, text_field: "text".into(), source: None, collected: None, uncleaned: false }
    }

    /// The documents in a folder that [`collect`](crate::collect) wrote, to stand beside source files.
    pub fn of_collected(dir: &Path) -> Self {
        Self { uncleaned: true, ..Self::of(vec![dir.join(COLLECTED_FILE)]) }
    }

    /// With what collecting the documents counted.
    #[must_use]
    pub fn with_collected(self, summary: &CollectSummary) -> Self {
        Self { collected: Some((summary.total.documents, summary.problem_count)), ..self }
    }

    /// The kept documents in a folder that [`clean`](crate::clean) wrote.
    pub fn of_cleaned(dir: &Path) -> Self {
        let kept = document_files(dir).into_iter().filter(|(name, _)| *name != "dropped");
        Self::of(kept.map(|(_, path)| path).collect())
    }

    /// Hands every document to `sink`.
    pub(super) fn read(
        &self,
        sink: &mut dyn FnMut(Document) -> Result<(), DataError>,
    ) -> Result<CorpusRead, DataError> {
        let mut read = CorpusRead { problems: self.collected.map_or(0, |(_, problems)| problems), foreign: false };
        for file in &self.files {
            if is_documents(file)? {
                read_documents(file)?.try_for_each(|document| {
                    let mut document = document?;
                    if self.uncleaned {
                        document.language.clear();
                    }
                    sink(document)
                })?;
            } else {
                read.foreign = true;
                read.problems += self.read_source(file, sink)?;
            }
        }
        Ok(read)
    }

    fn read_source(
        &self,
        file: &Path,
        sink: &mut dyn FnMut(Document) -> Result<(), DataError>,
    ) -> Result<u64, DataError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split('.').next().unwrap_or_default().to_owned();
        let source = SourceConfig {
            name: self.source.clone().unwrap_or(stem),
            path: name.into_owned(),
            text_field: self.text_field.clone(),
            ..Default::default()
        };
        let (mut problems, mut skipped) = (0, Skipped::default());
        read_source(&source, file.parent().unwrap_or(Path::new("")), &mut |record| {
            match record {
                Ok(document) => sink(document)?,
                Err(problem) => {
                    skipped.tell(&problem);
                    problems += 1;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        skipped.finish(&source.name);
        Ok(problems)
    }
}

/// Whether a file holds documents as danlu writes them: the first one's id is the hash of its text.
fn is_documents(path: &Path) -> Result<bool, DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.ends_with(".parquet") {
        return Ok(false);
    }
    match read_documents(path) {
        Ok(mut reader) => Ok(matches!(reader.next(), Some(Ok(d)) if Document::new(d.text.as_str(), "").id == d.id)),
        Err(error @ (DataError::Io { .. } | DataError::NoSpace { .. })) => Err(error),
        Err(_) => Ok(false),
    }
}
