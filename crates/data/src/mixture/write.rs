use std::path::Path;

use serde_json::Value;

use super::config::MixtureConfig;
use super::plan::{Mixture, MixtureItem};
use crate::shard::ShardWriter;
use crate::{DataError, Document, Shard, ShardSummary, read_documents};

/// What [`Mixture::plan`] must know, of a file of documents and the shard that `write_shards` made of it: items in their
/// order, and the names of the groups in order of their first document.
///
/// # Errors
/// A shard of other documents, documents without the column to group by, an `order_by` that no document has.
pub fn mixture_items(
    documents: &Path,
    shard: &Shard,
    config: &MixtureConfig,
) -> Result<(Vec<MixtureItem>, Vec<String>), DataError> {
    let other = |message: String| DataError::BadShard { path: shard.path().into(), message };
    let (mut items, mut names) = (Vec::with_capacity(shard.document_count()), Vec::new());
    let mut stored = shard.documents();
    for (number, document) in read_documents(documents)?.enumerate() {
        let document = document?;
        let row = stored.next().filter(|row| row.bytes == document.text.len() as u64);
        let row = row.ok_or_else(|| other(format!("was not made of {}: document {number}", documents.display())))?;
        let group = group_of(&document, &config.by).ok_or_else(|| missing_group(&document, &config.by))?;
        let key = config.curriculum.as_ref().map_or(f64::NAN, |by| number_of(&document, &by.order_by));
        items.push(MixtureItem { group: group_number(&mut names, group), tokens: row.tokens.len() as u64, key });
    }
    if stored.next().is_some() {
        return Err(other(format!("holds more documents than {}", documents.display())));
    }
    if let Some(curriculum) = &config.curriculum
        && items.iter().all(|item| item.key.is_nan())
    {
        let message = format!("no document has a number called {:?}", curriculum.order_by);
        return Err(DataError::BadConfig { key: "mixture.curriculum.order_by", message });
    }
    Ok((items, names))
}

fn missing_group(document: &Document, by: &str) -> DataError {
    let columns: Vec<&str> = document.metadata.keys().map(String::as_str).collect();
    let message = format!(
        "document {} of source {:?} has no column {by:?}; use source, language, or one of {}",
        document.id,
        document.source,
        columns.join(", ")
    );
    DataError::BadConfig { key: "mixture.by", message }
}

fn group_of(document: &Document, by: &str) -> Option<String> {
    match by {
        "source" => Some(document.source.clone()),
        "language" => Some(document.language.clone()),
        column => match document.metadata.get(column)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        },
    }
}

fn group_number(names: &mut Vec<String>, name: String) -> u32 {
    let known = names.iter().position(|known| *known == name);
    known.unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    }) as u32
}

/// A statistic that the document carries, a number in its metadata, or its length; NaN where it has none.
fn number_of(document: &Document, name: &str) -> f64 {
    if let Some(number) = crate::monitor::carried(document, name) {
        return number;
    }
    match document.metadata.get(name) {
        Some(Value::Number(number)) => number.as_f64().unwrap_or(f64::NAN),
        Some(Value::String(text)) => text.trim().parse().unwrap_or(f64::NAN),
        _ if name == "char_count" => document.text.chars().count() as f64,
        _ => f64::NAN,
    }
}

/// Writes `mixture` of the documents of `shard` as the shard `out`. Its summary tells the mixture as well; the beginnings
/// of the stages of a curriculum go into the shard, and training keeps to them.
pub fn mix_shard(shard: &Shard, mixture: &Mixture, out: &Path) -> Result<ShardSummary, DataError> {
    let mut writer = ShardWriter::like(out, shard)?;
    let mut stages = mixture.stages.iter().peekable();
    for (place, &number) in mixture.order.iter().enumerate() {
        while stages.next_if(|&&begin| begin <= place).is_some() {
            writer.begin_stage();
        }
        let document = shard.document(number as usize).ok_or_else(|| DataError::BadShard {
            path: shard.path().into(),
            message: format!("has no document {number}; the mixture was planned for another shard"),
        })?;
        writer.copy(shard, &document)?;
    }
    let mut summary = writer.finish()?;
    summary.mixture = Some(mixture.summary.clone());
    Ok(summary)
}
