//! The models of back-translation, as a recipe names them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What stands for the sentence in a prompt.
pub const SENTENCE: &str = "{text}";

/// A model that translates: `"FOLDER"`, or `{ model = "FOLDER", prompt = "Translate into English: {text}" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TranslatorModel {
    /// An encoder-decoder that does nothing else.
    EncoderDecoder(PathBuf),
    /// A chat model that is told to.
    Told(ToldModel),
}

/// A chat model and what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldModel {
    /// Its folder.
    pub model: PathBuf,
    /// The message, with [`SENTENCE`] where the sentence stands.
    pub prompt: String,
}

impl TranslatorModel {
    pub fn folder(&self) -> &Path {
        match self {
            Self::EncoderDecoder(model) => model,
            Self::Told(told) => &told.model,
        }
    }

    /// With the folder taken from `base`.
    #[must_use]
    pub fn relative_to(&self, base: &Path) -> Self {
        match self {
            Self::EncoderDecoder(model) => Self::EncoderDecoder(base.join(model)),
            Self::Told(told) => Self::Told(ToldModel { model: base.join(&told.model), prompt: told.prompt.clone() }),
        }
    }

    /// Whether a sentence has a place in what the model is told.
    pub(super) fn takes_a_sentence(&self) -> bool {
        match self {
            Self::EncoderDecoder(_) => true,
            Self::Told(told) => told.prompt.contains(SENTENCE),
        }
    }
}

impl From<&str> for TranslatorModel {
    fn from(folder: &str) -> Self {
        Self::EncoderDecoder(folder.into())
    }
}

/// Not derived: of an untagged enum serde would not say which key of the table is wrong.
impl<'de> Deserialize<'de> for TranslatorModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = TranslatorModel;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the folder of a model, or { model = FOLDER, prompt = TEXT }")
            }

            fn visit_str<E>(self, folder: &str) -> Result<TranslatorModel, E> {
                Ok(folder.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TranslatorModel, A::Error> {
                ToldModel::deserialize(MapAccessDeserializer::new(map)).map(TranslatorModel::Told)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
