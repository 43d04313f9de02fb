//! `combine`, `flatten`, `dict2items`, `union` and other filters about lists and mappings.

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::super::args::{Args, Outcome, entries, items, mapping, text, wrong};
use super::Filter;

pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("combine", |_, value, args| combine(value, args)),
    ("flatten", |_, value, args| flatten(value, args)),
    ("dict2items", |_, value, args| dict2items(value, args)),
    ("items2dict", |_, value, args| items2dict(value, args)),
    ("union", |_, value, args| Ok(distinct(items(value)?.into_iter().chain(items(args.need(0, "b")?)?)).into())),
    ("intersect", |_, value, args| {
        let other = items(args.need(0, "b")?)?;
        Ok(distinct(items(value)?.into_iter().filter(|item| other.contains(item))).into())
    }),
    ("difference", |_, value, args| {
        let other = items(args.need(0, "b")?)?;
        Ok(distinct(items(value)?.into_iter().filter(|item| !other.contains(item))).into())
    }),
    ("symmetric_difference", |_, value, args| {
        let (a, b) = (items(value)?, items(args.need(0, "b")?)?);
        let only = a.iter().filter(|item| !b.contains(item)).chain(b.iter().filter(|item| !a.contains(item)));
        Ok(distinct(only.cloned()).into())
    }),
    ("zip", |_, value, args| zip(value, args, false)),
    ("zip_longest", |_, value, args| zip(value, args, true)),
    ("product", |_, value, args| product(value, args)),
    ("combinations", |_, value, args| combinations(value, args)),
    ("permutations", |_, value, args| permutations(value, args)),
    ("subelements", |_, value, args| subelements(value, args)),
    ("extract", extract),
    ("rekey_on_member", |_, value, args| rekey(value, args)),
    ("list", |_, value, _| list(value)),
];

/// The most items a filter that multiplies may give.
const MOST: usize = 100_000;

fn list(value: &Value) -> Outcome {
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => return Err(wrong("`list` needs something to go through")),
        _ => value.try_iter()?.checked().collect::<Result<Vec<Value>, Error>>()?.into(),
    })
}

fn distinct(values: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}

fn combine(value: &Value, args: &Args) -> Outcome {
    let recursive = args.name("recursive").is_some_and(Value::is_true);
    let lists = args.name("list_merge").map(text).transpose()?.unwrap_or_else(|| "replace".to_owned());
    if let Some((unknown, _)) = args.named().iter().find(|(name, _)| name != "recursive" && name != "list_merge") {
        return Err(wrong(format!("`combine` does not know the argument `{unknown}`")));
    }
    if !matches!(lists.as_str(), "replace" | "keep" | "append" | "prepend" | "append_rp" | "prepend_rp") {
        return Err(wrong("`list_merge` is one of replace, keep, append, prepend, append_rp, prepend_rp"));
    }
    let mut all = Vec::new();
    for term in std::iter::once(value).chain(args.all()) {
        match term.kind() {
            ValueKind::Seq | ValueKind::Iterable => all.extend(items(term)?),
            _ => all.push(term.clone()),
        }
    }
    let mut result = Vec::new();
    for map in all {
        result = merged(result, entries(&map)?, recursive, &lists)?;
    }
    Ok(mapping(result))
}

type Entries = Vec<(Value, Value)>;

fn merged(low: Entries, high: Entries, recursive: bool, lists: &str) -> Result<Entries, Error> {
    let mut out: indexmap::IndexMap<Value, Value> = low.into_iter().collect();
    for (key, value) in high {
        let both = match out.get(&key) {
            Some(old) if recursive && old.kind() == ValueKind::Map && value.kind() == ValueKind::Map => {
                mapping(merged(entries(old)?, entries(&value)?, recursive, lists)?)
            }
            Some(old) if old.kind() == ValueKind::Seq && value.kind() == ValueKind::Seq => {
                let (old, new) = (items(old)?, items(&value)?);
                let without = |list: &[Value], other: &[Value]| -> Vec<Value> {
                    list.iter().filter(|item| !other.contains(item)).cloned().collect()
                };
                Value::from(match lists {
                    "keep" => old,
                    "append" => [old, new].concat(),
                    "prepend" => [new, old].concat(),
                    "append_rp" => [without(&old, &new), new].concat(),
                    "prepend_rp" => [new.clone(), without(&old, &new)].concat(),
                    _ => new,
                })
            }
            _ => value,
        };
        out.insert(key, both);
    }
    Ok(out.into_iter().collect())
}

fn flatten(value: &Value, args: &Args) -> Outcome {
    let levels = args.int(0, "levels")?;
    let skip_nulls = args.get(1, "skip_nulls").is_none_or(Value::is_true);
    let mut out = Vec::new();
    flatten_into(&mut out, &items(value)?, levels, skip_nulls)?;
    Ok(out.into())
}

fn flatten_into(out: &mut Vec<Value>, list: &[Value], levels: Option<i64>, skip_nulls: bool) -> Result<(), Error> {
    for item in list {
        if skip_nulls && (item.is_none() || matches!(item.as_str(), Some("None" | "null"))) {
            continue;
        }
        match (item.kind(), levels) {
            (ValueKind::Seq | ValueKind::Iterable, None) => flatten_into(out, &items(item)?, None, skip_nulls)?,
            (ValueKind::Seq | ValueKind::Iterable, Some(deep)) if deep >= 1 => {
                flatten_into(out, &items(item)?, Some(deep - 1), skip_nulls)?;
            }
            _ => out.push(item.clone()),
        }
    }
    Ok(())
}

fn names(args: &Args) -> Result<(String, String), Error> {
    let key = args.text(0, "key_name")?.unwrap_or_else(|| "key".to_owned());
    let value = args.text(1, "value_name")?.unwrap_or_else(|| "value".to_owned());
    Ok((key, value))
}

fn dict2items(value: &Value, args: &Args) -> Outcome {
    let (key_name, value_name) = names(args)?;
    let pair = |(key, item)| Value::from_pairs([(key_name.clone(), key), (value_name.clone(), item)]);
    Ok(entries(value)?.into_iter().map(pair).collect())
}

fn items2dict(value: &Value, args: &Args) -> Outcome {
    let (key_name, value_name) = names(args)?;
    let mut out = Vec::new();
    for item in items(value)? {
        let (key, value) = (item.get_attr(&key_name)?, item.get_attr(&value_name)?);
        if key.is_undefined() || value.is_undefined() {
            return Err(wrong(format!("`items2dict` needs `{key_name}` and `{value_name}` in every element")));
        }
        out.push((key, value));
    }
    Ok(mapping(out))
}

fn zip(value: &Value, args: &Args, longest: bool) -> Outcome {
    let lists = std::iter::once(value).chain(args.all()).map(list_items).collect::<Result<Vec<_>, _>>()?;
    let lengths = lists.iter().map(Vec::len);
    let length = if longest { lengths.max() } else { lengths.min() }.unwrap_or_default();
    let fill = args.name("fillvalue").cloned().unwrap_or_else(|| Value::from(()));
    let row =
        |at: usize| lists.iter().map(|list| list.get(at).cloned().unwrap_or_else(|| fill.clone())).collect::<Value>();
    Ok((0..length).map(row).collect())
}

/// Items of a list, keys of a mapping, characters of a text.
fn list_items(value: &Value) -> Result<Vec<Value>, Error> {
    value.try_iter()?.checked().collect()
}

fn product(value: &Value, args: &Args) -> Outcome {
    let mut lists = std::iter::once(value).chain(args.all()).map(list_items).collect::<Result<Vec<_>, _>>()?;
    if let Some(repeat) = args.name("repeat") {
        let repeat = usize::try_from(i64::try_from(repeat.clone())?).unwrap_or(1).min(10);
        lists = (0..repeat).flat_map(|_| lists.clone()).collect();
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for list in &lists {
        if rows.len() * list.len() > MOST {
            return Err(wrong("`product` would give too many combinations"));
        }
        rows = rows
            .iter()
            .flat_map(|row| list.iter().map(|item| [row.as_slice(), std::slice::from_ref(item)].concat()))
            .collect();
    }
    Ok(rows.into_iter().map(Value::from).collect())
}

fn combinations(value: &Value, args: &Args) -> Outcome {
    let list = list_items(value)?;
    let size = usize::try_from(args.int(0, "r")?.unwrap_or_default()).unwrap_or_default();
    let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..size {
        rows = rows
            .iter()
            .flat_map(|row| {
                let from = row.last().map_or(0, |last| last + 1);
                (from..list.len()).map(|next| [row.as_slice(), &[next]].concat())
            })
            .take(MOST + 1)
            .collect();
        if rows.len() > MOST {
            return Err(wrong("`combinations` would give too many of them"));
        }
    }
    Ok(rows.iter().map(|row| row.iter().map(|at| list[*at].clone()).collect::<Value>()).collect())
}

fn permutations(value: &Value, args: &Args) -> Outcome {
    let list = list_items(value)?;
    let size = args.int(0, "r")?.and_then(|size| usize::try_from(size).ok()).unwrap_or(list.len());
    let mut rows: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..size {
        rows = rows
            .iter()
            .flat_map(|row| {
                let free = (0..list.len()).filter(|next| !row.contains(next));
                free.map(|next| [row.as_slice(), &[next]].concat()).collect::<Vec<_>>()
            })
            .take(MOST + 1)
            .collect();
        if rows.len() > MOST {
            return Err(wrong("`permutations` would give too many of them"));
        }
    }
    Ok(rows.iter().map(|row| row.iter().map(|at| list[*at].clone()).collect::<Value>()).collect())
}

fn subelements(value: &Value, args: &Args) -> Outcome {
    let elements = match value.kind() {
        ValueKind::Map => entries(value)?.into_iter().map(|(_, element)| element).collect(),
        _ => items(value)?,
    };
    let path = args.need(0, "subelements")?;
    let path: Vec<String> = match path.as_str() {
        Some(dotted) => dotted.split('.').map(str::to_owned).collect(),
        None => items(path)?.iter().map(text).collect::<Result<_, _>>()?,
    };
    let skip_missing = args.flag(1, "skip_missing");
    let mut out = Vec::new();
    for element in elements {
        let mut inner = element.clone();
        for step in &path {
            inner = if inner.kind() == ValueKind::Map { inner.get_attr(step)? } else { Value::UNDEFINED };
            if inner.is_undefined() {
                break;
            }
        }
        if inner.is_undefined() {
            if skip_missing {
                continue;
            }
            return Err(wrong(format!("`subelements`: an element has no `{}`", path.join("."))));
        }
        for sub in items(&inner)? {
            out.push(Value::from_iter([element.clone(), sub]));
        }
    }
    Ok(out.into())
}

fn extract(_: &mut State<'_, '_>, key: &Value, args: &Args) -> Outcome {
    let mut found = args.need(0, "container")?.get_item(key)?;
    if let Some(more) = args.get(1, "morekeys") {
        let more = if more.kind() == ValueKind::Seq { items(more)? } else { vec![more.clone()] };
        for step in more {
            found = if found.is_undefined() { found } else { found.get_item(&step)? };
        }
    }
    Ok(found)
}

fn rekey(value: &Value, args: &Args) -> Outcome {
    let member = text(args.need(0, "key")?)?;
    let overwrite = args.text(1, "duplicates")?.as_deref() == Some("overwrite");
    let elements = match value.kind() {
        ValueKind::Map => entries(value)?.into_iter().map(|(_, element)| element).collect(),
        _ => items(value)?,
    };
    let mut out: indexmap::IndexMap<Value, Value> = indexmap::IndexMap::new();
    for element in elements {
        let key = element.get_attr(&member)?;
        if key.is_undefined() {
            return Err(wrong(format!("`rekey_on_member`: an element has no `{member}`")));
        }
        if out.insert(key, element).is_some() && !overwrite {
            return Err(wrong(format!("`rekey_on_member`: two elements have the same `{member}`")));
        }
    }
    Ok(mapping(out.into_iter().collect()))
}
