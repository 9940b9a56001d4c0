use std::path::Path;

use danlu_weights::gguf::{Array, Gguf, Metadata, Value};

use danlu_weights::{Stored, pytorch, safetensors, tensors_of};
use serde_json::{Value as Json, json};

use crate::{ConvertError, folder, import, tokenizer};

/// What a file or folder of a model holds, by its own account; no weights are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// "GGUF version 3", "folder in the layout of Hugging Face", "safetensors", "PyTorch".
    pub form: String,
    pub architecture: Option<String>,
    /// Names and values of the settings, in the order of the file. Long lists are counted.
    pub settings: Vec<(String, String)>,
    /// config.json: the folder's, or what a GGUF file becomes, where it is of an architecture that danlu imports.
    pub config: Option<Json>,
    pub tensors: Vec<Listed>,
    /// Kind and split: "gpt2 smollm", "BPE".
    pub tokenizer: Option<String>,
    pub vocabulary: Option<usize>,
    pub chat_template: Option<String>,
}

/// A tensor in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    /// Outermost first.
    pub shape: Vec<u64>,
    /// The element type as the file names it.
    pub kind: String,
    pub bytes: u64,
}

impl Inspection {
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum()
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// Tensors and bytes by element type, the largest share first.
    pub fn kinds(&self) -> Vec<(String, usize, u64)> {
        let mut kinds: Vec<(String, usize, u64)> = Vec::new();
        for tensor in &self.tensors {
            match kinds.iter_mut().find(|(kind, ..)| *kind == tensor.kind) {
                Some((_, count, bytes)) => (*count, *bytes) = (*count + 1, *bytes + tensor.bytes),
                None => kinds.push((tensor.kind.clone(), 1, tensor.bytes)),
            }
        }
        kinds.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
        kinds
    }
}

/// Looks into a file of GGUF, safetensors or PyTorch, or a model's folder.
///
/// # Errors
/// A file that is none of these, or broken.
pub fn inspect(path: &Path) -> Result<Inspection, ConvertError> {
    if path.is_dir() {
        return of_folder(path);
    }
    match path.extension().and_then(|end| end.to_str()) {
        Some("safetensors") => Ok(of_tensors("safetensors", safetensors::open(path)?)),
        Some("bin" | "pt" | "pth") => Ok(of_tensors("PyTorch", pytorch::open(path)?)),
        _ => of_gguf(path),
    }
}

fn of_tensors(form: &str, tensors: Vec<Stored>) -> Inspection {
    Inspection {
        form: form.into(),
        architecture: None,
        settings: Vec::new(),
        config: None,
        tensors: listed(tensors),
        tokenizer: None,
        vocabulary: None,
        chat_template: None,
    }
}

fn of_gguf(path: &Path) -> Result<Inspection, ConvertError> {
    let gguf = Gguf::open(path)?;
    let metadata = &gguf.metadata;
    let kind = metadata.text("tokenizer.ggml.model");
    let vocabulary = metadata.texts("tokenizer.ggml.tokens").map(<[String]>::len);
    let rows = gguf.tensor("token_embd.weight").and_then(|tensor| tensor.shape.first().copied());
    let config = import::described(&gguf).ok().map(|(mut config, ..)| {
        config["vocab_size"] = json!(vocabulary.map_or(rows, |tokens| Some(tokens as u64)));
        config
    });
    Ok(Inspection {
        config,
        form: format!("GGUF version {}", gguf.version),
        architecture: metadata.text("general.architecture").map(str::to_owned),
        settings: settings(metadata),
        tensors: gguf.tensors.iter().map(of_tensor).collect(),
        tokenizer: kind.map(|kind| match metadata.text("tokenizer.ggml.pre") {
            Some(split) => format!("{kind} {split}"),
            None => kind.into(),
        }),
        vocabulary,
        chat_template: metadata.text("tokenizer.chat_template").map(str::to_owned),
    })
}

fn of_tensor(tensor: &danlu_weights::gguf::Tensor) -> Listed {
    let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
    Listed { name, shape, kind: tensor.kind.to_string(), bytes: tensor.bytes() }
}

fn settings(metadata: &Metadata) -> Vec<(String, String)> {
    let shown = metadata.iter().filter(|(name, _)| *name != "tokenizer.chat_template");
    shown.map(|(name, value)| (name.to_owned(), in_words(value))).collect()
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::F32(x) => x.to_string(),
        Value::F64(x) => x.to_string(),
        Value::U8(n) => n.to_string(),
        Value::U16(n) => n.to_string(),
        Value::U32(n) => n.to_string(),
        Value::U64(n) => n.to_string(),
        Value::I8(n) => n.to_string(),
        Value::I16(n) => n.to_string(),
        Value::I32(n) => n.to_string(),
        Value::I64(n) => n.to_string(),
        Value::Array(Array::Ints(list)) if list.len() <= 8 => format!("{list:?}"),
        Value::Array(Array::Floats(list)) if list.len() <= 8 => format!("{list:?}"),
        Value::Array(list) => format!("{} values", list.len()),
    }
}

fn of_folder(path: &Path) -> Result<Inspection, ConvertError> {
    let config = folder::read_json(&path.join(folder::CONFIG))?;
    let tokens = folder::optional_json(&path.join(folder::TOKENIZER))?;
    let fields = config.as_object().into_iter().flatten();
    Ok(Inspection {
        form: "folder in the layout of Hugging Face".into(),
        architecture: config["architectures"][0].as_str().or(config["model_type"].as_str()).map(str::to_owned),
        settings: fields
            .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect(),
        tensors: listed(tensors_of(path)?),
        config: Some(config.clone()),
        tokenizer: tokens["model"]["type"].as_str().map(str::to_owned),
        vocabulary: (!tokens.is_null()).then(|| tokenizer::vocabulary(&tokens)),
        chat_template: danlu_text::chat_template(path)?,
    })
}

fn listed(tensors: Vec<Stored>) -> Vec<Listed> {
    let each = |t: Stored| Listed { bytes: t.len(), name: t.name, shape: t.shape, kind: t.dtype };
    tensors.into_iter().map(each).collect()
}
