use std::io::{self, Cursor, Read};
use std::sync::{Arc, OnceLock};

use danlu_formats::encoding::{DecodingReader, detect};

/// So much of a file is looked at to tell its encoding: its beginning or, where that is ASCII, which is the same in most
/// encodings, what begins with the first byte that is not.
const SAMPLE_BYTES: u64 = 64 << 10;
/// A file is taken for another encoding only when at least so many places in the sample are not UTF-8; fewer are damage.
const MIN_EVIDENCE: usize = 3;
pub(super) const UTF_8: &str = "UTF-8";

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
pub(super) type Damage = Arc<OnceLock<String>>;

/// Where a sample of a file is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    Beginning,
    Within,
}

/// Reads bytes of any encoding as UTF-8. UTF-8 itself passes through as it is, with what is broken in it, for whoever makes
/// records of it. Bytes that are not of another encoding become U+FFFD, and `damage` says so.
pub(super) fn as_utf8(reader: Box<dyn Read>, encoding: Encoding<'_>, damage: &Damage) -> Box<dyn Read> {
    decoded(reader, encoding, Sample::Beginning, damage)
}

fn decoded(mut reader: Box<dyn Read>, encoding: Encoding<'_>, sample_is: Sample, damage: &Damage) -> Box<dyn Read> {
    let mut sample = Vec::new();
    let mut read = reader.by_ref().take(SAMPLE_BYTES).read_to_end(&mut sample);
    if encoding == Encoding::Auto && read.is_ok() {
        let ascii = sample.iter().position(|byte| !byte.is_ascii()).unwrap_or(sample.len());
        if ascii as u64 == SAMPLE_BYTES {
            let rest = Undecided::Ascii(reader, damage.clone());
            return Box::new(Cursor::new(sample).chain(rest));
        }
        read = reader.by_ref().take(ascii as u64).read_to_end(&mut sample);
    }
    let label = match encoding {
        Encoding::Utf8 => UTF_8,
        Encoding::Label(label) => label,
        Encoding::Auto => detected(&sample, sample_is),
    };
    if label == UTF_8 && sample_is == Sample::Beginning && sample.starts_with("\u{FEFF}".as_bytes()) {
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

/// Gives the ASCII that a file begins with as it is, and decides about the rest at the first byte that is none.
enum Undecided {
    Ascii(Box<dyn Read>, Damage),
    Decided(Box<dyn Read>),
}

impl Read for Undecided {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (reader, damage) = match self {
            Self::Decided(reader) => return reader.read(buffer),
            Self::Ascii(reader, damage) => (reader, damage),
        };
        let count = reader.read(buffer)?;
        let Some(ascii) = buffer[..count].iter().position(|byte| !byte.is_ascii()) else { return Ok(count) };
        let begun = Cursor::new(buffer[ascii..count].to_vec());
        let rest = std::mem::replace(reader, Box::new(io::empty()));
        let mut decided = decoded(Box::new(begun.chain(rest)), Encoding::Auto, Sample::Within, damage);
        // Nothing read is the end of a file.
        let count = if ascii > 0 { ascii } else { decided.read(buffer)? };
        *self = Self::Decided(decided);
        Ok(count)
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
            self.damage.get_or_init(|| self.label.clone());
        }
        Ok(count)
    }
}

/// The encoding that a sample is of: UTF-8 unless much speaks against it.
fn detected(sample: &[u8], sample_is: Sample) -> &'static str {
    if std::str::from_utf8(sample).is_ok() {
        return UTF_8;
    }
    // A mark within a text marks nothing.
    let marked = sample.starts_with(&[0xFF, 0xFE]) || sample.starts_with(&[0xFE, 0xFF]);
    if marked && sample_is == Sample::Within {
        return UTF_8;
    }
    let broken = sample.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
    if !marked && broken < MIN_EVIDENCE { UTF_8 } else { detect(sample, None) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{self, Cursor, Read};

    use super::{Damage, Encoding, SAMPLE_BYTES, Sample, as_utf8};

    fn detected(sample: &[u8]) -> &'static str {
        super::detected(sample, Sample::Beginning)
    }

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
    /// Gives a few bytes at a time.
    struct Slow<R>(R, usize);

    impl<R: Read> Read for Slow<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn what_follows_ascii_decides() {
        let gb = b"\xB4\xBA\xC3\xDF\xB2\xBB\xBE\xF5\xCF\xFE\xA3\xAC\xB4\xA6\xB4\xA6\xCE\xC5\xCC\xE4\xC4\xF1\xA1\xA3";
        let big5 = b"\xACK\xAFv\xA4\xA3\xC4\xB1\xBE\xE5\xA1A\xB3B\xB3B\xBBD\xB3\xDA\xB3\xBE\xA1C";
        let latin = b"Die W\xFCrde des Menschen ist unantastbar. Sie zu sch\xFCtzen ist Verpflichtung f\xFCr alle.";
        // Its damage lies beyond what is looked at.
        let damaged_gb = [gb.repeat(4000), b"\xFF!".to_vec()].concat();
        let damaged_text = "春眠不觉晓，处处闻啼鸟。".repeat(4000) + "\u{FFFD}!";
        for (tail, expect, damaged) in [
            (&gb[..], "春眠不觉晓，处处闻啼鸟。", None),
            (&big5[..], "春眠不覺曉，處處聞啼鳥。", None),
            (&latin[..], "Die Würde des Menschen ist unantastbar. Sie zu schützen ist Verpflichtung für alle.", None),
            ("\u{FEFF}春眠".as_bytes(), "\u{FEFF}春眠", None),
            (&[], "", None),
            (&damaged_gb[..], damaged_text.as_str(), Some("gb18030")),
        ] {
            for (head, piece) in [(SAMPLE_BYTES - 1, 9000), (SAMPLE_BYTES, 1), (SAMPLE_BYTES, 9000), (300_001, 7)] {
                let head = "x".repeat(head as usize);
                let bytes = Cursor::new([head.as_bytes(), tail].concat());
                let damage = Damage::default();
                let mut text = String::new();
                let mut reader = as_utf8(Box::new(Slow(bytes, piece)), Encoding::Auto, &damage);
                reader.read_to_string(&mut text).unwrap();
                assert_eq!(text.strip_prefix(&head), Some(expect));
                assert_eq!(damage.get().map(String::as_str), damaged);
            }
        }
        // A few bytes that are nothing stay what they are, for whoever names the record.
        let bytes = Cursor::new(["x".repeat(1 << 17).as_bytes(), b"\xFF\xFE"].concat());
        let mut read = Vec::new();
        as_utf8(Box::new(bytes), Encoding::Auto, &Damage::default()).read_to_end(&mut read).unwrap();
        assert!(read.ends_with(b"x\xFF\xFE"));
    }
}
