//! robots.txt as RFC 9309 has it.

use std::time::Duration;

/// More of a robots.txt is not looked at (RFC 9309 asks for at least 500 KiB).
pub(super) const MAX_ROBOTS_BYTES: u64 = 512 << 10;

/// What a robots.txt lets one crawler do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Robots {
    rules: Vec<Rule>,
    /// `Crawl-delay`, which is no part of the RFC but widely used.
    pub(super) crawl_delay: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    allow: bool,
    pattern: String,
}

impl Robots {
    /// The rules for a crawler by its product token (`danlu`): those of all groups that name it or, where none does, of
    /// the groups for `*`.
    pub(super) fn parse(text: &str, token: &str) -> Self {
        let (mut own, mut general) = (None, Self::default());
        let mut named = Vec::new();
        let mut in_rules = false;
        for line in text.trim_start_matches('\u{FEFF}').lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            if key == "user-agent" {
                if std::mem::take(&mut in_rules) {
                    named.clear();
                }
                named.push(value.split(['/', ' ']).next().unwrap_or_default().to_ascii_lowercase());
                continue;
            }
            if !matches!(key.as_str(), "allow" | "disallow" | "crawl-delay") {
                continue; // `Sitemap` and the like belong to no group
            }
            in_rules = true;
            if named.iter().any(|name| name.eq_ignore_ascii_case(token)) {
                own.get_or_insert_with(Self::default).add(&key, value);
            }
            if named.iter().any(|name| name == "*") {
                general.add(&key, value);
            }
        }
        own.unwrap_or(general)
    }

    fn add(&mut self, key: &str, value: &str) {
        match key {
            "crawl-delay" => {
                let delay = value.parse::<f64>().ok().filter(|seconds| (0.0..86_400.0).contains(seconds));
                self.crawl_delay = delay.map(Duration::from_secs_f64);
            }
            // An empty rule says nothing.
            _ if !value.is_empty() => self.rules.push(Rule { allow: key == "allow", pattern: encoded(value) }),
            _ => {}
        }
    }

    /// Whether a path with its query may be fetched: the longest pattern that matches decides, and of two the one that
    /// allows.
    pub(super) fn allows(&self, path: &str) -> bool {
        let path = encoded(path);
        let matching = self.rules.iter().filter(|rule| matches(&rule.pattern, &path));
        path == "/robots.txt" || matching.max_by_key(|rule| (rule.pattern.len(), rule.allow)).is_none_or(|r| r.allow)
    }
}

/// Percent-encodes what is not ASCII and writes other escapes in one way, so that patterns and paths compare by octets.
fn encoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digits = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        let escape = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| bytes[index] == b'%');
        let byte = escape.unwrap_or(bytes[index]);
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || (escape.is_none() && byte.is_ascii_graphic()) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
        index += if escape.is_some() { 3 } else { 1 };
    }
    out
}

/// `*` stands for any characters, `$` at the end for the end; otherwise a pattern matches what begins with it. Takes
/// time in the product of both lengths at most.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, anchored) = pattern.strip_suffix('$').map_or((pattern, false), |pattern| (pattern, true));
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return !anchored || rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    if anchored { rest.ends_with(last) } else { rest.contains(last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, path: &str, allowed: bool) {
        assert_eq!(Robots::parse(text, "danlu").allows(path), allowed, "{path} by {text:?}");
    }

    #[test]
    fn the_most_specific_group_and_the_longest_rule_decide() {
        let text = "User-agent: *\nDisallow: /\n\nUser-Agent: other\nUser-agent: Danlu/1.0 # us\nAllow: /p\nDisallow: /p/private\nDisallow:\n";
        check(text, "/", true);
        check(text, "/p/1", true);
        check(text, "/p/private/x", false);
        check(text, "/q", true);
        assert!(!Robots::parse(text, "unnamed").allows("/p/1"));
        assert!(Robots::parse(text, "unnamed").allows("/robots.txt"));
        check("", "/x", true);
        check("Disallow: /\n", "/x", true); // belongs to no group
        check("user-agent: *\ndisallow: /a\nallow: /a\n", "/a", true);
        // Two groups for one crawler count together.
        check(
            "user-agent: danlu\ndisallow: /a\nuser-agent: x\ndisallow: /b\nuser-agent: danlu\ndisallow: /c",
            "/c",
            false,
        );
        check(
            "user-agent: danlu\ndisallow: /a\nuser-agent: x\ndisallow: /b\nuser-agent: danlu\ndisallow: /c",
            "/b",
            true,
        );
        let delays = Robots::parse("user-agent: *\ncrawl-delay: 2.5", "danlu");
        assert_eq!(delays.crawl_delay, Some(Duration::from_millis(2500)));
        assert_eq!(Robots::parse("user-agent: *\ncrawl-delay: never", "danlu").crawl_delay, None);
    }

    #[test]
    fn patterns_have_stars_ends_and_escapes() {
        let rule = |pattern: &str| format!("user-agent: *\ndisallow: {pattern}\n");
        check(&rule("/*.pdf$"), "/a/b.pdf", false);
        check(&rule("/*.pdf$"), "/a/b.pdf?x=1", true);
        check(&rule("/a*b*c"), "/aXbYYcZ", false);
        check(&rule("/a*b*c"), "/aXcYYb", true);
        check(&rule("/fish$"), "/fish", false);
        check(&rule("/fish$"), "/fishes", true);
        check(&rule("/*"), "/", false);
        check(&rule("/春"), "/%E6%98%A5/1", false);
        check(&rule("/%e6%98%a5"), "/春", false);
        check(&rule("/a%62"), "/ab", false);
        check(&rule("/a%2Fb"), "/a/b", true);
        check(&rule("/%zz"), "/%zz", false);
    }
}
