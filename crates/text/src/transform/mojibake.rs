//! Text that was decoded with the wrong table, decoded again. In the spirit of ftfy (Speer 2019), with the mix-ups of the
//! Chinese web; but decided by counting evidence rather than by a list of bad sequences.

use std::borrow::Cow;

use encoding_rs::GBK;

use crate::characters::is_han;

/// Repairs until nothing is left to repair: text can be garbled several times over. Each repair makes the text shorter,
/// so this ends.
pub(super) fn repair(text: &str) -> Cow<'_, str> {
    let mut current = Cow::Borrowed(text);
    while let Some(better) = once(&current) {
        current = Cow::Owned(better);
    }
    current
}

fn once(text: &str) -> Option<String> {
    let latin = text.chars().any(|c| ('\u{C0}'..='\u{FF}').contains(&c));
    let by_latin = || latin.then(|| utf8_as_latin(text).or_else(|| gbk_as_latin(text))).flatten();
    by_latin().or_else(|| text.contains(is_han).then(|| utf8_as_gbk(text)).flatten())
}

/// The byte that Windows-1252 shows as this character; where it shows none, that of Latin-1.
fn latin_byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    if code < 0x100 {
        return u8::try_from(code).ok();
    }
    Some(match c {
        '€' => 0x80,
        '‚' => 0x82,
        'ƒ' => 0x83,
        '„' => 0x84,
        '…' => 0x85,
        '†' => 0x86,
        '‡' => 0x87,
        'ˆ' => 0x88,
        '‰' => 0x89,
        'Š' => 0x8A,
        '‹' => 0x8B,
        'Œ' => 0x8C,
        'Ž' => 0x8E,
        '‘' => 0x91,
        '’' => 0x92,
        '“' => 0x93,
        '”' => 0x94,
        '•' => 0x95,
        '–' => 0x96,
        '—' => 0x97,
        '˜' => 0x98,
        '™' => 0x99,
        'š' => 0x9A,
        '›' => 0x9B,
        'œ' => 0x9C,
        'ž' => 0x9E,
        'Ÿ' => 0x9F,
        _ => return None,
    })
}

/// How much a sequence looks like a garbled character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// Nobody writes this: `â€™`, `Ã©`.
    Certain,
    /// Rare in honest text: `Å¡`, `ä½•`.
    Likely,
    /// Honest text has it too, a letter before quotation marks: `é”»`.
    Weak,
}

struct Sequence {
    start: usize,
    end: usize,
    decoded: char,
    evidence: Evidence,
}

/// UTF-8 that was read as Windows-1252 or Latin-1, line by line.
fn utf8_as_latin(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let (sequences, strays) = find_sequences(line);
        let firm = sequences.iter().filter(|s| s.evidence != Evidence::Weak).count();
        let mostly = firm > strays;
        for sequence in sequences.iter().filter(|s| mostly || s.evidence == Evidence::Certain) {
            out.push_str(&text[copied..start + sequence.start]);
            out.push(sequence.decoded);
            copied = start + sequence.end;
        }
        start += line.len();
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// The sequences of a line that decode, and how many accented letters stand outside them.
fn find_sequences(line: &str) -> (Vec<Sequence>, usize) {
    let mut sequences: Vec<Sequence> = Vec::new();
    let mut strays = 0;
    let mut before = ' ';
    let mut position = 0;
    while let Some(c) = line[position..].chars().next() {
        let adjacent = sequences.last().is_some_and(|last| last.end == position);
        let before_word = before.is_alphabetic() && !adjacent;
        if let Some(sequence) = sequence_at(line, position, c, before_word, adjacent) {
            position = sequence.end;
            before = ' ';
            sequences.push(sequence);
        } else {
            strays += usize::from(('\u{C0}'..='\u{FF}').contains(&c) && c.is_alphabetic());
            before = c;
            position += c.len_utf8();
        }
    }
    (sequences, strays)
}

fn sequence_at(line: &str, position: usize, lead: char, in_word: bool, adjacent: bool) -> Option<Sequence> {
    let length = match lead {
        'Â'..='ß' => 2,
        'à'..='ï' => 3,
        'ð'..='ô' => 4,
        _ => return None,
    };
    let mut bytes = [0u8; 4];
    bytes[0] = latin_byte(lead)?;
    let mut characters = line[position..].chars().skip(1);
    let mut end = position + lead.len_utf8();
    let mut natural = true; // only signs that may well follow a letter
    for byte in bytes.iter_mut().take(length).skip(1) {
        let c = characters.next()?;
        // A no-break space is often a plain one by now.
        *byte = if c == ' ' && length > 2 { 0xA0 } else { latin_byte(c)? };
        natural &= is_natural(c);
        end += c.len_utf8();
    }
    let decoded = std::str::from_utf8(&bytes[..length]).ok()?.chars().next()?;
    let evidence = match (length, bytes[0]) {
        // Garbled twice, it may stand between others of its kind.
        _ if decoded.is_control() && !(adjacent && decoded >= '\u{80}') => return None,
        (2, 0xC2) if !in_word => Evidence::Certain,
        (3, 0xE2) if bytes[1] == 0x80 => Evidence::Certain,
        (3, 0xEF) if bytes[1..3] == [0xBB, 0xBF] => Evidence::Certain,
        (4, 0xF0) if bytes[1] == 0x9F => Evidence::Certain,
        (2, 0xC2..=0xC5 | 0xCE | 0xCF | 0xD0 | 0xD1) if natural => Evidence::Weak,
        (3 | 4, _) if natural => Evidence::Weak,
        (2, 0xC3) => Evidence::Certain,
        (2, 0xC2 | 0xC4 | 0xC5) => Evidence::Likely,
        (2, 0xCB) if matches!(decoded, 'ˆ' | '˜') => Evidence::Likely,
        (2, 0xCE | 0xCF | 0xD0 | 0xD1 | 0xD7..=0xD9) if adjacent || starts_run(&line[end..], bytes[0]) => {
            Evidence::Likely
        }
        (2, _) => return None,
        _ => Evidence::Likely,
    };
    // CAFÉ», né…”: the letter ends a word.
    if evidence == Evidence::Weak && in_word {
        return None;
    }
    Some(Sequence { start: position, end, decoded, evidence })
}

/// Whether another letter of the same alphabet follows.
fn starts_run(rest: &str, lead: u8) -> bool {
    let mut characters = rest.chars().map(latin_byte);
    let next = characters.next().flatten().is_some_and(|byte| byte.abs_diff(lead) <= 1);
    next && matches!(characters.next().flatten(), Some(0x80..=0xBF))
}

/// Quotation marks, dashes, dots, spaces: what follows a word in honest text.
fn is_natural(c: char) -> bool {
    matches!(
        c,
        '‘' | '’'
            | '“'
            | '”'
            | '‚'
            | '„'
            | '«'
            | '»'
            | '‹'
            | '›'
            | '–'
            | '—'
            | '…'
            | '•'
            | '·'
            | ' '
            | '\u{A0}'
    )
}

/// How common the characters of GBK are, by their bytes: GB 2312 orders them by use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// One of the 3,755 characters of level 1, or punctuation.
    Common,
    /// Level 2 of GB 2312, or one of the 15,000 characters that only GBK has.
    Rare,
}

fn use_of(lead: u8, trail: u8) -> Use {
    match (lead, trail) {
        (0xB0..=0xD7 | 0xA1 | 0xA3, 0xA1..=0xFE) => Use::Common,
        _ => Use::Rare,
    }
}

/// GBK that was read as Windows-1252 or Latin-1: `ÖÐ¹ú`. Decided by the whole text, because a short word in capital
/// Cyrillic letters that was read as Latin-1 looks the same.
fn gbk_as_latin(text: &str) -> Option<String> {
    let (mut common, mut all, mut low, mut strays) = (0usize, 0usize, 0usize, 0usize);
    let mut runs = Vec::new();
    for (start, end) in runs_of(text, |c| latin_byte(c).is_some_and(|byte| byte >= 0x80)) {
        let bytes: Vec<u8> = text[start..end].chars().filter_map(latin_byte).collect();
        let pairs = bytes.len() / 2;
        let paired = bytes.len().is_multiple_of(2)
            && bytes.chunks(2).all(|pair| pair[0] >= 0x81 && pair[1] >= 0x80 && pair[0] != pair[1]);
        match GBK.decode_without_bom_handling_and_without_replacement(&bytes) {
            Some(decoded) if paired && pairs > 0 => {
                common += bytes.chunks(2).filter(|pair| use_of(pair[0], pair[1]) == Use::Common).count();
                low += bytes.chunks(2).filter(|pair| pair[0] < 0xC0 || pair[1] < 0xC0).count();
                all += pairs;
                runs.push((start, end, decoded.into_owned()));
            }
            _ => strays += bytes.len(),
        }
    }
    // Honest letters outside, or too little to be sure.
    if all < 3 || common * 10 < all * 8 || low * 6 < all || strays * 4 > all {
        return None;
    }
    let mut out = String::new();
    let mut copied = 0;
    for (start, end, decoded) in runs {
        out.push_str(&text[copied..start]);
        out.push_str(&decoded);
        copied = end;
    }
    Some(out + &text[copied..])
}

/// UTF-8 that was read as GBK: `涓枃`. Each run of characters is its own case. Where a character lost bytes to a `?` or
/// U+FFFD, one U+FFFD stays in its place.
fn utf8_as_gbk(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut after_loss = false; // the run before was repaired up to a lost byte
    for (start, end) in runs_of(text, |c| !c.is_ascii() && c != '\u{FFFD}') {
        after_loss &= copied == start;
        let Some((decoded, whole)) = decode_run(&text[start..end], after_loss) else { continue };
        let mark = text[end..].chars().next().filter(|c| matches!(c, '?' | '\u{FFFD}'));
        if !whole && mark.is_none() {
            continue;
        }
        out.push_str(&text[copied..start]);
        out.push_str(&decoded);
        copied = end;
        after_loss = !whole;
        if let (false, Some(mark)) = (whole, mark) {
            out.push('\u{FFFD}');
            copied += mark.len_utf8();
        }
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// The run as the UTF-8 that it was, if it is clearly better, and whether no byte is left over at the end. After a lost
/// byte it may begin with the rest of that character.
fn decode_run(run: &str, after_loss: bool) -> Option<(String, bool)> {
    let head: String = run.chars().take(4).collect();
    gbk_to_utf8(&head, after_loss)?; // most honest runs end here
    let (bytes, decoded, whole) = gbk_to_utf8(run, after_loss)?;
    let goes_on = after_loss && bytes.first().is_some_and(|byte| (0x80..0xC0).contains(byte));
    let plausible = |c: char| {
        c.is_ascii()
            || is_han(c)
            || matches!(c, '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{30FF}' | '\u{FF01}'..='\u{FF5E}' | '·')
    };
    let wide = decoded.chars().filter(|c| !c.is_ascii()).count();
    let better = common_share(&GBK.encode(&decoded).0) > common_share(&bytes);
    ((goes_on || wide >= 2 && better) && decoded.chars().all(plausible)).then_some((decoded, whole))
}

/// Characters to the bytes of GBK, and those read as UTF-8; the end may lack bytes, and after a loss the beginning.
fn gbk_to_utf8(run: &str, after_loss: bool) -> Option<(Vec<u8>, String, bool)> {
    let (bytes, _, unmappable) = GBK.encode(run);
    if unmappable {
        return None;
    }
    let begun = bytes.iter().take(2).take_while(|byte| after_loss && (0x80..0xC0).contains(*byte)).count();
    let rest = &bytes[begun..];
    match std::str::from_utf8(rest) {
        Ok(decoded) => Some((bytes.to_vec(), decoded.into(), true)),
        Err(error) if error.error_len().is_none() => {
            let decoded = std::str::from_utf8(&rest[..error.valid_up_to()]).ok()?.into();
            Some((bytes.to_vec(), decoded, false))
        }
        Err(_) => None,
    }
}

fn common_share(gbk: &[u8]) -> f64 {
    let (mut common, mut all, mut index) = (0usize, 0usize, 0);
    while index < gbk.len() {
        if gbk[index] < 0x81 {
            index += 1;
            continue;
        }
        let trail = gbk.get(index + 1).copied().unwrap_or_default();
        common += usize::from(use_of(gbk[index], trail) == Use::Common);
        all += 1;
        index += 2;
    }
    common as f64 / all.max(1) as f64
}

/// The longest pieces all of whose characters satisfy `is`.
fn runs_of(text: &str, is: impl Fn(char) -> bool) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = None;
    for (position, c) in text.char_indices() {
        match (is(c), start) {
            (true, None) => start = Some(position),
            (false, Some(begin)) => {
                runs.push((begin, position));
                start = None;
            }
            _ => {}
        }
    }
    runs.extend(start.map(|begin| (begin, text.len())));
    runs
}
