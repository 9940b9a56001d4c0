//! The model folder being served: weights, tokenizer, chat template. The only place that knows how
//! text becomes tokens here.

use std::{path::Path, sync::OnceLock};

use burn::tensor::Device;
use danlu_model::CausalLm;
use danlu_store::hash;
use danlu_text::{ChatTemplate, Grammar, GrammarCompiler, GrammarState, IM_END, Message, TextError, Tokenizer};
use serde_json::{Map, Value};

use crate::{ServeError, api_error::ApiError};

/// In the plain fallback, the next turn of the user would begin so.
const PLAIN_USER: &str = "\nUser:";

/// All of a model folder that several threads share; the weights are the engine's alone.
pub(crate) struct LanguageModel {
    pub tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// Name under which the model is listed.
    pub name: String,
    /// See [`model_hash`].
    pub hash: String,
    /// Tokens that a sequence can have in all.
    pub context: usize,
    end_ids: Vec<u32>,
    /// Made when the first grammar comes.
    grammars: OnceLock<GrammarCompiler>,
}

impl LanguageModel {
    /// Loads a model folder: the weights, and everything else.
    pub fn load(dir: &Path, name: Option<&str>, device: &Device) -> Result<(CausalLm, Self), ServeError> {
        let model_error = |cause| ServeError::Model { path: dir.into(), cause: Box::new(cause) };
        let text_error = |cause| ServeError::Tokenizer { path: dir.into(), cause };
        let model = danlu_model::load(dir, device).map_err(model_error)?;
        let tokenizer = Tokenizer::from_dir(dir).map_err(text_error)?;
        let template = ChatTemplate::from_dir(dir).map_err(text_error)?;
        if tokenizer.vocab_size() > model.vocab_size() {
            let (tokenizer, model) = (tokenizer.vocab_size(), model.vocab_size());
            return Err(ServeError::VocabularyMismatch { path: dir.into(), tokenizer, model });
        }
        let mut end_ids = model.special_tokens().eos.clone();
        end_ids.push(tokenizer.eos_id());
        // Ends a turn in ChatML, and so a reply.
        end_ids.extend(tokenizer.token_id(IM_END));
        let language = Self {
            context: model.config().max_seq_len,
            name: name.map_or_else(|| folder_name(dir), str::to_owned),
            hash: model_hash(dir)?,
            end_ids,
            tokenizer,
            template,
            grammars: OnceLock::new(),
        };
        Ok((model, language))
    }

    /// The tokens that end a reply.
    pub fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// Where a reply begins that is to be of this form.
    ///
    /// # Errors
    /// What is wrong with the grammar.
    pub fn compile(&self, grammar: &Grammar) -> Result<GrammarState, TextError> {
        let compiler = match self.grammars.get() {
            Some(compiler) => compiler,
            None => {
                let made = GrammarCompiler::new(&self.tokenizer, &self.end_ids)?;
                self.grammars.get_or_init(|| made)
            }
        };
        compiler.compile(grammar)
    }

    pub fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    /// A prompt's tokens. An empty prompt is the boundary at which documents begin.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        let ids = self.tokenizer.encode(text).map_err(|error| ApiError::param("prompt", error.to_string()))?;
        Ok(if ids.is_empty() { vec![self.tokenizer.eos_id()] } else { ids })
    }

    /// A conversation's tokens up to where the assistant's reply begins, and the strings that end the
    /// reply besides the end-of-turn tokens. Without a chat template the turns are written plainly as
    /// `User: …` and `Assistant: …`, with a blank line between them.
    ///
    /// Special tokens written in a message are ordinary text: what a user says cannot end the user's turn.
    pub fn encode_chat(&self, messages: &[Message]) -> Result<(Vec<u32>, Vec<String>), ApiError> {
        let refused = |error: danlu_text::TextError| ApiError::param("messages", error.to_string());
        let Some(template) = &self.template else {
            let ids = self.tokenizer.encode_literal(&render_plainly(messages)).map_err(refused)?;
            return Ok((ids, vec![PLAIN_USER.to_owned()]));
        };
        Ok((template.encode(&self.tokenizer, messages).map_err(refused)?, Vec::new()))
    }
}

fn folder_name(dir: &Path) -> String {
    let full = dir.canonicalize().unwrap_or_else(|_| dir.into());
    full.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

/// What identifies a served model: the hash of the hashes of its weights, configuration and
/// tokenizer. Notes beside them, such as a model card, do not change it.
///
/// # Errors
/// [`ServeError::Read`] or [`ServeError::Store`] if the folder or a file in it cannot be read.
pub fn model_hash(dir: &Path) -> Result<String, ServeError> {
    let read_error = |cause| ServeError::Read { path: dir.into(), cause };
    let mut files = Map::new();
    for entry in std::fs::read_dir(dir).map_err(read_error)? {
        let name = entry.map_err(read_error)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") || name == "config.json" || name == "tokenizer.json" {
            let digest = hash::of_file(&dir.join(&name))?;
            files.insert(name, Value::String(digest.to_string()));
        }
    }
    Ok(hash::of_json(&Value::Object(files)).to_string())
}

fn render_plainly(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        let speaker = match message.role.as_str() {
            "system" => "System",
            "assistant" => "Assistant",
            _ => "User",
        };
        text.push_str(&format!("{speaker}: {}\n\n", message.content.trim()));
    }
    text.push_str("Assistant:");
    text
}
