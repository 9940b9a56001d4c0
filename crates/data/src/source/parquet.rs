use std::fs::File;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use super::{Flow, Problem, Sink, SourceFile};
use crate::table::guarded;
use crate::{DataError, Document};

/// Reads Parquet row by row: one column is the text, the others metadata.
///
/// The parquet crate may panic, rather than return an error, on some damaged files; a panic while decoding counts as a
/// broken file like any other.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let opened = File::open(file.path).map_err(|e| DataError::io("open", file.path, e))?;
    let length = opened.metadata().map_or(0, |metadata| metadata.len());
    let reader = match guarded(|| SerializedFileReader::new(opened)) {
        Ok(reader) => reader,
        Err(message) => return sink(Err(file.problem(None, format!("broken Parquet: {message}")))),
    };
    let columns: Vec<String> =
        reader.metadata().file_metadata().schema().get_fields().iter().map(|field| field.name().into()).collect();
    if !columns.contains(&file.source.text_field) {
        let column = file.source.text_field.clone();
        return Err(DataError::MissingColumn { path: file.path.into(), column, available: columns });
    }
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
    let field = &file.source.text_field;
    let mut text = None;
    let mut metadata = Map::new();
    for (name, value) in row.into_columns() {
        match value {
            Field::Str(value) if name == *field => text = Some(value),
            // Written without the UTF-8 annotation, as some tools do.
            Field::Bytes(value) if name == *field => {
                let decoded = String::from_utf8(value.data().to_vec());
                text =
                    Some(decoded.map_err(|_| file.problem(Some(number), format!("broken UTF-8 in column {name:?}")))?);
            }
            Field::Null => {}
            value => {
                metadata.insert(name, json(&value));
            }
        }
    }
    let text = text.ok_or_else(|| file.problem(Some(number), format!("column {field:?} is null or not a string")))?;
    Ok(file.document(text, Some(number), metadata))
}

/// A value as metadata; dates and nested values as the parquet crate displays them.
fn json(value: &Field) -> Value {
    match value {
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(value) => value.as_str().into(),
        other => other.to_string().into(),
    }
}
