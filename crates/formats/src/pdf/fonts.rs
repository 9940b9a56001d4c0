//! What a font says of the characters and widths of its codes.

use std::collections::HashMap;

use encoding_rs::{BIG5, EUC_KR, Encoding, GB18030, MACINTOSH, SHIFT_JIS, UTF_16BE, WINDOWS_1252};
use hayro_syntax::object::{Array, Dict, Name, Number, Object, Stream};

use super::cmap::CMap;
use crate::entities;

/// One glyph of a string.
pub(super) struct Glyph {
    /// `None` if the font does not tell.
    pub(super) text: Option<String>,
    /// In units of the font's size.
    pub(super) width: f64,
    /// The single byte 32, which word spacing widens.
    pub(super) is_space: bool,
}

pub(super) struct Font {
    to_unicode: CMap,
    codes: Codes,
    widths: HashMap<u32, f64>,
    default_width: f64,
}

/// How a string is cut into codes, and what they are without a ToUnicode map.
enum Codes {
    /// One byte each.
    Simple(Box<[Option<String>; 256]>),
    /// Codes of a legacy encoding, of one or two bytes.
    Legacy(&'static Encoding),
    /// Two bytes that are numbers of glyphs.
    Glyphs,
}

impl Font {
    pub(super) fn new(dict: &Dict<'_>) -> Self {
        let to_unicode = dict.get::<Stream<'_>>("ToUnicode").and_then(|stream| super::content(&stream));
        let to_unicode = to_unicode.map(|data| CMap::parse(&data)).unwrap_or_default();
        let composite = dict.get::<Name<'_>>("Subtype").is_some_and(|kind| kind.as_str() == "Type0");
        if composite { Self::composite(dict, to_unicode) } else { Self::simple(dict, to_unicode) }
    }

    fn simple(dict: &Dict<'_>, to_unicode: CMap) -> Self {
        let first = dict.get::<Number>("FirstChar").map_or(0, |first| first.as_i64().clamp(0, 255)) as u32;
        let widths = dict.get::<Array<'_>>("Widths");
        let widths =
            widths.iter().flat_map(|widths| widths.iter::<Number>()).take(256).map(|width| width.as_f64() / 1000.0);
        let widths: HashMap<u32, f64> = (first..).zip(widths).collect();
        Self { to_unicode, codes: Codes::Simple(Box::new(encoding(dict))), widths, default_width: 0.5 }
    }

    fn composite(dict: &Dict<'_>, to_unicode: CMap) -> Self {
        let name = dict.get::<Name<'_>>("Encoding").map(|name| name.as_str().to_owned()).unwrap_or_default();
        let codes = match name.as_str() {
            name if name.contains("UCS2") || name.contains("UTF16") => Codes::Legacy(UTF_16BE),
            name if name.starts_with("GB") => Codes::Legacy(GB18030),
            name if name.starts_with("B5") || name.starts_with("ETen") || name.starts_with("HKscs") => {
                Codes::Legacy(BIG5)
            }
            name if name.contains("RKSJ") => Codes::Legacy(SHIFT_JIS),
            name if name.starts_with("KSC") => Codes::Legacy(EUC_KR),
            _ => Codes::Glyphs,
        };
        let inner = dict.get::<Array<'_>>("DescendantFonts").and_then(|fonts| fonts.iter::<Dict<'_>>().next());
        let default =
            inner.as_ref().and_then(|inner| inner.get::<Number>("DW")).map_or(1.0, |width| width.as_f64() / 1000.0);
        let widths =
            inner.and_then(|inner| inner.get::<Array<'_>>("W")).map(|widths| glyph_widths(&widths)).unwrap_or_default();
        Self { to_unicode, codes, widths, default_width: default }
    }

    pub(super) fn glyphs(&self, bytes: &[u8]) -> Vec<Glyph> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = self.length(rest).clamp(1, rest.len());
            let (code, after) = rest.split_at(length);
            let number = code.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
            let text = self.to_unicode.get(length, number).map(str::to_owned).or_else(|| self.by_encoding(code));
            let width = self.widths.get(&number).copied().unwrap_or(self.default_width);
            out.push(Glyph { text, width, is_space: code == b" " });
            rest = after;
        }
        out
    }

    fn length(&self, rest: &[u8]) -> usize {
        match &self.codes {
            Codes::Simple(_) => 1,
            Codes::Legacy(encoding) if *encoding == UTF_16BE => 2,
            Codes::Legacy(_) => 1 + usize::from(rest[0] >= 0x81),
            Codes::Glyphs => match self.to_unicode.lengths.as_slice() {
                [length] => *length,
                _ => 2,
            },
        }
    }

    fn by_encoding(&self, code: &[u8]) -> Option<String> {
        match &self.codes {
            // A font with a map of its own means no more than that says.
            Codes::Simple(characters) => characters[usize::from(code[0])].clone(),
            Codes::Legacy(encoding) => {
                let (text, errors) = encoding.decode_without_bom_handling(code);
                (!errors).then(|| text.into_owned())
            }
            Codes::Glyphs => None,
        }
    }
}

/// `W` of a font of glyphs: `first [w w w] first last w ...`.
fn glyph_widths(array: &Array<'_>) -> HashMap<u32, f64> {
    let mut widths = HashMap::new();
    let mut numbers: Vec<f64> = Vec::new();
    for item in array.iter::<Object<'_>>() {
        match item {
            Object::Number(number) => numbers.push(number.as_f64()),
            Object::Array(list) => {
                let first = numbers.pop().unwrap_or(0.0) as u32;
                let list = list.iter::<Number>().take(0x1_0000).map(|width| width.as_f64() / 1000.0);
                widths.extend((first..).zip(list));
                numbers.clear();
            }
            _ => {}
        }
        if let [first, last, width] = numbers[..] {
            let last = (last as u32).min((first as u32).saturating_add(0xFFFF));
            if widths.len() < 0x2_0000 {
                widths.extend((first as u32..=last).map(|code| (code, width / 1000.0)));
            }
            numbers.clear();
        }
    }
    widths
}

/// The characters of a simple font's codes.
fn encoding(dict: &Dict<'_>) -> [Option<String>; 256] {
    let named = dict.get::<Name<'_>>("Encoding").map(|name| name.as_str().to_owned());
    let own = dict.get::<Dict<'_>>("Encoding");
    let base = own.as_ref().and_then(|own| own.get::<Name<'_>>("BaseEncoding")).map(|name| name.as_str().to_owned());
    let base = if named.or(base).as_deref() == Some("MacRomanEncoding") { MACINTOSH } else { WINDOWS_1252 };
    let mut characters: [Option<String>; 256] = std::array::from_fn(|code| {
        let byte = [code as u8];
        let (text, errors) = base.decode_without_bom_handling(&byte);
        (!errors && code >= 32).then(|| text.into_owned())
    });
    let mut code = 0usize;
    let differences = own.and_then(|own| own.get::<Array<'_>>("Differences"));
    for item in differences.iter().flat_map(|differences| differences.iter::<Object<'_>>()).take(1024) {
        match item {
            Object::Number(number) => code = number.as_i64().clamp(0, 255) as usize,
            Object::Name(name) => {
                if let Some(slot) = characters.get_mut(code) {
                    *slot = glyph_name(name.as_str());
                }
                code += 1;
            }
            _ => {}
        }
    }
    characters
}

/// The character of a glyph's name (Adobe Glyph List, as far as text needs it).
fn glyph_name(name: &str) -> Option<String> {
    const NAMES: &[(&str, &str)] = &[
        ("space", " "),
        ("exclam", "!"),
        ("quotedbl", "\""),
        ("numbersign", "#"),
        ("dollar", "$"),
        ("percent", "%"),
        ("ampersand", "&"),
        ("quotesingle", "'"),
        ("parenleft", "("),
        ("parenright", ")"),
        ("asterisk", "*"),
        ("plus", "+"),
        ("comma", ","),
        ("hyphen", "-"),
        ("period", "."),
        ("slash", "/"),
        ("zero", "0"),
        ("one", "1"),
        ("two", "2"),
        ("three", "3"),
        ("four", "4"),
        ("five", "5"),
        ("six", "6"),
        ("seven", "7"),
        ("eight", "8"),
        ("nine", "9"),
        ("colon", ":"),
        ("semicolon", ";"),
        ("less", "<"),
        ("equal", "="),
        ("greater", ">"),
        ("question", "?"),
        ("at", "@"),
        ("bracketleft", "["),
        ("backslash", "\\"),
        ("bracketright", "]"),
        ("asciicircum", "^"),
        ("underscore", "_"),
        ("grave", "`"),
        ("braceleft", "{"),
        ("bar", "|"),
        ("braceright", "}"),
        ("asciitilde", "~"),
        ("quoteleft", "‘"),
        ("quoteright", "’"),
        ("quotedblleft", "“"),
        ("quotedblright", "”"),
        ("quotesinglbase", "‚"),
        ("quotedblbase", "„"),
        ("endash", "–"),
        ("emdash", "—"),
        ("bullet", "•"),
        ("ellipsis", "…"),
        ("dagger", "†"),
        ("daggerdbl", "‡"),
        ("fi", "fi"),
        ("fl", "fl"),
        ("ff", "ff"),
        ("ffi", "ffi"),
        ("ffl", "ffl"),
        ("germandbls", "ß"),
        ("dotlessi", "ı"),
        ("minus", "−"),
        ("sterling", "£"),
        ("Euro", "€"),
        ("guillemotleft", "«"),
        ("guillemotright", "»"),
        ("guilsinglleft", "‹"),
        ("guilsinglright", "›"),
        ("oe", "œ"),
        ("OE", "Œ"),
        ("lslash", "ł"),
        ("Lslash", "Ł"),
        ("exclamdown", "¡"),
        ("questiondown", "¿"),
        ("periodcentered", "·"),
        ("degree", "°"),
        ("trademark", "™"),
        ("nbspace", " "),
        ("sfthyphen", "-"),
        ("section", "§"),
        ("copyright", "©"),
    ];
    let name = name.split('.').next().unwrap_or("");
    let mut letters = name.chars();
    if let (Some(letter), None) = (letters.next(), letters.next()) {
        return Some(letter.to_string());
    }
    if let Some((_, text)) = NAMES.iter().find(|(of, _)| *of == name) {
        return Some((*text).to_owned());
    }
    let hex = name.strip_prefix("uni").or(name.strip_prefix('u')).filter(|hex| (4..=6).contains(&hex.len()));
    if let Some(c) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32) {
        return Some(c.to_string());
    }
    // Letters with accents and Greek ones are called alike in HTML: "eacute", "alpha".
    entities::resolve(name).map(std::borrow::Cow::into_owned)
}

/// A text string of the document's description: UTF-16 or UTF-8 with a mark, otherwise nearly Latin-1.
pub(super) fn text_string(bytes: &[u8]) -> String {
    let (encoding, _) = Encoding::for_bom(bytes).unwrap_or((WINDOWS_1252, 0));
    let (text, _) = encoding.decode_with_bom_removal(bytes);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl std::fmt::Debug for Font {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Font").field("has_map", &!self.to_unicode.is_empty()).finish_non_exhaustive()
    }
}
