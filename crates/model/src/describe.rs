//! Which of danlu's models a folder holds, by its config.json alone.

use crate::folder::read_json;
use crate::{
    CONFIG_FILE, EncoderConfig, EncoderDecoderConfig, ModelConfig, ModelError, VisionLanguageConfig, describe_encoder,
    describe_encoder_decoder, describe_vision_language, encoder, encoder_decoder, hf_config, vision,
};
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
    let read = hf_config::from_json(&path, &read_json(&path)?).map_err(with_all_known)?;
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
