//! `to_yaml` and `to_nice_yaml`: YAML in PyYAML's layout.
//!
//! Leaves out: PyYAML's folding of long lines (a long text stays on one line, which reads back the same).

use serde_json::{Map, Value};

use crate::yaml;

pub(super) struct Style {
    pub indent: usize,
    pub sort_keys: bool,
    /// Lists and mappings of plain values on one line, as `to_yaml` does.
    pub flow_leaves: bool,
}

pub(super) fn write(value: &Value, style: &Style) -> String {
    let mut out = String::new();
    if is_block(value, style) {
        block(&mut out, value, 0, style);
    } else {
        out.push_str(&flow(value, style));
        out.push('\n');
        if !matches!(value, Value::Object(_) | Value::Array(_)) && !out.starts_with(['\'', '"']) {
            out.push_str("...\n");
        }
    }
    out
}

fn is_block(value: &Value, style: &Style) -> bool {
    let nested = |value: &Value| matches!(value, Value::Object(_) | Value::Array(_));
    match value {
        Value::Object(map) => !map.is_empty() && (!style.flow_leaves || map.values().any(nested)),
        Value::Array(items) => !items.is_empty() && (!style.flow_leaves || items.iter().any(nested)),
        _ => false,
    }
}

fn entries<'v>(map: &'v Map<String, Value>, style: &Style) -> Vec<(&'v String, &'v Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    if style.sort_keys {
        entries.sort_by_key(|(key, _)| *key);
    }
    entries
}

/// Writes lines; the first line's indentation is already there.
fn block(out: &mut String, value: &Value, column: usize, style: &Style) {
    match value {
        Value::Object(map) => {
            for (at, (key, item)) in entries(map, style).into_iter().enumerate() {
                if at > 0 {
                    out.push_str(&" ".repeat(column));
                }
                out.push_str(&scalar(key));
                out.push(':');
                if is_block(item, style) {
                    // PyYAML does not indent a list below its key
                    let deeper = if item.is_array() { column } else { column + style.indent };
                    out.push('\n');
                    out.push_str(&" ".repeat(deeper));
                    block(out, item, deeper, style);
                } else {
                    out.push_str(&format!(" {}\n", flow(item, style)));
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(&" ".repeat(column));
                }
                if is_block(item, style) {
                    let deeper = column + style.indent.max(2);
                    out.push_str(&format!("-{}", " ".repeat(deeper - column - 1)));
                    block(out, item, deeper, style);
                } else {
                    out.push_str(&format!("- {}\n", flow(item, style)));
                }
            }
        }
        other => out.push_str(&format!("{}\n", flow(other, style))),
    }
}

fn flow(value: &Value, style: &Style) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| flow(item, style)).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pair = |(key, item): (&String, &Value)| format!("{}: {}", scalar(key), flow(item, style));
            format!("{{{}}}", entries(map, style).into_iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

fn scalar(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')) {
        return double_quoted(text);
    }
    if reads_back(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Is the text, without quotes, the same string again, in block and in flow?
fn reads_back(text: &str) -> bool {
    if text.is_empty() || text.trim() != text || text.contains([',', '[', ']', '{', '}']) || text.ends_with(':') {
        return false;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/' || c == '.' || c == '-';
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.len() > 5 && text.chars().all(plain) {
        return true;
    }
    let Ok(documents) = yaml::parse(&format!("k: {text}\n"), std::path::Path::new("")) else { return false };
    let [document] = documents.as_slice() else { return false };
    document.get("k").is_some_and(|node| node.as_str() == Some(text) && !node.quoted && node.tag.is_none())
}
