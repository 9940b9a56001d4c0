//! What a rule or a query may call on a text: the functions of `danlu_text::measure`, and models that score a text.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use danlu_text::{Analysis, FunctionKind, TextFunction, text_functions};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;
use rayon::prelude::*;

use crate::arrays::strings;
use crate::metadata::Meta;

/// Scores a text; `None` where it has no score. The text comes analysed: its words are found once for all functions.
pub type Scorer = Arc<dyn Fn(&Analysis<'_>) -> Option<f64> + Send + Sync>;

/// Functions that need a model, and the key that names it.
const MODELS: [&str; 2] = ["perplexity", "quality"];

/// The function that counts the words of a list: the one that ships, or one in its place.
const TOXICITY: &str = "toxicity_words";

/// The functions that rules and queries may call.
#[derive(Clone)]
pub struct Functions {
    all: Vec<Function>,
}

/// A function of a text, and of a number where it takes one.
#[derive(Clone)]
pub(crate) enum Function {
    Text(&'static TextFunction),
    Model { name: &'static str, scorer: Scorer },
}

/// What a function says of a text. Not a number is no value: every comparison with it would be true or false at random.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(Option<f64>),
    Text(Option<String>),
}

impl Default for Functions {
    fn default() -> Self {
        Self { all: text_functions().iter().map(Function::Text).collect() }
    }
}

impl Functions {
    /// With `perplexity(text)`, the score of a language model.
    #[must_use]
    pub fn with_perplexity(self, scorer: Scorer) -> Self {
        self.with_model(MODELS[0], scorer)
    }

    /// With `quality(text)`, the score of a classifier.
    #[must_use]
    pub fn with_quality(self, scorer: Scorer) -> Self {
        self.with_model(MODELS[1], scorer)
    }

    /// With `toxicity_words(text)` counting by another list than the one that ships.
    #[must_use]
    pub fn with_toxicity(mut self, scorer: Scorer) -> Self {
        self.all.retain(|function| function.name() != TOXICITY);
        self.with_model(TOXICITY, scorer)
    }

    fn with_model(mut self, name: &'static str, scorer: Scorer) -> Self {
        self.all.push(Function::Model { name, scorer });
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Function> {
        self.all.iter().find(|function| function.name() == name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Function> {
        self.all.iter()
    }

    /// The key that is missing for a function that needs a model.
    pub(crate) fn missing_model(&self, name: &str) -> Option<&'static str> {
        MODELS.into_iter().find(|model| *model == name && self.get(name).is_none())
    }

    pub(crate) fn register(&self, context: &SessionContext) {
        for function in &self.all {
            context.register_udf(ScalarUDF::new_from_impl(TextUdf::new(function.clone())));
        }
        for number in [false, true] {
            context.register_udf(ScalarUDF::new_from_impl(Meta::new(number)));
        }
    }
}

impl Function {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Text(function) => function.name,
            Self::Model { name, .. } => name,
        }
    }

    /// The name of the number that it takes after the text, if it takes one.
    pub(crate) fn parameter(&self) -> Option<&'static str> {
        match self {
            Self::Text(TextFunction { kind: FunctionKind::NumberWith { parameter, .. }, .. }) => Some(parameter),
            _ => None,
        }
    }

    pub(crate) fn takes_number(&self) -> bool {
        self.parameter().is_some()
    }

    pub(crate) fn gives_text(&self) -> bool {
        matches!(self, Self::Text(TextFunction { kind: FunctionKind::Text(_), .. }))
    }

    /// How it is called: `dup_ngram_ratio(text, n)`.
    pub(crate) fn usage(&self) -> String {
        match self.parameter() {
            Some(parameter) => format!("{}(text, {parameter})", self.name()),
            None => format!("{}(text)", self.name()),
        }
    }

    pub(crate) fn apply(&self, analysis: &Analysis<'_>, number: f64) -> Value {
        let finite = |value: Option<f64>| Value::Number(value.filter(|value| !value.is_nan()));
        match self {
            Self::Text(function) => match function.kind {
                FunctionKind::Number(measure) => finite(Some(measure(analysis))),
                FunctionKind::NumberWith { call, .. } => finite(Some(call(analysis, number))),
                FunctionKind::Text(measure) => Value::Text(Some(measure(analysis))),
            },
            Self::Model { scorer, .. } => finite(scorer(analysis)),
        }
    }
}

/// A function as SQL sees it.
struct TextUdf {
    function: Function,
    signature: Signature,
}

impl TextUdf {
    fn new(function: Function) -> Self {
        let signature = Signature::new(TypeSignature::UserDefined, Volatility::Immutable);
        Self { function, signature }
    }

    /// One row after another, on all cores: texts are long, and each is a task of its own.
    fn column(&self, texts: &ArrayRef, number: Option<&ArrayRef>) -> Result<ArrayRef> {
        let texts = strings(texts)?;
        let numbers = number.map(|n| n.as_primitive_opt::<Float64Type>().ok_or_else(|| self.misused())).transpose()?;
        let values: Vec<Option<Value>> = (0..texts.len())
            .into_par_iter()
            .map(|row| {
                let valid = texts.is_valid(row) && numbers.is_none_or(|numbers| numbers.is_valid(row));
                let number = numbers.map_or(0.0, |numbers| numbers.value(row));
                valid.then(|| self.function.apply(&Analysis::new(texts.value(row)), number))
            })
            .collect();
        if self.function.gives_text() {
            let mut column = StringBuilder::new();
            values.into_iter().for_each(|value| match value {
                Some(Value::Text(text)) => column.append_option(text),
                _ => column.append_null(),
            });
            return Ok(Arc::new(column.finish()));
        }
        let mut column = Float64Builder::new();
        values.into_iter().for_each(|value| match value {
            Some(Value::Number(number)) => column.append_option(number),
            _ => column.append_null(),
        });
        Ok(Arc::new(column.finish()))
    }

    fn misused(&self) -> datafusion::error::DataFusionError {
        exec_datafusion_err!("it is called as {}", self.function.usage())
    }
}

impl ScalarUDFImpl for TextUdf {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.function.gives_text() { DataType::Utf8 } else { DataType::Float64 })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let text = |given: &DataType| match given {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(given.clone()),
            DataType::Null => Some(DataType::Utf8),
            _ => None,
        };
        let number = |given: &DataType| given.is_numeric() || given.is_null();
        match types {
            [first] if !self.function.takes_number() && text(first).is_some() => Ok(text(first).into_iter().collect()),
            [first, second] if self.function.takes_number() && text(first).is_some() && number(second) => {
                Ok(text(first).into_iter().chain([DataType::Float64]).collect())
            }
            _ => plan_err!("it is called as {}", self.function.usage()),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &ColumnarValue::values_to_arrays(&arguments.args)?[..] {
            [texts] => Ok(ColumnarValue::Array(self.column(texts, None)?)),
            [texts, numbers] => Ok(ColumnarValue::Array(self.column(texts, Some(numbers))?)),
            _ => Err(self.misused()),
        }
    }
}

impl fmt::Debug for TextUdf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TextUdf({})", self.function.name())
    }
}

/// Functions are told apart by their names: of one session, one name is one function.
impl PartialEq for TextUdf {
    fn eq(&self, other: &Self) -> bool {
        self.function.name() == other.function.name()
    }
}

impl Eq for TextUdf {}

impl Hash for TextUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name().hash(state);
    }
}
