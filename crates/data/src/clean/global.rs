//! The passes one after another: the first over the collected documents, then one for each step that needs all of them.

use std::path::{Path, PathBuf};

use danlu_sql::Rules;
use rayon::prelude::*;

use super::funnel::Tally;
use super::outliers::Outliers;
use super::output::Output;
use super::parts::Part;
use super::rows::{ExactPass, RowPass};
use super::{CleanConfig, Count, Funnel, Outcome, OutlierThresholds, Reason, SplitConfig, StepFunnel, rules};
use crate::conversation::Conversation;
use crate::storage::{next_chunk, write_json};
use crate::{
    Contamination, DataError, Decontaminator, DedupConfig, DedupSummary, Document, DocumentWriter, ProgressFn,
    SIGNATURES_FILE, find_duplicates_of, read_documents,
};

/// The file in a clean artifact that lists what of evaluation sets was found, if that was asked for.
pub const CONTAMINATION_FILE: &str = "contamination.json";

/// A step that needs all documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GlobalStep {
    Outliers,
    Duplicates,
    Decontaminate,
}

impl GlobalStep {
    /// Those that a configuration asks for, in order.
    fn wanted(config: &CleanConfig) -> Vec<Self> {
        let outliers = (!config.outliers.is_empty()).then_some(Self::Outliers);
        let duplicates = config.dedup.search().map(|_| Self::Duplicates);
        let decontaminate = config.decontaminate.as_ref().map(|_| Self::Decontaminate);
        outliers.into_iter().chain(duplicates).chain(decontaminate).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Outliers => "outliers",
            Self::Duplicates => "duplicates",
            Self::Decontaminate => "decontaminate",
        }
    }
}

/// What the passes begin with.
#[derive(Clone, Copy)]
pub(super) enum Begin<'a> {
    /// Collected documents.
    Documents(&'a Path),
    /// Documents whose first pass was made in parts.
    Parts(&'a [Part]),
}

impl Begin<'_> {
    /// The sketches of all documents, unless some are to be made yet.
    fn sketches(&self) -> Vec<PathBuf> {
        match self {
            Self::Documents(_) => Vec::new(),
            Self::Parts(parts) => parts.iter().map(Part::sketches).collect::<Option<Vec<_>>>().unwrap_or_default(),
        }
    }
}

/// Where the passes write, and what they may hold.
#[derive(Clone, Copy)]
pub(super) struct Space<'a> {
    pub(super) out: &'a Path,
    /// The folder of what lives only while they work: the documents between two of them.
    pub(super) work: &'a Path,
    /// What the first may hold to find exact duplicates, if nothing else is asked for.
    pub(super) exact_bytes: u64,
}

/// Runs all passes.
pub(super) fn run(
    begin: Begin<'_>,
    config: &CleanConfig,
    split: &SplitConfig,
    rules: &Rules,
    space: Space<'_>,
    progress: &ProgressFn<'_>,
) -> Result<Funnel, DataError> {
    // Read first: a file that is not there should not be found missing after hours of work.
    config.dedup.search().map_or(Ok(()), DedupConfig::check_files)?;
    let sets = config.decontaminate.as_ref().map(|sets| Decontaminator::read(sets, Path::new(""))).transpose()?;
    let output = Output::create(split, config.keep_dropped, rules.statistics(), space.out)?;
    let (sketches, outliers, duplicates) = (begin.sketches(), Vec::new(), None);
    let mut cleaning = Cleaning { config, rules, output, space, progress, outliers, sketches, duplicates, sets };
    let wanted = GlobalStep::wanted(config);
    let mut sink = cleaning.sink(0, wanted.len())?;
    let (collected, mut steps) = match begin {
        Begin::Documents(collected) => cleaning.first_pass(collected, &mut sink)?,
        Begin::Parts(parts) => cleaning.gather(parts, &mut sink)?,
    };
    for (number, step) in wanted.iter().enumerate() {
        let documents = sink.finish()?;
        sink = cleaning.sink(number + 1, wanted.len())?;
        steps.push(cleaning.global_pass(*step, &documents, &mut sink)?);
        std::fs::remove_file(&documents).map_err(|e| DataError::io("remove", &documents, e))?;
    }
    let (kept, splits) = cleaning.output.finish()?;
    Ok(Funnel { collected, kept, steps, splits, outliers: cleaning.outliers, duplicates: cleaning.duplicates })
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
    space: Space<'a>,
    progress: &'a ProgressFn<'a>,
    outliers: Vec<OutlierThresholds>,
    /// What parts have computed for the search for duplicates.
    sketches: Vec<PathBuf>,
    duplicates: Option<DedupSummary>,
    /// The evaluation sets that must not be in the data.
    sets: Option<Decontaminator>,
}

impl Cleaning<'_> {
    /// The sink of pass `number` of those from 0 to `last`.
    fn sink(&self, number: usize, last: usize) -> Result<Sink, DataError> {
        if number == last {
            return Ok(Sink::Output);
        }
        let path = self.space.work.join(format!("pass-{number}.parquet"));
        let table = DocumentWriter::with_statistics(&path, self.rules.statistics())?;
        Ok(Sink::Table(Box::new(table), path))
    }

    fn first_pass(&mut self, collected: &Path, sink: &mut Sink) -> Result<(Count, Vec<StepFunnel>), DataError> {
        let mut rows = RowPass::new(self.config, self.rules, self.exact_pass());
        let mut reader = read_documents(collected)?;
        let meter = reader.meter();
        loop {
            let chunk = next_chunk(&mut reader)?;
            if chunk.is_empty() {
                self.settle(rows.exact.as_mut(), sink)?;
                return Ok(rows.finish());
            }
            for document in rows.take(chunk, &mut self.output.dropped)? {
                sink.keep(&document, &mut self.output)?;
            }
            meter.report("clean", self.progress);
        }
    }

    fn exact_pass(&self) -> Option<ExactPass> {
        ExactPass::wanted(self.config, self.space.exact_bytes, self.space.work)
    }

    /// Keeps or drops the documents that were put off, if any were, and drops once more what was dropped since.
    fn settle(&mut self, exact: Option<&mut ExactPass>, sink: &mut Sink) -> Result<(), DataError> {
        let (Some(exact), Some(path)) = (exact, self.output.dropped.finish_later()?) else { return Ok(()) };
        let Some(copies) = exact.copies()? else { return Ok(()) };
        let mut copies = copies.read()?;
        let mut reader = read_documents(&path)?;
        let meter = reader.meter();
        for number in 0u64.. {
            let Some(row) = reader.next_row() else { break };
            let (document, fate) = row?;
            match fate.filter(|fate| !fate.step.is_empty()) {
                Some(fate) => self.output.dropped.add_again(&document, &fate)?,
                None if copies.next_is_copy()? => exact.drop(&document, &mut self.output.dropped)?,
                None => {
                    exact.keep(&document);
                    sink.keep(&document, &mut self.output)?;
                }
            }
            if number % 4096 == 0 {
                meter.report("duplicates", self.progress);
            }
        }
        std::fs::remove_file(&path).map_err(|e| DataError::io("remove", &path, e))
    }

    /// Puts parts together in their order. Exact duplicates are looked for here, because they may lie in two parts.
    fn gather(&mut self, parts: &[Part], sink: &mut Sink) -> Result<(Count, Vec<StepFunnel>), DataError> {
        let mut exact = self.exact_pass();
        let (mut collected, mut steps) = (Count::default(), Vec::new());
        for part in parts {
            part.summary.add_to(&mut collected, &mut steps);
            part.each_dropped(&mut |document, fate| self.output.dropped.add_again(document, fate))?;
            let mut reader = read_documents(&part.kept())?;
            let meter = reader.meter();
            loop {
                let mut chunk = next_chunk(&mut reader)?;
                if chunk.is_empty() {
                    break;
                }
                if let Some(exact) = &mut exact {
                    chunk = exact.take(chunk, &mut self.output.dropped)?;
                }
                chunk.iter().try_for_each(|document| sink.keep(document, &mut self.output))?;
                meter.report("gather", self.progress);
            }
        }
        self.settle(exact.as_mut(), sink)?;
        steps.extend(exact.map(ExactPass::finish));
        Ok((collected, steps))
    }

    fn global_pass(&mut self, step: GlobalStep, documents: &Path, sink: &mut Sink) -> Result<StepFunnel, DataError> {
        match step {
            GlobalStep::Outliers => self.drop_outliers(step.name(), documents, sink),
            GlobalStep::Duplicates => self.drop_duplicates(step.name(), documents, sink),
            GlobalStep::Decontaminate => self.decontaminate(step.name(), documents, sink),
        }
    }

    fn drop_outliers(
        &mut self,
        name: &'static str,
        documents: &Path,
        sink: &mut Sink,
    ) -> Result<StepFunnel, DataError> {
        let mut outliers = Outliers::find(documents, &self.config.outliers, self.rules)?;
        let tally = self.filter(name, documents, sink, &mut |_, chunk| {
            let decide = |document| match outliers.reason(&document) {
                None => Outcome::Keep(document),
                Some(reason) => Outcome::Drop { document, reason },
            };
            chunk.into_iter().map(decide).collect()
        })?;
        self.outliers = outliers.into_thresholds();
        Ok(tally)
    }

    fn drop_duplicates(
        &mut self,
        name: &'static str,
        documents: &Path,
        sink: &mut Sink,
    ) -> Result<StepFunnel, DataError> {
        let Some(config) = self.config.dedup.search() else { return Ok(StepFunnel::default()) };
        let mut found = find_duplicates_of(documents, &self.sketches, config, self.space.work, self.progress)?;
        let mut summary = std::mem::take(&mut found.summary);
        let cuts_parts = config.cuts_parts();
        let tally = self.filter(name, documents, sink, &mut |first, chunk| {
            let apply = |(row, document): (u64, Document)| {
                let before = (!found.cuts_of(row).is_empty()).then(|| document.id.clone());
                let outcome = found.apply(row, document);
                if let (Some(before), Outcome::Keep(document)) = (before, &outcome) {
                    summary.note_cut(&before, &document.id);
                }
                if let Outcome::Keep(document) = &outcome {
                    summary.left_whole += u64::from(cuts_parts && Conversation::of(document).is_some());
                }
                outcome
            };
            (first..).zip(chunk).map(apply).collect()
        })?;
        if let Some(signatures) = &found.signatures {
            let kept = self.space.out.join(SIGNATURES_FILE);
            std::fs::rename(signatures, &kept).map_err(|e| DataError::io("write", &kept, e))?;
        }
        self.duplicates = Some(summary);
        Ok(tally)
    }

    fn decontaminate(
        &mut self,
        name: &'static str,
        documents: &Path,
        sink: &mut Sink,
    ) -> Result<StepFunnel, DataError> {
        let Some(sets) = self.sets.take() else { return Ok(StepFunnel::default()) };
        let mut found = Contamination { too_short: sets.too_short.clone(), ..Contamination::default() };
        let tally = self.filter(name, documents, sink, &mut |_, chunk| {
            let applied: Vec<_> = chunk.into_par_iter().map(|document| sets.apply(document)).collect();
            let count = |(outcome, hits)| {
                found.count(hits);
                outcome
            };
            applied.into_iter().map(count).collect()
        })?;
        write_json(&self.space.out.join(CONTAMINATION_FILE), &found)?;
        Ok(tally)
    }

    /// Reads a table chunk by chunk and does to each document what `decide` says of it, which is given the number of the
    /// chunk's first row, from 0. A document whose text was changed is measured anew: what was measured of the old one is
    /// no longer true.
    fn filter(
        &mut self,
        name: &'static str,
        documents: &Path,
        sink: &mut Sink,
        decide: &mut dyn FnMut(u64, Vec<Document>) -> Vec<Outcome>,
    ) -> Result<StepFunnel, DataError> {
        let mut tally = GlobalTally::new(name);
        let mut reader = read_documents(documents)?;
        let meter = reader.meter();
        let mut row = 0;
        loop {
            let chunk = next_chunk(&mut reader)?;
            if chunk.is_empty() {
                return Ok(tally.finish());
            }
            let before: Vec<(String, u64)> = chunk.iter().map(|d| (d.id.clone(), d.text.len() as u64)).collect();
            let first = row;
            row += chunk.len() as u64;
            for ((id, bytes), outcome) in before.into_iter().zip(decide(first, chunk)) {
                match outcome {
                    Outcome::Keep(document) => {
                        let changed = document.id != id;
                        let document = if changed { rules::measure(self.rules, document)? } else { document };
                        tally.keep(bytes, &document, changed);
                        sink.keep(&document, &mut self.output)?;
                    }
                    Outcome::Drop { document, reason } => {
                        tally.drop(&document, &reason);
                        self.output.dropped.add(&document, name, reason)?;
                    }
                }
            }
            meter.report(name, self.progress);
        }
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

    /// A document that had so many bytes when it came.
    fn keep(&mut self, bytes: u64, document: &Document, changed: bool) {
        self.tally.entered.grow(1, bytes);
        self.tally.kept.add(document);
        self.tally.changed += u64::from(changed);
    }

    fn drop(&mut self, document: &Document, reason: &Reason) {
        self.tally.entered.add(document);
        self.tally.drop(&reason.code, document);
    }

    fn finish(self) -> StepFunnel {
        self.tally.finish(self.name.into())
    }
}
