//! Charts and pages: figures and tables into one self-contained HTML file.
//!
//! A [`Page`] is a title and [`Section`]s of [`Block`]s: tables, charts, samples, code. The page asks nothing of the
//! network (style, script and SVG charts are inline, and a content security policy forbids the rest), is light or dark as
//! the reader's system is, reads on a phone, and speaks English and Chinese: every label is a [`T`] with both.
//! Without JavaScript it shows English, and everything but the hover read-outs and the two toggles works.
//!
//! The room knows nothing of models or runs: callers bring numbers and words. It uses no other crate of the project.
//! [`number`] formats figures alike everywhere; [`markdown_table`] serves model cards.
//!
//! Begin reading at [`Page::html`]; a chart is easiest to follow in `chart/histogram.rs`.

mod block;
mod chart;
mod markdown;
pub mod number;
mod page;
mod palette;
mod text;

pub use block::{Align, Block, Column, Compared, Figure, Mark, Marked, Row, Sample, Table};
pub use chart::{Bar, BarChart, Bin, Funnel, FunnelStep, Histogram, LineChart, Series};
pub use chart::{Beyond, HistogramWithLimits, Limit};
pub use markdown::markdown_table;
pub use page::{Page, Section};
pub use text::T;
