//! An encoder-decoder as a folder: config.json to and from the keys of transformers, and model.safetensors.

use super::config::Places;
use super::names::{COPIES, LOGITS_BIAS, is_harmless, place};
use super::{EncoderDecoder, EncoderDecoderConfig, EncoderDecoderKind, SOUND_TABLE};
use crate::folder::{create, read_json, with_generation_config, write, write_json};
use crate::hf_config::{Keys, generation_json};
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

/// Kind, model type and classes of transformers.
const NAMES: &[(EncoderDecoderKind, &str, &[&str])] = &[
    (EncoderDecoderKind::Marian, "marian", &["MarianMTModel", "MarianModel"]),
    (EncoderDecoderKind::Bart, "bart", &["BartForConditionalGeneration", "BartModel"]),
    (EncoderDecoderKind::Mbart, "mbart", &["MBartForConditionalGeneration", "MBartModel"]),
    (EncoderDecoderKind::T5, "t5", &["T5ForConditionalGeneration", "T5WithLMHeadModel", "T5Model"]),
    (EncoderDecoderKind::Whisper, "whisper", &["WhisperForConditionalGeneration", "WhisperModel"]),
    (EncoderDecoderKind::Mt5, "mt5", &["MT5ForConditionalGeneration", "MT5Model"]),
];

pub(crate) const KNOWN: &[&str] = &[
    "MarianMTModel",
    "BartForConditionalGeneration",
    "MBartForConditionalGeneration",
    "T5ForConditionalGeneration",
    "MT5ForConditionalGeneration",
    "WhisperForConditionalGeneration",
];

/// `feed_forward_proj` of T5; in turn, since a name may stand for what another says.
const T5_ACTIVATIONS: &[(&str, Activation)] = &[
    ("relu", Activation::Relu),
    ("gated-gelu", Activation::Geglu),
    ("gated-gelu_new", Activation::Geglu),
    ("gated-silu", Activation::Swiglu),
    ("silu", Activation::Silu),
    ("gelu", Activation::GeluErf),
    ("gelu_new", Activation::Gelu),
];

const BART_ACTIVATIONS: &[(&str, Activation)] = &[
    ("relu", Activation::Relu),
    ("swish", Activation::Silu),
    ("silu", Activation::Silu),
    ("gelu", Activation::GeluErf),
    ("gelu_new", Activation::Gelu),
    ("gelu_pytorch_tanh", Activation::Gelu),
];

/// What the config.json in `dir` says of an encoder-decoder, and its vocabulary's size; `None` for a model of another kind.
/// Whether it has a bias of the logits only its weights say.
///
/// # Errors
/// A file that cannot be read, or settings that danlu's encoder-decoder does not have.
pub fn describe_encoder_decoder(dir: &Path) -> Result<Option<(EncoderDecoderConfig, usize)>, ModelError> {
    let path = dir.join(CONFIG_FILE);
    let json = read_json(&path)?;
    match named(&json) {
        Some(_) => from_json(&path, &json).map(|read| Some((read.config, read.vocab_size))),
        None => Ok(None),
    }
}

impl EncoderDecoder {
    /// Writes the model into `dir`, which is created if missing, as the `MarianMTModel`, `BartForConditionalGeneration`, ...
    /// of transformers that it is. Each file appears whole or not at all. The same model gives the same bytes.
    ///
    /// # Errors
    /// [`ModelError::Io`], [`ModelError::Write`], [`ModelError::Device`].
    pub fn save(&self, dir: &Path, options: &SaveOptions) -> Result<(), ModelError> {
        create(dir)?;
        let (config, weights) = (self.config(), dir.join(WEIGHTS_FILE));
        let mut tensors = BTreeMap::new();
        if let (Some(table), Some((_, places))) = (&self.shared.sound_table, config.sound()) {
            tensors.insert(SOUND_TABLE.to_string(), Stored::f32(vec![places, config.hidden_size], table));
        } else if !config.architecture.is_t5() {
            let zeros = Stored::f32(vec![1, self.vocab_size()], &vec![0.0; self.vocab_size()]);
            tensors.insert(LOGITS_BIAS.to_string(), zeros);
        }
        for (name, data) in self.named_parameters()? {
            let name = place(config, &name);
            let mut shape = data.shape().to_vec();
            if name == LOGITS_BIAS {
                shape.insert(0, 1);
            }
            let values = data.try_into_vec::<f32>().map_err(|e| ModelError::Device { message: format!("{e:?}") })?;
            tensors.insert(name, Stored::f32(shape, &values));
        }
        let special = options.special_tokens.as_ref().unwrap_or(self.special_tokens());
        write(&weights, &to_safetensors(&weights, &tensors)?)?;
        write_json(&dir.join(GENERATION_CONFIG_FILE), &generation_json(special))?;
        write_json(&dir.join(CONFIG_FILE), &to_json(config, self.vocab_size(), special))
    }

    /// Reads a model from `dir` to `device`, from weights in F32, F16 or BF16.
    ///
    /// # Errors
    /// Each names the file, and the key or tensor with what was expected and what was found.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        let path = dir.join(CONFIG_FILE);
        let Read { mut config, vocab_size, special } = from_json(&path, &read_json(&path)?)?;
        let special = with_generation_config(special, dir)?;
        let files = WeightFiles::read(dir)?;
        let mut source = files.source(SavedAs::Danlu, false)?;
        if source.has(LOGITS_BIAS) && !config.architecture.is_t5() {
            let bias = source.values(LOGITS_BIAS, &[1, vocab_size], Start::Zeros)?;
            config.logits_bias = bias.iter().any(|x| *x != 0.0);
        }
        if config.architecture == EncoderDecoderKind::Mt5 && config.tied() {
            // Since version 5 of transformers the key is true even for those with a head of their own.
            let own = source.has("lm_head.weight") && !source.same("lm_head.weight", "shared.weight");
            config.tied = Some(!own);
        }
        let mut named = Named { files: source, config: &config };
        let built = Self::build(&config, vocab_size, special, &mut named, device)?;
        let copies = named.copies();
        named.files.finish_but(|name| is_harmless(&config, name) || copies.iter().any(|copy| copy == name))?;
        Ok(built)
    }
}

/// Parameters from files by danlu's names.
struct Named<'a> {
    files: FileSource<'a>,
    config: &'a EncoderDecoderConfig,
}

impl Named<'_> {
    /// The name in the files: with the prefix, or without as in folders of a bare model.
    fn find(&self, name: &str) -> String {
        let full = place(self.config, name);
        let bare = full.strip_prefix("model.").unwrap_or(&full);
        if !self.files.has(&full) && self.files.has(bare) {
            return bare.to_string();
        }
        if name == "model.embed_tokens.weight" && !self.files.has(&full) {
            // Which one of tensors that are shared is kept depends on who saved them.
            let kept = self.names_of_copies().into_iter().find(|copy| self.files.has(copy));
            return kept.unwrap_or(full);
        }
        full
    }

    fn names_of_copies(&self) -> Vec<String> {
        let own_head = |name: &&&str| self.config.tied() || **name != "lm_head.weight";
        COPIES.iter().filter(own_head).flat_map(|name| [format!("model.{name}"), (*name).to_string()]).collect()
    }

    /// Names under which the embedding is there once more, the same to the bit.
    fn copies(&self) -> Vec<String> {
        let kept = self.find("model.embed_tokens.weight");
        self.names_of_copies().into_iter().filter(|copy| self.files.same(copy, &kept)).collect()
    }
}

impl Source for Named<'_> {
    fn values(&mut self, name: &str, shape: &[usize], start: Start) -> Result<Vec<f32>, ModelError> {
        match (name, shape) {
            ("logits_bias", [width]) => self.files.values(LOGITS_BIAS, &[1, *width], start),
            _ => self.files.values(&self.find(name), shape, start),
        }
    }

    fn int8(&mut self, _: &str, _: usize, _: usize) -> Result<Option<Int8Weight>, ModelError> {
        Ok(None)
    }
}

/// What a config.json says.
struct Read {
    config: EncoderDecoderConfig,
    vocab_size: usize,
    special: SpecialTokens,
}

/// The kind that a config.json names, if it is an encoder-decoder's.
fn named(json: &Map<String, Value>) -> Option<EncoderDecoderKind> {
    let architecture = json.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str);
    let kind = json.get("model_type").and_then(Value::as_str);
    let fits = |(_, model_type, classes): &&(_, &str, &[&str])| match architecture {
        Some(architecture) => classes.contains(&architecture),
        None => kind == Some(*model_type),
    };
    NAMES.iter().find(fits).map(|(kind, ..)| *kind)
}

fn from_json(path: &Path, json: &Map<String, Value>) -> Result<Read, ModelError> {
    let keys = Keys { path, json };
    let kind = named(json).ok_or_else(|| keys.unknown_architecture(KNOWN))?;
    keys.only("is_encoder_decoder", json!(true))?;
    keys.only("add_cross_attention", json!(true)).or_else(|_| keys.only("add_cross_attention", json!(false)))?;
    let config = if kind.is_t5() { t5(&keys, kind)? } else { bart(&keys, kind)? };
    config.validate()?;
    let mut special = SpecialTokens::default().updated(json);
    if kind.is_t5() {
        // Which older folders leave out.
        special.pad = special.pad.or(Some(0));
        special.decoder_start = special.decoder_start.or(special.pad);
    }
    Ok(Read { config, vocab_size: keys.count("vocab_size")?, special })
}

fn bart(keys: &Keys<'_>, kind: EncoderDecoderKind) -> Result<EncoderDecoderConfig, ModelError> {
    keys.only("tie_word_embeddings", json!(true))?;
    keys.only("share_encoder_decoder_embeddings", json!(true))?;
    for key in ["encoder_layerdrop", "decoder_layerdrop"] {
        if keys.number(key, 0.0)? != 0.0 {
            return Err(keys.wrong(key, "0"));
        }
    }
    if kind == EncoderDecoderKind::Whisper {
        return whisper(keys);
    }
    // Older folders say what the class says, too.
    keys.only("normalize_before", json!(kind.pre_norm()))?;
    keys.only("add_final_layer_norm", json!(kind.pre_norm()))?;
    keys.only("normalize_embedding", json!(kind.embed_norm()))?;
    keys.only("static_position_embeddings", json!(kind.places() == Places::Sinusoidal))?;
    keys.only("add_bias_logits", json!(false))?;
    keys.only("decoder_vocab_size", json!(keys.count("vocab_size")?))?;
    shape(keys, kind, "max_position_embeddings")
}

fn whisper(keys: &Keys<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    Ok(EncoderDecoderConfig {
        mel_bands: Some(keys.count("num_mel_bins")?),
        source_places: Some(keys.count("max_source_positions")?),
        ..shape(keys, EncoderDecoderKind::Whisper, "max_target_positions")?
    })
}

/// What BART and Whisper call alike; `length`: the key of the longest text.
fn shape(keys: &Keys<'_>, kind: EncoderDecoderKind, length: &str) -> Result<EncoderDecoderConfig, ModelError> {
    for (key, same) in [("decoder_attention_heads", "encoder_attention_heads"), ("decoder_ffn_dim", "encoder_ffn_dim")]
    {
        keys.only(key, json!(keys.count(same)?))?;
    }
    Ok(EncoderDecoderConfig {
        architecture: kind,
        encoder_layers: keys.count("encoder_layers")?,
        decoder_layers: keys.count("decoder_layers")?,
        hidden_size: keys.count("d_model")?,
        heads: keys.count("encoder_attention_heads")?,
        ffn_size: Some(keys.count("encoder_ffn_dim")?),
        max_seq_len: keys.count(length)?,
        activation: Some(activation(keys, "activation_function", "gelu", BART_ACTIVATIONS)?),
        scale_embedding: Some(keys.flag("scale_embedding", false)?),
        tied: Some(true),
        dropout: keys.number("dropout", 0.1)?,
        attention_dropout: keys.number("attention_dropout", 0.0)?,
        activation_dropout: keys.number("activation_dropout", 0.0)?,
        ..EncoderDecoderConfig::default()
    })
}

fn t5(keys: &Keys<'_>, kind: EncoderDecoderKind) -> Result<EncoderDecoderConfig, ModelError> {
    let dropout = keys.number("dropout_rate", 0.1)?;
    // What only training asks for, where it is not the one rate that T5 has.
    let rate = |key: &str| keys.given("danlu").and_then(|danlu| danlu.get(key)).and_then(Value::as_f64);
    let activations = if kind == EncoderDecoderKind::Mt5 { "gated-gelu" } else { "relu" };
    let layers = keys.count("num_layers")?;
    // Since version 5 of transformers a T5 is always tied when made, and the other key says what the first once meant.
    let tied = match kind {
        EncoderDecoderKind::T5 => keys.flag("scale_decoder_outputs", keys.flag("tie_word_embeddings", true)?)?,
        _ => keys.flag("tie_word_embeddings", true)?,
    };
    Ok(EncoderDecoderConfig {
        architecture: kind,
        encoder_layers: layers,
        decoder_layers: keys.optional_count("num_decoder_layers")?.unwrap_or(layers),
        hidden_size: keys.count("d_model")?,
        heads: keys.count("num_heads")?,
        head_dim: Some(keys.count("d_kv")?),
        ffn_size: Some(keys.count("d_ff")?),
        max_seq_len: keys.optional_count("n_positions")?.unwrap_or(1024),
        activation: Some(activation(keys, "feed_forward_proj", activations, T5_ACTIVATIONS)?),
        tied: Some(tied),
        relative_buckets: keys.optional_count("relative_attention_num_buckets")?.unwrap_or(32),
        relative_max_distance: keys.optional_count("relative_attention_max_distance")?.unwrap_or(128),
        norm_eps: Some(keys.number("layer_norm_epsilon", 1e-6)?),
        dropout,
        attention_dropout: rate("attention_dropout").unwrap_or(dropout),
        activation_dropout: rate("activation_dropout").unwrap_or(dropout),
        ..EncoderDecoderConfig::default()
    })
}

fn activation(
    keys: &Keys<'_>,
    key: &str,
    otherwise: &str,
    known: &[(&str, Activation)],
) -> Result<Activation, ModelError> {
    let named = keys.given(key).map_or(Some(otherwise), Value::as_str);
    let found = known.iter().find(|(name, _)| named == Some(*name));
    let names = || known.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    found.map(|(_, activation)| *activation).ok_or_else(|| keys.wrong(key, format!("one of {}", names())))
}

fn to_json(config: &EncoderDecoderConfig, vocab_size: usize, special: &SpecialTokens) -> Value {
    let kind = config.architecture;
    let (model_type, class) = NAMES
        .iter()
        .find(|(of, ..)| *of == kind)
        .map_or(("", ""), |(_, model_type, classes)| (*model_type, classes[0]));
    let mut json = if kind.is_t5() { t5_json(config) } else { bart_json(config) };
    special.insert_into(&mut json);
    json.insert("architectures".into(), json!([class]));
    json.insert("model_type".into(), json!(model_type));
    json.insert("is_encoder_decoder".into(), json!(true));
    json.insert("vocab_size".into(), json!(vocab_size));
    json.insert("use_cache".into(), json!(true));
    // The one key is read by transformers 4, the other by 5.
    json.insert("torch_dtype".into(), json!("float32"));
    json.insert("dtype".into(), json!("float32"));
    Value::Object(json)
}

fn name_of(activation: Activation, known: &[(&'static str, Activation)]) -> &'static str {
    known.iter().find(|(_, of)| *of == activation).map_or("", |(name, _)| name)
}

fn object(json: Value) -> Map<String, Value> {
    match json {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn bart_json(c: &EncoderDecoderConfig) -> Map<String, Value> {
    let mut json = object(json!({
        "d_model": c.hidden_size,
        "encoder_layers": c.encoder_layers,
        "decoder_layers": c.decoder_layers,
        "num_hidden_layers": c.encoder_layers,
        "encoder_attention_heads": c.heads,
        "decoder_attention_heads": c.heads,
        "encoder_ffn_dim": c.ffn_size(),
        "decoder_ffn_dim": c.ffn_size(),
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "activation_function": name_of(c.activation(), BART_ACTIVATIONS),
        "scale_embedding": c.scale_embedding(),
        "dropout": c.dropout,
        "attention_dropout": c.attention_dropout,
        "activation_dropout": c.activation_dropout,
        "init_std": 0.02,
        "tie_word_embeddings": true,
    }));
    match c.sound() {
        None => json.insert("max_position_embeddings".into(), json!(c.max_seq_len)),
        Some((bands, places)) => {
            json.insert("num_mel_bins".into(), json!(bands));
            json.insert("max_source_positions".into(), json!(places));
            json.insert("max_target_positions".into(), json!(c.max_seq_len))
        }
    };
    if c.architecture == EncoderDecoderKind::Marian {
        json.insert("share_encoder_decoder_embeddings".into(), json!(true));
        json.insert("static_position_embeddings".into(), json!(true));
    }
    json
}

fn t5_json(c: &EncoderDecoderConfig) -> Map<String, Value> {
    let mut json = object(json!({
        "d_model": c.hidden_size,
        "d_kv": c.head_dim(),
        "d_ff": c.ffn_size(),
        "num_layers": c.encoder_layers,
        "num_decoder_layers": c.decoder_layers,
        "num_heads": c.heads,
        "n_positions": c.max_seq_len,
        "relative_attention_num_buckets": c.relative_buckets,
        "relative_attention_max_distance": c.relative_max_distance,
        "dropout_rate": c.dropout,
        "layer_norm_epsilon": c.norm_eps(),
        "initializer_factor": 1.0,
        "feed_forward_proj": name_of(c.activation(), T5_ACTIVATIONS),
        "tie_word_embeddings": c.tied(),
    }));
    if [c.attention_dropout, c.activation_dropout] != [c.dropout; 2] {
        let rates = json!({"attention_dropout": c.attention_dropout, "activation_dropout": c.activation_dropout});
        json.insert("danlu".into(), rates);
    }
    json
}
