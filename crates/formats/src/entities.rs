use std::borrow::Cow;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

/// The longest name of a character reference: `&CounterClockwiseContourIntegral;`.
const MAX_NAME: usize = 32;

/// Replaces character references (`&amp;`, `&#8211;`, `&nbsp;`) by their characters. Others stay as they are.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name_end = rest[1..].bytes().take(MAX_NAME).position(|byte| !byte.is_ascii_alphanumeric() && byte != b'#');
        let name = name_end.map(|end| &rest[1..=end]).filter(|name| rest[1 + name.len()..].starts_with(';'));
        match name.and_then(|name| Some((name, resolve(name)?))) {
            Some((name, value)) => {
                out.push_str(&value);
                rest = &rest[name.len() + 2..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What `&name;` stands for.
pub(crate) fn resolve(name: &str) -> Option<Cow<'static, str>> {
    let common = match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        "nbsp" | "#160" => "\u{A0}",
        "ndash" => "–",
        "mdash" => "—",
        _ => return by_standard(name).map(Cow::Owned),
    };
    Some(Cow::Borrowed(common))
}

/// The HTML standard's table, as the tokenizer knows it.
fn by_standard(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'#') {
        return None;
    }
    let reference = format!("&{name};");
    let take = |event: CallbackEvent<'_>, _: Span<()>| match event {
        CallbackEvent::String { value } => Some(String::from_utf8_lossy(value).into_owned()),
        _ => None,
    };
    let pieces = Tokenizer::new_with_emitter(&reference, CallbackEmitter::new(take));
    let value: String = pieces.filter_map(Result::ok).collect();
    (value != reference && !value.ends_with(';')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::decode;

    fn check(text: &str, expect: &str) {
        assert_eq!(decode(text), expect, "{text:?}");
    }

    #[test]
    fn references() {
        check("no reference", "no reference");
        check("a &amp; b &lt;c&gt;", "a & b <c>");
        check("&#20013;&#x6587;&nbsp;&hellip;&eacute;", "中文\u{A0}…é");
        check("AT&T & &; &unknown; &#xZZ; &amp", "AT&T & &; &unknown; &#xZZ; &amp");
        check("&amp;lt;", "&lt;"); // once, not twice
        check("&#128;", "€"); // as windows-1252, like browsers
    }
}
