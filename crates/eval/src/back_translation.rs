//! A text in other words: translated into another language and back (Sennrich et al. 2016), sentence by sentence.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use danlu_model::BeamConfig;
use danlu_text::sentences;

use crate::{EvalError, Translated, Translator};

/// Two translators that undo each other.
#[derive(Debug)]
pub struct BackTranslator {
    there: Translator,
    back: Translator,
    beams: BeamConfig,
}

impl BackTranslator {
    /// Reads the model that translates into another language, and the one that translates back.
    ///
    /// # Errors
    /// As [`Translator::load`]; settings of the search that cannot be.
    pub fn load(there: &Path, back: &Path, beams: BeamConfig, device: &Device) -> Result<Self, EvalError> {
        beams.validate()?;
        Ok(Self { there: Translator::load(there, device)?, back: Translator::load(back, device)?, beams })
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
        let there = translated(&self.there, said.iter().map(|at| contents[*at].clone()).collect(), &self.beams)?;
        let crossed: Vec<(usize, String)> =
            said.into_iter().zip(there).filter_map(|(at, text)| Some((at, text?))).collect();
        let back = translated(&self.back, crossed.iter().map(|(_, text)| text.clone()).collect(), &self.beams)?;
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
