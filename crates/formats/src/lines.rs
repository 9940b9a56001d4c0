use std::io::{self, BufRead};

use crate::{At, Fault, FormatError};

/// Reads lines with their numbers and offsets, holding at most `max_bytes` of one.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    number: u64,
    offset: u64,
    max_bytes: usize,
}

/// A line with its end, as it lies in the input.
#[derive(Debug)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// Where it begins.
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// It was longer than `max_bytes`, and `bytes` are only its beginning.
    pub(crate) cut: bool,
}

impl Line {
    /// The line without its end.
    pub(crate) fn content(&self) -> &[u8] {
        let bytes = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        bytes.strip_suffix(b"\r").unwrap_or(bytes)
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R, max_bytes: usize) -> Self {
        Self { reader, number: 0, offset: 0, max_bytes }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Line { number: self.number + 1, offset: self.offset, bytes: Vec::new(), cut: false };
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', buffer);
            let used = end.map_or(buffer.len(), |end| end + 1);
            let room = self.max_bytes.saturating_sub(line.bytes.len()).min(used);
            line.bytes.extend_from_slice(&buffer[..room]);
            line.cut |= room < used;
            self.reader.consume(used);
            self.offset += used as u64;
            if end.is_some() {
                break;
            }
        }
        if self.offset == line.offset {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(line))
    }

    /// The next line that is not blank, as a record of its own.
    pub(crate) fn next_record(&mut self) -> Result<Option<Line>, FormatError> {
        loop {
            let at = At::Line(self.number + 1);
            return match self.next() {
                Err(error) => Err(FormatError::io(at, error)),
                Ok(Some(line)) if line.cut => Err(FormatError::record(at, Fault::TooLarge { limit: self.max_bytes })),
                Ok(Some(line)) if line.is_blank() => continue,
                Ok(line) => Ok(line),
            };
        }
    }

    /// Reads up to `count` bytes as they come; fewer only at the end of the input.
    pub(crate) fn take(&mut self, count: u64, mut keep: impl FnMut(&[u8])) -> io::Result<u64> {
        let mut left = count;
        while left > 0 {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            let used = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            keep(&buffer[..used]);
            self.reader.consume(used);
            self.offset += used as u64;
            left -= used as u64;
        }
        Ok(count - left)
    }
}
