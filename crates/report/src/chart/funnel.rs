use maud::{Markup, html};

use super::{FONT, Frame, figure, fit_both, no_data, px, svg};
use crate::number::{grouped, percent};
use crate::text::{T, text_width};

/// What is left after each step, and why the rest was dropped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Funnel {
    pub title: T,
    /// What is counted: documents, bytes.
    pub unit: T,
    /// In order; the first is everything that came in.
    pub steps: Vec<FunnelStep>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunnelStep {
    pub name: T,
    pub kept: u64,
    /// Reason and count of what this step dropped.
    pub dropped: Vec<(T, u64)>,
}

impl Funnel {
    pub(crate) fn render(&self) -> Markup {
        let unit = html! { p class="legend" {
            span { i class="swatch kept" {} (T::new("kept", "保留")) }
            span { i class="swatch dropped" {} (T::new("dropped", "丢弃")) }
            span { "(" (self.unit) ")" }
        } };
        figure(&self.title, &unit, |frame| self.draw(frame))
    }

    fn draw(&self, frame: Frame) -> Markup {
        const ROW: f64 = 56.0;
        let largest = self.steps.iter().map(|step| step.kept).max().unwrap_or(0);
        let frame = Frame { height: (ROW * self.steps.len() as f64).max(60.0), ..frame };
        if self.steps.is_empty() {
            return svg(frame, &self.title, "no data · 无数据", &no_data(frame));
        }
        let width = |count: u64| if largest == 0 { 0.0 } else { count as f64 / largest as f64 * frame.width };
        let body = html! {
            @for (i, step) in self.steps.iter().enumerate() {
                @let top = ROW * i as f64;
                @let before = if i == 0 { step.kept } else { self.steps[i - 1].kept };
                @let lost = before.saturating_sub(step.kept);
                @let count = self.count(step.kept);
                @let room = frame.width - text_width(&count) * FONT - 12.0;
                text x="0" y=(px(top + 14.0)) class="bold" { (fit_both(&step.name, room).svg()) }
                text x=(px(frame.width)) y=(px(top + 14.0)) text-anchor="end" { (count) }
                rect class="bar strong" x="0" y=(px(top + 20.0)) width=(px(width(step.kept).max(1.0))) height="12" {}
                @if lost > 0 {
                    rect class="dropped" x=(px(width(step.kept))) y=(px(top + 20.0)) width=(px(width(lost).max(1.0)))
                        height="12" { title { (told_both(step, lost).both()) } }
                    @let told = told_both(step, lost);
                    text x="0" y=(px(top + 46.0)) class="muted" { (fit_both(&told, frame.width).svg()) }
                }
            }
        };
        svg(frame, &self.title, &self.description(), &body)
    }

    /// The count with its share of what came in.
    fn count(&self, kept: u64) -> String {
        match self.steps.first() {
            Some(first) if first.kept > 0 => {
                format!("{} · {}", grouped(kept), percent(kept as f64 / first.kept as f64))
            }
            _ => grouped(kept),
        }
    }

    fn description(&self) -> String {
        let told = self.steps.iter().map(|step| format!("{}: {}", step.name.both(), self.count(step.kept)));
        told.collect::<Vec<_>>().join("; ")
    }
}

fn told_both(step: &FunnelStep, lost: u64) -> T {
    let reasons = |pick: fn(&T) -> &str, comma: &str| {
        let reasons = step.dropped.iter().filter(|reason| reason.1 > 0);
        let told: Vec<_> = reasons
            .map(|(reason, count)| {
                let only = *count == lost;
                if only { pick(reason).to_owned() } else { format!("{} {}", pick(reason), grouped(*count)) }
            })
            .collect();
        if told.is_empty() { String::new() } else { format!("  {}", told.join(comma)) }
    };
    T::new(
        format!("−{}{}", grouped(lost), reasons(|t| &t.en, ", ")),
        format!("−{}{}", grouped(lost), reasons(|t| &t.zh, "，")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_reasons_are_told() {
        let steps = vec![
            FunnelStep { name: T::new("collected", "收集"), kept: 2000, dropped: vec![] },
            FunnelStep {
                name: T::new("length", "长度"),
                kept: 1500,
                dropped: vec![(T::new("too short", "过短"), 499), (T::new("too long", "过长"), 1), ("none".into(), 0)],
            },
        ];
        let html = Funnel { title: "t".into(), unit: "documents".into(), steps }.render().into_string();
        assert!(html.contains("1,500 · 75.0%"), "{html}");
        assert!(html.contains("−500  too short 499, too long 1<"), "{html}");
        assert!(html.contains("过短 499，过长 1"));
    }

    #[test]
    fn empty_and_odd_funnels_are_safe() {
        let step = |kept| FunnelStep { name: "s".into(), kept, dropped: vec![] };
        for steps in [vec![], vec![step(0), step(0)], vec![step(1), step(5)], vec![step(u64::MAX), step(0)]] {
            let html = Funnel { steps, ..Funnel::default() }.render().into_string();
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }
}
