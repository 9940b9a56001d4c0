//! Files of the small models: `magic (8 bytes) | version (u32) | length of the body (u64) | body | BLAKE3 of all before (32)`,
//! numbers little-endian. A file appears whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::TextError;

/// What a model file begins with.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub magic: &'static [u8; 8],
    pub version: u32,
    /// For messages: "n-gram model".
    pub what: &'static str,
}

const HEADER: usize = 8 + 4 + 8;
const CHECKSUM: usize = 32;

/// Writes aside, syncs and renames.
pub(crate) fn write(path: &Path, format: Format, body: &[u8]) -> Result<(), TextError> {
    let io = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| TextError::Io { action, path, source }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io("create", folder))?;
    }
    let aside = aside(path);
    let mut file = File::create(&aside).map_err(io("create", &aside))?;
    let written =
        write_to(&mut file, format, body).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&aside, path));
    written.map_err(|source| {
        // What is left of a failed write is of no use, and that it cannot be removed of no more interest.
        let _ = std::fs::remove_file(&aside);
        TextError::Io { action: "write", path: path.into(), source }
    })
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

fn write_to(file: &mut File, format: Format, body: &[u8]) -> io::Result<()> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(format.magic);
    header.extend_from_slice(&format.version.to_le_bytes());
    header.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header).update(body);
    file.write_all(&header)?;
    file.write_all(body)?;
    file.write_all(hasher.finalize().as_bytes())
}

/// The body, checked.
pub(crate) fn read(path: &Path, format: Format) -> Result<Vec<u8>, TextError> {
    let mut bytes =
        std::fs::read(path).map_err(|source| TextError::Io { action: "read", path: path.into(), source })?;
    let bad = |message: String| TextError::BadModel { path: path.into(), what: format.what, message };
    if bytes.get(..8) != Some(format.magic) {
        return Err(bad("it does not begin as one".into()));
    }
    let mut fields = Fields::new(&bytes[8..]);
    let version = fields.u32().unwrap_or_default();
    if version != format.version {
        return Err(bad(format!("it is of version {version}, and this program reads version {}", format.version)));
    }
    let expected = fields.u64().unwrap_or_default().saturating_add((HEADER + CHECKSUM) as u64);
    if expected != bytes.len() as u64 {
        return Err(bad(format!("it has {} bytes, and should have {expected}: it was cut or added to", bytes.len())));
    }
    let end = bytes.len() - CHECKSUM;
    if blake3::hash(&bytes[..end]).as_bytes() != &bytes[end..] {
        return Err(bad("its checksum is wrong: it was damaged".into()));
    }
    bytes.truncate(end);
    bytes.drain(..HEADER);
    Ok(bytes)
}

/// Reads numbers from a body; `None` beyond its end.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn f32(&mut self) -> Option<f32> {
        self.array().map(f32::from_le_bytes)
    }

    /// A string behind its length.
    pub fn string(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        String::from_utf8(self.bytes(length)?.to_vec()).ok()
    }
}

/// What [`Fields::string`] reads.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FORMAT: Format = Format { magic: b"DANLUTST", version: 3, what: "test model" };

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/model.bin");
        write(&path, FORMAT, b"body").unwrap();
        assert_eq!(read(&path, FORMAT).unwrap(), b"body");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        let whole = std::fs::read(&path).unwrap();
        let check = |bytes: &[u8], expect: &str| {
            std::fs::write(&path, bytes).unwrap();
            let message = read(&path, FORMAT).unwrap_err().to_string();
            assert!(message.contains(expect), "{message}");
        };
        check(b"", "does not begin as one");
        check(b"DANLUXXX", "does not begin as one");
        check(&whole[..9], "version 0");
        check(&whole[..whole.len() - 1], "was cut");
        let mut damaged = whole.clone();
        damaged[HEADER] ^= 1;
        check(&damaged, "checksum");
        assert!(read(&folder.path().join("none"), FORMAT).unwrap_err().to_string().starts_with("cannot read"));
    }
}
