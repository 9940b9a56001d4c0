//! Tables of documents that danlu wrote (docs/formats.md), read as a source: their rows are documents already, and what they
//! were is kept. Statistics are left out; they are measured again.

use serde_json::Value;

use super::fields::Fields;
use super::{Problem, SourceFile};
use crate::augment::IMAGES_KEY;
use crate::conversation::{CHOSEN, COMPLETION, LABEL, MESSAGES, PROMPT, REJECTED};
use crate::provenance::{COLLECTED_FROM_KEY, Place};
use crate::{AUGMENT_KEY, AUGMENTED_FROM_KEY, Document};

/// The columns of every table that count; an id is that of its text.
const COLUMNS: [&str; 4] = ["text", "source", "language", "metadata"];
/// The columns that a table of dropped documents has besides. They are kept together, under `dropped`.
const FATE: [&str; 3] = ["step", "reason", "detail"];
/// What of the metadata danlu itself reads, and which is therefore kept whatever the source's `metadata` says.
const MEANT: [&str; 11] = [
    MESSAGES,
    PROMPT,
    CHOSEN,
    REJECTED,
    COMPLETION,
    LABEL,
    IMAGES_KEY,
    "license",
    "licence",
    AUGMENT_KEY,
    AUGMENTED_FROM_KEY,
];
/// One of these is in the metadata of every conversation.
const CONVERSATIONS: [&str; 3] = [MESSAGES, CHOSEN, COMPLETION];

/// Whether a column of such a table is read.
pub(super) fn uses(column: &str) -> bool {
    COLUMNS.contains(&column) || FATE.contains(&column)
}

/// The document of a row. Its `source` is the present one's name, and its place is that in the table; where it was read first
/// stays beside them.
pub(super) fn document(file: &SourceFile<'_>, mut fields: Fields, row: u64) -> Result<Document, Problem> {
    let problem = |message: String| file.problem(Some(row), message);
    let mut column = |name: &str| match fields.shift_remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(problem(format!("column {name:?} of a table of danlu is missing or not text"))),
    };
    let (text, source, language) = (column("text")?, column("source")?, column("language")?);
    let metadata = column("metadata")?;
    if text.len() > file.max_record_bytes() {
        return Err(problem(format!("its text is {}", file.too_long())));
    }
    let mut metadata: Fields =
        serde_json::from_str(&metadata).map_err(|error| problem(format!("its metadata is no JSON object: {error}")))?;
    if file.source.chat.is_some() && !CONVERSATIONS.iter().any(|name| metadata.contains_key(*name)) {
        return Err(problem("this document of danlu is no conversation".into()));
    }
    let origin = origin(file, &mut metadata, source, row);
    let mapped = file.mapped(&mut metadata).map_err(problem)?;
    let kept = &file.source.metadata;
    metadata.retain(|name, _| kept.keeps(name) || MEANT.contains(&name.as_str()));
    metadata.extend(mapped.metadata);
    metadata.insert(COLLECTED_FROM_KEY.into(), origin);
    let fate: Fields = FATE.iter().filter_map(|name| Some(((*name).to_owned(), fields.shift_remove(*name)?))).collect();
    if !fate.is_empty() {
        metadata.insert("dropped".into(), fate.into());
    }
    let mut document = file.document(text, Some(row), metadata);
    if file.source.language.is_none() {
        document.language = mapped.language.unwrap_or(language);
    }
    Ok(document)
}

/// Where a document was read first, as it says itself when it came by several tables. Its old place is taken out of the
/// metadata.
fn origin(file: &SourceFile<'_>, metadata: &mut Fields, source: String, row: u64) -> Value {
    let (old, line) = (metadata.shift_remove("file"), metadata.shift_remove("line"));
    if let Some(first) = metadata.shift_remove(COLLECTED_FROM_KEY).filter(Place::is_place) {
        return first;
    }
    let place = match old.as_ref().and_then(Place::word) {
        Some(old) => Place { source, file: old, line: line.as_ref().and_then(Place::word) },
        None => Place { source, file: file.shown.clone(), line: Some(row.to_string()) },
    };
    serde_json::to_value(place).unwrap_or_default()
}
