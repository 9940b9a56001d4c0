//! Cutting text into words as the known pre-tokenizers do, by hand instead of by a regular expression.

use serde_json::Value;

use super::classes::{ASCII, CLASSES, Class, Classes};

/// The pre-tokenizers that are known. Tests hold each to the `tokenizers` crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// GPT-2's: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Gpt2,
    /// Every numeric character alone, and GPT-2's split of what is between them: SmolLM2's and danlu's own.
    DigitsGpt2,
    /// [`LLAMA3`] or [`QWEN2`], which differ in the most digits of a word.
    Cl100k { digits: usize },
}

/// The split of cl100k in the form that Llama 3 and its kin carry: up to three digits together.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits: Qwen 2 and 3.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Split {
    /// The split that a `pre_tokenizer` of a tokenizer.json describes, where it is one of these.
    pub(crate) fn of_json(value: &Value) -> Option<Self> {
        let is = |value: &Value, name: &str| value["type"].as_str() == Some(name);
        let byte_level = |value: &Value, regex: bool| {
            is(value, "ByteLevel")
                && value["add_prefix_space"].as_bool() == Some(false)
                && value["use_regex"].as_bool().unwrap_or(true) == regex
        };
        if byte_level(value, true) {
            return Some(Self::Gpt2);
        }
        let list = value["pretokenizers"].as_array().filter(|_| is(value, "Sequence"))?;
        match list.as_slice() {
            [only] => Self::of_json(only),
            [digits, bytes] if is(digits, "Digits") && byte_level(bytes, true) => {
                (digits["individual_digits"].as_bool() == Some(true)).then_some(Self::DigitsGpt2)
            }
            [split, bytes] if is(split, "Split") && byte_level(bytes, false) => {
                // No text is between two matches, so both ways of keeping all of it are the same.
                let kept = (split["behavior"].as_str(), split["invert"].as_bool());
                let whole = matches!(kept, (Some("Isolated"), Some(_)) | (Some("Removed"), Some(true)));
                match split["pattern"]["Regex"].as_str().filter(|_| whole)? {
                    LLAMA3 => Some(Self::Cl100k { digits: 3 }),
                    QWEN2 => Some(Self::Cl100k { digits: 1 }),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Calls `each` with the start and end of every word of `text`, in order; together they are the text.
    #[inline]
    pub(crate) fn words(self, text: &str, each: impl FnMut(usize, usize)) {
        match self {
            Self::Gpt2 => Scanner::<false>::new(text).all(each, |scanner, at| scanner.gpt2(at)),
            Self::DigitsGpt2 => Scanner::<true>::new(text).all(each, |scanner, at| scanner.gpt2(at)),
            Self::Cl100k { digits } => Scanner::<false>::new(text).all(each, |scanner, at| scanner.cl100k(at, digits)),
        }
    }
}

/// `DIGITS`: numeric characters are words of their own, and the text before one ends there.
struct Scanner<'a, const DIGITS: bool> {
    text: &'a [u8],
    classes: &'static Classes,
}

impl<'a, const DIGITS: bool> Scanner<'a, DIGITS> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), classes: &CLASSES }
    }

    #[inline(always)]
    fn all(&self, mut each: impl FnMut(usize, usize), end_of: impl Fn(&Self, usize) -> usize) {
        let mut start = 0;
        while start < self.text.len() {
            let end = end_of(self, start);
            each(start, end);
            start = end;
        }
    }

    /// Class and length of the character at `at`; nothing at the end of the text, or of the piece before a number.
    #[inline(always)]
    fn at(&self, at: usize) -> Option<(Class, usize)> {
        match *self.text.get(at)? {
            first @ 0..0x80 => {
                let class = ASCII[first as usize];
                if DIGITS && class == Class::Number { None } else { Some((class, 1)) }
            }
            0xE5..=0xE8 => Some((Class::Letter, 3)), // U+5000 to U+8FFF: Chinese characters
            _ => {
                let (code_point, length) = self.decode(at);
                let class = self.classes.of(code_point);
                if DIGITS && is_numeric(code_point, class) { None } else { Some((class, length)) }
            }
        }
    }

    /// The character at `at`, which begins there.
    #[inline]
    fn decode(&self, at: usize) -> (u32, usize) {
        let bits = |at: usize, mask: u8| u32::from(self.text.get(at).copied().unwrap_or(0) & mask);
        match self.text[at] {
            0..0x80 => (bits(at, 0x7f), 1),
            0x80..0xE0 => (bits(at, 0x1f) << 6 | bits(at + 1, 0x3f), 2),
            0xE0..0xF0 => (bits(at, 0x0f) << 12 | bits(at + 1, 0x3f) << 6 | bits(at + 2, 0x3f), 3),
            0xF0.. => {
                let high = bits(at, 0x07) << 18 | bits(at + 1, 0x3f) << 12;
                (high | bits(at + 2, 0x3f) << 6 | bits(at + 3, 0x3f), 4)
            }
        }
    }

    /// The end of the characters of a class from `at` on.
    #[inline(always)]
    fn run(&self, mut at: usize, class: Class) -> usize {
        while let Some((found, length)) = self.at(at) {
            if found != class {
                break;
            }
            at += length;
        }
        at
    }

    #[inline(always)]
    fn gpt2(&self, start: usize) -> usize {
        let first = self.text[start];
        if first == b'\''
            && let Some(end) = self.contraction(start, false)
        {
            return end;
        }
        let Some((class, length)) = self.at(start) else { return start + self.decode(start).1 };
        if class != Class::Space {
            return self.run(start + length, class);
        }
        match self.at(start + 1) {
            Some((next, length)) if first == b' ' && next != Class::Space => self.run(start + 1 + length, next),
            _ => self.spaces(start).0,
        }
    }

    #[inline(always)]
    fn cl100k(&self, start: usize, digits: usize) -> usize {
        let first = self.text[start];
        let Some((class, length)) = self.at(start) else { return self.text.len() };
        let next = start + length;
        match class {
            Class::Letter => self.run(next, Class::Letter),
            Class::Number => self.numbers(start, digits),
            Class::Other => {
                if first == b'\''
                    && let Some(end) = self.contraction(start, true)
                {
                    return end;
                }
                match self.at(next) {
                    Some((Class::Letter, length)) => self.run(next + length, Class::Letter),
                    _ => self.line_ends(self.run(next, Class::Other)),
                }
            }
            Class::Space => match self.at(next) {
                Some((Class::Letter, length)) if !matches!(first, b'\r' | b'\n') => {
                    self.run(next + length, Class::Letter)
                }
                Some((Class::Other, length)) if first == b' ' => self.line_ends(self.run(next + length, Class::Other)),
                _ => match self.spaces(start) {
                    (_, Some(after_last_line_end)) => after_last_line_end,
                    (end, None) => end,
                },
            },
        }
    }

    /// `\s+(?!\S)|\s+`: all the white space, less its last character where something follows that is not the only one.
    /// Beside it the end of the last line end in it, for `\s*[\r\n]+`.
    fn spaces(&self, start: usize) -> (usize, Option<usize>) {
        let (mut at, mut last, mut line_end) = (start, start, None);
        while let Some((Class::Space, length)) = self.at(at) {
            last = at;
            at += length;
            if matches!(self.text[last], b'\r' | b'\n') {
                line_end = Some(at);
            }
        }
        let at_end = self.at(at).is_none();
        (if at_end || last == start { at } else { last }, line_end)
    }

    fn numbers(&self, start: usize, most: usize) -> usize {
        let mut at = start;
        for _ in 0..most {
            let Some((Class::Number, length)) = self.at(at) else { break };
            at += length;
        }
        at
    }

    /// `[\r\n]*`
    #[inline(always)]
    fn line_ends(&self, mut at: usize) -> usize {
        while let Some(b'\r' | b'\n') = self.text.get(at) {
            at += 1;
        }
        at
    }

    /// The end of `'s|'t|'re|'ve|'m|'ll|'d` at the apostrophe `start`.
    #[inline]
    fn contraction(&self, start: usize, any_case: bool) -> Option<usize> {
        let letter = |at: usize| {
            let byte = self.text.get(at).copied().unwrap_or(0);
            if any_case { byte.to_ascii_lowercase() } else { byte }
        };
        match (letter(start + 1), letter(start + 2)) {
            (b's' | b't' | b'm' | b'd', _) => Some(start + 2),
            (b'r' | b'v', b'e') | (b'l', b'l') => Some(start + 3),
            (0xC5, 0xBF) if any_case => Some(start + 3), // U+017F, the long s, is an s in the other case
            _ => None,
        }
    }
}

/// As the crate's `Digits` decides: by the tables of Rust. The class spares the letters that question.
#[inline]
fn is_numeric(code_point: u32, class: Class) -> bool {
    matches!(class, Class::Number | Class::Other) && char::from_u32(code_point).is_some_and(char::is_numeric)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use tokenizers::pre_tokenizers::PreTokenizerWrapper;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    fn sequence(first: Value, regex: bool) -> Value {
        json!({ "type": "Sequence", "pretokenizers": [first,
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex }] })
    }

    fn by_pattern(pattern: &str) -> Value {
        let pattern = json!({ "Regex": pattern });
        sequence(json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false }), false)
    }

    fn known() -> [(Split, Value); 4] {
        let gpt2 = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
        let digits = sequence(json!({ "type": "Digits", "individual_digits": true }), true);
        [
            (Split::Gpt2, gpt2),
            (Split::DigitsGpt2, digits),
            (Split::Cl100k { digits: 3 }, by_pattern(LLAMA3)),
            (Split::Cl100k { digits: 1 }, by_pattern(QWEN2)),
        ]
    }

    fn ours(split: Split, text: &str) -> Vec<usize> {
        let mut ends = Vec::new();
        split.words(text, |_, end| ends.push(end));
        ends
    }

    fn theirs(json: &Value, text: &str) -> Vec<usize> {
        let tokenizer: PreTokenizerWrapper = serde_json::from_value(json.clone()).unwrap();
        let mut pre_tokenized = PreTokenizedString::from(text);
        tokenizer.pre_tokenize(&mut pre_tokenized).unwrap();
        let splits = pre_tokenized.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (_, end), _)| end).collect()
    }

    fn check(text: &str) {
        for (split, json) in known() {
            assert_eq!(ours(split, text), theirs(&json, text), "{split:?} {text:?}");
        }
    }

    #[test]
    fn the_known_splits_are_recognised_and_no_others() {
        for (split, json) in known() {
            assert_eq!(Split::of_json(&json), Some(split));
        }
        for other in [
            json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true }),
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false }),
            json!({ "type": "Whitespace" }),
            sequence(json!({ "type": "Digits", "individual_digits": false }), true),
            by_pattern(r"\p{L}+|\s+"),
            sequence(
                json!({ "type": "Split", "pattern": { "Regex": QWEN2 }, "behavior": "Removed", "invert": false }),
                false,
            ),
            sequence(
                json!({ "type": "Split", "pattern": { "String": QWEN2 }, "behavior": "Isolated", "invert": false }),
                false,
            ),
            Value::Null,
        ] {
            assert_eq!(Split::of_json(&other), None, "{other}");
        }
    }

    #[test]
    fn words_of_hard_texts_are_those_of_the_crate() {
        for text in [
            "",
            " ",
            "  ",
            "\n",
            " \n ",
            "a",
            " a",
            "  a",
            "\ta",
            "\n\na",
            "a \n b",
            "a\r\n\r\n  b",
            "x   \n\n   y",
            "a.\n\n b.",
            "I'm you're we've he'll she'd it's don't I'M YOU'RE WE'VE 'S 'ſ 'ſa ''s '' 'l 'r 'v",
            "12345 6789 1 ²³½ ٣٤ 一二三",
            "春眠不覺曉，處處聞啼鳥。 夜來 風雨聲\u{3000}花落知多少",
            "the 1790s—and “quotes” … 🚀🚀 e\u{301}te\u{301} \u{a0}x\u{85}y\u{2028}z",
            "a1b2 3c  4 \u{2028}5",
            "!!??\r\n\r\n!",
            " !\n",
            "  !\n\n x",
            "tab\tend\t",
            "end  ",
            "end \n",
            "\u{feff}bom",
        ] {
            check(text);
        }
    }

    /// Each code point between and after others, all in one text: what is a letter, a number, a space or an s to the
    /// engine is that to us. Of the planes where nothing is assigned, a few stand for all (see `classes.rs` for those).
    #[test]
    fn every_assigned_code_point_is_split_as_by_the_crate() {
        let assigned = |c: &u32| matches!(c, 0..0x3_3480 | 0xE_0000..0xE_0200) || c.is_multiple_of(97);
        let all = (0..0x11_0000).filter(assigned).filter_map(char::from_u32);
        let texts: Vec<String> = all.map(|c| format!("a{c} {c}b '{c}1{c}{c}\n{c}  {c}.{c}\n;")).collect();
        for some in texts.chunks(20_000) {
            check(&some.concat());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn words_of_any_text(text in any::<String>()) {
            check(&text);
        }

        #[test]
        fn words_of_likely_text(text in "([a-zé春眠]{1,3}|[ \n\t\r\u{a0}\u{3000}]{1,3}|[.,!'’\u{301}🚀]|'(s|T|re|VE|m|ll|D|ſ)|[0-9²]{1,4}){0,30}") {
            check(&text);
        }
    }
}
