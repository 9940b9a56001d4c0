//! CTranslate2: `model.bin` of binary version 6, little-endian. Its source: `model_spec.py` of OpenNMT/CTranslate2.
//!
//! ```text
//! u32 version   string specification   u32 revision
//! u32 variables, each: string name   u8 rank   u32 dimension ...   u8 type   u32 bytes   data
//! u32 aliases, each: string alias   string name
//! string: u16 length, bytes, the last of them zero
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use crate::stored::width;
use crate::{Stored, WeightsError};

/// A model's file within its folder.
pub const MODEL: &str = "model.bin";
const VERSION: u32 = 6;
const MOST_DIMENSIONS: u8 = 16;
/// More than any model has; each takes at least 8 bytes of the file, too.
const MOST_VARIABLES: u32 = 1 << 20;
/// Element types by number.
const TYPES: [&str; 6] = ["F32", "I8", "I16", "I32", "F16", "BF16"];

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What kind of model it is: "WhisperSpec".
    pub specification: String,
    pub revision: u32,
    /// Settings, which are variables without dimensions or of few elements, and weights; in the order of the file.
    pub variables: Vec<Stored>,
    /// Other names of variables.
    pub aliases: Vec<(String, String)>,
}

impl Model {
    pub fn variable(&self, name: &str) -> Option<&Stored> {
        self.variables.iter().find(|variable| variable.name == name)
    }
}

/// Whether a file begins as CTranslate2's do: with a small number and the name of a specification.
pub fn is(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut head = [0; 32];
    let Ok(read) = file.read(&mut head) else { return false };
    let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
    let name = head.get(6..(6 + length).min(read)).unwrap_or_default();
    let letters = name.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    head[0] < 16 && head[1..4] == [0; 3] && letters > 3 && name[..letters].ends_with(b"Spec")
}

/// Reads the table of a file, checked against its size.
///
/// # Errors
/// A file of another version, that is broken, or ends early.
pub fn open(path: &Path) -> Result<Model, WeightsError> {
    let file = File::open(path).map_err(|e| WeightsError::io("open", path, e))?;
    let size = file.metadata().map_err(|e| WeightsError::io("read", path, e))?.len();
    let mut reader = Reader { path, size, at: 0, file: BufReader::new(file) };
    let version = reader.u32("version")?;
    if version != VERSION {
        let what = format!("binary version {version} of CTranslate2; danlu reads {VERSION}: convert the model anew");
        return Err(WeightsError::unsupported(path, what));
    }
    let (specification, revision) = (reader.string("specification")?, reader.u32("revision")?);
    let mut names = HashSet::new();
    let mut variables = Vec::new();
    for _ in 0..reader.count("variables")? {
        let variable = reader.variable()?;
        if !names.insert(variable.name.clone()) {
            return Err(WeightsError::malformed(path, format!("two variables are named {:?}", variable.name)));
        }
        variables.push(variable);
    }
    let mut aliases = Vec::new();
    for _ in 0..reader.count("aliases")? {
        aliases.push((reader.string("alias")?, reader.string("alias")?));
    }
    if let Some((alias, name)) = aliases.iter().find(|(_, name)| !names.contains(name)) {
        return Err(WeightsError::malformed(path, format!("{alias:?} is to be {name:?}, which is not there")));
    }
    Ok(Model { specification, revision, variables, aliases })
}

struct Reader<'a> {
    path: &'a Path,
    size: u64,
    at: u64,
    file: BufReader<File>,
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], WeightsError> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|e| self.fault(what, e))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn fault(&self, what: &str, error: std::io::Error) -> WeightsError {
        match error.kind() {
            ErrorKind::UnexpectedEof => {
                let what = format!("the file ends within its {what}, at byte {}", self.at);
                WeightsError::NotWhole { path: self.path.into(), what }
            }
            _ => WeightsError::io("read", self.path, error),
        }
    }

    fn u32(&mut self, what: &str) -> Result<u32, WeightsError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    fn count(&mut self, what: &str) -> Result<u32, WeightsError> {
        let count = self.u32(what)?;
        // The shortest name and an alias of it, or a variable without data.
        match count <= MOST_VARIABLES && u64::from(count) * 6 <= self.size - self.at {
            true => Ok(count),
            false => Err(WeightsError::malformed(self.path, format!("{count} {what} in {} bytes", self.size))),
        }
    }

    fn string(&mut self, what: &str) -> Result<String, WeightsError> {
        let length = u16::from_le_bytes(self.bytes(what)?);
        let mut text = vec![0; usize::from(length)];
        self.file.read_exact(&mut text).map_err(|e| self.fault(what, e))?;
        self.at += u64::from(length);
        let wrong = |what: String| WeightsError::malformed(self.path, what);
        if text.pop() != Some(0) || text.is_empty() {
            return Err(wrong(format!("a {what} without its end, before byte {}", self.at)));
        }
        String::from_utf8(text).map_err(|_| wrong(format!("a {what} that is no text, before byte {}", self.at)))
    }

    fn variable(&mut self) -> Result<Stored, WeightsError> {
        let name = self.string("name of a variable")?;
        let wrong = |path: &Path, what: String| WeightsError::malformed(path, format!("the variable {name:?}: {what}"));
        let [rank] = self.bytes("table")?;
        if rank > MOST_DIMENSIONS {
            return Err(wrong(self.path, format!("{rank} dimensions")));
        }
        let mut shape = Vec::with_capacity(usize::from(rank));
        for _ in 0..rank {
            shape.push(u64::from(self.u32("table")?));
        }
        let [kind] = self.bytes("table")?;
        let dtype = *TYPES.get(usize::from(kind)).ok_or_else(|| {
            let what =
                format!("the variable {name:?} has elements of type {kind}; danlu knows 0 to {}", TYPES.len() - 1);
            WeightsError::unsupported(self.path, what)
        })?;
        let length = u64::from(self.u32("table")?);
        let elements = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n));
        let bytes = elements.and_then(|elements| elements.checked_mul(width(dtype)?));
        if bytes != Some(length) {
            return Err(wrong(self.path, format!("{length} bytes for {shape:?} of {dtype}")));
        }
        let offset = self.at;
        if length > self.size - offset {
            let what = format!("the file ends within the variable {name:?}");
            return Err(WeightsError::NotWhole { path: self.path.into(), what });
        }
        self.at += length;
        // Forward within the buffer where it can be.
        self.file.seek_relative(length as i64).map_err(|e| WeightsError::io("read", self.path, e))?;
        Ok(Stored { name, shape, dtype: dtype.into(), path: self.path.into(), offset, length, strides: None })
    }
}
