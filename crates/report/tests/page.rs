//! The finished page: safe against hostile text, and complete in itself.
#![allow(clippy::unwrap_used)]

use danlu_report::{
    Bar, BarChart, Beyond, Bin, Block, Column, Figure, Funnel, FunnelStep, Histogram, HistogramWithLimits, Limit,
    LineChart, Page, Row, Sample, Section, Series, T, Table,
};

const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>&lt;";

/// A page in which every place that takes text holds `text`.
fn page_full_of(text: &str) -> String {
    let t = || T::new(text.to_owned(), format!("{text}中"));
    let blocks = vec![
        Block::Text(t()),
        Block::Figures(vec![Figure { label: t(), value: t(), note: Some(t()) }]),
        Block::KeyValues(vec![(t(), t())]),
        Block::Table(Table {
            caption: Some(t()),
            columns: vec![Column::right(t())],
            rows: vec![Row::strong(vec![t()])],
        }),
        Block::LineChart(LineChart {
            title: t(),
            x_label: t(),
            y_label: t(),
            series: vec![Series { name: t(), points: vec![(0.0, 1.0), (1.0, 2.0)] }],
            log_y: true,
        }),
        Block::BarChart(BarChart {
            title: t(),
            x_label: t(),
            bars: vec![Bar { label: t(), value: 1.0, display: Some(text.into()), strong: false }],
        }),
        Block::Histogram(Histogram {
            title: t(),
            x_label: t(),
            y_label: t(),
            bins: vec![Bin { from: 0.0, to: 1.0, count: 2 }],
        }),
        Block::HistogramWithLimits(HistogramWithLimits {
            histogram: Histogram {
                title: t(),
                x_label: t(),
                y_label: t(),
                bins: vec![Bin { from: 0.0, to: 1.0, count: 2 }],
            },
            limits: vec![Limit { value: 0.5, beyond: Beyond::Above, label: t() }],
        }),
        Block::Funnel(Funnel {
            title: t(),
            unit: t(),
            steps: vec![
                FunnelStep { name: t(), kept: 9, dropped: vec![] },
                FunnelStep { name: t(), kept: 1, dropped: vec![(t(), 8)] },
            ],
        }),
        Block::Samples(vec![Sample { prompt: text.into(), text: text.into(), note: Some(t()) }]),
        Block::Code(text.into()),
    ];
    let details = Block::Details { summary: t(), blocks: blocks.clone() };
    let mut section = Section::new(t()).note(t()).block(details);
    section.blocks.extend(blocks);
    Page::new(t()).lead(t()).fact(t(), t()).section(section.clone()).section(section).html()
}

/// The tags of `html`, `<` to `>`, outside of the style and the page's own script.
fn tags(html: &str) -> Vec<&str> {
    html.split('<').skip(1).filter_map(|rest| rest.split('>').next()).filter(|tag| !tag.starts_with(' ')).collect()
}

#[test]
fn hostile_text_stays_text() {
    let hostile = page_full_of(HOSTILE);
    // The same letters without meaning to a browser, for long labels are shortened.
    let harmless = page_full_of(&HOSTILE.replace(['<', '>', '"', '\'', '&'], "x"));
    let count = |html: &str, what: &str| html.matches(what).count();
    for what in ["<script", "</script", "<svg", "<img", "<"] {
        assert_eq!(count(&hostile, what), count(&harmless, what), "{what}");
    }
    for tag in tags(&hostile) {
        let outside_quotes: String = tag.split('"').step_by(2).collect();
        assert!(!outside_quotes.contains("onerror") && !outside_quotes.contains("onload"), "{tag}");
    }
    assert!(count(&hostile, "&lt;script&gt;alert(1)") > 50);
}

#[test]
fn nothing_comes_from_the_network() {
    let html = page_full_of("harmless");
    for outside in ["http:", "https:", "url(", "@import", " src=", "//cdn", "integrity="] {
        // The name of the SVG namespace is no address: nothing is fetched from it.
        let rest = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!rest.contains(outside), "{outside}");
    }
    assert!(html.contains("default-src 'none'"));
    let links: Vec<_> = tags(&html).into_iter().filter(|tag| tag.contains("href=")).collect();
    assert!(links.iter().all(|tag| tag.contains("href=\"#") || tag.contains("href=\"data:,\"")), "{links:?}");
}

#[test]
fn both_languages_and_both_drawings_are_there() {
    let html = page_full_of("text");
    assert_eq!(html.matches("class=\"en\"").count(), html.matches("class=\"zh\"").count());
    assert_eq!(html.matches("<svg class=\"wide\"").count(), html.matches("<svg class=\"narrow\"").count());
    assert_eq!(html.matches("<svg ").count(), html.matches("role=\"img\"").count());
    assert_eq!(html.matches("<svg ").count(), html.matches("<desc>").count());
}

#[test]
fn without_script_it_is_english_and_shows_no_toggles() {
    let html = page_full_of("text");
    assert!(html.contains("html:not([data-lang=zh]) .zh, html[data-lang=zh] .en { display: none; }"));
    assert!(html.contains("<html lang=\"en\"") && !html.contains("<html data-lang"));
    assert!(html.contains("<span class=\"toggles\" hidden>"));
}

#[test]
fn the_same_page_is_the_same_bytes() {
    assert_eq!(page_full_of("text"), page_full_of("text"));
}

#[test]
fn an_empty_page_is_a_page() {
    let html = Page::new(T::new("Nothing", "无")).html();
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"));
}
