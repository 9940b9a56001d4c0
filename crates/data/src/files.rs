//! The tables of an artifact, whichever stage made it: reading them row by row, and writing them again without some rows.

use std::path::{Path, PathBuf};

use crate::{
    COLLECTED_FILE, DROPPED_FILE, DataError, Document, DocumentWriter, DroppedDocument, SplitConfig, read_documents,
};

/// A document and, where it was dropped, why.
pub(crate) struct Row {
    pub(crate) document: Document,
    pub(crate) fate: Option<Fate>,
}

/// Why and where a document was dropped.
pub(crate) struct Fate {
    pub(crate) step: String,
    pub(crate) reason: String,
    pub(crate) detail: String,
}

/// The tables of documents in a folder, with what they hold: `collected`, `train`, `valid`, `test`, `dropped`.
pub(crate) fn document_files(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let splits = SplitConfig::NAMES.map(|split| (split, format!("{split}.jsonl.zst")));
    let others = [("collected", COLLECTED_FILE.to_owned()), ("dropped", DROPPED_FILE.to_owned())];
    let all = splits.into_iter().chain(others).map(|(name, file)| (name, dir.join(file)));
    all.filter(|(_, path)| path.is_file()).collect()
}

fn is_dropped(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == DROPPED_FILE)
}

/// Hands the rows of a table to `sink`, in order.
pub(crate) fn read_rows(path: &Path, sink: &mut dyn FnMut(Row) -> Result<(), DataError>) -> Result<(), DataError> {
    let mut reader = read_documents(path)?;
    if !is_dropped(path) {
        return reader.try_for_each(|document| sink(Row { document: document?, fate: None }));
    }
    while let Some(record) = reader.next_record::<DroppedDocument>() {
        let DroppedDocument { document, step, reason, detail } = record?;
        sink(Row { document, fate: Some(Fate { step, reason, detail }) })?;
    }
    Ok(())
}

/// Writes the table `from` as `to` without the documents that `drop` names; gives how many those were.
pub(crate) fn rewrite_table(from: &Path, to: &Path, drop: &mut dyn FnMut(&Document) -> bool) -> Result<u64, DataError> {
    let mut writer = DocumentWriter::create(to)?;
    let mut dropped = 0;
    read_rows(from, &mut |Row { document, fate }| {
        match fate {
            _ if drop(&document) => dropped += 1,
            Some(Fate { step, reason, detail }) => {
                writer.write_record(&DroppedDocument { document, step, reason, detail })?;
            }
            None => writer.write(&document)?,
        }
        Ok(())
    })?;
    writer.finish()?;
    Ok(dropped)
}
