use std::io::{self, BufRead};

use super::{JsonRecord, newlines};
use crate::{At, Fault, FormatError, reading};

/// Reads JSON: an array of records, or records and such arrays one after the other. Only one record is held at a time,
/// and a malformed one does not harm the next as long as its brackets and quotes are in pairs.
#[derive(Debug)]
pub struct JsonReader<R> {
    input: R,
    max_bytes: usize,
    /// Records begun so far.
    number: u64,
    line: u64,
    place: Place,
    ended: bool,
}

/// Where in the file the reader is, between records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In no array.
    Outside,
    /// Behind the bracket that opens an array.
    Opened,
    AfterElement,
    AfterComma,
}

impl<R: BufRead> JsonReader<R> {
    /// A record of more than `max_bytes` is passed over as an error.
    pub fn new(input: R, max_bytes: usize) -> Self {
        Self { input, max_bytes, number: 0, line: 1, place: Place::Outside, ended: false }
    }

    /// The next record; `Ok(None)` at the end.
    fn read(&mut self) -> Result<Option<JsonRecord>, FormatError> {
        use Place::{AfterComma, AfterElement, Opened, Outside};
        loop {
            let Some(byte) = self.next_byte()? else {
                return match self.place {
                    Outside => Ok(None),
                    _ => Err(self.lost("the file ends within an array")),
                };
            };
            match (self.place, byte) {
                (Outside, b'{') => return self.record().map(Some),
                (Outside, b'[') => self.step(Opened),
                (Outside, _) => return Err(self.lost("expected an object or an array of objects")),
                (Opened | AfterElement, b']') => self.step(Outside),
                (AfterElement, b',') => self.step(AfterComma),
                (AfterElement, _) => return Err(self.lost("expected `,` or `]` after an element")),
                (AfterComma, b']') => {
                    self.step(Outside);
                    return Err(self.malformed("there is no element after the last comma"));
                }
                (Opened | AfterComma, b',') => {
                    self.step(AfterComma);
                    return Err(self.malformed("there is no element before a comma"));
                }
                (Opened | AfterComma, _) => {
                    self.place = AfterElement;
                    return self.record().map(Some);
                }
            }
        }
    }

    /// Goes over one byte.
    fn step(&mut self, place: Place) {
        self.input.consume(1);
        self.place = place;
    }

    /// The next byte that is not blank, which stays in the input.
    fn next_byte(&mut self) -> Result<Option<u8>, FormatError> {
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(FormatError::io(At::Line(self.line), error)),
            };
            let found = buffer.iter().position(|byte| !byte.is_ascii_whitespace());
            let blank = found.unwrap_or(buffer.len());
            let (byte, at_end) = (found.map(|at| buffer[at]), buffer.is_empty());
            self.line += newlines(&buffer[..blank]);
            self.input.consume(blank);
            if byte.is_some() || at_end {
                return Ok(byte);
            }
        }
    }

    /// The value that begins here.
    fn record(&mut self) -> Result<JsonRecord, FormatError> {
        self.number += 1;
        let mut record = JsonRecord { number: self.number, line: self.line, bytes: Vec::new() };
        let (mut scan, mut too_large) = (Scan::default(), false);
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(FormatError::io(At::Line(self.line), error)),
            };
            if buffer.is_empty() {
                return Err(self.lost(format!("the file ends within record {}", self.number)));
            }
            let (used, complete) = scan.take(buffer);
            too_large |= record.bytes.len() + used > self.max_bytes;
            if too_large {
                record.bytes = Vec::new();
            } else {
                record.bytes.extend_from_slice(&buffer[..used]);
            }
            self.line += newlines(&buffer[..used]);
            self.input.consume(used);
            if complete {
                break;
            }
        }
        if too_large {
            return Err(FormatError::record(At::Record(self.number), Fault::TooLarge { limit: self.max_bytes }));
        }
        Ok(record)
    }

    fn malformed(&self, message: impl Into<String>) -> FormatError {
        FormatError::malformed(At::Line(self.line), "JSON", message)
    }

    /// An error after which nobody can tell where a record begins.
    fn lost(&self, message: impl Into<String>) -> FormatError {
        FormatError { ends_reading: true, ..self.malformed(message) }
    }
}

impl<R: BufRead> Iterator for JsonReader<R> {
    type Item = Result<JsonRecord, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        reading::next(self, |reader| &mut reader.ended, Self::read)
    }
}

/// Finds the end of a value: its brackets are counted, those in strings are not. What kinds they are is left to the
/// parser.
#[derive(Debug, Default)]
struct Scan {
    started: bool,
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// A number, a word, or nothing that JSON has; it ends before a comma, a bracket or a space.
    bare: bool,
}

impl Scan {
    /// How many of these bytes belong to the value, and whether it ends with them.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                at = self.string(bytes, at);
                if !self.in_string && self.depth == 0 {
                    return (at, true);
                }
                continue;
            }
            let first = !std::mem::replace(&mut self.started, true);
            match bytes[at] {
                b',' | b']' | b'}' if self.bare => return (at, true),
                byte if self.bare && byte.is_ascii_whitespace() => return (at, true),
                _ if self.bare => {}
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 1 => return (at + 1, true),
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                _ => self.bare = first,
            }
            at += 1;
        }
        (at, false)
    }

    /// Goes on within a string; the place behind it, or the end of the bytes.
    fn string(&mut self, bytes: &[u8], mut at: usize) -> usize {
        if std::mem::take(&mut self.escaped) {
            at += 1;
        }
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
            at += found + 1;
            if bytes[at - 1] == b'"' {
                self.in_string = false;
                return at;
            }
            if at == bytes.len() {
                self.escaped = true;
            }
            at += 1;
        }
        bytes.len()
    }
}
