use maud::{Markup, html};

use crate::chart::{BarChart, Funnel, Histogram, HistogramWithLimits, LineChart};
use crate::text::T;

/// What a section is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Text(T),
    /// The few numbers that matter most, set large.
    Figures(Vec<Figure>),
    KeyValues(Vec<(T, T)>),
    Table(Table),
    LineChart(LineChart),
    BarChart(BarChart),
    Histogram(Histogram),
    HistogramWithLimits(HistogramWithLimits),
    Funnel(Funnel),
    Samples(Vec<Sample>),
    Compared(Vec<Compared>),
    Code(String),
    /// Folded away until the reader opens it.
    Details {
        summary: T,
        blocks: Vec<Block>,
    },
}

/// One number set large.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    pub label: T,
    pub value: T,
    /// A line in small print below.
    pub note: Option<T>,
}

/// A table; numbers belong in [`Align::Right`] columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub caption: Option<T>,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    pub label: T,
    pub align: Align,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    #[default]
    Left,
    Right,
}

/// A row of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub cells: Vec<T>,
    /// Set in bold: the row that the table is about.
    pub strong: bool,
}

/// A text that a model wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    pub prompt: String,
    pub text: String,
    /// For example the sampling settings.
    pub note: Option<T>,
}

/// A text, and others beside it with what differs marked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    pub title: T,
    pub text: T,
    pub note: T,
    pub others: Vec<Marked>,
}

/// A text as it differs from another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marked {
    /// Empty where there is nothing to show.
    pub pieces: Vec<(Mark, String)>,
    pub note: T,
}

/// What has become of a piece of the other text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Same,
    Removed,
    Added,
}

impl Column {
    pub fn left(label: T) -> Self {
        Self { label, align: Align::Left }
    }

    pub fn right(label: T) -> Self {
        Self { label, align: Align::Right }
    }
}

impl Row {
    pub fn new(cells: Vec<T>) -> Self {
        Self { cells, strong: false }
    }

    pub fn strong(cells: Vec<T>) -> Self {
        Self { cells, strong: true }
    }
}

impl Block {
    pub(crate) fn render(&self) -> Markup {
        match self {
            Self::Text(text) => html! { p { (text) } },
            Self::Figures(figures) => figures_row(figures),
            Self::KeyValues(pairs) => html! {
                dl class="pairs" { @for (key, value) in pairs { div { dt { (key) } dd { (value) } } } }
            },
            Self::Table(table) => table.render(),
            Self::LineChart(chart) => chart.render(),
            Self::BarChart(chart) => chart.render(),
            Self::Histogram(chart) => chart.render(),
            Self::HistogramWithLimits(chart) => chart.render(),
            Self::Funnel(chart) => chart.render(),
            Self::Samples(samples) => html! { @for sample in samples { (sample.render()) } },
            Self::Compared(all) => html! { @for one in all { (one.render()) } },
            Self::Code(code) => html! { pre tabindex="0" { code { (code) } } },
            Self::Details { summary, blocks } => html! {
                details {
                    summary { (summary) }
                    @for block in blocks { (block.render()) }
                }
            },
        }
    }
}

fn figures_row(figures: &[Figure]) -> Markup {
    html! {
        dl class="figures" {
            @for figure in figures {
                div {
                    dt { (figure.label) }
                    dd {
                        span class="value" { (figure.value) }
                        @if let Some(note) = &figure.note { span class="note" { (note) } }
                    }
                }
            }
        }
    }
}

impl Table {
    fn render(&self) -> Markup {
        let class = |i: usize| match self.columns.get(i).map(|column| column.align) {
            Some(Align::Right) => "right",
            _ => "left",
        };
        html! {
            // Focusable, so that the keyboard can scroll it where it is wider than the screen.
            div class="scroll" tabindex="0" {
                table {
                    @if let Some(caption) = &self.caption { caption { (caption) } }
                    thead { tr { @for (i, column) in self.columns.iter().enumerate() {
                        th scope="col" class=(class(i)) { (column.label) }
                    } } }
                    tbody { @for row in &self.rows {
                        tr class=[row.strong.then_some("strong")] {
                            @for (i, cell) in row.cells.iter().enumerate() {
                                @if i == 0 { th scope="row" class=(class(i)) { (cell) } }
                                @else { td class=(class(i)) { (cell) } }
                            }
                        }
                    } }
                }
            }
        }
    }
}

impl Sample {
    fn render(&self) -> Markup {
        html! {
            figure class="sample" {
                blockquote { span class="prompt" { (self.prompt) } (self.text) }
                @if let Some(note) = &self.note { figcaption { (note) } }
            }
        }
    }
}

impl Compared {
    fn render(&self) -> Markup {
        html! {
            figure class="sample compared" {
                p class="title" { (self.title) }
                blockquote { (self.text) }
                figcaption { (self.note) }
                @for other in &self.others { (other.render()) }
            }
        }
    }
}

impl Marked {
    fn render(&self) -> Markup {
        html! {
            div class="other" {
                @if !self.pieces.is_empty() {
                    blockquote { @for (mark, text) in &self.pieces { @match mark {
                        Mark::Same => { (text) }
                        Mark::Removed => { del { (text) } }
                        Mark::Added => { ins { (text) } }
                    } } }
                }
                p class="note" { (self.note) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_marked_and_escaped() {
        let pieces =
            vec![(Mark::Same, "a ".to_owned()), (Mark::Removed, "<b>".to_owned()), (Mark::Added, "c".to_owned())];
        let others =
            vec![Marked { pieces, note: "90%".into() }, Marked { pieces: Vec::new(), note: "the same".into() }];
        let html = Block::Compared(vec![Compared { title: "two".into(), others, ..Compared::default() }])
            .render()
            .into_string();
        assert!(html.contains("a <del>&lt;b&gt;</del><ins>c</ins></blockquote>"), "{html}");
        assert_eq!(html.matches("<blockquote>").count(), 2, "{html}");
    }
}
