//! Labels in both languages, and short ways to write blocks.

use std::borrow::Cow;

use danlu_report::{Block, Column, Row, T, Table};

use crate::DuplicateKind;

pub(super) fn t(en: impl Into<Cow<'static, str>>, zh: impl Into<Cow<'static, str>>) -> T {
    T::new(en, zh)
}

/// Text that is the same in both languages.
pub(super) fn same(text: &str) -> T {
    T::same(text.to_owned())
}

pub(super) fn left(en: &'static str, zh: &'static str) -> Column {
    Column::left(t(en, zh))
}

pub(super) fn right(en: &'static str, zh: &'static str) -> Column {
    Column::right(t(en, zh))
}

pub(super) fn table(columns: impl IntoIterator<Item = Column>, rows: Vec<Vec<T>>) -> Block {
    let columns = columns.into_iter().collect();
    Block::Table(Table { caption: None, columns, rows: rows.into_iter().map(Row::new).collect() })
}

/// A statistic in words; an unknown one keeps its name.
pub(super) fn statistic(name: &str) -> T {
    let (en, zh) = match name {
        "char_count" => ("characters", "字符数"),
        "word_count" => ("words", "词数"),
        "mean_word_length" => ("mean word length", "平均词长"),
        "dup_line_ratio" => ("share of repeated lines", "重复行占比"),
        "non_alnum_ratio" => ("share of symbols", "符号占比"),
        "stopword_ratio" => ("share of stop words", "停用词占比"),
        "digit_ratio" => ("share of digits", "数字占比"),
        "lang_score" => ("certainty of the language", "语言识别置信度"),
        "pii_count" => ("places with personal data", "个人信息处数"),
        _ => return same(name),
    };
    t(en, zh)
}

pub(super) fn language(code: &str) -> T {
    let (en, zh) = match code {
        "en" => ("English", "英语"),
        "zh" => ("Chinese", "中文"),
        "und" => ("undetermined", "未定"),
        "" => ("not identified", "未识别"),
        super::super::snapshot::OTHERS => ("others", "其他"),
        _ => return same(code),
    };
    t(en, zh)
}

/// A step of cleaning.
pub(super) fn step(name: &str) -> T {
    let (en, zh) = match name {
        "repair" => ("repair", "修复"),
        "language" => ("language", "语言"),
        "length" => ("length", "长度"),
        "symbols" => ("symbols", "符号"),
        "repeated_lines" => ("repeated lines", "重复行"),
        "duplicates" => ("duplicates", "去重"),
        "forgotten" => ("forgotten", "已遗忘"),
        _ => return same(&name.replace('_', " ")),
    };
    t(en, zh)
}

/// Why documents were dropped.
pub(super) fn reason(code: &str) -> T {
    let (en, zh) = match code {
        "empty" => ("empty", "空白"),
        "unwanted_language" => ("unwanted language", "非所需语言"),
        "too_short" => ("too short", "过短"),
        "too_long" => ("too long", "过长"),
        "too_many_symbols" => ("too many symbols", "符号过多"),
        "repeated_lines" => ("repeated lines", "重复行过多"),
        "duplicate" => ("duplicate", "重复"),
        "near_duplicate" => ("near duplicate", "近似重复"),
        "forgotten" => ("forgotten", "已遗忘"),
        _ => return same(&code.replace('_', " ")),
    };
    t(en, zh)
}

/// In what way something is a duplicate.
pub(super) fn duplicate(kind: DuplicateKind) -> T {
    let (en, zh) = match kind {
        DuplicateKind::Exact => ("the same text", "文本相同"),
        DuplicateKind::Near => ("nearly the same (n-grams)", "近似（n 元组）"),
        DuplicateKind::Simhash => ("nearly the same (SimHash)", "近似（SimHash）"),
        DuplicateKind::ExactEarlier => ("the same text as in an earlier run", "与先前运行中的文本相同"),
        DuplicateKind::NearEarlier => ("nearly the same as in an earlier run", "与先前运行中的文本近似"),
        DuplicateKind::Paragraph => ("repeated paragraphs, cut", "重复段落（已剪除）"),
        DuplicateKind::Line => ("repeated lines, cut", "重复行（已剪除）"),
        DuplicateKind::Substring => ("repeated spans, cut", "重复片段（已剪除）"),
    };
    t(en, zh)
}

/// `all`, `source NAME` or `language CODE`.
pub(super) fn subject(name: &str) -> T {
    match name.split_once(' ') {
        Some(("source", source)) => t(format!("source {source}"), format!("来源 {source}")),
        Some(("language", code)) => {
            let name = language(code);
            t(name.en, name.zh)
        }
        _ if name == "all" => t("all", "全部"),
        _ => same(name),
    }
}
