use maud::{Markup, html};

use super::scale::Scale;
use super::{FONT, Frame, figure, fit_both, no_data, px, svg};
use crate::number::significant;
use crate::text::{T, text_width};

/// Horizontal bars from zero, each with its value written at its end. For values that are not negative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BarChart {
    pub title: T,
    /// What the bars measure, with the unit.
    pub x_label: T,
    pub bars: Vec<Bar>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bar {
    pub label: T,
    pub value: f64,
    /// The value as written; four significant digits when none is given.
    pub display: Option<String>,
    /// Drawn in the accent colour: the bar that the chart is about.
    pub strong: bool,
}

impl Bar {
    pub fn new(label: T, value: f64) -> Self {
        Self { label, value, ..Self::default() }
    }

    pub fn strong(label: T, value: f64) -> Self {
        Self { strong: true, ..Self::new(label, value) }
    }

    fn shown(&self) -> String {
        self.display.clone().unwrap_or_else(|| significant(self.value, 4))
    }
}

impl BarChart {
    pub(crate) fn render(&self) -> Markup {
        let unit = html! { p class="legend" { (self.x_label) } };
        figure(&self.title, &unit, |frame| self.draw(frame))
    }

    fn draw(&self, frame: Frame) -> Markup {
        let description =
            self.bars.iter().map(|bar| format!("{}: {}", bar.label.both(), bar.shown())).collect::<Vec<_>>().join("; ");
        let Some(scale) = Scale::from_zero(self.bars.iter().map(|bar| bar.value.max(0.0)), 0.0) else {
            return svg(frame, &self.title, "", &no_data(frame));
        };
        if self.bars.is_empty() {
            return svg(Frame { height: 60.0, ..frame }, &self.title, "", &no_data(Frame { height: 60.0, ..frame }));
        }
        // Labels stand beside the bars where there is room, else above them.
        let widest = self.bars.iter().map(|bar| bar.label.width() * FONT).fold(0.0, f64::max);
        let beside = widest + 16.0 <= frame.width * 0.35;
        let row = if beside { 30.0 } else { 44.0 };
        let left = if beside { widest + 16.0 } else { 0.0 };
        let value_width = self.bars.iter().map(|bar| text_width(&bar.shown()) * FONT + 14.0).fold(0.0, f64::max);
        let right = (frame.width - value_width).max(left + 40.0);
        let frame = Frame { height: row * self.bars.len() as f64 + 4.0, ..frame };
        let body = html! {
            @for (i, bar) in self.bars.iter().enumerate() {
                @let base = row * (i + 1) as f64 - 8.0;
                @let end = scale.at(bar.value.max(0.0), left, right).unwrap_or(left).max(left + 1.0);
                @let label = fit_both(&bar.label, if beside { left } else { frame.width });
                text x="0" y=(px(if beside { base - 4.0 } else { base - 22.0 })) { (label.svg()) }
                @if bar.value.is_finite() {
                    rect class=(if bar.strong { "bar strong" } else { "bar" })
                        x=(px(left)) y=(px(base - 16.0)) width=(px(end - left)) height="16" rx="1.5" {}
                }
                text x=(px(end + 7.0)) y=(px(base - 4.0)) class=[bar.strong.then_some("bold")] { (bar.shown()) }
            }
            line class="axis" x1=(px(left)) x2=(px(left)) y1="2" y2=(px(frame.height)) {}
        };
        svg(frame, &self.title, &description, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(bars: Vec<Bar>) -> String {
        BarChart { title: "t".into(), x_label: "x".into(), bars }.render().into_string()
    }

    #[test]
    fn lengths_are_proportional() {
        let html = html(vec![Bar::new("a".into(), 1.0), Bar::strong("b".into(), 2.0)]);
        let wide = html.split("<svg").nth(1).unwrap_or_default();
        let widths: Vec<f64> =
            wide.split("width=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect();
        assert_eq!(widths.len(), 2);
        assert!((widths[1] / widths[0] - 2.0).abs() < 0.01, "{widths:?}");
    }

    #[test]
    fn odd_values_and_none_are_safe() {
        for bars in [
            vec![],
            vec![Bar::new("nan".into(), f64::NAN)],
            vec![Bar::new("zero".into(), 0.0), Bar::new("negative".into(), -3.0)],
            vec![Bar::new("inf".into(), f64::INFINITY), Bar::new("one".into(), 1.0)],
        ] {
            let html = html(bars);
            assert!(!html.contains("NaN") && !html.contains("inf\""), "{html}");
        }
        assert!(html(vec![]).contains("无数据"));
    }
}
