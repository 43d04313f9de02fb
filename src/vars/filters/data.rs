//! `to_json`, `from_yaml` and their kin: values as text and back.

use minijinja::Value;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value as Json};

use super::super::args::{Args, Outcome, text, wrong};
use super::super::json::{from_json, to_json};
use super::super::yaml_out::{self, Style};
use super::super::{Fault, time};
use super::Filter;
use crate::yaml;

pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("to_json", |_, value, args| dumped(value, args, None)),
    ("to_nice_json", |_, value, args| dumped(value, args, Some(4))),
    ("tojson", |_, value, args| {
        // safe inside HTML, and sorted
        let text = text(&dumped(&from_json(&sorted(json(value)?)), args, None)?)?;
        Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").replace('\'', "\\u0027").into())
    }),
    ("from_json", |_, value, _| parse_json(value)),
    ("to_yaml", |_, value, args| {
        let flow_leaves = !args.name("default_flow_style").is_some_and(|style| !style.is_none() && !style.is_true());
        as_yaml(value, args, 2, flow_leaves)
    }),
    ("to_nice_yaml", |_, value, args| as_yaml(value, args, 4, false)),
    ("from_yaml", |_, value, _| {
        let mut documents = parse_yaml(value)?;
        Ok(if documents.is_empty() { Value::from(()) } else { documents.swap_remove(0) })
    }),
    ("from_yaml_all", |_, value, _| Ok(parse_yaml(value)?.into())),
    ("strftime", |_, value, args| time::strftime(&text(value)?, args)),
];

fn json(value: &Value) -> Result<Json, minijinja::Error> {
    to_json(value).map_err(Fault::into_error)
}

fn sorted(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Json::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn dumped(value: &Value, args: &Args, nice: Option<usize>) -> Outcome {
    let mut value = json(value)?;
    if args.name("sort_keys").map_or(nice.is_some(), Value::is_true) {
        value = sorted(value);
    }
    let ascii = args.name("ensure_ascii").is_none_or(Value::is_true);
    let indent = match args.name("indent").or(if nice.is_some() { args.get(0, "indent") } else { None }) {
        Some(width) => Some(usize::try_from(i64::try_from(width.clone()).unwrap_or(4)).unwrap_or(4).min(32)),
        None => nice,
    };
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width);
            let mut serializer =
                Serializer::with_formatter(&mut out, Pretty { inner: PrettyFormatter::with_indent(spaces.as_bytes()) });
            value.serialize(&mut serializer).map_err(|_| wrong("the value is not JSON"))?;
        }
        None => {
            let mut serializer = Serializer::with_formatter(&mut out, Spaced);
            value.serialize(&mut serializer).map_err(|_| wrong("the value is not JSON"))?;
        }
    }
    let text = String::from_utf8_lossy(&out).into_owned();
    Ok(if ascii { in_ascii(&text) } else { text }.into())
}

/// Python's default spacing: `{"a": 1, "b": 2}`.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }
    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }
    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// Indented; empty lists and mappings stay on one line, as in Python.
struct Pretty<'a> {
    inner: PrettyFormatter<'a>,
}

impl Formatter for Pretty<'_> {
    fn begin_array<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.inner.begin_array(out)
    }
    fn end_array<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.inner.end_array(out)
    }
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        self.inner.begin_array_value(out, first)
    }
    fn end_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.inner.end_array_value(out)
    }
    fn begin_object<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.inner.begin_object(out)
    }
    fn end_object<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.inner.end_object(out)
    }
    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        self.inner.begin_object_key(out, first)
    }
    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.inner.begin_object_value(out)
    }
    fn end_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        self.inner.end_object_value(out)
    }
}

fn in_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

fn parse_json(value: &Value) -> Outcome {
    let parsed: Json = serde_json::from_str(&text(value)?)
        .map_err(|error| wrong(format!("the text is not JSON (line {}, column {})", error.line(), error.column())))?;
    Ok(from_json(&parsed))
}

fn as_yaml(value: &Value, args: &Args, indent: usize, flow_leaves: bool) -> Outcome {
    let indent = args.int(0, "indent")?.and_then(|indent| usize::try_from(indent).ok()).unwrap_or(indent).min(32);
    let sort_keys = args.name("sort_keys").is_none_or(Value::is_true);
    Ok(yaml_out::write(&json(value)?, &Style { indent, sort_keys, flow_leaves }).into())
}

fn parse_yaml(value: &Value) -> Result<Vec<Value>, minijinja::Error> {
    if value.is_none() {
        return Ok(vec![value.clone()]);
    }
    if value.as_str().is_none() {
        return Ok(vec![value.clone()]);
    }
    let documents = yaml::parse(&text(value)?, std::path::Path::new("")).map_err(|error| {
        let line = error.place.map(|place| format!(" (line {})", place.line)).unwrap_or_default();
        wrong(format!("the text is not YAML{line}"))
    })?;
    Ok(documents.iter().map(|document| from_json(&document.to_value())).collect())
}
