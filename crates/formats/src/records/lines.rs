use std::io::BufRead;

use super::JsonRecord;
use crate::lines::Lines;
use crate::{FormatError, reading};

/// Reads JSON Lines: each line that is not blank is a record.
#[derive(Debug)]
pub struct JsonLinesReader<R> {
    lines: Lines<R>,
    ended: bool,
}

impl<R: BufRead> JsonLinesReader<R> {
    /// A line of more than `max_bytes` is passed over as an error.
    pub fn new(reader: R, max_bytes: usize) -> Self {
        Self { lines: Lines::new(reader, max_bytes), ended: false }
    }
}

impl<R: BufRead> Iterator for JsonLinesReader<R> {
    type Item = Result<JsonRecord, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = reading::next(self, |reader| &mut reader.ended, |reader| reader.lines.next_record());
        Some(record?.map(|line| {
            let content = line.content().len();
            let mut bytes = line.bytes;
            bytes.truncate(content);
            JsonRecord { number: line.number, line: line.number, bytes }
        }))
    }
}
