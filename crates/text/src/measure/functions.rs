use std::cell::RefCell;

use zstd::bulk::Compressor;

use super::c4;
use super::word_list::spam_list;
use super::{Analysis, toxicity_list};
use crate::find_pii;

/// One function that a rule may call: `name(text)` or `name(text, x)`.
#[derive(Clone, Copy, Debug)]
pub struct TextFunction {
    pub name: &'static str,
    /// One sentence: what it measures, with unit and range, and the source where there is one.
    pub help: &'static str,
    pub kind: FunctionKind,
}

/// What a function takes beside the text, and what it gives.
#[derive(Clone, Copy, Debug)]
pub enum FunctionKind {
    Number(fn(&Analysis<'_>) -> f64),
    /// With one constant parameter, such as n of an n-gram; its name is for the help.
    NumberWith {
        parameter: &'static str,
        call: fn(&Analysis<'_>, f64) -> f64,
    },
    Text(fn(&Analysis<'_>) -> String),
}

/// All functions, by name. Numbers are finite for every text; a ratio of nothing is 0.
pub fn text_functions() -> &'static [TextFunction] {
    FUNCTIONS
}

/// `part / all`, and 0 of nothing.
fn ratio(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

fn repetition(part: u64, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// n of an n-gram as SQL gives it; 0 for what is no such number, of which there is no n-gram.
fn gram(n: f64) -> usize {
    n as usize
}

const fn number(name: &'static str, help: &'static str, call: fn(&Analysis<'_>) -> f64) -> TextFunction {
    TextFunction { name, help, kind: FunctionKind::Number(call) }
}

const fn number_with(
    name: &'static str,
    parameter: &'static str,
    help: &'static str,
    call: fn(&Analysis<'_>, f64) -> f64,
) -> TextFunction {
    TextFunction { name, help, kind: FunctionKind::NumberWith { parameter, call } }
}

/// In alphabetical order; a test holds it to that.
static FUNCTIONS: &[TextFunction] = &[
    number(
        "alpha_ratio",
        "Share of words and punctuation marks that have a letter of any script, 0 to 1; punctuation counts in the whole, as in datatrove (Gopher, A.1.1).",
        |t| ratio(t.word_counts().with_letter, t.tokens().len()),
    ),
    number(
        "brace_count",
        "Curly brackets of both kinds in the whole text (C4 drops texts with one; `c4_brace_count` asks as C4 does).",
        |t| memchr::memchr2_iter(b'{', b'}', t.text().as_bytes()).count() as f64,
    ),
    number(
        "bullet_ratio",
        "Share of lines, blank ones counted, that begin with a bullet (- • and the like, ・ too), 0 to 1 (Gopher, A.1.1; of bullets datatrove knows - and •).",
        |t| ratio(t.line_counts().bullets, t.line_counts().all),
    ),
    number("byte_count", "Length in bytes of UTF-8.", |t| t.text().len() as f64),
    number(
        "c4_brace_count",
        "Lines with { among those that end as a sentence and have three words (C4 drops the text for one; Raffel et al. 2020, 2.2).",
        |t| t.c4().braces as f64,
    ),
    number(
        "c4_line_ratio",
        "Share of lines, blank ones counted, that C4 keeps: they end as a sentence, have three words (each Chinese character is one), and speak neither of JavaScript nor of cookies, 0 to 1.",
        |t| ratio(t.c4().kept, t.c4().lines),
    ),
    number(
        "c4_lorem_ipsum_count",
        "Lines with \"lorem ipsum\" among those that end as a sentence and have three words (C4 drops the text for one).",
        |t| t.c4().lorem_ipsum as f64,
    ),
    number(
        "c4_sentence_count",
        "Sentences in the lines that C4 keeps (see `c4_line_ratio`); C4 drops texts with fewer than 5 (Raffel et al. 2020, 2.2).",
        |t| t.c4().sentences as f64,
    ),
    number("char_count", "Length in characters (Unicode scalar values).", |t| t.chars() as f64),
    number(
        "cjk_ratio",
        "Share of characters, white space aside, that are Chinese characters, kana or Hangul, 0 to 1.",
        |t| {
            let c = t.characters();
            ratio(c.han + c.other_cjk, c.all - c.white_space)
        },
    ),
    number(
        "compression_ratio",
        "Bytes after compression (Zstandard, level 1) by bytes before; small for repetitive text, about 0.4 to 0.6 for a page of prose, above 1 for a few words.",
        compression_ratio,
    ),
    number(
        "control_char_count",
        "Characters that print nothing and mean nothing in a text: controls other than tab and line ends, private use, noncharacters.",
        |t| t.characters().control as f64,
    ),
    number("digit_ratio", "Share of characters, white space aside, that are digits or other numerals, 0 to 1.", |t| {
        let c = t.characters();
        ratio(c.digits, c.all - c.white_space)
    }),
    number_with(
        "dup_char_ngram_ratio",
        "n",
        "Share of characters, white space aside, in n-grams of characters that occurred before, none counted twice, 0 to 1: Gopher's measure for text without spaces.",
        |t, n| {
            let c = t.characters();
            repetition(t.character_repeats().borrow_mut().of(gram(n)).duplicate_chars, c.all - c.white_space)
        },
    ),
    number(
        "dup_line_char_ratio",
        "Share of all characters that stand in lines that repeat an earlier one, 0 to 1; blank lines aside (Gopher, A.1.2; FineWeb divides by the characters other than line feeds).",
        |t| ratio(t.duplicate_lines().chars, t.chars()),
    ),
    number(
        "dup_line_ratio",
        "Share of lines that repeat an earlier one, 0 to 1; blank lines do not count (Gopher, A.1.2).",
        |t| ratio(t.duplicate_lines().count, t.lines().len()),
    ),
    number_with(
        "dup_ngram_ratio",
        "n",
        "Characters in n-grams of words and punctuation marks that occurred before, none counted twice, by all characters, 0 to 1 (Gopher, A.1.2; n from 5 to 10).",
        |t, n| repetition(t.word_repeats().borrow_mut().of(gram(n)).duplicate_chars, t.chars()),
    ),
    number(
        "dup_paragraph_char_ratio",
        "Share of all characters that stand in paragraphs that repeat an earlier one, 0 to 1; blank lines part paragraphs (Gopher, A.1.2).",
        |t| ratio(t.duplicate_paragraphs().chars, t.chars()),
    ),
    number("dup_paragraph_ratio", "Share of paragraphs that repeat an earlier one, 0 to 1 (Gopher, A.1.2).", |t| {
        ratio(t.duplicate_paragraphs().count, t.paragraphs().len())
    }),
    number(
        "ellipsis_line_ratio",
        "Share of lines, blank ones counted, that end with ... or …, 0 to 1 (Gopher, A.1.1).",
        |t| ratio(t.line_counts().ellipsis, t.line_counts().all),
    ),
    number("email_count", "Mail addresses.", |t| email_count(t.text()) as f64),
    number(
        "ends_with_punct_ratio",
        "Share of lines, blank ones aside, that end with . ! ? or their like in other scripts, 0 to 1; of closing quotation marks only those after a Chinese mark (FineWeb, Penedo et al. 2024).",
        |t| ratio(t.line_counts().ended, t.line_counts().filled),
    ),
    number(
        "entropy",
        "Entropy of the characters in bits a character (about 4.2 for English prose, 8 to 9 for Chinese).",
        |t| t.characters().entropy,
    ),
    number(
        "gopher_stopword_count",
        "How many of \"the be to of and that have with\", in lower case, occur at all, 0 to 8; English prose has 2 or more (Gopher, A.1.1).",
        |t| t.word_counts().gopher_stopwords as f64,
    ),
    number("han_ratio", "Share of characters, white space aside, that are Chinese characters, 0 to 1.", |t| {
        let c = t.characters();
        ratio(c.han, c.all - c.white_space)
    }),
    number("javascript_count", "Lines that name JavaScript, in any case (C4 drops such lines).", |t| {
        c4::javascript_lines(t.lines()) as f64
    }),
    TextFunction {
        name: "lang",
        help: "Language of the first 4 KiB as ISO 639-1 where there is one (\"en\", \"zh\"), \"und\" where there is too little to go by.",
        kind: FunctionKind::Text(|t| t.language().code.clone()),
    },
    number("lang_score", "How sure `lang` is, 0 to 1.", |t| f64::from(t.language().confidence)),
    number("line_count", "Lines that are not blank.", |t| t.line_counts().filled as f64),
    number_with(
        "long_line_count",
        "characters",
        "Lines of at least so many characters (mC4, Xue et al. 2021, wants three of 200).",
        |t, least| t.line_counts().lengths.iter().filter(|&&length| f64::from(length) >= least).count() as f64,
    ),
    number("lorem_ipsum", "How often \"lorem ipsum\" stands in the text, in any case.", |t| {
        c4::lorem_ipsum_count(t.text()) as f64
    }),
    number("max_line_length", "Characters of the longest line.", |t| t.line_counts().longest as f64),
    number("max_word_length", "Characters of the longest word.", |t| t.word_counts().longest as f64),
    number("mean_line_length", "Characters a line, blank lines aside.", |t| {
        ratio(t.line_counts().chars, t.line_counts().filled)
    }),
    number(
        "mean_word_length",
        "Characters a word, punctuation aside (Gopher, A.1.1: 3 to 10 in English; about 1.7 in Chinese).",
        |t| ratio(t.word_counts().chars, t.word_counts().words),
    ),
    number("newline_count", "Line feeds.", |t| t.line_counts().line_feeds as f64),
    number(
        "non_alnum_ratio",
        "Share of characters, white space aside, that are neither letters nor digits of any script, 0 to 1: what `clean.max_symbol_ratio` limits.",
        |t| {
            let c = t.characters();
            ratio(c.symbols, c.all - c.white_space)
        },
    ),
    number("paragraph_count", "Pieces between blank lines.", |t| t.paragraphs().len() as f64),
    number(
        "pii_count",
        "Personal data found: email addresses, telephone numbers, Chinese identity numbers, IP addresses, bank cards.",
        |t| find_pii(t.text()).len() as f64,
    ),
    number(
        "policy_count",
        "Lines about cookies, privacy or terms of use, English or Chinese (C4 drops the English ones).",
        |t| c4::policy_lines(t.lines()) as f64,
    ),
    number("replacement_char_count", "U+FFFD, which stands where bytes could not be read as text.", |t| {
        t.characters().replacement as f64
    }),
    number(
        "sentence_count",
        "Sentences, Chinese and English; blank lines end one too, the dot of an abbreviation does not.",
        |t| t.sentences() as f64,
    ),
    number_with(
        "short_line_ratio",
        "characters",
        "Share of lines, blank ones aside, of at most so many characters, 0 to 1 (FineWeb: 30).",
        |t, most| {
            let counts = t.line_counts();
            ratio(counts.lengths.iter().filter(|&&length| f64::from(length) <= most).count(), counts.filled)
        },
    ),
    number(
        "spam_words",
        "Phrases of gambling, adult and forged-paper advertisements, English and Chinese, from the list that ships.",
        |t| spam_list().count(t) as f64,
    ),
    number("stopword_count", "Words on the lists of English and Chinese function words, in any case.", |t| {
        t.stopwords() as f64
    }),
    number(
        "stopword_ratio",
        "Share of words, punctuation aside, that are English or Chinese function words, 0 to 1.",
        |t| ratio(t.stopwords(), t.word_counts().words),
    ),
    number(
        "symbol_ratio",
        "Hash signs or ellipses (... and …), whichever are more, by words and punctuation marks; 0 and up (Gopher, A.1.1).",
        |t| {
            let text = t.text();
            let hashes = memchr::memchr_iter(b'#', text.as_bytes()).count();
            let ellipses = memchr::memmem::find_iter(text.as_bytes(), "...").count()
                + memchr::memmem::find_iter(text.as_bytes(), "…").count();
            ratio(hashes.max(ellipses), t.tokens().len())
        },
    ),
    number("token_count", "Words and punctuation marks, which is what datatrove calls words.", |t| {
        t.tokens().len() as f64
    }),
    number_with(
        "top_ngram_ratio",
        "n",
        "Characters in all occurrences of the most frequent n-gram of words and punctuation marks, the spaces within it counted, by all characters; 0 and up, as occurrences may overlap (Gopher, A.1.2; n from 2 to 4).",
        |t, n| repetition(t.word_repeats().borrow_mut().of(gram(n)).top_chars, t.chars()),
    ),
    number(
        "toxicity_words",
        "Profanities and insults from the list that ships (English and Chinese), or from a list of your own (`toxicity` in `[clean.models]`).",
        |t| toxicity_list().count(t) as f64,
    ),
    number(
        "traditional_ratio",
        "Share of Chinese characters that Simplified Chinese does not have, 0 to 1 (OpenCC's table); 0 for Simplified text, about 0.3 for Traditional.",
        |t| ratio(t.characters().traditional, t.characters().han),
    ),
    number(
        "upper_ratio",
        "Share of letters that are upper case, 0 to 1; letters of scripts without case count in the whole.",
        |t| ratio(t.characters().uppercase, t.characters().letters),
    ),
    number("url_count", "Web addresses: with a scheme such as https://, or beginning with www.", |t| {
        url_count(t.text()) as f64
    }),
    number("whitespace_ratio", "Share of characters that are white space, 0 to 1.", |t| {
        ratio(t.characters().white_space, t.characters().all)
    }),
    number(
        "word_count",
        "Words, punctuation aside; Chinese is cut by jieba, English as spaCy does, so that \"don't\" is two (Gopher, A.1.1).",
        |t| t.word_counts().words as f64,
    ),
    number(
        "word_entropy",
        "Entropy of words and punctuation marks in bits a word; low for lists of a few words, and rising with length.",
        |t| t.word_entropy(),
    ),
    number("word_type_ratio", "Different words by words, punctuation aside, 0 to 1; falls with length.", |t| {
        ratio(t.distinct_words(), t.word_counts().words)
    }),
];

fn compression_ratio(t: &Analysis<'_>) -> f64 {
    thread_local! {
        // Making one costs more than compressing a page.
        static COMPRESSOR: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(1).ok());
    }
    let bytes = t.text().as_bytes();
    // Compression into memory cannot fail but for want of it.
    let packed = COMPRESSOR.with_borrow_mut(|compressor| compressor.as_mut()?.compress(bytes).ok());
    match packed {
        _ if bytes.is_empty() => 0.0,
        Some(packed) => ratio(packed.len(), bytes.len()),
        None => 1.0,
    }
}

fn url_count(text: &str) -> usize {
    let bytes = text.as_bytes();
    let before = |at: usize| at.checked_sub(1).map_or(b' ', |at| bytes[at]);
    let after = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
    let solid = |byte: u8| !byte.is_ascii_whitespace() && byte != b'/';
    let schemes =
        memchr::memmem::find_iter(bytes, "://").filter(|&at| before(at).is_ascii_alphabetic() && solid(after(at + 3)));
    let plain = memchr::memmem::find_iter(bytes, "www.").filter(|&at| {
        !before(at).is_ascii_alphanumeric()
            && !matches!(before(at), b'/' | b'.' | b'@' | b'-')
            && after(at + 4).is_ascii_alphanumeric()
    });
    schemes.count() + plain.count()
}

fn email_count(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-');
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let ats = memchr::memchr_iter(b'@', bytes);
    ats.filter(|&at| {
        let host = bytes[at + 1..].iter().take_while(|byte| is_host(byte)).count();
        let host = text[at + 1..at + 1 + host].trim_end_matches(['.', '-']);
        let top = host.rsplit_once('.').filter(|(name, _)| name.starts_with(|c: char| c.is_ascii_alphanumeric()));
        at > 0
            && is_name(&bytes[at - 1])
            && top.is_some_and(|(_, top)| top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic()))
    })
    .count()
}
