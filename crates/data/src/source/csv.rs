use std::ops::ControlFlow;

use serde_json::{Map, Value};

use super::{Flow, Problem, Sink, SourceFile};
use crate::storage::open_decompressed;
use crate::{DataError, Document};

/// Reads CSV with a header line (RFC 4180): one column is the text, the others metadata.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let (reader, _) = open_decompressed(file.path, file.read.clone())?;
    let mut reader = csv::ReaderBuilder::new().from_reader(reader);
    let header: Vec<String> = match reader.byte_headers() {
        Ok(header) => header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
        Err(error) => return sink(Err(file.problem(Some(1), describe(&error)))),
    };
    let Some(column) = header.iter().position(|name| *name == file.source.text_field) else {
        let column = file.source.text_field.clone();
        return Err(DataError::MissingColumn { path: file.path.into(), column, available: header });
    };
    let mut record = csv::ByteRecord::new();
    loop {
        let parsed = match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(ControlFlow::Continue(())),
            Ok(true) => parse(file, &record, &header, column),
            Err(error) => {
                let line = error.position().map_or(reader.position().line(), csv::Position::line);
                let broken_file = matches!(error.kind(), csv::ErrorKind::Io(_));
                let flow = sink(Err(file.problem(Some(line), describe(&error))))?;
                if broken_file {
                    return Ok(flow); // nothing more can be read, and asking again gives the same error for ever
                }
                if flow.is_break() {
                    return Ok(flow);
                }
                continue;
            }
        };
        if sink(parsed)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

fn describe(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the record has {len} columns, the header {expected_len}")
        }
        csv::ErrorKind::Io(error) => format!("cannot be read: {error}"),
        _ => format!("malformed CSV: {error}"),
    }
}

fn parse(
    file: &SourceFile<'_>,
    record: &csv::ByteRecord,
    header: &[String],
    column: usize,
) -> Result<Document, Problem> {
    let line = record.position().map(csv::Position::line);
    let mut text = String::new();
    let mut metadata = Map::new();
    for (index, (name, field)) in header.iter().zip(record).enumerate() {
        let value = std::str::from_utf8(field).map_err(|error| {
            file.problem(line, format!("broken UTF-8 in column {name:?} (offset {})", error.valid_up_to()))
        })?;
        if index == column {
            text = value.into();
        } else {
            metadata.insert(name.clone(), Value::from(value));
        }
    }
    Ok(file.document(text, line, metadata))
}
