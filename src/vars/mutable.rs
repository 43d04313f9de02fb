//! Lists and mappings that a template may change in place: `{% set out = [] %}` … `{% set _ = out.append(x) %}`.
//!
//! Only what a template made itself can be changed; variables cannot.

use std::fmt;
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::args::{Args, Outcome, entries, items, wrong};
use super::lazy::lock;

pub(super) struct List(Mutex<Vec<Value>>);
pub(super) struct Dict(Mutex<IndexMap<Value, Value>>);

/// The same value, changeable.
pub(super) fn own(value: &Value) -> Outcome {
    Ok(match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => Value::from_object(List(Mutex::new(items(value)?))),
        ValueKind::Map => Value::from_object(Dict(Mutex::new(entries(value)?.into_iter().collect()))),
        _ => value.clone(),
    })
}

fn index(position: i64, length: usize) -> Option<usize> {
    let length_signed = i64::try_from(length).ok()?;
    usize::try_from(if position < 0 { position + length_signed } else { position }).ok().filter(|at| *at < length)
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(lock(&self.0).iter()).finish()
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        lock(&self.0).get(key.as_usize()?).cloned()
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(lock(&self.0).len())
    }
    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, values: &[Value]) -> Result<Value, Error> {
        let args = Args::new(values)?;
        let mut list = lock(&self.0);
        match method {
            "append" => list.push(args.all().first().cloned().unwrap_or_default()),
            "extend" => {
                let more = args.need(0, "iterable")?.clone();
                drop(list);
                let more: Vec<Value> = more.try_iter()?.checked().collect::<Result<_, _>>()?;
                lock(&self.0).extend(more);
            }
            "insert" => {
                let at = args.int(0, "index")?.unwrap_or_default();
                let length = list.len();
                let at = index(at, length).unwrap_or(if at < 0 { 0 } else { length });
                list.insert(at, args.all().get(1).cloned().unwrap_or_default());
            }
            "pop" => {
                let at = args.int(0, "index")?.unwrap_or(-1);
                let at = index(at, list.len()).ok_or_else(|| wrong("`pop` from a list that is too short"))?;
                return Ok(list.remove(at));
            }
            "remove" => {
                let wanted = args.need(0, "value")?;
                let at = list.iter().position(|item| item == wanted);
                list.remove(at.ok_or_else(|| wrong("`remove` of something that is not in the list"))?);
            }
            "clear" => list.clear(),
            "reverse" => list.reverse(),
            "sort" => list.sort(),
            "copy" => return Ok(Value::from_object(List(Mutex::new(list.clone())))),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(Value::from(()))
    }
}

impl fmt::Debug for Dict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(lock(&self.0).iter()).finish()
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        lock(&self.0).get(key).cloned()
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(lock(&self.0).keys().cloned().collect())
    }
    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(lock(&self.0).len())
    }
    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, values: &[Value]) -> Result<Value, Error> {
        let args = Args::new(values)?;
        match method {
            "update" => {
                let mut more = match args.all().first() {
                    Some(map) => entries(map)?,
                    None => Vec::new(),
                };
                more.extend(args.named().iter().map(|(key, value)| (Value::from(key.as_str()), value.clone())));
                lock(&self.0).extend(more);
            }
            "pop" => {
                let gone = lock(&self.0).shift_remove(args.need(0, "key")?);
                return gone
                    .or_else(|| args.all().get(1).cloned())
                    .ok_or_else(|| wrong("`pop` of a key that is not in the mapping"));
            }
            "setdefault" => {
                let default = args.all().get(1).cloned().unwrap_or_else(|| Value::from(()));
                return Ok(lock(&self.0).entry(args.need(0, "key")?.clone()).or_insert(default).clone());
            }
            "clear" => lock(&self.0).clear(),
            "copy" => return Ok(Value::from_object(Dict(Mutex::new(lock(&self.0).clone())))),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(Value::from(()))
    }
}
