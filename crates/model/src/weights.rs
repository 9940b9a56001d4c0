//! Weights in safetensors files: names and layouts of each kind of folder, reading with checks, writing.

use crate::init::{Source, Start};
use crate::{ModelError, SavedAs};
use danlu_memory::ReadOnlyMap;
use danlu_ops::Int8Weight;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How a parameter lies in a file, relative to danlu's own (out, in).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Same,
    /// (in, out): GPT-2's Conv1D.
    Transposed,
    /// One of the three parts of GPT-2's `c_attn`: columns of (in, 3 out) for weights, elements of (3 out) for biases.
    Third(usize),
}

/// The name and layout of danlu's parameter `name` in a GPT-2 folder.
pub(crate) fn gpt2_place(name: &str) -> (String, Layout) {
    let Some(inner) = name.strip_prefix("model.") else { return (name.to_string(), Layout::Same) };
    let (stem, kind) = inner.rsplit_once('.').unwrap_or((inner, ""));
    let whole = |to: String| (format!("transformer.{to}.{kind}"), Layout::Same);
    let Some((layer, part)) = stem.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) else {
        return whole(match stem {
            "embed_tokens" => "wte".to_string(),
            "embed_positions" => "wpe".to_string(),
            "norm" => "ln_f".to_string(),
            other => other.to_string(),
        });
    };
    let matrix = if kind == "weight" { Layout::Transposed } else { Layout::Same };
    let (part, layout) = match part {
        "input_layernorm" => ("ln_1", Layout::Same),
        "post_attention_layernorm" => ("ln_2", Layout::Same),
        "self_attn.q_proj" => ("attn.c_attn", Layout::Third(0)),
        "self_attn.k_proj" => ("attn.c_attn", Layout::Third(1)),
        "self_attn.v_proj" => ("attn.c_attn", Layout::Third(2)),
        "self_attn.o_proj" => ("attn.c_proj", matrix),
        "mlp.up_proj" => ("mlp.c_fc", matrix),
        "mlp.down_proj" => ("mlp.c_proj", matrix),
        other => (other, Layout::Same),
    };
    (format!("transformer.h.{layer}.{part}.{kind}"), layout)
}

/// The name of danlu's parameter `name` in a Mixtral folder.
pub(crate) fn mixtral_name(name: &str) -> String {
    let Some((layer, part)) = name.split_once(".mlp.") else { return name.to_string() };
    let part = part.replace("gate_proj", "w1").replace("up_proj", "w3").replace("down_proj", "w2");
    format!("{layer}.block_sparse_moe.{part}")
}

/// From (rows, columns) to (columns, rows).
pub(crate) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for c in 0..columns {
        out.extend((0..rows).map(|r| values[r * columns + c]));
    }
    out
}

/// A model's weights file, or its several parts, mapped: what is read of them need not stay in memory.
pub(crate) struct WeightFiles(Vec<(PathBuf, ReadOnlyMap)>);

impl WeightFiles {
    /// Reads `model.safetensors`, or the parts that `model.safetensors.index.json` names.
    pub(crate) fn read(dir: &Path) -> Result<Self, ModelError> {
        let index = dir.join("model.safetensors.index.json");
        let whole = dir.join(crate::WEIGHTS_FILE);
        if whole.exists() || !index.exists() {
            let pytorch = ["pytorch_model.bin", "pytorch_model.bin.index.json"].map(|name| dir.join(name));
            if let Some(path) = pytorch.into_iter().find(|path| !whole.exists() && path.exists()) {
                return Err(ModelError::PyTorch { path });
            }
            return Ok(WeightFiles(vec![map_file(whole)?]));
        }
        let read = |source| ModelError::Io { action: "read", path: index.clone(), source };
        let bytes = std::fs::read(&index).map_err(read)?;
        let json: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|source| ModelError::Json { path: index.clone(), source })?;
        let parts: Option<BTreeSet<&str>> = json
            .get("weight_map")
            .and_then(serde_json::Value::as_object)
            .and_then(|map| map.values().map(|part| part.as_str().filter(|name| is_plain(name))).collect());
        let Some(parts) = parts.filter(|parts| !parts.is_empty()) else {
            let found = json.get("weight_map").map_or("missing".to_string(), serde_json::Value::to_string);
            let (key, expected) = ("weight_map".to_string(), "names of files in the same folder".to_string());
            return Err(ModelError::UnsupportedConfig { path: index, key, found, expected });
        };
        parts.into_iter().map(|part| map_file(dir.join(part))).collect::<Result<_, _>>().map(WeightFiles)
    }

    /// Opens the tensors for reading by danlu's names.
    pub(crate) fn source(&self, saved_as: SavedAs, int8: bool) -> Result<FileSource<'_>, ModelError> {
        let mut tensors = BTreeMap::new();
        for (path, bytes) in &self.0 {
            let file = SafeTensors::deserialize(bytes)
                .map_err(|source| ModelError::Safetensors { path: path.clone(), source })?;
            for (name, view) in file.tensors() {
                // The hub's GPT-2 folders leave the prefix out.
                let bare =
                    saved_as == SavedAs::Gpt2 && !name.starts_with("transformer.") && !name.starts_with("lm_head.");
                tensors.insert(if bare { format!("transformer.{name}") } else { name }, (path.as_path(), view));
            }
        }
        let first = self.0.first().map_or(Path::new(""), |(path, _)| path);
        Ok(FileSource { first, tensors, used: BTreeSet::new(), saved_as, int8 })
    }
}

/// Whether a name stays within its folder.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(std::path::Component::Normal(_)), None))
}

fn map_file(path: PathBuf) -> Result<(PathBuf, ReadOnlyMap), ModelError> {
    match ReadOnlyMap::open(&path) {
        Ok(map) => Ok((path, map)),
        Err(source) => Err(ModelError::Io { action: "read", path, source }),
    }
}

/// Parameters from files, each checked for presence, shape, element type and finite values.
pub(crate) struct FileSource<'a> {
    first: &'a Path,
    tensors: BTreeMap<String, (&'a Path, TensorView<'a>)>,
    used: BTreeSet<String>,
    saved_as: SavedAs,
    int8: bool,
}

impl<'a> FileSource<'a> {
    /// # Errors
    /// If a tensor was not asked for: it would have changed the logits.
    pub(crate) fn finish(self, tied: bool) -> Result<(), ModelError> {
        let harmless = |name: &str| {
            // Buffers that older versions of transformers saved; and a tied head's second copy.
            name.ends_with(".attn.bias")
                || name.ends_with(".attn.masked_bias")
                || name.ends_with(".rotary_emb.inv_freq")
                || (tied && name == "lm_head.weight")
        };
        self.finish_but(harmless)
    }

    /// As [`Self::finish`], but for tensors that `harmless` knows.
    pub(crate) fn finish_but(&self, harmless: impl Fn(&str) -> bool) -> Result<(), ModelError> {
        match self.tensors.iter().find(|(name, _)| !self.used.contains(*name) && !harmless(name)) {
            Some((tensor, (path, _))) => {
                Err(ModelError::UnexpectedTensor { path: path.to_path_buf(), tensor: tensor.clone() })
            }
            None => Ok(()),
        }
    }

    /// Whether the files have a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether the files have two tensors of these names that are the same to the bit.
    pub(crate) fn same(&self, a: &str, b: &str) -> bool {
        match (self.tensors.get(a), self.tensors.get(b)) {
            (Some((_, a)), Some((_, b))) => (a.dtype(), a.shape(), a.data()) == (b.dtype(), b.shape(), b.data()),
            _ => false,
        }
    }

    fn find(&mut self, name: &str, shape: &[usize]) -> Result<(&'a Path, TensorView<'a>), ModelError> {
        let Some((path, view)) = self.tensors.get(name) else {
            let (path, tensor) = (self.first.to_path_buf(), name.to_string());
            return Err(ModelError::MissingTensor { path, tensor, expected: shape.to_vec() });
        };
        if view.shape() != shape {
            let (path, tensor) = (path.to_path_buf(), name.to_string());
            let (expected, found) = (shape.to_vec(), view.shape().to_vec());
            return Err(ModelError::WrongShape { path, tensor, expected, found });
        }
        self.used.insert(name.to_string());
        Ok((path, view.clone()))
    }

    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (path, view) = self.find(name, shape)?;
        let halves =
            |f: fn(u16) -> f32| view.data().chunks_exact(2).map(|b| f(u16::from_le_bytes([b[0], b[1]]))).collect();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => halves(|bits| half::f16::from_bits(bits).to_f32()),
            Dtype::BF16 => halves(|bits| half::bf16::from_bits(bits).to_f32()),
            other => return Err(wrong_type(path, name, "F32, F16 or BF16", other)),
        };
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            let (path, tensor) = (path.to_path_buf(), name.to_string());
            return Err(ModelError::NotFinite { path, tensor, index, value: values[index] });
        }
        Ok(values)
    }
}

fn wrong_type(path: &Path, tensor: &str, expected: &'static str, found: Dtype) -> ModelError {
    let (path, tensor) = (path.to_path_buf(), tensor.to_string());
    ModelError::WrongType { path, tensor, expected, found: format!("{found:?}") }
}

impl Source for FileSource<'_> {
    fn values(&mut self, name: &str, shape: &[usize], _: Start) -> Result<Vec<f32>, ModelError> {
        match self.saved_as {
            SavedAs::Gpt2 => {}
            SavedAs::Mixtral => return self.floats(&mixtral_name(name), shape),
            _ => return self.floats(name, shape),
        }
        let (place, layout) = gpt2_place(name);
        match (layout, shape) {
            (Layout::Transposed, [out, inp]) => Ok(transposed(&self.floats(&place, &[*inp, *out])?, *inp, *out)),
            (Layout::Third(part), [out, inp]) => {
                let whole = transposed(&self.floats(&place, &[*inp, 3 * out])?, *inp, 3 * out);
                Ok(whole[part * out * inp..(part + 1) * out * inp].to_vec())
            }
            (Layout::Third(part), [out]) => Ok(self.floats(&place, &[3 * out])?[part * out..(part + 1) * out].to_vec()),
            _ => self.floats(&place, shape),
        }
    }

    fn int8(&mut self, name: &str, out: usize, inp: usize) -> Result<Option<Int8Weight>, ModelError> {
        let quantized = self.int8 && self.tensors.get(name).is_some_and(|(_, view)| view.dtype() == Dtype::I8);
        if !quantized {
            return Ok(None);
        }
        let (_, view) = self.find(name, &[out, inp])?;
        let data = view.data().iter().map(|b| b.cast_signed()).collect();
        let scales = self.floats(&format!("{name}_scale"), &[out, 1])?;
        Ok(Some(Int8Weight { out, inp, data, scales }))
    }
}

/// A tensor to be written.
pub(crate) struct Stored {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Little-endian, row-major.
    pub(crate) bytes: Vec<u8>,
}

impl Stored {
    pub(crate) fn f32(shape: Vec<usize>, values: &[f32]) -> Self {
        Stored { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect() }
    }

    pub(crate) fn i8(shape: Vec<usize>, values: &[i8]) -> Self {
        Stored { dtype: Dtype::I8, shape, bytes: values.iter().map(|x| x.cast_unsigned()).collect() }
    }
}

/// The bytes of a safetensors file, with the metadata that transformers asks for.
pub(crate) fn to_safetensors(path: &Path, tensors: &BTreeMap<String, Stored>) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::Safetensors { path: path.to_path_buf(), source };
    let views = tensors
        .iter()
        .map(|(name, t)| Ok((name.as_str(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    // One key only: with several, their order and so the file would differ from run to run.
    let metadata = [("format".to_string(), "pt".to_string())].into();
    safetensors::serialize(views, Some(metadata)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpt2_names() {
        let cases = [
            ("model.embed_tokens.weight", "transformer.wte.weight", Layout::Same),
            ("model.embed_positions.weight", "transformer.wpe.weight", Layout::Same),
            ("model.norm.bias", "transformer.ln_f.bias", Layout::Same),
            ("model.layers.3.input_layernorm.weight", "transformer.h.3.ln_1.weight", Layout::Same),
            ("model.layers.12.self_attn.k_proj.bias", "transformer.h.12.attn.c_attn.bias", Layout::Third(1)),
            ("model.layers.0.self_attn.o_proj.weight", "transformer.h.0.attn.c_proj.weight", Layout::Transposed),
            ("model.layers.0.mlp.up_proj.bias", "transformer.h.0.mlp.c_fc.bias", Layout::Same),
            ("lm_head.weight", "lm_head.weight", Layout::Same),
        ];
        for (ours, theirs, layout) in cases {
            assert_eq!(gpt2_place(ours), (theirs.to_string(), layout));
        }
    }

    #[test]
    fn mixtral_names() {
        let same = "model.layers.3.self_attn.q_proj.weight";
        assert_eq!(mixtral_name(same), same);
        assert_eq!(mixtral_name("model.layers.3.mlp.gate.weight"), "model.layers.3.block_sparse_moe.gate.weight");
        let expert = "model.layers.0.block_sparse_moe.experts.7.w3.weight";
        assert_eq!(mixtral_name("model.layers.0.mlp.experts.7.up_proj.weight"), expert);
    }

    #[test]
    fn transposition() {
        assert_eq!(transposed(&[1., 2., 3., 4., 5., 6.], 2, 3), [1., 4., 2., 5., 3., 6.]);
    }
}
