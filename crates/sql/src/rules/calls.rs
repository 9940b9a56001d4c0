use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;

use crate::functions::{Function, Functions, Value};

/// A function called on the document's text: computed once for each document, and a column for the rules.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) function: Function,
    /// What it takes besides the text.
    pub(super) number: Option<f64>,
    pub(super) column: String,
}

impl Call {
    fn new(function: &Function, number: Option<f64>) -> Self {
        Self { function: function.clone(), number, column: column_name(function.name(), number) }
    }
}

/// `dup_ngram_ratio(text, 5)` is the column `dup_ngram_ratio_5`; `char_count(text)` is `char_count`.
pub fn column_name(function: &str, number: Option<f64>) -> String {
    match number {
        None => function.into(),
        Some(number) => format!("{function}_{number}").replace('.', "_").replace('-', "minus_"),
    }
}

/// Takes the calls on the text out of an expression: each becomes a column, and is added to `calls` where it is new. A
/// column named like a function of the text alone is short for its call.
pub(super) fn extract(expression: Expr, functions: &Functions, calls: &mut Vec<Call>) -> Result<Expr> {
    let replace = |expression: Expr| {
        let Some(call) = call_of(&expression, functions) else { return Ok(Transformed::no(expression)) };
        let column = call.column.clone();
        if !calls.iter().any(|known| known.column == column) {
            calls.push(call);
        }
        Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column))))
    };
    expression.transform_up(replace).data()
}

fn call_of(expression: &Expr, functions: &Functions) -> Option<Call> {
    match expression {
        Expr::Column(column) => {
            let function = functions.get(&column.name).filter(|function| !function.takes_number())?;
            Some(Call::new(function, None))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let function = functions.get(func.name())?;
            match &args[..] {
                [text] if is_text(text) && !function.takes_number() => Some(Call::new(function, None)),
                [text, number] if is_text(text) && function.takes_number() => {
                    Some(Call::new(function, Some(constant(number)?)))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_text(expression: &Expr) -> bool {
    matches!(expression, Expr::Column(column) if column.name == "text")
}

fn constant(expression: &Expr) -> Option<f64> {
    match expression {
        Expr::Negative(inner) => Some(-constant(inner)?),
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some(*number as f64),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some(*number as f64),
        Expr::Literal(ScalarValue::Float64(Some(number)), _) => Some(*number),
        _ => None,
    }
}

/// A measured value as a person reads it: four digits, no trailing zeros.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Number(Some(number)) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        Value::Number(Some(number)) => {
            let before = number.abs().log10().floor().clamp(-12.0, 3.0) as i32 + 1;
            let text = format!("{number:.*}", (4 - before).max(0) as usize);
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').into(),
                false => text,
            }
        }
        Value::Text(Some(text)) => format!("{text:?}"),
        Value::Number(None) | Value::Text(None) => "NULL".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_after_their_calls() {
        for (number, expect) in [(None, "f"), (Some(5.0), "f_5"), (Some(0.25), "f_0_25"), (Some(-1.0), "f_minus_1")] {
            assert_eq!(column_name("f", number), expect);
        }
    }

    #[test]
    fn values_are_shown_with_four_digits() {
        for (number, expect) in [
            (0.41, "0.41"),
            (0.123456, "0.1235"),
            (3.0, "3"),
            (1234.5678, "1235"),
            (12.345678, "12.35"),
            (-0.5, "-0.5"),
            (0.000123456, "0.0001235"),
            (0.0, "0"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(shown(&Value::Number(Some(number))), expect);
        }
        assert_eq!(shown(&Value::Text(Some("zh".into()))), "\"zh\"");
        assert_eq!(shown(&Value::Number(None)), "NULL");
    }
}
