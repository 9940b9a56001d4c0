//! Names in an expression, checked before DataFusion sees it: what is wrong is said with its place and the nearest name.

use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::logical_expr::Volatility;
use datafusion::sql::sqlparser::ast::{Expr, Function, Ident, visit_expressions};

use super::COLUMNS;
use crate::error::Place;
use crate::functions::Functions;

/// What is wrong, where, and what may have been meant.
pub(super) type Wrong = (Place, String, Option<String>);

/// Checks that every function and column of `expression` exists.
pub(super) fn check(expression: &Expr, state: &SessionState, functions: &Functions) -> Result<(), Wrong> {
    let found = visit_expressions(expression, |expression| {
        let checked = match expression {
            Expr::Identifier(name) => column(name, functions),
            Expr::CompoundIdentifier(names) => names.first().map_or(Ok(()), |name| {
                let message =
                    format!("there is no table {:?}: a rule looks at the columns of one document", name.value);
                Err((place(name), message, None))
            }),
            Expr::Function(call) => function(call, state, functions),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                let message = "a rule looks at one document, and cannot hold a query".into();
                Err((Place::default(), message, None))
            }
            _ => Ok(()),
        };
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(wrong) => ControlFlow::Break(wrong),
        }
    });
    found.break_value().map_or(Ok(()), Err)
}

fn column(name: &Ident, functions: &Functions) -> Result<(), Wrong> {
    let written = normalized(name);
    let measured = functions.iter().filter(|function| !function.takes_number()).map(|function| function.name());
    let known: Vec<&str> = COLUMNS.into_iter().chain(measured).collect();
    if known.contains(&written.as_str()) {
        return Ok(());
    }
    let hint = match nearest(&written, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!(
            "the columns are {}; a field of the metadata is meta(metadata, '{written}'), and a text stands in single quotes",
            COLUMNS.join(", ")
        ),
    };
    Err((place(name), format!("there is no column {written:?}"), Some(hint)))
}

fn function(call: &Function, state: &SessionState, functions: &Functions) -> Result<(), Wrong> {
    let Some(name) = call.name.0.last().and_then(|part| part.as_ident()) else { return Ok(()) };
    let written = normalized(name);
    if functions.missing_model(&written).is_some() {
        let message = format!("{written}(text) needs a model");
        return Err((place(name), message, Some(format!("name its file: [clean.models] {written} = \"PATH\""))));
    }
    if call.over.is_some() || state.aggregate_functions().contains_key(&written) {
        let message = format!("{written} looks at many documents, and a rule at one");
        return Err((place(name), message, None));
    }
    match state.scalar_functions().get(&written) {
        Some(known) if known.signature().volatility == Volatility::Immutable => Ok(()),
        Some(_) => {
            let message = format!("{written} does not always give the same answer, and a rule must");
            Err((place(name), message, None))
        }
        None => {
            let hint = unknown_function(&written, state, functions);
            Err((place(name), format!("there is no function {written:?}"), Some(hint)))
        }
    }
}

/// The functions of a text come first: they are what rules are made of.
fn unknown_function(name: &str, state: &SessionState, functions: &Functions) -> String {
    let near = nearest(name, functions.iter().map(|function| function.name()));
    if let Some(function) = near.and_then(|near| functions.get(near)) {
        return format!("did you mean {}?", function.usage());
    }
    let mut others: Vec<&str> = state.scalar_functions().keys().map(String::as_str).collect();
    others.sort_unstable(); // of two as near, always the same one
    match nearest(name, others.into_iter()) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            let all: Vec<String> = functions.iter().map(|function| function.usage()).collect();
            format!("functions of a text are {}", all.join(", "))
        }
    }
}

/// Names without quotes are lower case, as in SQL.
fn normalized(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn place(name: &Ident) -> Place {
    Place { line: name.span.start.line, column: name.span.start.column }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
