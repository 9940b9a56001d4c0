use maud::{Markup, html};

use super::scale::Scale;
use super::{Area, Frame, area_with_axes, figure, no_data, px, svg, x_axis, y_axis};
use crate::number::{grouped, significant};
use crate::text::T;

/// How often values fall into each of several ranges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub title: T,
    pub x_label: T,
    pub y_label: T,
    pub bins: Vec<Bin>,
}

/// `count` values lie in `from <= value < to` (the last bin includes its end).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    pub from: f64,
    pub to: f64,
    pub count: u64,
}

impl Bin {
    /// `count` equal bins from the least to the greatest of the finite values; all equal values make one bin.
    pub fn of(values: &[f64], count: usize) -> Vec<Self> {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let (total, span) = (finite().count() as u64, high - low);
        if total == 0 || !span.is_finite() {
            return Vec::new();
        }
        if span <= 1e-9 * high.abs().max(low.abs()) {
            return vec![Self { from: low - 0.5, to: high + 0.5, count: total }];
        }
        let count = count.max(1);
        let edge = |i: usize| low + span * i as f64 / count as f64;
        let mut bins: Vec<Self> = (0..count).map(|i| Self { from: edge(i), to: edge(i + 1), count: 0 }).collect();
        for value in finite() {
            let at = ((value - low) / span * count as f64) as usize;
            bins[at.min(count - 1)].count += 1;
        }
        bins
    }
}

impl Histogram {
    pub(crate) fn render(&self) -> Markup {
        figure(&self.title, &html! {}, |frame| self.draw(frame))
    }

    fn draw(&self, frame: Frame) -> Markup {
        match Axes::of(self, frame, &[]) {
            Some(axes) => svg(frame, &self.title, &self.description(), &axes.bars(self, |_| false)),
            None => svg(frame, &self.title, "no data · 无数据", &no_data(frame)),
        }
    }

    /// Bins that have a place.
    fn finite(&self) -> impl Iterator<Item = &Bin> {
        self.bins.iter().filter(|bin| (bin.to - bin.from).is_finite())
    }

    pub(super) fn description(&self) -> String {
        let total: u64 = self.bins.iter().fold(0, |total, bin| total.saturating_add(bin.count));
        let fullest = self.bins.iter().max_by_key(|bin| bin.count).map(told).unwrap_or_default();
        let (bins, total) = (self.bins.len(), grouped(total));
        format!("{total} values in {bins} bins; fullest {fullest} · {bins} 组共 {total} 个值，最多 {fullest}")
    }
}

/// Both axes of a histogram, and the area between them.
pub(super) struct Axes {
    x: Scale,
    y: Scale,
    /// Values and labels of the ticks of the vertical axis.
    y_ticks: Vec<(f64, String)>,
    x_ticks: usize,
    pub(super) area: Area,
}

impl Axes {
    /// Wide enough for all bins and for `others`; none when there is nothing to draw.
    pub(super) fn of(histogram: &Histogram, frame: Frame, others: &[f64]) -> Option<Self> {
        histogram.finite().next()?;
        let ends = histogram.finite().flat_map(|bin| [bin.from, bin.to]);
        let x = Scale::linear(ends.chain(others.iter().copied()), 0.0)?;
        let y = Scale::from_zero(histogram.finite().map(|bin| bin.count as f64), 0.05)?;
        // Counts are whole.
        let y_ticks: Vec<_> = y.ticks(5).into_iter().filter(|tick| tick.0.fract() == 0.0).collect();
        let labels: Vec<String> = y_ticks.iter().map(|tick| tick.1.clone()).collect();
        let area = area_with_axes(frame, &histogram.y_label, &labels);
        Some(Self { x, y, y_ticks, x_ticks: if frame.width > 500.0 { 8 } else { 5 }, area })
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        self.x.at(value, self.area.left, self.area.right).unwrap_or(self.area.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.y.at(value, self.area.bottom, self.area.top).unwrap_or(self.area.bottom)
    }

    /// The bars between the axes; those that are `strong` in the accent colour.
    pub(super) fn bars(&self, histogram: &Histogram, strong: impl Fn(&Bin) -> bool) -> Markup {
        let y_places: Vec<_> = self.y_ticks.iter().map(|(value, text)| (self.y(*value), text.clone())).collect();
        let x_ticks = self.x.ticks(self.x_ticks);
        let x_places: Vec<_> = x_ticks.into_iter().map(|(value, text)| (self.x(value), text)).collect();
        html! {
            (y_axis(self.area, &histogram.y_label, &y_places))
            @for bin in histogram.finite() {
                @let (from, to) = (self.x(bin.from.min(bin.to)), self.x(bin.from.max(bin.to)));
                @let top = self.y(bin.count as f64);
                rect class=(if strong(bin) { "bar strong" } else { "bar" }) x=(px(from + 0.5)) y=(px(top))
                    width=(px((to - from - 1.0).max(0.5))) height=(px(self.area.bottom - top)) {
                    title { (told(bin)) }
                }
            }
            (x_axis(self.area, &histogram.x_label, &x_places))
        }
    }
}

pub(super) fn told(bin: &Bin) -> String {
    format!("{} – {}: {}", significant(bin.from, 3), significant(bin.to, 3), grouped(bin.count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_finite_value_is_counted_once(values in prop::collection::vec(any::<f64>(), 0..50), count in 0usize..20) {
            let bins = Bin::of(&values, count);
            let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
            let span = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max)
                - finite.iter().copied().fold(f64::INFINITY, f64::min);
            if span.is_finite() {
                prop_assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), finite.len() as u64);
                prop_assert!(bins.windows(2).all(|pair| pair[0].to == pair[1].from));
            }
            let html = Histogram { bins, ..Histogram::default() }.render().into_string();
            prop_assert!(!html.contains("NaN") && !html.contains("inf"));
        }
    }

    #[test]
    fn bins_are_half_open() {
        let bins = Bin::of(&[0.0, 1.0, 2.0, 3.0, 4.0], 2);
        assert_eq!(bins, [Bin { from: 0.0, to: 2.0, count: 2 }, Bin { from: 2.0, to: 4.0, count: 3 }]);
        assert_eq!(Bin::of(&[7.0; 3], 5).len(), 1);
        assert!(Bin::of(&[f64::NAN], 5).is_empty());
    }

    #[test]
    fn odd_bins_are_safe() {
        let odd = Bin { from: f64::NAN, to: 1.0, count: u64::MAX };
        let html = Histogram { bins: vec![odd, odd], ..Histogram::default() }.render().into_string();
        assert!(html.contains("无数据"));
    }
}
