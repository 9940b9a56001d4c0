use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::At;
use crate::hash::of_dir_without;
use crate::lock::Lock;
use crate::{StoreError, atomic};

/// The file that makes a folder an artifact.
pub const MANIFEST_FILE: &str = "manifest.json";

/// How many digits of the key name the folder.
const KEY_DIGITS: usize = 16;

/// What an artifact is and from what it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The stage that made it, for example `tokenizer`.
    pub stage: String,
    /// The hash of stage, config, inputs and format version: the same key means the same work.
    pub key: String,
    /// Stage -> key of the artifacts it was made from.
    pub inputs: BTreeMap<String, String>,
    /// The stage's resolved configuration.
    pub config: Value,
    /// When it was published, RFC 3339.
    pub created: String,
    /// Wall time of the stage.
    pub seconds: f64,
    pub danlu_version: String,
    /// What the stage has to tell in reports and listings.
    pub summary: Value,
    /// The hash of the artifact's files, this manifest apart; set by [`ArtifactStore::publish`].
    #[serde(default)]
    pub content: String,
}

/// A finished result of a stage: a folder that never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    pub path: PathBuf,
    pub manifest: Manifest,
}

impl Artifact {
    /// Reads every file again and compares with the manifest's hash; [`StoreError::Damaged`] where they differ.
    pub fn verify(&self) -> Result<(), StoreError> {
        let found = of_dir_without(&self.path, &[MANIFEST_FILE])?;
        if found.as_str() == self.manifest.content {
            return Ok(());
        }
        Err(StoreError::Damaged {
            path: self.path.clone(),
            reason: format!("its files hash to {found}, its manifest says {}", self.manifest.content),
        })
    }
}

/// The finished results of stages: `artifacts/<stage>/<first 16 digits of the key>/`, each with a `manifest.json`.
///
/// While a stage works, its files lie in `<key>.partial`, which outlives a killed process so that the stage can go on
/// from what it finds there.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    root: PathBuf,
}

impl ArtifactStore {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of all artifacts.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The finished artifact of this stage and key. A folder without a readable manifest counts as not there.
    pub fn find(&self, stage: &str, key: &str) -> Result<Option<Artifact>, StoreError> {
        let path = self.final_dir(stage, key)?;
        let mut artifact = read_artifact(&path)?;
        if artifact.is_none() && self.restore_replaced(&path)? {
            artifact = read_artifact(&path)?;
        }
        Ok(artifact.filter(|found| found.manifest.key == key && found.manifest.stage == stage))
    }

    /// Where the stage writes before it is finished; created when missing, else as the last process left it.
    pub fn work_dir(&self, stage: &str, key: &str) -> Result<PathBuf, StoreError> {
        let path = self.named(stage, key, ".partial")?;
        fs::create_dir_all(&path).at("create the folder", &path)?;
        Ok(path)
    }

    /// Claims the work folder, so that two processes do not write in it at once.
    pub fn lock_work(&self, stage: &str, key: &str) -> Result<Lock, StoreError> {
        Lock::acquire(&self.named(stage, key, ".lock")?, &format!("stage {stage}"))
    }

    /// Publishes what lies in `work` as the artifact of `manifest.stage` and `manifest.key`; sets `manifest.content`.
    ///
    /// When another process has published the same key meanwhile, its artifact stands and `work` is removed.
    pub fn publish(&self, work: &Path, mut manifest: Manifest) -> Result<Artifact, StoreError> {
        let path = self.final_dir(&manifest.stage, &manifest.key)?;
        complete(work, &mut manifest)?;
        if self.make_room(&path)? {
            atomic::publish_dir(work, &path)?;
        }
        match self.find(&manifest.stage, &manifest.key)? {
            Some(artifact) => {
                if work.exists() {
                    fs::remove_dir_all(work).at("remove", work)?;
                }
                Ok(artifact)
            }
            None => Err(StoreError::Damaged { path, reason: "its manifest cannot be read back".to_owned() }),
        }
    }

    /// As [`ArtifactStore::publish`], in the place of an artifact of the same key (a stage that was made to run again).
    pub fn replace(&self, work: &Path, manifest: Manifest) -> Result<Artifact, StoreError> {
        let path = self.final_dir(&manifest.stage, &manifest.key)?;
        let aside = replaced(&path);
        // All slow work comes before the old artifact is touched.
        let mut completed = manifest.clone();
        complete(work, &mut completed)?;
        atomic::sync_tree(work)?;
        if path.exists() {
            if aside.exists() {
                fs::remove_dir_all(&aside).at("remove", &aside)?;
            }
            fs::rename(&path, &aside).at("move", &path)?;
        }
        // Killed here, the next `find` puts the old one back.
        let artifact = self.publish(work, manifest)?;
        if aside.exists() {
            fs::remove_dir_all(&aside).at("remove", &aside)?;
        }
        Ok(artifact)
    }

    /// Puts back an artifact that a killed [`ArtifactStore::replace`] had moved aside; true when there was one.
    fn restore_replaced(&self, path: &Path) -> Result<bool, StoreError> {
        let aside = replaced(path);
        if path.exists() || read_artifact(&aside)?.is_none() {
            return Ok(false);
        }
        fs::rename(&aside, path).at("move", &aside)?;
        Ok(true)
    }

    /// Whether a stage was begun for this key and has not ended.
    pub fn work_in_progress(&self, stage: &str, key: &str) -> bool {
        self.named(stage, key, ".partial").is_ok_and(|path| path.is_dir())
    }

    /// The newest finished artifact of a stage.
    pub fn latest(&self, stage: &str) -> Result<Option<Artifact>, StoreError> {
        Ok(self.list(stage)?.pop())
    }

    /// All finished artifacts of a stage, oldest first.
    pub fn list(&self, stage: &str) -> Result<Vec<Artifact>, StoreError> {
        let folder = self.root.join(checked("stage", stage)?);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at("list", &folder)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.at("list", &folder)?.path();
            if path.extension().is_none() && path.is_dir() {
                found.extend(read_artifact(&path)?);
            }
        }
        found.sort_by(|a, b| a.manifest.created.cmp(&b.manifest.created));
        Ok(found)
    }

    /// True when nothing lies at `path`, false when a finished artifact does. A damaged folder is moved aside, not
    /// removed: it may hold something the user wants.
    fn make_room(&self, path: &Path) -> Result<bool, StoreError> {
        if read_artifact(path)?.is_some() {
            return Ok(false);
        }
        if path.exists() {
            let aside = (0..).map(|n| path.with_extension(format!("damaged-{n}"))).find(|aside| !aside.exists());
            if let Some(aside) = aside {
                tracing::warn!(path = %path.display(), aside = %aside.display(), "moved a damaged artifact aside");
                fs::rename(path, &aside).at("move", path)?;
            }
        }
        Ok(true)
    }

    fn final_dir(&self, stage: &str, key: &str) -> Result<PathBuf, StoreError> {
        self.named(stage, key, "")
    }

    fn named(&self, stage: &str, key: &str, suffix: &str) -> Result<PathBuf, StoreError> {
        let key = checked("artifact key", key)?;
        let digits = key.get(..KEY_DIGITS).unwrap_or(key);
        Ok(self.root.join(checked("stage", stage)?).join(format!("{digits}{suffix}")))
    }
}

/// Where an artifact waits while another takes its place.
fn replaced(path: &Path) -> PathBuf {
    path.with_extension("replaced")
}

/// Hashes the files of a work folder and writes its manifest.
fn complete(work: &Path, manifest: &mut Manifest) -> Result<(), StoreError> {
    atomic::remove_leftovers(work)?;
    manifest.content = of_dir_without(work, &[MANIFEST_FILE])?.as_str().to_owned();
    write_manifest(work, manifest)
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(manifest)
        .map_err(|error| StoreError::Invalid { what: "manifest", reason: error.to_string() })?;
    atomic::write_bytes(&folder.join(MANIFEST_FILE), text.as_bytes())
}

/// The artifact at `path`; none when there is no readable manifest (a warning tells of an unreadable one).
fn read_artifact(path: &Path) -> Result<Option<Artifact>, StoreError> {
    let file = path.join(MANIFEST_FILE);
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(StoreError::io("read", &file, error)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(manifest) => Ok(Some(Artifact { path: path.to_owned(), manifest })),
        Err(error) => {
            tracing::warn!(path = %file.display(), %error, "ignoring an artifact whose manifest is unreadable");
            Ok(None)
        }
    }
}

/// Stages and keys become parts of paths, so only plain characters may stand in them.
fn checked<'a>(what: &'static str, name: &'a str) -> Result<&'a str, StoreError> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain && !name.is_empty() {
        Ok(name)
    } else {
        Err(StoreError::Invalid { what, reason: format!("{name:?} (letters, digits, - and _ are allowed)") })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hash;
    use serde_json::json;

    fn store() -> (tempfile::TempDir, ArtifactStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = ArtifactStore::new(dir.path().join("artifacts"));
        (dir, store)
    }

    fn manifest(key: &str) -> Manifest {
        Manifest {
            stage: "clean".into(),
            key: key.into(),
            inputs: BTreeMap::from([("collect".into(), "c".repeat(64))]),
            config: json!({"min_chars": 3}),
            created: crate::now_rfc3339(),
            seconds: 1.5,
            danlu_version: "0.1.0".into(),
            summary: json!({"documents": 7}),
            content: String::new(),
        }
    }

    #[test]
    fn work_publish_find() {
        let (_dir, store) = store();
        let key = hash::of_bytes(b"k").to_string();
        assert_eq!(store.find("clean", &key).unwrap(), None);
        let work = store.work_dir("clean", &key).unwrap();
        fs::write(work.join("train.jsonl"), b"{}").unwrap();
        assert_eq!(store.find("clean", &key).unwrap(), None, "unfinished work is not an artifact");
        assert_eq!(store.work_dir("clean", &key).unwrap(), work, "work is found again");

        let artifact = store.publish(&work, manifest(&key)).unwrap();
        assert_eq!(artifact.path, store.root().join("clean").join(&key[..16]));
        assert!(!work.exists());
        assert_eq!(artifact.manifest.content.len(), 64);
        artifact.verify().unwrap();
        let found = store.find("clean", &key).unwrap().unwrap();
        assert_eq!(found, artifact);
        assert_eq!(
            Manifest { content: String::new(), created: String::new(), ..found.manifest.clone() },
            Manifest { created: String::new(), ..manifest(&key) }
        );
        assert_eq!(store.list("clean").unwrap(), [artifact]);
        assert_eq!(store.list("never").unwrap(), []);

        fs::write(found.path.join("train.jsonl"), b"[]").unwrap();
        assert!(matches!(found.verify(), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn same_first_digits_are_not_the_same_key() {
        let (_dir, store) = store();
        let (a, b) = (format!("{}{}", "a".repeat(16), "0".repeat(48)), format!("{}{}", "a".repeat(16), "1".repeat(48)));
        let work = store.work_dir("clean", &a).unwrap();
        store.publish(&work, manifest(&a)).unwrap();
        assert_eq!(store.find("clean", &b).unwrap(), None);
    }

    #[test]
    fn the_first_publisher_stands() {
        let (_dir, store) = store();
        let key = "k".repeat(64);
        let first = store.work_dir("clean", &key).unwrap();
        fs::write(first.join("f"), b"first").unwrap();
        store.publish(&first, manifest(&key)).unwrap();
        let second = store.work_dir("clean", &key).unwrap();
        fs::write(second.join("f"), b"second").unwrap();
        let artifact = store.publish(&second, manifest(&key)).unwrap();
        assert_eq!(fs::read(artifact.path.join("f")).unwrap(), b"first");
        assert!(!second.exists());
    }

    #[test]
    fn a_damaged_artifact_is_rebuilt_and_kept_aside() {
        let (_dir, store) = store();
        let key = "k".repeat(64);
        let work = store.work_dir("clean", &key).unwrap();
        let artifact = store.publish(&work, manifest(&key)).unwrap();
        fs::write(artifact.path.join(MANIFEST_FILE), b"{\"stage\":").unwrap();
        assert_eq!(store.find("clean", &key).unwrap(), None);
        let work = store.work_dir("clean", &key).unwrap();
        fs::write(work.join("f"), b"again").unwrap();
        let rebuilt = store.publish(&work, manifest(&key)).unwrap();
        rebuilt.verify().unwrap();
        assert!(rebuilt.path.with_extension("damaged-0").exists());
        assert_eq!(store.list("clean").unwrap(), [rebuilt]);
    }

    #[test]
    fn replacing_puts_the_new_in_the_old_ones_place() {
        let (_dir, store) = store();
        let key = "k".repeat(64);
        for contents in ["one", "two", "three"] {
            let work = store.work_dir("clean", &key).unwrap();
            fs::write(work.join("f"), contents).unwrap();
            let artifact = store.replace(&work, manifest(&key)).unwrap();
            assert_eq!(fs::read_to_string(artifact.path.join("f")).unwrap(), contents);
            artifact.verify().unwrap();
            assert_eq!(store.list("clean").unwrap(), [artifact]);
            assert!(!store.work_in_progress("clean", &key));
        }
    }

    #[test]
    fn a_replacement_killed_half_way_leaves_the_old_one() {
        let (_dir, store) = store();
        let key = "k".repeat(64);
        let work = store.work_dir("clean", &key).unwrap();
        fs::write(work.join("f"), b"old").unwrap();
        let old = store.publish(&work, manifest(&key)).unwrap();
        // As `replace` leaves things between its two renames.
        fs::write(store.work_dir("clean", &key).unwrap().join("f"), b"new").unwrap();
        fs::rename(&old.path, replaced(&old.path)).unwrap();
        assert_eq!(store.find("clean", &key).unwrap(), Some(old.clone()));
        old.verify().unwrap();
        // After both renames, the new one stands whatever lies aside.
        let work = store.work_dir("clean", &key).unwrap();
        let new = store.replace(&work, manifest(&key)).unwrap();
        fs::create_dir(replaced(&new.path)).unwrap();
        assert_eq!(store.find("clean", &key).unwrap(), Some(new));
    }

    #[test]
    fn names_cannot_leave_the_store() {
        let (_dir, store) = store();
        for (stage, key) in
            [("..", "k"), ("a/b", "k"), ("", "k"), ("clean", "../k"), ("clean", ""), ("clean", "k/../..")]
        {
            assert!(matches!(store.work_dir(stage, key), Err(StoreError::Invalid { .. })), "{stage} {key}");
            assert!(store.find(stage, key).is_err());
        }
    }

    #[test]
    fn work_is_claimed_by_one() {
        let (_dir, store) = store();
        let claim = store.lock_work("train", "key").unwrap();
        assert!(matches!(store.lock_work("train", "key"), Err(StoreError::Busy { .. })));
        store.lock_work("train", "other").unwrap();
        drop(claim);
        store.lock_work("train", "key").unwrap();
    }
}
