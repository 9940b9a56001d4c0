//! One completion without a server: what `danlu generate` does. Same tokens, chat template, stop strings and sampler as
//! over HTTP.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use danlu_model::{CausalLm, FinishReason, SamplingConfig};
use danlu_text::Message;
use serde::Serialize;

use crate::ServeError;
use crate::engine::Assembler;
use crate::language::LanguageModel;

/// A model folder in memory, ready to complete prompts one at a time.
pub struct LocalModel {
    model: CausalLm,
    language: LanguageModel,
}

/// What to complete, and how.
#[derive(Clone, Debug)]
pub struct LocalRequest {
    pub prompt: String,
    /// Render the prompt as a user's message with the chat template.
    pub chat: bool,
    pub sampling: SamplingConfig,
    pub max_tokens: usize,
    /// The text ends before the first of these.
    pub stops: Vec<String>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LocalReply {
    pub text: String,
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub finish_reason: FinishReason,
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

    /// Completes a prompt; `on_text` gets each piece of text as soon as it is safe to show.
    ///
    /// # Errors
    /// A prompt that is longer than the model's context or that the template refuses; settings out of range.
    pub fn complete(
        &self,
        request: &LocalRequest,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<LocalReply, ServeError> {
        let refused = |error: crate::api_error::ApiError| ServeError::Prompt { reason: error.message };
        let mut stops = request.stops.clone();
        let prompt = if request.chat {
            let (ids, more) = self.language.encode_chat(&[Message::new("user", &request.prompt)]).map_err(refused)?;
            stops.extend(more);
            ids
        } else {
            self.language.encode_prompt(&request.prompt).map_err(refused)?
        };
        let mut assembler = Assembler::new(self.language.tokenizer.stream(), stops);
        let mut text = String::new();
        let mut stopped = false;
        let mut broke = false;
        let mut show = |piece: &str, text: &mut String| {
            text.push_str(piece);
            piece.is_empty() || on_text(piece).is_continue()
        };
        let ends = self.language.end_ids();
        let generate =
            danlu_model::generate(&self.model, &prompt, &request.sampling, request.max_tokens, ends, |token| {
                let (piece, ended) = assembler.push(Some(token), None);
                stopped = ended;
                broke = !show(&piece.text, &mut text);
                if stopped || broke { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        let written = generate.map_err(|cause| ServeError::Generate { cause })?;
        if !stopped && !broke {
            let rest = assembler.finish();
            show(&rest.text, &mut text);
        }
        Ok(LocalReply {
            text,
            prompt_tokens: prompt.len(),
            completion_tokens: written.tokens.len(),
            tokens: written.tokens,
            finish_reason: if stopped { FinishReason::Stop } else { written.finish },
        })
    }
}
