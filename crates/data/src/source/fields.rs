//! From the fields of a record to a document, as the source's configuration maps them.

use serde_json::{Map, Value};

use super::{Problem, SourceFile, chat};
use crate::Document;
use crate::conversation::rename_reserved;

/// The fields of one record, by name.
pub(crate) type Fields = Map<String, Value>;

impl SourceFile<'_> {
    /// A document of a record: its text from the text fields or the conversation, its other fields as metadata. `line`
    /// is the record's line, row or number in the file, from 1.
    pub(super) fn record(&self, mut fields: Fields, line: Option<u64>) -> Result<Document, Problem> {
        let mapped = self.mapped(&mut fields).map_err(|message| self.problem(line, message))?;
        let text = self.text(&mut fields).map_err(|message| self.problem(line, message))?;
        if text.text.len() > self.max_record_bytes() {
            return Err(self.problem(line, format!("its text is {}", self.too_long())));
        }
        let kept = &self.source.metadata;
        let mut metadata = rename_reserved(fields.into_iter().filter(|(name, _)| kept.keeps(name)).collect());
        metadata.extend(mapped.metadata);
        metadata.extend(text.typed);
        let mut document = self.document(text.text, line, metadata);
        if self.source.language.is_none() {
            document.language = mapped.language.unwrap_or_default();
        }
        Ok(document)
    }

    /// Takes the fields that a `*_field` key names out of the record, under the names that the metadata has for them.
    pub(super) fn mapped(&self, fields: &mut Fields) -> Result<Mapped, String> {
        let source = self.source;
        let mut mapped = Mapped::default();
        for (field, name) in [
            (&source.id_field, "id"),
            (&source.time_field, "time"),
            (&source.label_field, "label"),
            (&source.url_field, "url"),
            (&source.title_field, "title"),
        ] {
            if let Some(value) = field.as_deref().and_then(|field| take(fields, field)).filter(|v| !v.is_null()) {
                mapped.metadata.insert(name.into(), value);
            }
        }
        if let Some(field) = &source.images_field
            && let Some(value) = take(fields, field).filter(|v| !v.is_null())
        {
            let images = images(value).ok_or_else(|| format!("field {field:?} holds no path or URL of an image"))?;
            mapped.metadata.insert("images".into(), images.into());
        }
        if let Some(field) = &source.language_field {
            mapped.language = match take(fields, field) {
                Some(Value::String(tag)) => Some(primary_language(&tag)),
                None | Some(Value::Null) => None,
                Some(_) => return Err(format!("field {field:?} is not a language code")),
            };
        }
        Ok(mapped)
    }

    /// Whether a column of a table has a part in its records. Which fields a conversation has, each record says.
    pub(super) fn uses(&self, column: &str) -> bool {
        let source = self.source;
        if source.chat.is_some() || source.metadata.keeps(column) {
            return true;
        }
        let mapped = [
            &source.id_field,
            &source.time_field,
            &source.label_field,
            &source.url_field,
            &source.title_field,
            &source.images_field,
            &source.language_field,
        ];
        let is_meant = |field: &String| field == column || field.split('.').next() == Some(column);
        source.text_columns().iter().any(is_meant) || mapped.into_iter().flatten().any(is_meant)
    }

    fn text(&self, fields: &mut Fields) -> Result<chat::Text, String> {
        if let Some(format) = self.source.chat {
            return chat::take(format, fields);
        }
        let names = self.source.text_columns();
        let mut parts = Vec::new();
        let mut present = false;
        for name in names {
            match take(fields, name) {
                Some(Value::String(text)) => {
                    present = true;
                    parts.push(text);
                }
                None => {}
                Some(Value::Null) if names.len() > 1 => present = true,
                Some(_) => return Err(format!("field {name:?} is not a string")),
            }
        }
        if !present {
            let wanted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            return Err(format!("there is no field {}; the fields are {}", wanted.join(" or "), field_names(fields)));
        }
        if parts.len() > 1 {
            parts.retain(|part| !part.is_empty());
        }
        Ok(chat::Text { text: parts.join(&self.source.text_separator), typed: Map::new() })
    }
}

#[derive(Default)]
pub(super) struct Mapped {
    pub(super) metadata: Fields,
    pub(super) language: Option<String>,
}

/// The first few names, for messages.
pub(super) fn field_names(fields: &Fields) -> String {
    fields.keys().take(12).map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Takes a field out: by its name, or by a dotted path into nested fields.
fn take(fields: &mut Fields, path: &str) -> Option<Value> {
    if fields.contains_key(path) {
        return fields.shift_remove(path);
    }
    let (first, rest) = path.split_once('.')?;
    take(fields.get_mut(first)?.as_object_mut()?, rest)
}

/// `zh` of `zh-CN` or `zh_Hant`.
fn primary_language(tag: &str) -> String {
    tag.split(['-', '_']).next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Paths and URLs of images: one, or a list of them.
fn images(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => items.into_iter().map(image).collect(),
        one => Some(vec![image(one)?]),
    }
}

fn image(value: Value) -> Option<Value> {
    match value {
        Value::String(place) if !place.is_empty() => Some(place.into()),
        Value::Object(mut object) => {
            ["url", "path"].iter().find_map(|key| object.remove(*key).filter(Value::is_string))
        }
        _ => None,
    }
}
