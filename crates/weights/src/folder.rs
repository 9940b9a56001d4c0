//! The weights in a folder, whole or in parts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use serde::Deserialize;

use crate::{Stored, WeightsError, pytorch, safetensors};

/// A folder's weights in one file.
pub const SAFETENSORS: &str = "model.safetensors";
/// Which tensor lies in which of several files.
pub const SAFETENSORS_INDEX: &str = "model.safetensors.index.json";
/// A folder's weights in one file, as older versions of transformers saved them.
pub const PYTORCH: &str = "pytorch_model.bin";
/// Which tensor lies in which of several files.
pub const PYTORCH_INDEX: &str = "pytorch_model.bin.index.json";

type Open = fn(&Path) -> Result<Vec<Stored>, WeightsError>;

/// The weights' files of a folder, in the order in which they are preferred: one, its index, how it is opened.
const FORMS: [(&str, &str, Open); 2] =
    [(SAFETENSORS, SAFETENSORS_INDEX, safetensors::open), (PYTORCH, PYTORCH_INDEX, pytorch::open)];

/// All tensors of a folder by name, whose data is read when asked for: of model.safetensors, of its parts that an index
/// names, or the same of pytorch_model.bin.
///
/// # Errors
/// No weights, a broken file, parts that lack a tensor of the index, or two tensors of one name.
pub fn tensors_of(folder: &Path) -> Result<Vec<Stored>, WeightsError> {
    let form = FORMS.iter().find(|(whole, index, _)| folder.join(whole).exists() || folder.join(index).exists());
    let Some((whole, index, open)) = form else {
        let names: Vec<&str> = FORMS.iter().flat_map(|(whole, index, _)| [*whole, *index]).collect();
        return Err(WeightsError::malformed(folder, format!("it has no weights ({})", names.join(", "))));
    };
    let (whole, index) = (folder.join(whole), folder.join(index));
    let mut all = if whole.exists() { open(&whole)? } else { parts(folder, &index, *open)? };
    all.sort_by(|a, b| a.name.cmp(&b.name));
    match all.array_windows().find(|[a, b]| a.name == b.name) {
        Some([twice, _]) => {
            Err(WeightsError::malformed(&twice.path, format!("two tensors are named {:?}", twice.name)))
        }
        None => Ok(all),
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Where an index puts each tensor. `path` is for messages.
///
/// # Errors
/// No JSON, no weight_map, or a name of a file outside the folder.
pub fn read_index(path: &Path, json: &[u8]) -> Result<BTreeMap<String, String>, WeightsError> {
    let index: Index = serde_json::from_slice(json).map_err(|e| WeightsError::malformed(path, e.to_string()))?;
    let outside = |part: &&String| part.is_empty() || part.contains(['/', '\\']) || part.starts_with("..");
    match index.weight_map.values().find(outside) {
        Some(part) => {
            let what = format!("weight_map should name files in the same folder, and names {part:?}");
            Err(WeightsError::malformed(path, what))
        }
        None if index.weight_map.is_empty() => Err(WeightsError::malformed(path, "weight_map is empty")),
        None => Ok(index.weight_map),
    }
}

fn parts(folder: &Path, index: &Path, open: Open) -> Result<Vec<Stored>, WeightsError> {
    let json = std::fs::read(index).map_err(|e| WeightsError::io("read", index, e))?;
    let map = read_index(index, &json)?;
    let mut all = Vec::new();
    for part in map.values().collect::<BTreeSet<_>>() {
        all.extend(open(&folder.join(part))?);
    }
    let there: HashSet<(&str, &std::ffi::OsStr)> =
        all.iter().filter_map(|tensor| Some((tensor.name.as_str(), tensor.path.file_name()?))).collect();
    match map.iter().find(|(name, part)| !there.contains(&(name.as_str(), std::ffi::OsStr::new(part.as_str())))) {
        Some((name, part)) => {
            Err(WeightsError::malformed(index, format!("it puts the tensor {name:?} into {part}, which has none")))
        }
        None => Ok(all),
    }
}
