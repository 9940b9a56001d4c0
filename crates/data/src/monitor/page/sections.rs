//! The sections, in reading order.

use std::collections::BTreeMap;

use danlu_report::{Block, Funnel, FunnelStep, Sample, Section, T, number};

use super::names::{language, left, reason, right, same, step, t, table};
use super::{contamination, drift, duplicates, headline, licenses, spread};
use crate::Count;
use crate::monitor::report::{DataReport, DroppedSample, SourceCard};
use crate::monitor::snapshot::Snapshot;

/// Words and n-grams that are listed.
const WORDS: usize = 30;

pub(super) fn all(report: &DataReport) -> Vec<Section> {
    let mut all = vec![overview(report)];
    all.extend(report.drift.as_ref().map(drift::section));
    all.extend(report.funnel.as_ref().map(|funnel| cleaning(report, funnel)));
    all.extend(report.funnel.as_ref().and_then(|funnel| super::outliers::section(&funnel.outliers)));
    if !report.changes.is_empty() {
        all.push(changes(report));
    }
    all.extend(report.duplicates.as_ref().map(duplicates::section));
    all.extend(report.contamination.as_ref().map(contamination::section));
    all.push(spread::section(&report.snapshot, &report.outliers));
    all.extend(vocabulary(&report.snapshot));
    all.push(samples(&report.snapshot));
    all.push(card(report));
    all
}

fn overview(report: &DataReport) -> Section {
    let snapshot = &report.snapshot;
    let total = snapshot.total.documents.max(1) as f64;
    let row = |name: T, count: &Count| {
        vec![
            name,
            same(&number::grouped(count.documents)),
            same(&number::percent(count.documents as f64 / total)),
            same(&number::bytes(count.bytes)),
            same(&number::bytes(count.bytes / count.documents.max(1))),
        ]
    };
    let columns = |first| {
        [first, right("documents", "文档"), right("share", "占比"), right("text", "文本量"), right("mean", "平均")]
    };
    let sources = snapshot.by_source().into_iter().map(|(name, count)| row(same(name), &count)).collect();
    let languages = snapshot.by_language().into_iter().map(|(code, count)| row(language(code), &count)).collect();
    Section::new(t("Overview", "概览"))
        .block(headline(report))
        .block(table(columns(left("source", "来源")), sources))
        .block(table(columns(left("language", "语言")), languages))
}

fn cleaning(report: &DataReport, funnel: &crate::Funnel) -> Section {
    let first = FunnelStep { name: t("collected", "收集"), kept: funnel.collected.documents, dropped: Vec::new() };
    let steps = funnel.steps.iter().map(|one| {
        let mut dropped: BTreeMap<&str, u64> = BTreeMap::new();
        one.dropped.iter().for_each(|row| *dropped.entry(&row.reason).or_default() += row.count.documents);
        let dropped = dropped.into_iter().map(|(code, count)| (reason(code), count)).collect();
        FunnelStep { name: step(&one.step), kept: one.kept.documents, dropped }
    });
    let chart = Funnel {
        title: t("Documents left after each step", "各步骤后剩余的文档"),
        unit: t("documents", "文档"),
        steps: std::iter::once(first).chain(steps).collect(),
    };
    let mut rows = Vec::new();
    for one in &funnel.steps {
        for row in &one.dropped {
            rows.push(vec![
                step(&one.step),
                reason(&row.reason),
                same(&row.source),
                language(&row.language),
                same(&number::grouped(row.count.documents)),
                same(&number::bytes(row.count.bytes)),
            ]);
        }
    }
    let columns = [
        left("step", "步骤"),
        left("reason", "原因"),
        left("source", "来源"),
        left("language", "语言"),
        right("documents", "文档"),
        right("text", "文本量"),
    ];
    let changed = funnel.steps.iter().filter(|one| one.changed > 0);
    let changed = changed.map(|one| vec![step(&one.step), same(&number::grouped(one.changed))]).collect::<Vec<_>>();
    let mut section = Section::new(t("Cleaning", "清洗"))
        .note(t("Every document that is not here has a counted reason.", "每一条未保留的文档都有原因，且计入统计。"))
        .block(Block::Funnel(chart))
        .block(table(columns, rows));
    if !changed.is_empty() {
        section = section.block(table([left("step", "步骤"), right("changed documents", "改动的文档")], changed));
    }
    if !report.dropped.is_empty() {
        let blocks = vec![Block::Samples(report.dropped.iter().map(dropped).collect())];
        let count = report.dropped.len();
        let summary =
            t(format!("{count} dropped documents, drawn at random"), format!("随机抽取的 {count} 篇被丢弃文档"));
        section = section.block(Block::Details { summary, blocks });
    }
    section
}

fn dropped(sample: &DroppedSample) -> Sample {
    let (step, reason) = (step(&sample.step), reason(&sample.reason));
    let document = &sample.document;
    let note = |step: &str, reason: &str| {
        format!("{step}: {reason} · {} · {} · {}", sample.detail, document.source, document.id)
    };
    let note = Some(t(note(&step.en, &reason.en), note(&step.zh, &reason.zh)));
    Sample { prompt: String::new(), text: document.text.clone(), note }
}

fn changes(report: &DataReport) -> Section {
    let block = |change: &crate::monitor::report::Change| {
        let head = format!("@@ {} {} -> {}", change.source, change.original_id, change.id);
        Block::Code(std::iter::once(head).chain(change.diff.iter().cloned()).collect::<Vec<_>>().join("\n"))
    };
    let note = t(
        "Kept documents beside what was collected, drawn at random. Characters that cannot be seen are written out.",
        "随机抽取的保留文档与其原文对照；不可见字符以转义形式写出。",
    );
    report.changes.iter().map(block).fold(Section::new(t("Changed texts", "文本改动")).note(note), Section::block)
}

fn vocabulary(snapshot: &Snapshot) -> Option<Section> {
    let note = t(
        "Most frequent words and word sequences of each language; Chinese is cut into words.",
        "各语言最常见的词与词序列；中文先分词。",
    );
    let mut section = Section::new(t("Vocabulary", "词汇")).note(note);
    for (code, vocabulary) in &snapshot.vocabularies {
        let words = &vocabulary.words;
        if words.total == 0 {
            continue;
        }
        let share = |count: u64, all: u64| number::significant(count as f64 / all.max(1) as f64 * 1000.0, 3);
        let rows = (0..WORDS.min(words.top.len()))
            .map(|rank| {
                let cells = |top: &[(String, u64)], all: u64| match top.get(rank) {
                    Some((word, count)) => [same(word), same(&number::grouped(*count)), same(&share(*count, all))],
                    None => [same(""), same(""), same("")],
                };
                let [word, count, per_mille] = cells(&words.top, words.total);
                let [ngram, ngrams, ngram_share] = cells(&vocabulary.ngrams.top, vocabulary.ngrams.total);
                vec![word, count, per_mille, ngram, ngrams, ngram_share]
            })
            .collect();
        let columns = [
            left("word", "词"),
            right("count", "次数"),
            right("‰", "‰"),
            left("sequence", "序列"),
            right("count", "次数"),
            right("‰", "‰"),
        ];
        let name = language(code);
        let told = |count: &str, kinds: &str| {
            t(format!("{}: {count} words, {kinds} different", name.en), format!("{}：{count} 词，{kinds} 种", name.zh))
        };
        let summary = told(&number::grouped(words.total), &number::grouped(words.distinct));
        section = section.block(Block::Details { summary, blocks: vec![table(columns, rows)] });
    }
    (!section.blocks.is_empty()).then_some(section)
}

fn samples(snapshot: &Snapshot) -> Section {
    let sample = |document: &crate::monitor::snapshot::SampledDocument| {
        let name = language(&document.language);
        let note = |language: &str| format!("{} · {language} · {}", document.source, document.id);
        Sample { prompt: String::new(), text: document.text.clone(), note: Some(t(note(&name.en), note(&name.zh))) }
    };
    let all = snapshot.samples.iter().map(sample).collect();
    let summary = t("Documents drawn at random", "随机抽取的文档");
    Section::new(t("Samples", "样例")).block(Block::Details { summary, blocks: vec![Block::Samples(all)] })
}

fn card(report: &DataReport) -> Section {
    let (card, snapshot) = (&report.card, &report.snapshot);
    let mut pairs: Vec<(T, T)> = Vec::new();
    if snapshot.time.documents > 0 {
        let time = &snapshot.time;
        pairs.push((
            t("dates", "日期"),
            same(&format!("{} – {} ({})", time.first, time.last, number::grouped(time.documents))),
        ));
    }
    for (stage, key) in &card.artifacts {
        pairs.push((
            t(format!("artifact of {stage}"), format!("{stage} 产物")),
            same(&key.chars().take(16).collect::<String>()),
        ));
    }
    if !card.command.is_empty() {
        pairs.push((t("this page", "本页由此生成"), same(&card.command)));
    }
    let mut section = Section::new(t("Data card", "数据卡")).block(Block::KeyValues(pairs));
    if !card.sources.is_empty() {
        let columns = [
            left("source", "来源"),
            left("path", "路径"),
            left("license", "许可"),
            right("files", "文件"),
            right("documents", "文档"),
            right("text", "文本量"),
            right("unreadable", "无法读取"),
        ];
        section = section.block(table(columns, card.sources.iter().map(source).collect()));
    }
    if !card.licenses.is_empty() {
        section = licenses::blocks(&card.licenses).into_iter().fold(section, Section::block);
    }
    let hashes: Vec<Vec<T>> = match card.sources.is_empty() {
        true => snapshot.inputs.iter().map(|i| vec![same(&i.file.display().to_string()), same(&i.hash)]).collect(),
        false => card.sources.iter().flat_map(|s| &s.hashes).map(|(file, hash)| vec![same(file), same(hash)]).collect(),
    };
    if !hashes.is_empty() {
        let blocks = vec![table([left("file", "文件"), left("BLAKE3", "BLAKE3")], hashes)];
        section = section.block(Block::Details { summary: t("Content hashes", "内容哈希"), blocks });
    }
    if !card.filters.is_null() {
        let text = serde_json::to_string_pretty(&card.filters).unwrap_or_default();
        section = section
            .block(Block::Details {
                summary: t("Settings of cleaning", "清洗设置"), blocks: vec![Block::Code(text)]
            });
    }
    section
}

fn source(source: &SourceCard) -> Vec<T> {
    vec![
        same(&source.name),
        same(&source.path),
        source.license.as_deref().map_or_else(|| t("not stated", "未注明"), same),
        same(&number::grouped(source.files)),
        same(&number::grouped(source.documents)),
        same(&number::bytes(source.bytes)),
        same(&number::grouped(source.problems)),
    ]
}
