//! The passes one after another: the first over the collected documents, then one for each step that needs all of them.

use std::path::{Path, PathBuf};

use danlu_sql::Rules;

use super::funnel::Tally;
use super::outliers::Outliers;
use super::output::Output;
use super::rows::RowPass;
use super::{CleanConfig, Funnel, OutlierThresholds, Reason, SplitConfig, StepFunnel};
use crate::storage::next_chunk;
use crate::{DataError, Document, DocumentWriter, ProgressFn, read_documents};

/// A step that needs all documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GlobalStep {
    Outliers,
}

impl GlobalStep {
    /// Those that a configuration asks for, in order.
    fn wanted(config: &CleanConfig) -> Vec<Self> {
        let outliers = (!config.outliers.is_empty()).then_some(Self::Outliers);
        outliers.into_iter().collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Outliers => "outliers",
        }
    }
}

/// Runs all passes. Between two of them the documents lie in the folder `work`.
pub(super) fn run(
    collected: &Path,
    config: &CleanConfig,
    split: &SplitConfig,
    rules: &Rules,
    out: &Path,
    work: &Path,
    progress: &ProgressFn<'_>,
) -> Result<Funnel, DataError> {
    let output = Output::create(split, config.keep_dropped, rules.statistics(), out)?;
    let mut cleaning = Cleaning { config, rules, output, work, progress, outliers: Vec::new() };
    let wanted = GlobalStep::wanted(config);
    let mut sink = cleaning.sink(0, wanted.len())?;
    let (collected, mut steps) = cleaning.first_pass(collected, &mut sink)?;
    for (number, step) in wanted.iter().enumerate() {
        let documents = sink.finish()?;
        sink = cleaning.sink(number + 1, wanted.len())?;
        steps.push(cleaning.global_pass(*step, &documents, &mut sink)?);
        std::fs::remove_file(&documents).map_err(|e| DataError::io("remove", &documents, e))?;
    }
    let (kept, splits) = cleaning.output.finish()?;
    Ok(Funnel { collected, kept, steps, splits, outliers: cleaning.outliers })
}

/// Where a pass puts the documents that it keeps.
enum Sink {
    /// Into the splits: nothing comes after it.
    Output,
    /// Into a table, for the next pass.
    Table(Box<DocumentWriter>, PathBuf),
}

impl Sink {
    fn keep(&mut self, document: &Document, output: &mut Output<'_>) -> Result<(), DataError> {
        match self {
            Self::Output => output.keep(document),
            Self::Table(table, _) => table.write(document),
        }
    }

    /// The table that was written; an empty path after the last pass, which is not asked.
    fn finish(self) -> Result<PathBuf, DataError> {
        match self {
            Self::Output => Ok(PathBuf::new()),
            Self::Table(table, path) => table.finish().map(|()| path),
        }
    }
}

struct Cleaning<'a> {
    config: &'a CleanConfig,
    rules: &'a Rules,
    output: Output<'a>,
    work: &'a Path,
    progress: &'a ProgressFn<'a>,
    outliers: Vec<OutlierThresholds>,
}

impl Cleaning<'_> {
    /// The sink of pass `number` of those from 0 to `last`.
    fn sink(&self, number: usize, last: usize) -> Result<Sink, DataError> {
        if number == last {
            return Ok(Sink::Output);
        }
        let path = self.work.join(format!("pass-{number}.parquet"));
        let table = DocumentWriter::with_statistics(&path, self.rules.statistics())?;
        Ok(Sink::Table(Box::new(table), path))
    }

    fn first_pass(&mut self, collected: &Path, sink: &mut Sink) -> Result<(super::Count, Vec<StepFunnel>), DataError> {
        let mut rows = RowPass::new(self.config, self.rules);
        let mut reader = read_documents(collected)?;
        let meter = reader.meter();
        loop {
            let chunk = next_chunk(&mut reader)?;
            if chunk.is_empty() {
                return Ok(rows.finish());
            }
            for document in rows.take(chunk, &mut self.output)? {
                sink.keep(&document, &mut self.output)?;
            }
            meter.report("clean", self.progress);
        }
    }

    fn global_pass(&mut self, step: GlobalStep, documents: &Path, sink: &mut Sink) -> Result<StepFunnel, DataError> {
        match step {
            GlobalStep::Outliers => {
                let mut outliers = Outliers::find(documents, &self.config.outliers, self.rules)?;
                let tally = self.filter(step.name(), documents, sink, &mut |_, document| outliers.reason(document))?;
                self.outliers = outliers.into_thresholds();
                Ok(tally)
            }
        }
    }

    /// Reads a table and keeps the documents that have no reason against them; a reason is asked of the row's number,
    /// from 0, and the document.
    fn filter(
        &mut self,
        name: &'static str,
        documents: &Path,
        sink: &mut Sink,
        reason: &mut dyn FnMut(u64, &Document) -> Option<Reason>,
    ) -> Result<StepFunnel, DataError> {
        let mut tally = GlobalTally::new(name);
        let mut reader = read_documents(documents)?;
        let meter = reader.meter();
        for row in 0u64.. {
            let Some(document) = reader.next().transpose()? else { break };
            match reason(row, &document) {
                None => {
                    tally.keep(&document);
                    sink.keep(&document, &mut self.output)?;
                }
                Some(reason) => {
                    tally.drop(&document, &reason);
                    self.output.drop(&document, name, reason)?;
                }
            }
            if row.is_multiple_of(4096) {
                meter.report(name, self.progress);
            }
        }
        Ok(tally.finish())
    }
}

/// A step that needs all documents, and its account.
struct GlobalTally {
    name: &'static str,
    tally: Tally,
}

impl GlobalTally {
    fn new(name: &'static str) -> Self {
        Self { name, tally: Tally::default() }
    }

    fn keep(&mut self, document: &Document) {
        self.tally.entered.add(document);
        self.tally.kept.add(document);
    }

    fn drop(&mut self, document: &Document, reason: &Reason) {
        self.tally.entered.add(document);
        self.tally.drop(&reason.code, document);
    }

    fn finish(self) -> StepFunnel {
        self.tally.finish(self.name.into())
    }
}
