//! The rules of a configuration, compiled.

use std::path::Path;
use std::sync::Arc;

use danlu_sql::{Functions, Judged, Row, Rule, Rules, Scorer};
use danlu_text::{Analysis, LinearClassifier, NgramModel, WordList};

use super::presets::expand;
use super::{CleanConfig, ModelsConfig, Outcome, Reason, StatisticsKept};
use crate::{DataError, Document};

/// Compiles the rules of presets and recipe, and the statistics that outliers are found by.
pub(super) fn compile(config: &CleanConfig) -> Result<Rules, DataError> {
    compile_with(config, &sql_functions(&config.models)?)
}

/// Compiles without opening a model.
pub(super) fn check(config: &CleanConfig) -> Result<(), DataError> {
    let unknown = || -> Scorer { Arc::new(|_: &Analysis<'_>| None) };
    let mut functions = Functions::default();
    if config.models.perplexity.is_some() {
        functions = functions.with_perplexity(unknown());
    }
    if config.models.quality.is_some() {
        functions = functions.with_quality(unknown());
    }
    compile_with(config, &functions).map(drop)
}

fn compile_with(config: &CleanConfig, functions: &Functions) -> Result<Rules, DataError> {
    let rules = expand(&config.preset, &config.rules)?;
    let rules: Vec<Rule<'_>> = rules.iter().map(|rule| Rule { name: &rule.name, drop_if: &rule.drop_if }).collect();
    let statistics: Vec<&str> = config.outliers.iter().map(|outlier| outlier.statistic.as_str()).collect();
    Ok(Rules::compile(&rules, &statistics, functions)?)
}

/// The functions that rules may call, and queries over the documents, with these models and this list among them.
///
/// # Errors
/// A file that cannot be read, or that is not what it should be.
pub fn sql_functions(models: &ModelsConfig) -> Result<Functions, DataError> {
    let mut functions = Functions::default();
    if let Some(path) = &models.perplexity {
        let model = NgramModel::load(path)?;
        let score = move |analysis: &Analysis<'_>| Some(model.perplexity(analysis));
        functions = functions.with_perplexity(Arc::new(score));
    }
    if let Some(path) = &models.quality {
        let model = LinearClassifier::load(path)?;
        functions = functions.with_quality(Arc::new(move |analysis: &Analysis<'_>| Some(model.score(analysis))));
    }
    if let Some(path) = &models.toxicity {
        let words = word_list(path)?;
        functions =
            functions.with_toxicity(Arc::new(move |analysis: &Analysis<'_>| Some(words.count(analysis) as f64)));
    }
    Ok(functions)
}

/// A list that says nothing would count nothing in every text, which nobody means.
fn word_list(path: &Path) -> Result<WordList, DataError> {
    let words = WordList::load(path)?;
    if words.is_empty() {
        let message = format!("there is no word in {}", path.display());
        return Err(DataError::BadConfig { key: "clean.models.toxicity", message });
    }
    Ok(words)
}

/// What the rules say of documents: for each the statistics that were measured, and whether one drops it.
pub(super) fn judge(
    rules: &Rules,
    documents: Vec<Document>,
    kept: StatisticsKept,
) -> Result<Vec<(Outcome, Option<usize>)>, DataError> {
    let rows: Vec<Row<'_>> = documents.iter().map(row).collect();
    let judged = rules.judge(&rows, kept == StatisticsKept::All)?;
    let outcome = |(mut document, judged): (Document, Judged)| {
        let measured = rules.statistics().iter().zip(judged.statistics);
        document.statistics = measured.filter_map(|(name, value)| Some((name.clone(), value?))).collect();
        match judged.dropped {
            None => (Outcome::Keep(document), None),
            Some((rule, detail)) => {
                let reason = Reason::new(rules.name(rule).to_owned(), detail);
                (Outcome::Drop { document, reason }, Some(rule))
            }
        }
    };
    Ok(documents.into_iter().zip(judged).map(outcome).collect())
}

/// Measures a document's text anew.
pub(super) fn measure(rules: &Rules, document: Document) -> Result<Document, DataError> {
    if rules.statistics().is_empty() {
        return Ok(document);
    }
    let mut document = document;
    let judged = rules.judge(&[row(&document)], true)?;
    let values = judged.into_iter().flat_map(|judged| judged.statistics);
    document.statistics =
        rules.statistics().iter().zip(values).filter_map(|(name, value)| Some((name.clone(), value?))).collect();
    Ok(document)
}

fn row(document: &Document) -> Row<'_> {
    Row {
        id: &document.id,
        text: &document.text,
        source: &document.source,
        language: &document.language,
        metadata: &document.metadata,
    }
}
