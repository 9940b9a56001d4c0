//! Whisper from CTranslate2 (`faster-whisper`) to a folder in the layout of Hugging Face.

use std::path::Path;

use danlu_store::atomic;
use danlu_weights::ctranslate2::{self, MODEL, Model};
use danlu_weights::safetensors::Planned;
use danlu_weights::{SAFETENSORS, Stored, encode, safetensors};
use serde_json::{Map, Value, json};

use crate::{ConvertError, Imported, Precision, folder, tokenizer};

/// The names in CTranslate2's layers and those of transformers. Where several follow, the rows are theirs in turn.
const ENCODER: &[(&str, &[&str])] = &[
    ("self_attention/layer_norm", &["self_attn_layer_norm"]),
    ("self_attention/linear_0", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    ("self_attention/linear_1", &["self_attn.out_proj"]),
    ("ffn/layer_norm", &["final_layer_norm"]),
    ("ffn/linear_0", &["fc1"]),
    ("ffn/linear_1", &["fc2"]),
];
/// What layers of the decoder have beside those.
const DECODER: &[(&str, &[&str])] = &[
    ("attention/layer_norm", &["encoder_attn_layer_norm"]),
    ("attention/linear_0", &["encoder_attn.q_proj"]),
    ("attention/linear_1", &["encoder_attn.k_proj", "encoder_attn.v_proj"]),
    ("attention/linear_2", &["encoder_attn.out_proj"]),
];
/// What is outside of layers.
const OUTSIDE: &[(&str, &str)] = &[
    ("encoder/conv1", "model.encoder.conv1"),
    ("encoder/conv2", "model.encoder.conv2"),
    ("encoder/position_encodings", "model.encoder.embed_positions"),
    ("encoder/layer_norm", "model.encoder.layer_norm"),
    ("decoder/embeddings", "model.decoder.embed_tokens"),
    ("decoder/position_encodings", "model.decoder.embed_positions"),
    ("decoder/layer_norm", "model.decoder.layer_norm"),
];
/// Settings that must have these values: layers normalise what they read, GELU by the error function, no ALiBi.
const SETTINGS: &[(&str, i64)] = &[
    ("encoder/pre_norm", 1),
    ("decoder/pre_norm", 1),
    ("decoder/activation", 3),
    ("encoder/activation", 3),
    ("decoder/alibi", 0),
    ("decoder/scale_embeddings", 0),
    ("decoder/start_from_zero_embedding", 0),
];
/// Settings that tell how words are laid on the time axis, which danlu does not use.
const UNUSED: &[&str] = &["decoder/alignment_heads", "decoder/alignment_layer"];

/// Whether a folder is a model of CTranslate2.
pub(crate) fn is(folder: &Path) -> bool {
    ctranslate2::is(&folder.join(MODEL))
}

/// What [`crate::import`] does with such a folder.
pub(crate) fn import(
    from: &Path,
    out: &Path,
    precision: Option<Precision>,
    progress: &dyn Fn(usize, usize),
) -> Result<Imported, ConvertError> {
    let path = from.join(MODEL);
    let model = ctranslate2::open(&path)?;
    if model.specification != "WhisperSpec" {
        let what = format!("a CTranslate2 model of {}; danlu reads WhisperSpec", model.specification);
        return Err(ConvertError::unsupported(&path, what));
    }
    let settings = folder::optional_json(&from.join(folder::CONFIG))?;
    let tokens = from.join(folder::TOKENIZER);
    if !tokens.exists() {
        let what = "no tokenizer.json; take that of the model which was converted, as faster-whisper does";
        return Err(ConvertError::malformed(from, what));
    }
    let tokens = folder::read_json(&tokens)?;
    let shape = Shape::of(&path, &model)?;
    let places = places(&path, &model)?;
    let all = |dtype: &str| model.variables.iter().all(|v| v.dtype == dtype || !v.dtype.contains('F'));
    let kept = if all("F16") { Precision::F16 } else { Precision::F32 };
    let kept = if model.variables.iter().any(|v| v.dtype == "I8" && v.shape.len() > 1) { Precision::F32 } else { kept };
    let precision = precision.unwrap_or(kept);
    let (config, generation) = configs(&shape, precision, &tokens, &settings, &path)?;

    let work = folder::beside(out)?;
    folder::write_json(&work.join(folder::CONFIG), &config)?;
    folder::write_json(&work.join(folder::GENERATION), &generation)?;
    folder::write_json(&work.join(folder::TOKENIZER), &tokens)?;
    folder::write_json(&work.join(folder::TOKENIZER_CONFIG), &tokenizer_config(&shape))?;
    folder::write_json(&work.join("preprocessor_config.json"), &preprocessor(&shape))?;
    let plan: Vec<Planned> =
        places.iter().map(|place| folder::planned(place.name.clone(), place.shape.clone(), precision)).collect();
    safetensors::write::<ConvertError>(&work.join(SAFETENSORS), &plan, |index| {
        progress(index + 1, places.len());
        let values = places[index].values(&path, &model)?;
        Ok(encode(precision.kind(), &values).unwrap_or_default())
    })?;
    atomic::publish_dir(&work, out)?;
    Ok(Imported {
        architecture: "WhisperForConditionalGeneration".into(),
        parameters: places.iter().map(|place| place.shape.iter().product::<u64>()).sum(),
        vocabulary: tokenizer::size(&tokens),
        kinds: kinds(&places),
        chat_template: false,
    })
}

/// A tensor of the folder, and the rows of the variable that it is.
struct Place<'a> {
    variable: &'a Stored,
    name: String,
    shape: Vec<u64>,
    /// Which of how many equal parts of the variable's rows.
    part: (u64, u64),
}

impl Place<'_> {
    fn values(&self, path: &Path, model: &Model) -> Result<Vec<f32>, ConvertError> {
        let values = match self.variable.dtype.as_str() {
            "I8" => whole(path, self.variable, model)?,
            _ => self.variable.values()?,
        };
        let (part, parts) = (self.part.0 as usize, self.part.1 as usize);
        let length = values.len() / parts;
        Ok(values[part * length..(part + 1) * length].to_vec())
    }
}

/// The values of a matrix in whole numbers: each row times the same number, which is kept beside it.
fn whole(path: &Path, variable: &Stored, model: &Model) -> Result<Vec<f32>, ConvertError> {
    let rows = variable.shape.first().copied().unwrap_or(1);
    let scale = model.variable(&format!("{}_scale", variable.name)).map(Stored::values).transpose()?;
    let scale = scale.filter(|scale| scale.len() as u64 == rows || scale.len() == 1).ok_or_else(|| {
        ConvertError::malformed(path, format!("the variable {:?} of I8 has no scale for its rows", variable.name))
    })?;
    let bytes = variable.bytes()?;
    let width = (bytes.len() / rows.max(1) as usize).max(1);
    let row = |(row, values): (usize, &[u8])| {
        let scale = scale[row.min(scale.len() - 1)];
        values.iter().map(|x| f32::from(i8::from_le_bytes([*x])) / scale).collect::<Vec<_>>()
    };
    Ok(bytes.chunks(width).enumerate().flat_map(row).collect())
}

/// Every weight with its place in the folder.
fn places<'a>(path: &Path, model: &'a Model) -> Result<Vec<Place<'a>>, ConvertError> {
    let mut places = Vec::new();
    for variable in &model.variables {
        let name = variable.name.as_str();
        let scale = name.strip_suffix("_scale").is_some_and(|of| model.variable(of).is_some_and(|v| v.dtype == "I8"));
        if scale || is_setting(name) {
            check_setting(path, variable)?;
            continue;
        }
        let names = names(name).ok_or_else(|| {
            ConvertError::unsupported(path, format!("a Whisper has no variable {name:?} that danlu knows"))
        })?;
        let parts = names.len() as u64;
        if !variable.shape.first().is_some_and(|rows| rows.is_multiple_of(parts)) {
            let what = format!("the variable {name:?} of {:?}, for {parts} tensors", variable.shape);
            return Err(ConvertError::malformed(path, what));
        }
        for (part, name) in names.into_iter().enumerate() {
            let mut shape = variable.shape.clone();
            shape[0] /= parts;
            let place = Place { variable, name, shape, part: (part as u64, parts) };
            if place.name.ends_with("k_proj.bias") {
                // Keys have no bias in Whisper; CTranslate2 keeps one of zeros where three projections are one.
                if place.values(path, model)?.iter().any(|x| *x != 0.0) {
                    let what = format!("a bias of the keys in {:?}, which Whisper does not have", variable.name);
                    return Err(ConvertError::unsupported(path, what));
                }
                continue;
            }
            places.push(place);
        }
    }
    Ok(places)
}

fn is_setting(name: &str) -> bool {
    UNUSED.contains(&name) || name.ends_with("/num_heads") || SETTINGS.iter().any(|(setting, _)| *setting == name)
}

fn check_setting(path: &Path, variable: &Stored) -> Result<(), ConvertError> {
    let Some((name, wanted)) = SETTINGS.iter().find(|(name, _)| *name == variable.name) else { return Ok(()) };
    match number(variable)? {
        Some(found) if found == *wanted => Ok(()),
        found => {
            let found = found.map_or("no number".to_owned(), |found| found.to_string());
            Err(ConvertError::unsupported(path, format!("{name} is {found}; danlu's Whisper has {wanted}")))
        }
    }
}

/// A setting's whole number.
fn number(variable: &Stored) -> Result<Option<i64>, ConvertError> {
    let bytes = variable.bytes()?;
    Ok(match (variable.dtype.as_str(), bytes.as_slice()) {
        ("I8", [a]) => Some(i64::from(i8::from_le_bytes([*a]))),
        ("I16", [a, b]) => Some(i64::from(i16::from_le_bytes([*a, *b]))),
        ("I32", [a, b, c, d]) => Some(i64::from(i32::from_le_bytes([*a, *b, *c, *d]))),
        _ => None,
    })
}

/// The names in the folder of a variable's equal parts.
fn names(variable: &str) -> Option<Vec<String>> {
    let (stem, last) = variable.rsplit_once('/')?;
    let last = match last {
        "gamma" | "weight" | "encodings" => "weight",
        "beta" | "bias" => "bias",
        _ => return None,
    };
    if let Some((_, name)) = OUTSIDE.iter().find(|(of, _)| *of == stem) {
        return Some(vec![format!("{name}.{last}")]);
    }
    let (stack, part) = stem.split_once("/layer_")?;
    let (layer, part) = part.split_once('/')?;
    layer.parse::<u32>().ok()?;
    let more = if stack == "decoder" { DECODER } else { &[] };
    let (_, names) = ENCODER.iter().chain(more).find(|(of, _)| *of == part)?;
    let known = ["encoder", "decoder"].contains(&stack);
    known.then(|| names.iter().map(|name| format!("model.{stack}.layers.{layer}.{name}.{last}")).collect())
}

/// What the weights' shapes tell.
struct Shape {
    hidden: u64,
    vocabulary: u64,
    bands: u64,
    /// Of sound and of text.
    places: [u64; 2],
    /// Of encoder and decoder.
    layers: [usize; 2],
    heads: i64,
    inner: u64,
}

impl Shape {
    fn of(path: &Path, model: &Model) -> Result<Self, ConvertError> {
        let missing = |name: &str| ConvertError::malformed(path, format!("the variable {name:?} is missing"));
        let dim = |name: &str, at: usize| {
            let variable = model.variable(name).ok_or_else(|| missing(name))?;
            variable.shape.get(at).copied().ok_or_else(|| {
                ConvertError::malformed(path, format!("the variable {name:?} has the shape {:?}", variable.shape))
            })
        };
        let layers = |stack: &str| {
            let norm = |layer: &usize| model.variable(&format!("{stack}/layer_{layer}/ffn/layer_norm/gamma")).is_some();
            (0..).take_while(norm).count()
        };
        let heads = model.variable("encoder/num_heads").ok_or_else(|| missing("encoder/num_heads"))?;
        let heads = number(heads)?.filter(|heads| *heads > 0);
        Ok(Shape {
            hidden: dim("decoder/embeddings/weight", 1)?,
            vocabulary: dim("decoder/embeddings/weight", 0)?,
            bands: dim("encoder/conv1/weight", 1)?,
            places: [dim("encoder/position_encodings/encodings", 0)?, dim("decoder/position_encodings/encodings", 0)?],
            layers: [layers("encoder"), layers("decoder")],
            heads: heads.ok_or_else(|| ConvertError::malformed(path, "encoder/num_heads is no number above 0"))?,
            inner: dim("encoder/layer_0/ffn/linear_0/weight", 0)?,
        })
    }

    /// OpenAI's models of English alone have one token less.
    fn multilingual(&self) -> bool {
        self.vocabulary >= 51_865
    }
}

/// config.json and generation_config.json.
fn configs(
    shape: &Shape,
    precision: Precision,
    tokens: &Value,
    settings: &Value,
    path: &Path,
) -> Result<(Value, Value), ConvertError> {
    let id = |token: &str| -> Result<u64, ConvertError> {
        let id = tokens["added_tokens"].as_array().into_iter().flatten().find(|added| added["content"] == token);
        let id = id.and_then(|added| added["id"].as_u64()).filter(|id| *id < shape.vocabulary);
        id.ok_or_else(|| ConvertError::malformed(path, format!("its tokenizer.json has no token {token}")))
    };
    let (end, start) = (id("<|endoftext|>")?, id("<|startoftranscript|>")?);
    let mut special = Map::new();
    special.insert("bos_token_id".into(), json!(end));
    special.insert("eos_token_id".into(), json!(end));
    special.insert("pad_token_id".into(), json!(end));
    special.insert("decoder_start_token_id".into(), json!(start));
    let mut config = json!({
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": true,
        "vocab_size": shape.vocabulary,
        "d_model": shape.hidden,
        "num_mel_bins": shape.bands,
        "encoder_layers": shape.layers[0],
        "decoder_layers": shape.layers[1],
        "num_hidden_layers": shape.layers[0],
        "encoder_attention_heads": shape.heads,
        "decoder_attention_heads": shape.heads,
        "encoder_ffn_dim": shape.inner,
        "decoder_ffn_dim": shape.inner,
        "max_source_positions": shape.places[0],
        "max_target_positions": shape.places[1],
        "activation_function": "gelu",
        "scale_embedding": false,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "use_cache": true,
        "torch_dtype": precision.torch(),
        "dtype": precision.torch(),
    });
    let mut generation = json!({
        "is_multilingual": shape.multilingual(),
        "no_timestamps_token_id": id("<|notimestamps|>")?,
        "return_timestamps": false,
        "max_length": shape.places[1],
        "max_initial_timestamp_index": 50,
        "prev_sot_token_id": id("<|startofprev|>")?,
    });
    let given = [
        ("suppress_ids", "suppress_tokens"),
        ("suppress_ids_begin", "begin_suppress_tokens"),
        ("alignment_heads", "alignment_heads"),
    ];
    for (theirs, ours) in given {
        if !settings[theirs].is_null() {
            generation[ours] = settings[theirs].clone();
        }
    }
    if shape.multilingual() {
        generation["task_to_id"] = json!({ "transcribe": id("<|transcribe|>")?, "translate": id("<|translate|>")? });
        generation["lang_to_id"] = languages(tokens, settings);
    }
    for object in [&mut config, &mut generation] {
        if let Value::Object(object) = object {
            object.extend(special.clone());
        }
    }
    Ok((config, generation))
}

/// Tokens of languages and their numbers.
fn languages(tokens: &Value, settings: &Value) -> Value {
    let named = tokens["added_tokens"].as_array().into_iter().flatten();
    let ids = settings["lang_ids"].as_array();
    let of = named.filter(|added| ids.is_some_and(|ids| ids.contains(&added["id"])));
    let entries = of.filter_map(|added| Some((added["content"].as_str()?.to_owned(), added["id"].clone())));
    Value::Object(entries.collect())
}

fn tokenizer_config(shape: &Shape) -> Value {
    json!({
        "tokenizer_class": "WhisperTokenizer",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "add_prefix_space": false,
        "model_max_length": shape.places[1],
    })
}

/// As transformers' feature extractor reads it.
fn preprocessor(shape: &Shape) -> Value {
    json!({
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": shape.bands,
        "sampling_rate": 16_000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 2 * shape.places[0] / 100,
        "n_samples": 2 * shape.places[0] * 160,
        "nb_max_frames": 2 * shape.places[0],
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": false,
    })
}

/// Tensors of each element type in the file.
fn kinds(places: &[Place<'_>]) -> Vec<(String, usize)> {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for Place { variable, .. } in places {
        match kinds.iter_mut().find(|(kind, _)| *kind == variable.dtype) {
            Some((_, count)) => *count += 1,
            None => kinds.push((variable.dtype.clone(), 1)),
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_transformers() {
        let cases: [(&str, &[&str]); 6] = [
            ("encoder/conv1/bias", &["model.encoder.conv1.bias"]),
            ("decoder/embeddings/weight", &["model.decoder.embed_tokens.weight"]),
            ("encoder/position_encodings/encodings", &["model.encoder.embed_positions.weight"]),
            ("decoder/layer_3/ffn/layer_norm/gamma", &["model.decoder.layers.3.final_layer_norm.weight"]),
            (
                "encoder/layer_0/self_attention/linear_0/weight",
                &[
                    "model.encoder.layers.0.self_attn.q_proj.weight",
                    "model.encoder.layers.0.self_attn.k_proj.weight",
                    "model.encoder.layers.0.self_attn.v_proj.weight",
                ],
            ),
            (
                "decoder/layer_1/attention/linear_1/bias",
                &["model.decoder.layers.1.encoder_attn.k_proj.bias", "model.decoder.layers.1.encoder_attn.v_proj.bias"],
            ),
        ];
        for (theirs, ours) in cases {
            assert_eq!(names(theirs).as_deref(), Some(&ours.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]));
        }
        for none in
            ["encoder/layer_0/attention/linear_0/weight", "x", "encoder/layer_x/ffn/linear_0/weight", "a/b/weight"]
        {
            assert_eq!(names(none), None, "{none}");
        }
    }
}
