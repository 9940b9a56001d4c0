//! `danlu data train perplexity` and `danlu data train quality`.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc;

use danlu_data::SourceConfig;
use danlu_text::{ClassifierConfig, Example, LinearClassifier, NgramConfig, NgramModel};

use crate::args::DataTrainCommand;
use crate::output::{count, line, note};

/// The label of good text in a classifier of quality.
const GOOD: &str = "good";
/// Texts that are read before the model has counted them.
const TEXTS_AHEAD: usize = 64;

pub fn train(command: &DataTrainCommand) -> anyhow::Result<()> {
    match command {
        DataTrainCommand::Perplexity { data, text_field, order, out } => perplexity(data, text_field, *order, out),
        DataTrainCommand::Quality { good, other, text_field, out } => quality(good, other, text_field, out),
    }
}

/// Texts go by one at a time: what the model takes, `NgramConfig` bounds.
fn perplexity(data: &str, text_field: &str, order: usize, out: &Path) -> anyhow::Result<()> {
    let config = NgramConfig { order, ..NgramConfig::default() };
    let (texts, incoming) = mpsc::sync_channel(TEXTS_AHEAD);
    let (model, more) = std::thread::scope(|scope| -> anyhow::Result<(NgramModel, bool)> {
        let trained = scope.spawn(move || NgramModel::train(incoming, &config));
        let mut more = false;
        let read = for_texts(data, text_field, &mut |text| {
            // The model is full, or there is none: its error says so.
            more = texts.send(text).is_err();
            if more { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        drop(texts);
        let model = trained.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        read?;
        Ok((model?, more))
    })?;
    model.save(out)?;
    if more {
        note(&format!("the table was full after {} texts; the others were not read", count(model.texts())));
    }
    let (ngrams, texts) = (count(model.ngrams() as u64), count(model.texts()));
    line(&format!("{ngrams} n-grams of {texts} texts in {}", out.display()));
    Ok(())
}

/// Holds the texts of both kinds: they are gone through in random order, several times.
fn quality(good: &str, other: &str, text_field: &str, out: &Path) -> anyhow::Result<()> {
    let (good, other) = (texts(good, text_field)?, texts(other, text_field)?);
    let examples = [labelled(&good, GOOD), labelled(&other, "other")].concat();
    LinearClassifier::train(&examples, GOOD, &ClassifierConfig::default())?.save(out)?;
    let (good, other) = (count(good.len() as u64), count(other.len() as u64));
    line(&format!("learnt from {good} good and {other} other texts: {}", out.display()));
    Ok(())
}

fn labelled<'a>(texts: &'a [String], label: &'a str) -> Vec<Example<'a>> {
    texts.iter().map(|text| Example { text, label }).collect()
}

fn texts(pattern: &str, text_field: &str) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for_texts(pattern, text_field, &mut |text| {
        texts.push(text);
        ControlFlow::Continue(())
    })?;
    Ok(texts)
}

/// Gives the texts of the files that a pattern names, one by one.
fn for_texts(pattern: &str, text_field: &str, each: &mut dyn FnMut(String) -> ControlFlow<()>) -> anyhow::Result<()> {
    let source = SourceConfig {
        name: pattern.into(),
        path: pattern.into(),
        text_field: text_field.into(),
        ..SourceConfig::default()
    };
    danlu_data::read_source(&source, Path::new(""), &mut |record| match record {
        Ok(document) => Ok(each(document.text)),
        Err(problem) => {
            note(&format!("skipped: {problem}"));
            Ok(ControlFlow::Continue(()))
        }
    })?;
    Ok(())
}
