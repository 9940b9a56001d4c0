use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DataFusionError, ToDFSchema};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::parser::ParserError;

use super::calls::{Call, extract};
use super::names;
use super::{COLUMNS, Compiled, Condition, Input, Rule, Rules};
use crate::error::{Place, SqlError};
use crate::functions::Functions;

impl Rules {
    /// Compiles rules, which are asked in this order, and statistics that are to be measured besides, each a call on the
    /// text such as `mean_word_length(text)`.
    ///
    /// # Errors
    /// [`SqlError::Rule`], which names the rule, the place and what may have been meant: broken SQL, a function or
    /// column that does not exist, a condition that is not true or false, two rules of one name.
    pub fn compile(rules: &[Rule<'_>], statistics: &[&str], functions: &Functions) -> Result<Self, SqlError> {
        let context = SessionContext::new();
        functions.register(&context);
        let mut compiler = Compiler { state: context.state(), functions, calls: Vec::new() };
        let mut compiled: Vec<Compiled> = Vec::with_capacity(rules.len());
        for rule in rules {
            if rule.name.trim().is_empty() {
                let message =
                    format!("the rule {:?} needs a name: the reason for which documents are dropped", rule.drop_if);
                return Err(wrong(rule, "name", Place::default(), message, None));
            }
            if compiled.iter().any(|other| other.name == rule.name) {
                return Err(wrong(rule, "name", Place::default(), "two rules have this name".into(), None));
            }
            compiled.push(compiler.rule(rule)?);
        }
        let wanted = statistics.iter().map(|call| Ok(((*call).to_owned(), compiler.statistic(call)?)));
        let wanted = wanted.collect::<Result<Vec<(String, usize)>, SqlError>>()?;
        let calls = compiler.calls;
        let statistics: Vec<usize> = (0..calls.len()).filter(|&call| !calls[call].function.gives_text()).collect();
        let names = statistics.iter().map(|&call| calls[call].column.clone()).collect();
        Ok(Self { rules: compiled, calls, statistics, names, wanted })
    }
}

fn wrong(rule: &Rule<'_>, key: &'static str, place: Place, message: String, hint: Option<String>) -> SqlError {
    SqlError::Rule { rule: rule.name.into(), key, place, message, hint }
}

struct Compiler<'a> {
    state: SessionState,
    functions: &'a Functions,
    calls: Vec<Call>,
}

impl Compiler<'_> {
    fn rule(&mut self, rule: &Rule<'_>) -> Result<Compiled, SqlError> {
        let expression = self.parse(rule, "drop_if")?;
        let failed = |e: DataFusionError| wrong(rule, "drop_if", Place::default(), said(&e), None);
        let expression = extract(expression, self.functions, &mut self.calls).map_err(failed)?;
        let condition = self.condition(rule, expression.clone())?;
        let guard = self.guard(&expression).map(|guard| self.condition(rule, guard)).transpose()?;
        Ok(Compiled { name: rule.name.into(), written: one_line(rule.drop_if), guard, condition })
    }

    fn condition(&self, rule: &Rule<'_>, expression: Expr) -> Result<Condition, SqlError> {
        let failed = |e: DataFusionError| wrong(rule, "drop_if", Place::default(), said(&e), None);
        let (schema, inputs) = self.inputs(&expression).map_err(failed)?;
        let schema = Arc::new(schema);
        let wide = DFSchema::try_from(schema.clone()).map_err(failed)?;
        let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(wide.clone())).build());
        let expression = simplifier.coerce(expression, &wide).and_then(|e| simplifier.simplify(e)).map_err(failed)?;
        let expression = self.state.create_physical_expr(expression, &wide).map_err(failed)?;
        match expression.data_type(&schema).map_err(failed)? {
            DataType::Boolean | DataType::Null => Ok(Condition { expression, schema, inputs }),
            other => {
                let message =
                    format!("{:?} is {}, and a condition must be true or false", rule.drop_if, in_words(&other));
                let hint = Some("compare it with a limit: dup_line_ratio(text) > 0.3".into());
                Err(wrong(rule, "drop_if", Place::default(), message, hint))
            }
        }
    }

    /// The conjuncts that need no call, where others do.
    fn guard(&self, expression: &Expr) -> Option<Expr> {
        let calls = |part: &&Expr| {
            part.column_refs().iter().any(|column| self.calls.iter().any(|call| call.column == column.name))
        };
        let (asking, free): (Vec<&Expr>, Vec<&Expr>) = split_conjunction(expression).into_iter().partition(calls);
        if asking.is_empty() { None } else { conjunction(free.into_iter().cloned()) }
    }

    /// A call that is measured though no rule asks for it.
    fn statistic(&mut self, call: &str) -> Result<usize, SqlError> {
        let rule = Rule { name: call, drop_if: call };
        let expression = self.parse(&rule, "statistic")?;
        let failed = |e: DataFusionError| wrong(&rule, "statistic", Place::default(), said(&e), None);
        if let Expr::Column(column) = extract(expression, self.functions, &mut self.calls).map_err(failed)? {
            let found = self.calls.iter().position(|call| call.column == column.name);
            if let Some(found) = found.filter(|&found| !self.calls[found].function.gives_text()) {
                return Ok(found);
            }
        }
        let message = "not a number measured of a text, such as mean_word_length(text)".into();
        Err(wrong(&rule, "statistic", Place::default(), message, None))
    }

    fn parse(&self, rule: &Rule<'_>, key: &'static str) -> Result<Expr, SqlError> {
        let dialect = self.state.config_options().sql_parser.dialect;
        let parsed = self.state.sql_to_expr_with_alias(rule.drop_if, &dialect).map_err(|e| {
            let (place, message) = syntax(&e);
            wrong(rule, key, place, message, None)
        })?;
        if let Some(alias) = &parsed.alias {
            let message = format!("what does {:?} do here?", alias.value);
            return Err(wrong(rule, key, Place::default(), message, None));
        }
        names::check(&parsed.expr, &self.state, self.functions)
            .map_err(|(place, message, hint)| wrong(rule, key, place, message, hint))?;
        let failed = |e: DataFusionError| wrong(rule, key, Place::default(), said(&e), None);
        let schema = self.everything().to_dfschema().map_err(failed)?;
        self.state.create_logical_expr_from_sql_expr(parsed, &schema).map_err(failed)
    }

    /// Every column that an expression may name.
    fn everything(&self) -> Schema {
        let columns = COLUMNS.iter().map(|name| Field::new(*name, DataType::Utf8, true));
        let measured = self.functions.iter().filter(|function| !function.takes_number());
        let measured = measured.map(|function| Field::new(function.name(), type_of(function.gives_text()), true));
        let measured = measured.filter(|field| !COLUMNS.contains(&field.name().as_str()));
        Schema::new(columns.chain(measured).collect::<Vec<_>>())
    }

    /// The columns that an expression names, and where they come from.
    fn inputs(&self, expression: &Expr) -> datafusion::common::Result<(Schema, Vec<Input>)> {
        let mut names: Vec<&str> = expression.column_refs().into_iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable(); // the set has no order of its own
        let mut fields = Vec::with_capacity(names.len());
        let mut inputs = Vec::with_capacity(names.len());
        for name in names {
            let call = self.calls.iter().position(|call| call.column == name);
            let column = COLUMNS.iter().position(|column| *column == name);
            let input = call.map(Input::Call).or(column.map(Input::Column));
            let input = input.ok_or_else(|| datafusion::common::plan_datafusion_err!("there is no column {name:?}"))?;
            let text = call.is_none_or(|call| self.calls[call].function.gives_text());
            fields.push(Field::new(name, type_of(text), true));
            inputs.push(input);
        }
        Ok((Schema::new(fields), inputs))
    }
}

fn type_of(text: bool) -> DataType {
    if text { DataType::Utf8 } else { DataType::Float64 }
}

fn in_words(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "a text".into(),
        kind if kind.is_numeric() => "a number".into(),
        kind => format!("of type {kind}"),
    }
}

/// The place and the message of broken SQL.
fn syntax(error: &DataFusionError) -> (Place, String) {
    let DataFusionError::SQL(error, _) = error.find_root() else { return (Place::default(), said(error)) };
    let message = match &**error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.as_str(),
        ParserError::RecursionLimitExceeded => "nested too deeply",
    };
    // The parser says the place in words: "Expected: ..., found: > at Line: 1, Column: 5".
    let Some((said, place)) = message.rsplit_once(" at Line: ") else { return (Place::default(), message.into()) };
    let numbers: Vec<u64> = place.split(", Column: ").filter_map(|number| number.trim().parse().ok()).collect();
    match numbers[..] {
        [line, column] => (Place { line, column }, said.into()),
        _ => (Place::default(), message.into()),
    }
}

/// What DataFusion says, without its own prefixes.
pub(super) fn said(error: &DataFusionError) -> String {
    let message = error.strip_backtrace();
    let message = message.lines().next().unwrap_or_default();
    let prefixes = ["Error during planning: ", "Execution error: ", "Schema error: ", "Internal error: "];
    prefixes.iter().fold(message, |message, prefix| message.strip_prefix(prefix).unwrap_or(message)).into()
}

/// A condition as details and reports show it.
fn one_line(condition: &str) -> String {
    condition.split_whitespace().collect::<Vec<_>>().join(" ")
}
