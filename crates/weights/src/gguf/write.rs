use std::io::Write;
use std::path::Path;

use super::{ALIGNMENT, Array, MAGIC, Metadata, VERSION, Value};
use crate::{Kind, WeightsError, encode};

/// Writes a GGUF file, version 3: the description and the table first, then each tensor's data as it comes, so that no
/// more than one tensor need be in memory. The caller publishes the file (it is not whole until [`Writer::finish`]).
pub struct Writer<'a, W> {
    out: W,
    path: &'a Path,
    planned: Vec<(String, u64, Kind)>,
    written: usize,
}

impl<'a, W: Write> Writer<'a, W> {
    /// Begins a file whose tensors, with their shapes (outermost first) and kinds, are known. `path` is for messages.
    ///
    /// # Errors
    /// [`WeightsError::Unsupported`] for a tensor whose rows are not whole blocks of its kind.
    pub fn begin(
        mut out: W,
        path: &'a Path,
        metadata: &Metadata,
        tensors: &[(String, Vec<u64>, Kind)],
    ) -> Result<Self, WeightsError> {
        let (mut table, mut offset, mut planned) = (Vec::new(), 0u64, Vec::with_capacity(tensors.len()));
        for (name, shape, kind) in tensors {
            let row = shape.last().copied().unwrap_or(1);
            let elements: u64 = shape.iter().product();
            let bytes = kind.bytes(elements).filter(|_| row.is_multiple_of(kind.block_len() as u64));
            let bytes = bytes.ok_or_else(|| WeightsError::Unsupported {
                path: path.into(),
                what: format!("rows of {row} cannot be stored as {kind}: {name}"),
            })?;
            put_text(&mut table, name);
            table.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|length| table.extend(length.to_le_bytes()));
            table.extend(kind.number().to_le_bytes());
            table.extend(offset.to_le_bytes());
            offset = (offset + bytes).next_multiple_of(ALIGNMENT);
            planned.push((name.clone(), elements, *kind));
        }
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.iter().count() as u64).to_le_bytes());
        for (name, value) in metadata.iter() {
            put_text(&mut header, name);
            header.extend(type_of(value).to_le_bytes());
            put_value(&mut header, value);
        }
        header.extend(table);
        pad(&mut header);
        out.write_all(&header).map_err(|e| WeightsError::io("write", path, e))?;
        Ok(Self { out, path, planned, written: 0 })
    }

    /// Writes the values of the next tensor, which must be the one that was announced.
    ///
    /// # Errors
    /// [`WeightsError::Unsupported`] for another name or number of values, and for a kind that danlu does not write.
    pub fn tensor(&mut self, name: &str, values: &[f32]) -> Result<(), WeightsError> {
        let wrong = |what: String| WeightsError::Unsupported { path: self.path.into(), what };
        let kind = match self.planned.get(self.written) {
            Some((next, elements, kind)) if next == name && *elements == values.len() as u64 => *kind,
            _ => return Err(wrong(format!("the tensor {name} of {} values was not announced here", values.len()))),
        };
        let known = "F32, F16, BF16, Q8_0 and Q4_0";
        let mut bytes =
            encode(kind, values).ok_or_else(|| wrong(format!("danlu writes {known}, not {kind} (tensor {name})")))?;
        pad(&mut bytes);
        self.out.write_all(&bytes).map_err(|e| WeightsError::io("write", self.path, e))?;
        self.written += 1;
        Ok(())
    }

    /// Ends the file, and gives back what it was written to.
    ///
    /// # Errors
    /// When tensors that were announced are missing.
    pub fn finish(mut self) -> Result<W, WeightsError> {
        if let Some((missing, ..)) = self.planned.get(self.written) {
            let what = format!("the tensor {missing} was announced and not written");
            return Err(WeightsError::Unsupported { path: self.path.into(), what });
        }
        self.out.flush().map_err(|e| WeightsError::io("write", self.path, e))?;
        Ok(self.out)
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn type_of(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::Text(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(n) => out.push(*n),
        Value::I8(n) => out.push(n.cast_unsigned()),
        Value::U16(n) => out.extend(n.to_le_bytes()),
        Value::I16(n) => out.extend(n.to_le_bytes()),
        Value::U32(n) => out.extend(n.to_le_bytes()),
        Value::I32(n) => out.extend(n.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::Bool(flag) => out.push(u8::from(*flag)),
        Value::Text(text) => put_text(out, text),
        Value::Array(array) => put_array(out, array),
        Value::U64(n) => out.extend(n.to_le_bytes()),
        Value::I64(n) => out.extend(n.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let kind = match array {
        Array::Texts(_) => 8u32,
        Array::Floats(_) => 6,
        Array::Ints(_) => 5,
        Array::Others(values) => values.first().map_or(0, type_of),
    };
    out.extend(kind.to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::Texts(texts) => texts.iter().for_each(|text| put_text(out, text)),
        Array::Floats(values) => values.iter().for_each(|x| out.extend(x.to_le_bytes())),
        Array::Ints(values) => values.iter().for_each(|n| out.extend(n.to_le_bytes())),
        Array::Others(values) => values.iter().for_each(|value| put_value(out, value)),
    }
}
