//! Files and folders that appear under their final name whole, or not at all.
//!
//! The order is always: write aside in the same folder, fsync, rename, fsync the folder. After a crash at any instant
//! the final name holds the old contents or the new, and at worst a leftover `*.danlu-tmp` lies beside it, which
//! [`publish_dir`] and [`remove_leftovers`] take away.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::StoreError;
use crate::error::At;

/// The end of the names of files still being written.
const TEMPORARY: &str = ".danlu-tmp";

/// Writes `bytes` as the file `path`, creating its folder where missing.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_with(path, |out| out.write_all(bytes))
}

/// Writes the file `path` by `fill`, whose output is buffered. When `fill` fails nothing is left behind.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), StoreError> {
    let folder = parent(path);
    fs::create_dir_all(folder).at("create the folder", folder)?;
    let (aside, file) = create_aside(path)?;
    let written = fill_and_sync(file, fill).and_then(|()| fs::rename(&aside, path));
    if let Err(source) = written {
        // Best effort: the first error is the one to tell.
        let _ = fs::remove_file(&aside);
        return Err(StoreError::io("write", path, source));
    }
    sync_folder(folder)
}

fn fill_and_sync(file: File, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 18, file);
    fill(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Publishes the folder `work` as `final_`: every file and folder in it is fsynced, then the folder is renamed.
///
/// `final_` must not exist, or be an empty folder.
pub fn publish_dir(work: &Path, final_: &Path) -> Result<(), StoreError> {
    remove_leftovers(work)?;
    sync_tree(work)?;
    let folder = parent(final_);
    fs::create_dir_all(folder).at("create the folder", folder)?;
    fs::rename(work, final_).at("publish", final_)?;
    sync_folder(folder)
}

/// Removes files that a killed process left half-written in `folder` and the folders under it.
pub fn remove_leftovers(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let path = entry.path();
        if entry.file_type().at("look at", &path)?.is_dir() {
            remove_leftovers(&path)?;
        } else if entry.file_name().to_string_lossy().ends_with(TEMPORARY) {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

/// Makes `to` another name of the file `from` (a hard link), or a copy of it where the file system has no links or `from`
/// is small: a small file may be edited in place, which must not reach the original. `to` is replaced at once.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    /// From here on a copy would cost noticeable disk.
    const LINK_FROM_BYTES: u64 = 1 << 20;
    let mut source = File::open(from).at("open", from)?;
    if source.metadata().at("look at", from)?.len() < LINK_FROM_BYTES {
        return write_with(to, |out| io::copy(&mut source, out).map(|_| ()));
    }
    let folder = parent(to);
    fs::create_dir_all(folder).at("create the folder", folder)?;
    let (aside, file) = create_aside(to)?;
    drop(file);
    fs::remove_file(&aside).at("remove", &aside)?;
    if fs::hard_link(from, &aside).is_err() {
        return write_with(to, |out| io::copy(&mut source, out).map(|_| ()));
    }
    // Renaming one name of a file to another name of the same file does nothing, and leaves both.
    fs::rename(&aside, to).at("write", to)?;
    let _ = fs::remove_file(&aside);
    sync_folder(folder)
}

fn create_aside(path: &Path) -> Result<(PathBuf, File), StoreError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| StoreError::Invalid {
        what: "file name",
        reason: format!("{} does not name a file", path.display()),
    })?;
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(format!(".{}.{}{TEMPORARY}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    let aside = path.with_file_name(aside);
    // Not `create_new`: a file of this name can only be the leftover of a dead process that had our process id.
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&aside).at("create", &aside)?;
    Ok((aside, file))
}

/// Makes the contents of a folder durable.
pub(crate) fn sync_tree(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let path = entry.path();
        let kind = entry.file_type().at("look at", &path)?;
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            open_for_sync(&path).and_then(|file| file.sync_all()).at("write", &path)?;
        }
    }
    sync_folder(folder)
}

fn open_for_sync(path: &Path) -> io::Result<File> {
    // Windows flushes only files opened for writing; Unix needs no more than reading.
    OpenOptions::new().read(true).write(cfg!(windows)).open(path)
}

/// Makes renames in `folder` durable. Only Unix can and needs to fsync a folder.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).at("write", folder)?;
    }
    Ok(())
}

/// The folder of `path`; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn writes_replaces_and_creates_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file.txt");
        write_bytes(&path, b"one").unwrap();
        write_with(&path, |out| write!(out, "{}", 2)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(names(path.parent().unwrap()), ["file.txt"]);
    }

    #[test]
    fn failure_keeps_the_old_contents_and_leaves_nothing_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_bytes(&path, b"old").unwrap();
        let error = write_with(&path, |out| {
            out.write_all(&vec![7; 1 << 20])?;
            Err(io::Error::other("the caller gave up"))
        })
        .unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let error = write_with(&path, |_| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(matches!(&error, StoreError::NoSpace { path: told } if *told == path));
        assert!(error.hint().unwrap().contains("free some space"));
    }

    #[test]
    fn publishing_a_folder_takes_leftovers_away() {
        let dir = tempfile::tempdir().unwrap();
        let (work, done) = (dir.path().join("work"), dir.path().join("x/done"));
        write_bytes(&work.join("sub/kept.txt"), b"kept").unwrap();
        fs::write(work.join("sub/.kept.txt.1.0.danlu-tmp"), b"half").unwrap();
        publish_dir(&work, &done).unwrap();
        assert!(!work.exists());
        assert_eq!(names(&done.join("sub")), ["kept.txt"]);
    }

    #[test]
    fn publishing_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let (work, done) = (dir.path().join("work"), dir.path().join("done"));
        write_bytes(&work.join("f"), b"new").unwrap();
        write_bytes(&done.join("f"), b"old").unwrap();
        publish_dir(&work, &done).unwrap_err();
        assert_eq!(fs::read(done.join("f")).unwrap(), b"old");
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        assert!(write_bytes(Path::new("/"), b"").is_err());
    }
}
