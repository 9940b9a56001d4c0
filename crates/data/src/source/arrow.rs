use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_json::LineDelimitedWriter;
use arrow_schema::{ArrowError, Schema};

use super::fields::Fields;
use super::parquet::guarded;
use super::{Flow, Sink, SourceFile};

/// What an Arrow IPC file begins with; a stream does not.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// Reads Arrow IPC, the file form (`.feather` of version 2 too) or the stream form, batch by batch. A panic of the
/// arrow crates on damaged input counts as a broken file like any other error.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let opened = file.open_seekable()?;
    let length = opened.metadata().map_or(0, |metadata| metadata.len());
    let (schema, mut batches) = match guarded(|| open(opened)) {
        Ok(opened) => opened,
        Err(message) => return sink(Err(file.problem(None, format!("broken Arrow IPC: {message}")))),
    };
    let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    file.check_columns(&columns)?;
    let mut row = 0;
    loop {
        let rows = guarded(|| batches.next().transpose()?.map(|batch| rows(&batch)).transpose());
        let rows = match rows {
            Ok(Some(rows)) => rows,
            Ok(None) => break,
            Err(message) => return sink(Err(file.problem(Some(row + 1), format!("broken Arrow IPC: {message}")))),
        };
        for line in rows.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            row += 1;
            let record = match serde_json::from_slice::<Fields>(line) {
                Ok(fields) => file.record(fields, Some(row)),
                Err(error) => Err(file.problem(Some(row), format!("a value that JSON does not have: {error}"))),
            };
            if sink(record)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    file.read.fetch_add(length, Ordering::Relaxed);
    Ok(ControlFlow::Continue(()))
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

fn open(mut file: File) -> Result<(Schema, Batches), ArrowError> {
    let mut magic = [0; FILE_MAGIC.len()];
    let whole = file.read_exact(&mut magic).is_ok() && magic == FILE_MAGIC;
    file.seek(SeekFrom::Start(0))?;
    let file = BufReader::new(file);
    if whole {
        let reader = FileReader::try_new(file, None)?;
        Ok((reader.schema().as_ref().clone(), Box::new(reader)))
    } else {
        let reader = StreamReader::try_new(file, None)?;
        Ok((reader.schema().as_ref().clone(), Box::new(reader)))
    }
}

/// The rows of a batch as JSON Lines: nested columns, dictionaries and dates become what JSON has for them, and nulls
/// are left out.
fn rows(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}
