//! What `danlu_report::number` does not say: shares, changes, keys, excerpts.

use danlu_report::number::percent;

/// Part of a whole; a dash for nothing of nothing.
pub fn share(part: u64, whole: u64) -> String {
    percent(if whole == 0 { f64::NAN } else { part as f64 / whole as f64 })
}

/// A relative change as `+0.31%` or `−4.20%`.
pub fn change(before: f64, after: f64) -> String {
    let percent = (after / before - 1.0) * 100.0;
    if !percent.is_finite() {
        return "–".into();
    }
    let sign = if percent < 0.0 { "−" } else { "+" };
    format!("{sign}{:.2}%", percent.abs())
}

/// The first 12 characters of a content key.
pub fn key(key: &str) -> String {
    key.chars().take(12).collect()
}

/// At most `limit` characters of a text, with an ellipsis where it was cut.
pub fn excerpt(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_changes_and_excerpts() {
        assert_eq!([share(1, 0), share(1, 3)], ["–", "33.3%"]);
        assert_eq!([change(2.0, 2.01), change(2.0, 1.5), change(0.0, 0.0)], ["+0.50%", "−25.00%", "–"]);
        assert_eq!([excerpt("白日依山尽", 2), excerpt("白日", 2)], ["白日…", "白日"]);
        assert_eq!(key("0123456789abcdef"), "0123456789ab");
    }
}
