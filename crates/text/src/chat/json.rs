//! JSON into templates, and out of them as Python writes it: the filter `tojson` of Hugging Face is `json.dumps`.

use std::collections::HashMap;
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, Value as Jinja, ValueKind};
use minijinja::{Error, ErrorKind, State};
use serde_json::Value;

/// Deeper than any call of a tool; what is deeper is refused before it overflows the stack.
const DEEPEST: usize = 128;

/// A value of JSON as a template sees it; the fields of an object keep their order.
pub(super) fn to_jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(flag) => Jinja::from(*flag),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => Jinja::from(n),
            (None, Some(n)) => Jinja::from(n),
            (None, None) => Jinja::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => Jinja::from(items.iter().map(to_jinja).collect::<Vec<_>>()),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.as_str(), to_jinja(value)));
            Jinja::from_object(Fields::new(fields))
        }
    }
}

/// An object of JSON; of two fields with one name the later one counts.
#[derive(Debug)]
pub(super) struct Fields {
    values: Vec<Jinja>,
    names: Vec<Jinja>,
    places: HashMap<String, usize>,
}

impl Fields {
    pub(super) fn new<'a>(fields: impl Iterator<Item = (&'a str, Jinja)>) -> Self {
        let (mut values, mut names, mut places) = (Vec::new(), Vec::new(), HashMap::new());
        for (name, value) in fields {
            match places.get(name) {
                Some(place) => values[*place] = value,
                None => {
                    places.insert(name.to_owned(), values.len());
                    names.push(Jinja::from(name));
                    values.push(value);
                }
            }
        }
        Self { values, names, places }
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        Some(self.values[*self.places.get(key)?].clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.names.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.names.len())
    }
}

/// `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Jinja,
    ensure_ascii: Option<Jinja>,
    options: Kwargs,
) -> Result<String, Error> {
    let option = |name: &str| options.get::<Option<Jinja>>(name);
    let indent = match option("indent")?.filter(|indent| !indent.is_none()) {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(spaces) => Some(" ".repeat(spaces.as_usize().filter(|n| *n <= 64).ok_or_else(|| wrong("indent"))?)),
    };
    let (item, key) = match option("separators")?.filter(|pair| !pair.is_none()) {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            let text = |at: usize| pair.get_item_by_index(at).ok()?.as_str().map(str::to_owned);
            text(0).zip(text(1)).ok_or_else(|| wrong("separators"))?
        }
    };
    let ascii = ensure_ascii.or(option("ensure_ascii")?).is_some_and(|flag| flag.is_true());
    let sort_keys = option("sort_keys")?.is_some_and(|flag| flag.is_true());
    options.assert_all_used()?;
    let mut writer = Writer { out: String::new(), ascii, indent, item, key, sort_keys, state };
    writer.value(value, 0)?;
    Ok(writer.out)
}

fn wrong(option: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {option} is not what json.dumps takes"))
}

struct Writer<'a, 'b, 'c> {
    out: String,
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
    state: &'a State<'b, 'c>,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Jinja, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: nested too deep"));
        }
        self.pay(0)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Number if value.is_integer() => self.out.push_str(&value.to_string()),
            ValueKind::Number => self.out.push_str(&float(f64::try_from(value.clone())?)),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Jinja> = value.try_iter()?.collect();
                self.list('[', ']', items.len(), depth, |writer, at| writer.value(&items[at], depth + 1))?;
            }
            ValueKind::Map => {
                let mut names: Vec<Jinja> = value.try_iter()?.collect();
                if self.sort_keys {
                    names.sort();
                }
                self.list('{', '}', names.len(), depth, |writer, at| {
                    writer.name(&names[at])?;
                    writer.pay(writer.key.len())?;
                    writer.out.push_str(&writer.key);
                    writer.value(&value.get_item(&names[at])?, depth + 1)
                })?;
            }
            other => {
                let what = format!("tojson: {other} is not JSON serializable");
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        count: usize,
        depth: usize,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for at in 0..count {
            if at > 0 {
                self.pay(self.item.len())?;
                self.out.push_str(&self.item);
            }
            self.line(depth + 1)?;
            each(self, at)?;
        }
        if count > 0 {
            self.line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = &self.indent else { return Ok(()) };
        self.pay(depth * indent.len())?;
        self.out.push('\n');
        (0..depth).for_each(|_| self.out.push_str(indent));
        Ok(())
    }

    /// A key, which is a string in JSON whatever it is.
    fn name(&mut self, name: &Jinja) -> Result<(), Error> {
        let text = match name.kind() {
            ValueKind::String => name.as_str().unwrap_or_default().to_owned(),
            ValueKind::None => "null".into(),
            ValueKind::Bool => if name.is_true() { "true" } else { "false" }.into(),
            ValueKind::Number if name.is_integer() => name.to_string(),
            ValueKind::Number => float(f64::try_from(name.clone())?),
            other => {
                let what = format!("tojson: a key is {other}");
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            }
        };
        self.string(&text)
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.pay(text.len())?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c >= '\u{7f}') => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }

    fn escape(&mut self, c: char) {
        // DEL alone is ASCII and yet above the space.
        if c == '\u{7f}' {
            return self.out.push(c);
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04x}"));
        }
    }

    /// As minijinja's instructions do, a value costs 1, and so do 64 bytes: it counts what a filter made afterwards, and a small
    /// template must not make much before.
    fn pay(&self, bytes: usize) -> Result<(), Error> {
        self.state.consume_fuel(1 + bytes as u64 / 64)
    }
}

/// As Python writes a float: the shortest digits that mean it, with an exponent below 1e-4 and from 1e16 on.
fn float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..=15 => {
            let plain = x.to_string();
            if plain.contains('.') { plain } else { plain + ".0" }
        }
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (x, expect) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456.789, "123456.789"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(float(x), expect);
        }
    }
}
