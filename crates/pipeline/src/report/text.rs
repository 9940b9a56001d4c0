//! Short ways to write labels and blocks.

use std::borrow::Cow;

use danlu_report::{Block, Column, LineChart, Row, Series, T, Table};

/// A label in English and Chinese.
pub fn t(en: impl Into<Cow<'static, str>>, zh: impl Into<Cow<'static, str>>) -> T {
    T::new(en, zh)
}

/// Text that is the same in both languages: a name, a number.
pub fn same(text: &str) -> T {
    T::same(text.to_owned())
}

/// A column of words.
pub fn left(en: &'static str, zh: &'static str) -> Column {
    Column::left(t(en, zh))
}

/// A column of numbers.
pub fn right(en: &'static str, zh: &'static str) -> Column {
    Column::right(t(en, zh))
}

pub fn table(columns: impl IntoIterator<Item = Column>, rows: Vec<Vec<T>>) -> Block {
    let columns = columns.into_iter().collect();
    Block::Table(Table { caption: None, columns, rows: rows.into_iter().map(Row::new).collect() })
}

/// A table whose first row sums up the others.
pub fn table_with_total(columns: impl IntoIterator<Item = Column>, rows: Vec<Vec<T>>) -> Block {
    let rows = rows.into_iter().enumerate().map(|(i, cells)| Row { cells, strong: i == 0 }).collect();
    Block::Table(Table { caption: None, columns: columns.into_iter().collect(), rows })
}

/// Name and (step, value) points of one curve.
pub type Line = (T, Vec<(f64, f64)>);

pub fn curves(title: T, y_label: T, lines: Vec<Line>) -> Block {
    let series = lines.into_iter().map(|(name, points)| Series { name, points }).collect();
    Block::LineChart(LineChart { title, x_label: t("step", "步"), y_label, series, log_y: false })
}
