//! What an encoder-decoder makes of texts: translations, summaries, answers, as it has learnt.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use danlu_model::{BeamConfig, EncoderDecoder, FinishReason, beam_search};
use danlu_text::{EncodedText, EncoderTokenizer};
use rayon::prelude::*;
use serde::Serialize;

use crate::EvalError;

/// Texts that are computed together.
const BATCH_SIZE: usize = 16;

/// An encoder-decoder with its tokenizer, ready for texts.
#[derive(Debug)]
pub struct Translator {
    model: EncoderDecoder,
    tokenizer: EncoderTokenizer,
    /// What the decoder begins with.
    start: u32,
    longest: usize,
}

/// What the model said of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Translated {
    /// The best first; as many as [`BeamConfig::results`].
    pub results: Vec<Hypothesis>,
    /// Tokens of the text that were read, special ones included.
    pub tokens: usize,
    /// Tokens that did not fit into the model and were cut off.
    pub cut: usize,
}

/// One translation of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hypothesis {
    pub text: String,
    /// Log-probability by length; see [`BeamConfig::length_penalty`].
    pub score: f64,
    pub finish: FinishReason,
}

impl Translated {
    /// The best translation.
    pub fn text(&self) -> &str {
        self.results.first().map_or("", |best| &best.text)
    }

    /// Whether the best translation came to its end.
    pub fn finished(&self) -> bool {
        self.results.first().is_some_and(|best| best.finish == FinishReason::Stop)
    }
}

impl Translator {
    /// Reads model and tokenizer of a folder.
    ///
    /// # Errors
    /// A folder that is no encoder-decoder's, or broken, or that does not say what the decoder begins with; a tokenizer with
    /// more tokens than the model.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, EvalError> {
        let wrong = |found: &str, expected| EvalError::WrongModel { path: dir.into(), found: found.into(), expected };
        if danlu_model::describe_encoder_decoder(dir)?.is_none() {
            return Err(wrong("a model that is no encoder-decoder", "Marian, BART, mBART, T5 or mT5"));
        }
        let model = EncoderDecoder::load(dir, device)?;
        let tokenizer = EncoderTokenizer::from_dir(dir)?;
        if tokenizer.vocab_size() > model.vocab_size() {
            return Err(wrong(
                "a tokenizer with more tokens than the model",
                "a model for all tokens of its tokenizer",
            ));
        }
        let special = model.special_tokens();
        let start = special.decoder_start.or(special.pad).or(special.bos);
        let start = start.ok_or_else(|| wrong("no `decoder_start_token_id`", "a config.json that names it"))?;
        let longest = model.config().max_seq_len;
        Ok(Self { model, tokenizer, start, longest })
    }

    /// This translator with texts cut to `tokens`, at most the model's context.
    pub fn with_longest(self, tokens: usize) -> Self {
        Self { longest: tokens.min(self.longest), ..self }
    }

    pub fn model(&self) -> &EncoderDecoder {
        &self.model
    }

    /// The most tokens of a text, special ones included.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Translates each text, in their order; none if `seen`, which is told how many are done, broke off.
    ///
    /// # Errors
    /// Settings of the search that cannot be; what tokenizer, model and device report.
    pub fn translate(
        &self,
        texts: &[String],
        beams: &BeamConfig,
        seen: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Translated>>, EvalError> {
        let encode = |text: &String| self.tokenizer.encode(text, self.longest);
        let encoded: Vec<EncodedText> = texts.par_iter().map(encode).collect::<Result<_, _>>()?;
        // Texts of like length together, so that little is padded and searches end together.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|at| encoded[*at].ids.len());
        let mut translated: Vec<Option<Translated>> = vec![None; texts.len()];
        let mut done = 0;
        for batch in order.chunks(BATCH_SIZE) {
            for (at, translation) in batch.iter().zip(self.batch(batch.iter().map(|at| &encoded[*at]), beams)?) {
                translated[*at] = Some(translation);
            }
            done += batch.len();
            if seen(done).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(translated.into_iter().flatten().collect()))
    }

    fn batch<'t>(
        &self,
        texts: impl Iterator<Item = &'t EncodedText> + Clone,
        beams: &BeamConfig,
    ) -> Result<Vec<Translated>, EvalError> {
        let sources: Vec<Vec<u32>> = texts.clone().map(|text| text.ids.clone()).collect();
        let states = self.model.start_all(&sources)?;
        let sources = states.into_iter().map(|state| (state, vec![self.start])).collect();
        let found = beam_search(&self.model, sources, &self.model.special_tokens().eos, beams, None)?;
        let read = |(hypotheses, text): (Vec<danlu_model::Hypothesis>, &EncodedText)| {
            let read = |found: danlu_model::Hypothesis| {
                let text = self.tokenizer.decode(&found.tokens)?;
                Ok(Hypothesis { text: text.trim().to_owned(), score: found.score, finish: found.finish })
            };
            let results = hypotheses.into_iter().map(read).collect::<Result<_, EvalError>>()?;
            Ok(Translated { results, tokens: text.ids.len(), cut: text.cut })
        };
        found.into_iter().zip(texts).map(read).collect()
    }
}
