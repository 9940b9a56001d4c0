//! From bytes of unknown encoding to text.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Decoder, Encoding, GB18030, GBK, UTF_8, UTF_16BE, UTF_16LE};

/// What [`decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub text: String,
    /// The name in the Encoding Standard, such as "UTF-8", "gb18030", "Big5", "windows-1252".
    pub encoding: &'static str,
    /// Some bytes were not of this encoding and became U+FFFD.
    pub had_errors: bool,
}

/// Decodes `bytes` as, in this order: what their byte order mark says; UTF-8 if they are valid as such; the `declared`
/// encoding (any label of the Encoding Standard) if it decodes them without errors; UTF-8 if only few bytes are damaged;
/// what looks most likely (Firefox's detector), or the declared one if that decodes no worse.
///
/// "gb2312" and "gbk" are read as GB18030, which contains both.
pub fn decode(bytes: &[u8], declared: Option<&str>) -> Decoded {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return decode_as(encoding, bytes);
    }
    if let Some(encoding) = utf16_without_mark(bytes) {
        return decode_as(encoding, bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && !has_escapes(bytes)
    {
        return Decoded { text: text.into(), encoding: UTF_8.name(), had_errors: false };
    }
    let declared = declared.and_then(known).map(|encoding| decode_as(encoding, bytes));
    if let Some(decoded) = declared.as_ref().filter(|decoded| !decoded.had_errors) {
        return decoded.clone();
    }
    let guessed = decode_as(guess(bytes, true), bytes);
    match declared {
        Some(declared) if replacements(&declared.text) <= replacements(&guessed.text) => declared,
        _ => guessed,
    }
}

/// The most likely encoding of a text that begins with `sample` (64 KiB are plenty), for a [`DecodingReader`].
pub fn detect(sample: &[u8], declared: Option<&str>) -> &'static str {
    if let Some((encoding, _)) = Encoding::for_bom(sample) {
        return encoding.name();
    }
    if let Some(encoding) = utf16_without_mark(sample) {
        return encoding.name();
    }
    // A sample may end within a character.
    let whole = match std::str::from_utf8(sample) {
        Err(error) if error.error_len().is_none() => &sample[..error.valid_up_to()],
        _ => sample,
    };
    if std::str::from_utf8(whole).is_ok() && !has_escapes(whole) {
        return UTF_8.name();
    }
    let fits = |encoding: &&'static Encoding| {
        let text = decode_as(encoding, sample).text;
        !text.strip_suffix('\u{FFFD}').unwrap_or(&text).contains('\u{FFFD}')
    };
    declared.and_then(known).filter(fits).unwrap_or_else(|| guess(sample, false)).name()
}

/// The encoding of a label, with GB18030 in place of its subsets.
fn known(label: &str) -> Option<&'static Encoding> {
    let encoding = Encoding::for_label(label.trim().as_bytes())?;
    Some(if encoding == GBK { GB18030 } else { encoding })
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8]) -> Decoded {
    let (text, had_errors) = encoding.decode_with_bom_removal(bytes);
    Decoded { text: text.into_owned(), encoding: encoding.name(), had_errors }
}

/// ISO-2022-JP is valid ASCII with escape sequences.
fn has_escapes(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"\x1b$").is_some()
}

/// `whole` says that nothing follows `bytes`.
fn guess(bytes: &[u8], whole: bool) -> &'static Encoding {
    if mostly_utf8(bytes) {
        return UTF_8;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, whole);
    let encoding = detector.guess(None, Utf8Detection::Allow);
    if encoding == GBK { GB18030 } else { encoding }
}

/// Latin text in UTF-16 has a zero in every other byte.
fn utf16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(4096) & !1];
    let zeros = |parity: usize| sample.iter().skip(parity).step_by(2).filter(|&&byte| byte == 0).count();
    let pairs = sample.len() / 2;
    let (even, odd) = (zeros(0), zeros(1));
    match pairs {
        0 => None,
        _ if odd * 2 > pairs && even * 50 < pairs => Some(UTF_16LE),
        _ if even * 2 > pairs && odd * 50 < pairs => Some(UTF_16BE),
        _ => None,
    }
}

/// Whether a text is UTF-8 with a few damaged bytes: at most one place for eight characters beyond ASCII.
fn mostly_utf8(bytes: &[u8]) -> bool {
    let (mut valid, mut broken) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    broken * 8 <= valid
}

fn replacements(text: &str) -> usize {
    text.matches('\u{FFFD}').count()
}

/// Reads text of another encoding as UTF-8. Bytes that are none become U+FFFD; [`DecodingReader::had_errors`] tells.
#[derive(Debug)]
pub struct DecodingReader<R> {
    inner: R,
    decoder: Decoder,
    input: Vec<u8>,
    output: Vec<u8>,
    given: usize,
    at_end: bool,
    had_errors: bool,
}

const INPUT_BYTES: usize = 16 << 10;

impl<R: Read> DecodingReader<R> {
    /// `encoding` is a label of the Encoding Standard; `None` if it is none.
    pub fn new(inner: R, encoding: &str) -> Option<Self> {
        let decoder = known(encoding)?.new_decoder_with_bom_removal();
        Some(Self {
            inner,
            decoder,
            input: vec![0; INPUT_BYTES],
            output: Vec::new(),
            given: 0,
            at_end: false,
            had_errors: false,
        })
    }

    /// Whether anything read so far was not of this encoding.
    pub fn had_errors(&self) -> bool {
        self.had_errors
    }

    fn fill(&mut self) -> io::Result<()> {
        let read = self.inner.read(&mut self.input)?;
        self.at_end = read == 0;
        self.given = 0;
        let room = self.decoder.max_utf8_buffer_length(read).unwrap_or(4 * INPUT_BYTES);
        self.output.resize(room.max(16), 0);
        let (result, _, written, errors) =
            self.decoder.decode_to_utf8(&self.input[..read], &mut self.output, self.at_end);
        debug_assert_eq!(result, CoderResult::InputEmpty);
        self.had_errors |= errors;
        self.output.truncate(written);
        Ok(())
    }
}

impl<R: Read> Read for DecodingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.output.len() && !self.at_end {
            self.fill()?;
        }
        let count = buffer.len().min(self.output.len() - self.given);
        buffer[..count].copy_from_slice(&self.output[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;

    use encoding_rs::{BIG5, EUC_KR, GB18030, SHIFT_JIS, WINDOWS_1252};
    use proptest::prelude::*;

    use super::{DecodingReader, decode, detect};

    const CHINESE: &str = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。";
    const TRADITIONAL: &str =
        "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神互相對待。";
    const JAPANESE: &str = "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。";
    const KOREAN: &str = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.";
    const FRENCH: &str =
        "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.";

    fn check(bytes: &[u8], declared: Option<&str>, text: &str, encoding: &str) {
        let decoded = decode(bytes, declared);
        assert_eq!((decoded.text.as_str(), decoded.encoding, decoded.had_errors), (text, encoding, false));
    }

    #[test]
    fn encodings_are_detected() {
        check(b"", None, "", "UTF-8");
        check(CHINESE.as_bytes(), None, CHINESE, "UTF-8");
        check(CHINESE.as_bytes(), Some("gb2312"), CHINESE, "UTF-8");
        check(&GB18030.encode(CHINESE).0, None, CHINESE, "gb18030");
        check(&BIG5.encode(TRADITIONAL).0, None, TRADITIONAL, "Big5");
        check(&SHIFT_JIS.encode(JAPANESE).0, None, JAPANESE, "Shift_JIS");
        check(&EUC_KR.encode(KOREAN).0, None, KOREAN, "EUC-KR");
        check(&WINDOWS_1252.encode(FRENCH).0, None, FRENCH, "windows-1252");
    }

    #[test]
    fn marks_and_declarations_are_heeded() {
        check(b"\xEF\xBB\xBFa", None, "a", "UTF-8");
        check(b"\xFF\xFEa\0-N", Some("utf-8"), "a中", "UTF-16LE");
        check(b"\xFE\xFF\0aN-", None, "a中", "UTF-16BE");
        check(b"h\0e\0l\0l\0o\0", None, "hello", "UTF-16LE");
        check(b"\0h\0e\0l\0l\0o", None, "hello", "UTF-16BE");
        check(&BIG5.encode("中文").0, Some("big5"), "中文", "Big5");
        check(&GB18030.encode("𠮷 is rare").0, Some("GB2312"), "𠮷 is rare", "gb18030");
        // A declaration that does not fit is not believed.
        check(&GB18030.encode(CHINESE).0, Some("utf-8"), CHINESE, "gb18030");
        check(&GB18030.encode(CHINESE).0, Some("no such label"), CHINESE, "gb18030");
    }

    #[test]
    fn damaged_utf8_stays_utf8() {
        let mut bytes = CHINESE.as_bytes().to_vec();
        bytes[40] = 0xFF;
        let decoded = decode(&bytes, None);
        assert_eq!((decoded.encoding, decoded.had_errors), ("UTF-8", true));
        assert!(decoded.text.starts_with("人人生而自由") && decoded.text.ends_with("相对待。"));
    }

    #[test]
    fn a_sample_may_end_within_a_character() {
        assert_eq!(detect(&CHINESE.as_bytes()[..10], None), "UTF-8");
        assert_eq!(detect(&GB18030.encode(CHINESE).0[..41], None), "gb18030");
    }

    proptest! {
        #[test]
        fn decoding_never_fails(bytes in proptest::collection::vec(any::<u8>(), 0..400), label in "[a-z0-9-]{0,8}") {
            let decoded = decode(&bytes, Some(&label));
            let replaced = decoded.text.contains('\u{FFFD}');
            prop_assert!(decoded.had_errors || !replaced || std::str::from_utf8(&bytes).is_ok());
            prop_assert!(DecodingReader::new(&bytes[..], detect(&bytes, Some(&label))).is_some());
        }

        #[test]
        fn streaming_gives_the_same(text in "[a-z中文字𠮷é ]{0,3000}", size in 1usize..70) {
            let bytes = GB18030.encode(&text).0.into_owned();
            let mut reader = DecodingReader::new(bytes.as_slice(), "gb18030").unwrap();
            let mut out = Vec::new();
            let mut piece = vec![0; size];
            loop {
                let read = reader.read(&mut piece).unwrap();
                if read == 0 {
                    break;
                }
                out.extend_from_slice(&piece[..read]);
            }
            prop_assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
