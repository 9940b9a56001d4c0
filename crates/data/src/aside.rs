use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::DataError;

/// A file written aside and renamed when finished, so that it appears whole or not at all.
///
/// `store::atomic::write_with` does this for one file inside a closure; here several are open at once, and a shard's
/// header is written last.
pub(crate) struct AsideFile {
    /// Taken by `finish`; still there in `drop` when the work was given up.
    out: Option<BufWriter<File>>,
    aside: PathBuf,
    path: PathBuf,
}

impl AsideFile {
    pub(crate) fn create(path: &Path) -> Result<Self, DataError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| DataError::io("create the folder of", path, e))?;
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".danlu-tmp");
        let aside = path.with_file_name(name);
        let file = File::create(&aside).map_err(|e| DataError::io("create", &aside, e))?;
        Ok(Self { out: Some(BufWriter::with_capacity(1 << 18, file)), aside, path: path.into() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn out(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.out.as_mut().ok_or_else(|| io::Error::other("the file is already finished"))
    }

    /// Flushes, syncs and gives the file its name.
    pub(crate) fn finish(mut self) -> Result<(), DataError> {
        let result = self.out.take().map_or(Ok(()), |out| {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            std::fs::rename(&self.aside, &self.path)
        });
        result.map_err(|e| {
            let _ = std::fs::remove_file(&self.aside); // the first error is the one to tell
            DataError::io("write", &self.path, e)
        })
    }
}

impl Write for AsideFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out()?.flush()
    }
}

impl Seek for AsideFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.out()?.seek(position)
    }
}

impl Drop for AsideFile {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            let _ = std::fs::remove_file(&self.aside);
        }
    }
}
