//! Which of danlu's models a folder holds, by its config.json alone, and what it takes in memory.

use crate::folder::read_json;
use crate::{
    CONFIG_FILE, EncoderConfig, EncoderDecoderConfig, ModelConfig, ModelError, VisionLanguageConfig, describe_encoder,
    describe_encoder_decoder, describe_vision_language, encoder, encoder_decoder, hf_config, vision,
};
use danlu_ops::Cell;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// What a config.json describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub kind: ModelKind,
    pub vocab_size: usize,
    /// Whether linear layers are stored in int8, and are so in memory.
    pub int8: bool,
}

/// The kinds of models that danlu loads, each by a type of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelKind {
    /// [`crate::CausalLm`]
    Language(Box<ModelConfig>),
    /// [`crate::Encoder`]
    Encoder(Box<EncoderConfig>),
    /// [`crate::EncoderDecoder`]
    EncoderDecoder(Box<EncoderDecoderConfig>),
    /// [`crate::VisionLanguage`]
    VisionLanguage(Box<VisionLanguageConfig>),
}

const LISTS: [&[&str]; 4] = [hf_config::KNOWN, encoder::KNOWN, encoder_decoder::KNOWN, vision::KNOWN];

/// What all loaders know, by the names of transformers.
const KNOWN: &[&str] = &{
    let mut known = [""; LISTS[0].len() + LISTS[1].len() + LISTS[2].len() + LISTS[3].len()];
    let (mut list, mut at) = (0, 0);
    while list < LISTS.len() {
        let mut i = 0;
        while i < LISTS[list].len() {
            known[at] = LISTS[list][i];
            i += 1;
            at += 1;
        }
        list += 1;
    }
    known
};

/// What the config.json in `dir` describes. Whatever this refuses, no loader takes.
///
/// # Errors
/// A file that cannot be read; [`ModelError::UnknownArchitecture`], with all that danlu loads, for a model of another
/// kind and for a config.json that names none; settings that danlu's model of that kind does not have.
pub fn describe(dir: &Path) -> Result<Described, ModelError> {
    let dense = |kind: ModelKind, vocab_size: usize| Ok(Described { kind, vocab_size, int8: false });
    if let Some((config, vocab_size)) = describe_encoder(dir).map_err(with_all_known)? {
        return dense(ModelKind::Encoder(Box::new(config)), vocab_size);
    }
    if let Some((config, vocab_size)) = describe_encoder_decoder(dir)? {
        return dense(ModelKind::EncoderDecoder(Box::new(config)), vocab_size);
    }
    if let Some((config, vocab_size)) = describe_vision_language(dir)? {
        return dense(ModelKind::VisionLanguage(Box::new(config)), vocab_size);
    }
    let path = dir.join(CONFIG_FILE);
    describe_language(&path, &read_json(&path)?)
}

/// [`describe`] of a language model whose config.json is at hand; `path` is for messages.
///
/// # Errors
/// As there.
pub fn describe_language(path: &Path, config: &Map<String, Value>) -> Result<Described, ModelError> {
    let read = hf_config::from_json(path, config).map_err(with_all_known)?;
    Ok(Described { kind: ModelKind::Language(Box::new(read.config)), vocab_size: read.vocab_size, int8: read.int8 })
}

fn with_all_known(error: ModelError) -> ModelError {
    match error {
        ModelError::UnknownArchitecture { path, found, .. } => {
            ModelError::UnknownArchitecture { path, found, known: KNOWN }
        }
        other => other,
    }
}

/// What a model takes in memory once it is loaded, in bytes, whatever its folder stores it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryNeeds {
    /// All weights, in f32 but for those that stay int8.
    pub weights: u64,
    pub int8: bool,
    /// What generation holds beside them; nothing for a model that only reads.
    #[serde(flatten)]
    pub sequence: Option<SequenceNeeds>,
}

/// What a [`crate::State`] holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SequenceNeeds {
    /// However many tokens there are: the states of recurrent layers, the keys and values of an encoder-decoder's longest
    /// source, the vectors of one picture of a model that sees.
    pub fixed: u64,
    /// The keys and values of each token.
    pub per_token: u64,
    /// The longest context; left out where there is no end.
    pub max_tokens: Option<usize>,
}

impl SequenceNeeds {
    /// All of it at the longest context.
    pub fn most(&self) -> u64 {
        self.fixed.saturating_add(self.per_token.saturating_mul(self.max_tokens.unwrap_or(0) as u64))
    }
}

/// Bytes of a number of the weights and states.
const NUMBER: u64 = size_of::<f32>() as u64;

impl Described {
    /// What the model takes in memory.
    ///
    /// * `tensors`: name, element type and number of elements of each in its files
    pub fn memory<'a>(&self, tensors: impl Iterator<Item = (&'a str, &'a str, u64)>) -> MemoryNeeds {
        let held = |kind: &str, elements: u64| match kind {
            "I8" if self.int8 => elements,
            // Places and other buffers, which are made anew.
            "I8" | "U8" | "I16" | "I32" | "I64" | "BOOL" => 0,
            _ => elements.saturating_mul(NUMBER),
        };
        let own = tensors.filter(|(name, ..)| !self.is_copy(name));
        let weights = own.fold(0, |sum: u64, (_, kind, elements)| sum.saturating_add(held(kind, elements)));
        MemoryNeeds { weights, int8: self.int8, sequence: self.sequence() }
    }

    fn sequence(&self) -> Option<SequenceNeeds> {
        let numbers = |counts: &[usize]| counts.iter().fold(NUMBER, |product, n| product.saturating_mul(*n as u64));
        let cached = |layers: usize, width: usize| numbers(&[2, layers, width]);
        let of_text = |config: &ModelConfig| match config.cell() {
            None => SequenceNeeds {
                fixed: 0,
                per_token: cached(config.layers, config.kv_size()),
                max_tokens: Some(config.max_seq_len),
            },
            Some(cell) => {
                let vectors = if cell == Cell::Lstm { 2 } else { 1 };
                let fixed = numbers(&[vectors, config.layers, config.hidden_size]);
                SequenceNeeds { fixed, per_token: 0, max_tokens: None }
            }
        };
        match &self.kind {
            ModelKind::Encoder(_) => None,
            ModelKind::Language(config) => Some(of_text(config)),
            ModelKind::VisionLanguage(config) => {
                let picture = numbers(&[config.places(), config.text.hidden_size]);
                Some(SequenceNeeds { fixed: picture, ..of_text(&config.text) })
            }
            ModelKind::EncoderDecoder(config) => {
                let per_token = cached(config.decoder_layers, config.heads_size());
                let source = config.sound().map_or(config.max_seq_len, |(_, places)| places);
                let fixed = per_token.saturating_mul(source as u64);
                Some(SequenceNeeds { fixed, per_token, max_tokens: Some(config.max_seq_len) })
            }
        }
    }

    /// Whether a tensor is a second copy of the embedding, which files may hold and no model does.
    fn is_copy(&self, name: &str) -> bool {
        match &self.kind {
            ModelKind::Language(config) => config.tied && name == "lm_head.weight",
            ModelKind::VisionLanguage(config) => config.text.tied && name.ends_with("lm_head.weight"),
            ModelKind::EncoderDecoder(config) => {
                let own_head = name == "lm_head.weight" && !config.tied();
                encoder_decoder::COPIES.contains(&name.strip_prefix("model.").unwrap_or(name)) && !own_head
            }
            ModelKind::Encoder(_) => {
                ["cls.predictions.decoder.weight", "lm_head.decoder.weight", "vocab_projector.weight"].contains(&name)
            }
        }
    }
}
