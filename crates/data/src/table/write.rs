use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

use super::schema::{Fate, Kind, properties, schema};
use crate::aside::AsideFile;
use crate::{DataError, Document};

/// Documents are handed to the encoder in batches of about so many bytes of text.
const BATCH_BYTES: usize = 2 << 20;
/// A row group is closed after so many bytes of text (or one document more): what a reader may have to hold.
const GROUP_BYTES: usize = 32 << 20;

/// Writes documents to a Parquet table that appears when [`finish`](Self::finish) succeeds.
pub struct DocumentWriter {
    out: ArrowWriter<AsideFile>,
    path: PathBuf,
    schema: SchemaRef,
    statistics: Vec<String>,
    texts: Vec<StringBuilder>,
    numbers: Vec<Float64Builder>,
    batch_bytes: usize,
    group_bytes: usize,
}

impl DocumentWriter {
    /// A table of documents without statistics.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        Self::with_statistics(path, &[])
    }

    /// A table of documents with these statistics, one column each.
    ///
    /// # Errors
    /// Those of the disk, and a statistic named like another column.
    pub fn with_statistics(path: &Path, statistics: &[String]) -> Result<Self, DataError> {
        Self::open(path, Kind::Documents, statistics)
    }

    /// A table of dropped documents.
    pub(crate) fn dropped(path: &Path, statistics: &[String]) -> Result<Self, DataError> {
        Self::open(path, Kind::Dropped, statistics)
    }

    fn open(path: &Path, kind: Kind, statistics: &[String]) -> Result<Self, DataError> {
        for (index, name) in statistics.iter().enumerate() {
            if kind.columns().any(|column| column == name) || statistics[..index].contains(name) {
                let message = format!("two columns of {} would be named {name:?}", path.display());
                return Err(DataError::BadConfig { key: "statistics", message });
            }
        }
        let schema = schema(kind, statistics);
        let options = ArrowWriterOptions::new().with_properties(properties(kind)).with_skip_arrow_metadata(true);
        let file = AsideFile::create(path)?;
        let out = ArrowWriter::try_new_with_options(file, schema.clone(), options).map_err(|e| failed(path, e))?;
        let texts = kind.columns().map(|_| StringBuilder::new()).collect();
        let numbers = statistics.iter().map(|_| Float64Builder::new()).collect();
        let (path, statistics) = (path.into(), statistics.to_vec());
        Ok(Self { out, path, schema, statistics, texts, numbers, batch_bytes: 0, group_bytes: 0 })
    }

    pub fn write(&mut self, document: &Document) -> Result<(), DataError> {
        self.write_row(document, &[])
    }

    pub(crate) fn write_dropped(&mut self, document: &Document, fate: &Fate) -> Result<(), DataError> {
        self.write_row(document, &[&fate.step, &fate.reason, &fate.detail])
    }

    fn write_row(&mut self, document: &Document, fate: &[&str]) -> Result<(), DataError> {
        if let Some(name) = document.statistics.keys().find(|name| !self.statistics.contains(name)) {
            let message = format!("{} has no column for {name:?}, which a document has", self.path.display());
            return Err(DataError::BadConfig { key: "statistics", message });
        }
        let metadata = serde_json::to_string(&document.metadata)
            .map_err(|e| DataError::io("write the metadata to", &self.path, e.into()))?;
        let texts = [&document.id, &document.text, &document.source, &document.language, &metadata];
        let texts = texts.into_iter().map(String::as_str).chain(fate.iter().copied());
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_value(text);
        }
        for (column, name) in self.numbers.iter_mut().zip(&self.statistics) {
            column.append_option(document.statistics.get(name).copied());
        }
        self.batch_bytes += document.text.len() + metadata.len() + 128;
        if self.batch_bytes >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), DataError> {
        let texts = self.texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        let numbers = self.numbers.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        let batch = RecordBatch::try_new(self.schema.clone(), texts.chain(numbers).collect())
            .map_err(|e| failed(&self.path, e.into()))?;
        self.out.write(&batch).map_err(|e| failed(&self.path, e))?;
        self.group_bytes += std::mem::take(&mut self.batch_bytes);
        if self.group_bytes >= GROUP_BYTES {
            self.group_bytes = 0;
            self.out.flush().map_err(|e| failed(&self.path, e))?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<(), DataError> {
        if self.batch_bytes > 0 {
            self.write_batch()?;
        }
        self.out.into_inner().map_err(|e| failed(&self.path, e))?.finish()
    }
}

/// An error while writing `path`; what the disk said is told as such.
pub(crate) fn failed(path: &Path, error: ParquetError) -> DataError {
    let error = match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(error) => std::io::Error::other(error),
        },
        error => std::io::Error::other(error),
    };
    DataError::io("write", path, error)
}
