use std::collections::HashSet;
use std::path::Path;

use danlu_store::atomic;
use danlu_weights::gguf::{Gguf, Tensor};
use danlu_weights::{Kind, safetensors};
use serde_json::{Value, json};

use crate::names::{self, Direction, Family, Layout};
use crate::settings::Shape;
use crate::{ConvertError, copy, ctranslate2, folder, settings, tokenizer};

/// The element type of a model's weights. What was quantised is exact in f32 alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    F16,
    Bf16,
}

impl Precision {
    /// By its name in GGUF, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::Bf16].into_iter().find(|p| p.kind().name().eq_ignore_ascii_case(name))
    }

    /// The same among the element types of GGUF.
    pub fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::F32,
            Self::F16 => Kind::F16,
            Self::Bf16 => Kind::Bf16,
        }
    }

    /// As config.json says it.
    pub(crate) fn torch(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// What was imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// "llama" of a GGUF file, "LlamaForCausalLM" of a folder.
    pub architecture: String,
    pub parameters: u64,
    /// Tokens, where there is a tokenizer.
    pub vocabulary: usize,
    /// Tensors of each element type in the file.
    pub kinds: Vec<(String, usize)>,
    pub chat_template: bool,
}

/// Makes a folder in the layout of Hugging Face of a GGUF file, of a folder whose weights are checkpoints of PyTorch or
/// whose tokenizer is not tokenizer.json, or of Whisper in the form of CTranslate2. The folder appears whole or not at all,
/// and must not be there yet. Weights have the given precision, else f32 of a GGUF file and what they had of a folder.
/// `progress` is told tensors done and in all.
///
/// # Errors
/// A broken file, an architecture, tokenizer or element type that danlu does not know, a tensor that is missing or too
/// many; each names what it is.
pub fn import(
    path: &Path,
    out: &Path,
    precision: Option<Precision>,
    progress: &dyn Fn(usize, usize),
) -> Result<Imported, ConvertError> {
    match path.is_dir() {
        true if ctranslate2::is(path) => ctranslate2::import(path, out, precision, progress),
        true => copy::copy(path, out, precision, progress),
        false => from_gguf(path, out, precision.unwrap_or_default(), progress),
    }
}

/// Whether [`import`] takes this for a folder in the layout of Hugging Face, of which it moves weights and tokenizer and
/// asks nothing about the model: whether danlu has such a model, the caller must ask.
pub fn is_folder_of_transformers(path: &Path) -> bool {
    path.is_dir() && !ctranslate2::is(path)
}

fn from_gguf(
    file: &Path,
    out: &Path,
    precision: Precision,
    progress: &dyn Fn(usize, usize),
) -> Result<Imported, ConvertError> {
    let gguf = Gguf::open(file)?;
    let (mut config, family, shape) = described(&gguf)?;
    let tokens = tokenizer::gguf::from_metadata(file, &gguf.metadata)?;
    let tensors = plan(&gguf, family, shape)?;
    let layers = config["num_hidden_layers"].as_u64().or(config["n_layer"].as_u64()).unwrap_or(0);
    check_layers(&gguf, family, layers)?;
    check_embedding(&gguf, tokens.size)?;
    if let Value::Object(config) = &mut config {
        config.insert("vocab_size".into(), json!(tokens.size));
        config.insert("torch_dtype".into(), json!(precision.torch()));
        config.insert("dtype".into(), json!(precision.torch()));
        config.extend(tokens.special.clone());
    }

    let work = folder::beside(out)?;
    let write = |name: &str, value: &Value| folder::write_json(&work.join(name), value);
    write(folder::CONFIG, &config)?;
    write(folder::GENERATION, &Value::Object(tokens.special.clone()))?;
    write(folder::TOKENIZER, &tokens.tokenizer)?;
    write(folder::TOKENIZER_CONFIG, &tokens.config)?;
    let template = tokens.config["chat_template"].as_str();
    if let Some(template) = template {
        let path = work.join(folder::TEMPLATE);
        std::fs::write(&path, template).map_err(|e| ConvertError::io("write", &path, e))?;
    }
    let planned =
        |placed: &Placed| folder::planned(placed.name.clone(), names::shape(placed.layout, placed.shape()), precision);
    let planned: Vec<_> = tensors.iter().map(planned).collect();
    safetensors::write::<ConvertError>(&work.join(danlu_weights::SAFETENSORS), &planned, |index| {
        let placed = &tensors[index];
        let values = gguf.part(placed.tensor, placed.part.0, placed.part.1)?;
        let values = names::laid_out(values, placed.shape(), placed.layout, shape, Direction::ToFolder);
        progress(index + 1, tensors.len());
        Ok(danlu_weights::encode(precision.kind(), &values).unwrap_or_default()) // blocks of one are always whole
    })?;
    atomic::publish_dir(&work, out)?;
    Ok(Imported {
        architecture: family.name().into(),
        parameters: gguf.tensors.iter().map(Tensor::elements).sum(),
        vocabulary: tokens.size,
        kinds: kinds(&gguf.tensors),
        chat_template: template.is_some(),
    })
}

/// config.json of a file's model, but for its vocabulary.
pub(crate) fn described(gguf: &Gguf) -> Result<(Value, Family, Shape), ConvertError> {
    let family = family(gguf)?;
    let has = |name: &str| gguf.tensor(name).is_some();
    let (config, shape) = settings::config(gguf.path(), &gguf.metadata, family, &has)?;
    Ok((config, family, shape))
}

fn family(gguf: &Gguf) -> Result<Family, ConvertError> {
    let path = gguf.path();
    let name = gguf.metadata.text("general.architecture");
    let name = name.ok_or_else(|| ConvertError::malformed(path, "general.architecture is missing"))?;
    let family = Family::from_name(name).ok_or_else(|| {
        let what = format!("the architecture {name:?}; danlu imports {} from GGUF", Family::KNOWN);
        ConvertError::unsupported(path, what)
    })?;
    let experts = gguf.metadata.count("llama.expert_count").is_some_and(|count| count > 1);
    Ok(if family == Family::Llama && experts { Family::Mixtral } else { family })
}

/// A tensor, or the part of one, with its name in the folder.
struct Placed<'a> {
    tensor: &'a Tensor,
    name: String,
    layout: Layout,
    /// Which of how many equal parts.
    part: (u64, u64),
}

impl Placed<'_> {
    /// Of the part in GGUF.
    fn shape(&self) -> &[u64] {
        match self.layout {
            Layout::Expert => self.tensor.shape.get(1..).unwrap_or_default(),
            _ => &self.tensor.shape,
        }
    }
}

/// Every tensor with its name in the folder.
fn plan(gguf: &Gguf, family: Family, shape: Shape) -> Result<Vec<Placed<'_>>, ConvertError> {
    let mut placed = Vec::with_capacity(gguf.tensors.len());
    for tensor in &gguf.tensors {
        let (name, layout) = names::in_folder(family, &tensor.name).ok_or_else(|| {
            let what = format!("a {} has no tensor {:?} that danlu knows", family.name(), tensor.name);
            ConvertError::unsupported(gguf.path(), what)
        })?;
        if !names::fits(&tensor.shape, layout, shape) {
            let what = format!(
                "the tensor {:?} of {:?} has no whole pairs of rows for each of {} heads, {} for keys",
                tensor.name, tensor.shape, shape.heads, shape.kv_heads
            );
            return Err(ConvertError::malformed(gguf.path(), what));
        }
        if layout != Layout::Expert {
            placed.push(Placed { tensor, name, layout, part: (0, 1) });
            continue;
        }
        let experts = shape.experts as u64;
        if tensor.shape.first() != Some(&experts) || tensor.shape.len() != 3 {
            let what = format!("the tensor {:?} of {:?}, for {experts} experts", tensor.name, tensor.shape);
            return Err(ConvertError::malformed(gguf.path(), what));
        }
        placed.extend((0..experts).map(|expert| {
            let name = name.replacen("{}", &expert.to_string(), 1);
            Placed { tensor, name, layout, part: (expert, experts) }
        }));
    }
    Ok(placed)
}

/// Every layer has what its family has, and none is beyond the last.
fn check_layers(gguf: &Gguf, family: Family, layers: u64) -> Result<(), ConvertError> {
    let malformed = |what: String| Err(ConvertError::malformed(gguf.path(), what));
    let there: HashSet<&str> = gguf.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    for pattern in names::required(family) {
        let count = if pattern.contains("{}") { layers } else { 1 };
        // It ends at the first that is missing, however many layers the file claims.
        let mut all = (0..count).map(|layer| pattern.replacen("{}", &layer.to_string(), 1));
        if let Some(name) = all.find(|name| !there.contains(name.as_str())) {
            return malformed(format!("the tensor {name:?} is missing"));
        }
    }
    let beyond = |name: &str| {
        let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
        number.is_some_and(|number| number.parse::<u64>().map_or(true, |layer| layer >= layers))
    };
    match gguf.tensors.iter().find(|tensor| beyond(&tensor.name)) {
        Some(tensor) => malformed(format!("the tensor {:?} of a model of {layers} layers", tensor.name)),
        None => Ok(()),
    }
}

fn check_embedding(gguf: &Gguf, size: usize) -> Result<(), ConvertError> {
    let rows = gguf.tensor("token_embd.weight").and_then(|tensor| tensor.shape.first().copied());
    match rows {
        Some(rows) if rows == size as u64 => Ok(()),
        Some(rows) => {
            Err(ConvertError::malformed(gguf.path(), format!("{size} tokens, and an embedding of {rows} rows")))
        }
        None => Err(ConvertError::malformed(gguf.path(), "the tensor \"token_embd.weight\" is missing")),
    }
}

fn kinds(tensors: &[Tensor]) -> Vec<(String, usize)> {
    let count = |kind: Kind| (kind.to_string(), tensors.iter().filter(|tensor| tensor.kind == kind).count());
    Kind::all().map(count).filter(|(_, count)| *count > 0).collect()
}
