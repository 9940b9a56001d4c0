//! The first pass: everything that looks at one document by itself, and the first of exact duplicates.

use std::path::{Path, PathBuf};

use danlu_sql::Rules;
use rayon::prelude::*;

use super::funnel::Tally;
use super::output::Dropped;
use super::steps::{Duplicates, Seen, steps};
use super::{CleanConfig, Count, Dedup, Outcome, StatisticsKept, Step, StepFunnel, rules};
use crate::dedup::{Copies, LaterCopies};
use crate::{DataError, Document};

/// The steps of the first pass and their accounts.
pub(super) struct RowPass<'a> {
    steps: Vec<Box<dyn Step>>,
    rules: &'a Rules,
    statistics: StatisticsKept,
    pub(super) exact: Option<ExactPass>,
    collected: Count,
    step_tallies: Vec<Tally>,
    rule_tallies: Vec<Tally>,
}

/// What the table of hashes and the sorting of what it does not hold may take: 29 million documents fit into the table.
pub(super) const EXACT_BYTES: u64 = 1 << 30;

/// Of documents with the same text the first is kept.
///
/// Once the table of hashes is full, documents that it does not know are put off: with all that is dropped from there on
/// they go to a table, in their order, and when the last has come it is known which of them are copies
/// ([`copies`](Self::copies)). So they are kept and dropped in the order in which an endless table would have done it.
pub(super) struct ExactPass {
    duplicates: Duplicates,
    tally: Tally,
    later: Option<LaterCopies>,
    bytes: u64,
    work: PathBuf,
}

impl ExactPass {
    /// If nothing but exact duplicates is asked for: other searches find these, too.
    /// It may hold `bytes`, and has the folder `work` for what is more.
    pub(super) fn wanted(config: &CleanConfig, bytes: u64, work: &Path) -> Option<Self> {
        (config.dedup == Dedup::Exact(true)).then(|| Self {
            duplicates: Duplicates::new(bytes),
            tally: Tally::default(),
            later: None,
            bytes,
            work: work.into(),
        })
    }

    pub(super) fn take(&mut self, documents: Vec<Document>, out: &mut Dropped) -> Result<Vec<Document>, DataError> {
        let mut left = Vec::with_capacity(documents.len());
        for document in documents {
            self.tally.entered.add(&document);
            match self.duplicates.see(&document) {
                Seen::First => {
                    self.keep(&document);
                    left.push(document);
                }
                Seen::Again => self.drop(&document, out)?,
                Seen::Unknown => self.put_off(&document, out)?,
            }
        }
        Ok(left)
    }

    pub(super) fn keep(&mut self, document: &Document) {
        self.tally.kept.add(document);
    }

    pub(super) fn drop(&mut self, document: &Document, out: &mut Dropped) -> Result<(), DataError> {
        let reason = Duplicates::reason();
        self.tally.drop(&reason.code, document);
        out.add(document, Duplicates::NAME, reason)
    }

    fn put_off(&mut self, document: &Document, out: &mut Dropped) -> Result<(), DataError> {
        let later = match &mut self.later {
            Some(later) => later,
            none => none.insert(LaterCopies::new(self.bytes / 8, &self.work)?),
        };
        later.push(document.id_number())?;
        out.put_off(document, &self.work)
    }

    /// Which of the documents that were put off are copies, when the last has come.
    pub(super) fn copies(&mut self) -> Result<Option<Copies>, DataError> {
        self.duplicates = Duplicates::new(self.bytes); // the table is done with
        self.later.take().map(LaterCopies::finish).transpose()
    }

    pub(super) fn finish(self) -> StepFunnel {
        self.tally.finish(Duplicates::NAME.into())
    }
}

/// What the steps made of one document.
struct Passed {
    outcome: Outcome,
    /// The step that dropped it; the number of steps when none did.
    end: usize,
    /// Bytes of the text after each step that it got through, with whether the step changed it.
    after: Vec<(u64, bool)>,
    /// Bytes before the first.
    before: u64,
}

impl<'a> RowPass<'a> {
    pub(super) fn new(config: &CleanConfig, rules: &'a Rules, exact: Option<ExactPass>) -> Self {
        let steps = steps(config);
        let step_tallies = steps.iter().map(|_| Tally::default()).collect();
        let rule_tallies = (0..rules.len()).map(|_| Tally::default()).collect();
        Self {
            steps,
            rules,
            statistics: config.statistics,
            exact,
            collected: Count::default(),
            step_tallies,
            rule_tallies,
        }
    }

    /// Takes a chunk of documents through all steps. What is dropped goes to `out`; what is kept comes back, in order.
    pub(super) fn take(&mut self, chunk: Vec<Document>, out: &mut Dropped) -> Result<Vec<Document>, DataError> {
        chunk.iter().for_each(|document| self.collected.add(document));
        let passed: Vec<Passed> = chunk.into_par_iter().map(|document| pass(&self.steps, document)).collect();
        let mut left = Vec::with_capacity(passed.len());
        for passed in passed {
            self.count(&passed);
            match passed.outcome {
                Outcome::Keep(document) => left.push(document),
                Outcome::Drop { document, reason } => {
                    let step = self.steps[passed.end].name();
                    self.step_tallies[passed.end].drop(&reason.code, &document);
                    out.add(&document, step, reason)?;
                }
            }
        }
        let left = self.ask_rules(left, out)?;
        match &mut self.exact {
            Some(exact) => exact.take(left, out),
            None => Ok(left),
        }
    }

    fn count(&mut self, passed: &Passed) {
        let mut bytes = passed.before;
        for (index, tally) in self.step_tallies.iter_mut().enumerate().take(passed.end + 1) {
            tally.entered.grow(1, bytes);
            if let Some(&(after, changed)) = passed.after.get(index) {
                tally.kept.grow(1, after);
                tally.changed += u64::from(changed);
                bytes = after;
            }
        }
    }

    fn ask_rules(&mut self, documents: Vec<Document>, out: &mut Dropped) -> Result<Vec<Document>, DataError> {
        if self.rules.is_empty() && self.rules.statistics().is_empty() {
            return Ok(documents);
        }
        let mut left = Vec::with_capacity(documents.len());
        for (outcome, rule) in rules::judge(self.rules, documents, self.statistics)? {
            let (Outcome::Keep(document) | Outcome::Drop { document, .. }) = &outcome;
            let last = rule.unwrap_or(self.rules.len());
            for (index, tally) in self.rule_tallies.iter_mut().enumerate().take(last + 1) {
                tally.entered.add(document);
                if index < last {
                    tally.kept.add(document);
                }
            }
            match outcome {
                Outcome::Keep(document) => left.push(document),
                Outcome::Drop { document, reason } => {
                    self.rule_tallies[last].drop(&reason.code, &document);
                    out.add(&document, self.rules.name(last), reason)?;
                }
            }
        }
        Ok(left)
    }

    /// What was collected, and what each step did.
    pub(super) fn finish(self) -> (Count, Vec<StepFunnel>) {
        let rules = self.rules;
        let steps = self.steps.iter().zip(self.step_tallies).map(|(step, tally)| tally.finish(step.name().into()));
        let asked = self.rule_tallies.into_iter().enumerate();
        let asked = asked.map(|(rule, tally)| tally.finish(rules.name(rule).into()));
        let last = self.exact.map(ExactPass::finish);
        (self.collected, steps.chain(asked).chain(last).collect())
    }
}

/// Takes one document through the steps.
fn pass(steps: &[Box<dyn Step>], document: Document) -> Passed {
    let before = document.text.len() as u64;
    let mut after = Vec::with_capacity(steps.len());
    let mut document = document;
    document.statistics.clear(); // of another run; what is measured here is measured of the repaired text
    for (end, step) in steps.iter().enumerate() {
        let id = document.id.clone();
        match step.apply(document) {
            Outcome::Keep(kept) => {
                after.push((kept.text.len() as u64, kept.id != id));
                document = kept;
            }
            outcome => return Passed { outcome, end, after, before },
        }
    }
    Passed { outcome: Outcome::Keep(document), end: steps.len(), after, before }
}
