use std::cell::RefCell;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use danlu_formats::encoding::{DecodingReader, detect};

/// So much of a file is looked at to tell its encoding.
const SAMPLE_BYTES: u64 = 64 << 10;
/// A file is taken for another encoding only when at least so many places in the sample are not UTF-8; fewer are damage.
const MIN_EVIDENCE: usize = 3;
const UTF_8: &str = "UTF-8";

/// What a source's `encoding` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding<'a> {
    Auto,
    Utf8,
    Label(&'a str),
}

impl<'a> Encoding<'a> {
    /// # Errors
    /// A name that the Encoding Standard does not have.
    pub(super) fn named(name: &'a str) -> Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "auto" => return Ok(Self::Auto),
            "utf-8" | "utf8" => return Ok(Self::Utf8),
            _ => {}
        }
        let known = DecodingReader::new(io::empty(), name).is_some();
        let message = || format!("{name:?} is no encoding; use \"auto\", \"gb18030\", \"big5\", \"latin1\", ...");
        known.then_some(Self::Label(name)).ok_or_else(message)
    }
}

/// The name of an encoding that some of a file's bytes were not of.
pub(super) type Damage = Rc<RefCell<Option<String>>>;

/// Reads bytes of any encoding as UTF-8. UTF-8 itself passes through as it is, with what is broken in it. Bytes that are
/// not of the other encoding become U+FFFD, and `damage` says so.
pub(super) fn as_utf8(mut reader: Box<dyn Read>, encoding: Encoding<'_>, damage: &Damage) -> Box<dyn Read> {
    let mut sample = Vec::new();
    let read = reader.by_ref().take(SAMPLE_BYTES).read_to_end(&mut sample);
    let label = match encoding {
        Encoding::Utf8 => UTF_8,
        Encoding::Label(label) => label,
        Encoding::Auto => detected(&sample),
    };
    if label == UTF_8 && sample.starts_with("\u{FEFF}".as_bytes()) {
        sample.drain(..3);
    }
    reader = Box::new(Cursor::new(sample).chain(Failing(read.err())).chain(reader));
    if label == UTF_8 {
        return reader;
    }
    match DecodingReader::new(reader, label) {
        Some(reader) => Box::new(Watched { reader, label: label.into(), damage: damage.clone() }),
        None => Box::new(io::empty()), // `SourceConfig::check` has refused it
    }
}

/// Gives an error once, where it was met when the sample was read.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

struct Watched<R> {
    reader: DecodingReader<R>,
    label: String,
    damage: Damage,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if self.reader.had_errors() {
            self.damage.borrow_mut().get_or_insert_with(|| self.label.clone());
        }
        Ok(count)
    }
}

/// The encoding that a sample is of: UTF-8 unless much speaks against it.
fn detected(sample: &[u8]) -> &'static str {
    if std::str::from_utf8(sample).is_ok() {
        return UTF_8;
    }
    let marked = sample.starts_with(&[0xFF, 0xFE]) || sample.starts_with(&[0xFE, 0xFF]);
    let broken = sample.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
    if !marked && broken < MIN_EVIDENCE { UTF_8 } else { detect(sample, None) }
}

#[cfg(test)]
mod tests {
    use super::detected;

    #[test]
    fn a_few_broken_bytes_are_damage_and_many_are_an_encoding() {
        assert_eq!(detected(b"plain"), "UTF-8");
        assert_eq!(detected("春眠不覺曉".as_bytes()), "UTF-8");
        assert_eq!(detected(b"{\"text\":\"\xFF\"}"), "UTF-8");
        // 春眠不觉晓，处处闻啼鸟。 in GB18030, 春眠不覺曉，處處聞啼鳥。 in Big5, and German in Latin-1.
        let gb = b"\xB4\xBA\xC3\xDF\xB2\xBB\xBE\xF5\xCF\xFE\xA3\xAC\xB4\xA6\xB4\xA6\xCE\xC5\xCC\xE4\xC4\xF1\xA1\xA3";
        assert_eq!(detected(gb), "gb18030");
        let big5 = b"\xACK\xAFv\xA4\xA3\xC4\xB1\xBE\xE5\xA1A\xB3B\xB3B\xBBD\xB3\xDA\xB3\xBE\xA1C";
        assert_eq!(detected(big5), "Big5");
        assert_eq!(
            detected(b"Die W\xFCrde des Menschen ist unantastbar. Sie zu sch\xFCtzen ist Verpflichtung f\xFCr alle."),
            "windows-1252"
        );
    }
}
