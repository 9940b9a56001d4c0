//! Content hashes: BLAKE3 over bytes, files, folders and JSON values, written as 64 hexadecimal digits.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StoreError;
use crate::error::At;

/// A BLAKE3 hash, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash(String);

impl ContentHash {
    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<blake3::Hash> for ContentHash {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.to_hex().to_string())
    }
}

/// The hash of `bytes`.
pub fn of_bytes(bytes: &[u8]) -> ContentHash {
    blake3::hash(bytes).into()
}

/// The hash of a file's contents (its name does not matter), read once from start to end.
pub fn of_file(path: &Path) -> Result<ContentHash, StoreError> {
    file_hash(path).map(Into::into)
}

/// The hash of a folder: the names of all files under it, relative and in byte order, with their contents.
///
/// Empty folders, times and permissions do not matter. A symbolic link is an error, for what it points to may change.
pub fn of_dir(path: &Path) -> Result<ContentHash, StoreError> {
    of_dir_without(path, &[])
}

/// As [`of_dir`], leaving out the files whose relative name is in `without`.
pub(crate) fn of_dir_without(path: &Path, without: &[&str]) -> Result<ContentHash, StoreError> {
    let mut files = Vec::new();
    list_files(path, "", &mut files)?;
    files.retain(|name| !without.contains(&name.as_str()));
    files.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for name in &files {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(file_hash(&path.join(name))?.as_bytes());
    }
    Ok(hasher.finalize().into())
}

/// The hash of a JSON value that does not depend on the order of object keys or on white space.
///
/// Numbers count as they are written: `1` and `1.0` differ.
pub fn of_json(value: &Value) -> ContentHash {
    let mut canonical = String::new();
    write_canonical(value, &mut canonical);
    of_bytes(canonical.as_bytes())
}

fn file_hash(path: &Path) -> Result<blake3::Hash, StoreError> {
    let file = File::open(path).at("open", path)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).at("read", path)?;
    Ok(hasher.finalize())
}

fn list_files(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(StoreError::Invalid { what: "file name", reason: format!("{} is not UTF-8", path.display()) });
        };
        let kind = entry.file_type().at("look at", &path)?;
        if kind.is_dir() {
            list_files(&path, &format!("{prefix}{name}/"), files)?;
        } else if kind.is_file() {
            files.push(format!("{prefix}{name}"));
        } else {
            return Err(StoreError::Invalid {
                what: "file in an artifact",
                reason: format!("{} is a link or a special file", path.display()),
            });
        }
    }
    Ok(())
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn bytes_hash_as_blake3_publishes() {
        // The empty input's hash in the BLAKE3 specification's test vectors.
        let hash = of_bytes(b"");
        assert_eq!(hash.as_str(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(hash.short(), "af1349b9f5f9");
        assert_eq!(hash.to_string(), hash.as_str());
    }

    #[test]
    fn json_keys_in_any_order_give_one_hash() {
        let a: Value = serde_json::from_str(r#"{"b":[1,{"y":2,"x":null}],"a":"é\n"}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{ "a": "é\n", "b": [1, {"x": null, "y": 2}] }"#).unwrap();
        assert_eq!(of_json(&a), of_json(&b));
        for other in [json!({"a": "é\n"}), json!([1, 2]), json!([2, 1]), json!("1"), json!(1), json!(1.0)] {
            assert_ne!(of_json(&a), of_json(&other));
        }
        assert_ne!(of_json(&json!([1, 2])), of_json(&json!([2, 1])));
        assert_ne!(of_json(&json!(1)), of_json(&json!("1")));
    }

    fn tree(files: &[(String, Vec<u8>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn dir_hash_depends_on_names_and_contents_only(
            files in prop::collection::btree_map("[a-c]/[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..40), 1..6),
            change in any::<prop::sample::Index>(),
        ) {
            let files: Vec<_> = files.into_iter().collect();
            let mut reversed = files.clone();
            reversed.reverse();
            let hash = of_dir(tree(&files).path()).unwrap();
            prop_assert_eq!(&hash, &of_dir(tree(&reversed).path()).unwrap());

            let mut changed = files.clone();
            let at = change.index(files.len());
            changed[at].1.push(0);
            prop_assert_ne!(&hash, &of_dir(tree(&changed).path()).unwrap());
            let mut renamed = files.clone();
            renamed[at].0.push('0');
            prop_assert_ne!(&hash, &of_dir(tree(&renamed).path()).unwrap());
        }
    }

    #[test]
    fn bytes_cannot_move_between_name_and_contents() {
        let a = tree(&[("ab".into(), b"c".to_vec())]);
        let b = tree(&[("a".into(), b"bc".to_vec())]);
        assert_ne!(of_dir(a.path()).unwrap(), of_dir(b.path()).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_refused() {
        let dir = tree(&[("a".into(), b"c".to_vec())]);
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        assert!(matches!(of_dir(dir.path()), Err(StoreError::Invalid { .. })));
    }
}
