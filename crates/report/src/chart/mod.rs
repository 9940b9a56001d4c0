//! Charts as inline SVG. Each is drawn twice, for a wide and a narrow page, and the style sheet shows the one that fits:
//! scaled down by the view box alone, labels would be unreadable on a phone.

mod bar;
mod funnel;
mod histogram;
mod limits;
mod line;
mod scale;

use maud::{Markup, html};

pub use bar::{Bar, BarChart};
pub use funnel::{Funnel, FunnelStep};
pub use histogram::{Bin, Histogram};
pub use limits::{Beyond, HistogramWithLimits, Limit};
pub use line::{LineChart, Series};

use crate::text::{T, text_width};

/// The font size of all text in charts, in units of the view box. The style sheet says the same.
const FONT: f64 = 12.0;

/// The size of a drawing, in units of its view box.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Frame {
    width: f64,
    height: f64,
    class: &'static str,
}

const WIDE: Frame = Frame { width: 760.0, height: 300.0, class: "wide" };
const NARROW: Frame = Frame { width: 360.0, height: 260.0, class: "narrow" };

/// The rectangle of a drawing inside its axes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// The figure around a chart: its title, then both drawings.
fn figure(title: &T, body: &Markup, draw: impl Fn(Frame) -> Markup) -> Markup {
    html! {
        figure class="chart" {
            figcaption { (title) }
            (body)
            (draw(WIDE)) (draw(NARROW))
        }
    }
}

/// The `<svg>` of one drawing. `description` tells those who cannot see it what it shows.
fn svg(frame: Frame, title: &T, description: &str, body: &Markup) -> Markup {
    html! {
        svg class=(frame.class) viewBox=(view_box(frame)) role="img" aria-label=(title.both()) {
            desc { (description) }
            (body)
        }
    }
}

fn view_box(frame: Frame) -> String {
    format!("0 0 {} {}", px(frame.width), px(frame.height))
}

/// What stands in place of a drawing without data.
fn no_data(frame: Frame) -> Markup {
    html! {
        text x=(px(frame.width / 2.0)) y=(px(frame.height / 2.0)) text-anchor="middle" class="muted" {
            (T::new("no data", "无数据").svg())
        }
    }
}

/// A coordinate to a tenth of a unit.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// `text`, shortened to what fits in `width` units at the charts' font size.
fn fit(text: &str, width: f64) -> String {
    if text_width(text) * FONT <= width {
        return text.to_owned();
    }
    let mut used = FONT; // the ellipsis
    let mut kept = String::new();
    for c in text.chars() {
        used += text_width(c.encode_utf8(&mut [0; 4])) * FONT;
        if used > width {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// Both languages of `text`, each shortened.
fn fit_both(text: &T, width: f64) -> T {
    T::new(fit(&text.en, width), fit(&text.zh, width))
}

/// Gridlines and labels of a vertical axis, its label above it.
fn y_axis(area: Area, label: &T, ticks: &[(f64, String)]) -> Markup {
    html! {
        text x="0" y=(px(FONT)) class="muted" { (label.svg()) }
        @for (y, tick) in ticks {
            line class="grid" x1=(px(area.left)) x2=(px(area.right)) y1=(px(*y)) y2=(px(*y)) {}
            text x=(px(area.left - 8.0)) y=(px(y + 4.0)) text-anchor="end" { (tick) }
        }
    }
}

/// The line, ticks and labels of a horizontal axis, its label below.
fn x_axis(area: Area, label: &T, ticks: &[(f64, String)]) -> Markup {
    html! {
        line class="axis" x1=(px(area.left)) x2=(px(area.right)) y1=(px(area.bottom)) y2=(px(area.bottom)) {}
        @for (x, tick) in ticks {
            line class="axis" x1=(px(*x)) x2=(px(*x)) y1=(px(area.bottom)) y2=(px(area.bottom + 4.0)) {}
            text x=(px(*x)) y=(px(area.bottom + 18.0)) text-anchor="middle" { (tick) }
        }
        text x=(px(area.right)) y=(px(area.bottom + 36.0)) text-anchor="end" class="muted" { (label.svg()) }
    }
}

/// The area left for data once the tick labels have their place.
fn area_with_axes(frame: Frame, y_label: &T, y_ticks: &[String]) -> Area {
    let widest = y_ticks.iter().map(|tick| text_width(tick)).fold(0.0, f64::max);
    let top = if y_label.en.is_empty() { 10.0 } else { 26.0 };
    Area { left: widest * FONT + 12.0, right: frame.width - 14.0, top, bottom: frame.height - 42.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        assert_eq!(px(3.0), "3");
        assert_eq!(px(3.1234), "3.1");
        assert_eq!(px(-0.01), "0");
    }

    #[test]
    fn long_labels_are_shortened() {
        assert_eq!(fit("short", 100.0), "short");
        let cut = fit("a label that is far too long", 100.0);
        assert!(cut.ends_with('…') && text_width(&cut) * FONT <= 100.0 + FONT, "{cut}");
        assert_eq!(fit("床前明月光疑是地上霜", 48.0), "床前明…");
        assert_eq!(fit("abc", 0.0), "…");
    }
}
