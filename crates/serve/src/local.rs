//! One completion without a server: what `danlu generate` does. Same tokens, chat template, stop strings and sampler as
//! over HTTP.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use danlu_model::{
    BeamConfig, CausalLm, ContrastiveConfig, FinishReason, GenerateOptions, Generation, LogitsConstraint, LogitsRules,
    SamplingConfig, State,
};
use danlu_text::{Grammar, Message};
use serde::Serialize;

use crate::ServeError;
use crate::engine::Assembler;
use crate::language::LanguageModel;
use crate::structured::GrammarConstraint;

/// A model folder in memory, ready to complete prompts one at a time.
pub struct LocalModel {
    model: CausalLm,
    language: LanguageModel,
}

/// How continuations are found. `max_tokens`, `rules` and the number of results are the request's.
#[derive(Clone, Debug)]
pub enum Search {
    Sample(SamplingConfig),
    Beams(BeamConfig),
    Contrastive(ContrastiveConfig),
}

/// What to complete, and how.
#[derive(Clone, Debug)]
pub struct LocalRequest {
    pub prompt: String,
    /// Render the prompt as a user's message with the chat template.
    pub chat: bool,
    pub search: Search,
    pub rules: LogitsRules,
    /// What the text must be. Not with beams.
    pub grammar: Option<Grammar>,
    pub max_tokens: usize,
    /// The text ends before the first of these.
    pub stops: Vec<String>,
    /// Texts to write: samples, or the best of the beams. Contrastive search has one.
    pub samples: usize,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LocalReply {
    pub text: String,
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub finish_reason: FinishReason,
    /// Of beam search: log-probability by length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl LocalModel {
    /// Loads a model folder.
    ///
    /// # Errors
    /// As [`crate::Server::bind`], for the folder's part.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ServeError> {
        let (model, language) = LanguageModel::load(dir, None, device)?;
        Ok(Self { model, language })
    }

    /// Completes a prompt; `on_text` gets each piece of a text, by the text's number, as soon as it is safe to show.
    ///
    /// # Errors
    /// A prompt that is longer than the model's context or that the template refuses; settings out of range; a grammar that
    /// cannot be used.
    pub fn complete(
        &self,
        request: &LocalRequest,
        mut on_text: impl FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<LocalReply>, ServeError> {
        let (prompt, stops) = self.prompt_of(request)?;
        let mut writers: Vec<Writer> = (0..request.samples)
            .map(|index| Writer { index, ..Writer::new(self.language.tokenizer.stream(), stops.clone()) })
            .collect();
        let written = self.run(request, &prompt, |index, token| match writers.get_mut(index) {
            Some(writer) => writer.push(token, &mut on_text),
            None => ControlFlow::Break(()),
        })?;
        let reply = |(mut writer, (generation, score)): (Writer, (Generation, Option<f64>))| {
            writer.finish(&mut on_text);
            LocalReply {
                prompt_tokens: prompt.len(),
                completion_tokens: generation.tokens.len(),
                tokens: generation.tokens,
                finish_reason: if writer.stopped { FinishReason::Stop } else { generation.finish },
                text: writer.text,
                score,
            }
        };
        Ok(writers.into_iter().zip(written).map(reply).collect())
    }

    /// The prompt's tokens and all stop strings.
    fn prompt_of(&self, request: &LocalRequest) -> Result<(Vec<u32>, Vec<String>), ServeError> {
        let refused = |error: crate::api_error::ApiError| ServeError::Prompt { reason: error.message };
        let mut stops = request.stops.clone();
        if !request.chat {
            return Ok((self.language.encode_prompt(&request.prompt).map_err(refused)?, stops));
        }
        let (ids, more) = self.language.encode_chat(&[Message::new("user", &request.prompt)]).map_err(refused)?;
        stops.extend(more);
        Ok((ids, stops))
    }

    /// The continuations, with their scores where they have such.
    fn run(
        &self,
        request: &LocalRequest,
        prompt: &[u32],
        mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<(Generation, Option<f64>)>, ServeError> {
        let compile = |grammar: &Grammar| self.language.compile(grammar).map_err(|cause| ServeError::Grammar { cause });
        let constraint = request.grammar.as_ref().map(compile).transpose()?.map(GrammarConstraint);
        let constraint = constraint.as_ref().map(|constraint| constraint as &dyn LogitsConstraint);
        let (state, ends) = (State::new(&self.model), self.language.end_ids());
        let (rules, max_tokens) = (request.rules.clone(), request.max_tokens);
        let unscored = |generation| (generation, None);
        match &request.search {
            Search::Sample(sampling) => {
                let (sampling, stop_tokens, samples) = (sampling.clone(), ends.to_vec(), request.samples);
                let options = GenerateOptions { sampling, rules, max_tokens, stop_tokens, samples };
                danlu_model::generate_from(&self.model, state, prompt, &options, constraint, on_token)
                    .map(|found| found.into_iter().map(unscored).collect())
            }
            Search::Contrastive(config) => {
                let config = ContrastiveConfig { rules, max_tokens, ..config.clone() };
                let on_token = |token| on_token(0, token);
                danlu_model::contrastive_search(&self.model, state, prompt, ends, &config, constraint, on_token)
                    .map(|found| vec![unscored(found)])
            }
            Search::Beams(config) => {
                let config = BeamConfig { rules, max_tokens, results: request.samples, ..config.clone() };
                let sources = vec![(state, prompt.to_vec())];
                let found = danlu_model::beam_search(&self.model, sources, ends, &config, constraint);
                found.map(|found| {
                    let scored = |(index, one): (usize, danlu_model::Hypothesis)| {
                        // A text is over where its writer breaks off; the tokens behind a stop string stay in the reply.
                        let _ = one.tokens.iter().try_for_each(|token| on_token(index, *token));
                        (Generation { tokens: one.tokens, finish: one.finish }, Some(one.score))
                    };
                    found.into_iter().flatten().enumerate().map(scored).collect()
                })
            }
        }
        .map_err(|cause| ServeError::Generate { cause })
    }
}

/// Makes text of one continuation's tokens.
struct Writer<'t> {
    index: usize,
    assembler: Assembler<'t>,
    text: String,
    /// A stop string came.
    stopped: bool,
    /// The caller broke off.
    broke: bool,
}

impl<'t> Writer<'t> {
    fn new(stream: danlu_text::DecodeStream<'t>, stops: Vec<String>) -> Self {
        Self { index: 0, assembler: Assembler::new(stream, stops), text: String::new(), stopped: false, broke: false }
    }

    fn push(&mut self, token: u32, on_text: &mut impl FnMut(usize, &str) -> ControlFlow<()>) -> ControlFlow<()> {
        let (piece, stopped) = self.assembler.push(Some(token), None);
        self.stopped = stopped;
        self.show(&piece.text, on_text);
        if self.stopped || self.broke { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn finish(&mut self, on_text: &mut impl FnMut(usize, &str) -> ControlFlow<()>) {
        if !self.stopped && !self.broke {
            let rest = self.assembler.finish();
            self.show(&rest.text, on_text);
        }
    }

    fn show(&mut self, piece: &str, on_text: &mut impl FnMut(usize, &str) -> ControlFlow<()>) {
        self.text.push_str(piece);
        self.broke |= !piece.is_empty() && on_text(self.index, piece).is_break();
    }
}
