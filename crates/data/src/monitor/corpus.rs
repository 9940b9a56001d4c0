//! Documents from wherever they lie: files that danlu wrote, or source files of somebody else.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::files::document_files;
use crate::{DataError, Document, SourceConfig, read_documents, read_source};

/// The documents that a snapshot is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    /// In the order in which they are read.
    pub files: Vec<PathBuf>,
    /// Where source files (not danlu's own) keep their text.
    pub text_field: String,
    /// What documents of source files are called; the file's name up to its first dot when none is given.
    pub source: Option<String>,
}

impl Corpus {
    pub fn of(files: Vec<PathBuf>) -> Self {
        Self { files, text_field: "text".into(), source: None }
    }

    /// The kept documents in a folder that [`clean`](crate::clean) wrote.
    pub fn of_cleaned(dir: &Path) -> Self {
        let kept = document_files(dir).into_iter().filter(|(name, _)| *name != "dropped");
        Self::of(kept.map(|(_, path)| path).collect())
    }

    /// Hands every document to `sink`; gives the number of records that could not be read.
    pub(super) fn read(&self, sink: &mut dyn FnMut(Document) -> Result<(), DataError>) -> Result<u64, DataError> {
        let mut problems = 0;
        for file in &self.files {
            if is_documents(file)? {
                read_documents(file)?.try_for_each(|document| sink(document?))?;
            } else {
                problems += self.read_source(file, sink)?;
            }
        }
        Ok(problems)
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
        let mut problems = 0;
        read_source(&source, file.parent().unwrap_or(Path::new("")), &mut |record| {
            match record {
                Ok(document) => sink(document)?,
                Err(problem) => {
                    tracing::warn!("skipped: {problem}");
                    problems += 1;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
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
