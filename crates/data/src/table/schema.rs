use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// The version of the table format that this danlu writes. Raised when a column changes its meaning.
pub const TABLE_VERSION: u32 = 1;

pub(super) const KIND_KEY: &str = "danlu.table";
pub(super) const VERSION_KEY: &str = "danlu.version";

/// The columns that every table has. Statistics, one `Float64` column each, come after them.
pub(super) const COLUMNS: [&str; 5] = ["id", "text", "source", "language", "metadata"];
/// The columns that a table of dropped documents has besides.
pub(super) const FATE_COLUMNS: [&str; 3] = ["step", "reason", "detail"];

/// What a table holds; its name stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Documents,
    /// Documents that cleaning dropped, each with its [`Fate`].
    Dropped,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Dropped => "dropped",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Documents, Self::Dropped].into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn columns(self) -> impl Iterator<Item = &'static str> {
        let fate: &[&str] = if self == Self::Dropped { &FATE_COLUMNS } else { &[] };
        COLUMNS.into_iter().chain(fate.iter().copied())
    }
}

/// What the key-value metadata of a Parquet file says of danlu: which kind of table it is, and the version.
pub(super) fn stated(keys: Option<&Vec<KeyValue>>) -> Option<(&str, &str)> {
    let key = |name: &str| keys.into_iter().flatten().find(|pair| pair.key == name)?.value.as_deref();
    Some((key(KIND_KEY)?, key(VERSION_KEY)?))
}

/// Whether a Parquet file with this key-value metadata is a table of documents that danlu wrote.
///
/// # Errors
/// One of a version that this danlu does not know.
pub(crate) fn is_documents(keys: Option<&Vec<KeyValue>>) -> Result<bool, String> {
    let Some((kind, version)) = stated(keys) else { return Ok(false) };
    if Kind::of(kind).is_none() {
        return Ok(false);
    }
    match version.parse::<u32>() {
        Ok(known) if known <= TABLE_VERSION => Ok(true),
        _ => Err(format!("a table of danlu of version {version}; this danlu knows versions up to {TABLE_VERSION}")),
    }
}

/// Why and where a document was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) step: String,
    pub(crate) reason: String,
    pub(crate) detail: String,
}

pub(super) fn schema(kind: Kind, statistics: &[String]) -> SchemaRef {
    let texts = kind.columns().map(|name| Field::new(name, DataType::Utf8, false));
    let numbers = statistics.iter().map(|name| Field::new(name, DataType::Float64, true));
    Arc::new(Schema::new(texts.chain(numbers).collect::<Vec<_>>()))
}

/// Properties that give the same bytes for the same documents on each run.
///
/// Texts are compressed at Zstandard's level 1: level 3 saves a few percent of disk and takes half as much time again.
/// Columns in which every value is new get no dictionary and no smallest and largest value, which nobody asks for.
pub(super) fn properties(kind: Kind) -> WriterProperties {
    let keys = [(KIND_KEY, kind.name().to_owned()), (VERSION_KEY, TABLE_VERSION.to_string())];
    let keys = keys.into_iter().map(|(key, value)| KeyValue::new(key.into(), value)).collect();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("danlu {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(keys))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(None);
    for name in ["id", "text", "metadata", "detail"] {
        let column = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    properties.build()
}
