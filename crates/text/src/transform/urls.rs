use std::borrow::Cow;
use std::ops::Range;

pub(super) fn replace<'a>(text: &'a str, replacement: &str) -> Cow<'a, str> {
    let mut out = String::new();
    let mut copied = 0;
    for range in find(text) {
        out.push_str(&text[copied..range.start]);
        out.push_str(replacement);
        copied = range.end;
        // Removed from between two spaces, it takes one along.
        if replacement.is_empty() && (out.is_empty() || out.ends_with([' ', '\n'])) && text[copied..].starts_with(' ') {
            copied += 1;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// URLs with a scheme or `www.`, up to the first character that no URL holds; punctuation at the end belongs to the
/// sentence, and so does a bracket that was not opened within.
fn find(text: &str) -> Vec<Range<usize>> {
    const BEGINNINGS: [&str; 4] = ["https://", "http://", "ftp://", "www."];
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut position = 0;
    while position < bytes.len() {
        let rest = &bytes[position..];
        let is = |b: &&&str| rest.get(..b.len()).is_some_and(|head| head.eq_ignore_ascii_case(b.as_bytes()));
        let beginning = matches!(bytes[position], b'h' | b'H' | b'f' | b'F' | b'w' | b'W')
            .then(|| BEGINNINGS.iter().find(is))
            .flatten();
        if let Some(beginning) = beginning {
            let end = position + rest.iter().take_while(|&&b| is_url(b)).count();
            let end = position + trimmed(&bytes[position..end]);
            if end > position + beginning.len() {
                found.push(position..end);
            }
            position = end.max(position + 1);
        } else {
            position += 1;
        }
    }
    found
}

fn is_url(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&byte)
}

/// The length without closing punctuation.
fn trimmed(url: &[u8]) -> usize {
    let count = |sign| url.iter().filter(|&&b| b == sign).count();
    let mut spare = [(b')', count(b')').saturating_sub(count(b'('))), (b']', count(b']').saturating_sub(count(b'[')))];
    let mut length = url.len();
    while let Some(&last) = url[..length].last() {
        let closing = spare.iter_mut().find(|(sign, spare)| *sign == last && *spare > 0);
        match closing {
            Some((_, spare)) => *spare -= 1,
            None if b".,;:!?'*_~".contains(&last) => {}
            None => break,
        }
        length -= 1;
    }
    length
}
