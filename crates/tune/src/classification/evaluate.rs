//! What a classifier is worth on examples that nothing has seen, beside a bag of words.

use std::path::Path;

use burn::prelude::Device;
use danlu_eval::{ClassificationScores, EncoderRun, EncoderRunConfig, Prediction, score_classes};
use danlu_text::{Analysis, ClassifierConfig, LinearClassifier};
use serde::{Deserialize, Serialize};

use super::{Example, Examples};
use crate::TuneError;

/// Scores on the test split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub model: ClassificationScores,
    pub baseline: Baseline,
    /// Test examples of which tokens were cut off.
    pub cut: u64,
}

/// What needs no network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// A linear classifier over words and pairs of words, trained on the same examples.
    pub bag_of_words: ClassificationScores,
    /// Accuracy of always saying the most frequent label.
    pub majority: f64,
}

/// Asks the model in `folder` and the bag of words about the test split.
///
/// # Errors
/// Those of the folder and of the classifier's settings.
pub(crate) fn score(
    folder: &Path,
    examples: &Examples,
    seq_len: usize,
    baseline: &ClassifierConfig,
    device: &Device,
) -> Result<Scores, TuneError> {
    let run = EncoderRun::load(folder, device, &EncoderRunConfig { max_len: Some(seq_len), ..Default::default() })?;
    let texts: Vec<String> = examples.test.iter().map(|example| example.text.clone()).collect();
    let (predictions, rows) = run.classify(&texts)?;
    let guesses: Vec<usize> = predictions.iter().map(class).collect();
    let cut = rows.cut.iter().filter(|cut| **cut > 0).count() as u64;
    let truth: Vec<usize> = examples.test.iter().map(|example| example.label).collect();
    let scores = |guesses: &[usize]| {
        score_classes(&examples.labels, &truth, guesses).ok_or_else(|| TuneError::Damaged {
            path: folder.to_owned(),
            reason: "its labels are not those of the examples".to_owned(),
        })
    };
    let bag_of_words = scores(&bag_of_words(examples, baseline)?)?;
    let most = (0..examples.labels.len()).map(|label| truth.iter().filter(|t| **t == label).count()).max();
    let majority = most.unwrap_or(0) as f64 / truth.len().max(1) as f64;
    Ok(Scores { model: scores(&guesses)?, baseline: Baseline { bag_of_words, majority }, cut })
}

/// A number that is no label's where the model is no classifier of one label.
fn class(prediction: &Prediction) -> usize {
    match prediction {
        Prediction::Class { class, .. } => *class,
        Prediction::Labels { .. } | Prediction::Values(_) => usize::MAX,
    }
}

fn bag_of_words(examples: &Examples, config: &ClassifierConfig) -> Result<Vec<usize>, TuneError> {
    let named = |example: &Example| examples.labels[example.label].as_str();
    let train: Vec<danlu_text::Example<'_>> =
        examples.train.iter().map(|e| danlu_text::Example { text: &e.text, label: named(e) }).collect();
    // The label to score by plays no part in predictions, but it must be one that the training split has.
    let classifier = LinearClassifier::train(&train, train[0].label, config)?;
    let guess = |example: &Example| {
        let analysis = Analysis::new(&example.text);
        let (label, _) = classifier.predict(&analysis);
        examples.labels.iter().position(|known| known == label).unwrap_or(usize::MAX)
    };
    Ok(examples.test.iter().map(guess).collect())
}
