use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::funnel::Tally;
use super::{CleanConfig, Count, Funnel, Outcome, Reason, SplitConfig, SplitRow, Step, standard_steps};
use crate::storage::{next_chunk, write_json};
use crate::{DataError, Document, DocumentWriter, ProgressFn, read_documents};

/// The file of dropped documents in a clean artifact.
pub const DROPPED_FILE: &str = "dropped.jsonl.zst";
/// The file of the [`Funnel`] in a clean artifact.
pub const FUNNEL_FILE: &str = "funnel.json";

/// A dropped document as `dropped.jsonl.zst` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DroppedDocument {
    #[serde(flatten)]
    pub document: Document,
    pub step: String,
    pub reason: String,
    pub detail: String,
}

/// Cleans the documents in the file `collected` into `out`: `train.jsonl.zst`, `valid.jsonl.zst`, `test.jsonl.zst`,
/// `dropped.jsonl.zst` (if kept) and `funnel.json`. The same input gives the same files, whatever the number of threads.
///
/// # Errors
/// [`DataError::EmptyCorpus`] when nothing is kept and [`DataError::EmptySplit`] when a wanted split got no document;
/// the files are written all the same, so that the reasons can be looked at.
pub fn clean(
    collected: &Path,
    config: &CleanConfig,
    split: &SplitConfig,
    out: &Path,
    progress: &ProgressFn<'_>,
) -> Result<Funnel, DataError> {
    config.check()?;
    split.check()?;
    let steps = standard_steps(config);
    let mut cleaner = Cleaner::create(&steps, split, config.keep_dropped, out)?;
    let mut reader = read_documents(collected)?;
    let meter = reader.meter();
    loop {
        let chunk = next_chunk(&mut reader)?;
        if chunk.is_empty() {
            break;
        }
        cleaner.clean(chunk)?;
        meter.report("clean", progress);
    }
    let funnel = cleaner.finish(out)?;
    check_result(&funnel, split)?;
    Ok(funnel)
}

fn check_result(funnel: &Funnel, split: &SplitConfig) -> Result<(), DataError> {
    let documents = funnel.kept.documents;
    if documents == 0 {
        let reasons: Vec<String> =
            funnel.reasons().iter().map(|(reason, count)| format!("{reason} {}", count.documents)).collect();
        let explanation = format!("all {} documents were dropped ({})", funnel.collected.documents, reasons.join(", "));
        return Err(DataError::EmptyCorpus { explanation });
    }
    let wanted = [true, split.valid > 0.0, split.test > 0.0];
    for (name, wanted) in SplitConfig::NAMES.into_iter().zip(wanted) {
        if wanted && funnel.split(name).documents == 0 {
            return Err(DataError::EmptySplit { split: name, documents });
        }
    }
    Ok(())
}

struct Cleaner<'a> {
    steps: &'a [Box<dyn Step>],
    split: &'a SplitConfig,
    tallies: Vec<Tally>,
    collected: Count,
    kept: Count,
    /// By split, source and language.
    rows: BTreeMap<(usize, String, String), Count>,
    splits: [DocumentWriter; 3],
    dropped: Option<DocumentWriter>,
}

impl<'a> Cleaner<'a> {
    fn create(
        steps: &'a [Box<dyn Step>],
        split: &'a SplitConfig,
        keep_dropped: bool,
        out: &Path,
    ) -> Result<Self, DataError> {
        let create = |name: &str| DocumentWriter::create(&out.join(format!("{name}.jsonl.zst")));
        let [train, valid, test] = SplitConfig::NAMES;
        Ok(Self {
            steps,
            split,
            tallies: steps.iter().map(|_| Tally::default()).collect(),
            collected: Count::default(),
            kept: Count::default(),
            rows: BTreeMap::new(),
            splits: [create(train)?, create(valid)?, create(test)?],
            dropped: keep_dropped.then(|| DocumentWriter::create(&out.join(DROPPED_FILE))).transpose()?,
        })
    }

    /// Takes a chunk through every step, then writes what is left.
    fn clean(&mut self, mut chunk: Vec<Document>) -> Result<(), DataError> {
        chunk.iter().for_each(|document| self.collected.add(document));
        let steps = self.steps;
        for (index, step) in steps.iter().enumerate() {
            chunk = self.apply(index, step.as_ref(), chunk)?;
        }
        for document in chunk {
            let split = self.split.of(&document);
            self.kept.add(&document);
            self.rows.entry((split, document.source.clone(), document.language.clone())).or_default().add(&document);
            self.splits[split].write(&document)?;
        }
        Ok(())
    }

    fn apply(&mut self, index: usize, step: &dyn Step, chunk: Vec<Document>) -> Result<Vec<Document>, DataError> {
        let tally = &mut self.tallies[index];
        chunk.iter().for_each(|document| tally.entered.add(document));
        let one = |document: Document| {
            let before = document.id.clone();
            (before, step.apply(document))
        };
        let outcomes: Vec<(String, Outcome)> = if step.in_order() {
            chunk.into_iter().map(one).collect()
        } else {
            chunk.into_par_iter().map(one).collect()
        };
        let mut kept = Vec::with_capacity(outcomes.len());
        for (before, outcome) in outcomes {
            match outcome {
                Outcome::Keep(document) => {
                    tally.kept.add(&document);
                    tally.changed += u64::from(document.id != before);
                    kept.push(document);
                }
                Outcome::Drop { document, reason: Reason { code, detail } } => {
                    tally.drop(&code, &document);
                    if let Some(dropped) = &mut self.dropped {
                        let (step, reason) = (step.name().into(), code.into_owned());
                        dropped.write_record(&DroppedDocument { document, step, reason, detail })?;
                    }
                }
            }
        }
        Ok(kept)
    }

    fn finish(self, out: &Path) -> Result<Funnel, DataError> {
        self.splits.into_iter().chain(self.dropped).try_for_each(DocumentWriter::finish)?;
        let steps = self.steps.iter().zip(self.tallies).map(|(step, tally)| tally.finish(step.name().into())).collect();
        let row = |((split, source, language), count): ((usize, String, String), Count)| SplitRow {
            split: SplitConfig::NAMES[split].into(),
            source,
            language,
            count,
        };
        let splits = self.rows.into_iter().map(row).collect();
        let funnel = Funnel { collected: self.collected, kept: self.kept, steps, splits };
        write_json(&out.join(FUNNEL_FILE), &funnel)?;
        Ok(funnel)
    }
}
