//! What changes of a text cost a model: bits per byte of augmented copies beside those of their originals.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use danlu_data::{
    AUGMENTED_FROM_KEY, AugmentConfig, Choose, DataError, Document, DocumentWriter, SourceConfig, Translate, augment,
    read_documents, read_source,
};
use danlu_model::CausalLm;
use danlu_text::Tokenizer;
use serde::Serialize;

use crate::evaluate::{language, with_own_labels};
use crate::{EvalConfig, EvalError, Progress, Scores, evaluate};

/// What one way to change texts does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RobustnessScores {
    /// The step's kind, "rotate".
    pub kind: String,
    /// Its settings.
    pub step: serde_json::Value,
    /// Copies that were made.
    pub copies: u64,
    /// Documents without a copy, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// See [`danlu_data::AugmentCount::mean_edit_ratio`].
    pub mean_edit_ratio: f64,
    /// Of the originals that have a copy; none where no copy was made.
    pub original: Option<Scores>,
    /// Of the copies.
    pub changed: Option<Scores>,
}

impl RobustnessScores {
    /// Kind and unit, which tell steps of one kind apart: "rotate, word".
    pub fn label(&self) -> String {
        match self.step["unit"].as_str() {
            Some(unit) => format!("{}, {unit}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// Bits per byte that the change costs.
    pub fn cost(&self) -> Option<f64> {
        Some(self.changed.as_ref()?.bits_per_byte - self.original.as_ref()?.bits_per_byte)
    }
}

/// What the copies are made with.
#[derive(Clone, Copy)]
pub struct Changes<'a> {
    /// Each step makes its own copies, whatever `choose` says.
    pub config: &'a AugmentConfig,
    /// The folder that its paths start from.
    pub base: &'a Path,
    /// For back-translation.
    pub translate: Option<&'a Translate<'a>>,
}

/// Makes copies of a source's documents by each step of a configuration, and scores them and their originals.
///
/// The copies lie in a temporary folder, which is removed at the end.
///
/// # Errors
/// As [`crate::evaluate_source`] and [`danlu_data::augment`].
pub fn robustness_report(
    model_dir: &Path,
    (source, base): (&SourceConfig, &Path),
    changes: &Changes<'_>,
    device: &Device,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Vec<RobustnessScores>, EvalError> {
    changes.config.check()?;
    let model = danlu_model::load(model_dir, device)?;
    let tokenizer = Tokenizer::from_dir(model_dir)?;
    let folder = tempfile::tempdir().map_err(|source| EvalError::Open { path: std::env::temp_dir(), source })?;
    let originals = folder.path().join("originals.parquet");
    collect(source, base, config.strict, &originals)?;
    let scoring = Scoring { model: &model, tokenizer: &tokenizer, config };
    let steps = changes.config.steps.iter();
    let report = steps.map(|step| {
        let one = AugmentConfig { steps: vec![step.clone()], choose: Choose::Each, ..changes.config.clone() };
        let copies = folder.path().join("copies.parquet");
        let made = augment(&originals, &one, changes.base, changes.translate, &copies, &|_| {})?;
        let kind = step.name().to_owned();
        let count = made.kinds.get(&kind).cloned().unwrap_or_default();
        let (original, changed) = match count.made {
            0 => (None, None),
            _ => scoring.both(&copies, progress).map(|(a, b)| (Some(a), Some(b)))?,
        };
        Ok(RobustnessScores {
            kind,
            step: serde_json::to_value(step).unwrap_or_default(),
            copies: count.made,
            skipped: count.skipped,
            mean_edit_ratio: count.mean_edit_ratio,
            original,
            changed,
        })
    });
    report.collect()
}

/// A source's documents as a table, with their languages.
fn collect(source: &SourceConfig, base: &Path, strict: bool, out: &Path) -> Result<(), EvalError> {
    let mut writer = DocumentWriter::create(out)?;
    let mut documents = 0;
    read_source(source, base, &mut |record| {
        match record {
            Ok(document) => {
                let mut document = with_own_labels(document);
                document.language = language(&document);
                writer.write(&document)?;
                documents += 1;
            }
            Err(problem) if strict => return Err(problem.into()),
            Err(problem) => tracing::warn!("skipped: {problem}"),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    writer.finish()?;
    if documents == 0 { Err(EvalError::NothingToScore { seen: 0 }) } else { Ok(()) }
}

struct Scoring<'a> {
    model: &'a CausalLm,
    tokenizer: &'a Tokenizer,
    config: &'a EvalConfig,
}

impl Scoring<'_> {
    /// Of a table of documents, each followed by its copies: the scores of those that have copies, and of the copies.
    fn both(&self, table: &Path, progress: &mut dyn FnMut(&Progress)) -> Result<(Scores, Scores), EvalError> {
        let from = |document: &Document| document.metadata.get(AUGMENTED_FROM_KEY)?.as_str().map(str::to_owned);
        let mut copied = HashSet::new();
        for document in read_documents(table)? {
            copied.extend(from(&document?));
        }
        let mut score = |wanted: &dyn Fn(&Document) -> bool| {
            let documents = read_documents(table)?.filter(|document| document.as_ref().map_or(true, wanted));
            self.score(documents, progress)
        };
        let original = score(&|document| from(document).is_none() && copied.contains(&document.id))?;
        let changed = score(&|document| from(document).is_some())?;
        Ok((original, changed))
    }

    fn score(
        &self,
        documents: impl Iterator<Item = Result<Document, DataError>>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Scores, EvalError> {
        Ok(evaluate(self.model, self.tokenizer, documents, self.config, progress)?.overall)
    }
}
