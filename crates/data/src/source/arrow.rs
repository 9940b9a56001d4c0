use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::root_as_message;
use arrow_json::LineDelimitedWriter;
use arrow_schema::ArrowError;

use super::fields::Fields;
use super::open::FREE_BYTES;
use super::{Flow, Sink, SourceFile};
use crate::table::guarded;

/// What an Arrow IPC file begins with, padded to 8 bytes; a stream follows, and after it a table of contents.
const FILE_MAGIC: [u8; 8] = *b"ARROW1\0\0";
/// The first message of a file begins before this.
const MAX_PADDING: u64 = 4096;
/// What a message begins with, except in streams of before version 0.15.
const CONTINUATION: [u8; 4] = [0xFF; 4];

/// Reads Arrow IPC, the file form (`.feather` of version 2 too) or the stream form, batch by batch: in both the messages
/// are read in the order in which they lie, so that a truncated file gives what it has. A panic of the arrow crates on
/// damaged input counts as a broken file like any other error.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let mut opened = file.open_seekable()?;
    let broken = |row: Option<u64>, message: String| Err(file.problem(row, format!("broken Arrow IPC: {message}")));
    let mut messages = Messages { length: opened.metadata().map_or(0, |m| m.len()), from: 0, until: 0, damage: None };
    if let Err(error) = messages.walk(&mut opened, file.source.max_decompressed_ratio) {
        return sink(Err(file.problem(None, format!("cannot be read: {error}"))));
    }
    let stream = BufReader::new(opened).take(messages.until - messages.from);
    let mut batches = match guarded(|| StreamReader::try_new(stream, None)) {
        Ok(opened) => opened,
        Err(message) => return sink(broken(None, messages.damage.unwrap_or(message))),
    };
    let columns: Vec<String> = batches.schema().fields().iter().map(|field| field.name().clone()).collect();
    file.check_columns(&columns)?;
    let mut row = 0;
    loop {
        let rows = guarded(|| batches.next().transpose()?.map(|batch| rows(&batch)).transpose());
        let rows = match rows {
            Ok(Some(rows)) => rows,
            Ok(None) => break,
            Err(message) => return sink(broken(Some(row + 1), message)),
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
    file.read.fetch_add(messages.length, Ordering::Relaxed);
    match messages.damage {
        Some(message) => sink(broken(Some(row + 1), message)),
        None => Ok(ControlFlow::Continue(())),
    }
}

/// Where the sound messages of a file lie. The arrow crates take the lengths in messages at their word and reserve memory
/// for them; here they are compared with the file first.
struct Messages {
    /// Of the file.
    length: u64,
    from: u64,
    until: u64,
    /// What is wrong with the message at `until`.
    damage: Option<String>,
}

impl Messages {
    /// Finds the sound messages, and leaves `file` where they begin.
    fn walk(&mut self, file: &mut File, max_ratio: f64) -> io::Result<()> {
        let mut word = [0; 8];
        if self.length >= 8 {
            file.read_exact(&mut word)?;
        }
        let whole = word == FILE_MAGIC;
        self.from = if whole { 8 } else { 0 };
        // Writers pad what comes before the messages, to 64 bytes mostly.
        while whole && self.from + 8 <= self.length.min(MAX_PADDING) {
            file.read_exact(&mut word)?;
            if word != [0; 8] {
                break;
            }
            self.from += 8;
        }
        self.until = self.from;
        while self.damage.is_none() && self.until < self.length {
            match self.message(file, max_ratio)? {
                Ok(Some(end)) => self.until = end,
                Ok(None) => break,
                Err(damage) => self.damage = Some(format!("{damage} (at byte {})", self.until)),
            }
        }
        if self.damage.is_none() && whole {
            let mut end = [0; 6];
            file.seek(SeekFrom::End(-6))?;
            file.read_exact(&mut end)?;
            if end != FILE_MAGIC[..6] {
                self.damage = Some("the file ends within its table of contents".into());
            }
        }
        file.seek(SeekFrom::Start(self.from)).map(|_| ())
    }

    /// The end of the message at `until`; `None` at the end of the stream.
    fn message(&self, file: &mut File, max_ratio: f64) -> io::Result<Result<Option<u64>, String>> {
        let cut = || Ok(Err("a message is cut off".into()));
        let mut word = [0; 4];
        let mut at = self.until + 4;
        if at > self.length {
            return cut();
        }
        file.seek(SeekFrom::Start(self.until))?;
        file.read_exact(&mut word)?;
        if word == CONTINUATION {
            at += 4;
            if at > self.length {
                return cut();
            }
            file.read_exact(&mut word)?;
        }
        let header = match u64::try_from(i32::from_le_bytes(word)) {
            Ok(0) => return Ok(Ok(None)),
            Ok(header) if at + header <= self.length => header,
            _ => return cut(),
        };
        let mut bytes = vec![0; header as usize];
        file.read_exact(&mut bytes)?;
        let message = match root_as_message(&bytes) {
            Ok(message) => message,
            Err(error) => return Ok(Err(format!("a message is malformed: {error}"))),
        };
        let body = at + header;
        let end = u64::try_from(message.bodyLength()).ok().and_then(|length| body.checked_add(length));
        let Some(end) = end.filter(|end| *end <= self.length) else { return cut() };
        // Compressed buffers begin with their decompressed length.
        let batch = message.header_as_record_batch().or_else(|| message.header_as_dictionary_batch()?.data());
        for buffer in batch.filter(|batch| batch.compression().is_some()).and_then(|b| b.buffers()).iter().flatten() {
            let (offset, length) = (buffer.offset(), buffer.length());
            let place = u64::try_from(offset).ok().and_then(|offset| body.checked_add(offset));
            let Some(place) = place.filter(|place| length < 8 || place.saturating_add(8) <= end) else { return cut() };
            if length >= 8 {
                let mut size = [0; 8];
                file.seek(SeekFrom::Start(place))?;
                file.read_exact(&mut size)?;
                if i64::from_le_bytes(size) as f64 > length as f64 * max_ratio + FREE_BYTES as f64 {
                    let message =
                        "a buffer grows beyond the source's max_decompressed_ratio, as in a decompression bomb";
                    return Ok(Err(message.into()));
                }
            }
        }
        Ok(Ok(Some(end)))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, DictionaryArray};
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};

    use super::*;

    fn damage(bytes: &[u8]) -> Option<String> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut messages = Messages { length: bytes.len() as u64, from: 0, until: 0, damage: None };
        messages.walk(&mut file, 200.0).unwrap();
        messages.damage
    }

    /// The texts of a dictionary come in a message of their own kind, with compressed buffers as well.
    #[test]
    fn a_dictionary_that_grows_too_far_is_refused() {
        let text = "a".repeat(30_000);
        let column: DictionaryArray<Int32Type> = [text.as_str(); 3].into_iter().collect();
        let batch = RecordBatch::try_from_iter([("text", Arc::new(column) as ArrayRef)]).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new_with_options(&mut bytes, &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        assert_eq!(damage(&bytes), None);
        let size = 30_000i64.to_le_bytes();
        let places: Vec<usize> = (0..bytes.len() - 8).filter(|&at| bytes[at..at + 8] == size).collect();
        assert!(!places.is_empty());
        places.iter().for_each(|&at| bytes[at..at + 8].copy_from_slice(&i64::MAX.to_le_bytes()));
        assert!(damage(&bytes).is_some_and(|damage| damage.contains("grows beyond")));
    }
}
