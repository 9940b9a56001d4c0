//! Rules: SQL conditions on one document, each with a name, that say which documents are dropped.
//!
//! Compiling takes every call of a function on the text (`dup_ngram_ratio(text, 5)`) out of the conditions. Such a call is
//! computed once for each document, whatever the number of rules that ask for it, and is a column of numbers from there
//! on; what is left of a condition is evaluated by DataFusion on many documents at once. See `compile.rs`, then
//! `evaluate.rs`.

mod calls;
mod compile;
mod evaluate;
mod names;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use serde_json::{Map, Value};

pub use calls::column_name;

use calls::Call;

/// The columns of a document that a rule may use, all of them texts; `metadata` is JSON.
pub const COLUMNS: [&str; 5] = ["id", "text", "source", "language", "metadata"];

/// A rule as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// The reason for which documents are dropped.
    pub name: &'a str,
    /// A document is dropped when this is true. It is kept when it is false, and when it is NULL: nothing is known
    /// against the document then.
    pub drop_if: &'a str,
}

/// A document as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub id: &'a str,
    pub text: &'a str,
    pub source: &'a str,
    pub language: &'a str,
    pub metadata: &'a Map<String, Value>,
}

/// What the rules found of one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// The rule that drops the document, as its number, and what it saw: the condition and the measured values.
    pub dropped: Option<(usize, String)>,
    /// What was measured, in the order of [`Rules::statistics`]. Not all of it for a document that was dropped, or that
    /// a rule does not ask (`language = 'zh' AND ...`).
    pub statistics: Vec<Option<f64>>,
}

/// Rules that are compiled and checked. Cheap to share among threads.
pub struct Rules {
    rules: Vec<Compiled>,
    calls: Vec<Call>,
    /// The calls that give numbers, as indices; their columns are kept with the documents.
    statistics: Vec<usize>,
    /// Their columns.
    names: Vec<String>,
    /// Calls that no rule need ask for, but somebody who comes later; as they were written.
    wanted: Vec<(String, usize)>,
}

struct Compiled {
    name: String,
    /// As it was written.
    written: String,
    /// The part of `language = 'zh' AND dup_line_ratio(text) > 0.3` for which nothing of the text need be measured. Where
    /// it is not true the whole is not, and the document is not measured for this rule.
    guard: Option<Condition>,
    condition: Condition,
}

struct Condition {
    expression: Arc<dyn PhysicalExpr>,
    /// The columns that the expression reads.
    schema: SchemaRef,
    inputs: Vec<Input>,
}

/// Where a column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// One of [`COLUMNS`].
    Column(usize),
    /// A call on the text.
    Call(usize),
}

impl Rules {
    /// The names of the columns that are measured, in the order in which rules ask for them.
    pub fn statistics(&self) -> &[String] {
        &self.names
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The column of a statistic that was asked for besides the rules.
    pub fn wanted(&self, statistic: &str) -> Option<&str> {
        let (_, call) = self.wanted.iter().find(|(written, _)| written == statistic)?;
        self.calls.get(*call).map(|call| call.column.as_str())
    }

    pub fn name(&self, rule: usize) -> &str {
        self.rules.get(rule).map_or("", |rule| &rule.name)
    }
}
