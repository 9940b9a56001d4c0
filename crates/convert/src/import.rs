use std::path::{Path, PathBuf};

use danlu_store::atomic;
use danlu_weights::Kind;
use danlu_weights::gguf::{Gguf, Tensor};
use serde_json::{Value, json};

use crate::folder::{self, Planned};
use crate::names::{self, Direction, Family, Layout};
use crate::{ConvertError, settings, vocabulary};

/// The element type of an imported model's weights. What was quantised is exact in f32 alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    F16,
    Bf16,
}

impl Precision {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::F32,
            Self::F16 => Kind::F16,
            Self::Bf16 => Kind::Bf16,
        }
    }

    /// As config.json says it.
    fn torch(self) -> &'static str {
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
    /// "llama".
    pub architecture: &'static str,
    pub parameters: u64,
    pub vocabulary: usize,
    /// Tensors of each element type in the file.
    pub kinds: Vec<(Kind, usize)>,
    pub chat_template: bool,
}

/// Makes a folder in the layout of Hugging Face of a GGUF file. The folder appears whole or not at all, and must not be
/// there yet. `progress` is told tensors done and in all.
///
/// # Errors
/// A broken file, an architecture, tokenizer or element type that danlu does not know, a tensor that is missing or too
/// many; each names what it is.
pub fn import(
    file: &Path,
    out: &Path,
    precision: Precision,
    progress: &dyn Fn(usize, usize),
) -> Result<Imported, ConvertError> {
    let gguf = Gguf::open(file)?;
    let family = family(&gguf)?;
    let (mut config, shape) = settings::config(file, &gguf.metadata, family, &|name| gguf.tensor(name).is_some())?;
    let tokens = vocabulary::from_metadata(file, &gguf.metadata)?;
    let tensors = plan(&gguf, family)?;
    check_embedding(&gguf, tokens.size)?;
    if let Value::Object(config) = &mut config {
        config.insert("vocab_size".into(), json!(tokens.size));
        config.insert("torch_dtype".into(), json!(precision.torch()));
        config.insert("dtype".into(), json!(precision.torch()));
        config.extend(tokens.special.clone());
    }

    let work = beside(out)?;
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
    let planned: Vec<Planned> = tensors
        .iter()
        .map(|(tensor, name, layout)| Planned { name: name.clone(), shape: names::shape(*layout, &tensor.shape) })
        .collect();
    folder::write_weights(&work.join(folder::WEIGHTS), &planned, precision, |index| {
        let (tensor, _, layout) = &tensors[index];
        let values = names::laid_out(gguf.values(tensor)?, &tensor.shape, *layout, shape, Direction::ToFolder);
        progress(index + 1, tensors.len());
        Ok(values)
    })?;
    atomic::publish_dir(&work, out)?;
    Ok(Imported {
        architecture: family.name(),
        parameters: tensors.iter().map(|(tensor, ..)| tensor.elements()).sum(),
        vocabulary: tokens.size,
        kinds: kinds(&gguf.tensors),
        chat_template: template.is_some(),
    })
}

fn family(gguf: &Gguf) -> Result<Family, ConvertError> {
    let path = gguf.path();
    let name = gguf.metadata.text("general.architecture");
    let name = name.ok_or_else(|| ConvertError::malformed(path, "general.architecture is missing"))?;
    Family::from_name(name).ok_or_else(|| {
        let what = format!("the architecture {name:?}; danlu imports {} from GGUF", Family::KNOWN);
        ConvertError::unsupported(path, what)
    })
}

type Placed<'a> = (&'a Tensor, String, Layout);

/// Every tensor with its name in the folder.
fn plan(gguf: &Gguf, family: Family) -> Result<Vec<Placed<'_>>, ConvertError> {
    let mut placed = Vec::with_capacity(gguf.tensors.len());
    for tensor in &gguf.tensors {
        let (name, layout) = names::in_folder(family, &tensor.name).ok_or_else(|| {
            let what = format!("a {} has no tensor {:?} that danlu knows", family.name(), tensor.name);
            ConvertError::unsupported(gguf.path(), what)
        })?;
        placed.push((tensor, name, layout));
    }
    Ok(placed)
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

/// An empty folder beside `out`, to be published as it.
fn beside(out: &Path) -> Result<PathBuf, ConvertError> {
    if out.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(ConvertError::io("write", out, source));
    }
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let work = out.with_file_name(name);
    match std::fs::remove_dir_all(&work) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(ConvertError::io("remove", &work, e)),
        _ => {}
    }
    std::fs::create_dir_all(&work).map_err(|e| ConvertError::io("create", &work, e))?;
    Ok(work)
}

fn kinds(tensors: &[Tensor]) -> Vec<(Kind, usize)> {
    let count = |kind| (kind, tensors.iter().filter(|tensor| tensor.kind == kind).count());
    Kind::all().map(count).filter(|(_, count)| *count > 0).collect()
}
