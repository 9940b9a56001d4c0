//! A model's folder: the files in it, read and written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use danlu_weights::{Kind, decode, encode};
use serde_json::{Map, Value, json};

use crate::{ConvertError, Precision};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const GENERATION: &str = "generation_config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(crate) const TEMPLATE: &str = "chat_template.jinja";
pub(crate) const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What the safetensors library allows, too.
const LONGEST_TABLE: u64 = 100_000_000;

pub(crate) fn read_json(path: &Path) -> Result<Value, ConvertError> {
    let text = std::fs::read(path).map_err(|e| ConvertError::io("read", path, e))?;
    serde_json::from_slice(&text).map_err(|e| ConvertError::malformed(path, e.to_string()))
}

/// Null where there is no such file.
pub(crate) fn optional_json(path: &Path) -> Result<Value, ConvertError> {
    if path.exists() { read_json(path) } else { Ok(Value::Null) }
}

pub(crate) fn write_json(path: &Path, value: &Value) -> Result<(), ConvertError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| ConvertError::malformed(path, e.to_string()))?;
    std::fs::write(path, text + "\n").map_err(|e| ConvertError::io("write", path, e))
}

/// A tensor whose values come later.
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
}

/// Writes a safetensors file tensor by tensor, in the order of the plan: 8 bytes of length, a JSON table, the data.
pub(crate) fn write_weights(
    path: &Path,
    plan: &[Planned],
    precision: Precision,
    mut values: impl FnMut(usize) -> Result<Vec<f32>, ConvertError>,
) -> Result<(), ConvertError> {
    let io = |e| ConvertError::io("write", path, e);
    let (mut table, mut offset) = (Map::new(), 0u64);
    table.insert("__metadata__".into(), json!({"format": "pt"}));
    for Planned { name, shape } in plan {
        let end = offset + shape.iter().product::<u64>() * precision.kind().block_bytes() as u64;
        table.insert(
            name.clone(),
            json!({"dtype": precision.kind().name(), "shape": shape, "data_offsets": [offset, end]}),
        );
        offset = end;
    }
    let mut header = Value::Object(table).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::new(File::create(path).map_err(io)?);
    out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)).map_err(io)?;
    for (index, planned) in plan.iter().enumerate() {
        let values = values(index)?;
        if values.len() as u64 != planned.shape.iter().product::<u64>() {
            return Err(ConvertError::malformed(path, format!("{} values for {}", values.len(), planned.name)));
        }
        let bytes = encode(precision.kind(), &values).unwrap_or_default(); // blocks of one are always whole
        out.write_all(&bytes).map_err(io)?;
    }
    let file = out.into_inner().map_err(|e| io(e.into_error()))?;
    file.sync_all().map_err(io)
}

/// A folder's weights, whole or in parts: the tables of their tensors, whose data is read when asked for.
pub(crate) fn tensors(folder: &Path) -> Result<Vec<Stored>, ConvertError> {
    let (whole, index) = (folder.join(WEIGHTS), folder.join(INDEX));
    let mut all = match whole.exists() || !index.exists() {
        true => table(&whole)?,
        false => {
            let json = read_json(&index)?;
            let map = json["weight_map"].as_object();
            let parts: BTreeSet<&str> = map.into_iter().flatten().filter_map(|(_, part)| part.as_str()).collect();
            if parts.is_empty() || parts.iter().any(|part| part.contains(['/', '\\'])) {
                return Err(ConvertError::malformed(&index, "weight_map should name files in the same folder"));
            }
            let tables: Result<Vec<_>, _> = parts.into_iter().map(|part| table(&folder.join(part))).collect();
            tables?.concat()
        }
    };
    all.sort_by(|a, b| a.name.cmp(&b.name));
    match all.array_windows().find(|[a, b]| a.name == b.name) {
        Some([twice, _]) => {
            Err(ConvertError::malformed(&twice.path, format!("two tensors are named {:?}", twice.name)))
        }
        None => Ok(all),
    }
}

/// The table of a safetensors file, checked against the file: every tensor lies in it and has the bytes of its shape.
pub(crate) fn table(path: &Path) -> Result<Vec<Stored>, ConvertError> {
    let io = |e| ConvertError::io("read", path, e);
    let malformed = |what: &str| ConvertError::malformed(path, what);
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut length = [0; 8];
    if size < 8 {
        return Err(malformed("not a safetensors file: it has fewer than 8 bytes"));
    }
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    let data = length.checked_add(8).filter(|data| *data <= size && length <= LONGEST_TABLE);
    let data = data.ok_or_else(|| malformed("not a safetensors file, or not whole: its table is longer than it"))?;
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text).map_err(io)?;
    let json: Map<String, Value> = serde_json::from_slice(&text).map_err(|e| malformed(&format!("its table: {e}")))?;
    let entries = json.iter().filter(|(name, _)| *name != "__metadata__");
    entries.map(|(name, entry)| Stored::read(path, name, entry, data, size)).collect()
}

/// A tensor of a safetensors file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    /// As the file names it: "BF16".
    pub(crate) dtype: String,
    pub(crate) bytes: u64,
    offset: u64,
    path: PathBuf,
}

impl Stored {
    fn read(path: &Path, name: &str, entry: &Value, data: u64, size: u64) -> Result<Self, ConvertError> {
        let numbers = |key: &str| -> Option<Vec<u64>> { entry[key].as_array()?.iter().map(Value::as_u64).collect() };
        let read = || {
            let (dtype, shape) = (entry["dtype"].as_str()?, numbers("shape")?);
            let [begin, end] = numbers("data_offsets")?[..] else { return None };
            let elements = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n))?;
            let fits = match element_bytes(dtype) {
                Some(width) => elements.checked_mul(width) == end.checked_sub(begin),
                None => begin <= end,
            };
            let offset = data.checked_add(begin)?;
            (fits && data.checked_add(end)? <= size).then(|| Self {
                name: name.into(),
                shape,
                dtype: dtype.into(),
                bytes: end - begin,
                offset,
                path: path.into(),
            })
        };
        let wrong = || ConvertError::malformed(path, format!("the tensor {name:?} does not lie in the file: {entry}"));
        read().ok_or_else(wrong)
    }

    pub(crate) fn values(&self) -> Result<Vec<f32>, ConvertError> {
        let io = |e| ConvertError::io("read", &self.path, e);
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(self.bytes).read_to_end(&mut bytes).map_err(io)?;
        let kind = Kind::from_name(&self.dtype).filter(|kind| kind.block_len() == 1);
        kind.and_then(|kind| decode(kind, &bytes)).ok_or_else(|| {
            let what =
                format!("{} has elements of {}; F32, F16 and BF16 can be written as GGUF", self.name, self.dtype);
            ConvertError::unsupported(&self.path, what)
        })
    }
}

fn element_bytes(dtype: &str) -> Option<u64> {
    match dtype {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => Some(1),
        "U16" | "I16" | "F16" | "BF16" => Some(2),
        "U32" | "I32" | "F32" => Some(4),
        "U64" | "I64" | "F64" => Some(8),
        _ => None,
    }
}
