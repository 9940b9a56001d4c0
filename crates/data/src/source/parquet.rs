use std::fs::File;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::Value;

use super::fields::Fields;
use super::{Flow, Problem, Sink, SourceFile};
use crate::Document;
use crate::table::guarded;

/// Reads Parquet row by row.
///
/// The parquet crate may panic, rather than return an error, on some damaged files; a panic while decoding counts as a
/// broken file like any other.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let opened = file.open_seekable()?;
    let length = opened.metadata().map_or(0, |metadata| metadata.len());
    let reader = match guarded(|| SerializedFileReader::new(opened)) {
        Ok(reader) => reader,
        Err(message) => return sink(Err(file.problem(None, format!("broken Parquet: {message}")))),
    };
    let columns: Vec<String> =
        reader.metadata().file_metadata().schema().get_fields().iter().map(|field| field.name().into()).collect();
    file.check_columns(&columns)?;
    let flow = rows(file, reader, sink)?;
    file.read.fetch_add(length, Ordering::Relaxed);
    Ok(flow)
}

fn rows(file: &SourceFile<'_>, reader: SerializedFileReader<File>, sink: &mut Sink<'_>) -> Flow {
    let mut rows = RowIter::from_file_into(Box::new(reader));
    for number in 1.. {
        let record = match guarded(|| rows.next().transpose()) {
            Ok(Some(row)) => parse(file, row, number),
            Ok(None) => break,
            Err(message) => return sink(Err(file.problem(Some(number), format!("broken Parquet: {message}")))),
        };
        if sink(record)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn parse(file: &SourceFile<'_>, row: Row, number: u64) -> Result<Document, Problem> {
    let mut fields = Fields::new();
    for (name, value) in row.into_columns() {
        if let Some(value) = json(value) {
            fields.insert(name, value);
        }
    }
    file.record(fields, Some(number))
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
