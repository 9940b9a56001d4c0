//! Duplicates: how many of which kind, how large clusters are, and what some of them look like.

use danlu_report::{Bar, BarChart, Block, Compared, Mark, Marked, Section, T, number};

use super::names::{duplicate, left, right, same, t, table};
use crate::monitor::compare;
use crate::monitor::duplicates::{ClusterTexts, CopyText, DuplicateReport};
use crate::{ClusterSize, DedupSummary, DuplicateKind};

/// Clusters that are shown at once; the others open on demand.
const OPEN: usize = 3;
/// Digits of an id, enough for `danlu data trace`.
const ID: usize = 12;

pub(super) fn section(report: &DuplicateReport) -> Section {
    let counts = &report.counts;
    let note = t(
        "A cluster is a document that stays and all that were dropped for it.",
        "一个簇由一篇保留的文档与因它而被丢弃的所有文档组成。",
    );
    let mut section = Section::new(t("Duplicates", "重复")).note(note).block(Block::KeyValues(pairs(report)));
    if !counts.kinds.is_empty() {
        section = section.block(kinds(counts));
    }
    if !counts.clusters.is_empty() {
        section = section.block(Block::BarChart(sizes(&counts.clusters)));
    }
    if !counts.sources.is_empty() {
        section = section.block(sources(counts));
    }
    let (open, more) = report.largest.split_at(OPEN.min(report.largest.len()));
    if !open.is_empty() {
        section = section.block(Block::Text(legend())).block(compared(open));
    }
    for (some, en, zh) in [
        (more, "further large clusters", "个较大的簇"),
        (&report.sampled[..], "of the other clusters, drawn evenly", "个随机抽取的其他簇"),
    ] {
        if !some.is_empty() {
            let count = some.len();
            let summary = t(format!("{count} {en}"), format!("{count} {zh}"));
            section = section.block(Block::Details { summary, blocks: vec![compared(some)] });
        }
    }
    section
}

fn pairs(report: &DuplicateReport) -> Vec<(T, T)> {
    let DedupSummary { documents, pairs_checked, pairs_confirmed, found_at_threshold, not_spelled, left_whole, .. } =
        report.counts;
    let clusters: u64 = report.counts.clusters.iter().map(|size| size.clusters).sum();
    let count = |count: u64| same(&number::grouped(count));
    let mut pairs =
        vec![(t("documents searched", "查重的文档"), count(documents)), (t("clusters", "簇"), count(clusters))];
    if report.sampling > 0 {
        let one_in = number::grouped(1 << report.sampling.min(63));
        pairs.push((
            t("clusters counted", "簇的计数"),
            t(format!("of one in {one_in} texts"), format!("每 {one_in} 篇文本取一")),
        ));
    }
    if pairs_checked > 0 {
        let (checked, confirmed) = (number::grouped(pairs_checked), number::grouped(pairs_confirmed));
        pairs.push((
            t("pairs compared", "比较的文档对"),
            t(format!("{checked}, of which {confirmed} alike"), format!("{checked}，其中 {confirmed} 对相似")),
        ));
    }
    if let Some(probability) = found_at_threshold {
        pairs.push((
            t("a pair at the threshold is found", "恰在阈值的一对被找到的概率"),
            same(&number::percent(probability)),
        ));
    }
    if not_spelled > 0 {
        pairs.push((
            t("not searched for spans: the tokenizer changes them", "分词器会改变其文本，未查重复片段"),
            count(not_spelled),
        ));
    }
    if left_whole > 0 {
        pairs.push((
            t("conversations left whole: no repeated parts are cut from them", "保持完整、不剪去重复片段的对话"),
            count(left_whole),
        ));
    }
    pairs
}

fn kinds(counts: &DedupSummary) -> Block {
    let row = |kind: &crate::KindCount| {
        vec![duplicate(kind.kind), same(&number::grouped(kind.count)), same(&number::bytes(kind.bytes))]
    };
    let columns = [left("kind", "种类"), right("documents or parts", "文档或片段"), right("text", "文本量")];
    table(columns, counts.kinds.iter().map(row).collect())
}

fn sources(counts: &DedupSummary) -> Block {
    let kept = |source: &str| if source.is_empty() { t("an earlier run", "先前的运行") } else { same(source) };
    let row = |pair: &crate::SourcePair| {
        vec![
            same(&pair.source),
            kept(&pair.kept_source),
            same(&number::grouped(pair.documents)),
            same(&number::bytes(pair.bytes)),
        ]
    };
    let columns =
        [left("dropped of", "丢弃自"), left("repeats", "重复了"), right("documents", "文档"), right("text", "文本量")];
    table(columns, counts.sources.iter().map(row).collect())
}

/// Clusters by size, in classes that double: sizes spread over orders of magnitude.
fn sizes(clusters: &[ClusterSize]) -> BarChart {
    let mut classes: Vec<(u64, u64)> = Vec::new(); // the largest size of a class, and its clusters
    let largest = clusters.iter().map(|size| size.size).max().unwrap_or(0);
    let mut up_to = 2;
    while classes.last().is_none_or(|&(last, _)| last < largest) {
        classes.push((up_to, 0));
        up_to = if up_to < 4 { up_to + 1 } else { up_to.saturating_mul(2) };
    }
    for size in clusters {
        let class = classes.partition_point(|&(up_to, _)| up_to < size.size);
        if let Some(class) = classes.get_mut(class) {
            class.1 += size.clusters;
        }
    }
    let from = std::iter::once(2).chain(classes.iter().map(|&(up_to, _)| up_to + 1));
    let bar = |(from, &(up_to, count)): (u64, &(u64, u64))| {
        let (from, up_to) = (number::grouped(from), number::grouped(up_to));
        let label = if from == up_to { from } else { format!("{from} – {up_to}") };
        Bar { display: Some(number::grouped(count)), ..Bar::new(same(&label), count as f64) }
    };
    BarChart {
        title: t("Clusters by their number of documents", "各大小的簇"),
        x_label: t("clusters", "簇数"),
        bars: from.zip(&classes).map(bar).collect(),
    }
}

fn legend() -> T {
    t(
        "The largest, each with the document that stayed and below it some that were dropped. Struck out is what only the \
         document that stayed has, underlined what only the dropped one has.",
        "最大的簇：先是保留的文档，其下是部分被丢弃的文档。删除线为仅保留文档所有，下划线为仅被丢弃文档所有。",
    )
}

fn compared(clusters: &[ClusterTexts]) -> Block {
    Block::Compared(clusters.iter().map(cluster).collect())
}

fn cluster(cluster: &ClusterTexts) -> Compared {
    let kept = &cluster.kept;
    let (size, bytes) = (number::grouped(cluster.size), number::bytes(cluster.bytes));
    let about = format!("{} · {}", kept.source, short(&kept.id));
    let (en, zh) = if kept.cut { (", cut afterwards", "，后经剪除") } else { ("", "") };
    Compared {
        title: t(format!("{size} documents, {bytes} dropped"), format!("{size} 篇文档，丢弃 {bytes}")),
        text: match &kept.text {
            Some(text) => same(text),
            None => t("(its text is no longer there)", "（文本已不在）"),
        },
        note: t(format!("stayed{en} · {about}"), format!("保留{zh} · {about}")),
        others: cluster.copies.iter().map(copy).collect(),
    }
}

fn copy(CopyText { copy, pieces }: &CopyText) -> Marked {
    let mark = |mark| match mark {
        compare::Mark::Both => Mark::Same,
        compare::Mark::First => Mark::Removed,
        compare::Mark::Second => Mark::Added,
    };
    let share = number::percent(copy.similarity);
    let how = match copy.kind {
        _ if copy.similarity >= 1.0 && pieces.is_empty() => duplicate(DuplicateKind::Exact),
        DuplicateKind::Simhash => t(format!("{share} of equal bits"), format!("{share} 的比特相同")),
        _ => t(format!("{share} similar"), format!("相似度 {share}")),
    };
    let about = format!("{} · {}", copy.source, short(&copy.id));
    Marked {
        pieces: pieces.iter().map(|piece| (mark(piece.mark), piece.text.clone())).collect(),
        note: t(format!("dropped · {} · {about}", how.en), format!("丢弃 · {} · {about}", how.zh)),
    }
}

fn short(id: &str) -> &str {
    id.get(..ID).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_sizes_double() {
        let size = |(size, clusters): (u64, u64)| ClusterSize { size, clusters };
        let chart = sizes(&[(2, 7), (4, 1), (5, 2), (8, 3), (1000, 1)].map(size));
        let bars: Vec<(&str, f64)> = chart.bars.iter().map(|bar| (&*bar.label.en, bar.value)).collect();
        let expected = [("2", 7.0), ("3", 0.0), ("4", 1.0), ("5 – 8", 5.0), ("9 – 16", 0.0), ("17 – 32", 0.0)];
        assert_eq!(bars[..6], expected);
        assert_eq!(bars.last(), Some(&("513 – 1,024", 1.0)));
    }
}
