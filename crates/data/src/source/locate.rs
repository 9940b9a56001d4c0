//! What a source's path means: its files, each once, and what else it reads.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use danlu_store::hash;
use serde_json::{Map, Value};

use super::format::{Compression, Format, SUPPORTED};
use super::{Problem, SourceConfig, remote};
use crate::DataError;

/// One thing that a source reads as a whole: a file, a page, the answer to a query.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) place: Place,
    /// As the metadata shows it: relative to the recipe; for what is not a file, its URL.
    pub(crate) shown: String,
    /// `None` when only the server's answer will tell.
    pub(crate) format: Option<Format>,
    pub(crate) compression: Compression,
    /// As it is stored; 0 when not known beforehand.
    pub(crate) bytes: u64,
    /// Changes with the content, as far as can be told without reading it.
    pub(crate) state: String,
}

impl Item {
    /// Whether it gives the same records in the same order when it is read again, as long as its state is the same.
    pub(crate) fn is_steady(&self) -> bool {
        match self.place {
            Place::File(_) | Place::Hub(_) => true,
            #[cfg(feature = "object-store")]
            Place::Object(_) => true,
            Place::Sqlite(_) | Place::Postgres(_) | Place::Web(_) => false,
        }
    }
}

/// Where an item lies.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(PathBuf),
    Sqlite(PathBuf),
    /// With its password, unlike what is shown of it.
    Postgres(String),
    Web(String),
    Hub(remote::hub::HubFile),
    #[cfg(feature = "object-store")]
    Object(remote::objects::Object),
}

/// What a source names.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// In the order in which they are read.
    pub(crate) items: Vec<Item>,
    /// What could not be listed: links that lead in a circle or nowhere, folders that cannot be read.
    pub(crate) problems: Vec<Problem>,
    /// Files that were named more than once, by several patterns or through links; they are read once.
    pub(crate) repeated: u64,
}

/// Lists what a source names, the files of each of its patterns sorted by path.
///
/// # Errors
/// A pattern that is none, that matches no file, or that matches a file of unknown format; a server that does not
/// answer when it is asked for a listing.
pub(crate) fn list(source: &SourceConfig, base: &Path) -> Result<Listing, DataError> {
    let mut lister = Lister { source, base, listing: Listing::default(), seen: HashSet::new() };
    for pattern in source.patterns() {
        match scheme_of(pattern) {
            Some(("sqlite", file)) => lister.sqlite(pattern, &base.join(file))?,
            Some(("postgres" | "postgresql", _)) => lister.push_remote(Place::Postgres(pattern.into()), pattern),
            Some(("urls", file)) => lister.url_list(&base.join(file))?,
            Some(("http" | "https", _)) if source.http.sitemap => {
                let mut fetcher = remote::http::Fetcher::new(&source.http, base)?;
                for url in remote::sitemap::urls(&mut fetcher, pattern)? {
                    lister.web(&url);
                }
            }
            Some(("http" | "https", _)) => lister.web(pattern),
            Some(("hf", _)) => {
                for file in remote::hub::list(pattern, source)? {
                    lister.hub(file);
                }
            }
            Some(("s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss", _)) => lister.objects(pattern)?,
            _ => lister.files(pattern)?,
        }
    }
    Ok(lister.listing)
}

/// The local files that a source names, in the order in which they are read.
///
/// # Errors
/// As [`read_source`](super::read_source) has.
pub fn source_files(source: &SourceConfig, base: &Path) -> Result<Vec<PathBuf>, DataError> {
    let files = list(source, base)?.items.into_iter().filter_map(|item| match item.place {
        Place::File(path) | Place::Sqlite(path) => Some(path),
        _ => None,
    });
    Ok(files.collect())
}

/// `{what a source names: its content hash, or what else tells its state}`, files relative to `base`. Looks at no page
/// and asks no database: their state is the source's `version`.
///
/// # Errors
/// As [`read_source`](super::read_source) has; a file that cannot be read.
pub fn source_state(source: &SourceConfig, base: &Path) -> Result<Map<String, Value>, DataError> {
    source.check()?;
    // A sitemap's pages are known only once it is fetched; its URL stands for them.
    if source.http.sitemap {
        return Ok(source.patterns().map(|pattern| (pattern.into(), Value::Null)).collect());
    }
    let mut state = BTreeMap::new();
    for item in list(source, base)?.items {
        let value = match &item.place {
            Place::File(path) | Place::Sqlite(path) => match hash::of_file(path) {
                Ok(hash) => hash.to_string(),
                // Reading it will say what is wrong with it.
                Err(_) if !path.is_file() => "missing".into(),
                Err(error) => return Err(error.into()),
            },
            _ => item.state,
        };
        state.insert(item.shown, value.into());
    }
    Ok(state.into_iter().collect())
}

/// The scheme of a URL, or of the likes of `sqlite:FILE`, and what follows its colon.
fn scheme_of(pattern: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = pattern.split_once(':')?;
    (scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some((scheme, rest))
}

/// A URL without the password in it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let Some((user, host)) = rest.split_once('@') else { return url.into() };
    format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default())
}

struct Lister<'a> {
    source: &'a SourceConfig,
    base: &'a Path,
    listing: Listing,
    /// The files and URLs listed so far, files by their canonical path.
    seen: HashSet<PathBuf>,
}

impl Lister<'_> {
    fn push_remote(&mut self, place: Place, url: &str) {
        let shown = without_password(url);
        let item = Item { place, shown, format: None, compression: Compression::None, bytes: 0, state: String::new() };
        self.push(PathBuf::from(url), item);
    }

    fn push(&mut self, identity: PathBuf, item: Item) {
        if self.seen.insert(identity) {
            self.listing.items.push(item);
        } else {
            self.listing.repeated += 1;
            tracing::debug!("{} is named more than once; it is read once", item.shown);
        }
    }

    fn web(&mut self, url: &str) {
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let format = self.source.format.or_else(|| Format::of(path));
        let compression = Compression::of(path);
        let place = Place::Web(url.into());
        let item = Item { place, shown: without_password(url), format, compression, bytes: 0, state: String::new() };
        self.push(PathBuf::from(url), item);
    }

    fn hub(&mut self, file: remote::hub::HubFile) {
        let Some(format) = self.source.format.or_else(|| Format::of(&file.path)) else { return };
        let (shown, bytes, state) = (file.url(), file.bytes, file.revision.clone());
        let compression = Compression::of(&file.path);
        let identity = PathBuf::from(&shown);
        self.push(identity, Item { place: Place::Hub(file), shown, format: Some(format), compression, bytes, state });
    }

    #[cfg(feature = "object-store")]
    fn objects(&mut self, pattern: &str) -> Result<(), DataError> {
        let found = remote::objects::list(pattern)?;
        let mut readable = 0;
        for object in found {
            let Some(format) = self.source.format.or_else(|| Format::of(&object.url)) else { continue };
            readable += 1;
            let (shown, bytes, state) = (object.url.clone(), object.bytes, object.state.clone());
            let compression = Compression::of(&shown);
            let (identity, place) = (PathBuf::from(&shown), Place::Object(object));
            self.push(identity, Item { place, shown, format: Some(format), compression, bytes, state });
        }
        if readable == 0 {
            return Err(DataError::NoFiles { name: self.source.name.clone(), pattern: pattern.into() });
        }
        Ok(())
    }

    #[cfg(not(feature = "object-store"))]
    fn objects(&mut self, pattern: &str) -> Result<(), DataError> {
        Err(DataError::NotBuilt { place: pattern.into(), feature: "object-store" })
    }

    fn url_list(&mut self, path: &Path) -> Result<(), DataError> {
        let text = fs::read_to_string(path).map_err(|e| DataError::io("read the list of URLs", path, e))?;
        for (index, line) in text.lines().enumerate() {
            let url = line.trim();
            if url.is_empty() || url.starts_with('#') {
                continue;
            }
            match scheme_of(url) {
                Some(("http" | "https", _)) => self.web(url),
                _ => self.problem(path, Some(index as u64 + 1), format!("{url:?} is not an http or https URL")),
            }
        }
        Ok(())
    }

    fn sqlite(&mut self, pattern: &str, path: &Path) -> Result<(), DataError> {
        if !path.is_file() {
            return Err(DataError::NoFiles { name: self.source.name.clone(), pattern: pattern.into() });
        }
        let item = self.item(Place::Sqlite(path.into()), path, None);
        self.push(identity(path), item);
        Ok(())
    }

    fn problem(&mut self, file: &Path, line: Option<u64>, message: impl Into<String>) {
        self.listing.problems.push(Problem { file: file.into(), line, message: message.into() });
    }

    /// The files that a path, a folder or a pattern names.
    fn files(&mut self, pattern: &str) -> Result<(), DataError> {
        let path = self.base.join(pattern);
        let (items, problems, repeated) =
            (self.listing.items.len(), self.listing.problems.len(), self.listing.repeated);
        let source = self.source;
        let name = || source.name.clone();
        let bad = |message: String| DataError::BadPattern { name: name(), pattern: pattern.into(), message };
        if path.is_file() {
            self.file(&path)?; // taken literally, even if its name has pattern characters
        } else if path.is_dir() {
            self.walk(&path, None)?;
        } else {
            let compiled = glob::Pattern::new(&path.to_string_lossy()).map_err(|e| bad(e.to_string()))?;
            if pattern.contains("**") {
                let root = literal_root(&path);
                if root.is_dir() {
                    self.walk(&root, Some(&compiled))?;
                }
            } else {
                let entries = glob::glob(&path.to_string_lossy()).map_err(|e| bad(e.to_string()))?;
                let mut files = Vec::new();
                for entry in entries {
                    match entry {
                        Ok(file) if file.is_file() => files.push(file),
                        Ok(_) => {}
                        Err(e) => self.problem(e.path(), None, format!("cannot be listed: {}", e.error())),
                    }
                }
                files.sort();
                files.iter().try_for_each(|file| self.file(file))?;
            }
        }
        let listing = &self.listing;
        let none = listing.items.len() == items && listing.repeated == repeated;
        if none && (listing.problems.len() == problems || listing.items.is_empty()) {
            return Err(DataError::NoFiles { name: name(), pattern: pattern.into() });
        }
        Ok(())
    }

    /// A file that was named; its format must be known.
    fn file(&mut self, path: &Path) -> Result<(), DataError> {
        let Some(format) = self.format_of(path) else {
            let name = self.source.name.clone();
            return Err(DataError::UnsupportedFile { name, path: path.into(), supported: SUPPORTED });
        };
        let item = self.item(Place::File(path.into()), path, Some(format));
        self.push(identity(path), item);
        Ok(())
    }

    fn format_of(&self, path: &Path) -> Option<Format> {
        self.source.format.or_else(|| Format::of(path.file_name()?.to_str()?))
    }

    fn item(&self, place: Place, path: &Path, format: Option<Format>) -> Item {
        let shown = path.strip_prefix(self.base).unwrap_or(path).to_string_lossy().into_owned();
        let metadata = path.metadata().ok();
        let modified =
            metadata.as_ref().and_then(|m| m.modified().ok()).and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let bytes = metadata.map_or(0, |m| m.len());
        let state = format!("{bytes} {}", modified.map_or(0, |t| t.as_nanos()));
        Item { place, compression: Compression::of(&shown), shown, format, bytes, state }
    }

    /// All files below a folder that are of a known format or, with a pattern, that match it. Links are followed; one
    /// that leads back to a folder above it is a problem.
    fn walk(&mut self, root: &Path, pattern: Option<&glob::Pattern>) -> Result<(), DataError> {
        let mut files = Vec::new();
        let mut visited = HashSet::new();
        self.descend(root, &mut Vec::new(), &mut visited, &mut files)?;
        files.sort();
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        for file in files {
            match pattern {
                Some(pattern) if pattern.matches_path_with(&file, options) => self.file(&file)?,
                Some(_) => {}
                None if self.format_of(&file).is_some() => self.file(&file)?,
                None => {}
            }
        }
        Ok(())
    }

    fn descend(
        &mut self,
        folder: &Path,
        above: &mut Vec<PathBuf>,
        visited: &mut HashSet<PathBuf>,
        files: &mut Vec<PathBuf>,
    ) -> Result<(), DataError> {
        let real = identity(folder);
        if above.contains(&real) {
            self.problem(folder, None, format!("a link in a circle: it leads back to {}", real.display()));
            return Ok(());
        }
        if !visited.insert(real.clone()) {
            return Ok(()); // reached by another link already, and its files with it
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if above.is_empty() => return Err(DataError::io("read the folder", folder, error)),
            Err(error) => {
                self.problem(folder, None, format!("the folder cannot be read: {error}"));
                return Ok(());
            }
        };
        let mut paths = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => paths.push(entry.path()),
                Err(error) => self.problem(folder, None, format!("the folder cannot be read to its end: {error}")),
            }
        }
        paths.sort();
        above.push(real);
        for path in paths {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.descend(&path, above, visited, files)?,
                Ok(metadata) if metadata.is_file() => files.push(path),
                Ok(_) => {} // a pipe, a socket, a device
                Err(error) if self.format_of(&path).is_some() => {
                    self.problem(&path, None, format!("a link that leads nowhere: {error}"));
                }
                Err(_) => {}
            }
        }
        above.pop();
        Ok(())
    }
}

/// What two names of the same file have in common.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}

/// The folder above the first part of a pattern that has pattern characters.
fn literal_root(pattern: &Path) -> PathBuf {
    let literal = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let root: PathBuf = pattern.components().take_while(literal).collect();
    if root.as_os_str().is_empty() { PathBuf::from(".") } else { root }
}
