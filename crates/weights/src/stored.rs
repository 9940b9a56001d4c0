//! A tensor in a file, read when asked for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::{Kind, WeightsError, decode};

/// A tensor of a safetensors or PyTorch file, as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub name: String,
    /// Outermost first.
    pub shape: Vec<u64>,
    /// The element type as safetensors names it: "BF16".
    pub dtype: String,
    pub(crate) path: PathBuf,
    /// Where its elements lie in the file: from here so many bytes.
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// Elements from one index to the next in each dimension; `None` where rows lie one after the other.
    pub(crate) strides: Option<Vec<u64>>,
}

impl Stored {
    /// The file it lies in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The product of the shape.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product() // checked when it was read
    }

    /// Bytes of all its elements, row by row.
    pub fn len(&self) -> u64 {
        match &self.strides {
            None => self.length,
            Some(_) => self.elements() * width(&self.dtype).unwrap_or(1),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements, little-endian, row by row.
    pub fn bytes(&self) -> Result<Vec<u8>, WeightsError> {
        let io = |e| WeightsError::io("read", &self.path, e);
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(self.length).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 != self.length {
            let what = format!("the file ends within the tensor {:?}", self.name);
            return Err(WeightsError::NotWhole { path: self.path.clone(), what });
        }
        Ok(match &self.strides {
            None => bytes,
            Some(strides) => gathered(&bytes, &self.shape, strides, width(&self.dtype).unwrap_or(1) as usize),
        })
    }

    /// Its values.
    ///
    /// # Errors
    /// [`WeightsError::Unsupported`] for elements that are no floating-point numbers of 16, 32 or 64 bits.
    pub fn values(&self) -> Result<Vec<f32>, WeightsError> {
        let bytes = self.bytes()?;
        if self.dtype == "F64" {
            let wide = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            return Ok(bytes.chunks_exact(8).map(|b| wide(b) as f32).collect());
        }
        let kind = Kind::from_name(&self.dtype).filter(|kind| kind.block_len() == 1);
        kind.and_then(|kind| decode(kind, &bytes)).ok_or_else(|| {
            let what =
                format!("the tensor {:?} has elements of {}; danlu takes F64, F32, F16, BF16", self.name, self.dtype);
            WeightsError::Unsupported { path: self.path.clone(), what }
        })
    }

    /// Whether its elements are floating-point numbers that [`Self::values`] takes.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype.as_str(), "F64" | "F32" | "F16" | "BF16")
    }
}

/// Bytes of an element.
pub(crate) fn width(dtype: &str) -> Option<u64> {
    match dtype {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => Some(1),
        "U16" | "I16" | "F16" | "BF16" => Some(2),
        "U32" | "I32" | "F32" => Some(4),
        "U64" | "I64" | "F64" => Some(8),
        _ => None,
    }
}

/// Elements picked by strides, row by row. All of them lie in `bytes`.
fn gathered(bytes: &[u8], shape: &[u64], strides: &[u64], width: usize) -> Vec<u8> {
    let count: u64 = shape.iter().product();
    let mut out = Vec::with_capacity(count as usize * width);
    let mut index = vec![0u64; shape.len()];
    for _ in 0..count {
        let at: u64 = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
        out.extend_from_slice(&bytes[at as usize * width..][..width]);
        for (i, length) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *length {
                break;
            }
            *i = 0;
        }
    }
    out
}
