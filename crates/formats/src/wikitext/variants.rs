//! Chinese text in several forms: `-{zh-hans:计算机;zh-hant:電腦}-`.

use serde::{Deserialize, Serialize};

/// A form of written Chinese.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    #[default]
    ZhHans,
    ZhHant,
    ZhCn,
    ZhTw,
    ZhHk,
    ZhMo,
    ZhSg,
    ZhMy,
}

impl Variant {
    /// The codes that may serve, the best first (MediaWiki's fallbacks).
    fn codes(self) -> &'static [&'static str] {
        match self {
            Self::ZhHans => &["zh-hans", "zh-cn", "zh-sg", "zh-my", "zh"],
            Self::ZhCn => &["zh-cn", "zh-hans", "zh-sg", "zh-my", "zh"],
            Self::ZhSg => &["zh-sg", "zh-hans", "zh-cn", "zh-my", "zh"],
            Self::ZhMy => &["zh-my", "zh-hans", "zh-sg", "zh-cn", "zh"],
            Self::ZhHant => &["zh-hant", "zh-tw", "zh-hk", "zh-mo", "zh"],
            Self::ZhTw => &["zh-tw", "zh-hant", "zh-hk", "zh-mo", "zh"],
            Self::ZhHk => &["zh-hk", "zh-hant", "zh-mo", "zh-tw", "zh"],
            Self::ZhMo => &["zh-mo", "zh-hant", "zh-hk", "zh-tw", "zh"],
        }
    }
}

/// What the content of `-{...}-` shows: flags such as `T|` (the title) and `H|` (a rule for the rest of the page) show
/// nothing, rules show the variant's form, and anything else is text that must not be converted.
pub(super) fn choose(content: &str, variant: Variant) -> String {
    let (flags, text) = match content.split_once('|') {
        Some((flags, text)) if flags.split(';').all(is_flag) => (flags, text),
        _ => ("", content),
    };
    let mut flags = flags.split(';').map(str::trim);
    if flags.clone().any(|flag| matches!(flag, "T" | "H" | "-" | "D" | "N")) {
        return String::new();
    }
    if flags.any(|flag| flag == "R") {
        return text.to_owned();
    }
    let rules = rules(text);
    let form = variant.codes().iter().find_map(|code| rules.iter().find(|(of, _)| of == code));
    match form.or(rules.first()) {
        Some((_, form)) => form.trim().to_owned(),
        None => text.to_owned(),
    }
}

fn is_flag(flag: &str) -> bool {
    let flag = flag.trim();
    flag.is_empty() || matches!(flag, "A" | "T" | "R" | "D" | "-" | "H" | "N" | "+" | "S" | "F") || is_code(flag)
}

/// "zh", "zh-hans", "sr-ec": a language with a variant.
fn is_code(code: &str) -> bool {
    (code == "zh" || code.contains('-'))
        && code.len() <= 12
        && code.split('-').next().is_some_and(|language| matches!(language.len(), 2..=3))
        && code.split('-').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// The rules `code:form; code:form`. A semicolon that no code follows belongs to the form (`&nbsp;`).
fn rules(text: &str) -> Vec<(String, String)> {
    let mut rules: Vec<(String, String)> = Vec::new();
    for part in text.split(';') {
        // `a=>zh-cn:b` converts one way.
        let rule = part.split_once("=>").map_or(part, |(_, rule)| rule);
        match rule.split_once(':') {
            Some((code, form)) if is_code(code.trim()) => rules.push((code.trim().to_owned(), form.to_owned())),
            _ => match rules.last_mut() {
                Some((_, form)) if !part.trim().is_empty() => {
                    form.push(';');
                    form.push_str(part);
                }
                Some(_) => {}
                None => return rules,
            },
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::{Variant, choose};

    fn check(content: &str, variant: Variant, expect: &str) {
        assert_eq!(choose(content, variant), expect, "{content:?} as {variant:?}");
    }

    #[test]
    fn forms() {
        let computer = "zh-hans:计算机; zh-hant:電腦; zh-hk:電腦;";
        check(computer, Variant::ZhHans, "计算机");
        check(computer, Variant::ZhCn, "计算机");
        check(computer, Variant::ZhTw, "電腦");
        check("zh-cn:内存; zh-tw:記憶體", Variant::ZhHans, "内存");
        check("zh-cn:内存; zh-tw:記憶體", Variant::ZhHk, "記憶體");
        check("zh-tw:只有臺灣", Variant::ZhCn, "只有臺灣");
        check("zh-hans:A&nbsp;B; zh-hant:C", Variant::ZhHans, "A&nbsp;B");
        check("電腦=>zh-cn:计算机; zh-tw:電腦", Variant::ZhCn, "计算机");
    }

    #[test]
    fn flags() {
        check("T|zh-hans:标题; zh-hant:標題", Variant::ZhHans, "");
        check("H|zh-hans:规则; zh-hant:規則", Variant::ZhHans, "");
        check("A|zh-hans:显示; zh-hant:顯示", Variant::ZhHant, "顯示");
        check("R|raw: text", Variant::ZhHant, "raw: text");
        check("zh-hans;zh-hant|简单", Variant::ZhHant, "简单");
        check("不转换", Variant::ZhHans, "不转换");
        check("not|flags", Variant::ZhHans, "not|flags");
        check("http://example.org/a;b", Variant::ZhHans, "http://example.org/a;b");
        check("", Variant::ZhHans, "");
    }
}
