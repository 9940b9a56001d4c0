//! What moved since the snapshot that this one is compared with.

use danlu_report::{Bar, BarChart, Block, Row, Section, T, Table, number};

use super::names::{language, left, right, same, statistic, subject, t, table};
use crate::monitor::drift::{Drift, StatisticDrift, Violation};

/// Bars of the chart of statistics.
const BARS: usize = 12;

pub(super) fn section(drift: &Drift) -> Section {
    let note = t(
        "PSI is the population stability index over tenths of the accepted data; KS is the Kolmogorov-Smirnov distance.",
        "PSI 为以对照数据十分位分箱的群体稳定性指数；KS 为柯尔莫哥洛夫-斯米尔诺夫距离。",
    );
    let mut section = Section::new(t("Drift", "漂移")).note(note);
    if drift.violations.is_empty() {
        section = section.block(Block::Text(t("✓ nothing moved beyond its threshold", "✓ 各项均未超出阈值")));
    }
    for violation in &drift.violations {
        let zh = chinese(violation);
        section = section.block(Block::Text(t(format!("✗ {}", violation.reason), format!("✗ {zh}"))));
    }
    let mut worst: Vec<&StatisticDrift> = drift.statistics.iter().collect();
    let over = |one: &StatisticDrift| (one.psi / one.psi_limit.max(1e-9)).max(one.ks / one.ks_limit.max(1e-9));
    worst.sort_by(|a, b| over(b).total_cmp(&over(a)));
    section = section.block(Block::BarChart(BarChart {
        title: t("Statistics that moved most", "变动最大的统计量"),
        x_label: t("PSI; dark bars are beyond their threshold", "PSI；深色表示超出阈值"),
        bars: worst.iter().take(BARS).map(|one| bar(one)).collect(),
    }));
    let blocks = vec![statistics(&worst)];
    section = section.block(Block::Details { summary: t("All statistics", "全部统计量"), blocks });
    section = section.block(shares(drift));
    for vocabulary in &drift.vocabularies {
        let name = language(&vocabulary.language);
        let value = number::significant(vocabulary.words, 3);
        let summary = t(format!("Words of {}: divergence {value}", name.en), format!("{}用词：散度 {value}", name.zh));
        let per_mille = |share: f64| same(&number::significant(share * 1000.0, 3));
        let rows =
            vocabulary.shifts.iter().map(|(word, a, b)| vec![same(word), per_mille(*a), per_mille(*b)]).collect();
        let columns = [left("word", "词"), right("before ‰", "此前 ‰"), right("now ‰", "现在 ‰")];
        section = section.block(Block::Details { summary, blocks: vec![table(columns, rows)] });
    }
    if !drift.not_judged.is_empty() {
        let blocks = vec![Block::Code(drift.not_judged.join("\n"))];
        section = section.block(Block::Details { summary: t("Not judged", "未作判断"), blocks });
    }
    section
}

/// The reason in Chinese; the snapshot's own is English.
fn chinese(violation: &Violation) -> String {
    let (value, limit) = (number::significant(violation.value, 3), number::significant(violation.limit, 3));
    let points = |share: f64| format!("{:.1} 个百分点", share * 100.0);
    let of = subject(&violation.subject).zh;
    match violation.threshold.as_str() {
        "volume" => {
            let what = if violation.subject == "bytes" { "字节数" } else { "文档数" };
            let way = if violation.value < 0.0 { "减少" } else { "增加" };
            let percent = |share: f64| format!("{:.0}%", share.abs() * 100.0);
            format!("{what}{way}了 {}，允许 {}", percent(violation.value), percent(violation.limit))
        }
        "allow_new" => format!("新出现{of}，共 {value} 篇文档"),
        "allow_vanished" => format!("{of}已消失，此前有 {value} 篇文档"),
        "share_psi" => {
            let what = if violation.subject == "languages" { "语言" } else { "来源" };
            format!("各{what}的占比变动：PSI {value}，阈值 {limit}")
        }
        "vocabulary" => format!("{of}用词变动：散度 {value}，阈值 {limit}"),
        "repeats" => format!("重复文本的占比上升 {}，允许 {}", points(violation.value), points(violation.limit)),
        "problems" => format!("无法读取的记录占比上升 {}，允许 {}", points(violation.value), points(violation.limit)),
        name => {
            let what = violation.statistic.as_deref().map_or_else(|| "".into(), |name| statistic(name).zh);
            format!("{of}的{what}变动：{} {value}，阈值 {limit}", name.to_uppercase())
        }
    }
}

fn beyond(one: &StatisticDrift) -> bool {
    one.psi > one.psi_limit || one.ks > one.ks_limit
}

fn label(one: &StatisticDrift) -> T {
    let (name, of) = (statistic(&one.statistic), subject(&one.subject));
    t(format!("{}, {}", name.en, of.en), format!("{}，{}", name.zh, of.zh))
}

fn bar(one: &StatisticDrift) -> Bar {
    let display = Some(number::significant(one.psi, 3));
    Bar { label: label(one), value: one.psi, display, strong: beyond(one) }
}

fn statistics(all: &[&StatisticDrift]) -> Block {
    let figure = |value: f64| same(&number::significant(value, 3));
    let rows = all
        .iter()
        .map(|one| {
            let mut cells =
                vec![label(one), figure(one.psi), figure(one.psi_limit), figure(one.ks), figure(one.ks_limit)];
            cells.extend([one.mean.0, one.mean.1, one.quantiles.0[1], one.quantiles.1[1]].map(figure));
            Row { cells, strong: beyond(one) }
        })
        .collect();
    let columns = vec![
        left("statistic", "统计量"),
        right("PSI", "PSI"),
        right("limit", "阈值"),
        right("KS", "KS"),
        right("limit", "阈值"),
        right("mean before", "此前均值"),
        right("now", "现在"),
        right("median before", "此前中位数"),
        right("now", "现在"),
    ];
    Block::Table(Table { caption: None, columns, rows })
}

fn shares(drift: &Drift) -> Block {
    let share = |part: u64, all: u64| same(&number::percent(part as f64 / all.max(1) as f64));
    let of = |label: T, before: u64, after: u64| {
        vec![
            label,
            same(&number::grouped(before)),
            share(before, drift.accepted.documents),
            same(&number::grouped(after)),
            share(after, drift.delivered.documents),
        ]
    };
    let mut rows = vec![of(t("all", "全部"), drift.accepted.documents, drift.delivered.documents)];
    for one in &drift.sources {
        rows.push(of(t(format!("source {}", one.name), format!("来源 {}", one.name)), one.accepted, one.delivered));
    }
    rows.extend(drift.languages.iter().map(|one| of(language(&one.name), one.accepted, one.delivered)));
    let columns = [
        left("documents of", "文档"),
        right("before", "此前"),
        right("share", "占比"),
        right("now", "现在"),
        right("share", "占比"),
    ];
    table(columns, rows)
}
