//! Between our values (JSON) and the template engine's.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Tuple, ValueKind};
use serde_json::{Map, Number, Value as Json};

use super::Fault;
use super::lazy::Node;

/// Stands for `omit` where a value must be JSON; inside lists and mappings omitted things are simply gone.
pub const OMIT: &str = "__omit_place_holder__";

/// The value of the variable `omit`.
#[derive(Debug)]
pub(super) struct Omit;

impl Object for Omit {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Is this what a template that says `omit` gives?
pub fn is_omit(value: &Json) -> bool {
    value.as_str() == Some(OMIT)
}

pub(super) fn is_omit_value(value: &minijinja::Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

/// Into the template engine, all at once. Nothing in it is templated.
pub(super) fn from_json(json: &Json) -> minijinja::Value {
    match json {
        Json::Null => minijinja::Value::from(()),
        Json::Bool(b) => minijinja::Value::from(*b),
        Json::Number(number) => from_number(number),
        Json::String(text) => minijinja::Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(from_json).collect(),
        Json::Object(map) => {
            minijinja::Value::from_pairs(map.iter().map(|(key, value)| (key.clone(), from_json(value))))
        }
    }
}

pub(super) fn from_number(number: &Number) -> minijinja::Value {
    if let Some(n) = number.as_i64() {
        minijinja::Value::from(n)
    } else if let Some(n) = number.as_u64() {
        minijinja::Value::from(n)
    } else {
        minijinja::Value::from(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// What one value may take in memory, roughly. Lists can hold the same large text a thousand times over at no cost;
/// as JSON they cannot.
const LARGEST: usize = 64 << 20;

/// Out of the template engine. Undefined or failed parts are faults; omitted parts vanish.
pub(super) fn to_json(value: &minijinja::Value) -> Result<Json, Fault> {
    convert(value, &mut 0)
}

/// Would [`to_json`] do? For values that are about to be printed.
pub(super) fn check(value: &minijinja::Value) -> Result<(), Fault> {
    // printing writes about as much as converting takes
    convert(value, &mut 0).map(drop)
}

fn spend(spent: &mut usize, size: usize) -> Result<(), Fault> {
    *spent = spent.saturating_add(size);
    if *spent > LARGEST {
        return Err(Fault::new("the result is far too large").hint("is there an endless loop?"));
    }
    Ok(())
}

fn convert(value: &minijinja::Value, spent: &mut usize) -> Result<Json, Fault> {
    spend(spent, 32)?;
    if let Some(node) = value.downcast_object_ref::<Node>()
        && let Some(json) = node.plain()
    {
        spend(spent, size(json))?;
        return Ok(json.clone());
    }
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(Fault::new("a part of the result is undefined")),
        ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => number(value),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            spend(spent, text.len())?;
            Json::String(text.to_owned())
        }
        ValueKind::Bytes => Json::String(String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter().map_err(Fault::from)?.checked() {
                let item = defined(item.map_err(Fault::from)?, value, || items.len().to_string())?;
                if !is_omit_value(&item) {
                    items.push(convert(&item, spent)?);
                }
            }
            Json::Array(items)
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter().map_err(Fault::from)?.checked() {
                let key = key.map_err(Fault::from)?;
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                let item = value.get_item(&key).map_err(Fault::from)?;
                let item = defined(item, value, || name.clone())?;
                if !is_omit_value(&item) {
                    map.insert(name, convert(&item, spent)?);
                }
            }
            Json::Object(map)
        }
        _ if is_omit_value(value) => Json::String(OMIT.to_owned()),
        ValueKind::Invalid => return Err(Fault::of_invalid(value)),
        _ => Json::String(value.to_string()),
    })
}

fn size(json: &Json) -> usize {
    match json {
        Json::String(text) => 32 + text.len(),
        Json::Array(items) => 32 + items.iter().map(size).sum::<usize>(),
        Json::Object(map) => 32 + map.iter().map(|(key, item)| 32 + key.len() + size(item)).sum::<usize>(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 32,
    }
}

/// A container's element, or why it is undefined.
fn defined(
    item: minijinja::Value,
    container: &minijinja::Value,
    name: impl Fn() -> String,
) -> Result<minijinja::Value, Fault> {
    if !item.is_undefined() {
        return Ok(item);
    }
    let reason = container.downcast_object_ref::<Node>().and_then(|node| node.why(&name()));
    Err(reason.unwrap_or_else(|| Fault::new(format!("the element `{}` of the result is undefined", name()))))
}

fn number(value: &minijinja::Value) -> Json {
    if let Ok(n) = i64::try_from(value.clone())
        && value.is_integer()
    {
        return Json::from(n);
    }
    if let Ok(n) = u64::try_from(value.clone())
        && value.is_integer()
    {
        return Json::from(n);
    }
    let float = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    Number::from_f64(float).map_or_else(|| Json::String(value.to_string()), Json::Number)
}

/// The type's name as Python has it, for messages and `type_debug`.
pub(super) fn type_name(value: &minijinja::Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq if value.downcast_object_ref::<Tuple>().is_some() => "tuple",
        ValueKind::Seq | ValueKind::Iterable => "list",
        ValueKind::Map => "dict",
        _ if super::time::is_moment(value) => "datetime",
        _ => "object",
    }
}
