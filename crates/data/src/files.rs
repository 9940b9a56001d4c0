//! The tables of an artifact, whichever stage made it: reading them row by row, and writing them again without some rows.

use std::path::{Path, PathBuf};

pub(crate) use crate::table::Fate;
use crate::{
    COLLECTED_FILE, DROPPED_FILE, DataError, Document, DocumentWriter, SplitConfig, documents_file, read_documents,
};

/// A document and, where it was dropped, why.
pub(crate) struct Row {
    pub(crate) document: Document,
    pub(crate) fate: Option<Fate>,
}

/// The tables of documents in a folder, with what they hold: `collected`, `train`, `valid`, `test`, `dropped`.
pub(crate) fn document_files(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let splits = SplitConfig::NAMES.map(|split| (split, documents_file(split)));
    let others = [("collected", COLLECTED_FILE.to_owned()), ("dropped", DROPPED_FILE.to_owned())];
    let all = splits.into_iter().chain(others).map(|(name, file)| (name, dir.join(file)));
    all.filter(|(_, path)| path.is_file()).collect()
}

/// Hands the rows of a table to `sink`, in order.
pub(crate) fn read_rows(path: &Path, sink: &mut dyn FnMut(Row) -> Result<(), DataError>) -> Result<(), DataError> {
    let mut reader = read_documents(path)?;
    while let Some(row) = reader.next_row() {
        let (document, fate) = row?;
        sink(Row { document, fate })?;
    }
    Ok(())
}

/// Writes the table `from` as `to` without the documents that `drop` names; gives how many those were.
pub(crate) fn rewrite_table(from: &Path, to: &Path, drop: &mut dyn FnMut(&Document) -> bool) -> Result<u64, DataError> {
    let statistics = read_documents(from)?.statistics().to_vec();
    let is_dropped = from.file_name().is_some_and(|name| name == DROPPED_FILE);
    let mut writer = match is_dropped {
        true => DocumentWriter::dropped(to, &statistics)?,
        false => DocumentWriter::with_statistics(to, &statistics)?,
    };
    let mut dropped = 0;
    read_rows(from, &mut |Row { document, fate }| {
        match fate {
            _ if drop(&document) => dropped += 1,
            Some(fate) => writer.write_dropped(&document, &fate)?,
            None => writer.write(&document)?,
        }
        Ok(())
    })?;
    writer.finish()?;
    Ok(dropped)
}
