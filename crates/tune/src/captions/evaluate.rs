//! What captions are worth on pictures that nothing has seen, beside those of another picture and of the nearest known one.

use std::ops::ControlFlow;
use std::path::Path;

use burn::prelude::Device;
use danlu_eval::{BleuTokenizer, Captioner, bits_per_byte, score_translations};
use danlu_model::{BeamConfig, FinishReason, Pixels};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CaptionField, Captioned, Pictures};
use crate::TuneError;
use crate::stages::write_lines;

/// Each caption of a test picture with its reference, a line each.
const CAPTIONS_FILE: &str = "captions.jsonl";
/// Captions of each language that are shown.
const SHOWN: usize = 6;
/// Training pictures that are in memory at once.
const PART: usize = 256;

/// Scores on the test split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub languages: Vec<LanguageScores>,
    /// Captions that came to no end within `caption.max_tokens` or the model's context.
    pub unfinished: u64,
    /// Some of the captions, spread over the split.
    pub samples: Vec<Sample>,
}

/// Scores of captions in one language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanguageScores {
    pub language: String,
    pub pictures: u64,
    /// Bits that the model needs for a byte of the right caption.
    pub bits_per_byte: f64,
    /// The same where the model is shown another picture.
    pub bits_per_byte_of_another: f64,
    pub model: CaptionScores,
    /// Of each picture, what the model says of another picture of the split.
    pub another_picture: CaptionScores,
    /// Of each picture, the caption of the training picture that is nearest to it in the sum of squared differences of pixels.
    pub nearest_picture: CaptionScores,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptionScores {
    /// F-score of n-grams of characters, from 0 to 100.
    pub chrf: f64,
    /// Share of captions that are the right one, letter for letter.
    pub exact: f64,
}

/// A picture, what people call it, and what the model calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub picture: String,
    pub language: String,
    pub reference: String,
    pub caption: String,
    /// That of the nearest training picture.
    pub nearest: String,
}

/// Captions the test split with the model in `folder`, and writes what it said into `work`.
pub(super) fn score(
    folder: &Path,
    pictures: &Pictures,
    fields: &[CaptionField],
    beams: &BeamConfig,
    device: &Device,
    work: &Path,
    seen: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Scores, TuneError> {
    let captioner = Captioner::load(folder, device)?;
    let read = |captioned: &Captioned| captioner.read(&captioned.path);
    let pixels: Vec<Pixels> = pictures.test.par_iter().map(read).collect::<Result<_, _>>()?;
    let (mut scores, mut all) = (Scores { languages: Vec::new(), unfinished: 0, samples: Vec::new() }, Vec::new());
    let mut done = 0;
    for (column, field) in fields.iter().enumerate() {
        let language = Language { captioner: &captioner, field, column, pictures, pixels: &pixels };
        let mut seen = |now: usize| seen(done + now);
        let Some(Told { figures, samples, unfinished }) = language.score(beams, &mut seen)? else {
            return Err(TuneError::Interrupted { detail: "before the test split was captioned".to_owned() });
        };
        done += samples.len();
        scores.languages.extend(figures);
        scores.unfinished += unfinished;
        let step = samples.len().div_ceil(SHOWN).max(1);
        scores.samples.extend(samples.iter().step_by(step).cloned());
        all.extend(samples);
    }
    write_lines(&all, &work.join(CAPTIONS_FILE))?;
    Ok(scores)
}

/// What comes of one language.
struct Told {
    /// None where no test picture has a caption.
    figures: Option<LanguageScores>,
    /// All captions.
    samples: Vec<Sample>,
    unfinished: u64,
}

/// Captions of one language.
struct Language<'a> {
    captioner: &'a Captioner,
    field: &'a CaptionField,
    column: usize,
    pictures: &'a Pictures,
    /// Of the test split.
    pixels: &'a [Pixels],
}

impl Language<'_> {
    /// None if `seen` broke off.
    fn score(
        &self,
        beams: &BeamConfig,
        seen: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Told>, TuneError> {
        let test = &self.pictures.test;
        let (at, references): (Vec<usize>, Vec<&str>) =
            test.iter().enumerate().filter_map(|(at, of)| Some((at, self.caption(of)?))).unzip();
        if at.is_empty() {
            return Ok(Some(Told { figures: None, samples: Vec::new(), unfinished: 0 }));
        }
        let own: Vec<&Pixels> = at.iter().map(|at| &self.pixels[*at]).collect();
        let shown: Vec<Pixels> = own.iter().map(|&pixels| pixels.clone()).collect();
        let Some(said) = self.captioner.caption(&shown, &self.field.prompt, beams, seen)? else { return Ok(None) };
        let best = said.iter().map(|hypotheses| hypotheses.first());
        let unfinished = best.clone().flatten().filter(|best| best.finish != FinishReason::Stop).count() as u64;
        let captions: Vec<&str> = best.map(|best| best.map_or("", |best| &best.text)).collect();
        let nearest = self.nearest(&own)?;
        // Half the split away, where what pictures show has nothing to do with it.
        let another: Vec<usize> = (0..at.len()).map(|i| (i + at.len().div_ceil(2)) % at.len()).collect();
        let others: Vec<&Pixels> = another.iter().map(|i| own[*i]).collect();
        let bytes: u64 = references.iter().map(|text| text.len() as u64).sum();
        let bits = |pixels: &[&Pixels]| -> Result<f64, TuneError> {
            Ok(bits_per_byte(self.captioner.cost(pixels, &self.field.prompt, &references)?, bytes))
        };
        let scores = LanguageScores {
            language: self.field.language.clone(),
            pictures: at.len() as u64,
            bits_per_byte: bits(&own)?,
            bits_per_byte_of_another: bits(&others)?,
            model: caption_scores(&captions, &references),
            another_picture: caption_scores(&another.iter().map(|i| captions[*i]).collect::<Vec<_>>(), &references),
            nearest_picture: caption_scores(&nearest, &references),
        };
        let sample = |(i, at): (usize, &usize)| Sample {
            picture: test[*at].name.clone(),
            language: self.field.language.clone(),
            reference: references[i].to_owned(),
            caption: captions[i].to_owned(),
            nearest: nearest[i].to_owned(),
        };
        let samples = at.iter().enumerate().map(sample).collect();
        Ok(Some(Told { figures: Some(scores), samples, unfinished }))
    }

    fn caption<'c>(&self, of: &'c Captioned) -> Option<&'c str> {
        of.captions.get(self.column)?.as_deref()
    }

    /// The captions of the nearest training pictures.
    fn nearest(&self, pictures: &[&Pixels]) -> Result<Vec<&str>, TuneError> {
        let known: Vec<(&Captioned, &str)> =
            self.pictures.train.iter().filter_map(|of| Some((of, self.caption(of)?))).collect();
        let mut best: Vec<(f64, &str)> = vec![(f64::INFINITY, ""); pictures.len()];
        for part in known.chunks(PART) {
            let read = part.par_iter().map(|(of, _)| self.captioner.read(&of.path));
            let pixels: Vec<Pixels> = read.collect::<Result<_, _>>()?;
            best.par_iter_mut().zip(pictures).for_each(|(best, picture)| {
                for (other, (_, caption)) in pixels.iter().zip(part) {
                    let apart = squares(&picture.values, &other.values);
                    if apart < best.0 {
                        *best = (apart, *caption);
                    }
                }
            });
        }
        Ok(best.into_iter().map(|(_, caption)| caption).collect())
    }
}

fn squares(a: &[f32], b: &[f32]) -> f64 {
    let of_part = |(a, b): (&[f32], &[f32])| f64::from(a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>());
    a.chunks(256).zip(b.chunks(256)).map(of_part).sum()
}

fn caption_scores(captions: &[&str], references: &[&str]) -> CaptionScores {
    let each: Vec<Vec<&str>> = references.iter().map(|reference| vec![*reference]).collect();
    // Of words chrF knows nothing.
    let chrf = score_translations(captions, &each, BleuTokenizer::Char).map_or(0.0, |scores| scores.chrf);
    let right = captions.iter().zip(references).filter(|(caption, reference)| caption == reference).count();
    CaptionScores { chrf, exact: right as f64 / references.len().max(1) as f64 }
}
