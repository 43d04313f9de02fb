//! Loops: what they go over (`loop` and the kinds of `with_…`), one item after the other.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::done::Done;
use super::scope::object;
use super::task::seconds;
use super::walk::Walk;
use crate::event::{Cause, Kind, Status, TaskRef};
use crate::plan::Object;
use crate::playbook::{RepeatKind, Task, find_file};
use crate::vars::{Fault, Scope};

impl Walk {
    /// A loop: every item in its turn, the questions of the rest asked along with the first.
    pub async fn each(
        &mut self,
        task: &Arc<Task>,
        scope: &Scope,
        items: Vec<Value>,
        reference: &TaskRef,
        quiet: bool,
    ) -> Done {
        let Some(repeat) = &task.repeat else { return Done::ok() };
        if items.is_empty() {
            return Done::no_items();
        }
        let scopes: Vec<Scope> =
            items.iter().enumerate().map(|(index, _)| self.item_scope(task, scope, &items, index)).collect();
        let pause = repeat.pause.as_ref().and_then(|pause| seconds(pause, scope));
        let mut results = Vec::new();
        for (index, scope) in scopes.iter().enumerate() {
            if index > 0 {
                if self.run.cancel.is_cancelled() {
                    break;
                }
                if let Some(pause) = pause {
                    self.sleep(pause).await;
                }
            }
            let begin = Instant::now();
            let mut reference = reference.clone();
            reference.item = Some(match quiet {
                true => "(hidden)".to_owned(),
                false => label(repeat.label.as_ref(), scope, &items[index]),
            });
            let mut done = self.item(task, scope, &reference, &scopes[index + 1..]).await;
            done.result.insert("ansible_loop_var".to_owned(), Value::from(repeat.loop_var.as_str()));
            done.result.insert(repeat.loop_var.clone(), items[index].clone());
            let ends = done.status == Status::Unreachable || done.cause == Some(Cause::Interrupted);
            let told = Done { facts: Object::new(), set: Object::new(), ..done.clone() };
            self.run.emit.emit(Kind::ItemFinished {
                host: self.host.name.clone(),
                task: reference,
                outcome: Box::new(self.outcome(told, quiet, false, begin.elapsed())),
            });
            results.push(done);
            if ends {
                break;
            }
        }
        Done::of_items(results)
    }

    pub fn item_scope(&self, task: &Task, scope: &Scope, items: &[Value], index: usize) -> Scope {
        let Some(repeat) = &task.repeat else { return scope.clone() };
        let mut vars = object(json!({ "ansible_loop_var": repeat.loop_var }));
        vars.insert(repeat.loop_var.clone(), items[index].clone());
        if let Some(name) = &repeat.index_var {
            vars.insert(name.clone(), Value::from(index));
            vars.insert("ansible_index_var".to_owned(), Value::from(name.as_str()));
        }
        if repeat.extended {
            let mut about = object(json!({
                "index": index + 1,
                "index0": index,
                "first": index == 0,
                "last": index + 1 == items.len(),
                "length": items.len(),
                "revindex": items.len() - index,
                "revindex0": items.len() - index - 1,
                "allitems": items,
            }));
            if let Some(before) = index.checked_sub(1).and_then(|before| items.get(before)) {
                about.insert("previtem".to_owned(), before.clone());
            }
            if let Some(after) = items.get(index + 1) {
                about.insert("nextitem".to_owned(), after.clone());
            }
            vars.insert("ansible_loop".to_owned(), Value::Object(about));
        }
        scope.with(vars, true)
    }

    /// The items, templated; `None` if the task has no loop.
    pub fn loop_items(&self, task: &Task, scope: &Scope) -> Result<Option<Vec<Value>>, Fault> {
        let Some(repeat) = &task.repeat else { return Ok(None) };
        if repeat.kind == RepeatKind::FirstFound {
            return self.first_found(task, scope, &repeat.over).map(Some);
        }
        let over = scope.value(&repeat.over)?;
        let items = match repeat.kind {
            RepeatKind::Loop => match over {
                Value::Array(items) => items,
                other => {
                    let text = format!("`loop` needs a list, not {}", super::task::kind(&other));
                    let hint = match other {
                        Value::Object(_) => "write `{{ … | dict2items }}`",
                        _ => "write `[…]`, or `{{ … | list }}`",
                    };
                    return Err(Fault::new(text).hint(hint));
                }
            },
            RepeatKind::List => list(over),
            RepeatKind::Items => flat(list(over), 1),
            RepeatKind::Flattened => flat(list(over), usize::MAX),
            RepeatKind::Dict => match over {
                Value::Object(entries) => {
                    entries.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
                }
                other => {
                    return Err(Fault::new(format!("`with_dict` needs a mapping, not {}", super::task::kind(&other))));
                }
            },
            RepeatKind::Indexed => {
                flat(list(over), 1).into_iter().enumerate().map(|(index, item)| json!([index, item])).collect()
            }
            RepeatKind::Nested => nested(list(over).into_iter().map(list).collect()),
            RepeatKind::Together => together(list(over).into_iter().map(list).collect()),
            RepeatKind::Subelements => subelements(list(over))?,
            RepeatKind::Sequence => sequence(&over)?,
            RepeatKind::FileGlob => self.file_glob(task, list(over))?,
            RepeatKind::FirstFound => Vec::new(),
        };
        Ok(Some(items))
    }

    /// The first of several files that exists. A name that cannot be templated is passed over.
    fn first_found(&self, task: &Task, scope: &Scope, over: &Value) -> Result<Vec<Value>, Fault> {
        let mut files = Vec::new();
        let mut paths: Vec<String> = Vec::new();
        let mut skip = false;
        let terms = match over {
            Value::Array(terms) => terms.clone(),
            other => vec![other.clone()],
        };
        for term in &terms {
            match term {
                Value::Object(options) => {
                    let part = |key: &str| -> Result<Vec<Value>, Fault> {
                        options.get(key).map_or(Ok(Vec::new()), |value| scope.value(value).map(list))
                    };
                    files.extend(part("files")?.iter().filter_map(|file| file.as_str().map(str::to_owned)));
                    paths.extend(part("paths")?.iter().filter_map(|path| path.as_str().map(str::to_owned)));
                    skip |= part("skip")?.first().and_then(crate::modules::args::as_flag).unwrap_or(false);
                }
                other => {
                    if let Ok(found) = scope.value(other) {
                        files.extend(list(found).iter().filter_map(|file| file.as_str().map(str::to_owned)));
                    }
                }
            }
        }
        let subdirs = ["files", "templates", "vars", "tasks"];
        for file in &files {
            let names = match paths.is_empty() {
                true => vec![file.clone()],
                false => paths.iter().map(|path| format!("{}/{file}", path.trim_end_matches('/'))).collect(),
            };
            for name in names {
                let found = subdirs.iter().find_map(|subdir| find_file(&task.around, subdir, &name).ok());
                if let Some(path) = found {
                    return Ok(vec![Value::String(path.display().to_string())]);
                }
            }
        }
        match skip {
            true => Ok(Vec::new()),
            false => Err(Fault::new(format!("none of these files was found: {}", files.join(", ")))),
        }
    }

    /// Files of the controller, by pattern.
    fn file_glob(&self, task: &Task, patterns: Vec<Value>) -> Result<Vec<Value>, Fault> {
        let mut found = Vec::new();
        for pattern in patterns.iter().filter_map(Value::as_str) {
            let (dir, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
            let glob = globset::Glob::new(name).map_err(|error| Fault::new(error.to_string()))?.compile_matcher();
            let Ok(dir) = find_file(&task.around, "files", dir) else { continue };
            let files = crate::shipped::walk(&dir).into_iter();
            let direct = files.filter(|file| file.components().count() == 1 && glob.is_match(file));
            found.extend(direct.map(|file| Value::String(dir.join(file).display().to_string())));
        }
        Ok(found)
    }
}

/// What an item is called in reports.
fn label(label: Option<&Value>, scope: &Scope, item: &Value) -> String {
    let shown = label.and_then(|label| scope.value(label).ok()).unwrap_or_else(|| item.clone());
    let text = match &shown {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let telling =
                ["name", "key", "dest", "path", "item", "src"].iter().find_map(|key| fields.get(*key)?.as_str());
            telling.map_or_else(|| shown.to_string(), str::to_owned)
        }
        other => other.to_string(),
    };
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => vec![other],
    }
}

fn flat(items: Vec<Value>, depth: usize) -> Vec<Value> {
    items
        .into_iter()
        .flat_map(|item| match item {
            Value::Array(inner) if depth > 0 => flat(inner, depth - 1),
            other => vec![other],
        })
        .collect()
}

fn nested(lists: Vec<Vec<Value>>) -> Vec<Value> {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for list in lists {
        rows = rows
            .iter()
            .flat_map(|row| list.iter().map(move |item| row.iter().cloned().chain([item.clone()]).collect()))
            .collect();
    }
    rows.into_iter().map(Value::Array).collect()
}

fn together(lists: Vec<Vec<Value>>) -> Vec<Value> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).map(|index| lists.iter().map(|list| list.get(index).cloned().unwrap_or_default()).collect()).collect()
}

/// `[list, key]`: every element with each of the elements below its key.
fn subelements(terms: Vec<Value>) -> Result<Vec<Value>, Fault> {
    let mut terms = terms.into_iter();
    let (Some(elements), Some(Value::String(key))) = (terms.next(), terms.next()) else {
        return Err(Fault::new("`with_subelements` needs a list and the name of a key"));
    };
    let flags = terms.next();
    let skip = flags.as_ref().and_then(|flags| flags.get("skip_missing")).and_then(crate::modules::args::as_flag);
    let elements = match elements {
        Value::Object(entries) => entries.into_iter().map(|(_, value)| value).collect(),
        other => list(other),
    };
    let mut rows = Vec::new();
    for element in elements {
        let below = key.split('.').try_fold(&element, |value, part| value.get(part));
        match below {
            Some(Value::Array(items)) => {
                let items = items.clone();
                rows.extend(items.into_iter().map(|item| json!([element, item])));
            }
            _ if skip == Some(true) => {}
            _ => return Err(Fault::new(format!("`with_subelements`: an element has no list `{key}`"))),
        }
    }
    Ok(rows)
}

/// `start=1 end=5 stride=2 format=web%02d`, or the same as a mapping.
fn sequence(over: &Value) -> Result<Vec<Value>, Fault> {
    let mut options: Vec<(String, String)> = Vec::new();
    for term in list(over.clone()) {
        match term {
            Value::String(text) => {
                let words = crate::playbook::split_words(&text, None);
                options.extend(words.pairs.into_iter().map(|(key, value)| (key.to_owned(), value)));
            }
            Value::Object(map) => options.extend(
                map.into_iter()
                    .map(|(key, value)| (key, value.as_str().map_or_else(|| value.to_string(), str::to_owned))),
            ),
            _ => {}
        }
    }
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let number = |name: &str| -> Result<Option<i64>, Fault> {
        option(name)
            .map(|text| {
                text.trim().parse().map_err(|_| Fault::new(format!("`with_sequence`: `{name}` is not a number")))
            })
            .transpose()
    };
    let start = number("start")?.unwrap_or(1);
    let stride = number("stride")?.unwrap_or(1);
    let end = match (number("end")?, number("count")?) {
        (Some(end), _) => end,
        (None, Some(count)) => start + (count - 1) * stride,
        (None, None) => return Err(Fault::new("`with_sequence` needs `end` or `count`")),
    };
    if stride == 0 || end.abs_diff(start) > 1_000_000 {
        return Err(Fault::new("`with_sequence` does not come to an end"));
    }
    let format = option("format").unwrap_or("%d");
    let mut items = Vec::new();
    let mut at = start;
    while if stride > 0 { at <= end } else { at >= end } {
        items.push(Value::String(printf(format, at)?));
        at += stride;
    }
    Ok(items)
}

/// The one number of a printf format: `%d`, `%02d`, `%x`, `%04x`, `%o`.
fn printf(format: &str, number: i64) -> Result<String, Fault> {
    let wrong = || Fault::new(format!("`with_sequence`: the format `{format}` is not supported"));
    let Some((before, rest)) = format.split_once('%') else { return Ok(format.to_owned()) };
    let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (flags, kind, after) = (&rest[..end], &rest[end..end + 1], &rest[end + 1..]);
    let zero = flags.starts_with('0');
    let width: usize = if flags.is_empty() { 0 } else { flags.parse().map_err(|_| wrong())? };
    let digits = match kind {
        "d" | "i" | "u" => number.to_string(),
        "x" => format!("{number:x}"),
        "X" => format!("{number:X}"),
        "o" => format!("{number:o}"),
        _ => return Err(wrong()),
    };
    let padded = if zero { format!("{digits:0>width$}") } else { format!("{digits:>width$}") };
    Ok(format!("{before}{padded}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_something() {
        assert_eq!(flat(list(json!([1, [2, [3]]])), 1), list(json!([1, 2, [3]])));
        assert_eq!(
            nested(vec![list(json!(["a", "b"])), list(json!([1, 2]))]),
            list(json!([["a", 1], ["a", 2], ["b", 1], ["b", 2]]))
        );
        assert_eq!(together(vec![list(json!(["a", "b"])), list(json!([1]))]), list(json!([["a", 1], ["b", null]])));
        assert_eq!(sequence(&json!("start=1 end=3 format=web%02d")).unwrap(), list(json!(["web01", "web02", "web03"])));
        assert_eq!(sequence(&json!("count=2 start=10 stride=-5")).unwrap(), list(json!(["10", "5"])));
        let users = json!([[{"name": "a", "keys": [1, 2]}, {"name": "b"}], "keys", {"skip_missing": true}]);
        assert_eq!(subelements(list(users)).unwrap().len(), 2);
    }
}
