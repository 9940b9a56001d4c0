//! Files mapped read-only.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file, paged in by the operating system when they are touched.
///
/// Dereferences to `&[u8]`. An empty file gives an empty slice. `Send + Sync`: share it behind an `Arc`.
#[derive(Debug)]
pub struct ReadOnlyMap {
    map: Mmap,
}

impl ReadOnlyMap {
    /// Maps the whole of `path`, as long as it is now.
    ///
    /// Map finished files only: those that danlu publishes by rename, and that nothing writes to afterwards. If another
    /// program truncates a mapped file, the operating system ends this process with SIGBUS on the next access to the
    /// missing part; no library can turn that into an error.
    ///
    /// # Errors
    /// The operating system's error when the file cannot be opened or mapped; `InvalidInput` when it is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // SAFETY: the map is read-only and private to this process, and is only handed out as `&[u8]`. What Rust needs
        // is that the bytes stay as they are while borrowed. danlu maps only files inside published artifacts and model
        // folders, which are written aside, renamed into place and never written again (invariant 6 of
        // ARCHITECTURE.md); replacing such a file by rename leaves this map on the old inode. Interpretation of the
        // bytes is the caller's, who validates them as it would any read from disk.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map })
    }
}

impl Deref for ReadOnlyMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl AsRef<[u8]> for ReadOnlyMap {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn maps_exactly_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let map = ReadOnlyMap::open(&path).unwrap();
        assert_eq!(&map[..], &bytes[..]);
    }

    #[test]
    fn empty_file_is_an_empty_slice() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(ReadOnlyMap::open(file.path()).unwrap().is_empty());
    }

    #[test]
    fn replacing_the_file_by_rename_leaves_the_map_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&path, b"old contents").unwrap();
        let map = ReadOnlyMap::open(&path).unwrap();
        std::fs::write(&aside, b"new").unwrap();
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(&map[..], b"old contents");
    }

    #[test]
    fn missing_files_and_folders_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ReadOnlyMap::open(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(ReadOnlyMap::open(dir.path()).is_err());
    }
}
