//! Reading a JSON request body parameter by parameter, so that each error names the one at fault.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::api_error::{ApiError, shorten};

/// The parameters of a request that nobody has taken yet.
pub(crate) struct Params(Map<String, Value>);

impl Params {
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(ApiError::bad_request("The request body must be a JSON object.")),
            Err(error) => Err(ApiError::bad_request(format!("The request body is not valid JSON: {error}."))),
        }
    }

    /// The whole request, to be kept with its reply.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Takes a parameter; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub fn string(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, "a string", &other)),
        }
    }

    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(name, "true or false", &other)),
        }
    }

    pub fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Number(number) = &value else { return Err(wrong_type(name, "an integer", &value)) };
        let integer = match number.as_i64() {
            Some(integer) => integer,
            // Beyond i64, but still an integer: out of range rather than of the wrong type.
            None if number.is_u64() => i64::MAX,
            None => match number.as_f64() {
                // Some clients send 16.0; the guard keeps the cast exact.
                Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => float as i64,
                _ => return Err(wrong_type(name, "an integer", &value)),
            },
        };
        if range.contains(&integer) && !(integer == i64::MAX && number.is_u64() && number.as_i64().is_none()) {
            return Ok(Some(integer));
        }
        let allowed = match (*range.start(), *range.end()) {
            (low, i64::MAX) => format!("at least {low}"),
            (low, high) => format!("between {low} and {high}"),
        };
        Err(ApiError::param(name, format!("`{name}` is {number}, but must be {allowed}.")))
    }

    pub fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Some(number) = value.as_f64() else { return Err(wrong_type(name, "a number", &value)) };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let (low, high) = (range.start(), range.end());
        Err(ApiError::param(name, format!("`{name}` is {value}, but must be between {low} and {high}.")))
    }

    /// Accepts parameters that change nothing here.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Refuses a parameter that this server does not have, unless it asks for nothing.
    pub fn refuse(&mut self, name: &str, asks_nothing: impl Fn(&Value) -> bool) -> Result<(), ApiError> {
        match self.take(name) {
            Some(value) if !asks_nothing(&value) => {
                let message = format!("`{name}` is not supported by this server.");
                Err(ApiError::param(name, message).with_code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }

    /// Whatever is left is unknown.
    pub fn finish(self) -> Result<(), ApiError> {
        match self.0.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => {
                let name = shorten(&name);
                let message = format!("Unrecognized request argument supplied: {name}");
                Err(ApiError::param(name, message).with_code("unknown_parameter"))
            }
        }
    }
}

pub(crate) fn wrong_type(name: &str, expected: &str, value: &Value) -> ApiError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    ApiError::param(name, format!("`{name}` must be {expected}, but is {found}."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        Params::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn bodies_that_are_not_objects_are_refused() {
        for body in ["", "[]", "{", "null", "{\"a\":1e999}", "\u{0}"] {
            assert_eq!(Params::parse(body.as_bytes()).err().unwrap().status, 400, "{body:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Params::parse(deep.as_bytes()).err().unwrap().status, 400);
        assert_eq!(Params::parse(b"\xff\xfe").err().unwrap().status, 400);
    }

    #[test]
    fn integers_keep_their_range() {
        let check = |text: &str, expected: Option<i64>| {
            let read = params(&format!("{{\"n\": {text}}}")).integer("n", 1..=5);
            match expected {
                Some(value) => assert_eq!(read.unwrap(), Some(value), "{text}"),
                None => assert_eq!(read.unwrap_err().param.as_deref(), Some("n"), "{text}"),
            }
        };
        check("3", Some(3));
        check("3.0", Some(3));
        for bad in ["0", "-1", "6", "2.5", "\"3\"", "[3]", "1e300", "-1e300", "18446744073709551615"] {
            check(bad, None);
        }
        let huge = params("{\"n\": 18446744073709551615}").integer("n", 0..=i64::MAX);
        assert!(huge.is_err());
    }

    #[test]
    fn what_is_left_is_named() {
        let mut left = params(r#"{"temprature": 1, "stop": null}"#);
        left.ignore(&["user"]);
        let error = left.finish().unwrap_err();
        assert_eq!(error.param.as_deref(), Some("temprature"));
        assert!(params(r#"{"stop": null}"#).finish().is_ok());
    }
}
