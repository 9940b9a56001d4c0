use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use danlu_formats::limits::Limits;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{AsBytes, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::TreeBuilder;
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};
use serde_json::Value;

use super::fields::Fields;
use super::open::{FREE_BYTES, explain_limit};
use super::pages::{Pages, Refusal, check_metadata};
use super::{Flow, Problem, Sink, SourceFile, own};
use crate::Document;
use crate::table::{guarded, is_documents};

/// Rows of which lists are measured at once.
const MEASURED_ROWS: usize = 64;

/// Reads Parquet row by row, one row group after the other.
///
/// What the file claims is checked before it is believed. The parquet crate may panic, rather than return an error, on
/// some damaged files; a panic while decoding counts as a broken file like any other.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let mut opened = file.open_seekable()?;
    let length = opened.metadata().map_or(0, |metadata| metadata.len());
    if let Err(refusal) = check_metadata(&mut opened) {
        return sink(Err(file.problem(None, explain(file, &refusal))));
    }
    // Both handles share their place in the file, but what reads goes to its own place first.
    let checked = opened.try_clone().map_err(|e| crate::DataError::io("open", file.path(), e))?;
    let reader = match guarded(|| SerializedFileReader::new(opened)) {
        Ok(reader) => reader,
        Err(message) => return sink(Err(file.problem(None, format!("broken Parquet: {message}")))),
    };
    let columns: Vec<String> =
        reader.metadata().file_metadata().schema().get_fields().iter().map(|field| field.name().into()).collect();
    let is_own = match is_documents(reader.metadata().file_metadata().key_value_metadata()) {
        Ok(is_own) => is_own && file.source.text_columns() == ["text"],
        Err(message) => return sink(Err(file.problem(None, message))),
    };
    file.check_columns(&columns)?;
    let uses = |column: &str| if is_own { own::uses(column) } else { file.uses(column) };
    let schema = match guarded(|| projected(reader.metadata().file_metadata().schema(), uses)) {
        Ok(schema) => schema,
        Err(message) => return sink(Err(file.problem(None, format!("broken Parquet: {message}")))),
    };
    let limits = Limits {
        max_ratio: file.source.max_decompressed_ratio as u64,
        max_total: file.source.max_decompressed_mebibytes.map_or(u64::MAX, |mebibytes| mebibytes << 20),
        free: FREE_BYTES,
    };
    let pages = Pages::new(checked, limits);
    let flow = Groups { file, pages, reader, schema, is_own, number: 0, is_broken: false }.read(sink)?;
    file.read.fetch_add(length, Ordering::Relaxed);
    Ok(flow)
}

/// The columns that are decoded.
fn projected(schema: &Type, uses: impl Fn(&str) -> bool) -> parquet::errors::Result<SchemaDescPtr> {
    let fields = schema.get_fields().iter().filter(|field| uses(field.name())).cloned().collect();
    let root = Type::group_type_builder(schema.name()).with_fields(fields).build()?;
    Ok(Arc::new(SchemaDescriptor::new(Arc::new(root))))
}

struct Groups<'a, 'b> {
    file: &'a SourceFile<'b>,
    pages: Pages,
    reader: SerializedFileReader<File>,
    schema: SchemaDescPtr,
    /// It is a table of documents that danlu wrote.
    is_own: bool,
    /// Rows read so far.
    number: u64,
    /// Nothing more of the file can be read.
    is_broken: bool,
}

impl Groups<'_, '_> {
    fn read(&mut self, sink: &mut Sink<'_>) -> Flow {
        for index in 0..self.reader.num_row_groups() {
            let group = self.reader.metadata().row_group(index);
            let rows_at_once = match guarded(|| Ok::<_, String>(self.pages.check(group))) {
                Ok(Ok(rows)) => rows,
                Ok(Err(refusal)) => return sink(Err(self.problem(explain(self.file, &refusal)))),
                Err(message) => return sink(Err(self.problem(format!("broken Parquet: {message}")))),
            };
            match guarded(|| self.longest_lists(index)) {
                Ok(bytes) if bytes > self.file.max_record_bytes() as u64 => {
                    let message = format!("refused: the lists of a row are {}", self.file.too_long());
                    return sink(Err(self.problem(message)));
                }
                Ok(_) => {}
                Err(message) => return sink(Err(self.problem(format!("broken Parquet: {message}")))),
            }
            let flow = self.group(index, rows_at_once, sink)?;
            if flow.is_break() || self.is_broken {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What the texts in the lists of any row become at most: a list may refer to one long text a million times. They are
    /// measured, as references, where the claims of the pages leave it open.
    fn longest_lists(&self, index: usize) -> Result<u64, ParquetError> {
        if self.pages.shared_bytes <= self.file.max_record_bytes() as u64 {
            return Ok(0);
        }
        let group = self.reader.get_row_group(index)?;
        let mut longest = 0u64;
        for &column in &self.pages.shared_texts {
            let full = group.metadata().column(column).column_descr().max_def_level();
            longest = longest.saturating_add(match group.get_column_reader(column)? {
                ColumnReader::ByteArrayColumnReader(reader) => longest_list(reader, full)?,
                ColumnReader::FixedLenByteArrayColumnReader(reader) => longest_list(reader, full)?,
                _ => 0,
            });
        }
        Ok(longest)
    }

    fn group(&mut self, index: usize, rows_at_once: usize, sink: &mut Sink<'_>) -> Flow {
        let schema = self.schema.clone();
        let opened = guarded(|| {
            let group = self.reader.get_row_group(index)?;
            TreeBuilder::new().with_batch_size(rows_at_once).as_iter(schema, &*group)
        });
        let mut rows = match opened {
            Ok(rows) => rows,
            Err(message) => {
                self.is_broken = true;
                return sink(Err(self.problem(format!("broken Parquet: {message}"))));
            }
        };
        loop {
            let row = match guarded(|| rows.next().transpose()) {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(ControlFlow::Continue(())),
                Err(message) => {
                    self.is_broken = true;
                    return sink(Err(self.problem(format!("broken Parquet: {message}"))));
                }
            };
            self.number += 1;
            if sink(parse(self.file, row, self.number, self.is_own))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// A problem with the next row.
    fn problem(&self, message: String) -> Problem {
        self.file.problem(Some(self.number + 1), message)
    }
}

/// The bytes of all values in the row that has most of them; a value that is there has the definition level `full`.
fn longest_list<T: DataType>(mut reader: ColumnReaderImpl<T>, full: i16) -> Result<u64, ParquetError> {
    let (mut longest, mut row) = (0u64, 0u64);
    loop {
        let (mut definitions, mut repetitions): (Vec<i16>, Vec<i16>) = (Vec::new(), Vec::new());
        let mut values: Vec<T::T> = Vec::new();
        let (_, _, levels) =
            reader.read_records(MEASURED_ROWS, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
        if levels == 0 {
            return Ok(longest);
        }
        let mut values = values.iter();
        for (definition, repetition) in definitions.iter().zip(&repetitions) {
            if *repetition == 0 {
                row = 0;
            }
            if *definition == full {
                row += values.next().map_or(0, |value| AsBytes::as_bytes(value).len() as u64);
            }
            longest = longest.max(row);
        }
    }
}

fn explain(file: &SourceFile<'_>, refusal: &Refusal) -> String {
    match refusal {
        Refusal::Io(error) => format!("cannot be read: {error}"),
        Refusal::Limit(limit) => format!("refused: {}", explain_limit(limit)),
        Refusal::Values(values, bytes) => format!(
            "refused: {bytes} compressed bytes claim to hold {values} values of lists, more than {} times as many; raise \
             the source's max_decompressed_ratio if that is what it is meant to hold",
            file.source.max_decompressed_ratio
        ),
        Refusal::Broken(message) => format!("broken Parquet: {message}"),
    }
}

fn parse(file: &SourceFile<'_>, row: Row, number: u64, is_own: bool) -> Result<Document, Problem> {
    let mut fields = Fields::new();
    for (name, value) in row.into_columns() {
        if let Some(value) = json(value) {
            fields.insert(name, value);
        }
    }
    if is_own { own::document(file, fields, number) } else { file.record(fields, Some(number)) }
}

/// A value as JSON, `None` for null. Dates are as the parquet crate displays them; of bytes that are no text only their
/// number remains.
fn json(value: Field) -> Option<Value> {
    Some(match value {
        Field::Null => return None,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float(value) => value.into(),
        Field::Double(value) => value.into(),
        Field::Str(value) => value.into(),
        // Written without the UTF-8 annotation, as some tools do; or pictures.
        Field::Bytes(value) => match std::str::from_utf8(value.data()) {
            Ok(text) => text.into(),
            Err(_) => serde_json::json!({ "bytes": value.len() }),
        },
        Field::Group(row) => {
            let fields = row.into_columns().into_iter();
            Value::Object(fields.map(|(name, value)| (name, json(value).unwrap_or_default())).collect())
        }
        Field::ListInternal(list) => {
            list.elements().iter().map(|value| json(value.clone()).unwrap_or_default()).collect()
        }
        other => other.to_string().into(),
    })
}
