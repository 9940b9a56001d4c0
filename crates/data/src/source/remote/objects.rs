//! Object stores: `s3://`, `gs://` and `az://`, with credentials and endpoints from the variables that their own tools
//! read (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, ...).

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;
use url::Url;

use crate::DataError;

/// So much is asked for at a time while an object is streamed.
const RANGE_BYTES: u64 = 8 << 20;

/// An object of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    bucket: Arc<Bucket>,
    path: Path,
    pub(crate) url: String,
    pub(crate) bytes: u64,
    /// Its entity tag, or size and time.
    pub(crate) state: String,
    etag: Option<String>,
}

struct Bucket {
    store: Box<dyn ObjectStore>,
    runtime: Runtime,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.store)
    }
}

/// The objects that a URL names, sorted by path: one object, all below a prefix, or those that match a pattern.
///
/// # Errors
/// A store that does not answer or refuses.
pub(crate) fn list(place: &str) -> Result<Vec<Object>, DataError> {
    // Without a prefix the names are those of the stores' own options, such as TIMEOUT, which here mean something else.
    let own =
        |name: &str| ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.to_ascii_uppercase().starts_with(prefix));
    list_with(
        place,
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| own(name)),
    )
}

/// [`list`] with the variables given.
pub(super) fn list_with(
    place: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Object>, DataError> {
    let bad = |message: String| DataError::Remote { place: place.into(), message };
    let (literal, pattern) = match place.find(['*', '?', '[']) {
        Some(at) => (&place[..place[..at].rfind('/').map_or(at, |slash| slash + 1)], Some(place)),
        None => (place, None),
    };
    let url = Url::parse(literal).map_err(|error| bad(format!("not a URL: {error}")))?;
    let (store, prefix) = object_store::parse_url_opts(&url, variables).map_err(|error| bad(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let bucket = Arc::new(Bucket { store, runtime: runtime.map_err(|error| bad(error.to_string()))? });
    let root = literal.trim_end_matches('/');
    let root = root.strip_suffix(prefix.as_ref()).unwrap_or(root).trim_end_matches('/').to_owned();
    let found = bucket.runtime.block_on(metas(&*bucket.store, &prefix, pattern.is_none()));
    let pattern = pattern.map(glob::Pattern::new).transpose().map_err(|error| bad(error.to_string()))?;
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    let mut objects: Vec<Object> = found
        .map_err(|error| bad(error.to_string()))?
        .into_iter()
        .map(|meta| Object::new(&bucket, &root, meta))
        .filter(|object| pattern.as_ref().is_none_or(|pattern| pattern.matches_with(&object.url, options)))
        .collect();
    objects.sort_by(|a, b| a.url.cmp(&b.url));
    Ok(objects)
}

async fn metas(store: &dyn ObjectStore, prefix: &Path, one: bool) -> object_store::Result<Vec<ObjectMeta>> {
    if one && !prefix.as_ref().is_empty() {
        match store.head(prefix).await {
            Ok(meta) => return Ok(vec![meta]),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let prefix = Some(prefix).filter(|prefix| !prefix.as_ref().is_empty());
    let mut listing = store.list(prefix);
    let mut metas = Vec::new();
    while let Some(meta) = next(&mut listing).await {
        metas.push(meta?);
    }
    Ok(metas)
}

/// The next of a stream, without another crate for it.
async fn next<S: futures::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| std::pin::Pin::new(&mut *stream).poll_next(context)).await
}

impl Object {
    fn new(bucket: &Arc<Bucket>, root: &str, meta: ObjectMeta) -> Self {
        let state = meta.e_tag.clone().unwrap_or_else(|| format!("{} {}", meta.size, meta.last_modified));
        Self {
            bucket: bucket.clone(),
            url: format!("{root}/{}", meta.location),
            path: meta.location,
            bytes: meta.size,
            state,
            etag: meta.e_tag,
        }
    }

    /// Streams the object, range by range.
    pub(crate) fn reader(&self) -> ObjectReader {
        ObjectReader { object: self.clone(), next: 0, range: Default::default(), given: 0 }
    }
}

/// Holds one range of an object at a time.
pub(crate) struct ObjectReader {
    object: Object,
    /// Where the next range begins.
    next: u64,
    range: Vec<u8>,
    /// How much of the range has been handed out.
    given: usize,
}

impl ObjectReader {
    fn fetch(&mut self) -> io::Result<()> {
        let object = &self.object;
        let until = (self.next + RANGE_BYTES).min(object.bytes);
        // A range of another object than the one that was listed would be no continuation.
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.next..until)),
            if_match: object.etag.clone(),
            ..Default::default()
        };
        let bytes = object
            .bucket
            .runtime
            .block_on(async { object.bucket.store.get_opts(&object.path, options).await?.bytes().await });
        let bytes = bytes.map_err(|error| match error {
            object_store::Error::NotFound { .. } => {
                io::Error::new(io::ErrorKind::NotFound, "the object has disappeared since it was listed")
            }
            object_store::Error::Precondition { .. } => io::Error::other("the object was replaced while it was read"),
            error => io::Error::other(error.to_string()),
        })?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.next += bytes.len() as u64;
        self.range = bytes.to_vec();
        self.given = 0;
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.range.len() {
            if self.next >= self.object.bytes {
                return Ok(0);
            }
            self.fetch()?;
        }
        let count = buffer.len().min(self.range.len() - self.given);
        buffer[..count].copy_from_slice(&self.range[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path as FilePath;
    use std::process::Command;

    use danlu_testing::{ObjectStore as Server, skip};

    use super::*;
    use crate::source::SourceConfig;
    use crate::{COLLECTED_FILE, collect, read_documents};

    const CHILD: &str = "DANLU_TEST_S3_CHILD";

    fn put(server: &Server, path: &str, content: Vec<u8>) {
        let url = Url::parse("s3://bucket/").unwrap();
        let (store, _) = object_store::parse_url_opts(&url, server.variables()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.put(&Path::parse(path).unwrap(), content.into())).unwrap();
    }

    fn delete(server: &Server, path: &str) {
        let url = Url::parse("s3://bucket/").unwrap();
        let (store, _) = object_store::parse_url_opts(&url, server.variables()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.delete(&Path::parse(path).unwrap())).unwrap();
    }

    /// What the child process of the next test runs: a collection that finds its store by the environment.
    #[test]
    fn collects_from_the_environments_store() {
        let Some(dir) = std::env::var_os(CHILD) else { return };
        let dir = FilePath::new(&dir);
        let source = SourceConfig { name: "s".into(), path: "s3://bucket/data".into(), ..Default::default() };
        collect(&[source], dir, true, &dir.join("out"), &|_| ()).unwrap();
    }

    #[test]
    fn buckets_are_listed_and_streamed() {
        let server = match Server::start() {
            Ok(server) => server,
            Err(reason) => return skip("buckets_are_listed_and_streamed", &reason),
        };
        let line = |text: &str| serde_json::json!({ "text": text }).to_string() + "\n";
        let large = line(&"春眠不覺曉 ".repeat(60_000)).repeat(20);
        assert!(large.len() as u64 > 2 * RANGE_BYTES, "it takes several ranges");
        put(&server, "data/a.jsonl.zst", zstd::encode_all(line("one").as_bytes(), 3).unwrap());
        put(&server, "data/deep/b.jsonl", large.clone().into_bytes());
        put(&server, "data/picture.png", b"png".to_vec());
        put(&server, "database/c.jsonl", line("other").into_bytes());
        let listed = |place: &str| -> Vec<String> {
            list_with(place, server.variables()).unwrap().into_iter().map(|object| object.url).collect()
        };
        let all = ["s3://bucket/data/a.jsonl.zst", "s3://bucket/data/deep/b.jsonl", "s3://bucket/data/picture.png"];
        assert_eq!(listed("s3://bucket/data"), all);
        assert_eq!(listed("s3://bucket/data/"), all);
        assert_eq!(listed("s3://bucket/data/deep/b.jsonl"), all[1..2]);
        assert_eq!(listed("s3://bucket/data/**/*.jsonl"), all[1..2]);
        assert_eq!(listed("s3://bucket/*/*.jsonl"), ["s3://bucket/database/c.jsonl"]);
        assert!(listed("s3://bucket/nothing").is_empty());

        let object = &list_with(all[1], server.variables()).unwrap()[0];
        let mut read = String::new();
        object.reader().read_to_string(&mut read).unwrap();
        assert!(read == large, "what was streamed is not what was put");

        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "source::remote::objects::tests::collects_from_the_environments_store"])
            .env(CHILD, dir.path())
            .envs(server.variables())
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        let documents = read_documents(&dir.path().join("out").join(COLLECTED_FILE)).unwrap();
        let documents: Vec<_> = documents.map(Result::unwrap).collect();
        assert_eq!((documents.len(), documents[0].text.as_str()), (21, "one"));
        assert_eq!(documents[20].metadata["file"], all[1]);

        // A reader in the middle of an object that is replaced, or removed, does not go on with something else.
        for (replace, expect) in [(true, "was replaced while it was read"), (false, "has disappeared")] {
            put(&server, "data/deep/b.jsonl", large.clone().into_bytes());
            let object = &list_with(all[1], server.variables()).unwrap()[0];
            let mut reader = object.reader();
            reader.read_exact(&mut [0; 1000]).unwrap();
            if replace {
                put(&server, "data/deep/b.jsonl", vec![b'x'; large.len()]);
            } else {
                delete(&server, "data/deep/b.jsonl");
            }
            let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        }
    }
}
