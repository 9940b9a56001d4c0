use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::atomic::parent;
use crate::error::At;

/// An exclusive claim of this process, given back on drop. The operating system also takes it back when the process
/// dies, however it dies, so that no claim outlives its owner.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Claims `path` (a file made for this purpose); [`StoreError::Busy`] when another process or handle has it.
    pub(crate) fn acquire(path: &Path, what: &str) -> Result<Self, StoreError> {
        let folder = parent(path);
        fs::create_dir_all(folder).at("create the folder", folder)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).at("open", path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file, path: path.to_owned() }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy { what: what.to_owned(), path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(StoreError::io("lock", path, source)),
        }
    }

    /// The lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x/lock");
        let first = Lock::acquire(&path, "the stage").unwrap();
        let error = Lock::acquire(&path, "the stage").unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }));
        assert!(error.to_string().contains("the stage"));
        drop(first);
        Lock::acquire(&path, "the stage").unwrap();
    }
}
