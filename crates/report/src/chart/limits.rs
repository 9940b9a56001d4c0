use maud::{Markup, html};

use super::histogram::{Axes, Bin, Histogram};
use super::{Area, FONT, Frame, figure, fit_both, no_data, px, svg};
use crate::number::significant;
use crate::text::T;

/// A histogram with limits drawn through it. Bars beyond a limit are set in the accent colour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramWithLimits {
    pub histogram: Histogram,
    pub limits: Vec<Limit>,
}

/// A limit of the values of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub value: f64,
    pub beyond: Beyond,
    /// Written beside the line: what the limit is called, or what lies beyond it.
    pub label: T,
}

/// On which side of a limit values are out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Below,
    Above,
}

impl Limit {
    /// Whether the middle of a bar is out of bounds.
    fn excludes(&self, bin: &Bin) -> bool {
        let middle = bin.from + (bin.to - bin.from) / 2.0;
        match self.beyond {
            Beyond::Below => middle < self.value,
            Beyond::Above => middle > self.value,
        }
    }
}

impl HistogramWithLimits {
    pub(crate) fn render(&self) -> Markup {
        figure(&self.histogram.title, &html! {}, |frame| self.draw(frame))
    }

    fn draw(&self, frame: Frame) -> Markup {
        let title = &self.histogram.title;
        // A limit beyond all values has its place too.
        let places: Vec<f64> = self.limits.iter().map(|limit| limit.value).collect();
        let Some(axes) = Axes::of(&self.histogram, frame, &places) else {
            return svg(frame, title, "no data · 无数据", &no_data(frame));
        };
        let outside = |bin: &Bin| self.limits.iter().any(|limit| limit.excludes(bin));
        let limits = self.limits.iter().filter(|limit| limit.value.is_finite()).enumerate();
        let body = html! {
            (axes.bars(&self.histogram, outside))
            @for (row, limit) in limits { (label(&axes, row, limit)) }
        };
        svg(frame, title, &self.description(), &body)
    }

    fn description(&self) -> String {
        let limits = self.limits.iter().filter(|limit| limit.value.is_finite()).map(told);
        std::iter::once(self.histogram.description()).chain(limits).collect::<Vec<_>>().join("; ")
    }
}

/// A line from top to bottom, and its label on the side that has more room, each a row below the one before.
fn label(axes: &Axes, row: usize, limit: &Limit) -> Markup {
    let Area { left, right, top, bottom } = axes.area;
    let x = axes.x(limit.value);
    let to_the_right = x < (left + right) / 2.0;
    let (place, anchor, room) = if to_the_right { (x + 4.0, "start", right - x) } else { (x - 4.0, "end", x - left) };
    let text = fit_both(&limit.label, (room - 4.0).max(0.0));
    html! {
        line class="limit" x1=(px(x)) x2=(px(x)) y1=(px(top)) y2=(px(bottom)) {
            title { (told(limit)) }
        }
        text class="on-bars" x=(px(place)) y=(px(top + FONT + row as f64 * (FONT + 3.0))) text-anchor=(anchor) { (text.svg()) }
    }
}

fn told(limit: &Limit) -> String {
    format!("{}: {}", significant(limit.value, 4), limit.label.both())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin(from: f64, count: u64) -> Bin {
        Bin { from, to: from + 1.0, count }
    }

    fn html(bins: Vec<Bin>, limits: Vec<Limit>) -> String {
        let histogram = Histogram { title: "t".into(), bins, ..Histogram::default() };
        HistogramWithLimits { histogram, limits }.render().into_string()
    }

    fn limit(value: f64, beyond: Beyond) -> Limit {
        Limit { value, beyond, label: "limit".into() }
    }

    #[test]
    fn bars_beyond_a_limit_stand_out() {
        let bins = (0..5).map(|at| bin(f64::from(at), 1)).collect();
        let html = html(bins, vec![limit(1.0, Beyond::Below), limit(3.0, Beyond::Above)]);
        let wide = html.split("<svg").nth(1).unwrap_or_default();
        let bars: Vec<bool> = wide.split("<rect class=\"").skip(1).map(|bar| bar.starts_with("bar strong")).collect();
        assert_eq!(bars, [true, false, false, true, true]);
        assert_eq!(wide.matches("class=\"limit\"").count(), 2);
        assert!(wide.contains("3.000: limit"), "{wide}");
    }

    #[test]
    fn a_limit_beyond_all_values_is_drawn_within_the_axes() {
        let html = html(vec![bin(0.0, 4)], vec![limit(9.0, Beyond::Above)]);
        let place = |part: &str| part.split('"').next().and_then(|x| x.parse::<f64>().ok());
        let lines = html.split("class=\"limit\" x1=\"").skip(1).filter_map(place);
        assert!(lines.clone().count() == 2 && lines.into_iter().all(|x| (0.0..=760.0).contains(&x)), "{html}");
    }

    #[test]
    fn odd_values_are_safe() {
        for value in [f64::NAN, f64::INFINITY, -f64::INFINITY] {
            let html = html(vec![bin(0.0, 4)], vec![limit(value, Beyond::Above)]);
            assert!(!html.contains("NaN") && !html.contains("inf\"") && !html.contains("class=\"limit\""), "{html}");
        }
        assert!(html(vec![], vec![]).contains("无数据"));
    }
}
