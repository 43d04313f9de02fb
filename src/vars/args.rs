//! Arguments of filters, tests and functions as Python binds them: by position or by name.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};

use super::json::type_name;

pub(super) type Outcome = Result<Value, Error>;

/// The arguments of one call, without the filter's input.
pub(super) struct Args {
    values: Vec<Value>,
    named: Vec<(String, Value)>,
}

/// An error in plain words. Must not contain values.
pub(super) fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.into())
}

impl Args {
    pub fn new(values: &[Value]) -> Result<Args, Error> {
        let mut args = Args { values: values.to_vec(), named: Vec::new() };
        if args.values.last().is_some_and(Value::is_kwargs)
            && let Some(last) = args.values.pop()
        {
            let kwargs = Kwargs::try_from(last)?;
            for name in kwargs.args() {
                args.named.push((name.to_owned(), kwargs.get::<Value>(name)?));
            }
        }
        Ok(args)
    }

    /// All positional ones.
    pub fn all(&self) -> &[Value] {
        &self.values
    }

    pub fn named(&self) -> &[(String, Value)] {
        &self.named
    }

    /// The argument of this position or name. None counts as absent.
    pub fn get(&self, index: usize, name: &str) -> Option<&Value> {
        self.values.get(index).or_else(|| self.name(name)).filter(|value| !value.is_none())
    }

    pub fn name(&self, name: &str) -> Option<&Value> {
        self.named.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub fn need(&self, index: usize, name: &str) -> Result<&Value, Error> {
        self.get(index, name).ok_or_else(|| wrong(format!("the argument `{name}` is missing")))
    }

    pub fn text(&self, index: usize, name: &str) -> Result<Option<String>, Error> {
        self.get(index, name).map(text).transpose()
    }

    pub fn flag(&self, index: usize, name: &str) -> bool {
        self.get(index, name).is_some_and(Value::is_true)
    }

    pub fn int(&self, index: usize, name: &str) -> Result<Option<i64>, Error> {
        let convert = |value: &Value| {
            i64::try_from(value.clone())
                .ok()
                .or_else(|| value.as_str()?.trim().parse().ok())
                .ok_or_else(|| wrong(format!("the argument `{name}` is not a whole number")))
        };
        self.get(index, name).map(convert).transpose()
    }
}

/// A value as text, Python's `str()`.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Err(wrong("text is needed, but there is no value")),
        None => Ok(value.to_string()),
    }
}

/// A list's items. Text and mappings are not lists.
pub(super) fn items(value: &Value) -> Result<Vec<Value>, Error> {
    use minijinja::value::ValueKind::{Iterable, Seq};
    match value.kind() {
        Seq | Iterable => value.try_iter()?.checked().collect(),
        _ => Err(wrong(format!("a list is needed, this is of type {}", type_name(value)))),
    }
}

/// A mapping's entries.
pub(super) fn entries(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    if value.kind() != minijinja::value::ValueKind::Map {
        return Err(wrong(format!("a mapping is needed, this is of type {}", type_name(value))));
    }
    value
        .try_iter()?
        .checked()
        .map(|key| {
            let key = key?;
            let item = value.get_item(&key)?;
            Ok((key, item))
        })
        .collect()
}

pub(super) fn mapping(entries: Vec<(Value, Value)>) -> Value {
    Value::from_pairs(entries)
}
