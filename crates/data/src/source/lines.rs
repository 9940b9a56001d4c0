use std::io::{self, BufRead};

/// Reads lines with their numbers, holding at most `max_bytes` of one.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    max_bytes: usize,
}

/// A line without its end.
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// `None` when the line was longer than a record may be.
    pub(super) bytes: Option<Vec<u8>>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, max_bytes: usize) -> Self {
        Self { reader, number: 0, max_bytes }
    }

    /// The next line. An error is that of the file: nothing after it can be read.
    pub(super) fn next(&mut self) -> Result<Option<Line>, (u64, io::Error)> {
        let number = self.number + 1;
        let mut bytes = Vec::new();
        let mut too_long = false;
        loop {
            let buffer = self.reader.fill_buf().map_err(|e| (number, e))?;
            if buffer.is_empty() {
                if bytes.is_empty() && !too_long {
                    return Ok(None);
                }
                break;
            }
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            too_long |= bytes.len() + part.len() > self.max_bytes;
            if !too_long {
                bytes.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        self.number = number;
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Ok(Some(Line { number, bytes: (!too_long).then_some(bytes) }))
    }
}
