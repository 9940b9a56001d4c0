use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{ALIGNMENT, ALIGNMENT_KEY, Array, MAGIC, Metadata, Value};
use crate::{Kind, WeightsError, decode};

/// More names, entries or dimensions than any model has: a file that claims them is broken, and would cost memory.
const MOST_TENSORS: u64 = 1 << 20;
const MOST_ENTRIES: u64 = 1 << 16;
const MOST_DIMENSIONS: u32 = 4;
const LONGEST_NAME: u64 = 1 << 16;
/// Of arrays whose values do not lie densely: each takes many times its bytes in the file.
const MOST_OTHERS: usize = 1 << 22;

/// A tensor as the file's table describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    /// Outermost first: (out, in) for the weight of a linear layer.
    pub shape: Vec<u64>,
    pub kind: Kind,
    /// Where its bytes begin in the file.
    offset: u64,
    bytes: u64,
}

impl Tensor {
    /// The product of the shape.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product() // checked when it was read
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// An open GGUF file: its description and the table of its tensors, whose data is read when asked for.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: File,
    pub version: u32,
    pub metadata: Metadata,
    /// In the order of the table.
    pub tensors: Vec<Tensor>,
}

impl Gguf {
    /// Reads the description and the table, and checks that every tensor lies in the file and no two overlap.
    ///
    /// # Errors
    /// [`WeightsError::Malformed`] with the place, [`WeightsError::Unsupported`] with what is supported.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = File::open(path).map_err(|e| WeightsError::io("open", path, e))?;
        let size = file.metadata().map_err(|e| WeightsError::io("read", path, e))?.len();
        let mut header = Header { path, input: BufReader::new(&file), at: 0, size };
        let (version, tensors, entries) = header.preamble()?;
        let metadata = header.metadata(entries)?;
        let alignment = match metadata.get(ALIGNMENT_KEY) {
            None => ALIGNMENT,
            Some(_) => metadata
                .count(ALIGNMENT_KEY)
                .filter(|n| n.is_power_of_two() && *n <= 1 << 20)
                .ok_or_else(|| header.malformed(format!("{ALIGNMENT_KEY} is no power of two up to 2^20")))?,
        };
        let tensors = header.tensors(tensors, alignment)?;
        Ok(Self { path: path.into(), file, version, metadata, tensors })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The bytes of one of the file's tensors.
    pub fn bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, WeightsError> {
        let io = |e| WeightsError::io("read", &self.path, e);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(tensor.offset)).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(tensor.bytes).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 != tensor.bytes {
            let what = format!("the file ends within the tensor {:?}", tensor.name);
            return Err(WeightsError::NotWhole { path: self.path.clone(), what });
        }
        Ok(bytes)
    }

    /// The values of one of the file's tensors, whatever their kind, row by row.
    pub fn values(&self, tensor: &Tensor) -> Result<Vec<f32>, WeightsError> {
        self.part(tensor, 0, 1)
    }

    /// As [`Self::values`], of the part `index` of `parts` equal ones along the outermost dimension.
    pub fn part(&self, tensor: &Tensor, index: u64, parts: u64) -> Result<Vec<f32>, WeightsError> {
        let bytes = tensor.bytes / parts.max(1);
        let part = Tensor { offset: tensor.offset + index * bytes, bytes, ..tensor.clone() };
        decode(part.kind, &self.bytes(&part)?).ok_or_else(|| {
            let what = format!("the tensor {:?} is not whole blocks of {}", tensor.name, tensor.kind);
            WeightsError::Malformed { path: self.path.clone(), what }
        })
    }
}

/// The file up to the tensors' data, read from front to back.
struct Header<'a> {
    path: &'a Path,
    input: BufReader<&'a File>,
    at: u64,
    size: u64,
}

impl Header<'_> {
    fn malformed(&self, what: impl Into<String>) -> WeightsError {
        WeightsError::Malformed { path: self.path.into(), what: what.into() }
    }

    fn not_whole(&self, what: String) -> WeightsError {
        WeightsError::NotWhole { path: self.path.into(), what }
    }

    fn unsupported(&self, what: impl Into<String>) -> WeightsError {
        WeightsError::Unsupported { path: self.path.into(), what: what.into() }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|e| self.cut(e))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn cut(&self, error: std::io::Error) -> WeightsError {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                self.not_whole(format!("the file ends at byte {}, within its header", self.size))
            }
            _ => WeightsError::io("read", self.path, error),
        }
    }

    fn u32(&mut self) -> Result<u32, WeightsError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WeightsError> {
        self.take().map(u64::from_le_bytes)
    }

    /// A length that is said before as many things of at least `least` bytes, which must still be in the file.
    fn length(&mut self, least: u64, of: &str) -> Result<usize, WeightsError> {
        let (at, length) = (self.at, self.u64()?);
        let left = self.size.saturating_sub(self.at);
        match usize::try_from(length) {
            Ok(short) if length.checked_mul(least).is_some_and(|bytes| bytes <= left) => Ok(short),
            _ => Err(self.malformed(format!("byte {at}: {length} {of}, and {left} bytes are left in the file"))),
        }
    }

    fn text(&mut self, longest: u64, of: &str) -> Result<String, WeightsError> {
        let (at, length) = (self.at, self.length(1, of)?);
        if length as u64 > longest {
            return Err(self.malformed(format!("byte {at}: {of} of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes).map_err(|e| self.cut(e))?;
        self.at += length as u64;
        String::from_utf8(bytes).map_err(|_| self.malformed(format!("byte {at}: {of} is not UTF-8")))
    }

    fn preamble(&mut self) -> Result<(u32, u64, u64), WeightsError> {
        let magic: [u8; 4] = if self.size < 4 { [0; 4] } else { self.take()? };
        if magic != MAGIC {
            return Err(self.malformed("not a GGUF file: it does not begin with GGUF"));
        }
        let version = self.u32()?;
        if version.swap_bytes() < 1 << 16 {
            return Err(self.unsupported("a big-endian GGUF file; danlu reads little-endian ones"));
        }
        if ![2, 3].contains(&version) {
            return Err(self.unsupported(format!("GGUF version {version}; danlu reads versions 2 and 3")));
        }
        let (tensors, entries) = (self.u64()?, self.u64()?);
        if tensors > MOST_TENSORS || entries > MOST_ENTRIES {
            return Err(self.malformed(format!("it claims {tensors} tensors and {entries} entries of metadata")));
        }
        Ok((version, tensors, entries))
    }

    fn metadata(&mut self, entries: u64) -> Result<Metadata, WeightsError> {
        let (mut all, mut names) = (Vec::new(), HashSet::new());
        for _ in 0..entries {
            let name = self.text(LONGEST_NAME, "the name of an entry")?;
            if !names.insert(name.clone()) {
                return Err(self.malformed(format!("two entries are named {name:?}")));
            }
            let kind = self.u32()?;
            let value = self.value(kind, &name)?;
            all.push((name, value));
        }
        Ok(Metadata(all))
    }

    fn value(&mut self, kind: u32, name: &str) -> Result<Value, WeightsError> {
        Ok(match kind {
            0 => Value::U8(self.take::<1>()?[0]),
            1 => Value::I8(self.take::<1>()?[0].cast_signed()),
            2 => Value::U16(u16::from_le_bytes(self.take()?)),
            3 => Value::I16(i16::from_le_bytes(self.take()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.take()?)),
            6 => Value::F32(f32::from_le_bytes(self.take()?)),
            7 => match self.take::<1>()?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(self.malformed(format!("{name}: {other} is neither true nor false"))),
            },
            8 => Value::Text(self.text(u64::MAX, "a text")?),
            9 => Value::Array(self.array(name)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.take()?)),
            12 => Value::F64(f64::from_le_bytes(self.take()?)),
            other => return Err(self.malformed(format!("{name}: there is no type of values {other}"))),
        })
    }

    fn array(&mut self, name: &str) -> Result<Array, WeightsError> {
        let kind = self.u32()?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(self.unsupported(format!("{name}: an array of arrays"))),
            other => return Err(self.malformed(format!("{name}: there is no type of values {other}"))),
        };
        let length = self.length(least, "values in an array")?;
        if ![5, 6, 8].contains(&kind) && length > MOST_OTHERS {
            return Err(self.malformed(format!("{name}: an array of {length} values")));
        }
        Ok(match kind {
            8 => Array::Texts((0..length).map(|_| self.text(u64::MAX, "a text")).collect::<Result<_, _>>()?),
            6 => Array::Floats((0..length).map(|_| self.take().map(f32::from_le_bytes)).collect::<Result<_, _>>()?),
            5 => Array::Ints((0..length).map(|_| self.take().map(i32::from_le_bytes)).collect::<Result<_, _>>()?),
            kind => Array::Others((0..length).map(|_| self.value(kind, name)).collect::<Result<_, _>>()?),
        })
    }

    fn tensors(&mut self, count: u64, alignment: u64) -> Result<Vec<Tensor>, WeightsError> {
        let (mut tensors, mut names) = (Vec::new(), HashSet::new());
        for _ in 0..count {
            let tensor = self.tensor(alignment)?;
            if !names.insert(tensor.name.clone()) {
                return Err(self.malformed(format!("two tensors are named {:?}", tensor.name)));
            }
            tensors.push(tensor);
        }
        let data = self.at.next_multiple_of(alignment);
        for tensor in &mut tensors {
            let end = tensor.offset.checked_add(data).and_then(|offset| {
                tensor.offset = offset;
                offset.checked_add(tensor.bytes)
            });
            if end.is_none_or(|end| end > self.size) {
                return Err(self.not_whole(format!(
                    "the tensor {:?} should have {} bytes, and the file ends before",
                    tensor.name, tensor.bytes
                )));
            }
        }
        let mut order: Vec<&Tensor> = tensors.iter().filter(|tensor| tensor.bytes > 0).collect();
        order.sort_unstable_by_key(|tensor| tensor.offset);
        if let Some([one, other]) = order.array_windows().find(|[a, b]| a.offset + a.bytes > b.offset) {
            return Err(self.malformed(format!("the tensors {:?} and {:?} overlap", one.name, other.name)));
        }
        Ok(tensors)
    }

    fn tensor(&mut self, alignment: u64) -> Result<Tensor, WeightsError> {
        let name = self.text(LONGEST_NAME, "the name of a tensor")?;
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(self.malformed(format!("the tensor {name:?} has {dimensions} dimensions")));
        }
        let lengths = (0..dimensions).map(|_| self.u64()).collect::<Result<Vec<u64>, _>>()?;
        let (number, offset) = (self.u32()?, self.u64()?);
        let kind = Kind::from_number(number)
            .ok_or_else(|| self.unsupported(format!("the tensor {name:?} is {}", Kind::name_of(number))))?;
        let row = lengths.first().copied().unwrap_or(1);
        let elements = lengths.iter().try_fold(1u64, |product, length| product.checked_mul(*length));
        let bytes = elements.filter(|_| row.is_multiple_of(kind.block_len() as u64)).and_then(|n| kind.bytes(n));
        let Some(bytes) = bytes else {
            return Err(self.malformed(format!("the tensor {name:?} of {lengths:?} cannot be stored as {kind}")));
        };
        if !offset.is_multiple_of(alignment) {
            return Err(self.malformed(format!("the tensor {name:?} is at {offset}, no multiple of {alignment}")));
        }
        Ok(Tensor { name, shape: lengths.into_iter().rev().collect(), kind, offset, bytes })
    }
}
