//! A place for objects by name: a folder or a cloud store, behind one blocking face.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;
use url::Url;

use crate::WorkError;

/// Objects below one address. Cheap to clone; usable from many threads.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    address: String,
    runtime: Arc<Runtime>,
}

/// The parts of a large object that are sent one after another.
const PART_BYTES: usize = 8 << 20;

impl Bucket {
    /// Opens an address: a folder (made if need be), or a URL. Credentials and endpoints of clouds come from the usual
    /// environment variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`,
    /// ...).
    ///
    /// # Errors
    /// [`WorkError::BadAddress`], [`WorkError::NoSuchStore`] for a cloud that this build leaves out.
    pub fn open(address: &str) -> Result<Self, WorkError> {
        let bad = |message: String| WorkError::BadAddress { address: address.into(), message };
        let (store, prefix) = match address.split_once("://") {
            Some(_) => remote(address)?,
            None => {
                std::fs::create_dir_all(address).map_err(|source| WorkError::Io {
                    action: "create the folder",
                    path: address.into(),
                    source,
                })?;
                let folder =
                    object_store::local::LocalFileSystem::new_with_prefix(address).map_err(|e| bad(e.to_string()))?;
                (Arc::new(folder.with_automatic_cleanup(true)) as Arc<dyn ObjectStore>, Key::default())
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Arc::new(runtime.map_err(|e| bad(e.to_string()))?);
        Ok(Self { store, prefix, address: address.into(), runtime })
    }

    /// As [`Bucket::open`]; none of a folder that is not there, which is not made.
    ///
    /// # Errors
    /// Those of [`Bucket::open`].
    pub fn find(address: &str) -> Result<Option<Self>, WorkError> {
        let is_there = address.contains("://") || std::path::Path::new(address).exists();
        is_there.then(|| Self::open(address)).transpose()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The objects whose names begin with `folder/`, by the rest of their names.
    pub fn below(&self, folder: &str) -> Self {
        let address = format!("{}/{folder}", self.address.trim_end_matches('/'));
        Self { prefix: self.key(folder), address, ..self.clone() }
    }

    /// Creates an object; false when it exists already, whoever made it.
    pub fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, WorkError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.runtime.block_on(self.store.put_opts(&self.key(name), PutPayload::from(bytes), options)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(source) => Err(self.error("create", name, source)),
        }
    }

    /// Writes an object, whole or not at all, in place of what was there.
    pub fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), WorkError> {
        let put = self.runtime.block_on(self.store.put(&self.key(name), PutPayload::from(bytes)));
        put.map(|_| ()).map_err(|source| self.error("write", name, source))
    }

    /// The bytes of a small object; none if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, WorkError> {
        let read = async { self.store.get(&self.key(name)).await?.bytes().await };
        match self.runtime.block_on(read) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.error("read", name, source)),
        }
    }

    /// Names of the objects whose names begin with `folder/`, sorted, without the address.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, WorkError> {
        let objects = self.store.list(Some(&self.key(folder))).map_ok(|object| object.location).try_collect::<Vec<_>>();
        let objects = match self.runtime.block_on(objects) {
            Ok(objects) => objects,
            Err(object_store::Error::NotFound { .. }) => Vec::new(), // a folder that nobody has made yet
            Err(source) => return Err(self.error("list", folder, source)),
        };
        let skip = if self.prefix.as_ref().is_empty() { 0 } else { self.prefix.as_ref().len() + 1 };
        let mut names: Vec<String> =
            objects.iter().filter_map(|key| key.as_ref().get(skip..).map(String::from)).collect();
        names.sort();
        Ok(names)
    }

    /// Sends a file, in parts, so that memory stays bounded. Returns its length and BLAKE3 in hex.
    pub fn upload(&self, path: &Path, name: &str) -> Result<(u64, String), WorkError> {
        let io = |source| WorkError::Io { action: "read", path: path.into(), source };
        let mut file = std::fs::File::open(path).map_err(io)?;
        let upload = self.runtime.block_on(self.store.put_multipart(&self.key(name)));
        let mut upload = upload.map_err(|source| self.error("write", name, source))?;
        let sent = self.send(&mut file, upload.as_mut(), path, name);
        // Stores keep, and charge for, the parts of what nobody ends.
        if sent.is_err()
            && let Err(error) = self.runtime.block_on(upload.abort())
        {
            tracing::warn!("the unfinished upload of {name} stays in the store: {error}");
        }
        sent
    }

    /// Sends a file as the parts of `upload`, and completes that.
    fn send(
        &self,
        file: &mut std::fs::File,
        upload: &mut dyn MultipartUpload,
        path: &Path,
        name: &str,
    ) -> Result<(u64, String), WorkError> {
        let io = |source| WorkError::Io { action: "read", path: path.into(), source };
        let failed = |source| self.error("write", name, source);
        let (mut hasher, mut length) = (blake3::Hasher::new(), 0);
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            std::io::Read::read_to_end(&mut std::io::Read::take(&mut *file, PART_BYTES as u64), &mut part)
                .map_err(io)?;
            if part.is_empty() && length > 0 {
                break;
            }
            hasher.update(&part);
            length += part.len() as u64;
            let last = part.len() < PART_BYTES;
            self.runtime.block_on(upload.put_part(PutPayload::from(part))).map_err(failed)?;
            if last {
                break;
            }
        }
        self.runtime.block_on(upload.complete()).map_err(failed)?;
        Ok((length, hasher.finalize().to_hex().to_string()))
    }

    /// Fetches an object into a file, and compares it with the BLAKE3 that it should have.
    ///
    /// # Errors
    /// [`WorkError::Damaged`] when it is another; the file is then not there.
    pub fn download(&self, name: &str, path: &Path, hash: &str) -> Result<(), WorkError> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".danlu-tmp");
        let aside = PathBuf::from(aside);
        let renamed = |()| {
            let io = |source| WorkError::Io { action: "write", path: path.into(), source };
            std::fs::rename(&aside, path).map_err(io)
        };
        let fetched = self.fetch(name, &aside, hash).and_then(renamed);
        fetched.inspect_err(|_| drop(std::fs::remove_file(&aside)))
    }

    fn fetch(&self, name: &str, path: &Path, hash: &str) -> Result<(), WorkError> {
        let io = |source| WorkError::Io { action: "write", path: path.into(), source };
        let mut file = std::fs::File::create(path).map_err(io)?;
        let mut hasher = blake3::Hasher::new();
        let failed = |source| self.error("read", name, source);
        let got = self.runtime.block_on(self.store.get(&self.key(name))).map_err(failed)?;
        let mut stream = got.into_stream();
        while let Some(bytes) = self.runtime.block_on(stream.try_next()).map_err(failed)? {
            hasher.update(&bytes);
            std::io::Write::write_all(&mut file, &bytes).map_err(io)?;
        }
        let found = hasher.finalize().to_hex();
        if found.as_str() != hash {
            let message = format!("its content hashes to {found}, not {hash}");
            return Err(WorkError::Damaged { name: name.into(), address: self.address.clone(), message });
        }
        file.sync_all().map_err(io)
    }

    /// Deletes an object; one that is not there is no error.
    pub fn delete(&self, name: &str) -> Result<(), WorkError> {
        match self.runtime.block_on(self.store.delete(&self.key(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.error("delete", name, source)),
        }
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').fold(self.prefix.clone(), |key, part| key.join(part))
    }

    fn error(&self, action: &'static str, name: &str, source: object_store::Error) -> WorkError {
        WorkError::Store { action, name: name.into(), address: self.address.clone(), source: Box::new(source) }
    }
}

/// A store by URL, with its settings from the environment.
fn remote(address: &str) -> Result<(Arc<dyn ObjectStore>, Key), WorkError> {
    let bad = |message: String| WorkError::BadAddress { address: address.into(), message };
    let url = Url::parse(address).map_err(|e| bad(e.to_string()))?;
    let cloud = matches!(url.scheme(), "s3" | "s3a" | "gs" | "az" | "abfs" | "abfss");
    if cloud && !cfg!(feature = "object-store") {
        return Err(WorkError::NoSuchStore { address: address.into(), scheme: url.scheme().into() });
    }
    let settings =
        std::env::vars().filter(|(name, _)| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|cloud| name.starts_with(cloud)));
    let settings = settings.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let (store, prefix) = object_store::parse_url_opts(&url, settings).map_err(|e| bad(e.to_string()))?;
    Ok((Arc::from(store), prefix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_download_that_fails_leaves_nothing_and_touches_no_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(dir.path().join("bucket").to_str().unwrap()).unwrap();
        let here = dir.path().join("here");
        std::fs::create_dir(&here).unwrap();
        // What another download of a file of the same stem has under way.
        std::fs::write(here.join("kept.json.danlu-tmp"), "half").unwrap();
        std::fs::write(dir.path().join("file"), "content").unwrap();
        let (_, hash) = bucket.upload(&dir.path().join("file"), "file").unwrap();
        let path = here.join("kept.parquet");
        let damaged = bucket.download("file", &path, "another hash");
        assert!(matches!(damaged, Err(WorkError::Damaged { .. })));
        assert!(bucket.download("missing", &path, &hash).is_err());
        assert_eq!(std::fs::read_dir(&here).unwrap().count(), 1);
        bucket.download("file", &path, &hash).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "content");
        assert_eq!(std::fs::read_to_string(here.join("kept.json.danlu-tmp")).unwrap(), "half");
    }
}
