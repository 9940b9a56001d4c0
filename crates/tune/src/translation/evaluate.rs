//! What translations are worth on texts that nothing has seen, beside copying the source.

use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::Device;
use danlu_eval::{BleuTokenizer, TranslationScores, Translator, score_translations};
use danlu_model::BeamConfig;
use serde::{Deserialize, Serialize};

use super::{Pair, PairsConfig};
use crate::TuneError;
use crate::stages::write_lines;

/// Each test text with its reference and its translation, a line each.
const TRANSLATIONS_FILE: &str = "translations.jsonl";
/// Translations that are shown.
const SHOWN: usize = 5;

/// Scores on the test split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub model: TranslationScores,
    /// Of each text, the text itself as its translation.
    pub copy: TranslationScores,
    /// Texts that were too long for the model and of which the rest was cut off.
    pub cut: u64,
    /// Translations that came to no end within `translate.max_tokens` or the model's context.
    pub unfinished: u64,
    /// Some of the translations, spread over the split.
    pub samples: Vec<Sample>,
}

/// A text, what a person made of it, and what the model made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub source: String,
    pub reference: String,
    pub translation: String,
}

/// Translates the test split with the model in `folder`, and writes what it said into `work`.
pub(super) fn score(
    folder: &Path,
    test: &[Pair],
    data: &PairsConfig,
    beams: &BeamConfig,
    device: &Device,
    work: &Path,
    seen: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Scores, TuneError> {
    let translator = Translator::load(folder, device)?;
    let sources: Vec<String> = test.iter().map(|pair| pair.source.clone()).collect();
    let Some(said) = translator.translate(&sources, beams, seen)? else {
        return Err(TuneError::Interrupted { detail: "before the test split was translated".to_owned() });
    };
    let translations: Vec<String> = said.iter().map(|said| said.text().to_owned()).collect();
    let references: Vec<Vec<&str>> = test.iter().map(|pair| vec![pair.target.as_str()]).collect();
    let tokenizer = BleuTokenizer::of(&data.target_language);
    let damaged = || TuneError::Damaged { path: folder.to_owned(), reason: "it says nothing".to_owned() };
    let scores = |texts: &[String]| score_translations(texts, &references, tokenizer).ok_or_else(damaged);
    let samples: Vec<Sample> = test
        .iter()
        .zip(&translations)
        .map(|(pair, translation)| Sample {
            source: pair.source.clone(),
            reference: pair.target.clone(),
            translation: translation.clone(),
        })
        .collect();
    write_lines(&samples, &work.join(TRANSLATIONS_FILE))?;
    Ok(Scores {
        model: scores(&translations)?,
        copy: scores(&sources)?,
        cut: said.iter().filter(|said| said.cut > 0).count() as u64,
        unfinished: said.iter().filter(|said| !said.finished()).count() as u64,
        samples: samples.into_iter().step_by(test.len().div_ceil(SHOWN).max(1)).collect(),
    })
}
