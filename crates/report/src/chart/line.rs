use maud::{Markup, PreEscaped, html};

use super::scale::Scale;
use super::{Frame, area_with_axes, figure, no_data, px, view_box, x_axis, y_axis};
use crate::number::significant;
use crate::palette::SERIES_COLOURS;
use crate::text::T;

/// A series with more points than this is thinned out before drawing; no eye sees the difference.
const MAX_POINTS: usize = 600;

/// A series with at most so many points gets a mark at each.
const MAX_MARKS: usize = 40;

/// Curves over a common horizontal axis. Points that are not finite (or, with `log_y`, not positive) leave a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineChart {
    pub title: T,
    pub x_label: T,
    pub y_label: T,
    pub series: Vec<Series>,
    pub log_y: bool,
}

/// One curve: (x, y) points, in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub name: T,
    pub points: Vec<(f64, f64)>,
}

/// A stretch of a curve without gaps, in order of x.
type Stretch = Vec<(f64, f64)>;

impl LineChart {
    pub(crate) fn render(&self) -> Markup {
        let curves: Vec<Vec<Stretch>> = self.series.iter().map(|series| self.stretches(series)).collect();
        let head = html! {
            (self.legend())
            script type="application/json" { (PreEscaped(points_json(&curves))) }
        };
        let figure = figure(&self.title, &head, |frame| self.draw(frame, &curves));
        // The mark by which the script finds it.
        PreEscaped(figure.into_string().replacen("<figure ", "<figure data-line ", 1))
    }

    fn legend(&self) -> Markup {
        html! {
            p class="legend" {
                span class="at" { (self.x_label) " " output {} }
                @for (i, series) in self.series.iter().enumerate() {
                    span { i class=(format!("swatch s{}", i % SERIES_COLOURS)) {} (series.name) " " output {} }
                }
            }
        }
    }

    fn stretches(&self, series: &Series) -> Vec<Stretch> {
        let mut points: Vec<(f64, f64)> = series.points.iter().copied().filter(|point| point.0.is_finite()).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total = points.len();
        let drawable = |y: f64| y.is_finite() && (!self.log_y || y > 0.0);
        points
            .split(|point| !drawable(point.1))
            .filter(|stretch| !stretch.is_empty())
            .map(|stretch| thin_out(stretch, (MAX_POINTS * stretch.len()).div_ceil(total.max(1)).max(4)))
            .collect()
    }

    fn draw(&self, frame: Frame, curves: &[Vec<Stretch>]) -> Markup {
        let Some((x, y)) = self.scales(curves) else {
            return super::svg(frame, &self.title, "no data · 无数据", &no_data(frame));
        };
        let y_ticks = y.ticks(if frame.width > 500.0 { 6 } else { 5 });
        let area = area_with_axes(frame, &self.y_label, &y_ticks.iter().map(|tick| tick.1.clone()).collect::<Vec<_>>());
        let place_y = |value: f64| y.at(value, area.bottom, area.top).unwrap_or(area.bottom);
        let place_x = |value: f64| x.at(value, area.left, area.right).unwrap_or(area.left);
        let y_places: Vec<_> = y_ticks.into_iter().map(|(value, text)| (place_y(value), text)).collect();
        let x_ticks = x.ticks(if frame.width > 500.0 { 7 } else { 5 });
        let x_places: Vec<_> = x_ticks.into_iter().map(|(value, text)| (place_x(value), text)).collect();
        let place = |&(at, value): &(f64, f64)| (place_x(at), place_y(value));
        html! {
            svg class=(frame.class) viewBox=(view_box(frame)) role="img" tabindex="0" aria-label=(self.title.both())
                data-x=(data_scale(&x, area.left, area.right)) data-y=(data_scale(&y, area.bottom, area.top))
                data-log=(y.log) {
                desc { (self.description(curves)) }
                // Catches the pointer between the lines.
                rect class="ground" x=(px(area.left)) y=(px(area.top)) width=(px(area.right - area.left))
                    height=(px(area.bottom - area.top)) {}
                (y_axis(area, &self.y_label, &y_places))
                (x_axis(area, &self.x_label, &x_places))
                @for (i, stretches) in curves.iter().enumerate() { (curve(i, stretches, place)) }
            }
        }
    }

    fn scales(&self, curves: &[Vec<Stretch>]) -> Option<(Scale, Scale)> {
        let points = || curves.iter().flatten().flatten().copied();
        let x = Scale::linear(points().map(|point| point.0), 0.0)?;
        let ys = || points().map(|point| point.1);
        let y = if self.log_y {
            Scale::logarithmic(ys(), 0.05)?
        } else {
            let (low, high) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
            // Curves that come near to zero are read against it.
            if low >= 0.0 && low < 0.1 * high { Scale::from_zero(ys(), 0.05)? } else { Scale::linear(ys(), 0.05)? }
        };
        Some((x, y))
    }

    fn description(&self, curves: &[Vec<Stretch>]) -> String {
        let told = self.series.iter().zip(curves).map(|(series, stretches)| {
            let mut points = stretches.iter().flatten();
            let Some(first) = points.next() else { return format!("{}: no data · 无数据", series.name.both()) };
            let last = points.next_back().unwrap_or(first);
            let least = stretches.iter().flatten().map(|point| point.1).fold(f64::INFINITY, f64::min);
            let [start, end, least, x0, x1] =
                [first.1, last.1, least, first.0, last.0].map(|value| significant(value, 4));
            format!(
                "{}: {start} at {x0}, {end} at {x1}, minimum {least} · {x0} 处 {start}，{x1} 处 {end}，最小 {least}",
                series.name.both()
            )
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

fn data_scale(scale: &Scale, start: f64, end: f64) -> String {
    format!("{} {} {} {}", scale.low, scale.high, px(start), px(end))
}

fn curve(index: usize, stretches: &[Stretch], place: impl Fn(&(f64, f64)) -> (f64, f64)) -> Markup {
    let class = format!("line s{}", index % SERIES_COLOURS);
    let marked = stretches.iter().map(Vec::len).sum::<usize>() <= MAX_MARKS;
    html! {
        @for stretch in stretches {
            path class=(class) d=(path(stretch.iter().map(&place))) {}
            @if marked {
                @for (x, y) in stretch.iter().map(&place) {
                    circle class=(format!("mark s{}", index % SERIES_COLOURS)) cx=(px(x)) cy=(px(y)) r="2.4" {}
                }
            }
        }
    }
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut out = String::new();
    for (i, (x, y)) in points.enumerate() {
        out.push(if i == 0 { 'M' } else { 'L' });
        out.push_str(&format!("{} {}", px(x), px(y)));
        if i == 0 {
            // With round caps this makes a lone point visible.
            out.push_str("h0");
        }
    }
    out
}

/// At most about `limit` of the points: of each of `limit / 2` equal groups its lowest and highest, so that spikes stay;
/// the first and last always.
fn thin_out(points: &[(f64, f64)], limit: usize) -> Stretch {
    if points.len() <= limit.max(4) {
        return points.to_vec();
    }
    let group = points.len().div_ceil((limit / 2).max(1));
    let mut kept = Vec::with_capacity(limit + 4);
    for chunk in points.chunks(group) {
        let by_y = |&(_, a): &(usize, &(f64, f64)), &(_, b): &(usize, &(f64, f64))| a.1.total_cmp(&b.1);
        let low = chunk.iter().enumerate().min_by(by_y).map_or(0, |found| found.0);
        let high = chunk.iter().enumerate().max_by(by_y).map_or(0, |found| found.0);
        kept.push(chunk[low.min(high)]);
        if low != high {
            kept.push(chunk[low.max(high)]);
        }
    }
    let ends = (points.first(), points.last());
    if let (Some(first), Some(last)) = ends {
        if kept.first() != Some(first) {
            kept.insert(0, *first);
        }
        if kept.last() != Some(last) {
            kept.push(*last);
        }
    }
    kept
}

/// The points for the script: numbers only, to six digits.
fn points_json(curves: &[Vec<Stretch>]) -> String {
    let short = |value: f64| format!("{value:.5e}").parse::<f64>().unwrap_or(0.0);
    let series: Vec<Vec<[f64; 2]>> = curves
        .iter()
        .map(|stretches| stretches.iter().flatten().map(|point| [short(point.0), short(point.1)]).collect())
        .collect();
    serde_json::json!(series).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn chart(points: Vec<(f64, f64)>, log_y: bool) -> String {
        let series = vec![Series { name: "a".into(), points }];
        LineChart { title: "t".into(), series, log_y, ..LineChart::default() }.render().into_string()
    }

    proptest! {
        #[test]
        fn thinning_keeps_ends_and_extremes(ys in prop::collection::vec(-1e3f64..1e3, 1..3000), limit in 4usize..700) {
            let points: Vec<_> = ys.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
            let thin = thin_out(&points, limit);
            prop_assert!(thin.len() <= limit + 4, "{} of {limit}", thin.len());
            prop_assert!(thin.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert_eq!(thin.first(), points.first());
            prop_assert_eq!(thin.last(), points.last());
            let extremes = |points: &[(f64, f64)]| {
                let ys = || points.iter().map(|point| point.1);
                (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max))
            };
            prop_assert_eq!(extremes(&thin), extremes(&points));
        }

        #[test]
        fn any_points_draw_without_nan(points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..12), log in any::<bool>()) {
            let html = chart(points, log);
            prop_assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }

    #[test]
    fn gaps_split_the_line() {
        let html = chart(vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0), (3.0, 4.0)], false);
        // Two stretches in each of the two drawings.
        assert_eq!(html.matches("<path").count(), 4);
        let html = chart(vec![(0.0, 1.0), (1.0, 0.0), (2.0, 3.0)], true);
        assert_eq!(html.matches("<path").count(), 4, "zero has no logarithm");
    }

    #[test]
    fn without_data_it_says_so() {
        for points in [vec![], vec![(f64::NAN, 1.0)], vec![(1.0, f64::INFINITY)]] {
            assert!(chart(points, false).contains("无数据"));
        }
        let none = LineChart::default().render().into_string();
        assert!(none.contains("no data"));
    }

    #[test]
    fn the_description_tells_the_ends() {
        let html = chart(vec![(100.0, 2.0), (1.0, 8.0), (50.0, 1.5)], false);
        assert!(html.contains("8.000 at 1.000, 2.000 at 100.0, minimum 1.500"), "{html}");
    }

    #[test]
    fn points_for_the_script_are_plain_numbers() {
        let json = points_json(&[vec![vec![(1.0, 1.0 / 3.0)], vec![(3.0, 1e-9)]], vec![]]);
        let back: Vec<Vec<[f64; 2]>> = serde_json::from_str(&json).unwrap();
        assert_eq!(back, [vec![[1.0, 0.333333], [3.0, 1e-9]], vec![]]);
    }
}
