//! What a dropped template leaves between brackets: `Paris ({{IPAc-en|…}}, {{lang|fr|Paris}})` is `Paris (Paris)`. Only where a
//! template stood is anything taken out; what the authors wrote stays as it is.

use std::borrow::Cow;

/// In the place of a template that was dropped.
pub(super) const GAP: char = '\u{FDD4}';

const SEPARATORS: &[char] = &[',', ';', ':', '，', '；', '、', '：'];

fn is_gap(c: char) -> bool {
    c == ' ' || c == GAP
}

fn is_separator(c: char) -> bool {
    SEPARATORS.contains(&c)
}

fn is_gap_or_separator(c: char) -> bool {
    is_gap(c) || is_separator(c)
}

/// The text without gaps, and without the separators and brackets that they have left empty.
pub(super) fn close(text: &str) -> Cow<'_, str> {
    if !text.contains(GAP) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(GAP) {
        out.push_str(before);
        rest = close_one(&mut out, after);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Closes the gap at the end of `out`; returns what is left of the text after it.
fn close_one<'a>(out: &mut String, after: &'a str) -> &'a str {
    let next = after.trim_start_matches(is_gap);
    let left = out.trim_end_matches(' ');
    if left.ends_with(['(', '（']) {
        let next = next.trim_start_matches(is_gap_or_separator);
        out.truncate(left.len());
        return if next.starts_with([')', '）']) { without_brackets(out, next) } else { next };
    }
    if next.starts_with([')', '）']) {
        out.truncate(out.trim_end_matches(is_gap_or_separator).len());
        return if out.ends_with(['(', '（']) { without_brackets(out, next) } else { next };
    }
    if left.ends_with(is_separator) && next.starts_with(is_separator) {
        let next = next.trim_start_matches(is_separator);
        return if out.ends_with(' ') { next.trim_start_matches(' ') } else { next };
    }
    if after.len() > next.len() && after[..after.len() - next.len()].contains(' ') {
        out.push(' ');
    }
    next
}

/// Takes the bracket at the end of `out` and the one at the beginning of `rest` away, and one of the spaces around them.
fn without_brackets<'a>(out: &mut String, rest: &'a str) -> &'a str {
    out.pop();
    let mut rest = rest.chars();
    rest.next();
    let rest = rest.as_str();
    if rest.is_empty() || !rest.starts_with(char::is_alphanumeric) {
        out.truncate(out.trim_end_matches(' ').len());
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::close;

    fn check(text: &str, expect: &str) {
        assert_eq!(close(&text.replace('_', "\u{FDD4}")), expect, "{text:?}");
    }

    #[test]
    fn brackets_around_gaps() {
        check("Paris (_ _, fr) is", "Paris (fr) is");
        check("A furnace (_; from Latin) is", "A furnace (from Latin) is");
        check("Paris (_) is", "Paris is");
        check("Paris ( _ ; _, _ ), which", "Paris, which");
        check("Paris (fr, _) is", "Paris (fr) is");
        check("Paris (a, _, b) is", "Paris (a, b) is");
        check("巴黎（法语，_）是", "巴黎（法语）是");
        check("巴黎（_；_）是", "巴黎是");
        check("a (_)b", "a b");
    }

    #[test]
    fn what_authors_wrote_stays() {
        check("f() and (, x) of a_b", "f() and (, x) of ab");
        check("one _ two", "one  two");
        check("_\nline", "\nline");
        check("a: _ b", "a:  b");
        check("", "");
    }
}
