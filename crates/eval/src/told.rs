//! A language model that is told what to do with a text.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use danlu_model::{CausalLm, FinishReason, SamplingConfig, generate};
use danlu_text::{ChatTemplate, IM_END, Message, Tokenizer};

use crate::EvalError;

/// A chat model that answers a message with its likeliest tokens.
#[derive(Debug)]
pub(crate) struct Told {
    model: CausalLm,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// What ends an answer.
    end: Vec<u32>,
}

impl Told {
    /// Reads model, tokenizer and chat template of a folder.
    ///
    /// # Errors
    /// A folder that is no language model's, or broken, or without a chat template; a tokenizer with more tokens than the
    /// model.
    pub(crate) fn load(dir: &Path, device: &Device) -> Result<Self, EvalError> {
        let wrong = |found: &str, expected| EvalError::WrongModel { path: dir.into(), found: found.into(), expected };
        let model = danlu_model::load(dir, device)?;
        let tokenizer = Tokenizer::from_dir(dir)?;
        if tokenizer.vocab_size() > model.vocab_size() {
            return Err(wrong(
                "a tokenizer with more tokens than the model",
                "a model for all tokens of its tokenizer",
            ));
        }
        let template = ChatTemplate::from_dir(dir)?
            .ok_or_else(|| wrong("a language model without a chat template", "one that has learnt to answer"))?;
        let mut end = model.special_tokens().eos.clone();
        end.push(tokenizer.eos_id());
        end.extend(tokenizer.token_id(IM_END));
        // The date that some templates mention would make other answers every day.
        Ok(Self { model, tokenizer, template: template.at_time(0), end })
    }

    /// How many tokens a text has.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub(crate) fn tokens(&self, text: &str) -> Result<usize, EvalError> {
        Ok(self.tokenizer.encode_literal(text)?.len())
    }

    /// The answer to a message, without white space around it; none where the message has no room in the model, or the answer
    /// does not come to its end within `longest` tokens, or is empty.
    ///
    /// # Errors
    /// What tokenizer, template, model and device report.
    pub(crate) fn answer(&self, message: &str, longest: usize) -> Result<Option<String>, EvalError> {
        let prompt = self.template.encode(&self.tokenizer, &[Message::new("user", message)])?;
        if prompt.len() >= self.model.config().max_seq_len {
            return Ok(None);
        }
        let likeliest = SamplingConfig { temperature: 0.0, ..SamplingConfig::default() };
        let written = generate(&self.model, &prompt, &likeliest, longest, &self.end, |_| ControlFlow::Continue(()))?;
        let text = self.tokenizer.decode(&written.tokens).trim().to_owned();
        Ok(Some(text).filter(|text| written.finish == FinishReason::Stop && !text.is_empty()))
    }
}
