//! safetensors: 8 bytes of length (little-endian), a JSON table of that length, the tensors' data. Specification: the
//! README of huggingface/safetensors.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::stored::width;
use crate::{Stored, WeightsError};

/// What the safetensors library allows, too.
const LONGEST_TABLE: u64 = 100_000_000;
const MOST_DIMENSIONS: usize = 16;

/// The tensors of a file in the order of its table, checked against the file: each lies in it, has the bytes of its shape
/// and shares none with another.
pub fn open(path: &Path) -> Result<Vec<Stored>, WeightsError> {
    let io = |e| WeightsError::io("read", path, e);
    let mut file = File::open(path).map_err(|e| WeightsError::io("open", path, e))?;
    let size = file.metadata().map_err(io)?.len();
    let mut length = [0; 8];
    if size < 8 {
        return Err(WeightsError::malformed(path, "not a safetensors file: it has fewer than 8 bytes"));
    }
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_TABLE {
        return Err(WeightsError::malformed(path, format!("not a safetensors file: a table of {length} bytes")));
    }
    let data = length + 8;
    if data > size {
        let what = format!("its table has {length} bytes, and the file ends before");
        return Err(WeightsError::NotWhole { path: path.into(), what });
    }
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text).map_err(io)?;
    let table: Table =
        serde_json::from_slice(&text).map_err(|e| WeightsError::malformed(path, format!("its table: {e}")))?;
    let tensors: Vec<Stored> =
        table.0.into_iter().map(|(name, entry)| stored(path, name, entry, data, size)).collect::<Result<_, _>>()?;
    let mut order: Vec<&Stored> = tensors.iter().filter(|tensor| tensor.length > 0).collect();
    order.sort_unstable_by_key(|tensor| tensor.offset);
    match order.array_windows().find(|[a, b]| a.offset + a.length > b.offset) {
        Some([one, other]) => {
            Err(WeightsError::malformed(path, format!("the tensors {:?} and {:?} overlap", one.name, other.name)))
        }
        None => Ok(tensors),
    }
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Names and entries in the order of the file; a name may be there twice.
struct Table(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Table;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
                let mut table = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let entry = map.next_value().map_err(|e| serde::de::Error::custom(format!("{name:?}: {e}")))?;
                    table.push((name, entry));
                }
                Ok(Table(table))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

fn stored(path: &Path, name: String, entry: Entry, data: u64, size: u64) -> Result<Stored, WeightsError> {
    let Entry { dtype, shape, data_offsets: [begin, end] } = entry;
    let elements = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n));
    let fits = elements.is_some_and(|elements| match width(&dtype) {
        Some(width) => elements.checked_mul(width) == end.checked_sub(begin),
        None => begin <= end,
    });
    if !fits || shape.len() > MOST_DIMENSIONS {
        let shown = &shape[..shape.len().min(MOST_DIMENSIONS)];
        let what = format!("the tensor {name:?} of {shown:?} {dtype} cannot lie at {begin} to {end}");
        return Err(WeightsError::malformed(path, what));
    }
    match data.checked_add(end) {
        Some(last) if last <= size => Ok(Stored {
            name,
            shape,
            dtype,
            path: path.into(),
            offset: data + begin,
            length: end - begin,
            strides: None,
        }),
        _ => {
            let what = format!("the tensor {name:?} ends at byte {end} of the data, and the file before");
            Err(WeightsError::NotWhole { path: path.into(), what })
        }
    }
}

/// A tensor whose bytes come later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub name: String,
    pub shape: Vec<u64>,
    /// As [`Stored::dtype`].
    pub dtype: String,
    pub bytes: u64,
}

/// Writes a file tensor by tensor, in the order of the plan; `bytes` gives those of the tensor of a number.
///
/// # Errors
/// Those of `bytes`; [`WeightsError::Malformed`] where it gives another number of bytes than was planned.
pub fn write<E: From<WeightsError>>(
    path: &Path,
    plan: &[Planned],
    mut bytes: impl FnMut(usize) -> Result<Vec<u8>, E>,
) -> Result<(), E> {
    let io = |e| WeightsError::io("write", path, e);
    let (mut table, mut offset) = (Map::new(), 0u64);
    table.insert("__metadata__".into(), json!({"format": "pt"}));
    for Planned { name, shape, dtype, bytes } in plan {
        let end = offset + bytes;
        table.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let mut header = Value::Object(table).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::new(File::create(path).map_err(io)?);
    out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)).map_err(io)?;
    for (index, planned) in plan.iter().enumerate() {
        let data = bytes(index)?;
        if data.len() as u64 != planned.bytes {
            let what = format!("{} bytes for {}, not {}", data.len(), planned.name, planned.bytes);
            return Err(WeightsError::malformed(path, what).into());
        }
        out.write_all(&data).map_err(io)?;
    }
    let file = out.into_inner().map_err(|e| io(e.into_error()))?;
    Ok(file.sync_all().map_err(io)?)
}
