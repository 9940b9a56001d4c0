//! Where outliers begin: by the rules of the recipe, and, for any data, by the three usual ones.

use danlu_report::{Beyond, Bin, Block, Histogram, HistogramWithLimits, Limit, Section, T, number};

use super::names::{left, right, same, statistic, t, table};
use super::spread::{BARS, bars};
use crate::monitor::distribution::Distribution;
use crate::monitor::report::{Fence, Outliers};
use crate::monitor::snapshot::Snapshot;
use crate::{OutlierMethod, OutlierThresholds};

/// What the recipe's rules found: for each statistic and group its thresholds, and how the values lie around them.
pub(super) fn section(thresholds: &[OutlierThresholds]) -> Option<Section> {
    if thresholds.is_empty() {
        return None;
    }
    let note = t(
        "Values of the documents that came to this step, with the thresholds made from them. Bars beyond a threshold are red; \
         the outermost hold what lies further out, too.",
        "进入该步骤的文档的取值及由其得出的阈值。阈值之外的柱为红色；更远的值计入最外侧的柱。",
    );
    let section = Section::new(t("Outliers", "离群值")).note(note).block(rules(thresholds));
    let drawn = thresholds.iter().filter(|one| !one.histogram.counts.is_empty());
    Some(drawn.map(chart).fold(section, Section::block))
}

fn rules(thresholds: &[OutlierThresholds]) -> Block {
    let limit = |value: Option<f64>| same(&value.map_or_else(|| "–".to_owned(), |value| number::significant(value, 4)));
    let row = |one: &OutlierThresholds| {
        vec![
            statistic(&one.column),
            same(&one.group),
            rule(one),
            same(&number::grouped(one.documents)),
            limit(one.low),
            same(&number::grouped(one.histogram.below)),
            limit(one.high),
            same(&number::grouped(one.histogram.above)),
            same(&number::grouped(one.dropped)),
        ]
    };
    let columns = [
        left("statistic", "统计量"),
        left("group", "分组"),
        left("rule", "规则"),
        right("documents", "文档"),
        right("lower", "下限"),
        right("below", "低于"),
        right("upper", "上限"),
        right("above", "高于"),
        right("dropped", "丢弃"),
    ];
    table(columns, thresholds.iter().map(row).collect())
}

fn rule(one: &OutlierThresholds) -> T {
    let factor = number::significant(one.factor, 2);
    match one.method {
        OutlierMethod::Iqr => t(format!("{factor} IQR"), format!("{factor} 倍四分位距")),
        OutlierMethod::Zscore => t(format!("{factor} standard deviations"), format!("{factor} 倍标准差")),
        OutlierMethod::Mad => t(format!("{factor} MAD"), format!("{factor} 倍中位绝对偏差")),
    }
}

fn chart(one: &OutlierThresholds) -> Block {
    let (label, rule) = (statistic(&one.column), rule(one));
    let title = match one.group.as_str() {
        "" => t(format!("{}: {}", label.en, rule.en), format!("{}：{}", label.zh, rule.zh)),
        group => t(format!("{}, {group}: {}", label.en, rule.en), format!("{}，{group}：{}", label.zh, rule.zh)),
    };
    let found = &one.histogram;
    let limit = |value: Option<f64>, beyond, count, [en, zh]: [&str; 2]| {
        let (count, limit) = (number::grouped(count), number::significant(value?, 4));
        let label = t(format!("{count} {en} {limit}"), format!("{count} 篇{zh} {limit}"));
        Some(Limit { value: value?, beyond, label })
    };
    let low = limit(one.low, Beyond::Below, found.below, ["below", "低于"]);
    let high = limit(one.high, Beyond::Above, found.above, ["above", "高于"]);
    let bins = found.bars().map(|(from, to, count)| Bin { from, to, count }).collect();
    let histogram = Histogram { title, x_label: label, y_label: t("documents", "文档"), bins };
    Block::HistogramWithLimits(HistogramWithLimits { histogram, limits: low.into_iter().chain(high).collect() })
}

/// The three usual rules for every statistic of the snapshot, as a table and drawn, folded away.
pub(super) fn fences(snapshot: &Snapshot, outliers: &[Outliers]) -> Block {
    let fence = |fence: &Fence| {
        let figure = |value: f64| number::significant(value, 3);
        same(&format!("{} – {} · {}", figure(fence.low), figure(fence.high), number::percent(fence.outside)))
    };
    let rows = outliers
        .iter()
        .map(|one| vec![statistic(&one.statistic), fence(&one.iqr), fence(&one.z), fence(&one.mad)])
        .collect();
    let columns = [
        left("statistic", "统计量"),
        right("1.5 IQR", "1.5 倍四分位距"),
        right("3 standard deviations", "3 倍标准差"),
        right("3.5 MAD", "3.5 倍中位绝对偏差"),
    ];
    let summary = t("Where outliers begin, and how many documents lie beyond", "离群值界限及界外文档占比");
    let charts = outliers.iter().filter_map(|one| fenced(one, &snapshot.distribution(&one.statistic, |_| true)));
    Block::Details { summary, blocks: std::iter::once(table(columns, rows)).chain(charts).collect() }
}

/// A statistic with the limits of all three rules; none when there is nothing to draw.
fn fenced(one: &Outliers, of: &Distribution) -> Option<Block> {
    let rules = [
        (&one.iqr, t("1.5 IQR", "1.5 倍四分位距")),
        (&one.z, t("3 standard deviations", "3 倍标准差")),
        (&one.mad, t("3.5 MAD", "3.5 倍中位绝对偏差")),
    ];
    let ends = |pick: fn(&Fence) -> f64| rules.iter().map(move |(fence, _)| pick(fence)).filter(|end| end.is_finite());
    let low = ends(|fence| fence.low).fold(f64::INFINITY, f64::min);
    let high = ends(|fence| fence.high).fold(f64::NEG_INFINITY, f64::max);
    let room = (high - low) / 4.0;
    let bins = all_bars(of, low - room, high + room)?;
    let limits = rules.iter().flat_map(|(fence, name)| {
        let lower = Limit { value: fence.low, beyond: Beyond::Below, label: name.clone() };
        let upper = Limit { value: fence.high, beyond: Beyond::Above, label: name.clone() };
        // A limit beyond all values says nothing of them, and would squeeze the bars.
        [lower, upper].into_iter().filter(|limit| (of.min..=of.max).contains(&limit.value))
    });
    let label = statistic(&one.statistic);
    let histogram = Histogram { title: label.clone(), x_label: label, y_label: t("documents", "文档"), bins };
    Some(Block::HistogramWithLimits(HistogramWithLimits { histogram, limits: limits.collect() }))
}

/// Bars from `low` to `high` or as far as there are values, the outermost with what lies further out.
fn all_bars(of: &Distribution, low: f64, high: f64) -> Option<Vec<Bin>> {
    let (low, high) = (low.max(of.min), high.min(of.max));
    let mut bins = bars(of, low, high, BARS);
    bins.last_mut()?.count += of.bins().filter(|bin| bin.0 > high).map(|bin| bin.2).sum::<u64>();
    Some(bins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_bars_hold_what_lies_further_out() {
        let mut of = Distribution::default();
        (0..1000).for_each(|i| of.add(f64::from(i % 100) + 100.0));
        (0..7).for_each(|_| of.add(1e6));
        let bins = all_bars(&of, 0.0, 250.0).unwrap_or_default();
        let total: u64 = bins.iter().map(|bin| bin.count).sum();
        assert!((990..=1024).contains(&total), "{total}");
        assert_eq!((bins[0].from, bins[bins.len() - 1].to, bins[bins.len() - 1].count), (100.0, 250.0, 7));
        assert!(all_bars(&Distribution::default(), 0.0, 1.0).is_none());
    }
}
