use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::schema::{COLUMNS, FATE_COLUMNS, Fate, Kind, TABLE_VERSION, stated};
use crate::storage::ReadMeter;
use crate::{DataError, Document};

/// Rows decoded at once. A row group, which bounds what they hold, is closed by bytes when it is written.
const BATCH_ROWS: usize = 1024;

/// Streams the documents of a table as danlu writes them (`train.parquet`, `dropped.parquet`, ...), in their order.
///
/// # Errors
/// Those of the disk; [`DataError::BadTable`] for a file that is cut off, damaged, or not a table of danlu's, and
/// [`DataError::NewerTable`] for one of a later version.
pub fn read_documents(path: &Path) -> Result<DocumentReader, DataError> {
    let (builder, kind, length) = open(path)?;
    let rows = builder.metadata().file_metadata().num_rows().unsigned_abs();
    check_columns(path, kind, builder.schema())?;
    let statistics = statistics(builder.schema(), kind);
    let batches = guarded(|| builder.with_batch_size(BATCH_ROWS).build()).map_err(|e| bad(path, None, e))?;
    Ok(DocumentReader {
        batches,
        path: path.into(),
        kind,
        statistics,
        batch: None,
        next: 0,
        row: 0,
        rows,
        meter: ReadMeter::new(length),
        failed: false,
    })
}

/// Reads the statistics `names` of a table, and nothing else of it, batch by batch: for each row the values in the
/// order of the names, and the document's source and language.
pub(crate) fn read_statistics(
    path: &Path,
    names: &[String],
    each: &mut dyn FnMut(&[Option<f64>], &str, &str),
) -> Result<(), DataError> {
    let (builder, _, _) = open(path)?;
    let wanted = ["source", "language"].into_iter().chain(names.iter().map(String::as_str));
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
    let mut batches = guarded(|| builder.with_projection(mask).build()).map_err(|e| bad(path, None, e))?;
    let mut row = 0;
    while let Some(batch) = next_batch(&mut batches).map_err(|e| bad(path, Some(row + 1), e))? {
        let missing = |name: &str| bad(path, None, format!("there is no column {name:?}"));
        let text = |name: &str| batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
        let source = text("source").ok_or_else(|| missing("source"))?;
        let language = text("language").ok_or_else(|| missing("language"))?;
        let columns: Vec<&Float64Array> = names
            .iter()
            .map(|name| {
                let column = batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Float64Type>());
                column.ok_or_else(|| missing(name))
            })
            .collect::<Result<_, _>>()?;
        for index in 0..batch.num_rows() {
            let values: Vec<Option<f64>> = columns.iter().map(|c| value(c, index)).collect();
            each(&values, source.value(index), language.value(index));
        }
        row += batch.num_rows() as u64;
    }
    Ok(())
}

fn value(column: &Float64Array, index: usize) -> Option<f64> {
    column.is_valid(index).then(|| column.value(index))
}

/// Opens a table and checks that it is one.
fn open(path: &Path) -> Result<(ParquetRecordBatchReaderBuilder<File>, Kind, u64), DataError> {
    let file = File::open(path).map_err(|e| DataError::io("open", path, e))?;
    let length = file.metadata().map_err(|e| DataError::io("open", path, e))?.len();
    let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(|message| {
        bad(path, None, format!("not a whole Parquet file; it was cut off, or is of another format ({message})"))
    })?;
    let kind = kind(path, &builder)?;
    Ok((builder, kind, length))
}

/// What the file says of itself.
fn kind(path: &Path, builder: &ParquetRecordBatchReaderBuilder<File>) -> Result<Kind, DataError> {
    let Some((kind, version)) = stated(builder.metadata().file_metadata().key_value_metadata()) else {
        let message = "a Parquet file that danlu did not write".into();
        return Err(bad(path, None, message));
    };
    let version: u32 = version.parse().map_err(|_| bad(path, None, format!("its version is {version:?}")))?;
    if version > TABLE_VERSION {
        return Err(DataError::NewerTable { path: path.into(), version, known: TABLE_VERSION });
    }
    Kind::of(kind).ok_or_else(|| bad(path, None, format!("a table of {kind:?}, not of documents")))
}

fn check_columns(path: &Path, kind: Kind, schema: &Schema) -> Result<(), DataError> {
    let type_of = |name: &str| schema.field_with_name(name).ok().map(|field| field.data_type());
    if let Some(name) = kind.columns().find(|name| type_of(name) != Some(&DataType::Utf8)) {
        return Err(bad(path, None, format!("column {name:?} is missing or not text")));
    }
    let odd = schema
        .fields()
        .iter()
        .find(|field| !kind.columns().any(|name| name == field.name()) && *field.data_type() != DataType::Float64);
    odd.map_or(Ok(()), |field| Err(bad(path, None, format!("column {:?} is not known", field.name()))))
}

fn statistics(schema: &Schema, kind: Kind) -> Vec<String> {
    let names = schema.fields().iter().map(|field| field.name());
    names.filter(|name| !kind.columns().any(|column| column == *name)).cloned().collect()
}

fn bad(path: &Path, row: Option<u64>, message: String) -> DataError {
    DataError::BadTable { path: path.into(), row, message }
}

/// Runs a step of the parquet crate, with its panics, which some damaged files cause, as errors. Whatever it was
/// working on is not used after one.
pub(crate) fn guarded<T, E: std::fmt::Display>(step: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("the decoder gave up: {}", message.unwrap_or("no reason given")))
        }
    }
}

fn next_batch(batches: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>, String> {
    guarded(|| batches.next().transpose())
}

/// Reads documents one by one; see [`read_documents`].
pub struct DocumentReader {
    batches: ParquetRecordBatchReader,
    path: PathBuf,
    kind: Kind,
    statistics: Vec<String>,
    batch: Option<Columns>,
    /// The next row of the batch.
    next: usize,
    /// Rows read so far.
    row: u64,
    rows: u64,
    meter: ReadMeter,
    failed: bool,
}

impl DocumentReader {
    /// The names of the statistics that the table has columns for.
    pub fn statistics(&self) -> &[String] {
        &self.statistics
    }

    /// How many documents the table holds.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How much of the file has been read; outlives the borrow of the iterator.
    pub(crate) fn meter(&self) -> ReadMeter {
        self.meter.clone()
    }

    /// The next document and, in a table of dropped ones, what became of it.
    pub(crate) fn next_row(&mut self) -> Option<Result<(Document, Option<Fate>), DataError>> {
        if self.failed {
            return None;
        }
        let row = self.try_next().transpose()?;
        self.failed = row.is_err();
        Some(row)
    }

    fn try_next(&mut self) -> Result<Option<(Document, Option<Fate>)>, DataError> {
        let place = self.row + 1;
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.next < batch.rows) {
                let row = batch.row(self.next).map_err(|message| bad(&self.path, Some(place), message))?;
                self.next += 1;
                self.row = place;
                return Ok(Some(row));
            }
            self.batch = None; // before the next is decoded: one at a time is held
            self.next = 0;
            self.meter.reach(self.row, self.rows);
            match next_batch(&mut self.batches).map_err(|message| bad(&self.path, Some(place), message))? {
                Some(batch) => self.batch = Some(Columns::of(&batch, self.kind, &self.statistics)),
                None if self.row < self.rows => {
                    return Err(bad(&self.path, Some(place), format!("ends here; {} rows were promised", self.rows)));
                }
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for DocumentReader {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_row()?.map(|(document, _)| document))
    }
}

/// The columns of a batch, by their types.
struct Columns {
    rows: usize,
    texts: Vec<StringArray>,
    fate: Vec<StringArray>,
    numbers: Vec<(String, Float64Array)>,
}

impl Columns {
    /// The columns were checked when the file was opened.
    fn of(batch: &RecordBatch, kind: Kind, statistics: &[String]) -> Self {
        let text = |name: &&str| batch.column_by_name(name)?.as_string_opt::<i32>().cloned();
        let number = |name: &String| {
            let column = batch.column_by_name(name)?.as_primitive_opt::<Float64Type>()?;
            Some((name.clone(), column.clone()))
        };
        Self {
            rows: batch.num_rows(),
            texts: COLUMNS.iter().filter_map(text).collect(),
            fate: if kind == Kind::Dropped { FATE_COLUMNS.iter().filter_map(text).collect() } else { Vec::new() },
            numbers: statistics.iter().filter_map(number).collect(),
        }
    }

    fn row(&self, row: usize) -> Result<(Document, Option<Fate>), String> {
        let [id, text, source, language, metadata] = &self.texts[..] else {
            return Err("a column is not text".into());
        };
        let own = |column: &StringArray| column.value(row).to_owned();
        let metadata = match metadata.value(row) {
            "{}" => serde_json::Map::new(),
            text => serde_json::from_str(text).map_err(|e| format!("its metadata is no JSON object: {e}"))?,
        };
        let statistics: BTreeMap<String, f64> =
            self.numbers.iter().filter_map(|(name, column)| Some((name.clone(), value(column, row)?))).collect();
        let (id, text, source, language) = (own(id), own(text), own(source), own(language));
        let document = Document { id, text, source, language, metadata, statistics };
        let fate = match &self.fate[..] {
            [step, reason, detail] => Some(Fate { step: own(step), reason: own(reason), detail: own(detail) }),
            _ => None,
        };
        Ok((document, fate))
    }
}
