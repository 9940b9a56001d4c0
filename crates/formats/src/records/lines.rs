use std::io::BufRead;

use super::JsonRecord;
use crate::FormatError;
use crate::lines::Lines;

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
        if self.ended {
            return None;
        }
        let record = self.lines.next_record().transpose();
        self.ended = match &record {
            None => true,
            Some(record) => record.as_ref().is_err_and(|error| error.ends_reading),
        };
        Some(record?.map(|line| {
            let content = line.content().len();
            let mut bytes = line.bytes;
            bytes.truncate(content);
            JsonRecord { number: line.number, line: line.number, bytes }
        }))
    }
}
