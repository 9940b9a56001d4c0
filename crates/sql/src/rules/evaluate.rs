use std::cell::OnceCell;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, RecordBatchOptions, StringArray};
use danlu_text::Analysis;
use datafusion::common::{DataFusionError, exec_datafusion_err};
use rayon::prelude::*;

use super::calls::{Call, shown};
use super::compile::said;
use super::{COLUMNS, Compiled, Condition, Input, Judged, Row, Rules};
use crate::error::{Place, SqlError};
use crate::functions::Value;

/// Documents of about so many bytes of text are judged together: enough to make up for the cost of a batch, and few
/// enough that the analyses of their texts, which are several times as large, stay in the cache.
const GROUP_BYTES: usize = 256 << 10;

impl Rules {
    /// Judges documents, on all cores. Rules are asked in order, and a document that one drops is not measured for those
    /// after it, unless `all` is wanted. The result for a document does not depend on the others.
    ///
    /// # Errors
    /// A condition that cannot be evaluated, such as the cast of a text that is no number.
    pub fn judge(&self, rows: &[Row<'_>], all: bool) -> Result<Vec<Judged>, SqlError> {
        let groups: Vec<&[Row<'_>]> = groups(rows);
        let judged: Vec<Vec<Judged>> =
            groups.into_par_iter().map(|rows| self.judge_group(rows, all)).collect::<Result<_, _>>()?;
        Ok(judged.into_iter().flatten().collect())
    }

    fn judge_group(&self, rows: &[Row<'_>], all: bool) -> Result<Vec<Judged>, SqlError> {
        let mut group = Group::new(rows, &self.calls);
        let mut alive: Vec<usize> = (0..rows.len()).collect();
        let mut dropped: Vec<Option<(usize, String)>> = vec![None; rows.len()];
        for (index, rule) in self.rules.iter().enumerate() {
            let asked = match &rule.guard {
                None => alive.clone(),
                Some(guard) => group.holds(guard, &alive).map_err(|e| failed(rule, &e))?,
            };
            group.measure(&asked, &rule.condition.calls());
            for row in group.holds(&rule.condition, &asked).map_err(|e| failed(rule, &e))? {
                dropped[row] = Some((index, group.detail(rule, row)));
                if !all {
                    group.analyses[row] = OnceCell::new(); // the largest part of what is held
                }
            }
            alive.retain(|&row| dropped[row].is_none());
        }
        let everyone: Vec<usize> = (0..rows.len()).collect();
        let everything: Vec<usize> = (0..self.calls.len()).collect();
        if all {
            group.measure(&everyone, &everything);
        } else {
            group.measure(&alive, &self.wanted.iter().map(|(_, call)| *call).collect::<Vec<usize>>());
        }
        let judged = dropped.into_iter().enumerate();
        Ok(judged.map(|(row, dropped)| Judged { dropped, statistics: self.statistics_of(&group, row) }).collect())
    }

    fn statistics_of(&self, group: &Group<'_>, row: usize) -> Vec<Option<f64>> {
        let value = |&call: &usize| match group.values[call][row] {
            Some(Value::Number(number)) => number,
            _ => None,
        };
        self.statistics.iter().map(value).collect()
    }
}

fn groups<'a, 'b>(rows: &'a [Row<'b>]) -> Vec<&'a [Row<'b>]> {
    let mut groups = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        bytes += row.text.len() + 64;
        if bytes >= GROUP_BYTES {
            groups.push(&rows[start..=index]);
            (start, bytes) = (index + 1, 0);
        }
    }
    groups.push(&rows[start..]);
    groups
}

fn failed(rule: &Compiled, error: &DataFusionError) -> SqlError {
    let hint = "where values may be of another kind, use try_cast(value AS type), which gives NULL".to_owned();
    let (rule, message) = (rule.name.clone(), said(error));
    SqlError::Rule { rule, key: "drop_if", place: Place::default(), message, hint: Some(hint) }
}

impl Condition {
    /// The calls that it asks for.
    fn calls(&self) -> Vec<usize> {
        let call = |input: &Input| if let Input::Call(call) = input { Some(*call) } else { None };
        self.inputs.iter().filter_map(call).collect()
    }
}

/// Documents that are judged together.
struct Group<'a> {
    rows: &'a [Row<'a>],
    calls: &'a [Call],
    analyses: Vec<OnceCell<Analysis<'a>>>,
    /// By call and row, where measured.
    values: Vec<Vec<Option<Value>>>,
}

impl<'a> Group<'a> {
    fn new(rows: &'a [Row<'a>], calls: &'a [Call]) -> Self {
        let analyses = rows.iter().map(|_| OnceCell::new()).collect();
        Self { rows, calls, analyses, values: vec![vec![None; rows.len()]; calls.len()] }
    }

    fn measure(&mut self, rows: &[usize], calls: &[usize]) {
        for &row in rows {
            let analysis = &self.analyses[row];
            for &call in calls {
                let value = &mut self.values[call][row];
                if value.is_none() {
                    let analysis = analysis.get_or_init(|| Analysis::new(self.rows[row].text));
                    let Call { function, number, .. } = &self.calls[call];
                    *value = Some(function.apply(analysis, number.unwrap_or_default()));
                }
            }
        }
    }

    /// Those of the rows for which the condition is true.
    fn holds(&self, condition: &Condition, rows: &[usize]) -> Result<Vec<usize>, DataFusionError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let columns = condition.inputs.iter().map(|input| self.column(*input, rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(condition.schema.clone(), columns, &options)?;
        let result = condition.expression.evaluate(&batch)?.into_array(rows.len())?;
        match result.as_boolean_opt() {
            Some(verdicts) => {
                let held = rows.iter().zip(verdicts.iter()).filter(|(_, verdict)| *verdict == Some(true));
                Ok(held.map(|(row, _)| *row).collect())
            }
            None if result.logical_null_count() == rows.len() => Ok(Vec::new()),
            None => Err(exec_datafusion_err!("the condition is neither true nor false")),
        }
    }

    fn column(&self, input: Input, rows: &[usize]) -> ArrayRef {
        match input {
            Input::Call(call) if self.calls[call].function.gives_text() => {
                Arc::new(rows.iter().map(|&row| self.text(call, row)).collect::<StringArray>())
            }
            Input::Call(call) => Arc::new(rows.iter().map(|&row| self.number(call, row)).collect::<Float64Array>()),
            Input::Column(column) => {
                let texts = rows.iter().map(|&row| Some(field(&self.rows[row], column)));
                Arc::new(texts.collect::<StringArray>())
            }
        }
    }

    fn number(&self, call: usize, row: usize) -> Option<f64> {
        if let Some(Value::Number(number)) = &self.values[call][row] { *number } else { None }
    }

    fn text(&self, call: usize, row: usize) -> Option<&str> {
        if let Some(Value::Text(text)) = &self.values[call][row] { text.as_deref() } else { None }
    }

    /// The condition and what it saw: `dup_line_ratio(text) > 0.3: dup_line_ratio = 0.41`.
    fn detail(&self, rule: &Compiled, row: usize) -> String {
        let seen = rule.condition.inputs.iter().filter_map(|input| match *input {
            Input::Call(call) => {
                Some(format!("{} = {}", self.calls[call].column, self.values[call][row].as_ref().map(shown)?))
            }
            // The text and the metadata stand beside the detail.
            Input::Column(column) if ["source", "language"].contains(&COLUMNS[column]) => {
                Some(format!("{} = {:?}", COLUMNS[column], field(&self.rows[row], column)))
            }
            Input::Column(_) => None,
        });
        let seen: Vec<String> = seen.collect();
        match seen.is_empty() {
            true => rule.written.clone(),
            false => format!("{}: {}", rule.written, seen.join(", ")),
        }
    }
}

/// A document's field by the number of its column in [`COLUMNS`].
fn field<'a>(row: &Row<'a>, column: usize) -> std::borrow::Cow<'a, str> {
    match column {
        0 => row.id.into(),
        1 => row.text.into(),
        2 => row.source.into(),
        3 => row.language.into(),
        _ => serde_json::to_string(row.metadata).unwrap_or_default().into(),
    }
}
