//! What each fuzz target does with its input. The fuzzer's binaries and the test that runs old crashers share it.

use danlu_formats::html::{self, HtmlOptions, Markup, TableCells};
use danlu_formats::limits::Limits;
use danlu_formats::picture::{Picture, PictureLimits};
use danlu_formats::posts::{PostFormat, PostReader};
use danlu_formats::records::{CsvReader, JsonLinesReader, JsonReader, Separator};
use danlu_formats::sound::read_sound;
use danlu_formats::wikitext::{self, DumpReader, Variant, WikiOptions};
use danlu_formats::{encoding, epub, feed, mail, markdown, pdf, warc};

/// Small, so that what is too large is found too.
const MAX_BYTES: usize = 1 << 12;

pub type Target = fn(&[u8]);

/// By name, as in `fuzz_targets` and `crashers`.
pub const TARGETS: &[(&str, Target)] = &[
    ("html", html),
    ("wikitext", wikitext),
    ("warc", warc),
    ("mime", mime),
    ("feed", feed),
    ("posts", posts),
    ("jsonl", jsonl),
    ("json", json),
    ("csv", csv),
    ("epub", epub),
    ("pdf", pdf),
    ("picture", picture),
    ("sound", sound),
];

pub fn html(bytes: &[u8]) {
    let page = html::extract_bytes(bytes, None, &HtmlOptions::default());
    assert!(!page.text.ends_with(char::is_whitespace));
    let options = HtmlOptions {
        main_only: bytes.len().is_multiple_of(2),
        markup: Markup::Markdown,
        table_cells: TableCells::Pipe,
        image_alts: true,
        comments: true,
    };
    let text = encoding::decode(bytes, Some("big5")).text;
    html::extract(&text, &options);
    markdown::to_text(&text);
}

pub fn wikitext(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let options = WikiOptions {
        variant: Variant::ZhTw,
        markup: Markup::Markdown,
        tables: Some(TableCells::Pipe),
        captions: true,
        ..WikiOptions::default()
    };
    for options in [options, WikiOptions::default()] {
        let article = wikitext::to_text(&text, &options);
        assert!(!article.text.contains(|c| ('\u{FDD0}'..='\u{FDD4}').contains(&c)));
    }
    DumpReader::new(bytes, &[0], MAX_BYTES).for_each(drop);
}

pub fn warc(bytes: &[u8]) {
    for record in warc::WarcReader::new(bytes, MAX_BYTES).flatten() {
        assert!(record.payload.len() <= MAX_BYTES);
    }
    let _ = warc::parse_response(bytes, Limits { max_total: 1 << 16, ..Limits::default() });
}

pub fn mime(bytes: &[u8]) {
    if let Ok(message) = mail::parse_message(bytes) {
        mail::strip_quoted(&message.text);
    }
    for message in mail::MboxReader::new(bytes, MAX_BYTES).flatten() {
        assert!(message.bytes.len() <= MAX_BYTES);
        let _ = mail::parse_message(&message.bytes);
    }
}

pub fn feed(bytes: &[u8]) {
    let _ = feed::parse_feed(bytes, None);
}

pub fn posts(bytes: &[u8]) {
    for format in [PostFormat::Reddit, PostFormat::HackerNews, PostFormat::StackExchange] {
        PostReader::new(bytes, format, MAX_BYTES).for_each(drop);
    }
}

pub fn jsonl(bytes: &[u8]) {
    for record in JsonLinesReader::new(bytes, MAX_BYTES).flatten() {
        assert!(record.bytes.len() <= MAX_BYTES && !record.bytes.contains(&b'\n'));
        let _ = record.value();
    }
}

pub fn json(bytes: &[u8]) {
    for record in JsonReader::new(bytes, MAX_BYTES).flatten() {
        assert!(!record.bytes.is_empty() && record.bytes.len() <= MAX_BYTES);
        let _ = record.value();
    }
}

pub fn csv(bytes: &[u8]) {
    for separator in [Separator::Comma, Separator::Byte(b';'), Separator::Tab] {
        for row in CsvReader::new(bytes, separator, MAX_BYTES).flatten() {
            assert!(row.len() <= MAX_BYTES && row.fields().map(<[u8]>::len).sum::<usize>() == row.len());
        }
    }
}

pub fn epub(bytes: &[u8]) {
    let _ = epub::read_epub(bytes, Limits { max_total: 1 << 20, ..Limits::default() });
}

pub fn pdf(bytes: &[u8]) {
    let _ = pdf::read_pdf(bytes.to_vec(), Limits { max_total: 1 << 20, ..Limits::default() });
}

pub fn picture(bytes: &[u8]) {
    let limits = PictureLimits { max_side: 1 << 10, max_pixels: 1 << 16, max_bytes: 1 << 20 };
    if let Ok(picture) = Picture::decode(bytes, limits) {
        assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
        assert!(picture.width.max(picture.height) <= 1 << 10 && picture.width * picture.height <= 1 << 16);
    }
}

pub fn sound(bytes: &[u8]) {
    hear(bytes.to_vec());
    // A page whose sum is wrong is left out: what is in it is never seen.
    if bytes.starts_with(b"OggS") {
        hear(with_sums(bytes));
    }
}

fn hear(bytes: Vec<u8>) {
    const RATE: u32 = 16_000;
    const SECONDS: u32 = 2;
    if let Ok(sound) = read_sound(std::io::Cursor::new(bytes), RATE, f64::from(SECONDS)) {
        assert!(sound.file_rate > 0 && sound.samples.len() <= (SECONDS * RATE) as usize);
        assert!(sound.samples.iter().all(|sample| sample.is_finite()));
    }
}

/// The pages of an Ogg file with the check sums that their bytes have.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = file[at..].windows(4).position(|four| four == b"OggS") {
        let begin = at + found;
        let segments = file.get(begin + 26).map_or(0, |n| usize::from(*n));
        let Some(table) = file.get(begin + 27..begin + 27 + segments) else { break };
        let end = begin + 27 + segments + table.iter().map(|n| usize::from(*n)).sum::<usize>();
        if end > file.len() {
            break;
        }
        file[begin + 22..begin + 26].fill(0);
        let sum = file[begin..end].iter().fold(0u32, |sum, byte| {
            let top = (0..8).fold((sum >> 24 ^ u32::from(*byte)) << 24, |x, _| x << 1 ^ (x >> 31) * 0x04C1_1DB7);
            sum << 8 ^ top
        });
        file[begin + 22..begin + 26].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
    file
}
