//! Distributions as histograms and tables.

use std::collections::{BTreeMap, BTreeSet};

use danlu_report::{Bin, Block, Histogram, Section, T, number};

use super::names::{language, left, right, same, statistic, t, table};
use crate::Count;
use crate::monitor::distribution::Distribution;
use crate::monitor::report::Outliers;
use crate::monitor::snapshot::Snapshot;

/// Bars of a histogram.
pub(super) const BARS: usize = 32;
/// Sources and languages with a histogram of their own: those with most documents.
const DRAWN: usize = 6;

pub(super) fn section(snapshot: &Snapshot, outliers: &[Outliers]) -> Section {
    let names: BTreeSet<&String> = snapshot.groups.iter().flat_map(|group| group.statistics.keys()).collect();
    let note = t(
        "Quantiles are right to 1% of their value. Histograms end at the 99% quantile.",
        "分位数的误差不超过其值的 1%。直方图截止于 99% 分位数。",
    );
    let mut section = Section::new(t("Distributions", "分布")).note(note);
    // In the order in which they were asked for.
    for name in snapshot.config.statistics.iter().filter(|name| names.contains(name)) {
        let all = snapshot.distribution(name, |_| true);
        section = section.block(Block::Histogram(Histogram {
            title: statistic(name),
            x_label: statistic(name),
            y_label: t("documents", "文档"),
            bins: bins(&all),
        }));
        section = section.block(groups(snapshot, name, &all));
    }
    section.block(super::outliers::fences(snapshot, outliers))
}

/// A statistic by source and language, as a table and histograms, folded away.
fn groups(snapshot: &Snapshot, name: &str, all: &Distribution) -> Block {
    let mut rows = vec![row(t("all", "全部"), all)];
    let mut charts = Vec::new();
    for (source, drawn) in largest(snapshot.by_source()) {
        let label = t(format!("source {source}"), format!("来源 {source}"));
        let of = snapshot.distribution(name, |group| group.source == source);
        rows.push(row(label.clone(), &of));
        charts.extend(drawn.then(|| histogram(name, &label, &of)));
    }
    for (code, drawn) in largest(snapshot.by_language()) {
        let of = snapshot.distribution(name, |group| group.language == code);
        rows.push(row(language(code), &of));
        charts.extend(drawn.then(|| histogram(name, &language(code), &of)));
    }
    let columns = [
        left("documents of", "文档"),
        right("count", "数量"),
        right("mean", "均值"),
        right("least", "最小"),
        right("10%", "10%"),
        right("median", "中位数"),
        right("90%", "90%"),
        right("99%", "99%"),
        right("greatest", "最大"),
    ];
    let label = statistic(name);
    let summary = t(format!("{} by source and language", label.en), format!("{}：按来源与语言", label.zh));
    let blocks = std::iter::once(table(columns, rows)).chain(charts).collect();
    Block::Details { summary, blocks }
}

/// Names by number of documents, and whether each has a histogram of its own: not where there is but one.
fn largest(counts: BTreeMap<&str, Count>) -> Vec<(&str, bool)> {
    let mut names: Vec<(&str, Count)> = counts.into_iter().collect();
    names.sort_by(|a, b| b.1.documents.cmp(&a.1.documents).then(a.0.cmp(b.0)));
    let several = names.len() > 1;
    names.into_iter().enumerate().map(|(rank, (name, _))| (name, several && rank < DRAWN)).collect()
}

fn histogram(name: &str, group: &T, of: &Distribution) -> Block {
    let label = statistic(name);
    Block::Histogram(Histogram {
        title: t(format!("{}, {}", label.en, group.en), format!("{}，{}", label.zh, group.zh)),
        x_label: label,
        y_label: t("documents", "文档"),
        bins: bins(of),
    })
}

fn row(label: T, of: &Distribution) -> Vec<T> {
    let figure = |value: f64| same(&number::significant(value, 3));
    let mut cells = vec![label, same(&number::grouped(of.count)), figure(of.mean()), figure(of.min)];
    cells.extend([0.1, 0.5, 0.9, 0.99].map(|q| figure(of.quantile(q))));
    cells.push(figure(of.max));
    cells
}

/// Equal bars from the least value to the 99% quantile.
fn bins(of: &Distribution) -> Vec<Bin> {
    bars(of, of.min, of.quantile(0.99), BARS)
}

/// So many equal bars of the values from `low` to `high`; the first has what lies below, too, and none what lies above. A bin of the sketch that reaches over a border gives each side
/// its part, as if its values lay evenly.
pub(super) fn bars(of: &Distribution, low: f64, high: f64, count: usize) -> Vec<Bin> {
    if of.count == 0 || !(high - low).is_finite() {
        return Vec::new();
    }
    if high - low <= 1e-9 * high.abs().max(1.0) {
        return vec![Bin { from: low - 0.5, to: high + 0.5, count: of.count }];
    }
    let wide = (high - low) / count as f64;
    let edge = |i: usize| low + wide * i as f64;
    let mut counts = vec![0.0; count];
    for (from, to, values) in of.bins() {
        let (from, to) = (from.max(low), to.min(high).max(from.max(low)));
        let place = |value: f64| (((value - low) / wide) as usize).min(count - 1);
        if from > high {
            continue;
        }
        let (first, last) = (place(from), place(to));
        if first == last || to <= from {
            counts[last] += values as f64;
            continue;
        }
        for (bar, sum) in counts.iter_mut().enumerate().take(last + 1).skip(first) {
            let part = (to.min(edge(bar + 1)) - from.max(edge(bar))).max(0.0) / (to - from);
            *sum += values as f64 * part;
        }
    }
    let bar = |(i, count): (usize, f64)| Bin { from: edge(i), to: edge(i + 1), count: count.round() as u64 };
    counts.into_iter().enumerate().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_hold_all_values_up_to_the_last_percent() {
        let mut of = Distribution::default();
        (0..1000).for_each(|i| of.add(f64::from(i)));
        let bars = bins(&of);
        let total: u64 = bars.iter().map(|bar| bar.count).sum();
        assert!((970..=1000).contains(&total), "{total}");
        assert!(bars.iter().all(|bar| (20..=45).contains(&bar.count)), "{bars:?}");
        let mut one = Distribution::default();
        one.add(3.0);
        assert_eq!(bins(&one).len(), 1);
        assert!(bins(&Distribution::default()).is_empty());
    }
}
