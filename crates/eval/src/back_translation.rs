//! A text in other words: translated into another language and back (Sennrich et al. 2016), sentence by sentence.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Device;
use danlu_data::{SENTENCE, TranslatorModel};
use danlu_model::BeamConfig;
use danlu_text::sentences;

use crate::told::Told;
use crate::{EvalError, Translated, Translator};

/// Two translators that undo each other.
#[derive(Debug)]
pub struct BackTranslator {
    there: Way,
    back: Way,
    beams: BeamConfig,
}

/// A translator of sentences.
#[derive(Debug)]
enum Way {
    EncoderDecoder(Box<Translator>),
    /// A chat model, and what it is told.
    Told(Arc<Told>, String),
}

impl BackTranslator {
    /// Reads the model that translates into another language, and the one that translates back.
    ///
    /// # Errors
    /// As [`Translator::load`], and of a chat model a folder without a chat template; settings of the search that cannot be.
    pub fn load(
        there: &TranslatorModel,
        back: &TranslatorModel,
        beams: BeamConfig,
        device: &Device,
    ) -> Result<Self, EvalError> {
        beams.validate()?;
        let first = Way::load(there, device)?;
        let second = match (&first, back) {
            // One model that does both.
            (Way::Told(model, _), TranslatorModel::Told(told)) if there.folder() == back.folder() => {
                Way::Told(Arc::clone(model), told.prompt.clone())
            }
            _ => Way::load(back, device)?,
        };
        Ok(Self { there: first, back: second, beams })
    }

    /// The text after both translations. White space around sentences stays. A sentence that is too long for a model, or whose
    /// translation does not come to its end or is empty, stays as it was.
    ///
    /// # Errors
    /// What tokenizer, model and device report.
    pub fn paraphrase(&self, text: &str) -> Result<String, EvalError> {
        let pieces = sentences(text);
        let contents: Vec<String> = pieces.iter().map(|piece| piece.trim().to_owned()).collect();
        let said: Vec<usize> = (0..pieces.len()).filter(|at| !contents[*at].is_empty()).collect();
        let there = self.there.translated(said.iter().map(|at| contents[*at].clone()).collect(), &self.beams)?;
        let crossed: Vec<(usize, String)> =
            said.into_iter().zip(there).filter_map(|(at, text)| Some((at, text?))).collect();
        let back = self.back.translated(crossed.iter().map(|(_, text)| text.clone()).collect(), &self.beams)?;
        let mut changed = contents.clone();
        for ((at, _), text) in crossed.into_iter().zip(back) {
            changed[at] = text.unwrap_or_else(|| contents[at].clone());
        }
        let around = |(piece, changed): (&&str, &String)| {
            let begin = piece.len() - piece.trim_start().len();
            format!("{}{changed}{}", &piece[..begin], &piece[begin + piece.trim().len()..])
        };
        Ok(pieces.iter().zip(&changed).map(around).collect())
    }
}

impl Way {
    fn load(model: &TranslatorModel, device: &Device) -> Result<Self, EvalError> {
        Ok(match model {
            TranslatorModel::EncoderDecoder(folder) => {
                Self::EncoderDecoder(Box::new(Translator::load(folder, device)?))
            }
            TranslatorModel::Told(told) => Self::Told(Arc::new(Told::load(&told.model, device)?), told.prompt.clone()),
        })
    }

    /// Each text's translation, where there is a whole one.
    fn translated(&self, texts: Vec<String>, beams: &BeamConfig) -> Result<Vec<Option<String>>, EvalError> {
        match self {
            Self::EncoderDecoder(translator) => translated(translator, texts, beams),
            Self::Told(model, prompt) => texts.iter().map(|text| told(model, prompt, text)).collect(),
        }
    }
}

/// What a chat model makes of a text. Tokens of a translation are not many times those of the text: what goes on and on is none.
fn told(model: &Told, prompt: &str, text: &str) -> Result<Option<String>, EvalError> {
    let longest = 4 * model.tokens(text)? + 32;
    model.answer(&prompt.replace(SENTENCE, text), longest)
}

/// Each text's translation, where the whole text was read and the translation came to its end with something in it.
fn translated(
    translator: &Translator,
    texts: Vec<String>,
    beams: &BeamConfig,
) -> Result<Vec<Option<String>>, EvalError> {
    let all = translator.translate(&texts, beams, &mut |_| ControlFlow::Continue(()))?.unwrap_or_default();
    let whole = |one: Translated| {
        let text = one.text().trim();
        (one.cut == 0 && one.finished() && !text.is_empty()).then(|| text.to_owned())
    };
    Ok(all.into_iter().map(whole).collect())
}
