/// A value of a model's description.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// Values of one type. Those that vocabularies are made of lie densely.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Ints(Vec<i32>),
    Others(Vec<Value>),
}

impl Array {
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Others(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The description of a model: names and values in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(pub(super) Vec<(String, Value)>);

impl Metadata {
    /// Sets a value; one of this name is replaced.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(Value::Text(text)) = self.get(name) { Some(text) } else { None }
    }

    /// A whole number that is not negative, of whatever width.
    pub fn count(&self, name: &str) -> Option<u64> {
        match *self.get(name)? {
            Value::U8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::U64(n) => Some(n),
            Value::I8(n) => n.try_into().ok(),
            Value::I16(n) => n.try_into().ok(),
            Value::I32(n) => n.try_into().ok(),
            Value::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        match *self.get(name)? {
            Value::F32(x) => Some(x.into()),
            Value::F64(x) => Some(x),
            _ => self.count(name).map(|n| n as f64),
        }
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        if let Some(Value::Bool(flag)) = self.get(name) { Some(*flag) } else { None }
    }

    pub fn texts(&self, name: &str) -> Option<&[String]> {
        if let Some(Value::Array(Array::Texts(texts))) = self.get(name) { Some(texts) } else { None }
    }

    pub fn ints(&self, name: &str) -> Option<&[i32]> {
        if let Some(Value::Array(Array::Ints(ints))) = self.get(name) { Some(ints) } else { None }
    }
}
