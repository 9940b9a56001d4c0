//! The page: what the data is, what happened to it, how it is spread, and what moved.

mod contamination;
mod drift;
mod duplicates;
mod licenses;
mod names;
mod outliers;
mod sections;
mod spread;

use danlu_report::{Block, Figure, Page, T, number};

use super::report::DataReport;
use names::{same, t};

/// The report as one HTML file that needs no network.
pub fn data_page(report: &DataReport) -> String {
    let mut page = Page::new(t(format!("{}: the data", report.title), format!("{}：数据", report.title)))
        .lead(lead(report))
        .fact(same("danlu"), same(&report.card.danlu_version));
    if let Some(collected) = &report.card.collected {
        page = page.fact(t("Collected", "收集于"), same(collected));
    }
    sections::all(report).into_iter().fold(page, Page::section).html()
}

fn lead(report: &DataReport) -> T {
    let total = report.snapshot.total;
    let (documents, bytes) = (number::grouped(total.documents), number::bytes(total.bytes));
    match report.drift.as_ref().map(|drift| drift.violations.len()) {
        Some(0) => t(
            format!("{documents} documents, {bytes}. They look like those they were compared with."),
            format!("{documents} 篇文档，{bytes}。与对照数据相比无明显漂移。"),
        ),
        Some(reasons) => t(
            format!("{documents} documents, {bytes}. They have drifted, for {reasons} reasons."),
            format!("{documents} 篇文档，{bytes}。数据已漂移，共 {reasons} 条理由。"),
        ),
        None => t(format!("{documents} documents, {bytes}."), format!("{documents} 篇文档，{bytes}。")),
    }
}

/// The numbers that matter most.
fn headline(report: &DataReport) -> Block {
    let snapshot = &report.snapshot;
    let figure = |label: T, value: String, note: Option<T>| Figure { label, value: value.into(), note };
    let sources = snapshot.by_source().len() as u64;
    let mut figures = vec![
        figure(
            t("documents", "文档"),
            number::grouped(snapshot.total.documents),
            Some(t(format!("from {sources} sources"), format!("来自 {sources} 个来源"))),
        ),
        figure(t("text", "文本量"), number::bytes(snapshot.total.bytes), None),
    ];
    if let Some(funnel) = report.funnel.as_ref().filter(|funnel| funnel.collected.documents > 0) {
        figures.push(figure(
            t("kept", "保留"),
            number::percent(funnel.kept.documents as f64 / funnel.collected.documents as f64),
            Some(t(
                format!("of {} collected", number::grouped(funnel.collected.documents)),
                format!("收集 {}", number::grouped(funnel.collected.documents)),
            )),
        ));
    }
    let repeats = snapshot.repeats;
    let sampled = (repeats.sampling > 0).then(|| t("from a sample of the ids", "由标识抽样估计"));
    figures.push(figure(t("repeated texts", "重复文本"), number::percent(repeats.share()), sampled));
    if snapshot.problems > 0 {
        figures.push(figure(t("unreadable records", "无法读取的记录"), number::grouped(snapshot.problems), None));
    }
    let pii = snapshot.distribution("pii_count", |_| true);
    if pii.count > 0 {
        let with = pii.count - pii.zeros();
        figures.push(figure(
            t("with personal data", "含个人信息"),
            number::grouped(with),
            Some(t(
                format!("{} places", number::grouped(pii.sum() as u64)),
                format!("共 {} 处", number::grouped(pii.sum() as u64)),
            )),
        ));
    }
    Block::Figures(figures)
}
