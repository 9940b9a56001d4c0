//! The sections around the model: data, tokenizer, stages, recipe, machine.

use std::collections::BTreeMap;

use danlu_data::{AugmentCount, AugmentSummary, Count, DroppedDocument, StepFunnel};
use danlu_report::{Block, Column, Funnel, FunnelStep, Section, T};

use super::card::plain;
use super::format::{excerpt, key, share};
use super::names::{language, reason, split, stage, state, step};
use super::text::{left, right, same, t, table, table_with_total};
use super::{CommandFacts, DataFacts, RunReport, StageFacts, TokenizerFacts};
use danlu_report::number::{bytes, duration, grouped, percent, significant};

/// Characters of a dropped document that are shown.
const EXCERPT: usize = 240;

pub fn data_section(data: &DataFacts) -> Section {
    let mut blocks = vec![funnel(data), table(source_headers(), source_rows(data))];
    blocks.push(table(drop_headers(), drop_rows(data)));
    blocks.push(table_with_total(kept_headers(), kept_rows(data)));
    blocks.push(table(split_headers(), split_rows(data)));
    blocks.extend(data.copies.as_ref().map(copies));
    if !data.dropped_samples.is_empty() {
        blocks.push(dropped_samples(data));
    }
    Section {
        title: t("Data", "数据"),
        note: Some(t(
            "Nothing is dropped silently: every dropped document has a step and a reason.",
            "没有文档被悄悄丢弃：每篇被丢弃的文档都有步骤和原因。",
        )),
        blocks,
    }
}

fn dropped_samples(data: &DataFacts) -> Block {
    let row = |dropped: &DroppedDocument| {
        vec![
            step(&dropped.step),
            reason(&dropped.reason),
            same(&dropped.detail),
            same(&dropped.document.source),
            same(&excerpt(&dropped.document.text, EXCERPT)),
        ]
    };
    let columns = [
        left("Step", "步骤"),
        left("Reason", "原因"),
        left("Measured", "测得"),
        left("Source", "来源"),
        left("Text", "文本"),
    ];
    Block::Details {
        summary: t("Some dropped documents", "部分被丢弃的文档"),
        blocks: vec![table(columns, data.dropped_samples.iter().map(row).collect())],
    }
}

/// Documents left after each step, the first being all that were read.
fn funnel(data: &DataFacts) -> Block {
    let read = FunnelStep { name: t("read", "读入"), kept: data.funnel.collected.documents, dropped: Vec::new() };
    let mut steps = vec![read];
    steps.extend(data.funnel.steps.iter().map(|of| FunnelStep {
        name: step(&of.step),
        kept: of.kept.documents,
        dropped: by_reason(of).iter().map(|(code, count)| (reason(code), count.documents)).collect(),
    }));
    let title = t("From the sources to the corpus", "从来源到语料");
    Block::Funnel(Funnel { title, unit: t("documents", "文档"), steps })
}

/// What a step dropped, languages and sources taken together.
fn by_reason(of: &StepFunnel) -> BTreeMap<&str, Count> {
    let mut all: BTreeMap<&str, Count> = BTreeMap::new();
    for row in &of.dropped {
        let sum = all.entry(&row.reason).or_default();
        sum.documents += row.count.documents;
        sum.bytes += row.count.bytes;
    }
    all
}

fn source_headers() -> [Column; 6] {
    [
        left("Source", "来源"),
        left("Path", "路径"),
        left("License", "许可"),
        right("Documents read", "读入文档"),
        right("Bytes", "字节"),
        right("Unreadable records", "不可读记录"),
    ]
}

fn source_rows(data: &DataFacts) -> Vec<Vec<T>> {
    let row = |source: &super::SourceFacts| {
        let read = data.collected.sources.get(&source.name).cloned().unwrap_or_default();
        vec![
            same(&source.name),
            same(&source.path),
            match &source.license {
                Some(license) => same(license),
                None => t("not stated", "未注明"),
            },
            same(&grouped(read.documents)),
            same(&bytes(read.bytes)),
            same(&grouped(read.problems)),
        ]
    };
    data.sources.iter().map(row).collect()
}

fn drop_headers() -> [Column; 5] {
    [
        left("Step", "步骤"),
        left("Reason", "原因"),
        right("Documents dropped", "丢弃文档"),
        right("Of those that entered", "占进入该步骤的"),
        right("Bytes dropped", "丢弃字节"),
    ]
}

/// One row a reason; a step that dropped nothing says what it changed.
fn drop_rows(data: &DataFacts) -> Vec<Vec<T>> {
    let mut rows = Vec::new();
    for of in &data.funnel.steps {
        let row = |why: T, dropped: Count| {
            vec![
                step(&of.step),
                why,
                same(&grouped(dropped.documents)),
                same(&share(dropped.documents, of.entered.documents)),
                same(&bytes(dropped.bytes)),
            ]
        };
        let reasons = by_reason(of);
        if reasons.is_empty() {
            let changed = grouped(of.changed);
            rows.push(row(t(format!("none; changed {changed}"), format!("无；改动 {changed} 篇")), Count::default()));
        }
        rows.extend(reasons.into_iter().map(|(code, dropped)| row(reason(code), dropped)));
    }
    rows
}

fn kept_headers() -> [Column; 5] {
    [
        left("Language or source", "语言或来源"),
        right("Documents read", "读入文档"),
        right("Kept", "保留"),
        right("Kept, share", "保留比例"),
        right("Bytes kept", "保留字节"),
    ]
}

fn kept_rows(data: &DataFacts) -> Vec<Vec<T>> {
    let row = |name: T, collected: Count, kept: Count| {
        vec![
            name,
            same(&grouped(collected.documents)),
            same(&grouped(kept.documents)),
            same(&share(kept.documents, collected.documents)),
            same(&bytes(kept.bytes)),
        ]
    };
    let mut rows = vec![row(t("All", "全部"), data.funnel.collected, data.funnel.kept)];
    rows.extend(data.funnel.by_language().iter().map(|(code, of)| row(language(code), of.collected, of.kept)));
    rows.extend(
        data.funnel
            .by_source()
            .iter()
            .map(|(name, of)| row(t(format!("source {name}"), format!("来源 {name}")), of.collected, of.kept)),
    );
    rows
}

/// Changed copies of the documents to train on, by what was done to them.
fn copies(made: &AugmentSummary) -> Block {
    let row = |(kind, count): (&String, &AugmentCount)| {
        let why: Vec<String> = count.skipped.iter().map(|(why, n)| format!("{why} {}", grouped(*n))).collect();
        vec![
            same(&kind.replace('_', " ")),
            same(&grouped(count.made)),
            same(&percent(count.mean_edit_ratio)),
            same(&why.join(", ").replace('_', " ")),
        ]
    };
    let columns = [
        left("Copies to train on", "训练用副本"),
        right("Made", "生成"),
        right("Changed", "改动"),
        left("Not made", "未能生成"),
    ];
    table(columns, made.kinds.iter().map(row).collect())
}

fn split_headers() -> [Column; 4] {
    [left("Split", "划分"), right("Documents", "文档"), right("Bytes", "字节"), right("Tokens", "词元")]
}

fn split_rows(data: &DataFacts) -> Vec<Vec<T>> {
    let row = |name: &str| {
        let of = data.funnel.split(name);
        let tokens = data.tokens.get(name).map_or_else(|| "–".into(), |&tokens| grouped(tokens));
        vec![split(name), same(&grouped(of.documents)), same(&bytes(of.bytes)), same(&tokens)]
    };
    ["train", "valid", "test"].into_iter().map(row).collect()
}

pub fn tokenizer_section(tokenizer: &TokenizerFacts) -> Section {
    let ratio = |part: u64, whole: u64| {
        let text = if whole == 0 { "–".into() } else { significant(part as f64 / whole as f64, 3) };
        same(&text)
    };
    let rows = tokenizer
        .by_language
        .iter()
        .map(|(code, row)| {
            vec![
                language(code),
                same(&grouped(row.documents)),
                same(&bytes(row.bytes)),
                same(&grouped(row.tokens)),
                ratio(row.bytes, row.tokens),
            ]
        })
        .collect();
    let headers = [
        left("Language", "语言"),
        right("Documents", "文档"),
        right("Bytes", "字节"),
        right("Tokens", "词元"),
        right("Bytes per token", "字节/词元"),
    ];
    let facts = vec![
        (t("Kind", "类型"), t("byte-level BPE", "字节级 BPE")),
        (t("Vocabulary", "词表"), same(&grouped(tokenizer.vocab_size as u64))),
        (t("Measured on", "测量于"), split(&tokenizer.measured_on)),
        (t("Unknown tokens", "未知词元"), same(&grouped(tokenizer.unknown_tokens))),
        (
            t("Documents that do not come back exactly", "不能精确还原的文档"),
            same(&grouped(tokenizer.round_trip_failures)),
        ),
        (t("Hash of tokenizer.json", "tokenizer.json 哈希"), same(&key(&tokenizer.hash))),
    ];
    Section {
        title: t("Tokenizer", "分词器"),
        note: Some(t(
            "More bytes per token means shorter sequences for the same text.",
            "每词元字节越多，同样的文本序列越短。",
        )),
        blocks: vec![Block::KeyValues(facts), table(headers, rows)],
    }
}

pub fn stages_section(stages: &[StageFacts]) -> Section {
    let total: f64 = stages.iter().map(|stage| stage.seconds).sum();
    let rows = stages
        .iter()
        .map(|s| {
            vec![
                stage(&s.stage),
                state(&s.state),
                same(&duration(s.seconds)),
                same(&percent(if total > 0.0 { s.seconds / total } else { f64::NAN })),
                same(s.reason.as_deref().unwrap_or("")),
            ]
        })
        .collect();
    let headers = [
        left("Stage", "阶段"),
        left("State", "状态"),
        right("Wall time", "耗时"),
        right("Share", "占比"),
        left("Why", "原因"),
    ];
    Section {
        title: t("Stages and wall time", "阶段与耗时"),
        note: Some(t(
            "A reused stage cost this run nothing: the time is what it took when it was made.",
            "复用的阶段在本次运行中不耗时：所列为当初生成时的耗时。",
        )),
        blocks: vec![table(headers, rows)],
    }
}

pub fn lineage_section(stages: &[StageFacts]) -> Section {
    let rows = stages
        .iter()
        .map(|s| {
            let inputs: Vec<String> =
                s.inputs.iter().map(|(name, made_of)| format!("{name} {}", key(made_of))).collect();
            vec![stage(&s.stage), same(&key(&s.key)), same(&inputs.join(", "))]
        })
        .collect();
    Section {
        title: t("Lineage", "谱系"),
        note: Some(t(
            "Each artifact is named by the hash of its configuration and inputs; the same key means the same content.",
            "每个产物以其配置与输入的哈希命名；键相同则内容相同。",
        )),
        blocks: vec![table([left("Stage", "阶段"), left("Key", "键"), left("Made from", "来自")], rows)],
    }
}

pub fn recipe_section(recipe: &str) -> Section {
    Section {
        title: t("Recipe, resolved", "完整配方"),
        note: Some(t("Defaults included.", "含默认值。")),
        blocks: vec![Block::Details {
            summary: t("Show the recipe", "显示配方"),
            blocks: vec![Block::Code(recipe.to_owned())],
        }],
    }
}

pub fn environment_section(report: &RunReport) -> Section {
    let mut facts = vec![(t("Run", "运行"), same(&report.run.id)), (t("Started", "开始"), same(&report.run.started))];
    facts.extend(report.run.ended.as_ref().map(|ended| (t("Ended", "结束"), same(ended))));
    facts.push((t("Seed", "种子"), same(&report.run.seed.to_string())));
    facts.push((same("danlu"), same(&report.run.danlu_version)));
    facts.extend(report.environment.iter().map(|(name, value)| (same(name), environment_value(name, value))));
    Section { title: t("Environment", "环境"), note: None, blocks: vec![Block::KeyValues(facts)] }
}

fn environment_value(name: &str, value: &serde_json::Value) -> T {
    match value.as_u64() {
        Some(size) if name.contains("bytes") => same(&bytes(size)),
        _ => same(&plain(value)),
    }
}

pub fn commands_section(commands: &[CommandFacts]) -> Section {
    let block = |command: &CommandFacts| -> [Block; 2] {
        [Block::Text(t(command.prints_en.clone(), command.prints_zh.clone())), Block::Code(command.command.clone())]
    };
    Section {
        title: t("Commands that print these figures", "打印这些数字的命令"),
        note: None,
        blocks: commands.iter().flat_map(block).collect(),
    }
}
