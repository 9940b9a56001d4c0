//! Data sets on the Hugging Face hub: `hf://datasets/OWNER/NAME[@REVISION][/PATH]`, where the path may be a folder or a
//! pattern.
//!
//! Files are kept in the hub's own cache folder, in its layout, so that they are shared with `huggingface_hub`. The usual
//! variables count: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`.

use std::fs;
use std::path::{Component, Path, PathBuf};

use danlu_store::atomic;
use serde::Deserialize;
use url::Url;

use super::http::Fetcher;
use crate::DataError;
use crate::source::{HttpConfig, SourceConfig};

const ENDPOINT: &str = "https://huggingface.co";

/// The hub as the environment describes it.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    pub(super) endpoint: String,
    pub(super) token: Option<String>,
    /// The folder that holds `datasets--OWNER--NAME`.
    pub(super) cache: PathBuf,
    pub(super) offline: bool,
}

/// A file of a data set at a certain revision.
#[derive(Clone, Debug)]
pub(crate) struct HubFile {
    hub: Hub,
    repo: String,
    /// The commit.
    pub(crate) revision: String,
    /// Within the data set.
    pub(crate) path: String,
    pub(crate) bytes: u64,
}

/// What `hf://datasets/OWNER/NAME@REVISION/PATH` asks for.
#[derive(Debug, PartialEq)]
struct Wanted {
    repo: String,
    revision: String,
    path: String,
}

/// The files that a `hf://` path names, sorted by path.
///
/// # Errors
/// A path that is none, a hub that does not answer, a data set without such files.
pub(crate) fn list(place: &str, source: &SourceConfig) -> Result<Vec<HubFile>, DataError> {
    Hub::from_environment().list(place, source)
}

/// Whether a file of a data set says something about it and holds none of its data: its card, licence and settings.
pub(crate) fn is_about(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let upper = name.to_ascii_uppercase();
    let stem = upper.split('.').next().unwrap_or_default();
    let tables = ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];
    let papers = ["README", "LICENSE", "LICENCE", "CITATION", "CHANGELOG", "CONTRIBUTING"];
    path.split('/').any(|part| part.starts_with('.'))
        || tables.contains(&name)
        || papers
            .iter()
            .any(|paper| stem.strip_prefix(*paper).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_'])))
}

impl Hub {
    fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = variable("HF_HOME").map_or_else(|| super::cache_home().join("huggingface"), PathBuf::from);
        let saved = || fs::read_to_string(home.join("token")).ok();
        let token = variable("HF_TOKEN").or_else(saved).map(|token| token.trim().to_owned());
        let yes = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').into(),
            token: token.filter(|token| !token.is_empty()),
            cache: variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            offline: variable("HF_HUB_OFFLINE").is_some_and(yes),
        }
    }

    pub(super) fn list(&self, place: &str, source: &SourceConfig) -> Result<Vec<HubFile>, DataError> {
        let wanted = wanted(place)?;
        let bad = |message: String| DataError::Remote { place: place.into(), message };
        let revision = if self.offline {
            self.revision_offline(&wanted)
                .ok_or_else(|| bad("HF_HUB_OFFLINE is set, and it is not in the cache".into()))?
        } else {
            self.revision(&wanted, source)?
        };
        let all =
            if self.offline { self.tree_offline(&wanted, &revision) } else { self.tree(&wanted, &revision, source)? };
        let pattern = glob::Pattern::new(&wanted.path).map_err(|error| bad(error.to_string()))?;
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        let folder = format!("{}/", wanted.path.trim_end_matches('/'));
        let matches = |path: &str| {
            wanted.path.is_empty()
                || path.starts_with(&folder)
                || pattern.matches_with(path, options)
                || path == wanted.path
        };
        let mut files: Vec<HubFile> = all
            .into_iter()
            .filter(|(path, _)| matches(path))
            .map(|(path, bytes)| HubFile {
                hub: self.clone(),
                repo: wanted.repo.clone(),
                revision: revision.clone(),
                path,
                bytes,
            })
            .collect();
        if files.is_empty() {
            return Err(DataError::NoFiles { name: source.name.clone(), pattern: place.into() });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The hub is asked without a pace: what it allows, it says by `429` and `Retry-After`.
    fn fetcher(&self, source: &SourceConfig) -> Result<Fetcher, DataError> {
        let config = HttpConfig { robots: false, requests_per_second: 1e6, ..source.http.clone() };
        let endpoint = Url::parse(&self.endpoint).map_err(|error| DataError::Remote {
            place: self.endpoint.clone(),
            message: format!("HF_ENDPOINT is not a URL: {error}"),
        })?;
        Ok(Fetcher::new(&config, &self.cache)?.with_token(&endpoint, self.token.clone()))
    }

    /// The commit that a branch or tag stands for.
    fn revision(&self, wanted: &Wanted, source: &SourceConfig) -> Result<String, DataError> {
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
        }
        let url =
            format!("{}/api/datasets/{}/revision/{}", self.endpoint, wanted.repo, encoded(&wanted.revision, false));
        let (body, _) = self.fetcher(source)?.get_small(&url)?;
        let answer: Answer = json(&url, &body)?;
        if answer.sha.is_empty() || !answer.sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(DataError::Remote { place: url, message: format!("{:?} is no commit", answer.sha) });
        }
        let reference = self.folder(&wanted.repo).join("refs").join(&wanted.revision);
        atomic::write_bytes(&reference, answer.sha.as_bytes())?;
        Ok(answer.sha)
    }

    fn revision_offline(&self, wanted: &Wanted) -> Option<String> {
        let folder = self.folder(&wanted.repo);
        let reference = fs::read_to_string(folder.join("refs").join(&wanted.revision)).ok();
        let revision = reference.map_or_else(|| wanted.revision.clone(), |text| text.trim().to_owned());
        folder.join("snapshots").join(&revision).is_dir().then_some(revision)
    }

    /// All files of a data set with their sizes.
    fn tree(&self, wanted: &Wanted, revision: &str, source: &SourceConfig) -> Result<Vec<(String, u64)>, DataError> {
        #[derive(Deserialize)]
        struct Entry {
            r#type: String,
            path: String,
            #[serde(default)]
            size: u64,
        }
        let mut fetcher = self.fetcher(source)?;
        let mut files = Vec::new();
        let mut page = Some(format!("{}/api/datasets/{}/tree/{revision}?recursive=true", self.endpoint, wanted.repo));
        while let Some(url) = page {
            let (body, next) = fetcher.get_small(&url)?;
            let entries: Vec<Entry> = json(&url, &body)?;
            // A name that leads out of the cache is none of a data set's.
            let inside = |path: &str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            let entries = entries.into_iter().filter(|entry| entry.r#type == "file" && inside(&entry.path));
            files.extend(entries.map(|entry| (entry.path, entry.size)));
            page = next.filter(|next| *next != url);
        }
        Ok(files)
    }

    fn tree_offline(&self, wanted: &Wanted, revision: &str) -> Vec<(String, u64)> {
        let root = self.folder(&wanted.repo).join("snapshots").join(revision);
        let pattern = format!("{}/**/*", glob::Pattern::escape(&root.to_string_lossy()));
        let files = glob::glob(&pattern).into_iter().flatten().flatten().filter(|path| path.is_file());
        files
            .filter_map(|path| {
                let within = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
                let unfinished = within.ends_with(".part") || within.ends_with(".part.json");
                (!unfinished).then(|| (within, path.metadata().map_or(0, |metadata| metadata.len())))
            })
            .collect()
    }

    fn folder(&self, repo: &str) -> PathBuf {
        self.cache.join(format!("datasets--{}", repo.replace('/', "--")))
    }
}

impl HubFile {
    /// `hf://datasets/OWNER/NAME@COMMIT/PATH`: what this file will always be.
    pub(crate) fn url(&self) -> String {
        format!("hf://datasets/{}@{}/{}", self.repo, self.revision, self.path)
    }

    /// The file in the cache, fetched if it is not there yet.
    pub(crate) fn fetch(&self, source: &SourceConfig) -> Result<PathBuf, DataError> {
        let hub = &self.hub;
        let path = hub.folder(&self.repo).join("snapshots").join(&self.revision).join(&self.path);
        if path.is_file() {
            return Ok(path);
        }
        if hub.offline {
            let message = "HF_HUB_OFFLINE is set, and it is not in the cache".into();
            return Err(DataError::Remote { place: self.url(), message });
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| DataError::io("create the folder", folder, e))?;
        }
        let url =
            format!("{}/datasets/{}/resolve/{}/{}", hub.endpoint, self.repo, self.revision, encoded(&self.path, true));
        hub.fetcher(source)?.get_to(&url, &path)?;
        Ok(path)
    }
}

fn wanted(place: &str) -> Result<Wanted, DataError> {
    let bad = || {
        let message = "a data set is named hf://datasets/OWNER/NAME, then @REVISION and /PATH if wanted".into();
        DataError::Remote { place: place.into(), message }
    };
    let rest = place.strip_prefix("hf://datasets/").ok_or_else(bad)?;
    let mut parts = rest.splitn(3, '/');
    let (owner, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if !plain(owner) || !plain(name) || revision.is_empty() {
        return Err(bad());
    }
    // As huggingface_hub has it: a revision with slashes is written with %2F.
    let (repo, revision) = (format!("{owner}/{name}"), revision.replace("%2F", "/"));
    // It becomes a path in the cache, which it must not lead out of.
    if revision.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad());
    }
    Ok(Wanted { repo, revision, path: parts.next().unwrap_or_default().into() })
}

/// Percent-encodes what a path of a URL may not hold; a slash only where it is no separator.
fn encoded(path: &str, keep_slashes: bool) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (byte == b'/' && keep_slashes) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

fn json<T: serde::de::DeserializeOwned>(url: &str, body: &[u8]) -> Result<T, DataError> {
    serde_json::from_slice(body)
        .map_err(|error| DataError::Remote { place: url.into(), message: format!("not what a hub answers: {error}") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_apart() {
        let expect = |repo: &str, revision: &str, path: &str| Wanted {
            repo: repo.into(),
            revision: revision.into(),
            path: path.into(),
        };
        assert_eq!(wanted("hf://datasets/a/b").unwrap(), expect("a/b", "main", ""));
        assert_eq!(wanted("hf://datasets/a/b@v1/data/*.parquet").unwrap(), expect("a/b", "v1", "data/*.parquet"));
        assert_eq!(wanted("hf://datasets/a/b@refs%2Fconvert/x.csv").unwrap(), expect("a/b", "refs/convert", "x.csv"));
        for bad in ["hf://datasets/a", "hf://models/a/b", "hf://datasets/../b", "hf://datasets/a/b@"] {
            assert!(wanted(bad).is_err(), "{bad}");
        }
        for revision in ["%2Fetc", "refs%2F..%2F..%2Fx", "..", "a%2F"] {
            assert!(wanted(&format!("hf://datasets/a/b@{revision}")).is_err(), "{revision}");
        }
        assert_eq!(encoded("数 据/a+b", true), "%E6%95%B0%20%E6%8D%AE/a%2Bb");
    }
}
