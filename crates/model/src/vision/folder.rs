//! A language model that sees as a folder: the `LlavaForConditionalGeneration` of transformers.

use super::names::{is_harmless, places};
use super::{FeatureSelection, ImageProcessor, VisionConfig, VisionLanguage, VisionLanguageConfig, Words};
use crate::folder::{create, read_json, with_generation_config, write, write_json};
use crate::hf_config::{self, Keys, generation_json};
use crate::init::{Source, Start};
use crate::weights::{FileSource, Stored, WeightFiles, to_safetensors};
use crate::{
    Activation, CONFIG_FILE, GENERATION_CONFIG_FILE, ModelError, SaveOptions, SavedAs, SpecialTokens, WEIGHTS_FILE,
};
use burn::prelude::*;
use danlu_ops::Int8Weight;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const CLASS: &str = "LlavaForConditionalGeneration";
pub(crate) const KNOWN: &[&str] = &[CLASS];
const MODEL_TYPE: &str = "llava";
const PROCESSOR_FILE: &str = "processor_config.json";

/// Names of activations; in turn, since a name may stand for what another says.
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("quick_gelu", Activation::QuickGelu),
    ("gelu", Activation::GeluErf),
    ("gelu_new", Activation::Gelu),
    ("gelu_pytorch_tanh", Activation::Gelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
];

/// What the config.json in `dir` says of a language model that sees, and its vocabulary's size; `None` for a model of
/// another kind.
///
/// # Errors
/// A file that cannot be read, or settings that danlu's has not.
pub fn describe_vision_language(dir: &Path) -> Result<Option<(VisionLanguageConfig, usize)>, ModelError> {
    let path = dir.join(CONFIG_FILE);
    let json = read_json(&path)?;
    let named = json.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str);
    let is_one = match named {
        Some(class) => class == CLASS,
        None => json.get("model_type").and_then(Value::as_str) == Some(MODEL_TYPE),
    };
    if !is_one {
        return Ok(None);
    }
    from_json(&path, &json).map(|(config, words)| Some((config, words.vocab_size)))
}

impl VisionLanguage {
    /// Writes the model into `dir`, which is created if missing, as a `LlavaForConditionalGeneration` of transformers, with the
    /// settings of its `CLIPImageProcessor`. Each file appears whole or not at all. The same model gives the same bytes.
    ///
    /// # Errors
    /// [`ModelError::Io`], [`ModelError::Write`], [`ModelError::Device`].
    pub fn save(&self, dir: &Path, options: &SaveOptions) -> Result<(), ModelError> {
        create(dir)?;
        let (config, weights) = (self.config(), dir.join(WEIGHTS_FILE));
        let mut tensors = BTreeMap::new();
        for (name, data) in self.named_parameters()? {
            let shape = file_shape(&config.vision, &name, &data.shape().to_vec());
            let values = data.try_into_vec::<f32>().map_err(|e| ModelError::Device { message: format!("{e:?}") })?;
            tensors.insert(places(&name).swap_remove(0), Stored::f32(shape, &values));
        }
        let special = options.special_tokens.as_ref().unwrap_or(self.special_tokens());
        write(&weights, &to_safetensors(&weights, &tensors)?)?;
        write_json(&dir.join(GENERATION_CONFIG_FILE), &generation_json(special))?;
        self.processor().save(dir)?;
        write_json(&dir.join(PROCESSOR_FILE), &processor_json(config))?;
        write_json(&dir.join(CONFIG_FILE), &self.to_json(special))
    }

    /// Reads a model from `dir` to `device`, from weights in F32, F16 or BF16. Without a preprocessor_config.json pictures are
    /// prepared as for CLIP.
    ///
    /// # Errors
    /// Each names the file, and the key or tensor with what was expected and what was found.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        let path = dir.join(CONFIG_FILE);
        let json = read_json(&path)?;
        let (config, mut words) = from_json(&path, &json)?;
        words.special = with_generation_config(words.special, dir)?;
        let processor = ImageProcessor::load(dir)?.unwrap_or_else(|| ImageProcessor::clip(config.vision.image_size));
        let files = WeightFiles::read(dir)?;
        let mut named = Named { files: files.source(SavedAs::Danlu, false)?, config: &config };
        let model = Self::build(&config, words, processor, &mut named, device)?;
        named.files.finish_but(|name| is_harmless(name, config.text.tied))?;
        Ok(model)
    }

    fn to_json(&self, special: &SpecialTokens) -> Value {
        let c = self.config();
        let mut text = hf_config::to_json(&c.text, self.vocab_size(), special, c.text.saved_as(), false);
        if let Value::Object(text) = &mut text {
            text.remove("torch_dtype");
        }
        json!({
            "architectures": [CLASS],
            "model_type": MODEL_TYPE,
            "image_token_index": self.image_token(),
            "image_seq_length": c.places(),
            "projector_hidden_act": name_of(c.projector_activation),
            "multimodal_projector_bias": c.projector_bias,
            "vision_feature_layer": c.feature_layer,
            "vision_feature_select_strategy": c.features,
            "tie_word_embeddings": c.text.tied,
            "vision_config": vision_json(&c.vision),
            "text_config": text,
            // The one key is read by transformers 4, the other by 5.
            "torch_dtype": "float32",
            "dtype": "float32",
        })
    }
}

/// What tells a processor of transformers how many tokens a picture has.
fn processor_json(config: &VisionLanguageConfig) -> Value {
    json!({
        "processor_class": "LlavaProcessor",
        "patch_size": config.vision.patch_size,
        // The class token.
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": config.features,
    })
}

/// Shape of a parameter in files.
fn file_shape(config: &VisionConfig, name: &str, shape: &[usize]) -> Vec<usize> {
    match name {
        "vision.patch_embedding.weight" => {
            vec![config.hidden_size, VisionConfig::CHANNELS, config.patch_size, config.patch_size]
        }
        _ => shape.to_vec(),
    }
}

/// Parameters from files by danlu's names.
struct Named<'a> {
    files: FileSource<'a>,
    config: &'a VisionLanguageConfig,
}

impl Source for Named<'_> {
    fn values(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Vec<f32>, ModelError> {
        let mut names = places(name);
        let found = names.iter().position(|name| self.files.has(name)).unwrap_or(0);
        self.files.values(&names.swap_remove(found), &file_shape(&self.config.vision, name, shape), start)
    }

    fn int8(&mut self, _: &str, _: usize, _: usize) -> Result<Option<Int8Weight>, ModelError> {
        Ok(None)
    }
}

fn from_json(path: &Path, json: &Map<String, Value>) -> Result<(VisionLanguageConfig, Words), ModelError> {
    let keys = Keys { path, json };
    keys.only("model_type", json!(MODEL_TYPE)).map_err(|_| keys.unknown_architecture(KNOWN))?;
    let part = |key: &str| match keys.given(key) {
        Some(Value::Object(part)) => Ok(part.clone()),
        _ => Err(keys.wrong(key, "a table of settings")),
    };
    let vision = vision(&Keys { path, json: &part("vision_config")? })?;
    let mut text = part("text_config")?;
    with_defaults(&mut text);
    let described = hf_config::from_json(path, &text)?;
    let mut text_config = described.config;
    text_config.tied |= keys.flag("tie_word_embeddings", false)?;
    let features = match keys.given("vision_feature_select_strategy").and_then(Value::as_str) {
        Some("default") | None => FeatureSelection::Default,
        Some("full") => FeatureSelection::Full,
        Some(_) => return Err(keys.wrong("vision_feature_select_strategy", "\"default\" or \"full\"")),
    };
    let feature_layer = match keys.given("vision_feature_layer") {
        None => -2,
        Some(layer) => layer.as_i64().ok_or_else(|| keys.wrong("vision_feature_layer", "one whole number"))?,
    };
    let config = VisionLanguageConfig {
        vision,
        text: text_config,
        feature_layer,
        features,
        projector_activation: activation(&keys, "projector_hidden_act", "gelu")?,
        projector_bias: keys.flag("multimodal_projector_bias", true)?,
    };
    config.validate()?;
    let token = keys.optional_count("image_token_index")?.or(keys.optional_count("image_token_id")?).unwrap_or(32_000);
    let image_token = u32::try_from(token).map_err(|_| keys.wrong("image_token_index", "the id of a token"))?;
    let special = described.special.updated(json);
    Ok((config, Words { vocab_size: described.vocab_size, image_token, special }))
}

/// Fills in what folders leave to a Llama's defaults.
fn with_defaults(text: &mut Map<String, Value>) {
    let named = text.get("model_type").and_then(Value::as_str);
    if named.is_some_and(|kind| kind != "llama") {
        return;
    }
    text.entry("model_type").or_insert(json!("llama"));
    let defaults = [
        ("hidden_size", 4096),
        ("intermediate_size", 11_008),
        ("num_hidden_layers", 32),
        ("num_attention_heads", 32),
        ("max_position_embeddings", 2048),
        ("vocab_size", 32_000),
    ];
    for (key, value) in defaults {
        text.entry(key).or_insert(json!(value));
    }
}

/// `vision_config`, with CLIP's defaults.
fn vision(keys: &Keys<'_>) -> Result<VisionConfig, ModelError> {
    keys.only("model_type", json!("clip_vision_model"))?;
    keys.only("num_channels", json!(VisionConfig::CHANNELS))?;
    let count = |key: &str, otherwise: usize| keys.optional_count(key).map(|count| count.unwrap_or(otherwise));
    let dropout = keys.given("danlu").and_then(|danlu| danlu.get("dropout")).and_then(Value::as_f64);
    Ok(VisionConfig {
        layers: count("num_hidden_layers", 12)?,
        hidden_size: count("hidden_size", 768)?,
        heads: count("num_attention_heads", 12)?,
        ffn_size: Some(count("intermediate_size", 3072)?),
        image_size: count("image_size", 224)?,
        patch_size: count("patch_size", 32)?,
        activation: activation(keys, "hidden_act", "quick_gelu")?,
        norm_eps: keys.number("layer_norm_eps", 1e-5)?,
        dropout: dropout.unwrap_or(0.0),
    })
}

fn vision_json(c: &VisionConfig) -> Value {
    json!({
        "model_type": "clip_vision_model",
        "hidden_size": c.hidden_size,
        "intermediate_size": c.ffn_size(),
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_channels": VisionConfig::CHANNELS,
        "image_size": c.image_size,
        "patch_size": c.patch_size,
        "hidden_act": name_of(c.activation),
        "layer_norm_eps": c.norm_eps,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "initializer_factor": 1.0,
        "danlu": { "dropout": c.dropout },
    })
}

fn activation(keys: &Keys<'_>, key: &str, otherwise: &str) -> Result<Activation, ModelError> {
    let named = keys.given(key).map_or(Some(otherwise), Value::as_str);
    let found = ACTIVATIONS.iter().find(|(name, _)| named == Some(*name));
    let names = || ACTIVATIONS.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    found.map(|(_, activation)| *activation).ok_or_else(|| keys.wrong(key, format!("one of {}", names())))
}

fn name_of(activation: Activation) -> &'static str {
    ACTIVATIONS.iter().find(|(_, of)| *of == activation).map_or("", |(name, _)| name)
}
