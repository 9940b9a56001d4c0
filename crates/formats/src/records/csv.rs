use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, ReaderBuilder};

use crate::{At, Fault, FormatError, reading};

/// What stands between two fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// CSV (RFC 4180).
    Comma,
    /// CSV with another byte in the comma's place.
    Byte(u8),
    /// Tab-separated values (IANA text/tab-separated-values), which know no quotes.
    Tab,
}

/// A row of more columns is an error: the places where fields end take memory too.
const MAX_COLUMNS: usize = 1 << 16;
/// What is reserved for a row beforehand.
const FIRST_BYTES: usize = 256;
const MOST_FIRST_BYTES: usize = 64 << 10;

/// Reads rows, the header like any other; blank lines are none.
#[derive(Debug)]
pub struct CsvReader<R> {
    input: R,
    core: csv_core::Reader,
    max_bytes: usize,
    /// Bytes and columns of the last row: the next will need about as many.
    last: (usize, usize),
    ended: bool,
}

/// The fields of a row, free of their quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvRow {
    /// The line on which it begins, from 1.
    pub line: u64,
    bytes: Vec<u8>,
    /// Where each field ends.
    ends: Vec<usize>,
}

impl CsvRow {
    pub fn columns(&self) -> usize {
        self.ends.len()
    }

    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }

    /// Bytes of all fields.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<R: BufRead> CsvReader<R> {
    /// A row whose fields have more than `max_bytes` is passed over as an error.
    pub fn new(input: R, separator: Separator, max_bytes: usize) -> Self {
        let mut builder = ReaderBuilder::new();
        match separator {
            Separator::Comma => {}
            Separator::Byte(byte) => {
                builder.delimiter(byte);
            }
            Separator::Tab => {
                builder.delimiter(b'\t').quoting(false);
            }
        }
        Self { input, core: builder.build(), max_bytes, last: (FIRST_BYTES, 16), ended: false }
    }

    /// The next row; `Ok(None)` at the end.
    fn read(&mut self) -> Result<Option<CsvRow>, FormatError> {
        let line = self.core.line();
        let mut bytes = vec![0; self.last.0.clamp(FIRST_BYTES, MOST_FIRST_BYTES)];
        let mut ends = vec![0; self.last.1 + 1];
        let (mut length, mut columns) = (0, 0);
        // What is too much is read over what was read before.
        let (mut too_large, mut too_wide) = (false, false);
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(FormatError::io(At::Line(line), error)),
            };
            let (result, used, written, ended) =
                self.core.read_record(buffer, &mut bytes[length..], &mut ends[columns..]);
            self.input.consume(used);
            length += written;
            columns += ended;
            too_large |= length > self.max_bytes;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if too_large => length = 0,
                ReadRecordResult::OutputFull => {
                    bytes.resize((2 * bytes.len()).min(self.max_bytes.saturating_add(1)), 0)
                }
                ReadRecordResult::OutputEndsFull if ends.len() < MAX_COLUMNS => ends.resize(2 * ends.len(), 0),
                ReadRecordResult::OutputEndsFull => (columns, too_wide) = (0, true),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        if too_large {
            return Err(FormatError::record(At::Line(line), Fault::TooLarge { limit: self.max_bytes }));
        }
        if too_wide {
            return Err(FormatError::malformed(At::Line(line), "CSV", format!("more than {MAX_COLUMNS} columns")));
        }
        bytes.truncate(length);
        ends.truncate(columns);
        self.last = (length, columns);
        Ok(Some(CsvRow { line, bytes, ends }))
    }
}

impl<R: BufRead> Iterator for CsvReader<R> {
    type Item = Result<CsvRow, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        reading::next(self, |reader| &mut reader.ended, Self::read)
    }
}
