//! The part of a source that is being collected.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::collect::PROBLEMS_KEPT;
use crate::journal::{Finished, state_of};
use crate::source::{Item, SourceReader};
use crate::{DataError, Document, DocumentWriter, Problem};

/// A part is finished after so much time, whatever it holds: a killed process loses about so much at most.
const PART_TIME: Duration = Duration::from_secs(30);

/// Where in a source's items the collecting is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The item that is read.
    pub(crate) item: usize,
    /// How many of its records have been taken.
    pub(crate) record: u64,
}

pub(crate) struct OpenPart {
    pub(crate) from: Place,
    path: PathBuf,
    began: Instant,
    /// Made for the first document.
    writer: Option<DocumentWriter>,
    /// What it holds so far.
    pub(crate) finished: Finished,
}

impl OpenPart {
    pub(crate) fn new(source: usize, from: Place, path: PathBuf) -> Self {
        let finished = Finished { source, from: from.item, skip: from.record, ..Default::default() };
        Self { from, path, began: Instant::now(), writer: None, finished }
    }

    /// Whether it holds enough to be finished.
    pub(crate) fn is_full(&self, part_bytes: u64) -> bool {
        self.finished.count.bytes >= part_bytes || self.began.elapsed() >= PART_TIME
    }

    pub(crate) fn write(&mut self, document: &Document) -> Result<(), DataError> {
        self.finished.count.documents += 1;
        self.finished.count.bytes += document.text.len() as u64;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(DocumentWriter::create(&self.path)?),
        };
        writer.write(document)
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.finished.problem_count += 1;
        if self.finished.problems.len() < PROBLEMS_KEPT {
            self.finished.problems.push(problem);
        }
    }

    /// Takes over what a reader counted. It counts an item only at its end, and again from its beginning when it is read
    /// once more: so it belongs to the part with the item's end.
    pub(crate) fn pass_over(&mut self, reader: &mut SourceReader<'_>) {
        for (what, count) in std::mem::take(&mut reader.passed_over) {
            *self.finished.passed_over.entry(what).or_default() += count;
        }
    }

    /// Makes it safe on the disk. It ends before the record at `until`.
    pub(crate) fn finish(self, until: Place, items: &[Item]) -> Result<Finished, DataError> {
        self.writer.map_or(Ok(()), DocumentWriter::finish)?;
        let mut finished = Finished { until: until.item, within: until.record, ..self.finished };
        finished.state = state_of(&items[finished.items()]);
        Ok(finished)
    }
}
