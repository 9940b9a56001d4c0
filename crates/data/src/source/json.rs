use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::fields::Fields;
use super::lines::too_long;
use super::{Flow, MAX_DOCUMENT_BYTES, Sink, SourceFile};

/// Reads a JSON file: an array of objects, each of which becomes a document, or objects and such arrays one after the
/// other. Only one record is held at a time. What follows a place that is not JSON cannot be read.
pub(super) fn read(file: &SourceFile<'_>, sink: &mut Sink<'_>) -> Flow {
    let since_record = Rc::new(Cell::new(0));
    let reader = Bounded { inner: file.open_text()?, since_record: since_record.clone() };
    let mut input = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, reader));
    let mut records = Records { file, sink, number: 0, since_record, ended: None };
    loop {
        match input.end() {
            Ok(()) => return Ok(ControlFlow::Continue(())),
            Err(error) if error.is_io() => return records.broken(&error),
            Err(_) => {} // there is more
        }
        let result = (&mut records).deserialize(&mut input);
        if let Some(ended) = records.ended.take() {
            return ended;
        }
        if let Err(error) = result {
            return records.broken(&error);
        }
    }
}

/// Hands each record to the sink as soon as it is read.
struct Records<'a, 'b, 'c> {
    file: &'a SourceFile<'b>,
    sink: &'a mut Sink<'c>,
    /// How many records have been read.
    number: u64,
    since_record: Rc<Cell<usize>>,
    /// Set when the sink has enough, or failed; the parser is then stopped by an error that nobody sees.
    ended: Option<Flow>,
}

impl Records<'_, '_, '_> {
    fn broken(&mut self, error: &serde_json::Error) -> Flow {
        let message =
            if error.is_io() { format!("cannot be read: {error}") } else { format!("malformed JSON: {error}") };
        (self.sink)(Err(self.file.problem(Some(error.line() as u64).filter(|line| *line > 0), message)))
    }

    /// Whether to go on.
    fn take(&mut self, value: Result<Fields, String>) -> bool {
        self.number += 1;
        self.since_record.set(0);
        let number = Some(self.number);
        let record = match value {
            Ok(fields) => self.file.record(fields, number),
            Err(message) => Err(self.file.problem(number, message)),
        };
        match (self.sink)(record) {
            Ok(ControlFlow::Continue(())) => true,
            ended => {
                self.ended = Some(ended);
                false
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Records<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A top-level value: one record, or an array of records.
impl<'de> Visitor<'de> for &mut Records<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or an array of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut fields = Fields::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            fields.insert(name, value);
        }
        if self.take(Ok(fields)) { Ok(()) } else { Err(A::Error::custom("enough")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(value) = sequence.next_element::<Value>()? {
            let fields = match value {
                Value::Object(fields) => Ok(fields),
                _ => Err("the element is not an object".into()),
            };
            if !self.take(fields) {
                return Err(A::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

/// Fails when more than a document may have is read for one record.
pub(super) struct Bounded<R> {
    pub(super) inner: R,
    /// Bytes since the last record; whoever reads records sets it to 0 after each.
    pub(super) since_record: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_record.get() > MAX_DOCUMENT_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a record {}", too_long())));
        }
        let count = self.inner.read(buffer)?;
        self.since_record.set(self.since_record.get() + count);
        Ok(count)
    }
}
