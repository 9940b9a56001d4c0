use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::table::Fate;
use crate::{COLLECTED_FILE, DROPPED_FILE, DataError, Document, SplitConfig, documents_file, read_documents};

/// Which documents to show; `None` asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShowFilter {
    /// "train", "valid", "test", "dropped" or "collected".
    pub split: Option<String>,
    pub source: Option<String>,
    pub language: Option<String>,
    /// Only documents dropped for this reason, such as "too_short".
    pub reason: Option<String>,
    /// Only documents whose id begins so.
    pub id: Option<String>,
    /// Only documents that contain this, upper and lower case alike.
    pub contains: Option<String>,
    /// So many at most; `None` for all.
    pub limit: Option<usize>,
}

/// A document found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The file it is in: "train", "valid", "test", "dropped" or "collected".
    pub split: String,
    #[serde(flatten)]
    pub document: Document,
    /// The step that dropped it, the reason and the measured value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Finds documents in a folder that [`collect`](crate::collect) or [`clean`](crate::clean) wrote, in the order of its
/// files: train, valid, test, dropped. Reads no further than the limit needs.
pub fn show(dir: &Path, filter: &ShowFilter) -> Result<Vec<Shown>, DataError> {
    let limit = filter.limit.unwrap_or(usize::MAX);
    let lowercase = filter.contains.as_ref().map(|text| text.to_lowercase());
    let mut found = Vec::new();
    for (split, path) in files(dir, filter)? {
        let mut reader = read_documents(&path)?;
        while found.len() < limit {
            let Some(shown) = next_shown(&mut reader, split) else { break };
            let shown = shown?;
            if matches(&shown, filter, lowercase.as_deref()) {
                found.push(shown);
            }
        }
    }
    Ok(found)
}

/// The files of `dir` that can hold what the filter asks for.
fn files(dir: &Path, filter: &ShowFilter) -> Result<Vec<(&'static str, PathBuf)>, DataError> {
    let [train, valid, test] = SplitConfig::NAMES;
    let all = [train, valid, test, "dropped", "collected"];
    if let Some(split) = filter.split.as_deref().filter(|split| !all.contains(split)) {
        let message = format!("{split:?} is none of {}", all.join(", "));
        return Err(DataError::BadConfig { key: "split", message });
    }
    let present: Vec<_> = all
        .into_iter()
        .map(|split| match split {
            "dropped" => (split, dir.join(DROPPED_FILE)),
            "collected" => (split, dir.join(COLLECTED_FILE)),
            _ => (split, dir.join(documents_file(split))),
        })
        .filter(|(_, path)| path.is_file())
        .collect();
    if present.is_empty() {
        return Err(DataError::io("find documents in", dir, std::io::ErrorKind::NotFound.into()));
    }
    let wanted = |split: &str| {
        filter.split.as_deref().is_none_or(|wanted| wanted == split) && (filter.reason.is_none() || split == "dropped")
    };
    Ok(present.into_iter().filter(|(split, _)| wanted(split)).collect())
}

fn next_shown(reader: &mut crate::DocumentReader, split: &str) -> Option<Result<Shown, DataError>> {
    let split = split.to_string();
    let row = reader.next_row()?;
    Some(row.map(|(document, fate)| match fate {
        Some(Fate { step, reason, detail }) => {
            Shown { split, document, step: Some(step), reason: Some(reason), detail: Some(detail) }
        }
        None => Shown { split, document, step: None, reason: None, detail: None },
    }))
}

fn matches(shown: &Shown, filter: &ShowFilter, lowercase: Option<&str>) -> bool {
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let document = &shown.document;
    is(&filter.source, &document.source)
        && is(&filter.language, &document.language)
        && is(&filter.reason, shown.reason.as_deref().unwrap_or_default())
        && filter.id.as_deref().is_none_or(|id| document.id.starts_with(id))
        && lowercase.is_none_or(|text| document.text.to_lowercase().contains(text))
}
