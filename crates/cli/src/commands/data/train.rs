//! `danlu data train perplexity` and `danlu data train quality`.

use std::ops::ControlFlow;
use std::path::Path;

use danlu_data::SourceConfig;
use danlu_text::{ClassifierConfig, Example, LinearClassifier, NgramConfig, NgramModel};

use crate::args::DataTrainCommand;
use crate::output::{count, line, note};

/// The label of good text in a classifier of quality.
const GOOD: &str = "good";

pub fn train(command: &DataTrainCommand) -> anyhow::Result<()> {
    match command {
        DataTrainCommand::Perplexity { data, text_field, order, out } => {
            let texts = texts(data, text_field)?;
            let model = NgramModel::train(&texts, &NgramConfig { order: *order, ..NgramConfig::default() })?;
            model.save(out)?;
            if model.texts() < texts.len() as u64 {
                note(&format!(
                    "the table was full after {} of {} texts",
                    count(model.texts()),
                    count(texts.len() as u64)
                ));
            }
            line(&format!(
                "{} n-grams of {} texts in {}",
                count(model.ngrams() as u64),
                count(model.texts()),
                out.display()
            ));
        }
        DataTrainCommand::Quality { good, other, text_field, out } => {
            let (good, other) = (texts(good, text_field)?, texts(other, text_field)?);
            let labelled = |texts: &'_ [String], label: &'static str| {
                texts.iter().map(|text| (text.clone(), label)).collect::<Vec<(String, &'static str)>>()
            };
            let all = [labelled(&good, GOOD), labelled(&other, "other")].concat();
            let examples: Vec<Example<'_>> = all.iter().map(|(text, label)| Example { text, label }).collect();
            LinearClassifier::train(&examples, GOOD, &ClassifierConfig::default())?.save(out)?;
            let (good, other) = (count(good.len() as u64), count(other.len() as u64));
            line(&format!("learnt from {good} good and {other} other texts: {}", out.display()));
        }
    }
    Ok(())
}

/// The texts of the files that a pattern names.
fn texts(pattern: &str, text_field: &str) -> anyhow::Result<Vec<String>> {
    let source = SourceConfig {
        name: pattern.into(),
        path: pattern.into(),
        text_field: text_field.into(),
        ..SourceConfig::default()
    };
    let mut texts = Vec::new();
    danlu_data::read_source(&source, Path::new(""), &mut |record| {
        match record {
            Ok(document) => texts.push(document.text),
            Err(problem) => note(&format!("skipped: {problem}")),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(texts)
}
