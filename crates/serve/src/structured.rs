//! Replies that must be of a form: what a request asks for, and how the engine holds the model to it.

use danlu_model::{LogitsConstraint, ModelError};
use danlu_text::{Grammar, GrammarState, TextError};
use serde_json::{Map, Value};

use crate::{
    api_error::{ApiError, shorten},
    language::LanguageModel,
    params::{Params, wrong_type},
};

/// Most entries of `guided_choice`.
const MOST_CHOICES: usize = 1024;
/// The parameters that give a form; vLLM's names beside OpenAI's.
const PARAMS: [&str; 5] = ["response_format", "guided_json", "guided_regex", "guided_grammar", "guided_choice"];

/// The form of a request's replies.
#[derive(Clone, Debug)]
pub(crate) struct Guide {
    /// The parameter that asked for it.
    pub param: &'static str,
    /// Where a reply begins.
    pub state: GrammarState,
}

impl Guide {
    /// What holds one sequence to the form.
    pub fn constraint(&self) -> Box<dyn LogitsConstraint> {
        Box::new(GrammarConstraint(self.state.clone()))
    }

    /// The form that a request asks for, if it does.
    pub fn read(params: &mut Params, language: &LanguageModel) -> Result<Option<Self>, ApiError> {
        let mut found: Option<(&'static str, Grammar)> = None;
        for param in PARAMS {
            let Some(value) = params.take(param) else { continue };
            let Some(grammar) = read_grammar(param, value)? else { continue };
            if let Some((other, _)) = &found {
                return Err(ApiError::param(param, format!("`{param}` cannot be had together with `{other}`.")));
            }
            found = Some((param, grammar));
        }
        let Some((param, grammar)) = found else { return Ok(None) };
        match language.compile(&grammar) {
            Ok(state) => Ok(Some(Self { param, state })),
            Err(error) => Err(ApiError::param(param, format!("`{param}`: {error}."))),
        }
    }
}

fn read_grammar(param: &'static str, value: Value) -> Result<Option<Grammar>, ApiError> {
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(param, "a string", &other)),
    };
    Ok(Some(match param {
        "response_format" => return read_response_format(value),
        "guided_regex" => Grammar::Regex(text(value)?),
        "guided_grammar" => Grammar::Lark(text(value)?),
        "guided_choice" => read_choices(value)?,
        _ => Grammar::JsonSchema(match value {
            Value::String(text) => serde_json::from_str(&text)
                .map_err(|error| ApiError::param(param, format!("`{param}` is not valid JSON: {error}.")))?,
            schema => schema,
        }),
    }))
}

fn read_choices(value: Value) -> Result<Grammar, ApiError> {
    let Value::Array(list) = &value else { return Err(wrong_type("guided_choice", "a list of strings", &value)) };
    if list.is_empty() || list.len() > MOST_CHOICES {
        let message = format!("`guided_choice` has {} entries, but must have 1 to {MOST_CHOICES}.", list.len());
        return Err(ApiError::param("guided_choice", message));
    }
    let read = |value: &Value| match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(ApiError::param("guided_choice", "`guided_choice` must hold strings that are not empty.")),
    };
    Ok(Grammar::one_of(&list.iter().map(read).collect::<Result<Vec<_>, _>>()?))
}

/// OpenAI's `{"type": "text" | "json_object" | "json_schema", "json_schema": {"name", "schema", …}}`.
fn read_response_format(value: Value) -> Result<Option<Grammar>, ApiError> {
    let Value::Object(mut fields) = value else { return Err(wrong_type("response_format", "an object", &value)) };
    let kind = match fields.remove("type") {
        Some(Value::String(kind)) => kind,
        other => return Err(wrong_type("response_format.type", "a string", &other.unwrap_or_default())),
    };
    let schema = fields.remove("json_schema").filter(|value| !value.is_null());
    if let Some((name, _)) = fields.iter().find(|(_, value)| !value.is_null()) {
        let name = format!("response_format.{}", shorten(name));
        return Err(ApiError::param(name.clone(), format!("`{name}` is not known.")));
    }
    match (kind.as_str(), schema) {
        ("text", None) => Ok(None),
        ("json_object", None) => Ok(Some(Grammar::json_object())),
        ("json_schema", Some(Value::Object(fields))) => read_named_schema(fields).map(Some),
        ("json_schema", other) => {
            Err(wrong_type("response_format.json_schema", "an object", &other.unwrap_or_default()))
        }
        ("text" | "json_object", Some(_)) => {
            let message = "`response_format.json_schema` is only allowed where `type` is json_schema.";
            Err(ApiError::param("response_format.json_schema", message))
        }
        _ => {
            let message = format!(
                "`response_format.type` is `{}`, but must be one of text, json_object, json_schema.",
                shorten(&kind)
            );
            Err(ApiError::param("response_format.type", message))
        }
    }
}

fn read_named_schema(mut fields: Map<String, Value>) -> Result<Grammar, ApiError> {
    let schema = fields.remove("schema").filter(|value| !value.is_null());
    for (name, value) in &fields {
        // Names and descriptions are for models that were told of them; a schema is always strict here.
        if !["name", "description", "strict"].contains(&name.as_str()) && !value.is_null() {
            let name = format!("response_format.json_schema.{}", shorten(name));
            return Err(ApiError::param(name.clone(), format!("`{name}` is not known.")));
        }
    }
    match schema {
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(Grammar::JsonSchema(schema)),
        other => Err(wrong_type("response_format.json_schema.schema", "an object", &other.unwrap_or_default())),
    }
}

/// A grammar as the model's sampler asks it.
pub(crate) struct GrammarConstraint(pub GrammarState);

impl LogitsConstraint for GrammarConstraint {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ModelError> {
        self.0.mask(logits).map_err(failed)
    }

    fn commit(&mut self, token: u32) -> Result<(), ModelError> {
        self.0.commit(token).map_err(failed)
    }

    fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    fn fork(&self) -> Box<dyn LogitsConstraint> {
        Box::new(Self(self.0.clone()))
    }
}

fn failed(error: TextError) -> ModelError {
    ModelError::Constraint { message: error.to_string() }
}
