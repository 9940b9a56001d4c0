//! What a source's path means: its files, each once, and what else it reads.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use danlu_store::{Workspace, hash};
use serde::{Deserialize, Serialize};
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

/// Files and folders that are not read, for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub count: u64,
    /// The first 20 of them.
    pub first: Vec<String>,
}

/// So many of them are named.
const NAMED: usize = 20;

impl std::fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.first.join(", "))?;
        if self.count > self.first.len() as u64 { formatter.write_str(", ...") } else { Ok(()) }
    }
}

const HIDDEN_FILES: &str = "hidden files";
const HIDDEN_FOLDERS: &str = "hidden folders";
const RUN_FOLDERS: &str = "run folders of danlu";
pub(crate) const UNKNOWN_FORMAT: &str = "files of unknown format";
const ABOUT: &str = "files about a data set";

/// What a source names.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// In the order in which they are read.
    pub(crate) items: Vec<Item>,
    /// What could not be listed: links that lead in a circle or nowhere, folders that cannot be read.
    pub(crate) problems: Vec<Problem>,
    /// Files that were named more than once, by several patterns or through links; they are read once.
    pub(crate) repeated: u64,
    /// What a folder or pattern holds that is not read, by the reason.
    pub(crate) left_out: BTreeMap<String, LeftOut>,
}

/// Lists what a source names, the files of each of its patterns sorted by path.
///
/// # Errors
/// A pattern that is none, that matches no file, or that matches a file of unknown format; a server that does not
/// answer when it is asked for a listing.
pub(crate) fn list(source: &SourceConfig, base: &Path) -> Result<Listing, DataError> {
    let mut lister = Lister::new(source, base);
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
                let files = remote::hub::list(pattern, source)?;
                lister.hub_files(pattern, files)?;
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
    // In a URL of the web only the authority names a user; its path may hold an `@`, too (RFC 3986, 3.2). Those of databases
    // are read up to their first `@`, whatever a password has before it.
    let is_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    let end = if is_web { rest.find(['/', '?', '#']).unwrap_or(rest.len()) } else { rest.len() };
    let (authority, path) = rest.split_at(end);
    let parts = if is_web { authority.rsplit_once('@') } else { authority.split_once('@') };
    let Some((user, host)) = parts else { return url.into() };
    format!("{scheme}://{}@{host}{path}", user.split(':').next().unwrap_or_default())
}

/// What becomes of the files that a hub has named.
#[cfg(test)]
pub(super) fn list_hub_files(
    source: &SourceConfig,
    pattern: &str,
    files: Vec<remote::hub::HubFile>,
) -> Result<Listing, DataError> {
    let mut lister = Lister::new(source, Path::new(""));
    lister.hub_files(pattern, files)?;
    Ok(lister.listing)
}

struct Lister<'a> {
    source: &'a SourceConfig,
    base: &'a Path,
    listing: Listing,
    /// The files and URLs listed so far, files by their canonical path.
    seen: HashSet<PathBuf>,
    /// What was left out so far, likewise.
    passed: HashSet<PathBuf>,
}

/// A walk through the folders below one.
struct Walk {
    /// Hidden files and folders are gone into: the pattern names some.
    takes_hidden: bool,
    /// The folders above the present one.
    above: Vec<PathBuf>,
    visited: HashSet<PathBuf>,
    files: Vec<PathBuf>,
    hidden: Vec<PathBuf>,
}

impl<'a> Lister<'a> {
    fn new(source: &'a SourceConfig, base: &'a Path) -> Self {
        Self { source, base, listing: Listing::default(), seen: HashSet::new(), passed: HashSet::new() }
    }
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

    /// Leaves out a file or folder, which is counted once, whatever comes upon it.
    fn leave_out(&mut self, why: &str, identity: PathBuf, shown: String) {
        if self.passed.insert(identity) {
            let left_out = self.listing.left_out.entry(why.into()).or_default();
            left_out.count += 1;
            if left_out.first.len() < NAMED {
                left_out.first.push(shown);
            }
        }
    }

    fn leave_out_path(&mut self, why: &str, path: &Path) {
        let shown = path.strip_prefix(self.base).unwrap_or(path).to_string_lossy().into_owned();
        self.leave_out(why, identity(path), shown);
    }

    fn hub_files(&mut self, pattern: &str, files: Vec<remote::hub::HubFile>) -> Result<(), DataError> {
        let before = self.listing.items.len() as u64 + self.listing.repeated;
        files.into_iter().for_each(|file| self.hub(file, pattern));
        if self.listing.items.len() as u64 + self.listing.repeated == before {
            return Err(DataError::NoFiles { name: self.source.name.clone(), pattern: pattern.into() });
        }
        Ok(())
    }

    /// A file of a data set: what only says something about it is left out unless `pattern` ends with its name.
    fn hub(&mut self, file: remote::hub::HubFile, pattern: &str) {
        let is_named = pattern.rsplit('/').next() == file.path.rsplit('/').next();
        if !is_named && remote::hub::is_about(&file.path) {
            return self.leave_out(ABOUT, PathBuf::from(file.url()), file.url());
        }
        let Some(format) = self.source.format.or_else(|| Format::of(&file.path)) else {
            return self.leave_out(UNKNOWN_FORMAT, PathBuf::from(file.url()), file.url());
        };
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
            let name = object.url.rsplit('/').next();
            if name.is_some_and(|name| name.starts_with('.')) && name != pattern.rsplit('/').next() {
                self.leave_out(HIDDEN_FILES, PathBuf::from(&object.url), object.url);
                continue;
            }
            let Some(format) = self.source.format.or_else(|| Format::of(&object.url)) else {
                self.leave_out(UNKNOWN_FORMAT, PathBuf::from(&object.url), object.url);
                continue;
            };
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
            self.walk(&path, None, false)?;
        } else {
            let compiled = glob::Pattern::new(&path.to_string_lossy()).map_err(|e| bad(e.to_string()))?;
            if pattern.contains("**") {
                let root = literal_root(&path);
                let takes_hidden = path
                    .components()
                    .skip(root.components().count())
                    .any(|part| matches!(part, Component::Normal(name) if name.to_string_lossy().starts_with('.')));
                if root.is_dir() {
                    self.walk(&root, Some(&compiled), takes_hidden)?;
                }
            } else {
                let entries = glob::glob(&path.to_string_lossy()).map_err(|e| bad(e.to_string()))?;
                let mut files = Vec::new();
                for entry in entries {
                    match entry {
                        Ok(file) if file.is_file() => match met_by_chance(&path, &file) {
                            Some((why, met)) => self.leave_out_path(why, met),
                            None => files.push(file),
                        },
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
    /// that leads back to a folder above it is a problem. What is hidden or danlu's own is left out.
    fn walk(&mut self, root: &Path, pattern: Option<&glob::Pattern>, takes_hidden: bool) -> Result<(), DataError> {
        let (above, visited) = (Vec::new(), HashSet::new());
        let mut walk = Walk { takes_hidden, above, visited, files: Vec::new(), hidden: Vec::new() };
        self.descend(root, &mut walk)?;
        walk.files.sort();
        let options = glob::MatchOptions {
            require_literal_separator: true,
            require_literal_leading_dot: takes_hidden,
            ..Default::default()
        };
        let matches = |file: &Path| pattern.is_none_or(|pattern| pattern.matches_path_with(file, options));
        for file in walk.hidden.iter().filter(|file| matches(file.as_path())) {
            self.leave_out_path(HIDDEN_FILES, file);
        }
        for file in walk.files.iter().filter(|file| matches(file.as_path())) {
            match pattern {
                None if self.format_of(file).is_none() => self.leave_out_path(UNKNOWN_FORMAT, file),
                _ => self.file(file)?,
            }
        }
        Ok(())
    }

    fn descend(&mut self, folder: &Path, walk: &mut Walk) -> Result<(), DataError> {
        let real = identity(folder);
        if walk.above.contains(&real) {
            self.problem(folder, None, format!("a link in a circle: it leads back to {}", real.display()));
            return Ok(());
        }
        if !walk.visited.insert(real.clone()) {
            return Ok(()); // reached by another link already, and its files with it
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if walk.above.is_empty() => return Err(DataError::io("read the folder", folder, error)),
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
        walk.above.push(real);
        for path in paths {
            let hidden = !walk.takes_hidden && is_hidden(&path);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() && hidden => self.leave_out_path(HIDDEN_FOLDERS, &path),
                Ok(metadata) if metadata.is_dir() && Workspace::is_at(&path) => {
                    self.leave_out_path(RUN_FOLDERS, &path);
                }
                Ok(metadata) if metadata.is_dir() => self.descend(&path, walk)?,
                Ok(metadata) if metadata.is_file() && hidden => walk.hidden.push(path),
                Ok(metadata) if metadata.is_file() => walk.files.push(path),
                Ok(_) => {} // a pipe, a socket, a device
                Err(_) if hidden => {}
                Err(error) if self.format_of(&path).is_some() => {
                    self.problem(&path, None, format!("a link that leads nowhere: {error}"));
                }
                Err(_) => {}
            }
        }
        walk.above.pop();
        Ok(())
    }
}

/// What two names of the same file have in common.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Why a file is left out that a pattern without `**` matches, and the part of its path that is to blame: one that is hidden
/// or a run folder of danlu, and for which the pattern has no name, but `*` or the like.
fn met_by_chance<'a>(pattern: &Path, file: &'a Path) -> Option<(&'static str, &'a Path)> {
    file.ancestors().zip(pattern.components().rev()).find_map(|(met, part)| {
        let part = part.as_os_str().to_string_lossy();
        if !part.contains(['*', '?', '[']) {
            return None;
        }
        let is_file = met == file;
        if is_hidden(met) && !part.starts_with('.') {
            return Some((if is_file { HIDDEN_FILES } else { HIDDEN_FOLDERS }, met));
        }
        (!is_file && Workspace::is_at(met)).then_some((RUN_FOLDERS, met))
    })
}

/// The folder above the first part of a pattern that has pattern characters.
fn literal_root(pattern: &Path) -> PathBuf {
    let literal = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let root: PathBuf = pattern.components().take_while(literal).collect();
    if root.as_os_str().is_empty() { PathBuf::from(".") } else { root }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_is_taken_out_of_the_authority_alone() {
        for (url, expect) in [
            ("postgres://me:secret@db/posts", "postgres://me@db/posts"),
            ("postgres://me@db:5432/posts", "postgres://me@db:5432/posts"),
            ("postgres://me:sec/ret@db/posts", "postgres://me@db/posts"),
            ("https://me:p@ss@example.com/a", "https://me@example.com/a"),
            ("http://127.0.0.1:8765/@user/page", "http://127.0.0.1:8765/@user/page"),
            ("http://127.0.0.1:8765?to=a@b", "http://127.0.0.1:8765?to=a@b"),
            ("https://example.com/a:b@c#d@e", "https://example.com/a:b@c#d@e"),
            ("https://me:secret@example.com/@user", "https://me@example.com/@user"),
            ("texts/a@b.txt", "texts/a@b.txt"),
        ] {
            assert_eq!(without_password(url), expect);
        }
    }
}
