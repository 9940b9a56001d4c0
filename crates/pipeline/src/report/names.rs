//! Names of stages, languages, splits and metrics in both languages.

use danlu_report::T;

use super::text::{same, t};

/// A stage of the graph; an unknown one keeps its own name.
pub fn stage(name: &str) -> T {
    let zh = match name {
        "collect" => "收集",
        "clean" => "清洗",
        "augment" => "增强",
        "tokenizer" => "分词器",
        "shard" | "shards" | "tokens" => "分片",
        "train" => "训练",
        "evaluate" | "eval" => "评估",
        "compress" => "压缩",
        "report" => "报告",
        _ => return same(name),
    };
    t(name.to_owned(), zh)
}

/// A language by its ISO 639-1 code; the code itself where no name is known.
pub fn language(code: &str) -> T {
    let (en, zh) = match code {
        "en" => ("English", "英语"),
        "zh" => ("Chinese", "中文"),
        "ja" => ("Japanese", "日语"),
        "ko" => ("Korean", "韩语"),
        "fr" => ("French", "法语"),
        "de" => ("German", "德语"),
        "es" => ("Spanish", "西班牙语"),
        "ru" => ("Russian", "俄语"),
        "und" => ("undetermined", "未定"),
        "" => ("not identified", "未识别"),
        _ => return same(code),
    };
    t(en, zh)
}

pub fn split(name: &str) -> T {
    let zh = match name {
        "train" => "训练",
        "valid" => "验证",
        "test" => "测试",
        _ => return same(name),
    };
    t(name.to_owned(), zh)
}

/// A state of a stage or run.
pub fn state(name: &str) -> T {
    let zh = match name {
        "done" => "完成",
        "reused" => "复用",
        "failed" => "失败",
        "running" => "进行中",
        "interrupted" => "中断",
        "skipped" => "跳过",
        _ => return same(name),
    };
    t(name.to_owned(), zh)
}

/// A step of cleaning, in the data room's names.
pub fn step(name: &str) -> T {
    let (en, zh) = match name {
        "repair" => ("repair", "修复"),
        "language" => ("language", "语言"),
        "length" => ("length", "长度"),
        "symbols" => ("symbols", "符号"),
        "repeated_lines" => ("repeated lines", "重复行"),
        "duplicates" => ("duplicates", "去重"),
        "missing" => ("missing values", "缺失值"),
        "outliers" => ("outliers", "离群值"),
        "decontaminate" => ("evaluation sets", "评测集去污"),
        _ => return same(&name.replace('_', " ")),
    };
    t(en, zh)
}

/// Why a document was dropped.
pub fn reason(code: &str) -> T {
    let (en, zh) = match code {
        "empty" => ("empty", "空白"),
        "empty_turn" => ("empty turn", "某轮对话为空"),
        "same_answers" => ("same answers", "两个回答相同"),
        "unwanted_language" => ("unwanted language", "非所需语言"),
        "too_short" => ("too short", "过短"),
        "too_long" => ("too long", "过长"),
        "too_many_symbols" => ("too many symbols", "符号过多"),
        "repeated_lines" => ("repeated lines", "重复行过多"),
        "duplicate" => ("duplicate", "重复"),
        "near_duplicate" => ("near duplicate", "近似重复"),
        "duplicate_parts" => ("duplicate parts only", "全为重复片段"),
        "contaminated" => ("in an evaluation set", "含评测集内容"),
        _ => return same(&code.replace('_', " ")),
    };
    t(en, zh)
}
