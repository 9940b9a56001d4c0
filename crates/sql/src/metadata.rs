//! `meta(metadata, 'key')` and `meta_number(metadata, 'key')`: fields of the metadata column, which is JSON text.

use std::sync::Arc;

use arrow_array::builder::{Float64Builder, StringBuilder};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use serde_json::{Map, Value};

use crate::arrays::strings;

/// One of the two functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Meta {
    number: bool,
    signature: Signature,
}

impl Meta {
    pub(crate) fn new(number: bool) -> Self {
        Self { number, signature: Signature::string(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Meta {
    fn name(&self) -> &str {
        if self.number { "meta_number" } else { "meta" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.number { DataType::Float64 } else { DataType::Utf8 })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [metadata, key] = &ColumnarValue::values_to_arrays(&arguments.args)?[..] else {
            return exec_err!("{} takes (metadata, 'key')", self.name());
        };
        let (metadata, key) = (strings(metadata)?, strings(key)?);
        let fields = (0..metadata.len()).map(|row| {
            let valid = metadata.is_valid(row) && key.is_valid(row);
            valid.then(|| field(metadata.value(row), key.value(row))).flatten()
        });
        Ok(ColumnarValue::Array(if self.number { numbers(fields) } else { texts(fields) }))
    }
}

fn numbers(fields: impl Iterator<Item = Option<Value>>) -> ArrayRef {
    let mut column = Float64Builder::new();
    fields.for_each(|field| column.append_option(field.as_ref().and_then(number)));
    Arc::new(column.finish())
}

fn texts(fields: impl Iterator<Item = Option<Value>>) -> ArrayRef {
    let mut column = StringBuilder::new();
    fields.for_each(|field| column.append_option(field.map(text)));
    let column: StringArray = column.finish();
    Arc::new(column)
}

/// The field `key`; where there is none of that name, `a.b` is the field `b` of the object `a`.
fn field(metadata: &str, key: &str) -> Option<Value> {
    let mut object: Map<String, Value> = serde_json::from_str(metadata).ok()?;
    let found = match object.remove(key) {
        Some(value) => value,
        None => {
            let (first, rest) = key.split_once('.')?;
            let mut value = object.remove(first)?;
            for part in rest.split('.') {
                value = value.as_object_mut()?.remove(part)?;
            }
            value
        }
    };
    (!found.is_null()).then_some(found)
}

/// A number, a text that is one, or a truth value as 0 or 1.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        _ => None,
    };
    number.filter(|number| !number.is_nan())
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_all_kinds() {
        let metadata = r#"{"score": 3, "语言": "中文", "n": null, "a": {"b": "4.5", "c.d": 1}, "a.x": true, "l": [1]}"#;
        let check = |key: &str, as_text: Option<&str>, as_number: Option<f64>| {
            let found = field(metadata, key);
            assert_eq!(found.as_ref().and_then(number), as_number, "{key}");
            assert_eq!(found.map(text).as_deref(), as_text, "{key}");
        };
        check("score", Some("3"), Some(3.0));
        check("语言", Some("中文"), None);
        check("n", None, None);
        check("missing", None, None);
        check("a.b", Some("4.5"), Some(4.5));
        check("a.x", Some("true"), Some(1.0));
        check("a.c.d", None, None);
        check("l", Some("[1]"), None);
        assert_eq!(field("not json", "a"), None);
    }
}
